"""A made-up road data set, settings of small trainings, and comparisons of trained networks."""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from safetensors.numpy import load_file

from lgad_pipeline.config.network import NetworkSpec
from lgad_pipeline.config.training import OptimizerConfig, TrainingConfig
from lgad_pipeline.data.augmentation import AugmentationConfig
from lgad_pipeline.data.ingestion import ingest
from lgad_pipeline.data.lane_labels import assign_lane_slots
from lgad_pipeline.data.shards import pack_shards
from lgad_pipeline.lanes.lane_files import write_lanes
from lgad_pipeline.view import View

IMAGE_SIZE = (32, 88)
SPEC = NetworkSpec(image_size=IMAGE_SIZE, width=0.25)
CONFIG = TrainingConfig(
    steps=8,
    batch_size=4,
    optimizer=OptimizerConfig(warmup_steps=2),
    log_every=4,
    validate_every=4,
    checkpoint_seconds=0,
)
AUGMENTATION = AugmentationConfig.model_validate({})
SPLITS = {"train": range(6), "val": [6], "test": [7]}


def pack_road(root: Path, splits: Mapping[str, Iterable[int]] = SPLITS, **packing: Any) -> Path:
    """Write eight frames with two lanes each, and return the directory of their shards."""
    generator = np.random.default_rng(0)
    for number in range(8):
        frame = generator.integers(0, 90, (590, 1640, 3), dtype=np.uint8)
        y = np.arange(590, 270, -10, dtype=np.float32)
        lanes = [np.stack([820 + side * (y - 220), y], 1) for side in (-0.9, 1.1 + 0.05 * number)]
        for lane in lanes:
            cv2.polylines(frame, [lane.astype(np.int32)[:, None]], False, (255, 255, 255), 12)
        cv2.imwrite(str(root / f"{number}.jpg"), frame)
        write_lanes(root / f"{number}.lines.txt", lanes)
    (root / "list").mkdir()
    for name, chosen in splits.items():
        (root / "list" / f"{name}.txt").write_text("".join(f"{number}.jpg\n" for number in chosen))
    frames = ingest(root).frames
    pack_shards(
        frames,
        assign_lane_slots(frames),
        root=root,
        output=root / "shards",
        view=View((590, 1640), IMAGE_SIZE, 240),
        lane_width=40,
        **packing,
    )
    return root / "shards"


def weights(folder: Path) -> dict[str, np.ndarray]:
    """Read the weights of a trained network."""
    return load_file(folder / "weights.safetensors")


def same_weights(first: Path, second: Path) -> bool:
    """Return True if two trained networks have the same weights, bit for bit."""
    first_weights, second_weights = weights(first), weights(second)
    return all(np.array_equal(value, second_weights[name]) for name, value in first_weights.items())
