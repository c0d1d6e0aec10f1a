import weakref
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest
import torch
from lightning_fabric import Fabric

from lgad_pipeline.config.distillation import DistillationConfig, default_paths
from lgad_pipeline.config.network import NetworkSpec
from lgad_pipeline.config.training import OptimizerConfig, TrainingConfig
from lgad_pipeline.data.augmentation import AugmentationConfig, augment
from lgad_pipeline.data.loader import Batch
from lgad_pipeline.data.random_amounts import batch_generator
from lgad_pipeline.distillation.losses import LgadLoss
from lgad_pipeline.distillation.teacher import teacher_spec
from lgad_pipeline.errors import LgadError
from lgad_pipeline.networks.layers import LaneOutput
from lgad_pipeline.networks.registry import attention_layers, build_network
from lgad_pipeline.training import loop
from lgad_pipeline.training.checkpoint import Checkpoint, TrainingState
from lgad_pipeline.training.loop import fit
from lgad_pipeline.training.tasks import StudentTask, TeacherTask, total_loss
from lgad_pipeline.training.timing import TrainingClock
from lgad_pipeline.training.training_data import TrainingData

SPEC = NetworkSpec(image_size=(32, 64), width=0.5)
CONFIG = TrainingConfig(
    steps=6,
    batch_size=4,
    optimizer=OptimizerConfig(warmup_steps=2),
    log_every=2,
    validate_every=3,
    precision="32-true",
    checkpoint_seconds=0,
)


COLOURS = torch.tensor(
    [(60.0, 60, 60), (200, 60, 60), (60, 200, 60), (60, 60, 200), (200, 200, 60)], dtype=torch.float32
)


def frames(step: int) -> Batch:
    """Slanted bands on grey, each slot in a colour and a quarter of the image of its own, some missing."""
    generator = torch.Generator().manual_seed(step)
    x, y = torch.arange(64.0), torch.arange(32.0)[:, None]
    label = torch.zeros(4, 32, 64, dtype=torch.uint8)
    existence = (torch.rand(4, 4, generator=generator) < 0.8).float()
    for slot in range(4):
        start = 16 * slot + 4 + 6 * torch.rand(4, 1, 1, generator=generator)
        band = (x - start - (slot - 1.5) * (y - 16) / 32).abs() <= 1.5
        label[band & (existence[:, slot, None, None] > 0)] = slot + 1
    noise = 20 * torch.rand(4, 3, 32, 64, generator=generator)
    image = COLOURS[label.long()].permute(0, 3, 1, 2) + noise
    return Batch([f"{step}/{number}.jpg" for number in range(4)], image.byte(), label, existence)


def batches(start: int, stop: int) -> Iterator[Batch]:
    for step in range(start, stop):
        yield frames(step)


def no_change(batch: Batch) -> Batch:
    return batch


def validation() -> Iterator[Batch]:
    yield frames(10**6)
    yield frames(10**6 + 1)


DATA = TrainingData(batches, no_change, validation)


def student() -> torch.nn.Module:
    torch.manual_seed(CONFIG.seed)
    return build_network(SPEC)


def run(task, network, config, path: Path, data: TrainingData = DATA, log=None) -> TrainingState:
    fabric = Fabric(accelerator="cpu", devices=1, precision=config.precision)
    return fit(
        fabric,
        task,
        network,
        config=config,
        data=data,
        checkpoint=Checkpoint(path / "checkpoint.pt", "one"),
        log=log,
    )


def equal(first: dict[str, torch.Tensor], second: dict[str, torch.Tensor]) -> bool:
    return all(torch.equal(value, second[name]) for name, value in first.items())


LONGER = CONFIG.model_copy(
    update={
        "steps": 50,
        "ema_decay": 0.8,
        "validate_every": 100,
        "checkpoint_seconds": 60,
        "optimizer": OptimizerConfig(learning_rate=0.03, warmup_steps=10),
    }
)


class Plain(torch.nn.Module):
    """Tells slots apart by colour; without an existence head."""

    def __init__(self) -> None:
        super().__init__()
        self.body = torch.nn.Sequential(
            torch.nn.Conv2d(3, 16, 1), torch.nn.BatchNorm2d(16), torch.nn.ReLU(), torch.nn.Conv2d(16, 5, 1)
        )

    def forward(self, image: torch.Tensor) -> LaneOutput:
        return LaneOutput(self.body(image))


