"""TuSimple's benchmark metric for the students' lane files on a data set in TuSimple's format."""

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from lgad_pipeline.config.roles import STUDENTS
from lgad_pipeline.data.shards import ShardSet
from lgad_pipeline.datasets import tusimple
from lgad_pipeline.evaluation.tusimple import score_frame
from lgad_pipeline.evaluation.tusimple_export import lanes_on_rows
from lgad_pipeline.lanes.lane_files import lane_file, read_lanes


@dataclass(frozen=True)
class TusimpleScore:
    """TuSimple's benchmark figures, means over the test frames.

    Attributes:
        accuracy: share of annotated points with a predicted point within the benchmark's tolerance.
        fp: share of predicted lanes that match no annotated lane.
        fn: share of annotated lanes that no predicted lane matches.
    """

    accuracy: float
    fp: float
    fn: float


def score_tusimple_students(
    *, recordings: Path, shards: ShardSet, predictions: Path
) -> dict[str, TusimpleScore]:
    """Score both students on the packed test frames with the rules of TuSimple's benchmark.

    The run time counts as 0 ms, because with the benchmark's limit of 200 ms the scores would depend on the
    device.

    Args:
        recordings: root directory of the data set.
        shards: packed data set; the frames of its test split are scored.
        predictions: directory of the lane files, `<student>/test/<frame>.lines.txt`.

    Returns:
        The scores by name of the student.
    """
    packed = set(shards["test"].table["frame"])
    annotated = {
        entry.frame: json.loads(entry.annotation)
        for entry in tusimple.list_frames(recordings, [])
        if entry.split == "test" and entry.frame in packed
    }
    scores = {}
    for student in STUDENTS:
        figures = []
        for frame, content in annotated.items():
            rows = np.array(content["h_samples"], np.float64)
            predicted = read_lanes(lane_file(predictions / student / "test", frame))
            lanes = [xs.tolist() for xs in lanes_on_rows(predicted, rows)]
            figures.append(score_frame(content["lanes"], lanes, run_time=0.0, rows=content["h_samples"]))
        scores[student] = TusimpleScore(*np.mean(figures, axis=0).tolist())
    return scores
