"""Duplicate guard: rejection of frames with the same bytes, and of frames similar to a test frame."""

from collections.abc import Iterator, Sequence

import numpy as np
import pandas as pd

from lgad_pipeline.lanes.lane_files import Rejected

NEAR = 10
"""Number of bits, of 256, in which two hashes of the same picture can differ.

On road frames, recompression, noise and a change of brightness change up to 6 bits, and a shift by six
pixels up to 12. Frames of one drive that are a second apart differ in about 45 bits or more, unless the car
does not move.
"""

_PAIRS = 1 << 18  # pairs of hashes that are compared at a time


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


def hash_words(hashes: Sequence[str | None]) -> tuple[np.ndarray, np.ndarray]:
    """Return the indices of the pictures with a hash, and their hashes as numbers, uint64 (pictures, 4)."""
    # In a column of a table pandas may hold NaN in place of None.
    known = [(index, text) for index, text in enumerate(hashes) if isinstance(text, str)]
    data = np.frombuffer(bytes.fromhex("".join(text for _, text in known)), np.uint64)
    return np.array([index for index, _ in known], int), data.reshape(-1, 4)


def different_bits(hashes: np.ndarray, others: np.ndarray) -> np.ndarray:
    """Return the number of bits, int64 (pictures,), in which hashes differ.

    Args:
        hashes: hashes as numbers, uint64 (pictures, 4).
        others: hash that each is compared with, uint64 (pictures, 4), or (4,) for one of all.
    """
    return np.bitwise_count(hashes ^ others).sum(axis=-1, dtype=int)


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
    (rows, words), (targets, other_words) = hash_words(hashes), hash_words(others)
    left, right = (np.unpackbits(numbers.view(np.uint8), axis=1) for numbers in (words, other_words))
    # The target of a row and the different bits in one number, whose least value is that of the first target.
    none = len(right) << 9
    nearest = np.full(len(left), none)
    # Of NEAR + 1 groups of bits, hashes with at most NEAR different bits have a group without a difference.
    # A group takes its bits from the whole picture, so that few other pictures have the same ones.
    for first_bit in range(NEAR + 1):
        for row, target in _equal(_keys(left, first_bit), _keys(right, first_bit)):
            bits = different_bits(words[row], other_words[target])
            near = bits <= NEAR
            np.minimum.at(nearest, row[near], (target[near] << 9) + bits[near])
    found = np.flatnonzero(nearest < none)
    values = zip(targets[nearest[found] >> 9].tolist(), (nearest[found] & 511).tolist(), strict=True)
    return dict(zip(rows[found].tolist(), values, strict=True))


def _keys(bits: np.ndarray, first_bit: int) -> np.ndarray:
    """Return a number for each hash, from every (NEAR + 1)-th of its bits, uint32 (pictures,)."""
    group = np.packbits(bits[:, first_bit :: NEAR + 1], axis=1)  # 23 or 24 bits in three bytes
    return np.pad(group, ((0, 0), (0, 1))).view(np.uint32)[:, 0]


def _equal(left: np.ndarray, right: np.ndarray) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Yield the indices (pairs,) of equal numbers in two arrays, about `_PAIRS` pairs at a time."""
    order = np.argsort(left, kind="stable")
    ordered = left[order]
    start = np.searchsorted(ordered, right, side="left")
    number = np.searchsorted(ordered, right, side="right") - start
    total = np.cumsum(number)
    first = 0
    while first < len(right):
        done = int(total[first - 1]) if first else 0
        last = max(int(np.searchsorted(total, done + _PAIRS, side="right")), first + 1)
        counts = number[first:last]
        before = np.repeat(np.cumsum(counts) - counts, counts)
        position = np.repeat(start[first:last], counts) + np.arange(len(before)) - before
        yield order[position], np.repeat(np.arange(first, last), counts)
        first = last
