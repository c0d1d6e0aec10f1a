"""The training loop: one for teachers and students."""

import resource
import time
from collections.abc import Callable, Generator, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import cast

import numpy as np
import torch
from lightning_fabric import Fabric
from torch import nn

from lgad_pipeline.config.training import TrainingConfig
from lgad_pipeline.data.loader import Batch
from lgad_pipeline.errors import LgadError
from lgad_pipeline.training.checkpoint import Metrics, TrainingState
from lgad_pipeline.training.finite import not_finite
from lgad_pipeline.training.schedule import build_optimizer, learning_rate
from lgad_pipeline.training.tasks import Task
from lgad_pipeline.training.validation import validate

Log = Callable[[Metrics, int], None]
_LEAST_GAP = 50  # times what the last checkpoint took


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

    A checkpoint of the same fingerprint is continued: the result is, bit for bit, that of an undisturbed run
    on the same machine. Metrics go to `log` and into the state's history: `train/<term>` (unweighted),
    `train/loss`, `learning_rate`, `steps_per_second`, `data_wait` (share of the time that the loop waited
    for batches), `memory_gb` (the highest so far); at validations `val/miou`, `val/existence_accuracy`.

    Raises:
        LgadError: a loss term or a gradient is not finite (the step, the frames, and the term or the layers
            are named), or a checkpoint cannot be written. The last checkpoint stays valid in both cases.
    """
    network = network.to(fabric.device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    optimizer = build_optimizer(config.optimizer, network.parameters())
    average = (
        {name: value.clone() for name, value in network.state_dict().items()} if config.ema_decay else None
    )
    state = TrainingState(network, optimizer, average)
    state.restore(checkpoint, fingerprint)
    wrapped, wrapped_optimizer = fabric.setup(network, optimizer)
    clock, checkpoints = _Clock(state), CheckpointTimer(config.checkpoint_seconds)
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
            if last or checkpoints.due():
                state.seconds = clock.total()
                with checkpoints.saving():
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
    # The global generator serves dropout and the corruption of a teacher's input. The student runs first,
    # so students of one seed get the same dropout masks, whatever else is computed in the step.
    torch.manual_seed(_step_seed(config.seed, state.step))
    with fabric.autocast():
        terms = task.losses(network, batch, state.step)
    weights = task.weights(state.step)
    loss = torch.stack([weights[name] * term for name, term in terms.items()]).sum()
    optimizer.zero_grad()
    fabric.backward(loss)
    parameters = [parameter for parameter in network.parameters() if parameter.grad is not None]
    norm = nn.utils.get_total_norm([parameter.grad for parameter in parameters])  # type: ignore[arg-type]
    if not torch.isfinite(loss.detach() + norm):  # one transfer from the device for both
        raise LgadError(_not_finite(terms, loss, state.network, batch, state.step))
    if config.optimizer.gradient_clip is not None:
        nn.utils.clip_grads_with_norm_(parameters, config.optimizer.gradient_clip, norm)
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


def _not_finite(
    terms: dict[str, torch.Tensor], loss: torch.Tensor, network: nn.Module, batch: Batch, step: int
) -> str:
    broken = [name for name, term in terms.items() if not torch.isfinite(term.detach())]
    end = f"with the frames {', '.join(batch.frames)}; lower the learning rate or look at these frames."
    if broken or not torch.isfinite(loss.detach()):
        return f"The loss is not finite at step {step} ({', '.join(broken) or 'the sum'}) {end}"
    # Backwards: a bad gradient spreads from the layer where it arises to all layers before it.
    layers = not_finite(
        (name, parameter.grad)
        for name, parameter in reversed(list(network.named_parameters()))
        if parameter.grad is not None
    )
    where = f"from the output backwards first in {layers}" if layers else "the sum of their squares"
    return f"The gradients are not finite at step {step} ({where}) {end}"


class _Clock:
    """Time and memory of a training, over all its runs."""

    def __init__(self, state: TrainingState) -> None:
        self.state = state
        self.before, self.start = state.seconds, time.perf_counter()
        self.logged, self.logged_step, self.waited = self.start, state.step, 0.0

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


class CheckpointTimer:
    """Decides when a checkpoint is due: after some time, and never for more than 2 % of the time.

    Args:
        seconds: Least time between the end of a checkpoint and the start of the next.
        now: Clock, seconds.
    """

    def __init__(self, seconds: float, now: Callable[[], float] = time.perf_counter) -> None:
        self._seconds, self._now = seconds, now
        self._ended, self._took = now(), 0.0

    def due(self) -> bool:
        """Return True when the next checkpoint should be written."""
        return self._now() - self._ended >= max(self._seconds, _LEAST_GAP * self._took)

    @contextmanager
    def saving(self) -> Iterator[None]:
        """Time the writing of a checkpoint."""
        started = self._now()
        yield
        self._ended = self._now()
        self._took = self._ended - started


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
