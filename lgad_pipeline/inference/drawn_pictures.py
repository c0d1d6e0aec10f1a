"""Pictures that `lgad predict` and `lgad suggest` draw, which are not used as frames later."""

from pathlib import Path

from lgad_pipeline.inference.prediction_journal import PICTURE

SUGGESTIONS_TABLE, SUGGESTIONS_SHEET = "suggestions.csv", "suggestions.jpg"
"""Names of the table of scores and of the contact sheet that `lgad suggest` writes into one folder."""

_MARK = b"lanes drawn by lgad predict"


def marked_picture(jpeg: bytes) -> bytes:
    """Add a comment to a JPEG file that marks it as drawn, so that it is not used as a frame later."""
    return jpeg[:2] + b"\xff\xfe" + (len(_MARK) + 2).to_bytes(2) + _MARK + jpeg[2:]


def is_own_picture(path: Path) -> bool:
    """Return True if a file is a picture of `lgad predict --pictures` or the sheet of `lgad suggest`."""
    if path.name == SUGGESTIONS_SHEET:
        return path.with_name(SUGGESTIONS_TABLE).is_file()
    if not path.name.endswith(PICTURE):
        return False
    try:
        with path.open("rb") as file:
            return _MARK in file.read(64)
    except OSError:
        return False
