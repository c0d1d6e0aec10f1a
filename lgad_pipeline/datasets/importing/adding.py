"""Import of annotated frames into a data set that exists: the frames are added to the lists of a split."""

from collections import Counter
from collections.abc import Collection, Sequence
from contextlib import suppress
from pathlib import Path

from lgad_pipeline.atomic_files import atomic_path, locked, require_writable
from lgad_pipeline.config.splits import SPLITS
from lgad_pipeline.datasets import culane
from lgad_pipeline.datasets.images import image_size
from lgad_pipeline.datasets.importing.convert import Conversion, Format, Kept, read_annotated, write_kept
from lgad_pipeline.datasets.importing.placing import frame_data
from lgad_pipeline.datasets.importing.source import Source
from lgad_pipeline.datasets.reader import FrameEntry
from lgad_pipeline.errors import LgadError
from lgad_pipeline.lanes.frame_list import read_frame_list
from lgad_pipeline.lanes.lane_files import Rejected, lane_file, lane_file_name, lanes_text
from lgad_pipeline.lanes.lane_types import types_file, types_text
from lgad_pipeline.lanes.text_encoding import plain_text
from lgad_pipeline.progress import Progress

_SAMPLE = 50  # frames of a data set whose size is read


def add_frames(
    source: Path,
    root: Path,
    *,
    annotations: Format,
    split: str = "train",
    labels: Collection[str] | None = None,
    follow_links: bool = False,
    progress: Progress | None = None,
) -> Conversion:
    """Add annotated frames to a data set in CULane's layout.

    Images and lane files are written first, the lists last, so that a reader of the data set never finds a
    frame without its lanes. Nothing of the data set is replaced: a frame is rejected if a list names it, or
    if another image has its path or its lane file.

    Args:
        source: directory of the annotations and images.
        root: root directory of the data set.
        annotations: tool that wrote the annotations.
        split: split of the added frames.
        labels: labels of the shapes that are lanes; None: all labels.
        follow_links: follow links to files and folders outside of `source`.
        progress: callback, called as progress(frames done, frames in total).

    Raises:
        LgadError: `source` holds no usable image, `root` is not a data set in CULane's layout or cannot be
            written, or no frame can be added.
    """
    folder = Source(source, follow_links)
    folder.require()
    require_writable(root, folder=True)
    done = Conversion()
    kept = read_annotated(folder, annotations, done=done, labels=labels, progress=progress)
    with locked(root):
        listed = {entry.frame: entry for entry in culane.list_frames(root, [])}
        size = _frame_size(root, list(listed))
        owners = {lane_file_name(entry.frame): entry.frame for entry in listed.values()}
        added = []
        for frame in kept:
            if _fits(folder, frame, root, listed, size, done) and _has_own_lane_file(frame, owners, done):
                added.append(frame)
        if not added:
            raise LgadError(f"No frame of {source} can be added to {root} ({str(done.rejected[-1])[:-1]}).")
        for frame in added:
            write_kept(folder, frame, output=root, name=frame.image)
        for path in _lists_of(root, split):
            known = set(read_frame_list(path, root).frames)
            _append(path, [frame.image for frame in added if frame.image not in known])
    done.splits = {each: [] for each in SPLITS} | {split: [frame.image for frame in added]}
    done.sizes = Counter(frame.size for frame in added)
    done.count = sum(len(frame.lanes) for frame in added)
    return done


def _fits(
    source: Source,
    frame: Kept,
    root: Path,
    listed: dict[str, FrameEntry],
    size: tuple[int, int] | None,
    done: Conversion,
) -> bool:
    """Return True if a frame can be added; otherwise append the reason to the rejected items."""
    reason = None
    entry, target = listed.get(frame.image), root / frame.image
    lanes = lane_file(root, frame.image)
    types = Path(types_file(str(lanes)) or "")
    if entry is not None:
        reason = f"is in {entry.file} already; take it out of that list to import it again"
    elif size is not None and frame.size != size:
        reason = (
            f"is {frame.size[1]} x {frame.size[0]} px where the frames of {root} are {size[1]} x {size[0]} "
            "px; import it into a folder of its own"
        )
    elif target.exists() and target.read_bytes() != _data(source, frame):
        reason = f"has the path of another image of {root}; rename it"
    elif lanes.exists() and lanes.read_bytes() != lanes_text(frame.lanes).encode():
        reason = f"has a lane file in {root} with other lanes; remove it to import the frame"
    elif types.exists() and types.read_bytes() != types_text(frame.types).encode():
        reason = f"has a file of lane types in {root}, {types.name}, with other types; remove it to import it"
    if reason is not None:
        done.rejected.append(Rejected(frame.image, None, reason))
    return reason is None


def _data(source: Source, frame: Kept) -> bytes:
    return frame_data(source, frame.image, annotation=frame.annotation, turned=frame.turned)


def _has_own_lane_file(frame: Kept, owners: dict[str, str], done: Conversion) -> bool:
    """Return True if no other frame has the lane file of a frame; otherwise append it to the rejected items.

    Args:
        frame: frame to add; it becomes the owner of its lane file.
        owners: lane file -> frame of the data set or of this import that has it.
        done: result of the import.
    """
    name = lane_file_name(frame.image)
    owner = owners.setdefault(name, frame.image)
    if owner != frame.image:
        reason = f"would share the lane file {name} with {owner}; rename one of the two images"
        done.rejected.append(Rejected(frame.image, None, reason))
    return owner == frame.image


def _append(path: Path, frames: list[str]) -> None:
    """Append lines to a list; its bytes stay, but a list in UTF-16 becomes UTF-8."""
    content = path.read_bytes()
    if b"\0" in content:
        content = plain_text(content)
    if content and not content.endswith(b"\n"):
        content += b"\n"
    with atomic_path(path) as temporary:
        temporary.write_bytes(content + "".join(f"{frame}\n" for frame in frames).encode())


def _lists_of(root: Path, split: str) -> list[Path]:
    """Return the lists of a split; the one that the reader of the data set uses is the last."""
    return [path for name in (split, f"{split}_gt") if (path := root / "list" / f"{name}.txt").is_file()]


def _frame_size(root: Path, frames: Sequence[str]) -> tuple[int, int] | None:
    """Return the most frequent size (H, W), pixels, of frames from begin to end; None if none can be read."""
    sizes: Counter[tuple[int, int]] = Counter()
    for frame in frames[:: max(1, len(frames) // _SAMPLE)]:
        with suppress(LgadError):
            sizes[image_size(root / frame)] += 1
    return sizes.most_common(1)[0][0] if sizes else None
