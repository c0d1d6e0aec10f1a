"""Lanes as JSON lines: one object per frame."""

import json
from collections.abc import Sequence

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


def _lane(lane: Lane) -> dict[str, object]:
    return {
        "slot": lane.slot,
        **({"track": lane.track} if isinstance(lane, TrackedLane) else {}),
        "existence": round(lane.existence, 4),
        "confidence": round(lane.confidence, 4),
        **({"type": lane.type, "type_probability": round(lane.type_probability, 4)} if lane.type else {}),
        "points": [[round(float(x), 2), round(float(y), 2)] for x, y in lane.points],
    }
