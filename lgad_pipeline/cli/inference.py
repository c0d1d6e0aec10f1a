"""`lgad predict`, `lgad export`: a trained network on frames from disk, and as an ONNX graph.

Imports that bring torch stand inside the functions, so that the other commands start without it.
"""

from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import cv2
import numpy as np
import typer

from lgad_pipeline.config.network import allow_networks
from lgad_pipeline.console import progress_bar, say
from lgad_pipeline.datasets.images import IMAGE_SUFFIXES
from lgad_pipeline.datasets.safe_io import read_regular
from lgad_pipeline.errors import LgadError
from lgad_pipeline.lanes.frame_list import read_frame_list
from lgad_pipeline.lanes.lane_files import lanes_text, resolve_inside

if TYPE_CHECKING:
    from lgad_pipeline.inference.prediction_folder import PredictionFolder
    from lgad_pipeline.inference.predictor import LanePredictor

_BATCH = 8
_LARGEST_FILE = 1 << 28  # bytes
_OTHER_IMAGES = (".bmp", ".webp", ".tif", ".tiff", ".gif", ".ppm", ".pgm", ".jp2", ".heic", ".avif")

TrustedCode = Annotated[
    list[str] | None,
    typer.Option(
        "--trust-network-code",
        metavar="MODULE:CLASS",
        help="Allow the model's folder to name this class of one's own, whose code is run.",
    ),
]


class _Rejected:
    """Frames that were not used, counted by reason."""

    def __init__(self) -> None:
        self.by_reason: dict[str, list[str]] = defaultdict(list)

    def add(self, frame: str, reason: object) -> None:
        self.by_reason[str(reason).rstrip(".")].append(frame)

    def tell(self) -> None:
        for reason, frames in self.by_reason.items():
            others = f" and {len(frames) - 1} more" if len(frames) > 1 else ""
            say(f"rejected: {frames[0]}{others}: {reason}.", error=True)


def predict(
    frames: Annotated[Path, typer.Argument(help="Folder of the frames, or a single frame.")],
    model: Annotated[Path, typer.Option(help="Folder of a trained student, such as student_lgad.")],
    output: Annotated[Path, typer.Option(help="Folder; gets a lane file for each frame.")],
    frame_list: Annotated[
        Path | None, typer.Option("--list", help="List of frames; every image in the folder if not given.")
    ] = None,
    pictures: Annotated[bool, typer.Option(help="Also write each frame with its lanes drawn.")] = False,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace files that lgad predict did not write.")
    ] = False,
    device: Annotated[str, typer.Option(help="Where the network runs: cpu or cuda.")] = "cpu",
    trusted: TrustedCode = None,
) -> None:
    """Find the lanes in frames of any size: a lane file for each, in CULane's layout."""
    from lgad_pipeline.inference.input_frames import distortion
    from lgad_pipeline.inference.prediction_folder import PredictionFolder, model_fingerprint
    from lgad_pipeline.inference.predictor import LanePredictor

    rejected = _Rejected()
    root, names = _frames(frames, frame_list, rejected)
    allow_networks(*(trusted or ()))
    predictor = LanePredictor.load(model, device)
    place = PredictionFolder(output, model_fingerprint(model), root, overwrite)
    place.choose_names(names, pictures)
    if place.foreign:
        say(
            f"--overwrite: {output} holds {len(place.foreign)} files of others, such as {place.foreign[0]}; "
            "those with the name of a result are replaced.",
            error=True,
        )
    sizes: Counter[tuple[int, int]] = Counter()
    with place, progress_bar(f"Finding lanes in {len(names)} frames") as progress:
        for start in range(0, len(names), _BATCH):
            batch = names[start : start + _BATCH]
            sizes.update(_predict_batch(predictor, root, batch, place, pictures, rejected))
            progress(start + len(batch), len(names))
    removed = place.finish()
    rejected.tell()
    for size, count in sizes.items():
        if warning := distortion(size, predictor.view):
            say(f"warning: {count} frame{'s' * (count > 1)}: {warning}", error=True)
    if removed:
        say(f"{removed} files of another model's earlier run removed from {output}", error=True)
    done = sum(sizes.values())
    if not done:
        raise LgadError(f"No lane file was written: none of the {len(names)} frames can be used.")
    lanes = f"{place.lanes} lane{'s' * (place.lanes != 1)}"
    say(f"{done} lane file{'s' * (done > 1)} below {output}, {lanes} in {'them' if done > 1 else 'it'}")


