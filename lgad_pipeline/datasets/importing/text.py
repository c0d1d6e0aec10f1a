"""Decoding of annotation files: XML and JSON in several text encodings."""

import json
import re
from typing import Any

from lgad_pipeline.datasets.reader import AnnotationError

_DECLARED = re.compile(
    rb"""^(?:\xef\xbb\xbf)?\s*<\?xml[^>]{0,200}?encoding\s*=\s*["']([A-Za-z0-9._:-]{1,40})["']"""
)
_OF_THE_PARSER = ("utf-8", "utf8", "utf-16", "utf-16le", "utf-16be", "iso-8859-1", "us-ascii", "ascii")
# Files often contain characters of a newer superset, so the superset decodes each old name.
_DECODED = {
    "gb2312": "gb18030",
    "gbk": "gb18030",
    "gb18030": "gb18030",
    "big5": "big5hkscs",
    "shift_jis": "cp932",
    "windows-31j": "cp932",
    "euc-jp": "euc_jp",
    "euc-kr": "cp949",
    "ks_c_5601-1987": "cp949",
    "koi8-r": "koi8_r",
    **{f"windows-125{number}": f"cp125{number}" for number in range(9)},
    **{f"cp125{number}": f"cp125{number}" for number in range(9)},
    **{f"iso-8859-{number}": f"iso8859_{number}" for number in (2, 3, 4, 5, 6, 7, 8, 9, 10, 13, 14, 15, 16)},
}


def xml_as_utf8(data: bytes) -> tuple[bytes, str | None]:
    """Convert XML to an encoding that the parser reads.

    Only encodings on a fixed list are decoded, because the name comes from the untrusted file, and some of
    Python's codecs do other things than decode text. The parser looks up unknown names in those codecs, so
    it must not receive one.

    Args:
        data: content of the XML file.

    Returns:
        The bytes to parse, and the encoding that overrides the declared one; None if the declared one holds.

    Raises:
        ValueError: the declared encoding is not on the list, or the bytes do not fit it.
    """
    declared = _DECLARED.match(data[:400])
    if declared is None:
        return data, None
    name = declared[1].decode().lower()
    if name in _OF_THE_PARSER:
        return data, None
    if name not in _DECODED:
        raise ValueError(f"its encoding {name} is not known")
    return data.decode(_DECODED[name]).encode(), "utf-8"


def parse_json(data: bytes) -> Any:
    """Parse a JSON file in UTF-8, UTF-16 or UTF-32, with or without a byte order mark, or in GBK.

    Raises:
        AnnotationError: the bytes are not text in one of these encodings, or the text is not valid JSON.
    """
    try:
        try:
            return json.loads(data)
        except UnicodeDecodeError:
            return json.loads(data.decode("gb18030"))
    except UnicodeDecodeError as error:
        raise AnnotationError("is neither UTF-8 nor UTF-16 nor GBK text; save it as UTF-8") from error
    except (ValueError, RecursionError) as error:
        lines = data[: 1 << 20].splitlines()
        if len(lines) > 1 and b'"h_samples"' in lines[0]:
            raise AnnotationError("holds TuSimple's lines; use it as a data set of kind tusimple") from error
        raise AnnotationError("is not JSON, or is cut off; export it again") from error
