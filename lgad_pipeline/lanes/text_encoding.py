"""Encodings and line endings of text files, whatever program wrote them."""

import codecs


def plain_text(content: bytes) -> bytes:
    """The content of a text file as UTF-8 without a byte order mark, with LF at the end of lines.

    Raises:
        UnicodeError: it is a broken UTF-16 text.
    """
    if b"\0" in content:
        content = content.decode(detect_encoding(content)).encode()
    content = content.removeprefix(codecs.BOM_UTF8)
    return content.replace(b"\r\n", b"\n").replace(b"\r", b"\n") if b"\r" in content else content


def detect_encoding(start: bytes) -> str:
    """Encoding of a text that starts so, by its name in Python: UTF-16, or else UTF-8 with or without a mark.

    UTF-16 without a byte order mark is recognized by the zero bytes of its ASCII characters.
    """
    if start.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        return "utf-16"
    start = start[: 1 << 12]
    even, odd = start[::2].count(0), start[1::2].count(0)
    if even + odd > len(start) // 3 and min(even, odd) <= max(even, odd) // 8:
        return "utf-16-le" if odd > even else "utf-16-be"
    return "utf-8-sig"
