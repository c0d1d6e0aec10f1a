"""Edit lists of MP4 and MOV videos: players and FFmpeg leave out the frames that a list cuts off."""

from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

_LARGEST = 1 << 28  # bytes of the tables of a video
_CUT_OFF = -1  # media time of an entry that shows nothing


def edited_seconds(path: Path) -> float | None:
    """Return the time that the edit list of a video shows; None without such a list.

    Videos that were cut without being encoded again, as phones and `ffmpeg -c copy` do, hold more frames than
    they show.
    """
    with suppress(OSError, ValueError, IndexError, StopIteration):
        tables = _tables(path)
        head = next(_inside(tables, b"mvhd"))
        ticks = int.from_bytes(head[20:24] if head[0] else head[12:16])  # per second
        for track in _inside(tables, b"trak"):
            if next(_inside(track, b"mdia", b"hdlr"))[8:12] == b"vide":
                return _shown_ticks(next(_inside(track, b"edts", b"elst"))) / ticks or None
    return None


def _tables(path: Path) -> bytes:
    """Return the content of the box `moov` of a file; empty without one."""
    with path.open("rb") as file:
        at, length = 0, path.stat().st_size
        while at + 16 <= length:
            file.seek(at)
            size, kind, head = _box_head(file.read(16), length - at)
            if kind == b"moov" and size <= _LARGEST:
                file.seek(at + head)
                return file.read(size - head)
            at += size
    return b""


def _inside(content: bytes, kind: bytes, *below: bytes) -> Iterator[bytes]:
    """Yield the contents of the boxes of a kind, or of the boxes below them."""
    at = 0
    while at + 8 <= len(content):
        size, found, head = _box_head(content[at : at + 16], len(content) - at)
        if found == kind:
            inner = content[at + head : at + size]
            yield from _inside(inner, *below) if below else [inner]
        at += size


def _box_head(data: bytes, rest: int) -> tuple[int, bytes, int]:
    """Return size and kind of a box, and the size of its head; `rest` is the number of bytes to the end.

    Raises:
        ValueError: the size is smaller than the head.
    """
    size, head = int.from_bytes(data[:4]), 8
    if size == 1:
        size, head = int.from_bytes(data[8:16]), 16
    size = size or rest
    if size < head:
        raise ValueError(size)
    return size, data[4:8], head


def _shown_ticks(edits: bytes) -> int:
    """Return the sum of the durations of an edit list, without those that show nothing."""
    width = 8 if edits[0] else 4
    entries = (edits[at:] for at in range(8, len(edits), 2 * width + 4))
    return sum(
        int.from_bytes(entry[:width])
        for entry in entries
        if int.from_bytes(entry[width : 2 * width], signed=True) != _CUT_OFF
    )
