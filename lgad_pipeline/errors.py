"""The errors that a user can correct."""

import errno
import os
import re
from pathlib import Path

_REMEDIES = {
    errno.ENOENT: "correct the path",
    errno.ENOTDIR: "correct the path: a part of it is a file, not a folder",
    errno.EISDIR: "name a file: this is a folder",
    errno.EEXIST: "name a folder: this is a file",
    errno.EACCES: "give permission or choose another folder",
    errno.EPERM: "give permission or choose another folder",
    errno.EROFS: "choose a folder that can be written to",
    errno.ENOSPC: "make room or choose another folder",
    errno.EDQUOT: "make room or choose another folder",
    errno.EFBIG: "make room or choose another folder",
    errno.ENAMETOOLONG: "choose a shorter name",
    errno.ELOOP: "correct the links in the path",
    errno.EMFILE: "raise the limit of open files (ulimit -n)",
    errno.ENOMEM: "free memory",
}


class LgadError(Exception):
    """Bad input or a bad setting: one sentence that names the file or key, what is wrong, and the remedy."""


def os_fault(error: OSError, path: Path | None = None, action: str = "read or written") -> LgadError:
    """Put an error of the operating system, such as a full disk, into one sentence with the remedy.

    Args:
        error: what was raised.
        path: the file or folder to name; the one that the error names if not given.
        action: what failed, as a participle such as "written".
    """
    named = path or error.filename2 or error.filename
    if isinstance(named, bytes):
        named = os.fsdecode(named)
    if named is None or isinstance(named, int):
        named = "A file"
    # A file is written under a name of its own first, and the user knows the final name alone.
    shown = re.sub(r"\.([^/]+)\.\d+\.part$", r"\1", str(named))
    reason = os.strerror(error.errno) if error.errno else str(error) or type(error).__name__
    remedy = _REMEDIES.get(error.errno or 0, "correct the path or choose another folder")
    return LgadError(f"{shown} cannot be {action} ({reason}); {remedy}.")
