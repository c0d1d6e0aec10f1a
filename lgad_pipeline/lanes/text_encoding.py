"""Encodings and line endings of text files written by any program: UTF-8, UTF-16, LF, CR LF, CR."""

import codecs


def plain_text(content: bytes) -> bytes:
    """Convert the content of a text file to UTF-8 without a byte order mark, with LF at the end of lines.

    Args:
        content: bytes of the whole file.

    Raises:
        UnicodeError: the content is incomplete or invalid UTF-16.
    """
    if b"\0" in content:
        content = content.decode(detect_encoding(content)).encode()
    content = content.removeprefix(codecs.BOM_UTF8)
    return content.replace(b"\r\n", b"\n").replace(b"\r", b"\n") if b"\r" in content else content


def detect_encoding(start: bytes) -> str:
    """Detect the encoding of a text: UTF-16, or else UTF-8 with or without a byte order mark.

    UTF-16 without a byte order mark is recognized by the zero bytes of its ASCII characters.

    Args:
        start: first bytes of the text, an even number of them unless it is shorter.

    Returns:
        Python's name of the encoding.
    """
    if start.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        return "utf-16"
    start = start[: 1 << 12]
    even, odd = start[::2].count(0), start[1::2].count(0)
    if even + odd > len(start) // 3 and min(even, odd) <= max(even, odd) // 8:
        return "utf-16-le" if odd > even else "utf-16-be"
    return "utf-8-sig"
