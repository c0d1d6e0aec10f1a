"""`lgad predict`: a trained network on frames from disk.

Imports that bring torch stand inside the functions, so that the other commands start without it.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import cv2
import numpy as np
import typer
from rich.console import Console
from rich.progress import track

from lgad_pipeline.data.images import IMAGE_SUFFIXES, read_image
from lgad_pipeline.errors import LgadError
from lgad_pipeline.files import atomic_path
from lgad_pipeline.lanes.files import lane_file, read_bytes, read_list, resolve_inside, write_lanes

if TYPE_CHECKING:
    from lgad_pipeline.inference.predictor import LanePredictor

_BATCH = 8


def predict(
    frames: Annotated[Path, typer.Argument(help="Folder of the frames.")],
    model: Annotated[Path, typer.Option(help="Folder of a trained student, such as student_lgad.")],
    output: Annotated[Path, typer.Option(help="Gets a lane file for each frame.")],
    frame_list: Annotated[
        Path | None, typer.Option("--list", help="List of frames; every image in the folder if not given.")
    ] = None,
    pictures: Annotated[bool, typer.Option(help="Also write each frame with its lanes drawn.")] = False,
    device: Annotated[str, typer.Option(help="Where the network runs: cpu or cuda.")] = "cpu",
) -> None:
    """Find the lanes in frames: a lane file for each, in CULane's layout."""
    from lgad_pipeline.inference.predictor import LanePredictor

    predictor = LanePredictor.load(model, device)
    names = read_list(frame_list) if frame_list else _images(frames)
    faults: list[str] = []
    batches = [names[start : start + _BATCH] for start in range(0, len(names), _BATCH)]
    console = Console()
    for batch in track(batches, description=f"Finding lanes in {len(names)} frames", console=console):
        _predict_batch(predictor, frames, batch, output, pictures, faults)
    console.print(f"{len(names) - len(faults)} lane files below {output}", soft_wrap=True)
    for fault in faults:
        console.print(f"[yellow]set aside:[/] {fault}", soft_wrap=True, highlight=False)


def export(
    model: Annotated[Path, typer.Argument(help="Folder of a trained student, such as student_lgad.")],
    output: Annotated[Path, typer.Argument(help="The graph, such as student.onnx.")],
) -> None:
    """Write a trained student as an ONNX graph, and compare it with torch on noise."""
    from lgad_pipeline.inference.export import TOLERANCE, difference, export_onnx
    from lgad_pipeline.models.store import load_network

    export_onnx(model, output)
    size = load_network(model)[1].image_size
    noise = np.random.default_rng(0).integers(0, 256, (4, *size, 3), dtype=np.uint8)
    found = difference(model, output, noise)
    print(f"{output}: largest difference of a probability from torch {found.largest:.1e}")
    if not found.equal:
        raise LgadError(
            f"{output} does not say what the network says: {found.apart:.1%} of the probabilities are more "
            f"than {TOLERANCE:g} apart; report it with the versions of torch and onnxruntime."
        )


def _images(folder: Path) -> list[str]:
    found = sorted(
        path.relative_to(folder).as_posix()
        for path in folder.rglob("*")
        if path.suffix.lower() in IMAGE_SUFFIXES
    )
    if not found:
        raise LgadError(f"{folder} holds no JPEG or PNG frames; name the folder that does.")
    return found


def _predict_batch(
    predictor: "LanePredictor",
    root: Path,
    names: Sequence[str],
    output: Path,
    pictures: bool,
    faults: list[str],
) -> None:
    """Predict some frames; one that cannot be read, or is of another size, is named in `faults`."""
    from lgad_pipeline.inference.overlays import draw_lanes

    usable, images = [], []
    for name in names:
        try:
            data = read_bytes(resolve_inside(root, name))
            image = read_image(data)
            predictor.view.check(image)
        except LgadError as error:
            faults.append(f"{name}: {error}")
            continue
        usable.append(name)
        images.append(image)
    for name, image, lanes in zip(usable, images, predictor.predict(images), strict=True):
        path = lane_file(output, name)
        write_lanes(path, [lane.points for lane in lanes])
        if pictures:
            with atomic_path(path.with_suffix("").with_suffix(".lanes.jpg"), durable=False) as beside:
                drawn = cv2.imencode(".jpg", draw_lanes(image, lanes)[..., ::-1])[1]
                beside.write_bytes(drawn.tobytes())
