"""Why a step failed, in one sentence."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from dagster_shared.error import SerializableErrorInfo


def root_error(error: "SerializableErrorInfo") -> "SerializableErrorInfo":
    """The project's own error behind what Dagster says of it, else the first cause of all."""
    while error.cause is not None and error.cls_name != "LgadError":
        error = error.cause
    return error


def reason(error: "SerializableErrorInfo") -> str:
    """The message of the error behind it all, without its class where the message is ours."""
    found = root_error(error)
    message = found.message.strip()
    return message.partition(": ")[2] if found.cls_name == "LgadError" else message
