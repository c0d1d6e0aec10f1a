"""The model that MLflow serves, as code: MLflow copies this file beside the weights and loads the two together.

It imports neither the assets nor the resources: where it is loaded there are only mlflow, torch, numpy, OpenCV
and lgad_pipeline.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from mlflow.models import set_model
from mlflow.pyfunc.model import PythonModel, PythonModelContext

from lgad_pipeline.inference.predictor import LanePredictor


class LaneModel(PythonModel):
    """Frames to lanes."""

    def load_context(self, context: PythonModelContext) -> None:
        """Read the weights that lie beside this file."""
        self.predictor = LanePredictor.load(Path(context.artifacts["network"]))

    def predict(self, model_input: list[bytes], params: dict[str, Any] | None = None) -> list[dict[str, Any]]:
        """Find the lanes of each frame.

        Args:
            model_input: frames, each a JPEG or PNG as bytes (over HTTP as base64).
            params: none are read.

        Returns:
            For each frame `lanes`, a list of slot (1..4), confidence and points as (x, y) in frame pixels.
        """
        found = self.predictor.predict([_decode(data) for data in model_input])
        return [{"lanes": [_as_json(lane) for lane in lanes]} for lanes in found]


def _decode(data: bytes) -> np.ndarray:
    frame = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR_RGB) if data else None
    if frame is None:
        raise ValueError("A frame is no JPEG or PNG; send the bytes of an image file.")
    return frame


def _as_json(lane: Any) -> dict[str, Any]:
    points: Sequence[Sequence[float]] = np.asarray(lane.points, float).round(2).tolist()
    return {"slot": int(lane.slot), "confidence": float(lane.confidence), "points": points}


set_model(LaneModel())
