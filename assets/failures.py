"""Reason of a failed step in one sentence."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from resources.dagster_private import SerializableErrorInfo


_PROJECT = ("lgad_pipeline.", "resources.")  # packages whose errors are subclasses of LgadError


def root_error(error: "SerializableErrorInfo") -> "SerializableErrorInfo":
    """Find the error of the project behind the errors that Dagster wraps around it, else the first cause."""
    while error.cause is not None and not _is_of_project(error):
        error = error.cause
    return error


def failure_reason(error: "SerializableErrorInfo") -> str:
    """Return the message of the root error; without its class if it is an error of the project."""
    root = root_error(error)
    message = root.message.strip()
    return message.partition(": ")[2] if _is_of_project(root) else message


def _is_of_project(error: "SerializableErrorInfo") -> bool:
    """Return True for an `LgadError` or a subclass: the message begins with the full name of its class."""
    return error.message.startswith(_PROJECT)
