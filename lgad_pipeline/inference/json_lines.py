"""Lanes as JSON lines: one object per frame."""

import json
from collections.abc import Collection, Sequence
from pathlib import Path

from lgad_pipeline.errors import LgadError
from lgad_pipeline.inference.frame_predictor import Lane
from lgad_pipeline.inference.lane_tracks import TrackedLane


def frame_record(frame: str | int, lanes: Sequence[Lane], *, time: float | None = None) -> str:
    """Return the lanes of a frame as a line of JSON, with its line end.

    Args:
        frame: path of the frame, or its number in a video.
        lanes: lanes of the frame; those of a tracker are written with their track.
        time: time since the first frame of the video, seconds; None for a single frame.
    """
    record: dict[str, object] = {"frame": frame}
    if time is not None:
        record["time"] = round(time, 4)
    record["lanes"] = [_lane(lane) for lane in lanes]
    return json.dumps(record) + "\n"


def records_of_other_frames(path: Path, frames: Collection[str]) -> list[str]:
    """Return the lines of a file of JSON lines that are of other frames than these.

    Args:
        path: file of earlier results, such as frames.lanes.jsonl.
        frames: paths of the frames whose records are left out.

    Raises:
        LgadError: a line is not the record of a frame.
    """
    kept = []
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(keepends=True), 1):
        try:
            frame = json.loads(line)["frame"]
        except (ValueError, KeyError, TypeError, RecursionError) as error:
            raise LgadError(
                f"{path}, line {number}, is not the record of a frame; move the file away, and run again."
            ) from error
        if frame not in frames:
            kept.append(line)
    return kept


def _lane(lane: Lane) -> dict[str, object]:
    return {
        "slot": lane.slot,
        **({"track": lane.track} if isinstance(lane, TrackedLane) else {}),
        "existence": round(lane.existence, 4),
        "confidence": round(lane.confidence, 4),
        **({"type": lane.type, "type_probability": round(lane.type_probability, 4)} if lane.type else {}),
        "points": [[round(float(x), 2), round(float(y), 2)] for x, y in lane.points],
    }
