"""The training loop: one for teachers and students."""

import resource
import time
from collections.abc import Callable, Generator, Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import cast

import numpy as np
import torch
from lightning_fabric import Fabric
from torch import nn

from lgad_pipeline.data.loader import Batch
from lgad_pipeline.errors import LgadError
from lgad_pipeline.training.config import TrainingConfig
from lgad_pipeline.training.schedule import build_optimizer, learning_rate
from lgad_pipeline.training.state import Metrics, TrainingState
from lgad_pipeline.training.tasks import Task
from lgad_pipeline.training.validation import validate

Log = Callable[[Metrics, int], None]


@dataclass(frozen=True)
class TrainingData:
    """Where the loop gets its batches.

    Attributes:
        batches: the batches of the steps start..stop-1, a pure function of the step, closed when done.
        augment: changes a batch, a pure function of batch and step; on the device.
        validation: every batch to validate on, in order.
    """

    batches: Callable[[int, int], Iterator[Batch]]
    augment: Callable[[Batch, int], Batch]
    validation: Callable[[], Iterator[Batch]]


def fit(
    fabric: Fabric,
    task: Task,
    network: nn.Module,
    config: TrainingConfig,
    data: TrainingData,
    checkpoint: Path,
    fingerprint: str,
    log: Log | None = None,
) -> TrainingState:
    """Train `network` on `fabric`'s device and return where it ended.

    A checkpoint of the same fingerprint is taken up: the result is, bit for bit, that of an undisturbed run
    on the same machine. Metrics go to `log` and into the state's history: `train/<term>` (unweighted),
    `train/loss`, `learning_rate`, `steps_per_second`, `data_wait` (share of the time that the loop waited
    for batches), `memory_gb` (the highest so far); at validations `val/miou`, `val/existence_accuracy`.

    Raises:
        LgadError: a loss term is not finite; the step, the frames and the term are named.
    """
    network = network.to(fabric.device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    optimizer = build_optimizer(config.optimizer, network.parameters())
    average = (
        {name: value.clone() for name, value in network.state_dict().items()} if config.ema_decay else None
    )
    state = TrainingState(network, optimizer, average)
    state.restore(checkpoint, fingerprint)
    wrapped, wrapped_optimizer = fabric.setup(network, optimizer)
    clock = _Clock(state)
    with closing(cast(Generator[Batch], data.batches(state.step, config.steps))) as batches:
        while state.step < config.steps:
            with clock.waiting():
                batch = next(batches).to(fabric.device)
            batch = data.augment(batch, state.step)
            _set_rate(optimizer, learning_rate(config.optimizer, state.step, config.steps))
            _train_step(fabric, task, wrapped, wrapped_optimizer, batch, config, state)
            metrics: Metrics = {}
            last = state.step == config.steps
            if last or state.step % config.log_every == 0:
                metrics |= (
                    _means(state) | {"learning_rate": optimizer.param_groups[0]["lr"]} | clock.metrics()
                )
            if last or state.step % config.validate_every == 0:
                metrics |= validate(fabric, task, state, data.validation())
            if metrics:
                state.history.append({"step": state.step, **metrics})
                if log is not None:
                    log(metrics, state.step)
            if last or clock.checkpoint_due(config.checkpoint_seconds):
                state.seconds = clock.total()
                state.save(checkpoint, fingerprint)
    return state


def _train_step(
    fabric: Fabric,
    task: Task,
    network: nn.Module,
    optimizer: torch.optim.Optimizer,
    batch: Batch,
    config: TrainingConfig,
    state: TrainingState,
) -> None:
    network.train()
    # Dropout is the only consumer of the global generator; paired students drop the same channels.
    torch.manual_seed(_step_seed(config.seed, state.step))
    with fabric.autocast():
        terms = task.losses(network, batch, state.step)
    weights = task.weights(state.step)
    loss = torch.stack([weights[name] * term for name, term in terms.items()]).sum()
    if not torch.isfinite(loss.detach()):
        raise LgadError(_not_finite(terms, batch, state.step))
    optimizer.zero_grad()
    fabric.backward(loss)
    if config.optimizer.gradient_clip is not None:
        fabric.clip_gradients(network, optimizer, max_norm=config.optimizer.gradient_clip)
    optimizer.step()
    state.step += 1
    state.update_average(config.ema_decay)
    for name, term in {**terms, "loss": loss, "steps": torch.ones(())}.items():
        state.sums[name] = state.sums.get(name, torch.zeros(())) + term.detach().cpu()


def _step_seed(seed: int, step: int) -> int:
    return int(np.random.SeedSequence([seed, step, 1]).generate_state(1)[0])


def _set_rate(optimizer: torch.optim.Optimizer, rate: float) -> None:
    for group in optimizer.param_groups:
        group["lr"] = rate


def _means(state: TrainingState) -> Metrics:
    steps = state.sums.pop("steps")
    means = {f"train/{name}": float(total / steps) for name, total in state.sums.items()}
    state.sums = {}
    return means


def _not_finite(terms: dict[str, torch.Tensor], batch: Batch, step: int) -> str:
    broken = [name for name, term in terms.items() if not torch.isfinite(term.detach())]
    return (
        f"The loss is not finite at step {step} ({', '.join(broken) or 'the sum'}) with the frames "
        f"{', '.join(batch.frames)}; lower the learning rate or look at these frames."
    )


class _Clock:
    """Time and memory of a training, over all its runs."""

    def __init__(self, state: TrainingState) -> None:
        self.state = state
        self.before, self.start = state.seconds, time.perf_counter()
        self.logged, self.logged_step, self.waited = self.start, state.step, 0.0
        self.saved = self.start

    def total(self) -> float:
        return self.before + time.perf_counter() - self.start

    def waiting(self) -> "_Waiting":
        return _Waiting(self)

    def metrics(self) -> Metrics:
        now = time.perf_counter()
        elapsed, steps = now - self.logged, self.state.step - self.logged_step
        metrics = {
            "steps_per_second": steps / elapsed,
            "data_wait": self.waited / elapsed,
            "memory_gb": _memory_gb(),
        }
        self.logged, self.logged_step, self.waited = now, self.state.step, 0.0
        return metrics

    def checkpoint_due(self, seconds: float) -> bool:
        due = time.perf_counter() - self.saved >= seconds
        if due:
            self.saved = time.perf_counter()
        return due


class _Waiting:
    def __init__(self, clock: _Clock) -> None:
        self.clock = clock

    def __enter__(self) -> None:
        self.start = time.perf_counter()

    def __exit__(self, *error: object) -> None:
        self.clock.waited += time.perf_counter() - self.start


def _memory_gb() -> float:
    if torch.cuda.is_available():
        return torch.cuda.max_memory_allocated() / 2**30
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
