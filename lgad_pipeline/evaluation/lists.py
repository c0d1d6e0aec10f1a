"""Lists of frames that an evaluation is divided by."""

from dataclasses import dataclass, replace
from pathlib import Path

from lgad_pipeline.errors import LgadError
from lgad_pipeline.lanes.frame_list import read_frame_list
from lgad_pipeline.lanes.lane_files import LaneFileError, Rejected
from lgad_pipeline.wording import counted


@dataclass(frozen=True)
class FrameLists:
    """Lists of frames by name.

    Attributes:
        frames: name of the list -> frames, relative to the annotations.
        roots: folders whose `list/` holds the lists, where the images may be.
        rejected: lines that name no frame.
        notes: sentences on repeated frames, on lists without any, and on scenario lists that are not used.
    """

    frames: dict[str, list[str]]
    roots: tuple[Path, ...]
    rejected: list[Rejected]
    notes: list[str]

    @classmethod
    def read(
        cls, paths: list[Path], annotations: Path, *, strict: bool = False, scenarios: bool = True
    ) -> "FrameLists":
        """Read lists; CULane's scenario lists next to a single one divide its frames.

        Args:
            paths: lists, or folders of lists.
            annotations: folder that the frames are relative to.
            strict: a bad line is an error; else it is rejected.
            scenarios: read `test_split/` next to a single list.

        Raises:
            LgadError: there is no list, two have one name, or none names a frame; or `strict` and a bad line.
        """
        files = [file for path in paths for file in (sorted(path.glob("*.txt")) if path.is_dir() else [path])]
        if not files:
            raise LgadError(f"{paths[0]} holds no list; name a list of frames with --list.")
        roots = tuple(file.parent.parent for file in files if file.parent.name == "list")
        lists = cls({}, roots, [], [])
        for file in files:
            if file.stem in lists.frames:
                raise LgadError(f"Two lists are called {file.stem}; rename one of them.")
            lists.frames[file.stem] = lists._read(file, annotations, strict)
        if not any(lists.frames.values()):
            if lists.rejected:
                raise LgadError(f"{files[0]} names no frame: {lists.rejected[0]}")
            raise LgadError(f"{files[0]} names no frame; give a list with one frame a line.")
        members = set(lists.frames[files[0].stem])
        divided = scenarios and len(files) == 1
        outside: list[str] = []
        divisions = False
        for file in sorted((files[0].parent / "test_split").glob("*.txt")) if divided else []:
            listed = lists._read(file, annotations, strict)
            inside = [frame for frame in listed if frame in members]
            divisions |= bool(inside)
            outside += [frame for frame in listed if frame not in members]
            if file.stem in lists.frames and inside and len(inside) < len(members):
                lists.notes.append(f"{file} has the name of the list given and is left out; rename it.")
            lists.frames.setdefault(file.stem, inside)
        if divisions and outside:
            folder, count = files[0].parent / "test_split", counted(len(set(outside)), "frame")
            lists.notes.append(
                f"The lists in {folder} name {count} that {files[0]} leaves out, such as {outside[0]}; add "
                "them to that list to evaluate them."
            )
        return replace(lists, frames={name: frames for name, frames in lists.frames.items() if frames})

    def _read(self, file: Path, annotations: Path, strict: bool) -> list[str]:
        listed = read_frame_list(file, annotations)
        if strict and listed.rejected:
            raise LaneFileError(str(listed.rejected[0]))
        self.rejected.extend(listed.rejected)
        if listed.repeats:
            lines = f"{listed.repeated} line{'s' * (listed.repeated > 1)}"
            self.notes.append(
                f"{file} names frames again in {lines}, the first of them line {listed.repeats[0].line}; "
                "each frame counts once."
            )
        if not listed.entries:
            self.notes.append(f"{file} names no frame.")
        return listed.frames
