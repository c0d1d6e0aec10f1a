"""Folder of an object store that `pyarrow.fs` supports (s3, gs, file, fsspec+... addresses).

Credentials are read from the environment variables and files that the tools of the store use. An object
appears when it is complete: a reader sees the old or the new content. If a process that writes one is
stopped, the object is deleted, except in a local folder, which keeps the old content.
"""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from functools import partial
from pathlib import Path

import pyarrow as pa
from pyarrow import fs

from lgad_pipeline.atomic_files import atomic_path, remove_left_overs
from lgad_pipeline.errors import LgadError

_CHUNK = 1 << 23  # each chunk is a request
_WITHOUT_FOLDERS = ("s3", "gcs")
"""Stores whose folders are parts of the names of objects."""


class ObjectStore:
    """Folder of a store; errors of the file system are raised as LgadError with a remedy.

    Args:
        uri: address of the folder, such as s3://bucket/folder.
        setting: key of the settings that names the address, for errors.
        missing: remedy for an object that is not in the store, for errors.
    """

    def __init__(self, uri: str, *, setting: str = "shards", missing: str = "") -> None:
        self.uri = uri.split("?")[0].rstrip("/")
        self._setting = setting
        self._missing = missing or f"pack the shards where the frames are, or correct `{setting}`"
        with self._errors(self.uri):
            try:
                self.filesystem, self.path = fs.FileSystem.from_uri(uri)
            except (ValueError, ImportError) as error:
                raise LgadError(
                    f"{self.uri} is not an address of a store ({_first(error)}); write `{setting}` as "
                    "s3://bucket/folder, gs://bucket/folder, file:///folder or fsspec+<protocol>://folder."
                ) from error

    def name(self, name: str) -> str:
        """Return the address of an object, without the query."""
        return f"{self.uri}/{name}"

    def sizes(self, folder: str = "") -> dict[str, int]:
        """Return the size in bytes of every object of a folder, by name.

        Args:
            folder: folder below this one; empty for this one. Folders below it are not listed, nor are
                unfinished files of a local folder.
        """
        with self._errors(self.uri):
            listed = fs.FileSelector(self._at(folder) if folder else self.path, allow_not_found=True)
            files = self.filesystem.get_file_info(listed)
        return {
            info.base_name: info.size
            for info in files
            if info.type == fs.FileType.File and not info.base_name.startswith(".")
        }

    def is_missing(self, name: str) -> LgadError:
        """Return the error for an object that is missing."""
        return self._missing_at(self.name(name))

    def read(self, name: str, limit: int) -> bytes:
        """Return the first `limit` bytes of a small object."""
        with self._errors(self.name(name)), self.filesystem.open_input_stream(self._at(name)) as stream:
            return stream.read(limit)

    def chunks(self, name: str) -> Iterator[bytes]:
        """Yield the content of an object in chunks of 8 MiB."""
        with self._errors(self.name(name)), self.filesystem.open_input_stream(self._at(name)) as stream:
            yield from iter(partial(stream.read, _CHUNK), b"")

    def put(self, path: Path, name: str = "") -> None:
        """Copy a file to an object.

        Args:
            path: local file.
            name: name of the object; empty for that of the file.
        """
        name = name or path.name
        with self._errors(self.name(name)), path.open("rb") as file:
            self._store(name, iter(partial(file.read, _CHUNK), b""))

    def write(self, name: str, content: bytes) -> None:
        """Write a small object in one step."""
        with self._errors(self.name(name)):
            self._store(name, iter([content]))

    def delete(self, name: str) -> None:
        """Delete an object; a missing object is no error."""
        with self._errors(self.name(name)), suppress(FileNotFoundError):
            self.filesystem.delete_file(self._at(name))

    def _store(self, name: str, chunks: Iterator[bytes]) -> None:
        folder, _, last = self._at(name).rpartition("/")
        if self.filesystem.type_name not in _WITHOUT_FOLDERS:
            self.filesystem.create_dir(folder)
        # An object appears when it is complete, a local file at once, so a local file is renamed.
        if self.filesystem.type_name == "local":
            remove_left_overs(Path(folder).glob(f".{last}.*.part"))
            with atomic_path(Path(folder, last)) as part, part.open("wb") as file:
                file.writelines(chunks)
            return
        with ExitStack() as undo, self.filesystem.open_output_stream(f"{folder}/{last}") as stream:
            undo.callback(self._discard, f"{folder}/{last}")  # after the stream has stored what was written
            for chunk in chunks:
                stream.write(chunk)
            undo.pop_all()

    def _discard(self, path: str) -> None:
        with suppress(Exception):  # the error that ended the writing is raised
            self.filesystem.delete_file(path)

    def _at(self, name: str) -> str:
        return f"{self.path}/{name}"

    def _missing_at(self, address: str) -> LgadError:
        return LgadError(f"{address} is missing; {self._missing}.")

    @contextmanager
    def _errors(self, address: str) -> Iterator[None]:
        try:
            yield
        except FileNotFoundError as error:
            raise self._missing_at(address) from error
        except (OSError, pa.ArrowException) as error:
            raise LgadError(
                f"{address} cannot be reached ({_first(error)}); check `{self._setting}`, the network, and "
                "the credentials in the environment."
            ) from error


def _first(error: BaseException) -> str:
    return " ".join(str(error).split())[:300]
