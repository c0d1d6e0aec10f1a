"""Copies of results in an object store, so that another machine continues with them.

A result is a set of files and folders below a local directory, the cache. It is stored below one name: an
object per file, an archive per folder, each named by the digest of its content, and `index.json`, which is
written last. A reader sees the old or the new result.
"""

import os
import tarfile
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from hashlib import blake2b, file_digest
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import BinaryIO

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from lgad_pipeline.atomic_files import atomic_path, link_or_copy, locked
from lgad_pipeline.errors import LgadError
from lgad_pipeline.manifest import FileEntry, Manifest, changed_files
from lgad_pipeline.object_store import ObjectStore

INDEX = "index.json"
_INDEX_LIMIT = 1 << 30
_HEX = r"^[0-9a-f]{32}$"


class _Entry(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)


class FileState(_Entry):
    """State of a file of a result; see `manifest.FileEntry`."""

    size: int = Field(ge=0)
    modified: int
    digest: str = Field(pattern=_HEX)


class StoredObject(_Entry):
    """Object of a result.

    Attributes:
        path: file, or folder of an archive, relative to the cache, POSIX.
        digest: BLAKE2b-128 digest of the object, hexadecimal; its name.
        size: length of the object in bytes.
        archive: True for a tar archive of the files of a folder.
    """

    path: str
    digest: str = Field(pattern=_HEX)
    size: int = Field(ge=0)
    archive: bool

    def holds(self, file: str) -> bool:
        """Return True if a file of the result comes from this object."""
        return file.startswith(f"{self.path}/") if self.archive else file == self.path


class ResultIndex(_Entry):
    """Content of index.json: the files of a result, and the objects that hold them."""

    files: dict[str, FileState]
    objects: list[StoredObject]

    @property
    def manifest(self) -> Manifest:
        """Files as a manifest."""
        return {
            name: {"size": state.size, "modified": state.modified, "digest": state.digest}
            for name, state in self.files.items()
        }


class ResultStore:
    """Results in a folder of an object store.

    Args:
        uri: address of the folder, such as s3://bucket/project/results.
        cache: local directory of the results.
    """

    def __init__(self, uri: str, cache: Path) -> None:
        self._store = ObjectStore(
            uri, setting="store", missing="materialize its asset again, or correct `store`"
        )
        self._cache = cache

    def publish(self, name: str, outputs: Iterable[Path], manifest: Manifest) -> None:
        """Copy a result to the store. Objects with the same content are not copied again.

        A file that has changed since the manifest was made is stored as it is now, with its present state.

        Args:
            name: name of the result, a relative POSIX path.
            outputs: files and folders of the result, below the cache.
            manifest: state of their files, see `manifest_of`; other files of a folder are left out.

        Raises:
            LgadError: the store cannot be written to, or another machine wrote the same result at that time.
        """
        with locked(self._lock(name)), TemporaryDirectory(dir=self._lock(name)) as folder:
            present = self._store.sizes(name)
            objects, states = [], {}
            for number, output in enumerate(filter(Path.exists, outputs)):
                path, part = output.relative_to(self._cache).as_posix(), Path(folder) / str(number)
                if archive := output.is_dir():
                    found = _write_archive(part, self._cache, folder=path, manifest=manifest)
                else:
                    found = _keep(part, output, name=path, manifest=manifest)
                if not archive and not found:
                    continue
                digest = _digest(part) if archive else found[path].digest
                entry = StoredObject(path=path, digest=digest, size=part.stat().st_size, archive=archive)
                if present.get(entry.digest) != entry.size:
                    self._store.put(part, f"{name}/{entry.digest}")
                part.unlink()
                objects.append(entry)
                states |= found
            content = ResultIndex(files=states, objects=objects).model_dump_json().encode()
            self._store.write(f"{name}/{INDEX}", content)
            self._require_unchanged(name, content)
            for old in present.keys() - {entry.digest for entry in objects} - {INDEX}:
                self._store.delete(f"{name}/{old}")
            self._require_unchanged(name, content)

    def fetch(self, name: str, outputs: Sequence[Path]) -> Manifest:
        """Complete the files of a result in the cache; only objects with missing or changed files are read.

        Args:
            name: name of the result.
            outputs: files and folders that the result may have, below the cache.

        Returns:
            The manifest of the result.

        Raises:
            LgadError: the store cannot be reached, does not have the result, or an object is damaged.
        """
        with locked(self._lock(name)), TemporaryDirectory(dir=self._lock(name)) as folder:
            while True:
                content = self._store.read(f"{name}/{INDEX}", _INDEX_LIMIT)
                index = self._parsed(name, content, outputs)
                changed = {
                    path.relative_to(self._cache).as_posix()
                    for path in changed_files(self._cache, index.manifest)
                }
                try:
                    for entry in index.objects:
                        if any(entry.holds(file) for file in changed):
                            self._download(name, entry, index, Path(folder) / "object")
                        if entry.archive:
                            _remove_others(self._cache, entry.path, names=index.files.keys())
                    return index.manifest
                except LgadError:
                    # If another machine has replaced the result meanwhile, the download starts again.
                    if self._store.read(f"{name}/{INDEX}", _INDEX_LIMIT) == content:
                        raise

    def manifest(self, name: str) -> Manifest | None:
        """Return the manifest of a result if the store has it with all its objects, else None."""
        sizes = self._store.sizes(name)
        while INDEX in sizes:
            index = self._parsed(name, self._store.read(f"{name}/{INDEX}", _INDEX_LIMIT), None)
            if all(sizes.get(entry.digest) == entry.size for entry in index.objects):
                return index.manifest
            # Another process may have replaced the result after its objects were listed.
            before, sizes = sizes, self._store.sizes(name)
            if sizes == before:
                return None
        return None

    def remove(self, name: str) -> None:
        """Delete a result from the store, the index first."""
        with locked(self._lock(name)):
            names = self._store.sizes(name)
            for file in sorted(names, key=lambda file: file != INDEX):
                self._store.delete(f"{name}/{file}")

    def _require_unchanged(self, name: str, content: bytes) -> None:
        if self._store.read(f"{name}/{INDEX}", _INDEX_LIMIT) != content:
            raise LgadError(
                f"{self._store.name(name)} was changed by another machine at the same time; "
                "materialize this asset again, on one machine."
            )

    def _lock(self, name: str) -> Path:
        return self._cache / "locks" / "store" / name

    def _parsed(self, name: str, content: bytes, outputs: Sequence[Path] | None) -> ResultIndex:
        """Parse an index; its paths must be those of the outputs."""
        place = self._store.name(f"{name}/{INDEX}")
        try:
            index = ResultIndex.model_validate_json(content)
        except ValidationError as error:
            raise LgadError(f"{place} is damaged; materialize its asset again.") from error
        allowed = {path.relative_to(self._cache).as_posix() for path in outputs or ()}
        for entry in index.objects:
            if outputs is not None and entry.path not in allowed:
                raise LgadError(
                    f"{place} names {entry.path!r}, which is not a file of this result; delete {place}."
                )
        for file in index.files:
            if ".." in file.split("/") or not any(entry.holds(file) for entry in index.objects):
                raise LgadError(f"{place} names {file!r}, which is in none of its objects; delete {place}.")
        return index

    def _download(self, name: str, entry: StoredObject, index: ResultIndex, part: Path) -> None:
        """Download an object, compare its digest, and move its files into the cache."""
        address = f"{name}/{entry.digest}"
        with part.open("wb") as file:
            file.writelines(self._store.chunks(address))
        if _digest(part) != entry.digest:
            raise LgadError(f"{self._store.name(address)} is damaged; materialize its asset again.")
        target = self._cache / entry.path
        if not entry.archive:
            with _placed(target, index.files[entry.path], durable=True) as unfinished:
                part.replace(unfinished)
            return
        with tarfile.open(part) as archive:
            for member in archive:
                state = index.files.get(f"{entry.path}/{member.name}")
                source = archive.extractfile(member) if member.isfile() else None
                if state is None or source is None:
                    continue
                with (
                    _placed(target / member.name, state, durable=False) as unfinished,
                    unfinished.open("wb") as file,
                ):
                    file.writelines(iter(partial(source.read, 1 << 20), b""))


