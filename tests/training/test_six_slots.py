"""A training on six slots: labels, flips, teacher, distillation, network, prediction."""

from pathlib import Path

import cv2
import numpy as np
import pytest

from lgad_pipeline.config.decoding import DecodeConfig
from lgad_pipeline.config.recipe import Recipe
from lgad_pipeline.config.slots import SlotScheme
from lgad_pipeline.data.ingestion import ingest
from lgad_pipeline.data.lane_labels import assign_lane_slots
from lgad_pipeline.data.shards import pack_shards
from lgad_pipeline.errors import LgadError
from lgad_pipeline.inference.predictor import LanePredictor, write_predictor
from lgad_pipeline.lanes.lane_files import write_lanes
from lgad_pipeline.training.plan import TrainingPlan
from lgad_pipeline.training.trainer import train
from lgad_pipeline.view import View

VIEW = View((590, 1640), (32, 88), 240)
TRAINING = {"steps": 4, "batch_size": 2, "optimizer": {"warmup_steps": 1}}


@pytest.fixture
def shards(tmp_path: Path) -> Path:
    root = tmp_path / "road"
    (root / "list").mkdir(parents=True)
    generator = np.random.default_rng(0)
    for number in range(5):
        frame = generator.integers(0, 90, (590, 1640, 3), dtype=np.uint8)
        y = np.arange(590, 240, -10, dtype=np.float32)
        bottoms = np.array([-450, -100, 300, 1300, 1750, 2100]) + 20 * number
        lanes = [np.stack([820 + (bottom - 820) * (1 - 0.7 * (590 - y) / 340), y], 1) for bottom in bottoms]
        for lane in lanes:
            cv2.polylines(frame, [lane.astype(np.int32)[:, None]], False, (255, 255, 255), 12)
        cv2.imwrite(str(root / f"{number}.jpg"), frame)
        write_lanes(root / f"{number}.lines.txt", lanes)
    for name, chosen in {"train": "012", "val": "3", "test": "4"}.items():
        (root / "list" / f"{name}.txt").write_text("".join(f"{number}.jpg\n" for number in chosen))
    frames = ingest(root).frames
    labels = assign_lane_slots(frames, scheme=SlotScheme(6))
    pack_shards(frames, labels, root=root, output=tmp_path / "shards", view=VIEW, lane_width=40)
    return tmp_path / "shards"


def plan(shards: Path, folder: Path, **inputs: object) -> TrainingPlan:
    recipe = Recipe.model_validate(
        {
            "network": {"width": 0.25},
            "teacher": TRAINING,
            "student": TRAINING,
            "distillation": {"weight": 1.0},
        }
    )
    common = {"image_size": VIEW.image_size, "shards": shards, "folder": folder, "slots": 6}
    return TrainingPlan.from_recipe(recipe, **{**common, **inputs})  # type: ignore[arg-type]


def test_six_slots_from_labels_to_lanes(shards: Path, tmp_path: Path) -> None:
    teacher = train(plan(shards, tmp_path / "teacher", role="teacher"), device="cpu")
    distilled = plan(shards, tmp_path / "student", role="student", method="lgad", teacher=teacher.folder)
    student = train(distilled, device="cpu")
    write_predictor(
        student.folder, view=VIEW, decode_config=DecodeConfig(existence_threshold=0, peak_threshold=0)
    )
    frame = cv2.imread(str(tmp_path / "road" / "3.jpg"))
    assert frame is not None
    [lanes] = LanePredictor.load(student.folder).predict([frame[..., ::-1]])
    assert {lane.slot for lane in lanes} <= {1, 2, 3, 4, 5, 6} and len(lanes) > 4


def test_a_network_of_another_number_of_slots_is_refused(shards: Path, tmp_path: Path) -> None:
    with pytest.raises(LgadError, match="holds labels of 6 slots but the network has 4; pack"):
        train(plan(shards, tmp_path / "student", role="student", slots=4), device="cpu")
