"""Code of the registered model, which MLflow loads and serves: MLflow copies this file next to the weights.

It imports neither assets nor resources, because only mlflow, torch, numpy, OpenCV and lgad_pipeline are
installed where the model is loaded.
"""

import base64
import binascii
import logging
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from mlflow.exceptions import MlflowException
from mlflow.models import set_model
from mlflow.protos.databricks_pb2 import INVALID_PARAMETER_VALUE
from mlflow.pyfunc.model import PythonModel, PythonModelContext
from pydantic import BaseModel

from lgad_pipeline.config.base import LaterKeysConfig
from lgad_pipeline.config.model_files import NETWORK
from lgad_pipeline.config.network import NetworkSpec, allow_networks
from lgad_pipeline.datasets.image_headers import ImageError
from lgad_pipeline.datasets.images import image_size
from lgad_pipeline.datasets.safe_io import read_regular
from lgad_pipeline.errors import LgadError
from lgad_pipeline.inference.frame_predictor import Lane, PreparedFrame
from lgad_pipeline.inference.input_frames import check_size, distortion, read_frame
from lgad_pipeline.inference.predictor import LanePredictor
from lgad_pipeline.networks.checkpoint import read_model

LARGEST_FILE = 32 * 2**20
"""Largest size of an image file, bytes."""
LARGEST_REQUEST = 100_000_000
"""Largest sum over the frames of a request, pixels."""

_BATCH = 8
_MOST_SIZES = 100
_log = logging.getLogger(__name__)


class PredictedLane(LaterKeysConfig):
    """One predicted lane.

    Attributes:
        slot: from the left; of four slots: 1 far left, 2 left, 3 right, 4 far right.
        existence: probability that the slot has a lane, 0..1.
        confidence: mean of the maxima of the probability map along the lane, 0..1.
        points: points (x, y) in frame pixels, bottom first.
        type: most probable type of the lane, such as "dashed"; empty, and not in the answer over HTTP, if the
            network predicts no types.
        type_probability: probability of that type, 0..1.
    """

    later_keys = ("type", "type_probability")

    slot: int
    existence: float
    confidence: float
    points: list[list[float]]
    type: str = ""
    type_probability: float = 0.0


class FrameLanes(BaseModel):
    """Predicted lanes of one frame."""

    lanes: list[PredictedLane]


class BadFrame(MlflowException):
    """Error of a request with an unusable frame. Over HTTP the answer has status 400 and the reason."""

    def __init__(self, reason: str) -> None:
        self.reason = reason
        super().__init__(reason, error_code=INVALID_PARAMETER_VALUE)

    @property
    def message(self) -> str:
        """Reason alone: MLflow's server would add the whole request in front of it, which has megabytes."""
        return self.reason

    @message.setter
    def message(self, message: str) -> None:
        pass


class LaneModel(PythonModel):
    """Model that predicts the lanes of frames."""

    # MLflow would accept lists only; this model accepts a single frame as well.
    _skip_type_hint_validation = True

    def load_context(self, context: PythonModelContext) -> None:
        """Read the network from the artifacts of the model."""
        folder = Path(context.artifacts["network"])
        # MLflow has run this file of the model already, so the network class of the model is trusted, too.
        allow_networks(read_model(folder / NETWORK, NetworkSpec).name)
        self.predictor = LanePredictor.load(folder)
        self.seen_sizes: set[tuple[int, int]] = set()

    def predict(self, model_input: list[Any], params: dict[str, Any] | None = None) -> list[FrameLanes]:
        """Predict the lanes of each frame.

        Args:
            model_input: a frame or a list of frames. A frame is a JPEG or PNG file as bytes or
                `pathlib.Path`, the base64 text of a file (over HTTP), or uint8 (H, W, 3) RGB. A frame may
                have 50 megapixels, and all frames of an HTTP request together 100 megapixels.
            params: not used.

        Returns:
            The lanes of each frame, in pixels of that frame.

        Raises:
            BadFrame: an input is not a usable frame; the error has its number and the reason.
        """
        single = isinstance(model_input, bytes | str | Path) or getattr(model_input, "ndim", 0) == 3
        frames = [model_input] if single else model_input
        if not isinstance(frames, Sequence | np.ndarray):
            raise BadFrame(
                "The input is not a list of frames: give JPEG or PNG files, as base64 over HTTP, like "
                '{"inputs": ["/9j/4AAQ..."]}.'
            )
        sources = [_source(frame, number) for number, frame in enumerate(frames, 1)]
        _check_sum(frames, sources)
        predicted: list[FrameLanes] = []
        for start in range(0, len(sources), _BATCH):
            # One frame is decoded at a time, and only its image at the network's size is kept.
            prepared = [
                self._prepare(source, number)
                for number, source in enumerate(sources[start : start + _BATCH], start + 1)
            ]
            predicted += [
                FrameLanes(lanes=[_predicted_lane(lane) for lane in lanes])
                for lanes in self.predictor.predict_prepared(prepared)
            ]
        return predicted

    def _prepare(self, source: bytes | np.ndarray, number: int) -> PreparedFrame:
        try:
            frame = source if isinstance(source, np.ndarray) else read_frame(source)
        except ImageError as error:
            raise BadFrame(f"Frame {number} {_reason(error)}.") from None
        size = (frame.shape[0], frame.shape[1])
        if size not in self.seen_sizes and len(self.seen_sizes) < _MOST_SIZES:
            self.seen_sizes.add(size)
            if warning := distortion(size, self.predictor.view):
                _log.warning(warning)
        return self.predictor.prepare(frame)


