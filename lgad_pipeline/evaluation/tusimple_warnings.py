"""Warnings about the input of TuSimple's metric, such as run times in seconds."""

import math
from pathlib import Path
from typing import Any

import numpy as np

from lgad_pipeline.config.frame_sizes import TUSIMPLE_FRAME
from lgad_pipeline.evaluation.frame_sizes import FrameSizes
from lgad_pipeline.evaluation.scaled_lanes import conversion_warning, scale_warning
from lgad_pipeline.lanes.extents import (
    annotated_warnings,
    copies_warning,
    count_copies,
    lane_extents,
    size_warnings,
)
from lgad_pipeline.wording import counted

SLOWEST = 200.0
"""Largest `run_time` in ms with which a frame is scored."""
MORE_LANES = 2
"""Largest accepted number of predicted lanes minus annotated lanes."""


def zeroed_note(frames: int, slow: int, *, crowded: int) -> list[str]:
    """Describe the frames that the benchmark's rules count as 0; an empty list if there are none.

    Args:
        frames: number of annotated frames.
        slow: number of frames with a `run_time` above the limit.
        crowded: number of other frames with too many predicted lanes.
    """
    why = [f"{slow} with a run_time above {SLOWEST:g} ms"] if slow else []
    if crowded:
        why.append(f"{crowded} with more than {MORE_LANES} lanes beyond the annotated ones")
    if not why:
        return []
    return [
        f"{slow + crowded} of {counted(frames, 'frame')} {'counts' if slow + crowded == 1 else 'count'} as "
        "accuracy 0 and FN 1 by the benchmark's rules: "
        f"{' and '.join(why)}."
    ]


def tusimple_warnings(
    path: Path, annotated: dict[str, dict[str, Any]], *, predicted: dict[str, dict[str, Any]]
) -> list[str]:
    """Return warnings about likely mistakes: other rows, unit of the run time, frame size."""
    notes = []
    others = sum(
        "h_samples" in guess and guess["h_samples"] != annotated[name]["h_samples"]
        for name, guess in predicted.items()
    )
    if others:
        notes.append(
            f"{others} prediction{'s state' if others > 1 else ' states'} h_samples other than the "
            "annotation's, which the benchmark ignores: every x counts on the annotation's row."
        )
    for kind, entries in (("annotated", annotated), ("predicted", predicted)):
        zeros = sum(lane.count(0) > 1 for entry in entries.values() for lane in entry["lanes"])
        if zeros:
            notes.append(
                f"{counted(zeros, f'{kind} lane')} {'have' if zeros > 1 else 'has'} x = 0 in two rows or "
                "more, which counts as a point at the left border; write -2 where a lane is absent."
            )
    empty = sum(all(x < 0 for x in lane) for guess in predicted.values() for lane in guess["lanes"])
    if empty:
        notes.append(
            f"{counted(empty, 'predicted lane')} without any point {'count' if empty > 1 else 'counts'}, as "
            "a false positive unless an annotated lane has no point either; leave such lanes out."
        )
    times = [guess["run_time"] for guess in predicted.values() if guess["run_time"] > 0]
    if times and max(times) < 1:
        notes.append(
            f"Every run_time is below 1 ms (at most {max(times):g}); the benchmark reads milliseconds, and "
            f"its limit of {SLOWEST:g} ms was applied to them."
        )
    names = list(annotated)
    truth = [_points(annotated[name], annotated[name]) for name in names]
    guess = [_points(predicted[name], annotated[name]) if name in predicted else [] for name in names]
    right, bottom = np.concatenate([[[1, 1]], *(lane for lanes in truth for lane in lanes)]).max(axis=0)
    # Without images, the size is unknown, so it is TuSimple's unless the annotated points do not fit it.
    like_tusimple = bottom == 1 or (
        right <= TUSIMPLE_FRAME[1] and 0.75 * TUSIMPLE_FRAME[0] <= bottom <= TUSIMPLE_FRAME[0]
    )
    default = TUSIMPLE_FRAME if like_tusimple else (math.ceil(bottom), math.ceil(right))
    sizes = FrameSizes.of(names, (path.parent,), stated=None, default=default)
    frame_sizes = sizes(names)[:, :2]
    extents = lane_extents(truth, frame_sizes)
    of_size = size_warnings(
        "predicted", lane_extents(guess, frame_sizes), sizes=frame_sizes, reference=extents
    )
    size = tuple(np.median(frame_sizes, axis=0).astype(int).tolist())
    if not of_size:
        both = list(zip(truth, guess, strict=True))
        of_size = scale_warning(both, size, same_rows=True) or conversion_warning(
            both,
            [
                (lanes, _points(_turned(predicted.get(name)), annotated[name]))
                for lanes, name in zip(truth, names, strict=True)
            ],
            size,
            how="With the x of each lane in reverse order",
            remedy="write them in the order of the annotation's h_samples",
        )
    return [
        *notes,
        *annotated_warnings(extents, sizes=frame_sizes, frames=names),
        *of_size,
        *copies_warning("annotated", count_copies(truth)),
        *copies_warning("predicted", count_copies(guess)),
        *_equality_warning(annotated, predicted),
    ]


def _equality_warning(
    annotated: dict[str, dict[str, Any]], predicted: dict[str, dict[str, Any]]
) -> list[str]:
    """Return a sentence if all predicted lanes are the annotated ones, to the last digit."""
    same = all(guess["lanes"] == annotated[name]["lanes"] for name, guess in predicted.items())
    if not same or not any(guess["lanes"] for guess in predicted.values()):
        return []
    return [
        f"The predicted lanes are exactly the annotated ones in the {counted(len(predicted), 'frame')}; give "
        "the file that the predictions were written to."
    ]


def _points(entry: dict[str, Any], rows: dict[str, Any]) -> list[np.ndarray]:
    """Return the present points of each lane of an entry on the annotation's rows, float32 (N, 2), px."""
    lanes = [np.array([xs, rows["h_samples"]], np.float32).T.reshape(-1, 2) for xs in entry["lanes"]]
    return [lane[lane[:, 0] >= 0] for lane in lanes]


def _turned(entry: dict[str, Any] | None) -> dict[str, Any]:
    """Return an entry with the x of each lane in reverse order; without lanes for None."""
    return {"lanes": [lane[::-1] for lane in entry["lanes"]] if entry else []}
