"""Index of packed shards: fingerprint of their inputs, and the digest of every part."""

import json
import re
from collections.abc import Container, Iterable
from contextlib import suppress
from functools import partial
from hashlib import blake2b, file_digest
from pathlib import Path
from typing import Annotated, Literal, NamedTuple, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from lgad_pipeline.atomic_files import atomic_path
from lgad_pipeline.errors import LgadError, os_fault
from lgad_pipeline.lanes.lane_files import Rejected
from lgad_pipeline.view import View

INDEX = "index.json"
STREAM = "stream.json"
"""File in a directory of shards whose files stay in a store."""
PART_NAME = re.compile(r"(train|val|test)-\d{5,}-[0-9a-f]{16}\.arrow")
_JOURNAL = ".packing.jsonl"
_FORMAT = 3

Digest = Annotated[str, Field(pattern=r"^[0-9a-f]{32}$")]
Side = Annotated[int, Field(ge=1, le=16384)]


class Origin(NamedTuple):
    """Project and data set of the frames in shards.

    Attributes:
        owner: name of the project, see `Settings.owner`.
        dataset: name of the data set in the settings of the project.
    """

    owner: str
    dataset: str


LOCAL = Origin("", "")
"""Origin of shards that are not in a store."""


class _Entry(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)


class PartEntry(_Entry):
    """Index entry of a part, an Arrow file.

    Attributes:
        file: name of the file.
        rows: number of frames in the file.
        digest: BLAKE2b-128 digest of the file's bytes, hexadecimal.
    """

    file: Annotated[str, Field(pattern=f"^{PART_NAME.pattern}$")]
    rows: int = Field(ge=1)
    digest: Digest


class ViewEntry(_Entry):
    """Index entry of the `View` that frames were packed with; `View` describes the fields."""

    frame_size: tuple[Side, Side]
    image_size: tuple[Side, Side]
    crop_top: int = Field(ge=0)

    @model_validator(mode="after")
    def _leaves_something(self) -> Self:
        if self.crop_top >= self.frame_size[0]:
            raise ValueError("crop_top leaves nothing of the frame")
        return self


class ShardIndex(_Entry):
    """Content of index.json.

    Attributes:
        format: version of the file format.
        fingerprint: BLAKE2b-128 digest of all inputs of the shards, hexadecimal.
        owner: name of the project that packed the shards; "" for shards that are not in a store.
        dataset: name of the data set in the settings of that project; "" for shards that are not in a store.
        view: crop and size that frames were packed with.
        splits: parts of each split, in order.
        rejected: frames that cannot be packed: (file, line, reason).
        checksum: BLAKE2b-128 digest of all other fields, hexadecimal.
    """

    format: Literal[3] = _FORMAT
    fingerprint: Digest
    owner: str = ""
    dataset: str = ""
    view: ViewEntry
    splits: dict[Literal["train", "val", "test"], list[PartEntry]]
    rejected: list[Rejected]
    checksum: str = ""

    @property
    def parts(self) -> list[PartEntry]:
        """Parts of all splits."""
        return [part for parts in self.splits.values() for part in parts]

    @property
    def origin(self) -> Origin:
        """Project and data set of the frames."""
        return Origin(self.owner, self.dataset)

    def to_bytes(self) -> bytes:
        """Serialize the index to the content of index.json, with its checksum."""
        return self.model_copy(update={"checksum": self._sum()}).model_dump_json(indent=1).encode() + b"\n"

    @classmethod
    def from_bytes(cls, content: bytes, place: str) -> Self:
        """Parse the content of index.json.

        Args:
            content: content of the file.
            place: path or address of the file, for errors.

        Raises:
            LgadError: The content is damaged or of another version.
        """
        try:
            index = cls.model_validate_json(content)
        except ValidationError as error:
            raise LgadError(
                f"{place} is not an index of shards, or has another version (see {_first_place(error)}); "
                "delete it and pack the shards again."
            ) from error
        if index.checksum != index._sum():
            raise LgadError(
                f"{place} is damaged: its checksum is wrong; delete it and pack the shards again."
            )
        return index

    def _sum(self) -> str:
        return blake2b(self.model_dump_json(exclude={"checksum"}).encode(), digest_size=16).hexdigest()


