import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from lgad_pipeline.atomic_files import machine
from lgad_pipeline.config.distillation import (
    DistillationConfig,
    LabelHeadConfig,
    MimickingPath,
    SadConfig,
)
from lgad_pipeline.config.network import NetworkSpec
from lgad_pipeline.data.augmentation import AugmentationConfig
from lgad_pipeline.errors import LgadError
from lgad_pipeline.training.distillation_spec import DistillationSpec
from lgad_pipeline.training.trainer import train_student, train_teacher
from lgad_pipeline.training.training_folder import TrainingResult
from tests.support.trainings import AUGMENTATION, CONFIG, SPEC, SPLITS, pack_road, same_weights, weights


def test_teacher_and_its_student(packed_road: Path, tmp_path: Path) -> None:
    teacher = train_teacher(
        CONFIG, SPEC, shards=packed_road, folder=tmp_path / "teacher", augmentation=AUGMENTATION
    )
    student = train_student(
        CONFIG,
        SPEC,
        shards=packed_road,
        folder=tmp_path / "lgad",
        augmentation=AUGMENTATION,
        distillation=DistillationSpec(teacher=teacher.folder),
    )
    alone = train_student(
        CONFIG, SPEC, shards=packed_road, folder=tmp_path / "alone", augmentation=AUGMENTATION
    )
    assert json.loads((teacher.folder / "network.json").read_text())["in_channels"] == 5
    assert {path.name for path in student.folder.iterdir()} == {
        "weights.safetensors",
        "network.json",
        "history.parquet",
        "training.json",
    }
    # Distillation leaves nothing behind in the student: the same files, the same tensors.
    assert {name: value.shape for name, value in weights(student.folder).items()} == {
        name: value.shape for name, value in weights(alone.folder).items()
    }
    history = pd.read_parquet(student.folder / "history.parquet")
    assert history["step"].tolist() == [4, 8] and history["train/attention"].notna().all()
    assert not same_weights(student.folder, alone.folder)


def test_distillation_losses_are_named_terms_of_one_loss(packed_road: Path, tmp_path: Path) -> None:
    teacher = train_teacher(
        CONFIG, SPEC, shards=packed_road, folder=tmp_path / "teacher", augmentation=AUGMENTATION
    )
    model = train_student(
        CONFIG, SPEC, shards=packed_road, folder=tmp_path / "model", augmentation=AUGMENTATION
    )
    sad = SadConfig(start_step=4)
    cached = DistillationConfig(maps="cached")
    distillation = DistillationSpec(teacher=teacher.folder, lgad=cached, sad=sad, model=model.folder)
    every = train_student(
        CONFIG,
        SPEC,
        shards=packed_road,
        folder=tmp_path / "every",
        augmentation=AugmentationConfig(),
        distillation=distillation,
    ).history
    assert every["train/self_attention"].isna().tolist() == [True, False]
    assert every[["train/attention", "train/logits"]].notna().all(axis=None)
    assert len(list((teacher.folder / "attention").glob("*/encoder.stage3.npy"))) == 1
    with pytest.raises(LgadError, match="self_attention starts at step 8 of a training of 8 steps"):
        late = DistillationSpec(sad=SadConfig(start_step=8))
        train_student(
            CONFIG,
            SPEC,
            shards=packed_road,
            folder=tmp_path / "late",
            augmentation=AUGMENTATION,
            distillation=late,
        )


def test_a_teacher_trained_together_leaves_a_plain_student(packed_road: Path, tmp_path: Path) -> None:
    lgad = DistillationConfig(teacher="together", weight=1e-30)
    other = NetworkSpec(name="erfnet", image_size=SPEC.image_size, width=0.25)
    together = train_student(
        CONFIG,
        SPEC,
        shards=packed_road,
        folder=tmp_path / "pair",
        augmentation=AUGMENTATION,
        distillation=DistillationSpec(joint_teacher=other, lgad=lgad),
    )
    alone = train_student(
        CONFIG, SPEC, shards=packed_road, folder=tmp_path / "alone", augmentation=AUGMENTATION
    )
    assert same_weights(together.folder, alone.folder)  # same initial weights, batches and dropout
    assert together.history[["train/teacher/cross_entropy", "train/attention"]].notna().all(axis=None)


