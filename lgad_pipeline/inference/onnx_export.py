"""Export of a trained student as an ONNX graph, and comparison of its output with torch."""

import json
import logging
import warnings
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, get_args

import numpy as np
import torch
from torch import nn

from lgad_pipeline.atomic_files import atomic_path
from lgad_pipeline.data.normalization import normalize
from lgad_pipeline.errors import LgadError
from lgad_pipeline.inference.onnx_precision import GraphPrecision, to_float16, to_int8
from lgad_pipeline.inference.onnx_predictor import LANE_TYPES, ROW_OUTPUTS, TYPES_OUTPUT, VIEW
from lgad_pipeline.inference.predictor import read_predictor
from lgad_pipeline.lanes.tensor_decoding import row_peaks
from lgad_pipeline.networks.checkpoint import load_network
from lgad_pipeline.networks.layers import PReLU

if TYPE_CHECKING:
    from google.protobuf.message import Message

TOLERANCE = 1e-3
"""Greatest difference of a probability between the graph and torch that is accepted as equal."""

_FEW = 1e-3
_USAGE = (
    "image: of an RGB frame scaled to lgad.view's frame_size (H, W), cut off the upper crop_top rows, resize "
    "the rest to image_size (H, W) by area averaging, uint8, planes first; not normalized. probabilities: a "
    "map for each slot, from left to right, without the background. existence: probability that a "
    "slot holds a lane. row_centre, row_peak, row_weight, if there: for each map row the column, height and "
    "weight of its maximum. lgad.decode: thresholds and method that lanes are read with."
)
_TYPES_USAGE = " types: probabilities of the types lgad.lane_types of the lane in each slot."


@dataclass(frozen=True)
class Difference:
    """Difference between the outputs of an ONNX graph and of torch.

    Attributes:
        largest: greatest difference of a probability.
        mean: mean difference of the probabilities.
        apart: share of the probabilities that differ by more than `TOLERANCE`.
    """

    largest: float
    mean: float
    apart: float

    @property
    def equal(self) -> bool:
        """True if at most one probability in a thousand differs by more than `TOLERANCE`.

        ENet's unpooling writes a value to the cell of the maximum. If two cells differ by rounding only, two
        runtimes may choose different cells, and the pixels around them differ.
        """
        return self.apart <= _FEW


class _Graph(nn.Module):
    """Exported module: normalization, network and softmax, from an image to probabilities.

    Shape:
        - Input: image, uint8 (B, 3, h, w) RGB at the network's size
        - Output: probabilities, float32 (B, slots, h, w), existence, float32 (B, slots), with `row_maxima`
          centre, peak and weight of each row, float32 (B, slots, h) each, and of a network that predicts
          types of lanes their probabilities, float32 (B, slots, types)
    """

    def __init__(self, network: nn.Module, row_maxima: bool = False) -> None:
        super().__init__()
        self.network = network
        self.row_maxima = row_maxima

    def forward(self, image: torch.Tensor) -> tuple[torch.Tensor, ...]:
        output = self.network(normalize(image))
        probabilities = output.logits.softmax(dim=1)[:, 1:]
        if output.existence is None:
            existence = probabilities.new_ones(probabilities.shape[:2])
        else:
            existence = output.existence.sigmoid()
        types = () if output.types is None else (output.types.softmax(dim=2),)
        return probabilities, existence, *(row_peaks(probabilities) if self.row_maxima else ()), *types


