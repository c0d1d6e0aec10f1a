"""PNG files of label maps, written from where values change, without going through the pixels.

A label map is a few runs of equal bytes a row. Deflate (RFC 1951) can say each run at once: the byte, then
"repeat the last byte n times". One Huffman code, made for label maps, serves all files; in it the longest
repeat, of 258 bytes, is two zero bits, so that background costs next to nothing. The checksum is a sum over
the runs.
"""

import struct
import zlib
from dataclasses import dataclass
from functools import cache

import numpy as np

_VALUES = 5  # a label map holds 0 .. 4
_END = 256
_REPEATS = 257  # the first of the symbols that repeat bytes
_LONGEST = 258  # bytes that one symbol, the last, repeats
_ADLER = 65521


@dataclass(frozen=True)
class LabelRuns:
    """Where the values of label maps change, along their rows; each row begins and ends with 0.

    Attributes:
        picture: int64 (N,) ascending: the label map.
        row, column: int64 (N,) ascending in a label map: where `value` begins; column W closes a row.
        value: int64 (N,) 0 .. 4.
    """

    picture: np.ndarray
    row: np.ndarray
    column: np.ndarray
    value: np.ndarray


def encode_pngs(changes: LabelRuns, count: int, size: tuple[int, int]) -> list[bytes]:
    """Label maps as 8-bit grey PNGs without filters.

    Args:
        changes: of all label maps.
        count: label maps, with or without changes.
        size: (H, W) of the label maps, pixels.
    """
    height, width = size
    length = height * (width + 1)  # each row begins with its filter: 0, none
    begin = changes.row * (width + 1) + 1 + changes.column
    inside = begin < length
    start = np.searchsorted(changes.picture[inside], np.arange(count))
    picture = np.insert(changes.picture[inside], start, np.arange(count))
    value = np.insert(changes.value[inside], start, 0)
    begin = np.insert(begin[inside], start, 0)
    start += np.arange(count)
    run = np.diff(begin, append=length)
    run[start[1:] - 1] += length  # the last run of a label map ends with it
    # Adler-32: 1 + the sum of the bytes, and the sum of what that is after each byte.
    low = 1 + np.add.reduceat(value * run, start)
    high = length + np.add.reduceat(value * (run * (length - begin) - run * (run - 1) // 2), start)
    sums = ((high % _ADLER) << 16 | low % _ADLER).tolist()
    head = b"\x89PNG\r\n\x1a\n" + _chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0))
    tail = _chunk(b"IEND", b"")
    streams = (
        b"\x78\x01" + data + struct.pack(">I", total)
        for data, total in zip(_deflate(picture, value, run, count), sums, strict=True)
    )
    return [head + _chunk(b"IDAT", stream) + tail for stream in streams]


def _chunk(name: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))


def _deflate(picture: np.ndarray, value: np.ndarray, run: np.ndarray, count: int) -> list[bytes]:
    """Each picture's runs (N,) as one deflate block."""
    header, header_size, codes, sizes, end, end_size = _code()
    longest, rest = np.divmod(run - 1, _LONGEST)
    bits = np.cumsum(sizes[value, rest] + 2 * longest)
    before = np.concatenate([[0], bits])  # bits of all runs before one
    first = np.searchsorted(picture, np.arange(count + 1))
    used = header_size + np.diff(before[first])  # bits of a picture, but for the end
    words = (used + end_size) // 32 + 1
    begin = np.cumsum(words) - words
    at = before[:-1] + (32 * begin + header_size - before[first[:-1]])[picture]
    stream = _lay(
        np.concatenate([at, 32 * begin + used]),
        np.concatenate([codes[value, rest], np.full(count, end, np.uint64)]),
        int(words.sum()),
    )
    stream[begin[:, None] + np.arange(len(header))] += header
    data = stream.astype("<u4").tobytes()
    stop = 4 * begin + (used + end_size + 7) // 8
    return [data[low:high] for low, high in zip((4 * begin).tolist(), stop.tolist(), strict=True)]


