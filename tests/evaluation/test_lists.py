from pathlib import Path

import numpy as np
import pytest

from lgad_pipeline.errors import LgadError
from lgad_pipeline.evaluation.culane import evaluate_culane
from lgad_pipeline.evaluation.lists import FrameLists
from lgad_pipeline.lanes.lane_files import write_lanes


def write_list(path: Path, frames: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(f"{frame}.jpg\n" for frame in frames))
    return path


def test_a_list_called_total_next_to_others_is_refused(tmp_path: Path):
    for frame in "abc":
        write_lanes(tmp_path / f"{frame}.lines.txt", [np.array([[500, 590], [600, 400], [700, 300]])])
    paths = [write_list(tmp_path / "total.txt", "a"), write_list(tmp_path / "night.txt", "bc")]
    lists = FrameLists.read(paths, tmp_path).frames
    with pytest.raises(LgadError, match="A list is called total, as the row over all lists is; rename"):
        evaluate_culane(tmp_path, tmp_path, lists=lists)
    alone = evaluate_culane(tmp_path, tmp_path, lists={"total": ["a.jpg"]})
    assert alone.scores["total"][0.5].tp == 1


def test_scenario_lists_and_frames_that_are_left_out_are_noted(tmp_path: Path):
    test, split = write_list(tmp_path / "list/test.txt", "abc"), tmp_path / "list/test_split"
    write_list(split / "test.txt", "ab")
    write_list(split / "night.txt", "cde")
    found = FrameLists.read([test], tmp_path)
    assert found.frames == {"test": ["a.jpg", "b.jpg", "c.jpg"], "night": ["c.jpg"]}
    assert found.notes == [
        f"{split}/test.txt has the name of the list given and is left out; rename it.",
        f"The lists in {split} name 2 frames that {test} leaves out, such as d.jpg; add them "
        "to that list to evaluate them.",
    ]
    val = write_list(tmp_path / "list/val.txt", "xyz")  # another split, which the scenarios do not divide
    assert FrameLists.read([val], tmp_path).notes == []
