"""Prediction of lanes with ONNX Runtime; needs NumPy, OpenCV and onnxruntime only."""

import json
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Self, cast

import numpy as np

from lgad_pipeline.errors import LgadError
from lgad_pipeline.inference.frame_predictor import (
    FramePredictor,
    Lane,
    PreparedFrame,
    check_finite,
    lanes_by_view,
)
from lgad_pipeline.lanes.decoding import DecodedLane, DecodeSettings, decode, decode_rows
from lgad_pipeline.lanes.row_peaks import RowPeaks
from lgad_pipeline.view import View

ROW_OUTPUTS = ("row_centre", "row_peak", "row_weight")
"""Outputs of a graph that was exported with row maxima, in the order of `RowPeaks`."""
TYPES_OUTPUT = "types"
"""Output of the graph of a network that predicts types of lanes."""
VIEW = "lgad.view"
"""Key of the metadata that holds the view of the network, JSON."""
LANE_TYPES = "lgad.lane_types"
"""Key of the metadata that holds the names of the types, a JSON list."""

_SETTINGS = {
    "existence_threshold": 0.0,
    "peak_threshold": 0.0,
    "row_step": 0.5,
    "least_rows": 2,
    "smoothing": 1e-3,
    "outlier_distance": 0.1,
    "to_bottom": False,
}
"""Keys of the settings of decoding that are numbers or flags, and their least values."""


class OnnxPredictor(FramePredictor):
    """ONNX graph of a trained student that finds lanes in camera frames.

    Lanes equal those of `LanePredictor` on the same weights: preparation and decoding are the same code.

    Args:
        session: session of ONNX Runtime with the outputs of `export_onnx`.
        view: mapping from frame pixels to the pixels of the network's input.
        decode_config: settings of decoding.
        lane_types: names of the types of lanes that the graph tells apart; empty for none.
    """

    def __init__(
        self,
        session: Any,
        view: View,
        *,
        decode_config: DecodeSettings,
        lane_types: Sequence[str] = (),
    ) -> None:
        super().__init__(view, decode_config, lane_types=lane_types)
        self.session = session
        outputs = {output.name for output in session.get_outputs()}
        by_rows = decode_config.method == "centroid" and outputs.issuperset(ROW_OUTPUTS)
        self._maps = ROW_OUTPUTS if by_rows else ("probabilities",)
        self._outputs = ["existence", *self._maps, *([TYPES_OUTPUT] if lane_types else [])]

    @classmethod
    def load(
        cls,
        graph: Path,
        *,
        threads: int | None = None,
        providers: Sequence[Any] = ("CPUExecutionProvider",),
    ) -> Self:
        """Read a graph that `export_onnx` or `lgad export` wrote.

        Args:
            graph: ONNX file.
            threads: number of threads of an operation on the CPU; None for one per core.
            providers: execution providers of ONNX Runtime, such as CUDAExecutionProvider.

        Raises:
            LgadError: onnxruntime is missing or can use none of the providers, or the file is missing,
                damaged or was not written by `export_onnx`.
        """
        try:
            import onnxruntime
        except ImportError as error:
            raise LgadError(f"{error}; install it: pip install onnxruntime.") from error
        if not graph.is_file():
            raise LgadError(f"{graph} is not a file; write the graph with lgad export MODEL {graph}.")
        options = onnxruntime.SessionOptions()
        options.log_severity_level = 3
        if threads is not None:
            options.intra_op_num_threads = threads
        try:
            session = onnxruntime.InferenceSession(graph, options, providers=list(providers))
        except Exception as error:  # onnxruntime's exceptions have no common class
            reason = (str(error).splitlines() or ["unknown"])[0][:200]
            raise LgadError(
                f"{graph} cannot be loaded by ONNX Runtime ({reason}); export it again or update onnxruntime."
            ) from error
        wanted = [provider if isinstance(provider, str) else provider[0] for provider in providers]
        if wanted and not set(wanted) & set(session.get_providers()):  # it runs on the CPU then
            raise LgadError(
                f"ONNX Runtime cannot use {' or '.join(wanted)} here; install a package that can, such as "
                "onnxruntime-gpu, or add CPUExecutionProvider to the providers."
            )
        metadata = session.get_modelmeta().custom_metadata_map
        try:
            view = _view(json.loads(metadata[VIEW]), session.get_inputs()[0].shape)
            decode_config = _decode_settings(json.loads(metadata["lgad.decode"]))
            lane_types = _lane_types(json.loads(metadata.get(LANE_TYPES, "[]")), session.get_outputs())
        except (KeyError, TypeError, ValueError, IndexError, OverflowError, RecursionError) as error:
            raise LgadError(
                f"{graph} has no usable metadata lgad.view and lgad.decode ({error}); write the graph with "
                "lgad export."
            ) from error
        return cls(session, view, decode_config=decode_config, lane_types=lane_types)

    def predict_prepared(self, frames: Sequence[PreparedFrame]) -> list[list[Lane]]:
        """Find the lanes in prepared frames; return the lanes of each, in pixels of the original frame."""
        if not frames:
            return []
        planes = np.ascontiguousarray(np.stack([frame.image for frame in frames]).transpose(0, 3, 1, 2))
        existence, *outputs = self.session.run(self._outputs, {"image": planes})
        check_finite(all(np.isfinite(values).all() for values in (existence, *outputs)))
        maps, types = outputs[: len(self._maps)], outputs[-1] if self.lane_types else None

        def decode_frames(chosen: list[int], view: View) -> list[list[DecodedLane]]:
            if len(maps) == len(ROW_OUTPUTS):
                peaks = RowPeaks(*(values[chosen] for values in maps))
                return decode_rows(peaks, existence[chosen], view, self.decode_config)
            return decode(maps[0][chosen], existence[chosen], view, self.decode_config)

        return lanes_by_view(
            [frame.view for frame in frames],
            existence,
            decode_frames=decode_frames,
            types=types,
            lane_types=self.lane_types,
        )


