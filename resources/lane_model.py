"""The model that MLflow loads and serves, as code: MLflow copies this file beside the weights.

It imports neither the assets nor the resources: where it is loaded there are only mlflow, torch, numpy,
OpenCV and lgad_pipeline.
"""

import base64
import binascii
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from mlflow.exceptions import MlflowException
from mlflow.models import set_model
from mlflow.protos.databricks_pb2 import INVALID_PARAMETER_VALUE
from mlflow.pyfunc.model import PythonModel, PythonModelContext
from pydantic import BaseModel

from lgad_pipeline.data.images import ImageError, image_size, read_image
from lgad_pipeline.inference.predictor import Lane, LanePredictor

LARGEST_FILE = 32 * 2**20
LARGEST_FRAME = 50_000_000
SMALLEST_SIDE = 16
_BATCH = 8


class FoundLane(BaseModel):
    """One lane.

    Attributes:
        slot: 1 far left, 2 left, 3 right, 4 far right.
        existence: 0..1, that the slot holds a lane.
        confidence: 0..1, mean of the probability map's maxima along the lane.
        points: (x, y) in frame pixels, bottom first.
    """

    slot: int
    existence: float
    confidence: float
    points: list[list[float]]


class FrameLanes(BaseModel):
    """What was found in one frame."""

    lanes: list[FoundLane]


class BadFrame(MlflowException):
    """A request that cannot be answered. Over HTTP it is a 400 with the reason."""

    def __init__(self, reason: str) -> None:
        self.reason = reason
        super().__init__(reason, error_code=INVALID_PARAMETER_VALUE)

    @property
    def message(self) -> str:
        """The reason alone: MLflow's server would put the whole request, megabytes of it, before it."""
        return self.reason

    @message.setter
    def message(self, message: str) -> None:
        pass


class LaneModel(PythonModel):
    """Frames to lanes."""

    # MLflow would insist on a list; here a single frame is taken, too.
    _skip_type_hint_validation = True

    def load_context(self, context: PythonModelContext) -> None:
        """Read the weights that lie beside this file."""
        self.predictor = LanePredictor.load(Path(context.artifacts["network"]))

    def predict(self, model_input: list[Any], params: dict[str, Any] | None = None) -> list[FrameLanes]:
        """Find the lanes of each frame.

        Args:
            model_input: a frame or a list of frames, each a JPEG or PNG file as bytes, the same as base64
                (over HTTP), or uint8 (H, W, 3) RGB; of any size up to 50 megapixels.
            params: none are read.

        Returns:
            The lanes of each frame, in the frame's own pixels.

        Raises:
            BadFrame: an input is no frame; it names which, and why.
        """
        single = isinstance(model_input, bytes | str) or getattr(model_input, "ndim", 0) == 3
        frames = [model_input] if single else model_input
        if not isinstance(frames, Sequence | np.ndarray):
            raise BadFrame(
                "The input is no list of frames: give JPEG or PNG files, as base64 over HTTP, like "
                '{"inputs": ["/9j/4AAQ..."]}.'
            )
        found: list[FrameLanes] = []
        for start in range(0, len(frames), _BATCH):
            batch = [_picture(frame, start + i) for i, frame in enumerate(frames[start : start + _BATCH], 1)]
            found += [
                FrameLanes(lanes=[_found(lane) for lane in lanes]) for lanes in self.predictor.predict(batch)
            ]
        return found


def _picture(frame: object, number: int) -> np.ndarray:
    """A frame as uint8 (H, W, 3) RGB; its size is looked at before it is decoded."""
    if isinstance(frame, str):
        try:
            frame = base64.b64decode("".join(frame.split()), validate=True)
        except (binascii.Error, ValueError):
            raise BadFrame(f"Frame {number} is a text, but no base64.") from None
    if isinstance(frame, bytes):
        return _decoded(frame, number)
    if not isinstance(frame, np.ndarray):
        kind = type(frame).__name__
        raise BadFrame(f"Frame {number} is of type {kind}; give a JPEG or PNG file, as base64 over HTTP.")
    if frame.dtype != np.uint8 or frame.ndim != 3 or frame.shape[2] != 3:
        raise BadFrame(f"Frame {number} is {frame.dtype} {frame.shape}; give uint8 (H, W, 3), RGB.")
    _check_size(frame.shape[0], frame.shape[1], number)
    return frame


def _decoded(data: bytes, number: int) -> np.ndarray:
    if len(data) > LARGEST_FILE:
        raise BadFrame(f"Frame {number} has {len(data) / 2**20:.0f} MB; {LARGEST_FILE >> 20} MB are allowed.")
    try:
        _check_size(*image_size(data), number)
        return read_image(data)
    except ImageError as error:
        raise BadFrame(f"Frame {number} {str(error).partition(';')[0]}.") from None


def _check_size(height: int, width: int, number: int) -> None:
    if height * width > LARGEST_FRAME or min(height, width) < SMALLEST_SIDE:
        raise BadFrame(
            f"Frame {number} is {width} x {height} px; allowed are {LARGEST_FRAME // 1_000_000} megapixels "
            f"and sides of at least {SMALLEST_SIDE} px."
        )


def _found(lane: Lane) -> FoundLane:
    points = np.asarray(lane.points, float).round(2).tolist()
    return FoundLane(slot=lane.slot, existence=lane.existence, confidence=lane.confidence, points=points)


set_model(LaneModel())
