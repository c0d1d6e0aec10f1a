"""Checkpoints: when they are written, what never gets into one, and what a damaged one does."""

import errno
import io
import logging
import resource
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from lgad_pipeline.config.training import OptimizerConfig
from lgad_pipeline.data.loader import Batch
from lgad_pipeline.errors import LgadError
from lgad_pipeline.networks.layers import LaneOutput
from lgad_pipeline.training.average import MovingAverage
from lgad_pipeline.training.checkpoint import Checkpoint, TrainingState
from lgad_pipeline.training.optimizer import build_optimizer
from lgad_pipeline.training.tasks import StudentTask
from lgad_pipeline.training.timing import CheckpointTimer
from tests.training.test_fit import CONFIG, DATA, Plain, batches, equal, run, student


def test_the_interval_counts_from_the_end_of_a_save_and_bounds_its_share() -> None:
    clock = [0.0]
    timer = CheckpointTimer(1.0, lambda: clock[0])
    saved = []
    for step in range(1, 1001):  # steps of a quarter of a second, saves of half a second
        clock[0] += 0.25
        if timer.due():
            with timer.saving():
                clock[0] += 0.5
            saved.append(step)
    assert saved[:3] == [4, 104, 204]  # after a second, then every 50 x 0.5 s
    assert 0.5 * len(saved) <= 0.02 * clock[0]
    slow = CheckpointTimer(60.0, lambda: clock[0])
    clock[0] += 59
    assert not slow.due()
    clock[0] += 1
    assert slow.due()


class BadGradient(torch.autograd.Function):
    """Identity with a gradient of NaN, as the square root has at 0."""

    @staticmethod
    def forward(context, features: torch.Tensor) -> torch.Tensor:
        return features.clone()

    @staticmethod
    def backward(context, gradient: torch.Tensor) -> torch.Tensor:
        return gradient * float("nan")


class Breaks(Plain):
    """Finite losses always; gradients of NaN before its last layer from a forward on."""

    def __init__(self, at: int) -> None:
        super().__init__()
        self.calls, self.at = 0, at

    def forward(self, image: torch.Tensor) -> LaneOutput:
        features = self.body[:3](image)
        if self.training:
            self.calls += 1
            if self.calls > self.at:
                features = BadGradient.apply(features)
        return LaneOutput(self.body[3](features))


@pytest.mark.parametrize("clip", [None, 1.0])
def test_a_gradient_that_is_not_finite_is_named_and_reaches_no_checkpoint(
    tmp_path: Path, clip: float | None
) -> None:
    config = CONFIG.model_copy(
        update={"optimizer": OptimizerConfig(warmup_steps=2, gradient_clip=clip), "log_every": 1}
    )
    torch.manual_seed(0)
    sentence = (
        r"gradients are not finite at step 3 \(from the output backwards first in body\.1, "
        r"body\.0\) with the frames 3/0\.jpg"
    )
    with pytest.raises(LgadError, match=sentence):
        run(StudentTask(config), Breaks(3), config, tmp_path)
    torch.manual_seed(0)
    sound = run(StudentTask(config), Breaks(99), config, tmp_path)  # continues from the checkpoint
    torch.manual_seed(0)
    whole = run(StudentTask(config), Breaks(99), config, tmp_path / "whole")
    assert equal(sound.network.state_dict(), whole.network.state_dict())


def test_weights_that_are_not_finite_reach_no_checkpoint(tmp_path: Path) -> None:
    network = Plain()
    optimizer = torch.optim.SGD(network.parameters(), 0.1)
    state = TrainingState(network, optimizer, None, step=5)
    state.save(Checkpoint(tmp_path / "checkpoint.pt", "one"))
    before = (tmp_path / "checkpoint.pt").read_bytes()
    network.body[3].weight.data[0, 0] = float("inf")  # type: ignore[index]
    with pytest.raises(LgadError, match=r"weights of body\.3 are not finite after step 4"):
        state.save(Checkpoint(tmp_path / "checkpoint.pt", "one"))
    assert (tmp_path / "checkpoint.pt").read_bytes() == before


def _empty(content: bytes) -> bytes:
    return b""


