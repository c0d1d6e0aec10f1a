"""A data set at a glance: frames with their lanes and labels, and what was set aside."""

from pathlib import Path

import cv2
import numpy as np

from lgad_pipeline.data.frames import lanes_of
from lgad_pipeline.data.images import decode_image
from lgad_pipeline.data.ingestion import Ingestion
from lgad_pipeline.data.labels import lane_labels, slot_lanes_of
from lgad_pipeline.data.reading import frame_limit, read_inside
from lgad_pipeline.errors import LgadError
from lgad_pipeline.inference.overlays import contact_sheet, draw_label_map
from lgad_pipeline.lanes.raster import label_map

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
        picture = _picture(found.root, str(row.frame), frame_size)
        drawn = draw_label_map(picture, label_map(slot_lanes_of(label), frame_size, lane_width))
        lanes = lanes_of(row.lanes)  # type: ignore[arg-type]
        for lane in lanes:
            cv2.polylines(drawn, [np.rint(lane).astype(np.int32)], False, _ANNOTATED, 3, cv2.LINE_AA)
        pictures.append(drawn)
        scenario = f", {row.scenario}" if isinstance(row.scenario, str) else ""
        captions.append(f"{row.split}{scenario}: {len(lanes)} lanes, {Path(str(row.frame)).name}")
    for row in found.set_aside.head(count).itertuples():
        pictures.append(_picture(found.root, str(row.file).replace(".lines.txt", ".jpg"), frame_size))
        captions.append(f"set aside: {row.file} {row.reason}")
    return contact_sheet(pictures, 2, captions, width=800)


def _picture(root: Path, name: str, frame_size: tuple[int, int]) -> np.ndarray:
    """The frame, or grey where there is none to show."""
    try:
        picture = decode_image(read_inside(root, name, frame_limit(frame_size)))
    except (FileNotFoundError, LgadError):
        picture = None
    if picture is None or picture.shape[:2] != frame_size:
        return np.full((*frame_size, 3), _MISSING, np.uint8)
    return picture
