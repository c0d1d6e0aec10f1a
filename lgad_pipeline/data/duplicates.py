"""Duplicate guard: rejection of frames with the same bytes, and of frames similar to a test frame."""

from collections.abc import Iterator, Sequence

import cv2
import numpy as np
import pandas as pd

from lgad_pipeline.lanes.lane_files import Rejected

NEAR = 10
"""Number of bits, of 256, in which two hashes of the same picture can differ.

On road frames, recompression, noise and a change of brightness change up to 6 bits, and a shift by six
pixels up to 12. Frames of one drive that are a second apart differ in about 45 bits or more, unless the car
does not move.
"""

_ROWS, _COLUMNS = 16, 16
_FLAT = 6.0  # grey levels; a picture with a smaller standard deviation has no structure to compare


def picture_hash(grey: np.ndarray) -> str | None:
    """Compute the difference hash: a bit for each of 16 x 16 cells, 1 if brighter than its left neighbour.

    Args:
        grey: grey picture, uint8 (H, W), at least 16 x 17; a reduced decoding is sufficient.

    Returns:
        The hash, 256 bits, hexadecimal; None for a picture without structure, such as a black one.
    """
    cells = cv2.resize(grey, (_COLUMNS + 1, _ROWS), interpolation=cv2.INTER_AREA)
    if cv2.meanStdDev(cells)[1] < _FLAT:
        return None
    return np.packbits(cells[:, 1:] > cells[:, :-1]).tobytes().hex()


def duplicates(frames: pd.DataFrame) -> tuple[np.ndarray, list[Rejected]]:
    """Find the rows of the frames table to reject because another row has the same content.

    No test frame is rejected, because published scores count all of them. A frame of train or val is rejected
    if a test frame has the same bytes or nearly the same picture (`NEAR`). A train frame is rejected if a val
    frame has the same bytes. Of frames with the same bytes in one split (train or val), the first is kept.

    Args:
        frames: the frames table.

    Returns:
        Flags, bool (rows,), True for a rejected row; and the rejected item (file, line, reason) of each
        such row.
    """
    test = frames["split"].to_numpy() == "test"
    keeper: dict[int, tuple[int, str]] = {}
    for row, kept_row in _same_bytes(frames):
        keeper[row] = (kept_row, "has the same bytes as")
    rest = np.array([row for row in np.flatnonzero(~test).tolist() if row not in keeper], int)
    kept = np.flatnonzero(test)
    hashes = frames["picture_hash"]
    near = near_pictures(hashes.iloc[rest].tolist(), hashes.iloc[kept].tolist())
    for row, (kept_row, bits) in near.items():
        how = f"shows the same picture ({bits} of 256 bits differ) as"
        keeper[int(rest[row])] = (int(kept[kept_row]), how)
    names, splits = frames["frame"].to_numpy(), frames["split"].to_numpy()
    chosen = np.zeros(len(frames), bool)
    chosen[list(keeper)] = True
    reasons = []
    for row in np.flatnonzero(chosen).tolist():
        kept_row, how = keeper[row]
        reason = (
            f"is a {splits[row]} frame and {how} the {splits[kept_row]} frame {names[kept_row]}; "
            "take it out of its list, or draw the splits by drive"
        )
        reasons.append(Rejected(names[row], None, reason))
    return chosen, reasons


def _same_bytes(frames: pd.DataFrame) -> Iterator[tuple[int, int]]:
    """Yield each row of train and val to reject for its bytes, with the row that is kept."""
    rank = frames["split"].map({"test": 0, "val": 1, "train": 2}).to_numpy()
    order = np.argsort(rank, kind="stable")
    splits, prints = frames["split"].to_numpy(), frames["fingerprint"].to_numpy()
    first: dict[str, int] = {}
    for row in order.tolist():
        kept = first.setdefault(prints[row], row)
        if kept != row and splits[row] != "test":
            yield row, kept


def near_pictures(hashes: Sequence[str | None], others: Sequence[str | None]) -> dict[int, tuple[int, int]]:
    """Find the pictures that are nearly the same as one of others: at most `NEAR` bits of the hash differ.

    Args:
        hashes: hashes of the pictures, as `picture_hash` computes them; a picture without one (None or NaN)
            is never near.
        others: hashes of the others.

    Returns:
        Index of a picture -> index of the first of the others that it is near to, and the bits that differ;
        ascending.
    """
    (rows, left), (targets, right) = _bits(hashes), _bits(others)
    first = np.ascontiguousarray(left[:, 0])
    nearest: dict[int, tuple[int, int]] = {}
    for target, words in zip(targets.tolist(), right, strict=True):
        # The first of the four words alone excludes nearly all pairs, so only a few are compared in full.
        close = np.flatnonzero(np.bitwise_count(first ^ words[0]) <= NEAR)
        bits = np.bitwise_count(left[close] ^ words).sum(axis=1)
        near = bits <= NEAR
        for row, distance in zip(rows[close[near]].tolist(), bits[near].tolist(), strict=True):
            nearest.setdefault(row, (target, distance))
    return dict(sorted(nearest.items()))


def _bits(hashes: Sequence[str | None]) -> tuple[np.ndarray, np.ndarray]:
    """Return the indices of the pictures with a hash, and the hashes, uint64 (pictures, 4)."""
    # In a column of a table pandas may hold NaN in place of None.
    known = [(index, text) for index, text in enumerate(hashes) if isinstance(text, str)]
    bits = np.frombuffer(bytes.fromhex("".join(text for _, text in known)), np.uint64)
    return np.array([index for index, _ in known], int), bits.reshape(-1, 4)
