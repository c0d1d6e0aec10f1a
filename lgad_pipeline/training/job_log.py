"""Log of a job: a JSON-lines file with the metrics of a training and its end.

A line is `{"step": 20, "metrics": {...}}`, or at the end `{"finished": fingerprint, "reused": false}`,
`{"stopped": step}` or `{"error": sentence}`. A line is appended under a lock of the file, so that the
processes of a job can write to the same file, and a reader sees whole lines.
"""

import fcntl
import json
import math
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from lgad_pipeline.errors import os_fault


class JobLog:
    """Writer of a job's log; a file that exists is continued.

    Args:
        path: JSON-lines file.
    """

    def __init__(self, path: Path) -> None:
        self.path = path

    def metrics(self, metrics: Mapping[str, float], step: int) -> None:
        """Append the metrics of a step, without those that are not finite."""
        finite = {name: float(value) for name, value in metrics.items() if math.isfinite(value)}
        self.append({"step": step, "metrics": finite})

    def append(self, entry: Mapping[str, Any]) -> None:
        """Append one entry.

        Raises:
            LgadError: the disk is full, or the file cannot be written.
        """
        line = json.dumps(entry) + "\n"
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            descriptor = os.open(self.path, os.O_RDWR | os.O_APPEND | os.O_CREAT, 0o666)
            try:
                # Another process may be in the middle of its write, whose last byte is not an end of a line.
                fcntl.flock(descriptor, fcntl.LOCK_EX)
                size = os.fstat(descriptor).st_size
                if size and os.pread(descriptor, 1, size - 1) != b"\n":  # a full disk cut the last line
                    line = "\n" + line
                os.write(descriptor, line.encode())
            finally:
                os.close(descriptor)
        except OSError as error:
            raise os_fault(error, self.path, "written") from error


class JobLogReader:
    """Reader of the entries that are appended to a job's log from now on.

    Args:
        path: JSON-lines file; it need not exist yet.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._offset = path.stat().st_size if path.is_file() else 0

    def entries(self) -> Iterator[dict[str, Any]]:
        """Yield the entries since the last call; a line that is not complete yet is left for the next."""
        if not self._path.is_file():
            return
        with self._path.open("rb") as file:
            file.seek(self._offset)
            for line in file:
                if not line.endswith(b"\n"):
                    return
                self._offset += len(line)
                try:
                    entry = json.loads(line)
                except ValueError:  # the line was cut by a full disk
                    continue
                if isinstance(entry, dict):
                    yield entry
