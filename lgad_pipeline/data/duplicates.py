"""Duplicate guard: frames with the same bytes, and training frames that show the picture of a test frame."""

from collections.abc import Iterator

import cv2
import numpy as np
import pandas as pd

from lgad_pipeline.lanes.lane_files import Rejected

NEAR = 10
"""Bits of 256 in which two hashes of the same picture may differ.

Recompression, noise and a change of brightness move up to 6 bits on road frames, a shift by six pixels up to
12; frames of one drive a second apart differ in some 45 or more, unless the car stands still.
"""

_ROWS, _COLUMNS = 16, 16
_FLAT = 6.0  # grey levels; a picture that varies less has no shape to compare


def picture_hash(grey: np.ndarray) -> str | None:
    """A difference hash of 256 bits, hexadecimal: which of 16 x 16 places outshine their left neighbours.

    Args:
        grey: uint8 (H, W), any size from 16 x 17 up; a reduced decoding will do.

    Returns:
        The hash; None for a picture too flat to compare, such as a black one.
    """
    cells = cv2.resize(grey, (_COLUMNS + 1, _ROWS), interpolation=cv2.INTER_AREA).astype(np.int16)
    if cells.std() < _FLAT:
        return None
    return np.packbits(cells[:, 1:] > cells[:, :-1]).tobytes().hex()


def duplicates(frames: pd.DataFrame) -> tuple[np.ndarray, list[Rejected]]:
    """Rows to reject because another row shows the same.

    The test split stays whole: published scores count all its frames. A frame of train or val gives way to
    a test frame with the same path, the same bytes or nearly the same picture (`NEAR`), one of train to one
    of val with the same bytes, and otherwise the later to the earlier with the same bytes.

    Args:
        frames: the frames table.

    Returns:
        bool (rows,), True where the row is rejected; and for each such row file, line, reason.
    """
    test = frames["split"].to_numpy() == "test"
    keeper: dict[int, tuple[int, str]] = {}
    for row, other in _same_bytes(frames):
        keeper[row] = (other, "has the same bytes as")
    rest = np.array([row for row in np.flatnonzero(~test).tolist() if row not in keeper], int)
    for row, other, bits in _near(frames["picture_hash"], rest, np.flatnonzero(test)):
        keeper[row] = (other, f"shows the same picture ({bits} of 256 bits differ) as")
    names, splits = frames["frame"].to_numpy(), frames["split"].to_numpy()
    chosen = np.zeros(len(frames), bool)
    chosen[list(keeper)] = True
    reasons = []
    for row in np.flatnonzero(chosen).tolist():
        other, how = keeper[row]
        reason = (
            f"is a {splits[row]} frame and {how} the {splits[other]} frame {names[other]}; "
            "take it out of its list, or draw the splits by drive"
        )
        reasons.append(Rejected(names[row], None, reason))
    return chosen, reasons


def _same_bytes(frames: pd.DataFrame) -> Iterator[tuple[int, int]]:
    """Rows of train and val that give way, each with the row that is kept."""
    rank = frames["split"].map({"test": 0, "val": 1, "train": 2}).to_numpy()
    order = np.argsort(rank, kind="stable")
    splits, prints = frames["split"].to_numpy(), frames["fingerprint"].to_numpy()
    first: dict[str, int] = {}
    for row in order.tolist():
        kept = first.setdefault(prints[row], row)
        if kept != row and splits[row] != "test":
            yield row, kept


def _near(hashes: pd.Series, rows: np.ndarray, others: np.ndarray) -> Iterator[tuple[int, int, int]]:
    """Row, the first of `others` within `NEAR` bits of it, and the bits."""
    rows, others = (side[hashes.iloc[side].notna().to_numpy()] for side in (rows, others))
    if not len(rows) or not len(others):
        return
    left, right = (_words(hashes.iloc[side]) for side in (rows, others))
    first = np.ascontiguousarray(left[:, 0])
    found: dict[int, tuple[int, int]] = {}
    for place in range(len(right)):
        # The first of the four words alone tells nearly all pairs apart.
        close = np.flatnonzero(np.bitwise_count(first ^ right[place, 0]) <= NEAR)
        bits = np.bitwise_count(left[close] ^ right[place]).sum(axis=1)
        for index, distance in zip(close[bits <= NEAR].tolist(), bits[bits <= NEAR].tolist(), strict=True):
            found.setdefault(index, (place, distance))
    for index, (place, distance) in sorted(found.items()):
        yield int(rows[index]), int(others[place]), distance


def _words(hashes: pd.Series) -> np.ndarray:
    """Hexadecimal hashes as uint64 (N, 4)."""
    return np.frombuffer(bytes.fromhex("".join(hashes)), np.uint64).reshape(-1, 4)
