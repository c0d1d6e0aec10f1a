"""Stamps of frames, by which changed files are found without being read."""

import os
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from hashlib import blake2b
from pathlib import Path

from lgad_pipeline.datasets.reader import FrameEntry
from lgad_pipeline.lanes.lane_types import types_file
from lgad_pipeline.thread_pool import ordered_map

_CHUNK = 256  # frames
_SLOW = 1e-4  # seconds for a frame; a local disk whose directories are in memory takes a tenth of it
_THREADS = 16


@dataclass(frozen=True)
class Stamps:
    """Computation of the stamps of one ingestion.

    A stamp contains sizes, modification times and change times (ctime) of a frame, its annotation and its
    file of lane types. The change time cannot be set, so the replacement of a file by one of the same size
    and modification time is detected.

    Attributes:
        root: root directory of the data set.
        now: time of the ingestion in nanoseconds since 1970.
        code: fingerprint of the code that reads frames; a change of it changes every stamp. None: no frame
            has a stamp.
    """

    root: Path
    now: int
    code: str | None

    def __call__(self, entry: FrameEntry) -> str | None:
        """Compute the stamp of a frame.

        Returns:
            The stamp; None if a file is missing or its time is in the future. A time in the future occurs
            after the clock was set back: a later change could give the same time again, so the file is
            always read.
        """
        if self.code is None:
            return None
        parts = [self.code]
        base = str(self.root)  # Path objects would take longer than the statuses.
        try:
            types = types_file(entry.annotation) if isinstance(entry.annotation, str) else None
            typed = [types] if types is not None and os.path.exists(f"{base}/{types}") else []  # noqa: PTH110
            for item in (entry.frame, entry.annotation, *typed):
                if isinstance(item, bytes):
                    parts.append(blake2b(item, digest_size=16).hexdigest())
                else:
                    status = os.stat(f"{base}/{item}")  # noqa: PTH116
                    times = status.st_mtime_ns, status.st_ctime_ns
                    if max(times) > self.now:
                        return None
                    parts.append("-".join(map(str, (status.st_size, *times))))
        except (OSError, ValueError):
            return None
        return " ".join(parts)

    def of_all(self, entries: Sequence[FrameEntry]) -> Iterator[str | None]:
        """Yield the stamp of each frame, in order; several threads ask a slow disk, such as a network's."""
        # On a quick disk threads only wait for each other's interpreter lock.
        sample = entries[:: len(entries) // _CHUNK + 1]
        start = time.perf_counter()
        for entry in sample:
            self(entry)
        slow = time.perf_counter() - start > _SLOW * len(sample)
        chunks = (entries[first : first + _CHUNK] for first in range(0, len(entries), _CHUNK))
        workers = _THREADS if slow else 1
        for stamps in ordered_map(self._of_chunk, chunks, workers=workers, ahead=2 * workers):
            yield from stamps

    def _of_chunk(self, entries: Sequence[FrameEntry]) -> list[str | None]:
        return [self(entry) for entry in entries]
