"""The path from the asset `lane_scores` to its counts, gain and metadata, as the interpreter takes it.

A reader follows the same calls. So there are few, and each file is entered from one file alone.
"""

import sys
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from types import FrameType

import dagster as dg
import numpy as np

from assets.presentation.score_metadata import lane_scores_metadata
from lgad_pipeline.config.roles import STUDENTS
from lgad_pipeline.data.shards import ShardSet
from lgad_pipeline.evaluation.student_scores import score_students
from lgad_pipeline.lanes.lane_files import read_lanes, write_lanes
from tests.support.trainings import pack_road

ROOT = Path(__file__).parents[2]
FOLLOWED = ("assets/presentation/", "lgad_pipeline/evaluation/", "lgad_pipeline/lanes/")
NOT_FOLLOWED = ("types.py", "file_names.py")  # values, and the spelling of paths: every module uses them


def file_of(frame: FrameType) -> str:
    """Return the file of a call that a reader follows, relative to the project; empty for other calls."""
    file = frame.f_code.co_filename.removeprefix(f"{ROOT}/")
    owner = type(frame.f_locals.get("self"))
    is_value = isinstance(getattr(owner, frame.f_code.co_name, None), property)
    followed = file.startswith(FOLLOWED) and not file.endswith(NOT_FOLLOWED)
    return file if followed and not is_value and not frame.f_code.co_name.startswith("<") else ""


def calls_between_files(body: Callable[[], object]) -> set[tuple[str, str]]:
    """Return the pairs (calling file, called file) of all calls below a function."""
    pairs: set[tuple[str, str]] = set()

    def note(frame: FrameType, event: str, _: object) -> None:
        if event != "call" or not (called := file_of(frame)):
            return
        above = frame.f_back
        while above is not None and above.f_code is not body.__code__ and not file_of(above):
            above = above.f_back
        caller = "" if above is None else file_of(above) or "lane_scores"
        if caller != called:
            pairs.add((caller, called))

    sys.setprofile(note)
    try:
        body()
    finally:
        sys.setprofile(None)
    return pairs


def test_fewer_than_20_calls_between_files_and_each_file_is_entered_from_one(tmp_path: Path):
    shards = ShardSet.open(pack_road(tmp_path))
    for shift, student in enumerate(STUDENTS, 1):
        for split in ("val", "test"):
            for frame in shards[split].table["frame"]:
                lanes = read_lanes(tmp_path / Path(frame).with_suffix(".lines.txt"))
                moved = [lane + np.array([9 * shift, 0], np.float32) for lane in lanes]
                target = tmp_path / "predictions" / student / split / frame
                write_lanes(target.with_suffix(".lines.txt"), moved)

    def body() -> None:
        scores = score_students(
            predictions=tmp_path / "predictions",
            annotations=tmp_path,
            shards=shards,
            output=tmp_path / "scores",
            progress=lambda done, total: None,
        )
        metadata = lane_scores_metadata(scores, tmp_path / "scores", chart=dg.MetadataValue.text(""))
        assert metadata["F1 student alone"] == 1 and metadata["gain, 95 % interval"]

    pairs = calls_between_files(body)
    entered = Counter(called for _, called in pairs)
    assert "lgad_pipeline/evaluation/lane_matching.py" in entered and len(pairs) < 20
    assert {file: count for file, count in entered.items() if count > 1} == {}
