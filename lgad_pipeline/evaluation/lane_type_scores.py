"""Types of predicted lanes: how many of the matched lanes have the annotated type."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np

from lgad_pipeline.config.frame_sizes import CULANE_FRAME
from lgad_pipeline.errors import LgadError
from lgad_pipeline.evaluation.frame_lanes import FrameLanes
from lgad_pipeline.evaluation.frame_sizes import FrameSizes
from lgad_pipeline.evaluation.lane_matching import LANE_WIDTH, lane_ious, match
from lgad_pipeline.evaluation.types import IOU
from lgad_pipeline.lanes.lane_files import find_lane_file, read_lanes
from lgad_pipeline.lanes.lane_types import named_type, read_types
from lgad_pipeline.process_pool import map_chunks


@dataclass(frozen=True)
class TypeScore:
    """Types of the matched lanes.

    Attributes:
        right: number of matched lanes whose type is right.
        known: number of matched lanes with a predicted and a known annotated type.
        unread: number of frames whose types or lanes cannot be read, and which are not counted.
    """

    right: int = 0
    known: int = 0
    unread: int = 0

    def __add__(self, other: "TypeScore") -> "TypeScore":
        return TypeScore(self.right + other.right, self.known + other.known, self.unread + other.unread)

    @property
    def accuracy(self) -> float:
        """Share of the lanes of known type whose type is right; 0 without such lanes."""
        return self.right / max(self.known, 1)


def score_types(
    annotations: Path,
    predictions: Path,
    *,
    frames: Sequence[str],
    lane_types: Sequence[str] = (),
    frame_size: tuple[int, int] | None = None,
    lane_width: int = LANE_WIDTH,
    image_roots: Sequence[Path] = (),
    workers: int | None = None,
) -> TypeScore:
    """Compare the types of matched lanes, of the frames that have files of types in both directories.

    Lanes are matched as by `evaluate_culane`, with an IoU above 0.5. An annotated type has the name that
    `named_type` finds; a predicted type is right if it is that name. Without names, a predicted type is right
    if all of its words are in the annotated type.

    Args:
        annotations: directory of the annotated lane files and files of types.
        predictions: directory of the predicted ones.
        frames: paths of the frames relative to the directories; each counts once.
        lane_types: names of the types that the network tells apart; empty if they are not known.
        frame_size: (H, W) of the frames without an image, px; None: that of the first image, else CULane's.
        lane_width: width at which lanes are compared, frame pixels.
        image_roots: further directories that may hold the images of the frames.
        workers: processes; None for one a core.
    """
    frames = list(dict.fromkeys(frames))
    sizes = FrameSizes.of(frames, (annotations, *image_roots), stated=frame_size, default=CULANE_FRAME)
    run = partial(_read_and_score, annotations, predictions, sizes, lane_width)
    total = TypeScore()
    for matched, unread in map_chunks(run, frames, workers=workers):
        total += TypeScore(unread=unread)
        for (annotated, predicted), count in matched.items():
            # Without names, the predicted one alone is compared.
            name = named_type(annotated, lane_types or [predicted]).name
            if name or not lane_types:
                total += TypeScore(count * (name == predicted), count)
    return total


def _read_and_score(
    annotations: Path, predictions: Path, frame_sizes: FrameSizes, lane_width: int, frames: Sequence[str]
) -> tuple[dict[tuple[str, str], int], int]:
    """Count the matched lanes by annotated and predicted type, and the frames that cannot be read."""
    matched: dict[tuple[str, str], int] = {}
    unread = 0
    for frame, (height, width, _) in zip(frames, frame_sizes(frames).tolist(), strict=True):
        try:
            sides = [_typed_lanes(root, frame) for root in (annotations, predictions)]
        except (LgadError, OSError):
            unread += 1
            continue
        if sides[0] is None or sides[1] is None:
            continue
        (lanes, types), (others, predicted) = sides[0], sides[1]
        (iou,) = lane_ious(
            FrameLanes.of([lanes]),
            FrameLanes.of([others]),
            frame_size=(height, width),
            lane_width=lane_width,
        )
        for lane, other in enumerate(match(iou).tolist()):
            if other >= 0 and iou[lane, other] > IOU and types[lane] and predicted[other]:
                pair = types[lane], predicted[other]
                matched[pair] = matched.get(pair, 0) + 1
    return matched, unread


def _typed_lanes(root: Path, frame: str) -> tuple[list[np.ndarray], tuple[str, ...]] | None:
    """Read the lanes of a frame with their types; None for a frame without a file of types."""
    file = find_lane_file(root, frame)
    if not file.is_file():
        return None
    lanes = read_lanes(file)
    types = read_types(file, lanes=len(lanes))
    return None if types is None else (lanes, types)
