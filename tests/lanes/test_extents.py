"""Warning about the lanes of a few frames that are in pixels of a smaller size than those of the others."""

from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from lgad_pipeline.data.frame_schema import FRAMES_SCHEMA
from lgad_pipeline.data.lane_warnings import lane_warnings
from lgad_pipeline.evaluation.culane import evaluate_culane
from lgad_pipeline.lanes.extents import few_smaller_warning, lane_extents
from lgad_pipeline.lanes.lane_files import lane_file, write_lanes
from lgad_pipeline.lanes.rendering.label_tool import rasterize

SIZE = (590, 1640)
NAMES = [f"d/{number:02}.jpg" for number in range(24)]


def lanes(scale: float, count: int = 3, top: float = 300) -> list[np.ndarray]:
    """Lanes from the lower border to the row `top`, in pixels of the frame times `scale`."""
    ys = np.linspace(589, top, 10)
    return [scale * np.stack([820 + slope * (ys - 250), ys], axis=1) for slope in (-1, 0.5, 1.5)[:count]]


@pytest.mark.parametrize(
    ("odd", "warned"),
    [
        (lanes(0.5), True),
        (lanes(800 / 1640), True),
        (lanes(0.7), True),
        (lanes(1), False),
        (lanes(1, top=150), False),  # a hill: they begin higher, and end as the others
        (lanes(0.5, count=1), False),  # one short lane may be where it is
        ([lane - np.array([0, 180]) for lane in lanes(1, top=480)], False),  # short lanes below the horizon
    ],
)
def test_lanes_of_a_few_frames_in_other_pixels_are_noted(odd: list[np.ndarray], warned: bool):
    frames = [odd if number in (7, 11) else lanes(1) for number in range(len(NAMES))]
    sizes = np.tile(SIZE, (len(NAMES), 1))
    found = few_smaller_warning("annotated", lane_extents(frames, sizes), sizes=sizes, frames=NAMES)
    assert len(found) == warned
    assert all(
        note.startswith("In 2 of 24 frames, such as d/07.jpg, all annotated lanes are in the upper left part")
        for note in found
    )
    few = slice(0, 19)  # too few frames to tell
    extents = lane_extents(frames[few], sizes[few])
    assert not few_smaller_warning("annotated", extents, sizes=sizes[few], frames=NAMES[few])


@pytest.mark.parametrize("each", [2, 4])
def test_lanes_of_half_of_the_frames_in_other_pixels_are_noted(each: int, tmp_path: Path):
    frames = [lanes(0.5 if number % each == 1 else 1) for number in range(len(NAMES))]
    for name, found in zip(NAMES, frames, strict=True):
        write_lanes(lane_file(tmp_path / "set", name), lanes(1, count=2))
        write_lanes(lane_file(tmp_path / "predicted", name), found)
    predicted = evaluate_culane(tmp_path / "set", tmp_path / "predicted", lists={"all": NAMES}).notes
    annotated = evaluate_culane(tmp_path / "predicted", tmp_path / "set", lists={"all": NAMES}).notes
    for notes, kind in ((predicted, "predicted"), (annotated, "annotated")):
        start = f"In {24 // each} of 24 frames, such as d/01.jpg, all {kind} lanes are in the upper left part"
        assert [note for note in notes if "smaller size" in note and note.startswith(start)], notes


def test_every_reader_of_annotated_lanes_notes_them(tmp_path: Path):
    frames = [lanes(0.5) if number == 3 else lanes(1) for number in range(len(NAMES))]
    for name, found in zip(NAMES, frames, strict=True):
        write_lanes(lane_file(tmp_path / "set", name), found)
        write_lanes(lane_file(tmp_path / "predicted", name), lanes(1))
    table = pd.DataFrame({"frame": NAMES, "split": "train", "height": SIZE[0], "width": SIZE[1]})
    cells = pa.array(
        [[lane.tolist() for lane in found] for found in frames], FRAMES_SCHEMA.field("lanes").type
    )
    table["lanes"] = pd.Series(cells, dtype=pd.ArrowDtype(cells.type))
    table["existence"] = None
    for notes in (
        lane_warnings(table),
        rasterize(tmp_path / "set", NAMES, output=tmp_path / "maps").notes,
        evaluate_culane(tmp_path / "set", tmp_path / "predicted", lists={"all": NAMES}).notes,
    ):
        assert notes[0].startswith(
            "In 1 of 24 frames, such as d/03.jpg, all annotated lanes are in the upper"
        )
