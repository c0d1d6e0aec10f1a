"""A tiny data set in CULane's layout, written for each test that asks for one."""

from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest

SIZE = (118, 328)  # a fifth of CULane's

# Two lanes that lean towards each other, bottom first: the slots left and right.
LANES = "100 117 110 107 120 97 130 87 140 77 150 67 \n240 117 230 107 220 97 210 87 200 77 190 67 \n"


def write_frame(root: Path, frame: str, seed: int, lanes: str = LANES) -> None:
    image = cv2.resize(np.random.default_rng(seed).integers(0, 255, (8, 16, 3), np.uint8), SIZE[::-1])
    path = root / frame
    path.parent.mkdir(parents=True, exist_ok=True)
    assert cv2.imwrite(str(path), image)
    path.with_suffix(".lines.txt").write_text(lanes)


@pytest.fixture
def write_tree(tmp_path: Path) -> Callable[..., Path]:
    """A function that writes train, val and test frames with their lists and returns the root."""

    def write(train: int = 5, val: int = 2, test: int = 3) -> Path:
        root = tmp_path / "data"
        (root / "list" / "test_split").mkdir(parents=True)
        seed = 0
        for split, count in (("train", train), ("val", val), ("test", test)):
            frames = [f"drive/{split}.MP4/{number:05d}.jpg" for number in range(count)]
            for frame in frames:
                write_frame(root, frame, seed)
                seed += 1
            if split == "test":
                (root / "list/test.txt").write_text("".join(f"/{frame}\n" for frame in frames))
                (root / "list/test_split/test0_normal.txt").write_text(frames[0])
                (root / "list/test_split/test8_night.txt").write_text("\n".join(frames[1:2]))
            else:
                lines = [f"/{frame} /labels/{frame[:-4]}.png 0 1 1 0\n" for frame in frames]
                (root / f"list/{split}_gt.txt").write_text("".join(lines))
        return root

    return write