def test_student_learns_to_segment_frames(tmp_path: Path) -> None:
    torch.manual_seed(0)
    state = run(StudentTask(LONGER), Plain(), LONGER, tmp_path)
    assert state.history[-1]["val/miou"] > 0.9
    assert "val/existence_accuracy" not in state.history[-1]


def test_teacher_learns_a_tiny_set_of_label_maps(tmp_path: Path) -> None:
    data = replace(DATA, batches=lambda start, stop: (frames(0) for _ in range(start, stop)))
    data = replace(data, validation=lambda: iter([frames(0)]))
    torch.manual_seed(0)
    state = run(TeacherTask(LONGER, SPEC.slots), build_network(teacher_spec(SPEC)), LONGER, tmp_path, data)
    assert state.history[-1]["val/miou"] > 0.2  # 0 where every pixel is background
    assert state.history[-1]["val/existence_accuracy"] > 0.9


def test_log_and_history_hold_the_same_metrics(tmp_path: Path) -> None:
    logged = []
    state = run(
        StudentTask(CONFIG),
        student(),
        CONFIG,
        tmp_path,
        log=lambda metrics, step: logged.append((step, metrics)),
    )
    assert [step for step, _ in logged] == [2, 3, 4, 6]
    assert [{"step": step, **metrics} for step, metrics in logged] == state.history
    assert set(logged[1][1]) == {"val/miou", "val/existence_accuracy"}
    first = logged[0][1]
    assert first["train/loss"] == pytest.approx(
        first["train/cross_entropy"] + 0.1 * first["train/iou"] + 0.1 * first["train/existence"], rel=1e-5
    )
    assert {"learning_rate", "steps_per_second", "data_wait", "memory_gb"} <= set(first)