def export_onnx(
    folder: Path,
    output: Path,
    *,
    row_maxima: bool = False,
    precision: GraphPrecision = "float32",
    calibration: np.ndarray | None = None,
) -> None:
    """Write a trained student as an ONNX graph.

    Its input is `image`, uint8 (B, 3, h, w) RGB at the network's size; its outputs are `probabilities`,
    float32 (B, slots, h, w), and `existence`, float32 (B, slots). B is free. With `row_maxima` it also has
    `row_centre`, `row_peak` and `row_weight`, float32 (B, slots, h): column, height and weight of the maximum
    of each map row, see `lgad_pipeline.lanes.row_peaks`. From them a program in another language reads lanes
    in a few lines, see `examples/deploy`. The graph of a network that predicts types of lanes also has
    `types`, float32 (B, slots, types), their probabilities.

    The notes of the exporter, such as paths of source files, are removed. The metadata hold what a runtime
    needs to prepare a frame and to decode lanes: `lgad.view` (frame_size, image_size, crop_top) and
    `lgad.decode`, both JSON as in predictor.json, `lgad.precision`, `lgad.usage`, a text, and for types of
    lanes `lgad.lane_types`, a JSON list of their names.

    Args:
        folder: directory of the student (weights.safetensors, network.json, predictor.json).
        output: ONNX file to write.
        row_maxima: add the maxima of the map rows to the outputs.
        precision: precision of the weights and of the computation; inputs and outputs do not depend on it.
        calibration: frames that int8 is calibrated on, uint8 (N, h, w, 3) RGB at the size of the network's
            input; a hundred training frames of all kinds of light are enough.

    Raises:
        LgadError: the network is missing, the packages onnx and onnxscript are, the precision is unknown, or
            the frames for int8 are missing or of another form.
    """
    if precision not in get_args(GraphPrecision):
        known = ", ".join(get_args(GraphPrecision))
        raise LgadError(f"The precision {precision!r} is unknown; choose one of {known}.")
    if precision == "int8" and (calibration is None or not len(calibration)):
        raise LgadError("The precision int8 is calibrated on frames; give training frames at input size.")
    network, spec = load_network(folder)
    size = (*spec.image_size, spec.in_channels)
    if calibration is not None and (calibration.dtype != np.uint8 or calibration.shape[1:] != size):
        raise LgadError(
            f"The frames of the calibration are {calibration.dtype} {calibration.shape}; give uint8 (N, "
            f"{', '.join(map(str, size))})."
        )
    view, decode_config = read_predictor(folder)
    types = [TYPES_OUTPUT] if spec.lane_types else []
    image = torch.zeros(2, spec.in_channels, *spec.image_size, dtype=torch.uint8)
    try:
        import onnx

        with atomic_path(output) as temporary, warnings.catch_warnings():
            warnings.simplefilter("ignore")  # the exporter uses deprecated functions itself
            for name in ("torch.onnx", "onnx_ir"):
                logging.getLogger(name).setLevel(logging.ERROR)
            torch.onnx.export(
                _Graph(_with_leaky_relus(network), row_maxima).eval(),
                (image,),
                temporary,
                dynamo=True,
                verbose=False,
                input_names=["image"],
                output_names=["probabilities", "existence", *(ROW_OUTPUTS if row_maxima else ()), *types],
                dynamic_shapes={"image": {0: torch.export.Dim("batch")}},
                external_data=False,
            )
            graph = onnx.load(temporary)
            _strip_notes(graph)
            if precision == "float16":
                graph = to_float16(graph)
            elif precision == "int8" and calibration is not None:
                graph = to_int8(graph, calibration)
            onnx.helper.set_model_props(
                graph,
                {
                    VIEW: json.dumps(asdict(view)),
                    "lgad.decode": decode_config.model_dump_json(),
                    "lgad.usage": _USAGE + (_TYPES_USAGE if types else ""),
                    "lgad.precision": precision,
                    **({LANE_TYPES: json.dumps(spec.lane_types)} if types else {}),
                },
            )
            onnx.save(graph, temporary)
    except ImportError as error:
        raise _missing(error) from error


def _with_leaky_relus(network: nn.Module) -> nn.Module:
    """Replace each PReLU, whose interpolation is several operators, by a leaky ReLU, which is one."""
    for parent in list(network.modules()):
        for name, layer in parent.named_children():
            if type(layer) is PReLU:
                setattr(parent, name, nn.LeakyReLU(layer.weight.item()))
    return network


def _strip_notes(message: "Message") -> None:
    """Remove the texts that torch's exporter adds to parts of a graph: stack traces with absolute paths."""
    for field, value in message.ListFields():
        if field.name in ("doc_string", "metadata_props"):
            message.ClearField(field.name)
        elif field.message_type is not None:
            for part in [value] if hasattr(value, "ListFields") else value:
                _strip_notes(part)


def difference(folder: Path, graph: Path, *, images: np.ndarray) -> Difference:
    """Compare the probabilities of a network in torch with those of its ONNX graph.

    Args:
        folder: directory of the trained student.
        graph: ONNX file that `export_onnx` wrote.
        images: uint8 (B, h, w, 3) RGB at the size of the network's input.

    Raises:
        LgadError: the network or the package onnxruntime is missing.
    """
    try:
        import onnxruntime
    except ImportError as error:
        raise _missing(error) from error
    network, spec = load_network(folder)
    planes = np.ascontiguousarray(images.transpose(0, 3, 1, 2))
    with torch.inference_mode():
        expected: Sequence[torch.Tensor] = _Graph(network).eval()(torch.from_numpy(planes))
    session = onnxruntime.InferenceSession(graph, providers=["CPUExecutionProvider"])
    types = [TYPES_OUTPUT] if spec.lane_types else []
    outputs = session.run(["probabilities", "existence", *types], {"image": planes})
    pairs = zip(expected, outputs, strict=True)
    distances = np.concatenate([np.abs(tensor.numpy() - array).ravel() for tensor, array in pairs])
    # NaN compares as False, so that it counts as a difference.
    apart = float((~(distances <= TOLERANCE)).mean())
    return Difference(float(distances.max()), float(distances.mean()), apart)


def _missing(error: ImportError) -> LgadError:
    return LgadError(f"{error}; install the packages for ONNX: pip install 'lgad-pipeline[export]'.")
