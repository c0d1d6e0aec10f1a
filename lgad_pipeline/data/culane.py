"""CULane as published: a folder of frames, lane files and uneven lists becomes the frames table."""

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from hashlib import blake2b
from pathlib import Path, PurePosixPath

import numpy as np
import pandas as pd
import pyarrow as pa

from lgad_pipeline.data.frames import (
    FRAMES_SCHEMA,
    SCENARIOS,
    SPLITS,
    FrameRecord,
    frames_batch,
    set_aside_table,
    to_pandas,
)
from lgad_pipeline.data.images import IMAGE_SUFFIXES, image_size
from lgad_pipeline.data.parallel import ordered_map
from lgad_pipeline.data.reading import frame_limit, read_inside
from lgad_pipeline.errors import LgadError
from lgad_pipeline.lanes.files import SetAside as SetAsideLine
from lgad_pipeline.lanes.files import lane_file, parse_lanes

Progress = Callable[[int, int], None]
SetAside = tuple[str, int | None, str]

_LISTS = {split: (f"list/{split}_gt.txt", f"list/{split}.txt") for split in SPLITS}
_LINE_LIMIT = 4096  # bytes; the longest path that Linux takes
_LANE_FILE_LIMIT = 1 << 20  # bytes; CULane's longest lane file has a few thousand
_CHUNK = 64  # frames checked by one thread at a time


@dataclass(frozen=True)
class Ingestion:
    """What a data set's folder held.

    Attributes:
        frames: the frames table (`FRAMES_SCHEMA`), train, val, test, each in the order of its list.
        set_aside: what could not be used (`SET_ASIDE_SCHEMA`): file, line, reason with remedy.
    """

    frames: pd.DataFrame
    set_aside: pd.DataFrame


@dataclass(frozen=True)
class _Entry:
    """A frame as a list names it."""

    frame: str
    existence: tuple[bool, ...] | None
    file: str
    line: int


def ingest(
    root: Path,
    frame_size: tuple[int, int] = (590, 1640),
    workers: int | None = None,
    progress: Progress | None = None,
) -> Ingestion:
    """Read a data set in CULane's layout.

    Reads `list/{train,val,test}_gt.txt` (else the list without `_gt`, which has no existence flags) and the
    categories `list/test_split/test0_*.txt` .. `test8_*.txt`. Frame and lane files are read whole, once, to
    fingerprint them; images are not decoded. Whatever cannot be used is set aside with its reason, and the
    rest goes on. Nothing outside `root` is read. A frame in two splits has a row in each: see
    `split_leakage`.

    Args:
        root: folder that holds `list/` and the frames' folders.
        frame_size: (H, W) that every frame must have, pixels.
        workers: threads; default two per core.
        progress: called as progress(frames done, frames in total).

    Raises:
        LgadError: `root` or one of the three lists is missing, or not a single frame can be used.
    """
    root = Path(root)
    if not root.is_dir():
        raise LgadError(f"The data root {root} is missing; correct `root` of the data set in lgad.yaml.")
    if not any(root.iterdir()):
        raise LgadError(
            f"The data root {root} is empty; put the data set there or correct `root` in lgad.yaml."
        )
    set_aside: list[SetAside] = []
    entries = {split: _unique_entries(root, _list_of(root, split), set_aside) for split in SPLITS}
    scenarios = _scenarios(root, {entry.frame for entry in entries["test"]}, set_aside)
    work = [(split, entry) for split in SPLITS for entry in entries[split]]
    chunks = [work[first : first + _CHUNK] for first in range(0, len(work), _CHUNK)]
    workers = workers or 2 * (os.cpu_count() or 1)

    def check_chunk(chunk: Sequence[tuple[str, _Entry]]) -> tuple[pa.RecordBatch, list[SetAside]]:
        results = [_check(root, entry, split, scenarios, frame_size) for split, entry in chunk]
        records = [result for result in results if isinstance(result, FrameRecord)]
        return frames_batch(records), [result for result in results if not isinstance(result, FrameRecord)]

    batches, done = [], 0
    for chunk, (batch, refused) in zip(
        chunks, ordered_map(check_chunk, chunks, workers, ahead=2 * workers), strict=True
    ):
        batches.append(batch)
        set_aside += refused
        done += len(chunk)
        if progress is not None:
            progress(done, len(work))
    frames = to_pandas(pa.Table.from_batches(batches, FRAMES_SCHEMA))
    if frames.empty:
        example = "; ".join(f"{file}: {reason}" for file, _, reason in set_aside[:1]) or "the lists are empty"
        raise LgadError(f"Not one frame of {root} can be used ({example}); mend the data set or its lists.")
    return Ingestion(frames, set_aside_table(set_aside))


def _list_of(root: Path, split: str) -> str:
    for name in _LISTS[split]:
        if (root / name).is_file():
            return name
    with_flags, plain = _LISTS[split]
    raise LgadError(
        f"{root} has neither {with_flags} nor {plain}; write the {split} list, one frame path a line, "
        "or correct `root` of the data set in lgad.yaml."
    )


def _lines(path: Path) -> Iterator[tuple[int, bytes]]:
    """Number and text of the lines that are not blank, none longer than the limit + 1 in memory."""
    with path.open("rb") as stream:
        number = 0
        while line := stream.readline(_LINE_LIMIT + 1):
            number += 1
            whole = line
            while len(line) > _LINE_LIMIT and not line.endswith(b"\n"):
                line = stream.readline(_LINE_LIMIT + 1)
            if whole.strip():
                yield number, whole.strip()