def test_inputs_that_do_not_fit_raise_one_sentence(packed_road: Path, tmp_path: Path) -> None:
    with pytest.raises(LgadError, match="pack the shards again or correct the recipe"):
        train_student(
            CONFIG,
            NetworkSpec(image_size=(64, 176)),
            shards=packed_road,
            folder=tmp_path,
            augmentation=AUGMENTATION,
        )
    with pytest.raises(LgadError, match="train that network again"):
        train_student(
            CONFIG,
            SPEC,
            shards=packed_road,
            folder=tmp_path,
            augmentation=AUGMENTATION,
            distillation=DistillationSpec(teacher=tmp_path / "nobody"),
        )
    train_teacher(CONFIG, SPEC, shards=packed_road, folder=tmp_path / "teacher", augmentation=AUGMENTATION)
    lost = DistillationConfig(paths=(MimickingPath(student="encoder.stage33", teacher="encoder.stage3"),))
    with pytest.raises(LgadError, match=r"encoder\.stage33.*encoder\.stage3"):
        train_student(
            CONFIG,
            SPEC,
            shards=packed_road,
            folder=tmp_path / "s",
            augmentation=AUGMENTATION,
            distillation=DistillationSpec(teacher=tmp_path / "teacher", lgad=lost),
        )


TRAINING = """
import sys
from pathlib import Path
from lgad_pipeline.data.augmentation import AugmentationConfig
from lgad_pipeline.config.network import NetworkSpec
from lgad_pipeline.config.training import TrainingConfig
from lgad_pipeline.training.trainer import train_student

config, spec, shards, output = sys.argv[1:]
train_student(
    TrainingConfig.model_validate_json(config),
    NetworkSpec.model_validate_json(spec),
    shards=Path(shards),
    folder=Path(output),
    augmentation=AugmentationConfig(),
)
"""