def _source(frame: object, number: int) -> bytes | np.ndarray:
    """Return a frame as the bytes of its file, or as uint8 (H, W, 3) RGB; check its size without decoding.

    A text is never read as a path: over HTTP everybody could then read the files of the server.
    """
    if isinstance(frame, str):
        try:
            frame = base64.b64decode("".join(frame.split()), validate=True)
        except (binascii.Error, ValueError):
            raise BadFrame(
                f"Frame {number} is a text that is not base64; give a file as Path('frame.jpg') or its bytes "
                "in Python, its base64 over HTTP."
            ) from None
    try:
        if isinstance(frame, Path):
            frame = read_regular(frame, LARGEST_FILE)
        if isinstance(frame, bytes):
            if len(frame) > LARGEST_FILE:
                reason = f"has {len(frame) / 2**20:.0f} MB; {LARGEST_FILE >> 20} MB are allowed"
                raise BadFrame(f"Frame {number} {reason}.")
            check_size(*image_size(frame))
            return frame
    except LgadError as error:
        raise BadFrame(f"Frame {number} {_reason(error)}.") from None
    except OSError as error:
        raise BadFrame(f"Frame {number} cannot be read ({error.strerror}): {error.filename}.") from None
    if not isinstance(frame, np.ndarray):
        kind = type(frame).__name__
        raise BadFrame(f"Frame {number} is of type {kind}; give a JPEG or PNG file, as base64 over HTTP.")
    if frame.dtype != np.uint8 or frame.ndim != 3 or frame.shape[2] != 3:
        raise BadFrame(f"Frame {number} is {frame.dtype} {frame.shape}; give uint8 (H, W, 3), RGB.")
    try:
        check_size(frame.shape[0], frame.shape[1])
    except ImageError as error:
        raise BadFrame(f"Frame {number} {error}.") from None
    return frame


def _check_sum(frames: Sequence[object] | np.ndarray, sources: Sequence[bytes | np.ndarray]) -> None:
    """Limit the sum of the pixels of all texts, which are sent over HTTP: few bytes can be many pixels.

    Raises:
        BadFrame: the frames together are larger than `LARGEST_REQUEST`.
    """
    total = 0
    for frame, source in zip(frames, sources, strict=True):
        if isinstance(frame, str) and isinstance(source, bytes):
            total += math.prod(image_size(source))
    if total > LARGEST_REQUEST:
        raise BadFrame(
            f"The {len(sources)} frames have {total / 1e6:.0f} megapixels together; "
            f"{LARGEST_REQUEST // 1_000_000} are allowed in a request: send them in several."
        )


def _reason(error: LgadError) -> str:
    """Return the reason of an error without its remedy, which is for the frames of a data set."""
    return str(error) if "allowed" in str(error) else str(error).partition(";")[0]


def _predicted_lane(lane: Lane) -> PredictedLane:
    points = np.asarray(lane.points, float).round(2).tolist()
    return PredictedLane(
        slot=lane.slot,
        existence=lane.existence,
        confidence=lane.confidence,
        points=points,
        type=lane.type,
        type_probability=lane.type_probability,
    )


set_model(LaneModel())