def test_the_speed_is_that_of_the_steps_without_validations_and_checkpoints(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock, saves = [0.0], []

    def lasting(seconds: float, batches: Iterator[Batch]) -> Iterator[Batch]:
        for batch in batches:
            clock[0] += seconds
            yield batch

    def save(state: TrainingState, checkpoint: Checkpoint) -> None:
        clock[0] += 1000
        saves.append(state.step)

    monkeypatch.setattr(TrainingState, "save", save)
    monkeypatch.setattr(loop, "TrainingClock", partial(TrainingClock, now=lambda: clock[0]))
    data = TrainingData(
        lambda start, stop: lasting(0.5, batches(start, stop)), no_change, lambda: lasting(100, validation())
    )
    state = run(StudentTask(CONFIG), student(), CONFIG, tmp_path, data)
    logged = [entry for entry in state.history if "steps_per_second" in entry]
    assert [(entry["steps_per_second"], entry["data_wait"]) for entry in logged] == [(2, 1)] * 3
    assert saves and state.seconds == 6 * 0.5 + 2 * 200 + 1000 * len(saves[:-1])


def distilling(network: torch.nn.Module, config: DistillationConfig) -> StudentTask:
    torch.manual_seed(7)
    teacher = build_network(teacher_spec(SPEC)).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    paths = default_paths(attention_layers(SPEC))
    return StudentTask(CONFIG, {"attention": LgadLoss(network, teacher, paths, config)})


def test_the_mean_of_a_loss_is_that_of_the_steps_with_it(tmp_path: Path) -> None:
    config = DistillationConfig(weight=1e-30, start_step=1, stop_step=3)  # steps 1 and 2 of 0 to 5

    def logged(log_every: int) -> dict[int, float]:
        network = student()
        settings = CONFIG.model_copy(update={"log_every": log_every})
        state = run(distilling(network, config), network, settings, tmp_path / str(log_every))
        return {int(entry["step"]): entry.get("train/attention", 0) for entry in state.history}

    each, pairs, all_steps = logged(1), logged(2), logged(6)
    assert each[2] > 0 and each[3] > 0 and each[1] == each[4] == 0
    assert (pairs[2], pairs[4], pairs[6]) == (each[2], each[3], 0)
    assert all_steps[6] == pytest.approx((each[2] + each[3]) / 2)


def test_the_features_of_a_loss_that_has_ended_are_freed() -> None:
    network, kept = student(), []
    task = distilling(network, DistillationConfig(stop_step=1))
    network.get_submodule(attention_layers(SPEC)[0]).register_forward_hook(
        lambda module, inputs, output: kept.append(weakref.ref(output))
    )
    for step in range(3):
        total_loss(task.losses(network, frames(step), task.weights(step))).backward()
        assert kept[step]() is None


def test_distillation_of_weight_zero_is_the_student_alone(tmp_path: Path) -> None:
    """Same weights, batches, augmentation and dropout: the pair differs in the attention loss alone."""
    data = replace(
        DATA,
        batches=lambda start, stop: (
            augment(frames(step), AugmentationConfig(), batch_generator(0, step))
            for step in range(start, stop)
        ),
    )
    alone = run(StudentTask(CONFIG), student(), CONFIG, tmp_path / "alone", data)
    network = student()
    task = distilling(network, DistillationConfig(weight=1e-30, start_step=3))
    paired = run(task, network, CONFIG, tmp_path / "paired", data)
    assert equal(alone.network.state_dict(), paired.network.state_dict())
    network = student()
    lgad = run(distilling(network, DistillationConfig(weight=1.0)), network, CONFIG, tmp_path / "lgad", data)
    assert not equal(alone.network.state_dict(), lgad.network.state_dict())
    assert "train/attention" in lgad.history[0] and "train/attention" not in alone.history[0]


@pytest.mark.parametrize("precision", ["32-true", "bf16-mixed"])
def test_a_resumed_run_ends_with_the_weights_of_an_uninterrupted_one(tmp_path: Path, precision: str) -> None:
    config = CONFIG.model_copy(update={"precision": precision})
    whole = run(StudentTask(config), student(), config, tmp_path / "whole")

    def broken(start: int, stop: int) -> Iterator[Batch]:
        yield from batches(start, 3)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run(StudentTask(config), student(), config, tmp_path / "cut", replace(DATA, batches=broken))
    torch.manual_seed(99)  # the state of the global generator of a new process has no effect
    resumed = run(StudentTask(config), build_network(SPEC), config, tmp_path / "cut")
    assert equal(whole.network.state_dict(), resumed.network.state_dict())
    assert equal(whole.final_weights(), resumed.final_weights())
    timeless = [
        {
            k: v
            for k, v in entry.items()
            if k.startswith(("train", "val", "step", "learn")) and "second" not in k
        }
        for entry in whole.history
    ]
    assert timeless == [
        {key: entry[key] for key in row} for row, entry in zip(timeless, resumed.history, strict=True)
    ]


def test_a_checkpoint_of_another_training_is_not_resumed(tmp_path: Path) -> None:
    state = run(StudentTask(CONFIG), student(), CONFIG, tmp_path)
    state.step = 5
    state.save(Checkpoint(tmp_path / "checkpoint.pt", "another"))
    assert not state.restore(Checkpoint(tmp_path / "checkpoint.pt", "one"))
    assert state.restore(Checkpoint(tmp_path / "checkpoint.pt", "another"))


def test_a_loss_that_is_not_finite_names_step_term_and_frames(tmp_path: Path) -> None:
    def poisoned(start: int, stop: int) -> Iterator[Batch]:
        for step, batch in enumerate(batches(start, stop), start):
            yield replace(batch, existence=batch.existence * float("nan")) if step == 4 else batch

    with pytest.raises(
        LgadError, match=r"not finite at step 4 \(existence\) with the frames 4/0\.jpg, 4/1\.jpg"
    ):
        run(StudentTask(CONFIG), student(), CONFIG, tmp_path, replace(DATA, batches=poisoned))


def test_average_moves_faster_at_first() -> None:
    network = torch.nn.Linear(1, 1, bias=False)
    network.weight.data.fill_(1.0)
    state = TrainingState(
        network, torch.optim.SGD(network.parameters()), {"weight": torch.zeros(1, 1)}, step=2
    )
    state.update_average(0.5)
    assert state.average is not None and state.average["weight"].item() == pytest.approx(1 - 3 / 12)
    state.step = 10**6
    state.update_average(0.5)
    assert state.average["weight"].item() == pytest.approx(1 - 3 / 24)
