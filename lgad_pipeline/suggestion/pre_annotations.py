"""Suggested frames as a folder for labelme or CVAT: predicted lanes, a table of scores, a contact sheet."""

import csv
import io
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from lgad_pipeline.atomic_files import write_text
from lgad_pipeline.datasets.exporting.tool_lanes import LabelledFrame, thinned
from lgad_pipeline.datasets.exporting.write import write_annotations
from lgad_pipeline.datasets.images import read_image
from lgad_pipeline.datasets.importing.convert import Format
from lgad_pipeline.inference.drawn_pictures import SUGGESTIONS_SHEET, SUGGESTIONS_TABLE
from lgad_pipeline.inference.predictor import LanePredictor
from lgad_pipeline.lanes.file_names import resolve_inside
from lgad_pipeline.suggestion.candidates import SuggestedFrames
from lgad_pipeline.suggestion.ranking import Suggestion
from lgad_pipeline.visualization.overlays import contact_sheet, draw_lanes, write_png

_TOLERANCE = 1.0  # pixels; a straight lane becomes two points, which are quick to move
_SHOWN = 24
_COLUMNS = 3


def write_suggestions(
    predictor: LanePredictor,
    root: Path,
    suggested: SuggestedFrames,
    *,
    output: Path,
    annotations: Format,
) -> np.ndarray:
    """Write the suggested frames with the lanes that a student predicts, for correction in a tool.

    The frames are marked as predicted, and the import rejects them until the mark is removed. The folder also
    gets a table of the scores and a contact sheet, written last.

    Args:
        predictor: trained student.
        root: directory of the frames.
        suggested: the frames, best first.
        output: directory to write, missing or empty.
        annotations: tool that reads the annotations.

    Returns:
        The contact sheet, uint8 (H, W, 3) RGB.
    """
    frames, pictures = [], []
    for name, _ in suggested.frames:
        image = read_image(resolve_inside(root, name))
        lanes = predictor.predict([image])[0]
        points = [thinned(lane.points, _TOLERANCE) for lane in lanes]
        types = [lane.type for lane in lanes]
        size = (image.shape[0], image.shape[1])
        frames.append(LabelledFrame(name, size, points, predicted=True, types=types))
        if len(pictures) < _SHOWN:
            pictures.append(draw_lanes(image, lanes))
    write_annotations(frames, root, output, annotations=annotations)
    sheet = contact_sheet(
        pictures, _COLUMNS, captions=[caption(*each) for each in suggested.frames[: len(pictures)]]
    )
    write_text(output / SUGGESTIONS_TABLE, table_text(suggested.frames))
    write_png(output / SUGGESTIONS_SHEET, sheet)
    return sheet


def caption(name: str, suggestion: Suggestion) -> str:
    """Return the line under a picture: the score, its three ranks, and the name of the frame."""
    return (
        f"{suggestion.score:.2f}: uncertain {suggestion.uncertainty:.2f}, disagreeing "
        f"{suggestion.disagreement:.2f}, new {suggestion.novelty:.2f}; {Path(name).name}"
    )


def table_text(frames: Sequence[tuple[str, Suggestion]]) -> str:
    """Return the suggestions as CSV, best first."""
    text = io.StringIO()
    rows = csv.writer(text, lineterminator="\n")
    rows.writerow(["frame", "score", "uncertainty", "disagreement", "novelty"])
    for name, suggestion in frames:
        rows.writerow([name, *(f"{value:.4f}" for value in suggestion[1:])])
    return text.getvalue()
