"""PNG encoder for label maps given as runs, without a pass over the pixels.

A label map has a few runs of equal bytes a row. Deflate (RFC 1951) encodes a run as the byte, then "repeat
the last byte n times". All files share one Huffman code, designed for label maps: the longest repeat, of 258
bytes, is two zero bits, so that background takes little space and time. The checksum is computed from the
runs.
"""

import struct
import zlib
from dataclasses import dataclass
from functools import cache

import numpy as np

_VALUES = 5  # a label map holds 0 .. 4
_END = 256
_REPEATS = 257  # first of the symbols that repeat bytes
_LONGEST = 258  # bytes that the last symbol repeats
_ADLER = 65521  # modulus of Adler-32


@dataclass(frozen=True)
class LabelRuns:
    """Runs of equal values along the rows of label maps; each row begins and ends with 0.

    Attributes:
        picture: index of the label map of each run, int64 (N,), ascending.
        row: row of each run, int64 (N,), ascending within a label map.
        column: column where the run begins, int64 (N,), ascending within a row; column W closes a row.
        value: value of the run, 0 .. 4, int64 (N,).
    """

    picture: np.ndarray
    row: np.ndarray
    column: np.ndarray
    value: np.ndarray


def encode_pngs(runs: LabelRuns, count: int, *, size: tuple[int, int]) -> list[bytes]:
    """Encode label maps as 8-bit gray PNGs without filters.

    Args:
        runs: runs of all label maps.
        count: number of label maps, those without any run included.
        size: size of the label maps (H, W), pixels.

    Returns:
        Content of one PNG file for each label map.
    """
    height, width = size
    length = height * (width + 1)  # each row begins with a byte for its filter: 0, none
    begin = runs.row * (width + 1) + 1 + runs.column
    inside = begin < length
    start = np.searchsorted(runs.picture[inside], np.arange(count))
    picture = np.insert(runs.picture[inside], start, np.arange(count))
    value = np.insert(runs.value[inside], start, 0)
    begin = np.insert(begin[inside], start, 0)
    start += np.arange(count)
    run = np.diff(begin, append=length)
    run[start[1:] - 1] += length  # the last run of a label map ends with it
    # Adler-32: 1 + the sum of the bytes, and the sum of that value after each byte.
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
    """Build a PNG chunk: length, name, content, checksum."""
    return struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))


def _deflate(picture: np.ndarray, value: np.ndarray, run: np.ndarray, count: int) -> list[bytes]:
    """Encode the runs of each label map as one deflate block.

    Args:
        picture: index of the label map of each run, int64 (N,), ascending.
        value: value of each run, int64 (N,).
        run: length of each run, bytes, int64 (N,).
        count: number of label maps.
    """
    header, header_size, codes, sizes, end, end_size = _code()
    longest, rest = np.divmod(run - 1, _LONGEST)
    bits = np.cumsum(sizes[value, rest] + 2 * longest)
    before = np.concatenate([[0], bits])  # bits of all runs before each run
    first = np.searchsorted(picture, np.arange(count + 1))
    used = header_size + np.diff(before[first])  # bits of each label map without the end symbol
    words = (used + end_size) // 32 + 1
    begin = np.cumsum(words) - words
    position = before[:-1] + (32 * begin + header_size - before[first[:-1]])[picture]
    stream = _write_codes(
        np.concatenate([position, 32 * begin + used]),
        np.concatenate([codes[value, rest], np.full(count, end, np.uint64)]),
        int(words.sum()),
    )
    stream[begin[:, None] + np.arange(len(header))] += header
    data = stream.astype("<u4").tobytes()
    stop = 4 * begin + (used + end_size + 7) // 8
    return [data[low:high] for low, high in zip((4 * begin).tolist(), stop.tolist(), strict=True)]


def _write_codes(position: np.ndarray, codes: np.ndarray, words: int) -> np.ndarray:
    """Write codes into a bit stream, least bit first.

    Args:
        position: position of each code in the stream, bits, int64 (N,).
        codes: codes of up to 32 bits, uint64 (N,).
        words: length of the stream, words of 32 bits.

    Returns:
        uint32 (words,).
    """
    shifted = codes << (position & 31).astype(np.uint64)
    word = position >> 5
    # No two codes share a bit, so their sum is their union, and a float64 holds 32 bits exactly.
    low = np.bincount(word, shifted & np.uint64(0xFFFFFFFF), words)
    high = np.bincount(word + 1, shifted >> np.uint64(32), words + 1)[:words]
    return (low + high).astype(np.uint32)


@cache
def _code() -> tuple[np.ndarray, int, np.ndarray, np.ndarray, int, int]:
    """Build the Huffman code that all label maps share.

    Returns:
        Header of a block as uint32 words, and its size in bits; codes of runs of 1 .. 258 bytes, uint64
        (values, 258), and their sizes in bits, int64; code and size of the end symbol. Longer runs append
        repeats of 258 bytes, whose bits are all zero.
    """
    lengths = [0] * (_REPEATS + 29)
    lengths[0] = 3
    lengths[1:_VALUES] = [5] * (_VALUES - 1)
    lengths[_END:-1] = [7] * 29
    lengths[-5:-2] = [6] * 3  # the long repeats of background
    lengths[-1] = 1
    symbols = _canonical(lengths)
    # Header of a last, dynamic block: 286 symbols, 1 distance, then the sizes of the codes for code lengths
    # in the order of the RFC. Lengths 0 .. 7 have codes of 3 bits equal to the lengths; no others occur.
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
    """Return the fields that repeat the last byte 3 .. 257 times: symbol, extra bits, distance 1.

    A field is a pair of bits and their number.
    """
    extra = max((count - 3).bit_length() - 3, 0)
    symbol = _REPEATS + 4 * extra + ((count - 3) >> extra)
    return [(symbols[symbol], lengths[symbol]), ((count - 3) & ((1 << extra) - 1), extra), (0, 1)]


def _canonical(lengths: list[int]) -> list[int]:
    """Compute canonical Huffman codes from code lengths, first bit lowest; -1 for symbols of length 0."""
    codes = [-1] * len(lengths)
    code, size = 0, 0
    for length, symbol in sorted((length, symbol) for symbol, length in enumerate(lengths) if length):
        code <<= length - size
        size = length
        codes[symbol] = _reverse(code, length)
        code += 1
    return codes


def _reverse(code: int, size: int) -> int:
    """Reverse the `size` bits of a code."""
    return int(f"{code:0{size}b}"[::-1], 2)


def _join(fields: list[tuple[int, int]]) -> tuple[int, int]:
    """Join fields (bits, size) to one number, the first field lowest; return it and its size in bits."""
    total, position = 0, 0
    for bits, size in fields:
        total |= bits << position
        position += size
    return total, position
