"""Registry of data set kinds: the reader of each kind, by name or by import path."""

from collections.abc import Callable
from typing import TypeVar, cast

from lgad_pipeline.config.import_path import import_object
from lgad_pipeline.datasets import bdd100k, culane, curvelanes, llamas, tusimple, vil100
from lgad_pipeline.datasets.reader import DatasetReader
from lgad_pipeline.errors import LgadError

Reader = TypeVar("Reader", bound=Callable[[], DatasetReader])

DATASET_READERS: dict[str, DatasetReader] = {
    "bdd100k": bdd100k,
    "culane": culane,
    "curvelanes": curvelanes,
    "llamas": llamas,
    "synthetic": culane,  # synthetic data sets are written in CULane's layout
    "tusimple": tusimple,
    "vil100": vil100,
}


def register_dataset(kind: str) -> Callable[[Reader], Reader]:
    """Register a reader class under the name of a kind, as a class decorator.

    Args:
        kind: name of the kind, as passed to `ingest(..., kind=...)`.

    Example:
        >>> @register_dataset("empty")
        ... class EmptyReader:
        ...     def list_frames(self, root, rejected):
        ...         return []
        ...     def parse_annotation(self, annotation):
        ...         return []
        >>> type(dataset_reader("empty")).__name__
        'EmptyReader'

    Raises:
        LgadError: another reader has this name.
    """

    def register(reader: Reader) -> Reader:
        if kind in DATASET_READERS:
            raise LgadError(f"The data set kind {kind} is registered already; choose another name.")
        DATASET_READERS[kind] = reader()
        return reader

    return register


def dataset_reader(kind: str) -> DatasetReader:
    """Return the reader of a kind.

    Args:
        kind: a registered name; or the import path `package.module:Reader` of a class, which is called
            without arguments, or of a reader.

    Raises:
        LgadError: no kind has this name, or the import path leads to no reader.
    """
    return DATASET_READERS.get(kind) or _imported_reader(kind)


def _imported_reader(path: str) -> DatasetReader:
    module, _, name = path.partition(":")
    if not module or not name:
        raise LgadError(
            f"The data set kind {path} is unknown; choose one of {', '.join(sorted(DATASET_READERS))}, "
            "or give an import path such as mypackage.kinds:MyReader."
        )
    target = import_object("The data set kind", path)
    try:
        reader = target() if isinstance(target, type) else target
    except TypeError as error:
        raise LgadError(
            f"The class of the data set kind {path} cannot be called without arguments ({error}); give each "
            "argument of its constructor a default."
        ) from error
    missing = [
        part for part in ("list_frames", "parse_annotation") if not callable(getattr(reader, part, None))
    ]
    if missing:
        raise LgadError(
            f"The data set kind {path} has no method {' and no method '.join(missing)}; add it, see "
            "lgad_pipeline.datasets.reader.DatasetReader."
        )
    return cast(DatasetReader, reader)
