"""Base of the predictors: frames in, lanes out, whatever runs the network; needs NumPy and OpenCV only."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from lgad_pipeline.errors import LgadError
from lgad_pipeline.lanes.decoding import DecodedLane, DecodeSettings
from lgad_pipeline.view import View


@dataclass(frozen=True)
class Lane:
    """Predicted lane.

    Attributes:
        slot: lane slot, from the left; of four slots: 1 far left, 2 left, 3 right, 4 far right.
        points: points (x, y) in frame pixels, float32 (N, 2), bottom first.
        confidence: mean over the rows of the lane of the maximum probability, 0..1.
        existence: probability of the existence head that the slot holds a lane, 0..1.
        type: most probable type of the lane, such as "dashed"; empty if the network predicts no types.
        type_probability: probability of that type, 0..1; 0 if the network predicts no types.
    """

    slot: int
    points: np.ndarray
    confidence: float
    existence: float = 1.0
    type: str = ""
    type_probability: float = 0.0


@dataclass(frozen=True)
class PreparedFrame:
    """Frame resized to the input of the network.

    Attributes:
        image: uint8 (h, w, 3) RGB at the size of the network's input.
        view: mapping from frame pixels to image pixels.
    """

    image: np.ndarray
    view: View


class FramePredictor(ABC):
    """Network that finds lanes in camera frames of any size.

    Args:
        view: mapping from frame pixels to the pixels of the network's input.
        decode_config: settings of decoding.
        lane_types: names of the types of lanes that the network tells apart; empty for none.
    """

    def __init__(self, view: View, decode_config: DecodeSettings, *, lane_types: Sequence[str] = ()) -> None:
        self.view = view
        self.decode_config = decode_config
        self.lane_types = tuple(lane_types)

    def predict(self, frames: Sequence[np.ndarray]) -> list[list[Lane]]:
        """Find the lanes in frames.

        Args:
            frames: uint8 (H, W, 3) RGB, of any size.

        Returns:
            The lanes of each frame, in its pixels.

        Raises:
            LgadError: a frame is of another kind; see `prepare`.
        """
        return self.predict_prepared([self.prepare(frame) for frame in frames])

    def prepare(self, frame: np.ndarray) -> PreparedFrame:
        """Resize a frame of any size, uint8 (H, W, 3) RGB, to the input of the network.

        The view is scaled to the frame: a frame of another size is treated as if it had been resized to the
        frame size of the training. `input_frames.distortion` warns of another aspect ratio.

        Raises:
            LgadError: it is no such frame.
        """
        if not isinstance(frame, np.ndarray) or frame.dtype != np.uint8 or frame.shape[2:] != (3,):
            kind = f"{frame.dtype} {frame.shape}" if isinstance(frame, np.ndarray) else type(frame).__name__
            raise LgadError(f"A frame is {kind}; give each frame as an array, uint8 (H, W, 3), RGB, 0..255.")
        if not frame.size:
            raise LgadError(f"A frame is empty, {frame.shape}; leave it out.")
        view = self.view.of_size((frame.shape[0], frame.shape[1]))
        return PreparedFrame(view.image(frame), view)

    @abstractmethod
    def predict_prepared(self, frames: Sequence[PreparedFrame]) -> list[list[Lane]]:
        """Find the lanes in prepared frames; return the lanes of each, in pixels of the original frame."""


def check_finite(finite: bool) -> None:
    """Check the output of a network.

    Args:
        finite: True if every value of the output is a finite number.

    Raises:
        LgadError: it is not.
    """
    if not finite:
        raise LgadError(
            "The network's output holds values that are not numbers, so no lane can be read; train again."
        )


def lanes_by_view(
    views: Sequence[View],
    existence: np.ndarray,
    *,
    decode_frames: Callable[[list[int], View], list[list[DecodedLane]]],
    types: np.ndarray | None = None,
    lane_types: Sequence[str] = (),
) -> list[list[Lane]]:
    """Decode frames together that have the same view, and return the lanes of each frame, in order.

    Args:
        views: view of each frame.
        existence: existence probabilities, float (B, slots).
        decode_frames: called with the indices of frames and their view; returns the lanes of each.
        types: probabilities of the types of lanes, float (B, slots, types), or None.
        lane_types: names of the types.
    """

    def typed(frame: int, slot: int) -> tuple[str, float]:
        if types is None:
            return "", 0.0
        best = int(types[frame, slot - 1].argmax())
        return lane_types[best], float(types[frame, slot - 1, best])

    lanes: list[list[Lane]] = [[] for _ in views]
    for view in dict.fromkeys(views):
        same_view = [index for index, frame_view in enumerate(views) if frame_view == view]
        for index, decoded in zip(same_view, decode_frames(same_view, view), strict=True):
            lanes[index] = [
                Lane(slot, points, confidence, float(existence[index, slot - 1]), *typed(index, slot))
                for slot, points, confidence in decoded
            ]
    return lanes
