"""Reference lanes of LLAMAS' metric: an x for each row of the four lanes next to the car, from a label file.

They follow the data set's own scripts (karstenBehrendt/unsupervised_llamas, `label_scripts`), rounding
included. Lanes of one marker, or less than 20 px between the near ends of their markers, are left out; the
others are numbered from the car outwards. The marker nearest to the car is extended to the border of the
frame. Rows between markers are interpolated.
"""

import json
from typing import Any, NamedTuple

import numpy as np

from lgad_pipeline.datasets.llamas import HEIGHT, LEAST_HEIGHT, LEAST_MARKERS, WIDTH
from lgad_pipeline.datasets.reader import AnnotationError
from lgad_pipeline.lanes.lane_files import MAX_COORDINATE

LANES = ("l1", "l0", "r0", "r1")
"""Names of the evaluated lanes, from left to right; the car is between l0 and r0."""

_LEAST_DASH = 2  # px; a marker that is not higher has its near end alone


class _Marker(NamedTuple):
    """Marker of a lane.

    Attributes:
        start: (x, y) of the near end, frame pixels, int.
        end: (x, y) of the far end, frame pixels, int.
        distance: distance of the near end from the car, as in the label file.
    """

    start: tuple[int, int]
    end: tuple[int, int]
    distance: float


def reference_lanes(content: bytes) -> dict[str, np.ndarray]:
    """Compute the reference lanes of a label file.

    Args:
        content: content of the label file, JSON.

    Returns:
        x of each row by name of the lane, float64 (717,) in frame pixels, NaN where the lane has none; lanes
        that the frame does not have are missing.

    Raises:
        AnnotationError: the content is not a label file, or a lane is neither to the left nor to the right.
    """
    try:
        lanes = {str(lane["lane_id"]): _markers(lane) for lane in json.loads(content)["lanes"]}
    except (ValueError, KeyError, TypeError, OverflowError, RecursionError) as error:
        raise AnnotationError("is not a label file with `lanes` of `markers`; unpack it again") from error
    kept = {
        name: markers
        for name, markers in lanes.items()
        if len(markers) >= LEAST_MARKERS and _extent(markers) >= LEAST_HEIGHT
    }
    other = next((name for name in kept if not name.startswith(("l", "r"))), None)
    if other is not None:
        raise AnnotationError(
            f"has the lane_id {other!r}; write l0, l1 for lanes to the left of the car, r0, r1 to the right"
        )
    numbered = {
        f"{side}{number}": kept[name]
        for side in "lr"
        for number, name in enumerate(sorted(name for name in kept if name.startswith(side)))
    }
    return {name: _rows(_extended(numbered[name])) for name in LANES if name in numbered}


def _markers(lane: Any) -> list[_Marker]:
    markers = [
        _Marker(
            (int(marker["pixel_start"]["x"]), int(marker["pixel_start"]["y"])),
            (int(marker["pixel_end"]["x"]), int(marker["pixel_end"]["y"])),
            float(marker["world_start"]["z"]),
        )
        for marker in lane["markers"]
    ]
    ends = [end for marker in markers for end in (marker.start, marker.end)]
    if any(not 0 <= y < HEIGHT or abs(x) > MAX_COORDINATE for x, y in ends):
        raise AnnotationError("has a marker above or below the frame, or far away; unpack it again")
    return markers


def _extent(markers: list[_Marker]) -> int:
    """Return the height between the near ends of the first and the last marker, pixels."""
    rows = [marker.start[1] for marker in markers]
    return max(rows) - min(rows)


def _extended(markers: list[_Marker]) -> list[_Marker]:
    """Add a marker from the border of the frame to the nearest marker, in its direction."""
    sloped = [
        marker for marker in markers if marker.start[0] != marker.end[0] and marker.start[1] != marker.end[1]
    ]
    if not sloped:
        return markers
    nearest = min(sloped, key=lambda marker: marker.distance)
    if nearest.distance < 0:
        return markers
    (x, y), (far_x, far_y) = nearest.start, nearest.end
    across, along = (far_x - x) / (far_y - y), (far_y - y) / (far_x - x)
    at_bottom = x + (HEIGHT - 1 - y) * across
    if at_bottom < 0:
        border = (0.0, y - x * along)
    elif at_bottom > WIDTH:
        border = (float(WIDTH), y + (WIDTH - x) * along)
    else:
        border = (at_bottom, float(HEIGHT - 1))
    start = (round(border[0]), round(border[1]))
    if not 0 <= start[1] < HEIGHT:
        return markers
    return [_Marker(start, nearest.start, 1.0), *markers]


def _rows(markers: list[_Marker]) -> np.ndarray:
    """Return the mean x of the markers on each row, interpolated between markers."""
    total, count = np.zeros(HEIGHT), np.zeros(HEIGHT)
    for marker in markers:
        (x, y), (far_x, far_y) = marker.start, marker.end
        total[y] += x
        count[y] += 1
        height = y - far_y
        if height <= _LEAST_DASH:
            continue
        for step in range(height + 1):  # the near end counts twice, as in the scripts
            total[y - step] += round(x + (far_x - x) / height * step)
            count[y - step] += 1
    known = np.flatnonzero(count)
    inside = np.arange(known[0], known[-1] + 1)
    lane = np.full(HEIGHT, np.nan)
    lane[inside] = np.interp(inside, known, total[known] / count[known])
    lane[lane < 0] = np.nan
    return lane