def new_index(
    parts: dict[str, list[PartEntry]], view: View, *, rejected: Iterable[Rejected], origin: Origin
) -> ShardIndex:
    """Create the index of packed parts; its fingerprint depends only on the inputs of the parts."""
    rejected = list(rejected)
    names = [part.file for entries in parts.values() for part in entries]
    made_from = json.dumps([names, rejected]).encode()
    values = {
        "fingerprint": blake2b(made_from, digest_size=16).hexdigest(),
        "owner": origin.owner,
        "dataset": origin.dataset,
        "view": ViewEntry(frame_size=view.frame_size, image_size=view.image_size, crop_top=view.crop_top),
        "splits": parts,
        "rejected": rejected,
    }
    return ShardIndex.model_validate(values)


def read_index(folder: Path) -> ShardIndex:
    """Read the index of a folder of shards.

    Raises:
        LgadError: The index is missing, damaged or of another version.
    """
    path = folder / INDEX
    try:
        content = path.read_bytes()
    except FileNotFoundError as error:
        raise LgadError(f"{path} is missing; pack the shards again.") from error
    return ShardIndex.from_bytes(content, str(path))


class Journal:
    """Journal of the finished parts of a packing, so that a killed packing resumes without them.

    Digests show if a file is complete. Arrow does not open it before, because a damaged file can crash the
    process.
    """

    def __init__(self, folder: Path) -> None:
        self._path = folder / _JOURNAL
        self._folder = folder
        self._known: dict[str, PartEntry] = {}
        with suppress(LgadError):  # without a readable index, only the journal is used
            self._known |= {part.file: part for part in read_index(folder).parts}
        lines = self._path.read_bytes().splitlines() if self._path.is_file() else []
        for line in lines:
            try:
                part = PartEntry.model_validate_json(line)
            except (
                ValidationError
            ):  # the process was killed while it wrote this line, so the part is packed again
                continue
            self._known[part.file] = part

    def finished(self, name: str, rows: int) -> PartEntry | None:
        """Return the entry of a part that is undamaged and has all rows; None if it must be packed."""
        part = self._known.get(name)
        complete = part is not None and part.rows == rows and is_undamaged(self._folder / name, part.digest)
        return part if complete else None

    def add(self, part: PartEntry) -> None:
        """Append a finished part to the journal.

        Raises:
            LgadError: The journal cannot be written.
        """
        try:
            with self._path.open("ab") as file:
                file.write(part.model_dump_json().encode() + b"\n")
        except OSError as error:
            raise os_fault(error, self._path, "written") from error


_DIGESTS: dict[tuple[int, int, int, int], str] = {}
"""Digests of files that this process has read, by device, inode, size and modification time."""
_DIGEST_LIMIT = 1 << 16  # files of a cache come and go


def digest_of(path: Path) -> str:
    """Compute the BLAKE2b-128 digest of a file, hexadecimal; a process reads an unchanged file once.

    Raises:
        OSError: The file cannot be read.
    """
    state = path.stat()
    key = (state.st_dev, state.st_ino, state.st_size, state.st_mtime_ns)
    if key not in _DIGESTS:
        while len(_DIGESTS) >= _DIGEST_LIMIT:
            _DIGESTS.pop(next(iter(_DIGESTS)), None)
        with path.open("rb") as file:
            _DIGESTS[key] = file_digest(file, partial(blake2b, digest_size=16)).hexdigest()
    return _DIGESTS[key]


def is_undamaged(path: Path, digest: str) -> bool:
    """Return True if a file can be read and has this digest; it is read as bytes, not opened by Arrow."""
    try:
        return digest_of(path) == digest
    except OSError:
        return False


def write_index(folder: Path, index: bytes, *, names: Container[str]) -> None:
    """Write the index in one step, then remove other parts, the journal and abandoned temporary files.

    The caller must hold the lock of the folder.

    Args:
        folder: Directory of the shards.
        index: Content of index.json.
        names: File names of the parts in the index.
    """
    with atomic_path(folder / INDEX) as unfinished:
        unfinished.write_bytes(index)
    for path in [*folder.glob("*.arrow"), *folder.glob(".*.part"), folder / _JOURNAL]:
        if path.name not in names:
            path.unlink(missing_ok=True)


def _first_place(error: ValidationError) -> str:
    place = ".".join(str(part) for part in error.errors(include_input=False)[0]["loc"])
    return place or "its beginning"
