"""Types of predicted lanes: how many of the matched lanes have the annotated type."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from lgad_pipeline.errors import LgadError
from lgad_pipeline.evaluation.culane import LaneScores
from lgad_pipeline.evaluation.types import IOU
from lgad_pipeline.lanes.lane_files import find_lane_file
from lgad_pipeline.lanes.lane_types import named_type, read_types


@dataclass(frozen=True)
class TypeScore:
    """Types of the matched lanes.

    Attributes:
        right: number of matched lanes whose type is right.
        known: number of matched lanes with a predicted and a known annotated type.
        unread: frames whose types cannot be read, and which are not counted, each with the reason.
    """

    right: int = 0
    known: int = 0
    unread: tuple[str, ...] = ()

    def __add__(self, other: "TypeScore") -> "TypeScore":
        return TypeScore(self.right + other.right, self.known + other.known, self.unread + other.unread)

    @property
    def accuracy(self) -> float:
        """Share of the lanes of known type whose type is right; 0 without such lanes."""
        return self.right / max(self.known, 1)


def score_types(
    annotations: Path, predictions: Path, scores: LaneScores, *, lane_types: Sequence[str] = ()
) -> TypeScore:
    """Compare the types of matched lanes, of the frames that have files of types in both directories.

    An annotated type has the name that `named_type` finds; a predicted type is right if it is that name.
    Without names, a predicted type is right if all of its words are in the annotated type.

    Args:
        annotations: directory of the annotated lane files and files of types.
        predictions: directory of the predicted ones.
        scores: result of `evaluate_culane` for these directories; lanes matched with an IoU above 0.5 count.
        lane_types: names of the types that the network tells apart; empty if they are not known.
    """
    matched = scores.matches[scores.matches["iou"] > IOU]
    pairs = {frame: rows[["annotated", "predicted"]].to_numpy() for frame, rows in matched.groupby("frame")}
    total = TypeScore()
    counts = scores.frames.drop_duplicates("frame")[["frame", "annotated", "predicted"]]
    for frame, annotated, predicted in counts.itertuples(index=False):
        try:
            types = read_types(find_lane_file(annotations, frame), lanes=annotated)
            others = read_types(find_lane_file(predictions, frame), lanes=predicted)
        except (LgadError, OSError) as error:
            total += TypeScore(unread=(f"{frame} ({str(error).rstrip('.')})",))
            continue
        if types is not None and others is not None:
            named = [(types[lane], others[other]) for lane, other in pairs.get(frame, ())]
            total += sum((_compared(*pair, lane_types) for pair in named), TypeScore())
    return total


def _compared(annotated: str, predicted: str, lane_types: Sequence[str]) -> TypeScore:
    """Compare the types of a matched lane, which are empty where they are unknown."""
    if not annotated or not predicted:
        return TypeScore()
    name = named_type(annotated, lane_types or [predicted]).name  # without names, the predicted one alone
    return TypeScore(right=int(name == predicted), known=int(bool(name) or not lane_types))