def test_a_killed_training_resumes_from_its_checkpoint(packed_road: Path, tmp_path: Path) -> None:
    config = CONFIG.model_copy(update={"steps": 16, "validate_every": 100})
    train_student(
        config, SPEC, shards=packed_road, folder=tmp_path / "whole", augmentation=AUGMENTATION, device="cpu"
    )
    words = [config.model_dump_json(), SPEC.model_dump_json(), str(packed_road), str(tmp_path / "cut")]
    process = subprocess.Popen([sys.executable, "-c", TRAINING, *words])
    while not (tmp_path / "cut" / "checkpoint.pt").exists():
        assert process.poll() is None, "the training ended before its first checkpoint"
        time.sleep(0.005)
    os.kill(process.pid, signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL
    assert not (tmp_path / "cut" / "weights.safetensors").exists()
    train_student(
        config, SPEC, shards=packed_road, folder=tmp_path / "cut", augmentation=AUGMENTATION, device="cpu"
    )
    assert same_weights(tmp_path / "whole", tmp_path / "cut")


@pytest.mark.parametrize("split", ["train", "val"])
def test_a_missing_split_is_an_error_before_the_first_step(tmp_path: Path, split: str) -> None:
    shards = pack_road(tmp_path, {**SPLITS, split: []})
    logged: list[int] = []
    with pytest.raises(LgadError, match=f"no split '{split}'"):
        train_student(
            CONFIG,
            SPEC,
            shards=shards,
            folder=tmp_path / "student",
            augmentation=AUGMENTATION,
            log=lambda metrics, step: logged.append(step),
        )
    assert not logged and not (tmp_path / "student" / "checkpoint.pt").exists()


def test_a_damaged_checkpoint_is_removed_when_the_training_is_finished(
    packed_road: Path, tmp_path: Path
) -> None:
    (tmp_path / "checkpoint.pt").write_bytes(b"")
    train_student(CONFIG, SPEC, shards=packed_road, folder=tmp_path, augmentation=AUGMENTATION)
    assert not list(tmp_path.glob("checkpoint*"))


def test_left_overs_of_killed_processes_are_removed(packed_road: Path, tmp_path: Path) -> None:
    process = subprocess.Popen(["true"])
    process.wait()

    def trained() -> TrainingResult:
        (tmp_path / f".checkpoint.pt.{machine()}-{process.pid}.part").write_bytes(b"half")
        return train_student(CONFIG, SPEC, shards=packed_road, folder=tmp_path, augmentation=AUGMENTATION)

    assert not trained().reused and not list(tmp_path.glob("*checkpoint*"))
    (tmp_path / "checkpoint.pt").write_bytes(b"of a process that was killed at the end")
    assert trained().reused and not list(tmp_path.glob("*checkpoint*"))


def test_controls_without_a_teacher_leave_a_plain_student(packed_road: Path, tmp_path: Path) -> None:
    alone = train_student(
        CONFIG, SPEC, shards=packed_road, folder=tmp_path / "alone", augmentation=AUGMENTATION
    )
    nothing = DistillationConfig(weight=1e-30)
    controls = {
        "blurred": DistillationSpec(blurred_labels=True, lgad=nothing),
        "head": DistillationSpec(label_head=LabelHeadConfig(weight=1e-30)),
        "both": DistillationSpec(blurred_labels=True, lgad=nothing, label_head=LabelHeadConfig(weight=1e-30)),
    }
    for name, distillation in controls.items():
        trained = train_student(
            CONFIG,
            SPEC,
            shards=packed_road,
            folder=tmp_path / name,
            augmentation=AUGMENTATION,
            distillation=distillation,
        )
        assert same_weights(trained.folder, alone.folder)
        assert weights(trained.folder).keys() == weights(alone.folder).keys()
        terms = {column for column in trained.history.columns if column.startswith("train/")}
        assert ("train/attention" in terms) == (name != "head")
        assert ("train/label_head" in terms) == (name != "blurred")
    strong = DistillationSpec(label_head=LabelHeadConfig(weight=1.0))
    assert not same_weights(
        train_student(
            CONFIG,
            SPEC,
            shards=packed_road,
            folder=tmp_path / "strong",
            augmentation=AUGMENTATION,
            distillation=strong,
        ).folder,
        alone.folder,
    )


def test_every_variant_of_lgad_trains_and_resumes_bit_for_bit(packed_road: Path, tmp_path: Path) -> None:
    """Adapters, running means of the gradients and their control are restored from a checkpoint."""
    teacher = train_teacher(
        CONFIG, SPEC, shards=packed_road, folder=tmp_path / "teacher", augmentation=AUGMENTATION
    ).folder
    lgad = DistillationConfig(
        balance=0.3,
        gate=True,
        floor=0.2,
        adapter=True,
        per_slot=True,
        frame_weight="error",
        paths=tuple(
            MimickingPath(student=layer, teacher=layer, pool=pool)
            for layer, pool in (("encoder.stage2", 1), ("decoder.stage4", 2), ("decoder.stage5", 2))
        ),
    )
    config = CONFIG.model_copy(update={"steps": 12})
    label_head = LabelHeadConfig(balance=0.2)

    def run(name: str, log=None) -> Path:
        spec = DistillationSpec(teacher=teacher, lgad=lgad, label_head=label_head)
        return train_student(
            config,
            SPEC,
            shards=packed_road,
            folder=tmp_path / name,
            augmentation=AUGMENTATION,
            distillation=spec,
            log=log,
            device="cpu",
        ).folder

    def interrupt(metrics: dict[str, float], step: int) -> None:
        assert np.isfinite(metrics["train/attention"])
        if step == 8:
            raise KeyboardInterrupt

    whole = run("whole")
    with pytest.raises(KeyboardInterrupt):
        run("cut", interrupt)
    assert (tmp_path / "cut" / "checkpoint.pt").exists()
    assert same_weights(whole, run("cut"))
    alone = train_student(
        config, SPEC, shards=packed_road, folder=tmp_path / "alone", augmentation=AUGMENTATION
    )
    assert weights(whole).keys() == weights(alone.folder).keys() and not same_weights(whole, alone.folder)
