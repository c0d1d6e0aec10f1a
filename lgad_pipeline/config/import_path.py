"""Objects that settings name by their import path, `package.module:Name`."""

import importlib

from lgad_pipeline.errors import LgadError


def import_object(kind: str, path: str) -> object:
    """Import the object that a path names; the code of its module is run.

    Args:
        kind: kind of the object for the error, such as `Network`.
        path: import path `package.module:Name`.

    Raises:
        LgadError: the module cannot be imported, or has no such name.
    """
    module, _, name = path.partition(":")
    try:
        return getattr(importlib.import_module(module), name)
    except (ImportError, AttributeError, ValueError, TypeError) as error:
        raise LgadError(
            f"{kind} {path} cannot be imported ({error}); correct the import path, or install the package or "
            "add the directory that it is in to PYTHONPATH."
        ) from error
