"""Upload and download of shards, for stores that `pyarrow.fs` supports (s3, gs, file, fsspec+... addresses).

The local folder of shards is the cache: packing writes to it and `upload` copies it to the store; on another
machine, `fetch` fills it from the store. Credentials are read from the environment variables and files that
the tools of the store use.
"""

from functools import partial
from pathlib import Path

from lgad_pipeline.atomic_files import atomic_path, locked
from lgad_pipeline.data.shard_index import (
    INDEX,
    PART_NAME,
    Origin,
    PartEntry,
    ShardIndex,
    is_undamaged,
    write_index,
)
from lgad_pipeline.errors import LgadError
from lgad_pipeline.object_store import ObjectStore
from lgad_pipeline.thread_pool import ordered_map

INDEX_LIMIT = 1 << 28
_WORKERS = 4


def upload(folder: Path, uri: str) -> None:
    """Copy the shards in `folder` to the store.

    Parts that are in the store with the same size, and the same digest in its index, are kept. The index
    is written after the parts, and parts that are not in it are deleted last, so a concurrent reader gets the
    old or the new data set. A store with the shards of another data set or project is not
    changed.

    Args:
        folder: directory of packed shards with an origin; its lock is held during the upload.
        uri: address of a folder of the store, for these shards alone.

    Raises:
        LgadError: The store cannot be reached or written to, contains other shards, or was written to by
            another machine at the same time; or a part in `folder` is damaged.
    """
    store = ObjectStore(uri)
    with locked(folder):
        content = _local_index(folder)
        index = ShardIndex.from_bytes(content, str(folder / INDEX))
        remote_sizes = store.sizes()
        before = (
            check_origin(uri, store.read(INDEX, INDEX_LIMIT), index.origin) if INDEX in remote_sizes else None
        )
        old = {part.file: part.digest for part in before.parts} if before else {}
        sizes = {part.file: _undamaged_size(folder, part) for part in index.parts}
        missing = [
            part.file
            for part in index.parts
            if remote_sizes.get(part.file) != sizes[part.file]
            or old.get(part.file, part.digest) != part.digest
        ]
        for _ in ordered_map(
            lambda name: store.put(folder / name), missing, workers=_WORKERS, ahead=2 * _WORKERS
        ):
            pass
        store.write(INDEX, content)
        _check_unchanged(store, content)
        for name in remote_sizes.keys() - sizes.keys():
            if PART_NAME.fullmatch(name):
                store.delete(name)
        _check_unchanged(store, content)


def fetch(uri: str, folder: Path, *, origin: Origin) -> Path:
    """Download the shards of the store to `folder`, and return `folder`.

    Only parts that are missing or damaged are downloaded. Each is written in one step, and only if it has the
    digest in the index. Parts that are not in the index are removed afterwards. The lock of the folder is
    held during the download.

    Args:
        uri: address of a folder of the store, filled by `upload`.
        folder: local directory for the shards, without other files.
        origin: required project and data set of the shards.

    Raises:
        LgadError: The store cannot be reached or contains other shards, an object is missing or damaged, or
            `folder` cannot be written.
    """
    store = ObjectStore(uri)
    # The lock comes before the index, which another process can replace during the wait.
    with locked(folder):
        while True:
            content = store.read(INDEX, INDEX_LIMIT)
            index = check_origin(uri, content, origin)
            missing = [part for part in index.parts if not is_undamaged(folder / part.file, part.digest)]
            try:
                for _ in ordered_map(
                    partial(_download, store, folder), missing, workers=_WORKERS, ahead=2 * _WORKERS
                ):
                    pass
                break
            except LgadError:
                # If another machine has replaced the shards meanwhile, the download starts again.
                if store.read(INDEX, INDEX_LIMIT) == content:
                    raise
        write_index(folder, content, names={part.file for part in index.parts})
    return folder


def check_origin(uri: str, content: bytes, origin: Origin) -> ShardIndex:
    """Parse the index of a store, and check that its shards have the origin `origin`.

    Args:
        uri: address of the folder of the store.
        content: content of its index.
        origin: required project and data set.

    Raises:
        LgadError: the index is damaged, or the shards belong to another data set or project.
    """
    place = uri.split("?")[0].rstrip("/")
    index = ShardIndex.from_bytes(content, f"{place}/{INDEX}")
    if index.dataset != origin.dataset:
        raise LgadError(
            f"{place} holds the shards of the data set {index.dataset!r}, not of {origin.dataset!r}; "
            "give each data set an address of its own as `shards`."
        )
    if index.owner != origin.owner:
        raise LgadError(
            f"{place} holds shards of another project (owner {index.owner}, this one is {origin.owner}); "
            f"choose another address as `shards`, or, if they are this project's, write "
            f"`owner: {index.owner}` into the settings."
        )
    return index


def _local_index(folder: Path) -> bytes:
    try:
        return (folder / INDEX).read_bytes()
    except FileNotFoundError as error:
        raise LgadError(f"{folder / INDEX} is missing; pack the shards first.") from error


def _undamaged_size(folder: Path, part: PartEntry) -> int:
    path = folder / part.file
    if not is_undamaged(path, part.digest):
        raise LgadError(f"{path} is missing or damaged; pack the shards again.")
    return path.stat().st_size


def _check_unchanged(store: ObjectStore, content: bytes) -> None:
    if store.read(INDEX, INDEX_LIMIT) != content:
        raise LgadError(
            f"{store.uri} was changed by another machine at the same time; pack the shards again, "
            "on one machine."
        )


def _download(store: ObjectStore, folder: Path, part: PartEntry) -> None:
    with atomic_path(folder / part.file) as unfinished:
        with unfinished.open("wb") as file:
            file.writelines(store.chunks(part.file))
        if not is_undamaged(unfinished, part.digest):
            raise LgadError(
                f"{store.name(part.file)} is damaged; delete it and pack the shards again where the "
                "frames are."
            )
