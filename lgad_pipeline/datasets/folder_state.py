"""State of a directory, by which changes of its files are noticed without opening them."""

import contextlib
import os
from hashlib import blake2b
from pathlib import Path
from typing import NamedTuple


class FolderState(NamedTuple):
    """State of a directory, computed from its listing; no file is opened.

    Attributes:
        digest: fingerprint of the files: name, size and modification time.
        changed: time when a file or directory was last added, changed, renamed or removed, seconds since
            1970.
    """

    digest: str
    changed: float


def folder_state(root: Path) -> FolderState:
    """Compute the state of all files below a directory; a missing directory counts as empty."""
    lines, changed, prefix = [], 0.0, len(str(root)) + 1
    folders = [root] if root.is_dir() else []
    for folder in folders:  # The loop appends the subdirectories to the list.
        changed = max(changed, folder.stat().st_ctime)
        with os.scandir(folder) as entries:
            for entry in entries:
                if entry.is_dir(follow_symlinks=False):
                    folders.append(Path(entry.path))
                    continue
                with contextlib.suppress(OSError):  # removed in the meantime, or a broken or circular link
                    stat = entry.stat()
                    changed = max(changed, stat.st_ctime)
                    lines.append(f"{entry.path[prefix:]}\0{stat.st_size}\0{stat.st_mtime_ns}\n")
    content = "".join(sorted(lines)).encode(errors="surrogateescape")
    return FolderState(blake2b(content, digest_size=16).hexdigest(), changed)