@contextmanager
def _placed(path: Path, state: FileState, *, durable: bool) -> Iterator[Path]:
    """Yield a temporary path that replaces a file, with the modification time of its manifest."""
    with atomic_path(path, durable) as unfinished:
        yield unfinished
        os.utime(unfinished, ns=(state.modified, state.modified))


def _keep(part: Path, file: Path, *, name: str, manifest: Manifest) -> dict[str, FileState]:
    """Make a link to a file, or a copy, that stays if the file is replaced; none if there is no such file."""
    try:
        link_or_copy(file, part, durable=False)
    except FileNotFoundError:
        return {}
    return {name: _state(part.stat(), _digest(part), manifest.get(name))}


def _write_archive(part: Path, cache: Path, *, folder: str, manifest: Manifest) -> dict[str, FileState]:
    """Write files of a folder into a tar archive, and return their states; equal files give equal bytes."""
    states = {}
    with tarfile.open(part, "w", format=tarfile.PAX_FORMAT) as archive:
        for name in sorted(name for name in manifest if name.startswith(f"{folder}/")):
            try:
                content = (cache / name).open("rb")
            except FileNotFoundError:
                continue
            with content:
                status, reader = os.fstat(content.fileno()), _Digested(content)
                member = tarfile.TarInfo(name.removeprefix(f"{folder}/"))
                member.size = status.st_size
                archive.addfile(member, reader)  # type: ignore[arg-type]
                states[name] = _state(status, reader.digest.hexdigest(), manifest[name])
    return states


def _state(status: os.stat_result, digest: str, known: FileEntry | None) -> FileState:
    """Return the state of a file as it was copied; that of the manifest if its content is the same."""
    if known is not None and (known["size"], known["digest"]) == (status.st_size, digest):
        return FileState.model_validate(known)
    return FileState(size=status.st_size, modified=status.st_mtime_ns, digest=digest)


class _Digested:
    """Stream that computes the digest of what is read from it."""

    def __init__(self, stream: BinaryIO) -> None:
        self._stream = stream
        self.digest = blake2b(digest_size=16)

    def read(self, count: int = -1) -> bytes:
        data = self._stream.read(count)
        self.digest.update(data)
        return data


def _remove_others(cache: Path, folder: str, *, names: Iterable[str]) -> None:
    """Remove the files of a folder that are not in the result; hidden files (locks) are kept."""
    kept = set(names)
    for path in (cache / folder).rglob("*"):
        hidden = path.name.startswith(".")
        if path.is_file() and not hidden and path.relative_to(cache).as_posix() not in kept:
            path.unlink(missing_ok=True)


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return file_digest(file, partial(blake2b, digest_size=16)).hexdigest()