def _unique_entries(root: Path, name: str, set_aside: list[SetAside]) -> list[_Entry]:
    """The entries of one list, each frame once; what is refused or repeated is set aside."""
    first_line: dict[str, int] = {}
    entries = []
    for number, line in _lines(root / name):
        try:
            frame, existence = _parse(line, flags_expected=name.endswith("_gt.txt"))
        except ValueError as error:
            set_aside.append((name, number, str(error)))
            continue
        if frame in first_line:
            reason = f"repeats {frame} of line {first_line[frame]}; take one of the two lines out"
            set_aside.append((name, number, reason))
            continue
        first_line[frame] = number
        entries.append(_Entry(frame, existence, name, number))
    return entries


def _parse(line: bytes, flags_expected: bool) -> tuple[str, tuple[bool, ...] | None]:
    """Frame and existence flags of a list line, `frame` or `frame label_map f f f f`.

    Raises:
        ValueError: the line names no frame inside the root; the text is the reason to report.
    """
    if len(line) > _LINE_LIMIT:
        raise ValueError(f"is longer than {_LINE_LIMIT} bytes; write one frame path a line")
    try:
        text = line.decode("utf-8")
    except UnicodeDecodeError as error:
        raise ValueError("is not UTF-8; rename the frame and write the list as UTF-8") from error
    existence = None
    if flags_expected:
        columns = text.rsplit(maxsplit=5)
        if len(columns) != 6 or not set(columns[2:]) <= {"0", "1"}:
            raise ValueError("is not `frame label_map f f f f` with flags 0 or 1; write the line so")
        text = columns[0]
        existence = tuple(flag == "1" for flag in columns[2:])
    path = PurePosixPath(text.lstrip("/"))
    if ".." in path.parts or not text.isprintable():
        raise ValueError(
            "leads out of the data root or holds control characters; name a frame below the root"
        )
    if path.suffix.lower() not in IMAGE_SUFFIXES:
        raise ValueError(f"names no {', '.join(IMAGE_SUFFIXES)} file; name a frame below the root")
    return str(path), existence


def _scenarios(root: Path, test_frames: set[str], set_aside: list[SetAside]) -> dict[str, str]:
    """Category of each test frame that has one; of several, the first counts and the others are reported."""
    scenarios: dict[str, str] = {}
    folder = root / "list" / "test_split"
    for number, scenario in enumerate(SCENARIOS):
        for path in sorted(folder.glob(f"test{number}_*.txt")):
            name = f"list/test_split/{path.name}"
            for entry in _unique_entries(root, name, set_aside):
                if entry.frame not in test_frames:
                    reason = (
                        f"names {entry.frame}, which the test list has not; add it there or take the line out"
                    )
                    set_aside.append((name, entry.line, reason))
                elif entry.frame in scenarios:
                    reason = (
                        f"puts {entry.frame} into {scenario} as well as {scenarios[entry.frame]}, "
                        "which counts; take one of the two lines out"
                    )
                    set_aside.append((name, entry.line, reason))
                else:
                    scenarios[entry.frame] = scenario
    return scenarios


def _check(
    root: Path, entry: _Entry, split: str, scenarios: Mapping[str, str], frame_size: tuple[int, int]
) -> FrameRecord | SetAside:
    """Read one frame and its lane file: a row of the table, or why not."""
    height, width = frame_size
    try:
        data = read_inside(root, entry.frame, frame_limit(frame_size))
        claimed = image_size(data)
    except FileNotFoundError:
        reason = f"names {entry.frame}, which does not exist; restore the frame or take the line out"
        return entry.file, entry.line, reason
    except LgadError as error:
        return entry.frame, None, str(error)
    if claimed != frame_size:
        reason = (
            f"is {claimed[1]} x {claimed[0]} px where {width} x {height} is declared; "
            "correct frame_size in lgad.yaml or take the frame out of the lists"
        )
        return entry.frame, None, reason
    lane_name = str(lane_file(Path(), entry.frame))
    try:
        lane_data = read_inside(root, lane_name, _LANE_FILE_LIMIT)
    except FileNotFoundError:
        return lane_name, None, "is missing; restore it, or write an empty one where the frame shows no lanes"
    except LgadError as error:
        return lane_name, None, str(error)
    faults: list[SetAsideLine] = []
    lanes = parse_lanes(lane_data, lane_name, faults)
    if faults:
        return lane_name, faults[0].line, faults[0].reason
    if (line := _outlier(lanes, frame_size)) is not None:
        return (
            lane_name,
            line,
            "has a point farther outside the frame than the frame is large; correct the lane",
        )
    fingerprints = [blake2b(content, digest_size=16).hexdigest() for content in (data, lane_data)]
    scenario = scenarios.get(entry.frame) if split == "test" else None
    return FrameRecord(
        entry.frame, split, scenario, lanes, entry.existence, width, height, fingerprints[0], fingerprints[1]
    )


def _outlier(lanes: Sequence[np.ndarray], frame_size: tuple[int, int]) -> int | None:
    """Line, from 1, of a lane with a point too far away to be meant; lanes may leave the frame a little."""
    size = np.array(frame_size[::-1], np.float32)
    for line, lane in enumerate(lanes, 1):
        if not ((lane >= -size) & (lane <= 2 * size)).all():
            return line
    return None
