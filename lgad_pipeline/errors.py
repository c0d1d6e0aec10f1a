"""Exception for errors that a user can correct, and its form for errors of the operating system."""

import errno
import os
import re
from pathlib import Path

TEMPORARY_NAME = re.compile(r"\.([^/]+?)\.(?:([0-9a-f]{6})-)?(\d+)\.part(\.\w+)?$")
"""Name of a file that `atomic_path` is writing: final name, machine, process id and suffix."""

_REMEDIES = {
    errno.ENOENT: "correct the path",
    errno.ENOTDIR: "correct the path: a part of it is a file, not a folder",
    errno.EISDIR: "name a file: this is a folder",
    errno.EEXIST: "name a folder: this is a file",
    errno.EACCES: "give permission or choose another folder",
    errno.EPERM: "give permission or choose another folder",
    errno.EROFS: "choose a folder that can be written to",
    errno.ENOSPC: "free space or choose another folder",
    errno.EDQUOT: "free space or choose another folder",
    errno.EFBIG: "free space or choose another folder",
    errno.ENAMETOOLONG: "choose a shorter name",
    errno.ELOOP: "correct the links in the path",
    errno.EMFILE: "raise the limit of open files (ulimit -n)",
    errno.ENOMEM: "free memory",
}


class LgadError(Exception):
    """Error that a user can correct: a sentence with the file or setting, the fault and the remedy."""


class SystemFault(LgadError):
    """Error of the operating system, such as a full disk."""


def os_fault(error: OSError, path: Path | None = None, action: str = "read or written") -> SystemFault:
    """Describe an error of the operating system, such as a full disk, in one sentence with the remedy.

    Args:
        error: exception that was raised.
        path: file or directory to name; default: the one that the exception names.
        action: failed action as a participle, such as "written".
    """
    named = path or error.filename2 or error.filename
    if isinstance(named, bytes):
        named = os.fsdecode(named)
    if named is None or isinstance(named, int):
        named = "A file"
    # A file is first written under a temporary name, but the user knows only the final name.
    shown = TEMPORARY_NAME.sub(r"\1", str(named))
    reason = os.strerror(error.errno) if error.errno else str(error) or type(error).__name__
    remedy = _REMEDIES.get(error.errno or 0, "correct the path or choose another folder")
    return SystemFault(f"{shown} cannot be {action} ({reason}); {remedy}.")