def _cut(content: bytes) -> bytes:
    return content[: len(content) // 2]


def _flipped(content: bytes) -> bytes:
    middle = len(content) // 2
    return (
        content[:middle]
        + bytes(byte ^ 255 for byte in content[middle : middle + 64])
        + content[middle + 64 :]
    )


def _one_bit(content: bytes) -> bytes:
    place = content.index(b"data/1") + 500 if b"data/1" in content else len(content) // 3
    return content[:place] + bytes([content[place] ^ 1]) + content[place + 1 :]


def _text(content: bytes) -> bytes:
    return b"no checkpoint\n" * 100


def _other_program(content: bytes) -> bytes:
    file = io.BytesIO()
    torch.save({"epoch": 3, "state_dict": {}}, file)
    return file.getvalue()


def _bare_tensor(content: bytes) -> bytes:
    file = io.BytesIO()
    torch.save(torch.zeros(3), file)
    return file.getvalue()


@pytest.mark.parametrize(
    "damage",
    [_empty, _cut, _flipped, _one_bit, _text, _other_program, _bare_tensor],
    ids=lambda one: one.__name__,
)
def test_a_damaged_checkpoint_is_renamed_and_training_starts_again(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, damage: Callable[[bytes], bytes]
) -> None:
    checkpoint = tmp_path / "cut" / "checkpoint.pt"
    whole = run(StudentTask(CONFIG), student(), CONFIG, tmp_path / "whole")

    def broken(start: int, stop: int) -> Iterator[Batch]:
        yield from batches(start, 3)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run(StudentTask(CONFIG), student(), CONFIG, tmp_path / "cut", replace(DATA, batches=broken))
    checkpoint.write_bytes(damage(checkpoint.read_bytes()))
    with caplog.at_level(logging.WARNING):
        again = run(StudentTask(CONFIG), student(), CONFIG, tmp_path / "cut")
    assert "checkpoint.pt is damaged" in caplog.text and "starts again from its first step" in caplog.text
    assert (tmp_path / "cut" / "checkpoint.pt.damaged").is_file()
    assert equal(whole.final_weights(), again.final_weights())
    assert [entry["step"] for entry in again.history] == [entry["step"] for entry in whole.history]


@pytest.mark.parametrize(
    ("error", "raised", "text"),
    [
        (OSError(errno.EMFILE, ""), LgadError, "cannot be read .*; raise the limit of open files"),
        (OSError(errno.ESTALE, ""), LgadError, "checkpoint.pt cannot be read"),
        (torch.OutOfMemoryError("CUDA out of memory"), torch.OutOfMemoryError, "CUDA out of memory"),
        (MemoryError("no memory"), MemoryError, "no memory"),
        (RuntimeError("DefaultCPUAllocator: can't allocate memory"), RuntimeError, "can't allocate"),
        (RuntimeError("CUDA error: device-side assert"), RuntimeError, "CUDA error"),
    ],
)
def test_a_checkpoint_that_cannot_be_read_now_is_kept(
    tmp_path: Path, monkeypatch, error: Exception, raised: type[Exception], text: str
) -> None:
    network, path = Plain(), tmp_path / "checkpoint.pt"
    state = TrainingState(network, build_optimizer(OptimizerConfig(), network.parameters()), None, step=5)
    state.save(Checkpoint(path, "one"))

    def fails(*_: object, **__: object) -> None:
        raise error

    with monkeypatch.context() as patched:
        patched.setattr(torch, "load", fails)
        with pytest.raises(raised, match=text):
            state.restore(Checkpoint(path, "one"))
    state.step = 0
    assert state.restore(Checkpoint(path, "one")) and state.step == 5


def test_a_checkpoint_of_other_settings_is_named(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    network, path = Plain(), tmp_path / "checkpoint.pt"
    state = TrainingState(network, build_optimizer(OptimizerConfig(), network.parameters()), None)
    state.save(Checkpoint(path, "one"))
    assert not state.restore(Checkpoint(path, "two"))
    assert "checkpoint.pt is of a training with other settings, data or code; this one starts" in caplog.text


def test_a_checkpoint_of_a_network_of_another_size_changes_nothing(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    network = Plain()
    state = TrainingState(network, build_optimizer(OptimizerConfig(), network.parameters()), None, step=5)
    state.save(Checkpoint(tmp_path / "checkpoint.pt", "one"))
    other = Plain()
    other.body.add_module("3", torch.nn.Conv2d(16, 7, 1))
    before = {name: value.clone() for name, value in other.state_dict().items()}
    state = TrainingState(other, build_optimizer(OptimizerConfig(), other.parameters()), None)
    assert not state.restore(Checkpoint(tmp_path / "checkpoint.pt", "one"))
    assert state.step == 0 and equal(before, other.state_dict())
    assert "its weights are not those of the network" in caplog.text


def test_a_full_disk_is_one_sentence_and_the_training_continues_with_space(tmp_path: Path) -> None:
    whole = run(StudentTask(CONFIG), student(), CONFIG, tmp_path / "whole")
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)

    def filling(start: int, stop: int) -> Iterator[Batch]:
        for step, batch in enumerate(batches(start, stop), start):
            if step == 3:  # the kernel refuses to write longer files, as a full disk does
                resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, limits[1]))
            yield batch

    cut = tmp_path / "cut"
    try:
        with pytest.raises(
            LgadError, match=r"checkpoint\.pt cannot be written \(File too large\); free space"
        ):
            run(StudentTask(CONFIG), student(), CONFIG, cut, replace(DATA, batches=filling))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert [path.name for path in cut.iterdir()] == ["checkpoint.pt"]
    steps: list[int] = []

    def noting(start: int, stop: int) -> Iterator[Batch]:
        steps.append(start)
        return batches(start, stop)

    again = run(StudentTask(CONFIG), student(), CONFIG, cut, replace(DATA, batches=noting))
    assert steps[0] > 0  # not from the beginning
    assert equal(whole.final_weights(), again.final_weights())


