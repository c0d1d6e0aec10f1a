"""Pictures of lanes, label maps and attention. A picture is uint8 (H, W, 3), RGB."""

from collections.abc import Iterable, Sequence
from pathlib import Path

import cv2
import numpy as np

from lgad_pipeline.atomic_files import atomic_path
from lgad_pipeline.config.slots import slot_names
from lgad_pipeline.errors import LgadError
from lgad_pipeline.inference.frame_predictor import Lane

SLOT_COLOURS = (
    (86, 180, 233),
    (240, 160, 0),
    (20, 200, 140),
    (230, 120, 190),
    (240, 228, 66),
    (213, 94, 0),
    (0, 114, 178),
    (170, 170, 170),
)
"""Colours of slots 1, 2 ...: the palette of Okabe and Ito, which colour-blind readers can distinguish."""
_OUTLINE = (20, 20, 20)
_PAPER = 255
_INK = (40, 40, 40)


def slot_colour(slot: int) -> tuple[int, int, int]:
    """Return the colour of a slot, numbered from 1, as RGB."""
    return SLOT_COLOURS[(slot - 1) % len(SLOT_COLOURS)]


def draw_lanes(frame: np.ndarray, lanes: Iterable[Lane], *, width: int | None = None) -> np.ndarray:
    """Draw lanes over a copy of a frame, each slot in its colour, with a dark outline and its type.

    Args:
        frame: uint8 (H, W, 3) RGB, the frame of the points.
        lanes: predicted or annotated lanes.
        width: width of a lane, pixels; default: 1/160 of the width of the frame.
    """
    picture, lanes = frame.copy(), list(lanes)
    width = width or max(1, round(frame.shape[1] / 160))
    for lane in lanes:
        # Four fractional bits, because points are between pixels.
        points = np.rint(lane.points * 16).astype(np.int32)[:, None]
        for colour, line in ((_OUTLINE, width + max(2, width // 2)), (slot_colour(lane.slot), width)):
            cv2.polylines(picture, [points], False, colour, line, cv2.LINE_AA, shift=4)
    for lane in lanes:
        if lane.type:
            _label(picture, lane)
    return picture


def _label(picture: np.ndarray, lane: Lane) -> None:
    """Write the type of a lane next to the middle of the lane."""
    height, width = picture.shape[:2]
    font, scale = cv2.FONT_HERSHEY_DUPLEX, max(0.35, width / 2000)
    (length, rise), _ = cv2.getTextSize(lane.type, font, scale, 1)
    x, y = lane.points[len(lane.points) // 2]
    left, bottom = int(np.clip(x + width / 80, 0, max(0, width - length))), int(np.clip(y, rise, height - 1))
    for colour, line in ((_OUTLINE, 3), (slot_colour(lane.slot), 1)):
        cv2.putText(picture, lane.type, (left, bottom), font, scale, colour, line, cv2.LINE_AA)


def draw_label_map(image: np.ndarray, label: np.ndarray, *, opacity: float = 0.6) -> np.ndarray:
    """Draw a label map over an image, translucent.

    Args:
        image: uint8 (H, W, 3).
        label: label map, uint8 (h, w); a smaller one is enlarged to the image.
        opacity: opacity of the lanes, 0..1.
    """
    height, width = image.shape[:2]
    label = cv2.resize(label, (width, height), interpolation=cv2.INTER_NEAREST)
    slots = int(label.max(initial=0))
    palette = np.array([(0, 0, 0), *map(slot_colour, range(1, slots + 1))], np.float32)
    mixed = image * (1 - opacity) + palette[label] * opacity
    return np.where(label[..., None] > 0, mixed, image).round().astype(np.uint8)


def draw_attention(image: np.ndarray, attention: np.ndarray, *, opacity: float = 0.65) -> np.ndarray:
    """Draw an attention map over an image as a heat map, from dark (none) over red to bright yellow (most).

    Args:
        image: uint8 (H, W, 3).
        attention: float (h, w), >= 0; resized to the image and scaled to its own range, the highest half per
            cent of the cells cut off.
        opacity: opacity of the heat map, 0..1.
    """
    cells = attention.astype(np.float32)
    low, high = float(cells.min()), float(np.quantile(cells, 0.995))
    scaled = np.clip((cells - low) / max(high - low, 1e-12), 0, 1)
    height, width = image.shape[:2]
    scaled = cv2.resize(scaled, (width, height), interpolation=cv2.INTER_LINEAR)
    heat = cv2.applyColorMap((scaled * 255).round().astype(np.uint8), cv2.COLORMAP_INFERNO)[..., ::-1]
    grey = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)[..., None]
    return (grey * (1 - opacity) + heat * opacity).round().astype(np.uint8)


def enlarged(picture: np.ndarray, width: int) -> np.ndarray:
    """Resize a picture to `width` pixels with smooth interpolation."""
    height = round(picture.shape[0] * width / picture.shape[1])
    method = cv2.INTER_CUBIC if width > picture.shape[1] else cv2.INTER_AREA
    return cv2.resize(picture, (width, height), interpolation=method)


def contact_sheet(
    pictures: Sequence[np.ndarray], columns: int, *, captions: Sequence[str] | None = None, width: int = 480
) -> np.ndarray:
    """Arrange pictures on white in rows of `columns`, a caption under each.

    Args:
        pictures: pictures of any size; all are resized to the shape of the first.
        columns: pictures in a row.
        captions: caption of each picture; None for a sheet without captions.
        width: width of a picture on the sheet, pixels.
    """
    if not pictures:
        raise LgadError("A contact sheet needs at least one picture; none was given.")
    gap, line = max(4, width // 60), (max(18, width // 18) if captions else 0)
    height = round(pictures[0].shape[0] * width / pictures[0].shape[1])
    columns = min(columns, len(pictures))
    rows = -(-len(pictures) // columns)
    shape = (rows * (height + line + gap) + gap, columns * (width + gap) + gap, 3)
    sheet = np.full(shape, _PAPER, np.uint8)
    for index, picture in enumerate(pictures):
        y = gap + index // columns * (height + line + gap)
        x = gap + index % columns * (width + gap)
        fitted = cv2.resize(enlarged(picture, width), (width, height))
        sheet[y : y + height, x : x + width] = fitted
        if captions:
            _write(sheet, captions[index], (x, y + height), (width, line))
    return sheet


def legend(width: int, slots: int = 4, *, annotated: bool = True) -> np.ndarray:
    """Draw a strip with the colours of the slots, uint8 (H, width, 3) RGB.

    Args:
        width: width of the strip, pixels.
        slots: number of slots.
        annotated: True to explain annotated lanes, too.
    """
    names = [f"slot {slot}, {name}" for slot, name in enumerate(slot_names(slots), 1)]
    colours: list[tuple[int, int, int] | None] = [*map(slot_colour, range(1, slots + 1))]
    if annotated:
        names.append("annotated lane")
        colours.append(None)
    line = max(18, width // 45)
    strip = np.full((line * 3 // 2, width, 3), _PAPER, np.uint8)
    cell = width // len(names)
    for index, (name, colour) in enumerate(zip(names, colours, strict=True)):
        left = index * cell + line // 3
        if colour is None:  # drawn as on the sheet: white, on the colour of a road
            strip[line // 4 : line * 5 // 4, left : left + line] = 120
            strip[line * 2 // 3 : line * 5 // 6, left : left + line] = 255
        else:
            strip[line // 4 : line * 5 // 4, left : left + line] = colour
        _write(strip, name, (left + line + 4, line // 4), (cell - 2 * line, line))
    return strip


def write_png(path: Path, picture: np.ndarray) -> None:
    """Write a picture as PNG, or as JPEG if the name ends in .jpg or .jpeg; the file appears complete."""
    suffix = ".jpg" if path.suffix in (".jpg", ".jpeg") else ".png"
    encoded, data = cv2.imencode(suffix, np.ascontiguousarray(picture[..., ::-1]))
    if not encoded:
        raise LgadError(f"{path} could not be encoded; give a uint8 (H, W, 3) picture.")
    with atomic_path(path) as temporary:
        temporary.write_bytes(data.tobytes())


def _write(sheet: np.ndarray, text: str, corner: tuple[int, int], size: tuple[int, int]) -> None:
    """Write one line in the box below `corner`, as large as fits."""
    font, scale = cv2.FONT_HERSHEY_DUPLEX, size[1] / 40
    length = cv2.getTextSize(text, font, scale, 1)[0][0]
    scale *= min(1.0, size[0] / max(length, 1))
    height = cv2.getTextSize(text, font, scale, 1)[0][1]
    origin = (corner[0] + 1, corner[1] + (size[1] + height) // 2)
    cv2.putText(sheet, text, origin, font, scale, _INK, 1, cv2.LINE_AA)
