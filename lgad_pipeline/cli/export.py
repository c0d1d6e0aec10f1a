"""`lgad export`: a trained student as an ONNX graph.

Modules that load torch are imported inside the functions, so that the other commands start quickly.
"""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from lgad_pipeline.atomic_files import require_writable
from lgad_pipeline.cli.inference import TrustedCode
from lgad_pipeline.config.network import allow_networks
from lgad_pipeline.console import say
from lgad_pipeline.errors import LgadError

if TYPE_CHECKING:
    import numpy as np

_CALIBRATION_FRAMES = 128


def export(
    model: Annotated[Path, typer.Argument(help="Directory of a trained student, such as student_lgad.")],
    output: Annotated[Path, typer.Argument(help="ONNX file to write, such as student.onnx.")],
    row_maxima: Annotated[
        bool,
        typer.Option(
            "--row-maxima", help="Add the maxima of the map rows to the outputs; see examples/deploy."
        ),
    ] = False,
    precision: Annotated[
        Literal["float32", "float16", "int8"], typer.Option(help="Precision of the weights.")
    ] = "float32",
    shards: Annotated[
        Path | None,
        typer.Option(
            help="Packed data set, such as .lgad/data/NAME/shards, whose training frames calibrate int8."
        ),
    ] = None,
    trusted: TrustedCode = None,
) -> None:
    """Write a trained student as an ONNX graph and compare its output with torch.

    A graph in float32 has to give the same probabilities. The difference of a graph in float16 or int8 is
    printed: measure its F1 on test frames by `lgad predict` and `lgad evaluate`.
    """
    from lgad_pipeline.inference.onnx_export import TOLERANCE, difference, export_onnx
    from lgad_pipeline.inference.onnx_predictor import VIEW
    from lgad_pipeline.networks.checkpoint import load_network

    if output.suffix != ".onnx":
        raise LgadError(f"{output} does not end in .onnx; give a name such as student.onnx.")
    require_writable(output)
    if output.is_file() and output.stat().st_size and VIEW.encode() not in output.read_bytes():
        raise LgadError(f"{output} is a file that lgad export did not write; name another one, or remove it.")
    allow_networks(*(trusted or ()))
    images = _calibration_frames(shards, load_network(model)[1].image_size, needed=precision == "int8")
    export_onnx(model, output, row_maxima=row_maxima, precision=precision, calibration=images)
    result = difference(model, output, images=images[:4])
    say(
        f"{output}: difference of a probability from torch {result.mean:.1e} on average, "
        f"{result.largest:.1e} at most; {output.stat().st_size / 1e6:.2f} MB"
    )
    if precision == "float32" and not result.equal:
        raise LgadError(
            f"{output} does not compute what the network computes: {result.apart:.1%} of the probabilities "
            f"differ by more than {TOLERANCE:g}; report it with the versions of torch and onnxruntime."
        )


def _calibration_frames(shards: Path | None, size: tuple[int, int], *, needed: bool) -> "np.ndarray":
    """Return evenly spaced training frames of a packed data set, or noise without one.

    Args:
        shards: directory of the packed data set, or None.
        size: size (H, W) of the network's input, pixels.
        needed: True if noise is no replacement.

    Returns:
        uint8 (N, H, W, 3) RGB.
    """
    import numpy as np

    from lgad_pipeline.data.shards import ShardSet

    if shards is None and needed:
        raise LgadError("int8 is calibrated on training frames; add --shards .lgad/data/NAME/shards.")
    if shards is None:
        return np.random.default_rng(0).integers(0, 256, (4, *size, 3), dtype=np.uint8)
    packed = ShardSet.open(shards)
    if tuple(packed.view.image_size) != size:
        raise LgadError(
            f"{shards} holds images of {list(packed.view.image_size)} px and the network reads {list(size)}; "
            "name the shards that it was trained on."
        )
    train = packed["train"]
    chosen = np.unique(np.linspace(0, len(train) - 1, _CALIBRATION_FRAMES).round().astype(int))
    return np.stack([train[int(index)].image for index in chosen])
