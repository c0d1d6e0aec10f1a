"""Graphs of lower precision: float16, and int8 that is calibrated on frames."""

import logging
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

if TYPE_CHECKING:
    from onnx import ModelProto

GraphPrecision = Literal["float32", "float16", "int8"]
"""Precision of a graph's weights; the inputs and outputs are the same for all of them."""

# With convolutions alone, conversions between int8 and float32 cost as much time as int8 saves.
_QUANTIZED = ("Conv", "ConvTranspose", "Gemm", "LeakyRelu", "Relu", "Add", "MaxPool", "Concat")
_CONVOLUTIONS = ("Conv", "ConvTranspose")


def to_float16(model: "ModelProto") -> "ModelProto":
    """Return a graph that computes in float16; its outputs are float32.

    Args:
        model: graph in float32.
    """
    from onnxruntime.transformers.float16 import convert_float_to_float16

    return convert_float_to_float16(model, keep_io_types=True)


def to_int8(model: "ModelProto", images: np.ndarray) -> "ModelProto":
    """Return a graph that computes in int8, by static quantization.

    Weights have a scale for each output channel; activations have one for each tensor, from the smallest and
    largest value on the images. The first convolution and the one before the probabilities stay in float32:
    the first reads the whole range of the image, and the error of the last is not averaged by any layer.

    Args:
        model: graph in float32.
        images: uint8 (N, h, w, 3) RGB at the size of the network's input, frames to calibrate on.
    """
    import onnx
    from onnxruntime.quantization import (
        CalibrationDataReader,
        CalibrationMethod,
        QuantFormat,
        QuantType,
        quantize_static,
    )

    class Frames(CalibrationDataReader):
        waiting = iter(images)

        def get_next(self) -> Any:
            image = next(self.waiting, None)
            return None if image is None else {"image": np.ascontiguousarray(image.transpose(2, 0, 1)[None])}

    # The tool advises to optimize the graph first; its batch norms are folded by the exporter already.
    logging.getLogger().addFilter(_no_advice)
    try:
        with TemporaryDirectory() as scratch:
            output = Path(scratch) / "int8.onnx"
            quantize_static(
                model,
                output,
                Frames(),
                quant_format=QuantFormat.QDQ,
                op_types_to_quantize=list(_QUANTIZED),
                per_channel=True,
                activation_type=QuantType.QUInt8,
                weight_type=QuantType.QInt8,
                nodes_to_exclude=_outermost(model),
                calibrate_method=CalibrationMethod.MinMax,
            )
            return onnx.load(output)
    finally:
        logging.getLogger().removeFilter(_no_advice)


def _no_advice(record: logging.LogRecord) -> bool:
    return "pre-processing before quantization" not in record.getMessage()


def _outermost(model: "ModelProto") -> list[str]:
    """Return the names of the first convolution and of the last ones before the probabilities."""
    nodes = model.graph.node
    writer = {output: node for node in nodes for output in node.output}
    first = next(node.name for node in nodes if node.op_type in _CONVOLUTIONS)
    last: list[str] = []
    waiting, seen = ["probabilities"], set()
    while waiting:
        node = writer.get(waiting.pop())
        if node is None or node.name in seen:
            continue
        seen.add(node.name)
        if node.op_type in _CONVOLUTIONS:
            last.append(node.name)
        else:
            waiting += node.input
    return [first, *last]
