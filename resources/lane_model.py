"""The model that MLflow serves, as code: MLflow copies this file beside the weights and loads the two.

It imports neither the assets nor the resources: where it is loaded there are only mlflow, torch, numpy,
OpenCV and lgad_pipeline.
"""

from pathlib import Path
from typing import Any

import numpy as np
from mlflow.models import set_model
from mlflow.pyfunc.model import PythonModel, PythonModelContext
from pydantic import BaseModel

from lgad_pipeline.data.images import decode_image
from lgad_pipeline.inference.predictor import Lane, LanePredictor


class FoundLane(BaseModel):
    """One lane.

    Attributes:
        slot: 1 far left, 2 left, 3 right, 4 far right.
        confidence: 0..1.
        points: (x, y) in frame pixels, bottom first.
    """

    slot: int
    confidence: float
    points: list[list[float]]


class FrameLanes(BaseModel):
    """What was found in one frame."""

    lanes: list[FoundLane]


class LaneModel(PythonModel):
    """Frames to lanes."""

    def load_context(self, context: PythonModelContext) -> None:
        """Read the weights that lie beside this file."""
        self.predictor = LanePredictor.load(Path(context.artifacts["network"]))

    def predict(self, model_input: list[bytes], params: dict[str, Any] | None = None) -> list[FrameLanes]:
        """Find the lanes of each frame.

        Args:
            model_input: frames, each a JPEG or PNG as bytes (over HTTP as base64).
            params: none are read.

        Returns:
            The lanes of each frame.
        """
        found = self.predictor.predict([decode_image(data) for data in model_input])
        return [FrameLanes(lanes=[_found(lane) for lane in lanes]) for lanes in found]


def _found(lane: Lane) -> FoundLane:
    points = np.asarray(lane.points, float).round(2).tolist()
    return FoundLane(slot=lane.slot, confidence=lane.confidence, points=points)


set_model(LaneModel())