def _view(values: dict[str, Any], shape: Sequence[Any]) -> View:
    """Return the view that the metadata describe.

    Args:
        values: frame_size (H, W), image_size (H, W), crop_top; pixels.
        shape: shape of the graph's input, (B, 3, h, w).

    Raises:
        ValueError: the values do not fit each other or the graph.
    """
    frame_size, image_size = (tuple(map(int, values[key])) for key in ("frame_size", "image_size"))
    crop_top = int(values["crop_top"])
    fits = image_size == tuple(shape[2:]) and len(frame_size) == 2 and frame_size[1] > 0
    if not fits or not 0 <= crop_top < frame_size[0]:
        raise ValueError(f"{values} does not fit the input {shape}")
    return View((frame_size[0], frame_size[1]), (image_size[0], image_size[1]), crop_top)


def _lane_types(names: Any, outputs: Sequence[Any]) -> tuple[str, ...]:
    """Return the names of the types of lanes that the metadata hold.

    Raises:
        ValueError: they do not fit the output of the graph.
    """
    size = next((output.shape[2] for output in outputs if output.name == TYPES_OUTPUT), 0)
    plain = isinstance(names, list) and all(isinstance(name, str) and name.isprintable() for name in names)
    if not plain or len(names) != size:
        raise ValueError(f"{LANE_TYPES} does not fit the output {TYPES_OUTPUT}")
    return tuple(names)


def _decode_settings(values: dict[str, Any]) -> DecodeSettings:
    """Return the settings of decoding; `DecodeConfig`, which checks all bounds, needs pydantic.

    Raises:
        ValueError: a value is out of bounds.
    """
    if values["method"] not in ("centroid", "official"):
        raise ValueError(f"method {values['method']!r} is unknown")
    for key, least in _SETTINGS.items():
        kinds = (type(least), int) if isinstance(least, float) else (type(least),)
        if type(values[key]) not in kinds or not least <= values[key] < 1e4:
            raise ValueError(f"{key} {values[key]!r} is out of bounds")
    settings = SimpleNamespace(method=values["method"], **{key: values[key] for key in _SETTINGS})
    return cast(DecodeSettings, settings)