class Counting(torch.nn.Module):
    """Replaces a buffer by a new tensor in each forward."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = torch.nn.Conv2d(3, 5, 1)
        self.register_buffer("mean", torch.zeros(()))

    def forward(self, image: torch.Tensor) -> LaneOutput:
        self.mean = 0.9 * self.mean + 0.1 * image.mean()
        return LaneOutput(self.layer(image))


@pytest.mark.parametrize("make", [student, Counting])
def test_the_average_is_bit_for_bit_that_of_one_operation_a_tensor(
    make: Callable[[], torch.nn.Module],
) -> None:
    network = make()
    average, expected = (
        {name: value.clone() for name, value in network.state_dict().items()} for _ in range(2)
    )
    moving = MovingAverage(network, average)
    torch.manual_seed(1)
    for step in range(4):
        network(torch.rand(2, 3, 32, 64))
        with torch.no_grad():
            for parameter in network.parameters():
                parameter.add_(torch.randn_like(parameter))
            rate = 1 - min(0.99, (1 + step) / (10 + step))
            for name, value in network.state_dict().items():
                if value.is_floating_point():
                    expected[name].lerp_(value, rate)
                else:
                    expected[name].copy_(value)
        moving.move(rate)
    assert all(torch.equal(value, average[name]) for name, value in expected.items())


@pytest.mark.parametrize("name", ["adamw", "sgd"])
def test_norms_and_slopes_do_not_decay(name: str) -> None:
    network = student()
    optimizer = build_optimizer(
        OptimizerConfig(name=name, learning_rate=0.1, weight_decay=0.5, momentum=0),  # type: ignore[arg-type]
        network.parameters(),
    )
    before = {name: value.clone() for name, value in network.named_parameters()}
    for parameter in network.parameters():
        parameter.grad = torch.zeros_like(parameter)
    optimizer.step()
    fixed = {
        f"{prefix}.{name}"
        for prefix, module in network.named_modules()
        for name, _ in module.named_parameters(recurse=False)
        if isinstance(module, torch.nn.BatchNorm2d | torch.nn.PReLU) or name == "bias"
    }
    assert len(fixed) > 50
    for key, value in network.named_parameters():
        if key in fixed:
            assert torch.equal(value, before[key])
        else:
            torch.testing.assert_close(value, before[key] * (1 - 0.1 * 0.5))
