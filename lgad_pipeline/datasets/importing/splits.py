"""Division of the frames of an import into train, val and test."""

import re
from itertools import groupby
from pathlib import PurePosixPath

import numpy as np

from lgad_pipeline.config.splits import SPLITS
from lgad_pipeline.errors import LgadError

Splits = dict[str, list[str]]

_STATED = {
    "train": "train",
    "training": "train",
    "val": "val",
    "valid": "val",
    "validation": "val",
    "test": "test",
    "testing": "test",
}
_FAIR = 1 / 3  # minimum fraction of its share that each split must get where whole folders are divided


def draw_splits(
    frames: list[str], val: float, *, test: float, run: int | None = None, seed: int = 0
) -> Splits:
    """Divide frames so that neighbours, which look alike, stay in one split.

    - If folders are called train and val or test, they are the splits.
    - Else, if there are three folders or more and each split gets at least a third of its share, whole
      folders (drives) are drawn.
    - Else the frames, sorted by folder, then by name with numbers in numeric order, are cut at two positions.

    As long as `val` and `test` leave a share, at least one frame is for training. If both have a share, three
    frames are divided into one per split, and fewer than three are all for training.

    Args:
        frames: paths of the frames.
        val: fraction of the frames in the validation split, 0..1.
        test: fraction of the frames in the test split, 0..1.
        run: number of consecutive frames of a folder in one run; if not None, runs are drawn instead of the
            rules above.
        seed: seed of the random draw of folders or runs.

    Returns:
        split -> frames in temporal order (by folder, then by name).

    Raises:
        LgadError: `val` and `test` are more than 1 together, or `run` leaves no frame for training.
    """
    if val + test > 1 + 1e-9:
        raise LgadError(f"--val {val:g} and --test {test:g} are more than the whole; lower one of them.")
    ordered = sorted(frames, key=_by_time)
    shares = {"test": test, "val": val}
    if run is not None:
        return _by_runs(ordered, shares, run, seed)
    stated = stated_splits(ordered)
    if stated is not None:
        rest = {split: share for split, share in shares.items() if not stated[split]}
        return {**stated, **{split: part for split, part in _cut(stated["train"], rest).items() if part}}
    return _by_folder(ordered, shares, seed) or _cut(ordered, shares)


def _by_time(frame: str) -> tuple[str, list[tuple[int, int, str]]]:
    path = PurePosixPath(frame)
    pieces = re.split(r"(\d+)", path.name)
    return str(path.parent), [
        (0, int(piece[:18]), "") if piece.isdecimal() else (1, 0, piece) for piece in pieces
    ]


def stated_splits(frames: list[str]) -> Splits | None:
    """Return the splits that folder names state; frames outside such folders are for training.

    Args:
        frames: paths of the frames.

    Returns:
        split -> frames; None unless there are folders for training, and for validation or test.
    """
    splits: Splits = {split: [] for split in SPLITS}
    stated = set()
    for frame in frames:
        parts = [part.lower() for part in PurePosixPath(frame).parent.parts]
        split = next((_STATED[part] for part in parts if part in _STATED), None)
        stated.add(split)
        splits[split or "train"].append(frame)
    return splits if "train" in stated and stated & {"val", "test"} else None


def _cut(frames: list[str], shares: dict[str, float]) -> Splits:
    """Cut frames into consecutive parts: train first, then val, then test."""
    count = len(frames)
    sizes = {"val": 0, "test": 0}
    wanted = sum(share > 0 for share in shares.values())
    if count > wanted or sum(shares.values()) >= 1 - 1e-9:
        sizes = {split: max(round(share * count), 1) if share else 0 for split, share in shares.items()}
    sizes = {"val": 0, "test": 0, **sizes}
    most = count if sum(shares.values()) >= 1 - 1e-9 else count - 1
    while sum(sizes.values()) > most:
        sizes[max(sizes, key=lambda split: sizes[split])] -= 1
    first, second = count - sizes["val"] - sizes["test"], count - sizes["test"]
    return {"train": frames[:first], "val": frames[first:second], "test": frames[second:]}


def _by_folder(frames: list[str], shares: dict[str, float], seed: int) -> Splits | None:
    """Draw whole folders for each split; None if there are too few, or a split is far below its share.

    A split gets a folder if its size is then nearer to its share.
    """
    folders = [list(members) for _, members in groupby(frames, key=lambda frame: PurePosixPath(frame).parent)]
    if len(folders) < 3:
        return None
    splits: Splits = {split: [] for split in SPLITS}
    left = [folders[index] for index in np.random.default_rng(seed).permutation(len(folders))]
    for split, share in shares.items():
        wanted, rest = share * len(frames), []
        for folder in left:
            nearer = abs(len(splits[split]) + len(folder) - wanted) < abs(len(splits[split]) - wanted)
            first = share > 0 and not splits[split] and len(folder) == min(map(len, left))
            (splits[split].extend if nearer or first else rest.append)(folder)
        left = rest
    splits["train"] = [frame for folder in left for frame in folder]
    wanted = {**shares, "train": 1 - sum(shares.values())}
    if any(len(splits[split]) < _FAIR * share * len(frames) for split, share in wanted.items()):
        return None
    return {split: sorted(members, key=_by_time) for split, members in splits.items()}


def _by_runs(frames: list[str], shares: dict[str, float], run: int, seed: int) -> Splits:
    folders = groupby(frames, key=lambda frame: PurePosixPath(frame).parent)
    runs = [
        members[first : first + run]
        for members in (list(members) for _, members in folders)
        for first in range(0, len(members), run)
    ]
    splits: Splits = {split: [] for split in SPLITS}
    for index in np.random.default_rng(seed).permutation(len(runs)):
        wanting = (split for split, share in shares.items() if len(splits[split]) < share * len(frames))
        splits[next(wanting, "train")] += runs[index]
    if not splits["train"] and sum(shares.values()) < 1 - 1e-9:
        raise LgadError(
            f"--run {run} divides {len(frames)} frames into {len(runs)} runs and leaves none to train on; "
            "give a smaller number, or leave the option out."
        )
    return {split: sorted(members, key=_by_time) for split, members in splits.items()}
