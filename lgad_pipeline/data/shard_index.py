"""Index of packed shards: fingerprint of their inputs, and digest of every part."""

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
PART_NAME = re.compile(r"(train|val|test)-\d{5,}-[0-9a-f]{16}\.arrow")
_JOURNAL = ".packing.jsonl"
_FORMAT = 3

Digest = Annotated[str, Field(pattern=r"^[0-9a-f]{32}$")]
Side = Annotated[int, Field(ge=1, le=16384)]


class Origin(NamedTuple):
    """Whose frames the shards hold.

    Attributes:
        owner: name of the project, see `Settings.owner`.
        dataset: name of the data set in the settings of the project.
    """

    owner: str
    dataset: str


LOCAL = Origin("", "")
"""The origin of shards that no store holds."""


class _Entry(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)


class PartEntry(_Entry):
    """One Arrow file.

    Attributes:
        file: name of the file.
        rows: frames in it.
        digest: BLAKE2b-128 of the file's bytes, hexadecimal.
    """

    file: Annotated[str, Field(pattern=f"^{PART_NAME.pattern}$")]
    rows: int = Field(ge=1)
    digest: Digest


class ViewEntry(_Entry):
    """The `View` through which the frames were packed, see there."""

    frame_size: tuple[Side, Side]
    image_size: tuple[Side, Side]
    crop_top: int = Field(ge=0)

    @model_validator(mode="after")
    def _leaves_something(self) -> Self:
        if self.crop_top >= self.frame_size[0]:
            raise ValueError("crop_top leaves nothing of the frame")
        return self


class ShardIndex(_Entry):
    """What index.json holds.

    Attributes:
        format: version of this layout.
        fingerprint: BLAKE2b-128, hexadecimal, of everything that the shards were made from.
        owner: name of the project that packed them; "" for shards that no store holds.
        dataset: name of the data set in the settings of that project; "" as above.
        view: how a frame became an image.
        splits: the parts of each split, in order.
        rejected: (file, line, reason) of each frame that could not be packed.
        checksum: BLAKE2b-128, hexadecimal, of all of the above.
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
        """The parts of all splits."""
        return [part for parts in self.splits.values() for part in parts]

    @property
    def origin(self) -> Origin:
        """Whose frames they are."""
        return Origin(self.owner, self.dataset)

    def to_bytes(self) -> bytes:
        """The content of the file."""
        return self.model_copy(update={"checksum": self._sum()}).model_dump_json(indent=1).encode() + b"\n"

    @classmethod
    def from_bytes(cls, content: bytes, place: str) -> Self:
        """Read the content of the file.

        Raises:
            LgadError: it is damaged or of another version; `place` is named.
        """
        try:
            index = cls.model_validate_json(content)
        except ValidationError as error:
            raise LgadError(
                f"{place} is no index of shards, or of another version (see {_first_place(error)} in it); "
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
    parts: dict[str, list[PartEntry]], view: View, rejected: Iterable[Rejected], origin: Origin
) -> ShardIndex:
    """Index of freshly packed parts; its fingerprint depends on what they were made from alone."""
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
        LgadError: it is missing, damaged or of another version.
    """
    path = folder / INDEX
    try:
        content = path.read_bytes()
    except FileNotFoundError as error:
        raise LgadError(f"{path} is missing; pack the shards again.") from error
    return ShardIndex.from_bytes(content, str(path))


class Journal:
    """The parts that a packing has finished, so that a killed one need not make them again.

    Arrow is never asked if a file is whole: it may crash the process on a damaged one.
    """

    def __init__(self, folder: Path) -> None:
        self._path = folder / _JOURNAL
        self._folder = folder
        self._known: dict[str, PartEntry] = {}
        with suppress(LgadError):  # without an index that can be read, the journal alone counts
            self._known |= {part.file: part for part in read_index(folder).parts}
        lines = self._path.read_bytes().splitlines() if self._path.is_file() else []
        for line in lines:
            try:
                part = PartEntry.model_validate_json(line)
            except ValidationError:  # the process was killed while it wrote this line
                continue
            self._known[part.file] = part

    def finished(self, name: str, rows: int) -> PartEntry | None:
        """The entry of a part that is there undamaged with all its rows; None when it has to be packed."""
        part = self._known.get(name)
        complete = part is not None and part.rows == rows and is_undamaged(self._folder / name, part.digest)
        return part if complete else None

    def add(self, part: PartEntry) -> None:
        """Note a finished part; LgadError when that cannot be written."""
        try:
            with self._path.open("ab") as file:
                file.write(part.model_dump_json().encode() + b"\n")
        except OSError as error:
            raise os_fault(error, self._path, "written") from error


_DIGESTS: dict[tuple[int, int, int, int], str] = {}
"""Digests of files that this process has read, by device, inode, size and time of change."""


def digest_of(path: Path) -> str:
    """BLAKE2b-128 of a file's bytes, hexadecimal; a file that kept its size and time is read once a process.

    Raises:
        OSError: the file cannot be read.
    """
    state = path.stat()
    key = (state.st_dev, state.st_ino, state.st_size, state.st_mtime_ns)
    if key not in _DIGESTS:
        with path.open("rb") as file:
            _DIGESTS[key] = file_digest(file, partial(blake2b, digest_size=16)).hexdigest()
    return _DIGESTS[key]


def is_undamaged(path: Path, digest: str) -> bool:
    """Tell if a file can be read and has this digest; it is read as bytes, never opened by Arrow."""
    try:
        return digest_of(path) == digest
    except OSError:
        return False


def write_index(folder: Path, index: bytes, names: Container[str]) -> None:
    """Write the index in one step, then remove other parts, the journal and left-overs of killed processes.

    The caller holds the lock of the folder.

    Args:
        folder: Directory of the shards.
        index: Content of the file.
        names: The parts that it names.
    """
    with atomic_path(folder / INDEX) as unfinished:
        unfinished.write_bytes(index)
    for path in [*folder.glob("*.arrow"), *folder.glob(".*.part"), folder / _JOURNAL]:
        if path.name not in names:
            path.unlink(missing_ok=True)


def _first_place(error: ValidationError) -> str:
    place = ".".join(str(part) for part in error.errors(include_input=False)[0]["loc"])
    return place or "its beginning"
