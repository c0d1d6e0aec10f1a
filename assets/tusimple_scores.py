"""TuSimple's own metric, for the data sets that are TuSimple's."""

import json
from typing import Any

import numpy as np

from assets.presentation.svg_charts import NETWORK_NAMES
from lgad_pipeline.config.roles import STUDENTS
from resources.paths import ProjectPaths, fetch_shards


def tusimple_scores(paths: ProjectPaths) -> list[dict[str, Any]]:
    """Accuracy, FP and FN of both students on the packed test frames, as TuSimple's benchmark counts them.

    The time that a prediction took is not counted: the benchmark's limit of 200 ms is for the device in use.
    """
    from lgad_pipeline.data.shards import ShardSet
    from lgad_pipeline.datasets import tusimple
    from lgad_pipeline.evaluation.tusimple import on_rows, score_frame
    from lgad_pipeline.lanes.lane_files import lane_file, read_lanes

    packed = set(ShardSet.open(fetch_shards(paths))["test"].table["frame"])
    annotated = {
        entry.frame: json.loads(entry.annotation)
        for entry in tusimple.entries(paths.recordings, [])
        if entry.split == "test" and entry.frame in packed
    }
    rows = []
    for student in STUDENTS:
        figures = []
        for frame, content in annotated.items():
            at = np.array(content["h_samples"], np.float64)
            found = read_lanes(lane_file(paths.predictions / student / "test", frame))
            lanes = [on_rows(lane, at).tolist() for lane in found]
            figures.append(score_frame(content["lanes"], lanes, 0.0, content["h_samples"]))
        accuracy, fp, fn = np.mean(figures, axis=0).tolist()
        rows.append({"student": NETWORK_NAMES[student], "accuracy": accuracy, "FP": fp, "FN": fn})
    return rows
