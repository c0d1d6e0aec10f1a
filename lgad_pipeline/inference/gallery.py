"""A data set at a glance: frames with their lanes and labels, and what was set aside."""

from pathlib import Path

import cv2
import numpy as np
import pandas as pd

from lgad_pipeline.data.frames import lanes_of
from lgad_pipeline.data.images import read_image
from lgad_pipeline.data.ingestion import Ingestion
from lgad_pipeline.data.labels import lane_labels, slot_lanes_of
from lgad_pipeline.data.reading import frame_limit, read_inside
from lgad_pipeline.errors import LgadError
from lgad_pipeline.inference.overlays import SLOT_COLOURS, contact_sheet, draw_attention, draw_label_map
from lgad_pipeline.lanes.raster import label_map

_CELL = 10  # px; CULane's rows are so far apart
_MOST = 5000  # frames that a picture of positions is made from
_ANNOTATED = (255, 255, 255)
_MISSING = 90  # grey of a frame that cannot be shown


def data_sheet(
    found: Ingestion, frame_size: tuple[int, int], lane_width: int, label_rows: int, count: int = 8
) -> np.ndarray:
    """Lay frames, evenly spread over the table, and frames that were set aside out on a sheet.

    Annotated lanes are thin and white, the label map's slots coloured beneath them. The caption of a frame
    that was set aside is the reason.

    Args:
        found: an ingestion of the data set.
        frame_size: (H, W), pixels.
        lane_width: of the label map, frame pixels.
        label_rows: rows on which lanes are labelled.
        count: frames of the table, and at most as many that were set aside.

    Returns:
        uint8 (H, W, 3), RGB.
    """
    places = np.unique(np.linspace(0, len(found.frames) - 1, min(count, len(found.frames))).round())
    chosen = found.frames.iloc[places.astype(int)]
    pictures, captions = [], []
    for row, label in zip(chosen.itertuples(), lane_labels(chosen, label_rows).itertuples(), strict=True):
        picture = _picture(found, str(row.frame), frame_size)
        drawn = draw_label_map(picture, label_map(slot_lanes_of(label), frame_size, lane_width))
        lanes = lanes_of(row.lanes)  # type: ignore[arg-type]
        for lane in lanes:
            cv2.polylines(drawn, [np.rint(lane).astype(np.int32)], False, _ANNOTATED, 3, cv2.LINE_AA)
        pictures.append(drawn)
        scenario = f", {row.scenario}" if isinstance(row.scenario, str) else ""
        captions.append(f"{row.split}{scenario}: {len(lanes)} lanes, {Path(str(row.frame)).name}")
    for row in found.set_aside.head(count).itertuples():
        pictures.append(_picture(found, str(row.file).replace(".lines.txt", ".jpg"), frame_size))
        captions.append(f"set aside: {row.file} {row.reason}")
    return contact_sheet(pictures, 2, captions, width=800)


def lane_positions(frames: pd.DataFrame, frame_size: tuple[int, int]) -> np.ndarray:
    """Where in the frame annotated lanes run: from dark (none) to bright yellow (most), on black.

    Args:
        frames: the frames table; of more than 5,000, evenly spread ones are counted.
        frame_size: (H, W), pixels.

    Returns:
        uint8 (H, W, 3), RGB.
    """
    lanes = [lane for cell in _spread(frames)["lanes"] for lane in lanes_of(cell)]
    return draw_attention(np.zeros((*frame_size, 3), np.uint8), np.sqrt(_counts(lanes, frame_size)), 1.0)


def slot_positions(labels: pd.DataFrame, frame_size: tuple[int, int]) -> np.ndarray:
    """Where in the frame each slot's lanes run, in its colour: uint8 (H, W, 3), RGB; see `lane_positions`."""
    rows = [slot_lanes_of(row) for row in _spread(labels).itertuples()]
    cells = np.zeros((*_counts([], frame_size).shape, 3))
    for slot, colour in enumerate(SLOT_COLOURS):
        counts = np.sqrt(_counts([row.points(slot) for row in rows], frame_size))
        cells += counts[..., None] / max(counts.max(), 1.0) * np.array(colour)
    picture = np.clip(cells, 0, 255).astype(np.uint8)
    return cv2.resize(picture, frame_size[::-1], interpolation=cv2.INTER_LINEAR)


def first_frame(found: Ingestion, frame_size: tuple[int, int]) -> tuple[np.ndarray, list[np.ndarray]]:
    """The first frame with lanes, uint8 (H, W, 3), RGB, and its lanes, points (N, 2) in frame pixels.

    Raises:
        LgadError: no frame of the table has a lane.
    """
    for row in found.frames.itertuples():
        lanes = lanes_of(row.lanes)  # type: ignore[arg-type]
        if lanes:
            return _picture(found, str(row.frame), frame_size), lanes
    raise LgadError(f"No frame below {found.root} has a lane to show; name another data set.")


def _spread(table: pd.DataFrame) -> pd.DataFrame:
    places = np.linspace(0, len(table) - 1, min(_MOST, len(table))).round().astype(int)
    return table.iloc[places]


def _counts(lanes: list[np.ndarray], frame_size: tuple[int, int]) -> np.ndarray:
    """How many lanes pass through each cell of 10 x 10 px: float32 (H/10, W/10)."""
    height, width = (-(-side // _CELL) for side in frame_size)
    counts = np.zeros((height, width), np.float32)
    for lane in lanes:
        passed = np.zeros((height, width), np.uint8)
        cv2.polylines(passed, [(lane / _CELL).astype(np.int32)], False, (1,))
        counts += passed
    return counts


def _picture(found: Ingestion, name: str, frame_size: tuple[int, int]) -> np.ndarray:
    """The frame, or grey where there is none to show."""
    try:
        picture = read_image(read_inside(found.root, name, frame_limit(frame_size), found.follow_links))
    except (FileNotFoundError, LgadError):
        picture = None
    if picture is None or picture.shape[:2] != frame_size:
        return np.full((*frame_size, 3), _MISSING, np.uint8)
    return picture
