"""Names of the methods that a student is trained by: its losses in addition to the segmentation loss."""

from typing import Annotated

from pydantic import AfterValidator

METHODS = ("alone", "lgad", "sad", "lgad+sad", "logits", "blurred", "label-head", "equal-compute")
"""Methods of this package; a further method is the import path of a loss, `package.module:Class`."""


def uses_lgad(method: str) -> bool:
    """Return True if the LGAD loss is one of the losses of a method."""
    return "lgad" in method.split("+")


def is_import_path(method: str) -> bool:
    """Return True for a method that is the import path of a loss."""
    module, _, name = method.partition(":")
    return bool(module and name)


def short_name(method: str) -> str:
    """Return the name of a method in tables and folders: its own, or the class name of an import path."""
    return method.rpartition(":")[2]


def _known(method: str) -> str:
    if method not in METHODS and not is_import_path(method):
        raise ValueError(
            f"the method {method!r} does not exist; choose one of {', '.join(METHODS)}, or give the import "
            "path of a loss, such as my_package.losses:MyLoss"
        )
    return method


Method = Annotated[str, AfterValidator(_known)]
"""Name of a method, or import path of a loss."""
