"""Reason of a failed step in one sentence."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from resources.dagster_private import SerializableErrorInfo


def root_error(error: "SerializableErrorInfo") -> "SerializableErrorInfo":
    """Find the error of the project behind the errors that Dagster wraps around it, else the first cause."""
    while error.cause is not None and error.cls_name != "LgadError":
        error = error.cause
    return error


def failure_reason(error: "SerializableErrorInfo") -> str:
    """Return the message of the root error; without its class if it is an error of the project."""
    root = root_error(error)
    message = root.message.strip()
    return message.partition(": ")[2] if root.cls_name == "LgadError" else message
