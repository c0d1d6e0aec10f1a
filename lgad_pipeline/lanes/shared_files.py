"""Frames that differ in their ending alone and share a lane file."""

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from posixpath import splitext

from lgad_pipeline.lanes.lane_files import find_lane_file, full_lane_file
from lgad_pipeline.wording import counted


def shared_file_warnings(root: Path, frames: Sequence[str]) -> list[str]:
    """Return a sentence on frames that share a lane file, such as `a.jpg` and `a.png`; empty without any.

    Args:
        root: directory of the lane files.
        frames: paths of the frames relative to the directory, each once.
    """
    stems = [splitext(frame)[0] for frame in frames]
    of_stem = Counter(stems)
    if len(of_stem) == len(frames):
        return []
    files = {
        frame: find_lane_file(root, frame)
        for frame, stem in zip(frames, stems, strict=True)
        if of_stem[stem] > 1
    }
    counts = Counter(files.values())
    sharing = [frame for frame, file in files.items() if counts[file] > 1 and file.is_file()]
    if not sharing:
        return []
    file = files[sharing[0]]
    named = " and ".join(frame for frame in sharing if files[frame] == file)
    return [
        f"{counted(len(sharing), 'frame')} share a lane file in {root} with another frame: {named} have "
        f"{file.name}; give each its own, such as {full_lane_file(root, sharing[0]).name}."
    ]
