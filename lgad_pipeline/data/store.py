"""Shards in a store that `pyarrow.fs` can address (s3://, gs://, file://, fsspec+...://), and the way back.

The local folder of shards is the cache: packing writes there and `upload` copies it to the store; elsewhere
`fetch` fills it from the store. Credentials come from the environment, as each store's own tools read them.
"""

import fcntl
import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import pyarrow as pa
from pyarrow import fs

from lgad_pipeline.data.parallel import ordered_map
from lgad_pipeline.data.parts import is_undamaged
from lgad_pipeline.data.shards import INDEX
from lgad_pipeline.errors import LgadError
from lgad_pipeline.files import atomic_path

_PART = re.compile(r"(train|val|test)-\d{5,}-[0-9a-f]{16}\.arrow")
_CHUNK = 1 << 20
_INDEX_LIMIT = 1 << 28
_WORKERS = 4


def upload(folder: Path, uri: str) -> None:
    """Make the store hold what `folder` holds.

    Parts that are there in their full size are left, the index comes after them, and parts that it does not
    name go last: whoever reads meanwhile finds the old or the new data set.

    Args:
        folder: packed shards.
        uri: a folder of the store that belongs to these shards alone.

    Raises:
        LgadError: the store cannot be reached or written to.
    """
    store = _Store(uri)
    names = _part_names((folder / INDEX).read_bytes(), str(folder / INDEX))
    there = store.sizes()
    missing = [name for name in names if there.get(name) != (folder / name).stat().st_size]
    for _ in ordered_map(lambda name: store.put(folder / name), missing, _WORKERS, 2 * _WORKERS):
        pass
    store.put(folder / INDEX)
    for name in there.keys() - set(names):
        if _PART.fullmatch(name):
            store.delete(name)


def fetch(uri: str, folder: Path) -> Path:
    """Make `folder` hold what the store holds, and return it.

    Only parts that are not there are read; each is written in one step and only if its checksum is right.
    Parts that the index does not name are removed, so the folder is never larger than one data set.
    Processes that fetch at once wait for one another.

    Args:
        uri: a folder of the store, filled by `upload`.
        folder: local; it belongs to the shards alone.

    Raises:
        LgadError: the store cannot be reached, an object is missing or damaged, or there is no room.
    """
    store = _Store(uri)
    index = store.read(INDEX, _INDEX_LIMIT)
    names = _part_names(index, store.name(INDEX))
    with _locked(folder):
        missing = [name for name in names if not (folder / name).is_file()]
        for _ in ordered_map(partial(_download, store, folder), missing, _WORKERS, 2 * _WORKERS):
            pass
        with atomic_path(folder / INDEX) as beside:
            beside.write_bytes(index)
        for path in folder.glob("*.arrow*"):
            if path.name not in names:
                path.unlink()
    return folder


def _download(store: "_Store", folder: Path, name: str) -> None:
    with atomic_path(folder / name) as beside:
        with beside.open("wb") as file:
            file.writelines(store.chunks(name))
        if not is_undamaged(beside):
            raise LgadError(
                f"{store.name(name)} is damaged; delete it and materialize the shards again where the "
                "frames lie."
            )


def _part_names(index: bytes, place: str) -> list[str]:
    """The parts that an index names; what is no part's name leads out of the folder, or to nothing."""
    try:
        splits = json.loads(index)["splits"]
        names = [part["file"] for parts in splits.values() for part in parts]
        if all(_PART.fullmatch(name) for name in names):
            return names
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        pass
    raise LgadError(f"{place} is no index of shards; delete it and materialize the shards again.")


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock = (folder / ".lock").open("w")
    except OSError as error:
        raise LgadError(
            f"{folder} cannot be written ({error.strerror}); give write permission or set LGAD_STATE."
        ) from error
    with lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


class _Store:
    """A folder of a store; its errors are sentences."""

    def __init__(self, uri: str) -> None:
        self.uri = uri.split("?")[0].rstrip("/")
        with self._errors(self.uri):
            try:
                self.filesystem, self.path = fs.FileSystem.from_uri(uri)
            except (ValueError, ImportError) as error:
                raise LgadError(
                    f"{self.uri} is no address of a store ({_first(error)}); write `shards` in lgad.yaml as "
                    "s3://bucket/folder, gs://bucket/folder, file:///folder or fsspec+<protocol>://folder."
                ) from error

    def name(self, name: str) -> str:
        """The address of an object, without the query."""
        return f"{self.uri}/{name}"

    def sizes(self) -> dict[str, int]:
        """The objects that are there, and their bytes."""
        with self._errors(self.uri):
            found = self.filesystem.get_file_info(fs.FileSelector(self.path, allow_not_found=True))
        return {info.base_name: info.size for info in found if info.type == fs.FileType.File}

    def read(self, name: str, limit: int) -> bytes:
        """The content of a small object."""
        with self._errors(self.name(name)), self.filesystem.open_input_stream(self._at(name)) as stream:
            return stream.read(limit)

    def chunks(self, name: str) -> Iterator[bytes]:
        """The content of an object, piece by piece."""
        with self._errors(self.name(name)), self.filesystem.open_input_stream(self._at(name)) as stream:
            yield from iter(partial(stream.read, _CHUNK), b"")

    def put(self, path: Path) -> None:
        """Copy a file to an object, which is there when it is whole."""
        with self._errors(self.name(path.name)):
            self.filesystem.create_dir(self.path)
            with path.open("rb") as file, self.filesystem.open_output_stream(self._at(path.name)) as stream:
                for chunk in iter(partial(file.read, _CHUNK), b""):
                    stream.write(chunk)

    def delete(self, name: str) -> None:
        """Remove an object."""
        with self._errors(self.name(name)):
            self.filesystem.delete_file(self._at(name))

    def _at(self, name: str) -> str:
        return f"{self.path}/{name}"

    @contextmanager
    def _errors(self, place: str) -> Iterator[None]:
        try:
            yield
        except FileNotFoundError as error:
            raise LgadError(
                f"{place} is missing; materialize the shards where the frames lie, or correct `shards` in "
                "lgad.yaml."
            ) from error
        except (OSError, pa.ArrowException) as error:
            raise LgadError(
                f"{place} cannot be reached ({_first(error)}); check `shards` in lgad.yaml, the network, and "
                "the credentials in the environment."
            ) from error


def _first(error: BaseException) -> str:
    return " ".join(str(error).split())[:300]