def export(
    model: Annotated[Path, typer.Argument(help="Folder of a trained student, such as student_lgad.")],
    output: Annotated[Path, typer.Argument(help="The graph, such as student.onnx.")],
    trusted: TrustedCode = None,
) -> None:
    """Write a trained student as an ONNX graph, and compare it with torch on noise."""
    from lgad_pipeline.inference.onnx_export import TOLERANCE, difference, export_onnx
    from lgad_pipeline.networks.checkpoint import load_network

    if output.suffix != ".onnx":
        raise LgadError(f"{output} does not end in .onnx; name the graph so, such as student.onnx.")
    allow_networks(*(trusted or ()))
    export_onnx(model, output)
    size = load_network(model)[1].image_size
    noise = np.random.default_rng(0).integers(0, 256, (4, *size, 3), dtype=np.uint8)
    found = difference(model, output, noise)
    say(f"{output}: largest difference of a probability from torch {found.largest:.1e}")
    if not found.equal:
        raise LgadError(
            f"{output} does not say what the network says: {found.apart:.1%} of the probabilities are more "
            f"than {TOLERANCE:g} apart; report it with the versions of torch and onnxruntime."
        )


def _frames(frames: Path, frame_list: Path | None, rejected: _Rejected) -> tuple[Path, list[str]]:
    """The folder of the frames, and their paths below it."""
    if frames.is_file():
        if frame_list is not None:
            raise LgadError(f"{frames} is a file; give the folder of the frames together with --list.")
        if frames.suffix.lower() not in IMAGE_SUFFIXES:
            raise LgadError(
                f"{frames} is no JPEG or PNG frame; cut a video into frames first "
                "(ffmpeg -i VIDEO FOLDER/%06d.jpg), and give a list with --list."
            )
        return frames.parent, [frames.name]
    if not frames.is_dir():
        raise LgadError(f"{frames} does not exist; name the folder of the frames.")
    if frame_list is None:
        names = sorted(_images(frames, rejected))
        if not names:
            rejected.tell()
            raise LgadError(f"{frames} holds no JPEG or PNG frames; name the folder that does.")
        return frames, names
    listed = read_frame_list(frame_list, frames)
    for fault in listed.rejected:
        rejected.add(f"{fault.file}, line {fault.line}", fault.reason)
    if listed.repeated:
        say(f"{listed.repeated} lines of {frame_list} name a frame again; each is used once.", error=True)
    if not listed.entries:
        rejected.tell()
        raise LgadError(f"{frame_list} names no frame; give a list with one frame a line.")
    return frames, listed.frames


def _images(folder: Path, rejected: _Rejected) -> Iterator[str]:
    """Images below a folder; hidden files and pictures that this command drew are none."""
    from lgad_pipeline.inference.prediction_folder import is_own_picture

    for path in folder.rglob("*"):
        suffix = path.suffix.lower()
        if suffix not in (*IMAGE_SUFFIXES, *_OTHER_IMAGES) or path.name.startswith(".") or path.is_dir():
            continue
        name = path.relative_to(folder).as_posix()
        if suffix in _OTHER_IMAGES:
            rejected.add(name, f"is a {suffix} image; convert it to JPEG or PNG")
        elif not is_own_picture(path):
            yield name


def _predict_batch(
    predictor: "LanePredictor",
    root: Path,
    names: Sequence[str],
    place: "PredictionFolder",
    pictures: bool,
    rejected: _Rejected,
) -> list[tuple[int, int]]:
    """Predict some frames, and return the sizes of those that can be used."""
    from lgad_pipeline.inference.input_frames import read_frame
    from lgad_pipeline.inference.prediction_folder import marked_picture
    from lgad_pipeline.visualization.overlays import draw_lanes

    usable, seen, whole = [], [], []
    for name in names:
        try:
            frame = read_frame(read_regular(resolve_inside(root, name), _LARGEST_FILE))
        except LgadError as error:
            rejected.add(name, error)
            continue
        except OSError as error:
            rejected.add(name, f"cannot be read ({error.strerror}); correct the path or the permission")
            continue
        usable.append(name)
        seen.append(predictor.see(frame))
        whole.append(frame if pictures else None)
    for name, frame, lanes in zip(usable, whole, predictor.find(seen), strict=True):
        picture = None
        if frame is not None:
            drawn = cv2.imencode(".jpg", draw_lanes(frame, lanes)[..., ::-1])[1].tobytes()
            picture = marked_picture(drawn)
        place.write(name, lanes_text([lane.points for lane in lanes]).encode(), picture)
    return [frame.view.frame_size for frame in seen]
