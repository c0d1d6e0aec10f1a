"""`lgad predict`: lanes of frames on disk; `lgad export`: a trained network as an ONNX graph.

Modules that load torch are imported inside the functions, so that the other commands start quickly.
"""

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from lgad_pipeline.config.network import allow_networks
from lgad_pipeline.console import progress_bar, say
from lgad_pipeline.errors import LgadError

if TYPE_CHECKING:
    import numpy as np

    from lgad_pipeline.inference.frame_predictor import FramePredictor, Lane

TrustedCode = Annotated[
    list[str] | None,
    typer.Option(
        "--trust-network-code",
        metavar="MODULE:CLASS",
        help="Allow the model directory to name this network class of another package; its code is run.",
    ),
]


def predict(
    frames: Annotated[Path, typer.Argument(help="Directory of the frames, or a single frame.")],
    model: Annotated[
        Path, typer.Option(help="Directory of a trained student, such as student_lgad, or an ONNX file.")
    ],
    output: Annotated[Path, typer.Option(help="Directory to write; gets a lane file per frame.")],
    frame_list: Annotated[
        Path | None,
        typer.Option("--list", help="List of frames; without it, every image below the directory."),
    ] = None,
    pictures: Annotated[bool, typer.Option(help="Also write each frame with its lanes drawn.")] = False,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace files that lgad predict did not write.")
    ] = False,
    device: Annotated[str, typer.Option(help="Device of the network: cpu or cuda.")] = "cpu",
    trusted: TrustedCode = None,
) -> None:
    """Find the lanes in frames of any size and write a lane file per frame, in CULane's format."""
    from lgad_pipeline.inference.folder_prediction import RejectedFrames, find_frames, predict_folder
    from lgad_pipeline.inference.input_frames import distortion
    from lgad_pipeline.inference.prediction_folder import PredictionFolder, model_fingerprint

    rejected = RejectedFrames()
    try:
        root, names, notes = find_frames(frames, frame_list, rejected)
    except LgadError:
        _say_errors(rejected.sentences())
        raise
    _say_errors(notes)
    allow_networks(*(trusted or ()))
    predictor = _load_predictor(model, device)
    results = PredictionFolder(output, model_fingerprint(model), root, overwrite)
    results.choose_names(names, pictures)
    if results.foreign:
        say(
            f"--overwrite: {output} holds {len(results.foreign)} files of others, such as "
            f"{results.foreign[0]}; those with the name of a result are replaced.",
            error=True,
        )
    with results, progress_bar(f"Finding lanes in {len(names)} frames") as progress:
        draw = _lane_picture if pictures else None
        sizes = predict_folder(predictor, root, names, results, rejected, draw=draw, progress=progress)
    removed = results.finish()
    _say_errors(rejected.sentences())
    for size, count in sizes.items():
        if warning := distortion(size, predictor.view):
            say(f"warning: {count} frame{'s' * (count > 1)}: {warning}", error=True)
    if removed:
        say(f"{removed} files that another model had written removed from {output}", error=True)
    done = sum(sizes.values())
    if not done:
        raise LgadError(f"No lane file was written: none of the {len(names)} frames can be used.")
    lanes = f"{results.lanes} lane{'s' * (results.lanes != 1)}"
    say(f"{done} lane file{'s' * (done > 1)} below {output}, {lanes} in {'them' if done > 1 else 'it'}")


def export(
    model: Annotated[Path, typer.Argument(help="Directory of a trained student, such as student_lgad.")],
    output: Annotated[Path, typer.Argument(help="ONNX file to write, such as student.onnx.")],
    row_maxima: Annotated[
        bool,
        typer.Option(
            "--row-maxima", help="Add the maxima of the map rows to the outputs; see examples/deploy."
        ),
    ] = False,
    trusted: TrustedCode = None,
) -> None:
    """Write a trained student as an ONNX graph and compare its output with torch on noise."""
    import numpy as np

    from lgad_pipeline.inference.onnx_export import TOLERANCE, difference, export_onnx
    from lgad_pipeline.networks.checkpoint import load_network

    if output.suffix != ".onnx":
        raise LgadError(f"{output} does not end in .onnx; give a name such as student.onnx.")
    allow_networks(*(trusted or ()))
    export_onnx(model, output, row_maxima=row_maxima)
    size = load_network(model)[1].image_size
    noise = np.random.default_rng(0).integers(0, 256, (4, *size, 3), dtype=np.uint8)
    result = difference(model, output, noise)
    say(f"{output}: largest difference of a probability from torch {result.largest:.1e}")
    if not result.equal:
        raise LgadError(
            f"{output} does not compute what the network computes: {result.apart:.1%} of the probabilities "
            f"differ by more than {TOLERANCE:g}; report it with the versions of torch and onnxruntime."
        )


def _load_predictor(model: Path, device: str) -> "FramePredictor":
    """Load a directory of a trained network with torch, or an ONNX file with ONNX Runtime."""
    if model.suffix == ".onnx":
        if device != "cpu":
            raise LgadError(f"{model} runs on the CPU; leave --device out, or give the model directory.")
        from lgad_pipeline.inference.onnx_predictor import OnnxPredictor

        return OnnxPredictor.load(model)
    from lgad_pipeline.inference.predictor import LanePredictor

    return LanePredictor.load(model, device)


def _lane_picture(frame: "np.ndarray", lanes: list["Lane"]) -> bytes:
    """Draw lanes over a frame and encode the picture as JPEG."""
    import cv2

    from lgad_pipeline.visualization.overlays import draw_lanes

    return cv2.imencode(".jpg", draw_lanes(frame, lanes)[..., ::-1])[1].tobytes()


def _say_errors(sentences: Iterable[str]) -> None:
    for sentence in sentences:
        say(sentence, error=True)
