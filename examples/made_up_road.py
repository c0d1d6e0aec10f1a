"""A few made-up frames with two lanes each, in CULane's layout: the input of the examples."""

from pathlib import Path

import cv2
import numpy as np

FRAME_SIZE = (590, 1640)  # height, width, pixels
SPLITS = {"train": range(6), "val": range(6, 8), "test": range(8, 10)}


def lanes_of(number: int) -> list[np.ndarray]:
    """Return two straight lanes, float32 (N, 2) each, (x, y) in frame pixels, bottom first."""
    y = np.arange(590, 270, -10, dtype=np.float32)
    slopes = (-0.9, 1.1 + 0.02 * number)
    return [np.stack([820 + slope * (y - 220), y], axis=1) for slope in slopes]


def draw_frame(number: int) -> np.ndarray:
    """Return a dark noisy frame with two white lanes, uint8 (590, 1640, 3)."""
    frame = np.random.default_rng(number).integers(0, 90, (*FRAME_SIZE, 3), dtype=np.uint8)
    for lane in lanes_of(number):
        cv2.polylines(frame, [lane.astype(np.int32)[:, None]], False, (255, 255, 255), 12)
    return frame


def write_lane_file(path: Path, lanes: list[np.ndarray]) -> None:
    """Write lanes as CULane does: one lane a line, `x y x y ...`."""
    path.parent.mkdir(parents=True, exist_ok=True)
    lines = [" ".join(f"{x:.3f} {y:.0f}" for x, y in lane) for lane in lanes]
    path.write_text("".join(f"{line}\n" for line in lines))


def write_road(root: Path) -> Path:
    """Write frames, lane files and the lists of the three splits below `root`."""
    (root / "list").mkdir(parents=True)
    for split, numbers in SPLITS.items():
        for number in numbers:
            cv2.imwrite(str(root / f"{number:05d}.jpg"), draw_frame(number))
            write_lane_file(root / f"{number:05d}.lines.txt", lanes_of(number))
        (root / "list" / f"{split}.txt").write_text("".join(f"{number:05d}.jpg\n" for number in numbers))
    return root