def _lay(at: np.ndarray, codes: np.ndarray, words: int) -> np.ndarray:
    """Codes of up to 32 bits laid into a stream at the bits given, least bit first, as uint32 (words,)."""
    shifted = codes << (at & 31).astype(np.uint64)
    word = at >> 5
    # No two codes share a bit, so that adding them is joining them; a float64 holds 32 bits.
    low = np.bincount(word, shifted & np.uint64(0xFFFFFFFF), words)
    high = np.bincount(word + 1, shifted >> np.uint64(32), words + 1)[:words]
    return (low + high).astype(np.uint32)


@cache
def _code() -> tuple[np.ndarray, int, np.ndarray, np.ndarray, int, int]:
    """The block's header as uint32 words and its size in bits; the codes and sizes of runs; those of the end.

    Codes of runs, uint64 (values, 258), and their sizes in bits, int64, are of runs of 1 .. 258 bytes; more
    bytes are repeats of 258, all of whose bits are zero.
    """
    lengths = [0] * (_REPEATS + 29)
    lengths[0] = 3
    lengths[1:_VALUES] = [5] * (_VALUES - 1)
    lengths[_END:-1] = [7] * 29
    lengths[-5:-2] = [6] * 3  # the long repeats of background
    lengths[-1] = 1
    symbols = _canonical(lengths)
    # Dynamic block, the last one; 286 symbols, 1 distance, 18 sizes of codes for code lengths, in the order
    # of the RFC: 0 .. 7 have 3 bits, so that they are written as they are; all others do not occur.
    fields = [(1, 1), (2, 2), (29, 5), (0, 5), (14, 4)]
    order = (16, 17, 18, 0, 8, 7, 9, 6, 10, 5, 11, 4, 12, 3, 13, 2, 14, 1)
    fields += [(3 if symbol < 8 else 0, 3) for symbol in order]
    fields += [(_reverse(length, 3), 3) for length in [*lengths, 1]]
    header, header_size = _join(fields)
    words = np.frombuffer(header.to_bytes(header_size // 32 * 4 + 4, "little"), "<u4").astype(np.uint32)
    codes, sizes = np.zeros((_VALUES, _LONGEST), np.uint64), np.zeros((_VALUES, _LONGEST), np.int64)
    for value in range(_VALUES):
        for more in range(_LONGEST):
            literal = (symbols[value], lengths[value])
            parts = [literal] * (1 + more) if more < 3 else [literal, *_repeat(more, symbols, lengths)]
            codes[value, more], sizes[value, more] = _join(parts)
    return words, header_size, codes, sizes, symbols[_END], lengths[_END]


def _repeat(count: int, symbols: list[int], lengths: list[int]) -> list[tuple[int, int]]:
    """Repeating the last byte 3 .. 257 times: symbol, extra bits, distance 1 (a zero bit)."""
    extra = max((count - 3).bit_length() - 3, 0)
    symbol = _REPEATS + 4 * extra + ((count - 3) >> extra)
    return [(symbols[symbol], lengths[symbol]), ((count - 3) & ((1 << extra) - 1), extra), (0, 1)]


def _canonical(lengths: list[int]) -> list[int]:
    """The Huffman codes that the lengths stand for, first bit lowest; -1 for symbols that do not occur."""
    codes = [-1] * len(lengths)
    code, size = 0, 0
    for length, symbol in sorted((length, symbol) for symbol, length in enumerate(lengths) if length):
        code <<= length - size
        size = length
        codes[symbol] = _reverse(code, length)
        code += 1
    return codes


def _reverse(code: int, size: int) -> int:
    return int(f"{code:0{size}b}"[::-1], 2)


def _join(fields: list[tuple[int, int]]) -> tuple[int, int]:
    """Fields (bits, size), the first one lowest, as one number and its size."""
    total, at = 0, 0
    for bits, size in fields:
        total |= bits << at
        at += size
    return total, at
