"""Training loop: batches, steps, log entries, validations and checkpoints; and the step."""

from collections.abc import Callable, Generator, Mapping
from contextlib import closing
from typing import NamedTuple, cast

import numpy as np
import torch
from lightning_fabric import Fabric
from torch import nn

from lgad_pipeline.config.training import TrainingConfig
from lgad_pipeline.data.loader import Batch
from lgad_pipeline.errors import LgadError
from lgad_pipeline.training.checkpoint import Checkpoint, Metrics, TrainingState
from lgad_pipeline.training.cuda_graph import GraphedGradients
from lgad_pipeline.training.finite import LateFiniteCheck, not_finite_message
from lgad_pipeline.training.optimizer import build_optimizer, learning_rate
from lgad_pipeline.training.processes import (
    any_process,
    gather,
    on_rank_zero,
    process_count,
    process_rank,
    rank_zero_first,
    sum_over_processes,
)
from lgad_pipeline.training.stop import StopRequest, TrainingStopped
from lgad_pipeline.training.tasks import Task, Weight, companion_parameters, total_loss
from lgad_pipeline.training.timing import CheckpointTimer, TrainingClock
from lgad_pipeline.training.training_data import TrainingData
from lgad_pipeline.training.validation import validate

MetricsLog = Callable[[Metrics, int], None]
"""Function of the metrics and the step that is called at every log entry."""


def fit(
    fabric: Fabric,
    task: Task,
    network: nn.Module,
    *,
    config: TrainingConfig,
    data: TrainingData,
    checkpoint: Checkpoint,
    log: MetricsLog | None = None,
    stop: StopRequest | None = None,
) -> TrainingState:
    """Train a network and return the final state of the training.

    A checkpoint of the same fingerprint is resumed: the result is, bit for bit, that of an uninterrupted run
    on the same machine. Metrics go to `log` and into the state's history: `train/<term>` (unweighted),
    `train/loss`, `learning_rate`, `steps_per_second`, `data_wait` (share of the time that the loop waited
    for batches), `memory_gb` (the highest so far); at validations those of `validate`.
    Of several processes, the first one logs and writes checkpoints; all return the same state.

    Args:
        fabric: training device and precision.
        task: inputs and losses of the network.
        network: network to train.
        config: settings of the training.
        data: training and validation batches.
        checkpoint: file and identity of the checkpoint.
        log: function that is called with the metrics and the step.
        stop: function that returns True when the training should save its checkpoint and stop.

    Raises:
        TrainingStopped: `stop` returned True.
        LgadError: a loss term or a gradient is not finite (the message lists the step, the frames, and the
            terms or layers), or a checkpoint cannot be written. The last checkpoint stays valid.
    """
    network = network.to(fabric.device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    optimizer = build_optimizer(config.optimizer, network.parameters())
    average = (
        {name: value.clone() for name, value in network.state_dict().items()} if config.ema_decay else None
    )
    state = TrainingState(network, optimizer, average)
    rank_zero_first(lambda: state.restore(checkpoint))
    if len(set(gather(state.step))) > 1:
        raise LgadError(
            f"Not all processes can read {checkpoint.path}; use a directory that all machines share."
        )
    runnable = cast(nn.Module, torch.compile(network)) if config.compile else network
    wrapped, wrapped_optimizer = fabric.setup(runnable, optimizer)
    train_step = TrainingStep(
        fabric, task, wrapped, wrapped_optimizer, config=config, state=state, augment=data.augment
    )
    clock, checkpoints = TrainingClock(state, fabric.device), CheckpointTimer(config.checkpoint_seconds)
    with closing(cast(Generator[Batch], data.batches(state.step, config.steps))) as batches:
        while state.step < config.steps:
            with clock.waiting():
                batch = next(batches)
            rate = learning_rate(config.optimizer, state.step, config.steps)
            for group in optimizer.param_groups:
                group["lr"] = rate
            train_step(batch)

            # state.step now counts this step: log, validate and save where that is due.
            metrics: Metrics = {}
            last = state.step == config.steps
            if last or state.step % config.log_every == 0:
                state.share_sums()
                metrics |= state.pop_means() | {"learning_rate": rate} | clock.metrics()
            if last or state.step % config.validate_every == 0:
                with clock.paused():
                    metrics |= validate(fabric, task, state, data.validation())
            if metrics:
                state.history.append({"step": state.step, **metrics})
                if log is not None and process_rank() == 0:
                    log(metrics, state.step)
            stopped, due = any_process(
                not last and stop is not None and stop(), process_rank() == 0 and checkpoints.due()
            )
            if last or stopped or due:
                train_step.finish()
                state.share_sums()
                state.seconds = clock.total()
                with clock.paused(), checkpoints.saving():
                    on_rank_zero(lambda: state.save(checkpoint))
            if stopped:
                raise TrainingStopped(state.step)
    return state


class Losses(NamedTuple):
    """Losses of one step, without gradients.

    Attributes:
        terms: unweighted loss terms by name, scalar tensors.
        total: weighted sum, a scalar tensor.
    """

    terms: dict[str, torch.Tensor]
    total: torch.Tensor


class TrainingStep:
    """Step of a training; a call updates the weights and the state.

    Args:
        fabric: training device and precision.
        task: losses of the network.
        network: network, wrapped by fabric.
        optimizer: optimizer of its parameters, wrapped by fabric.
        config: settings of the training.
        state: state of the training; `state.step` counts the finished steps.
        augment: augmentation on the training device; the identity where batches come augmented.
    """

    def __init__(
        self,
        fabric: Fabric,
        task: Task,
        network: nn.Module,
        optimizer: torch.optim.Optimizer,
        *,
        config: TrainingConfig,
        state: TrainingState,
        augment: Callable[[Batch], Batch],
    ) -> None:
        self.fabric, self.task, self.network, self.optimizer = fabric, task, network, optimizer
        self.config, self.state, self.augment = config, state, augment
        self.parameters = [parameter for parameter in network.parameters() if parameter.requires_grad]
        self._several = process_count() > 1
        self._companions = companion_parameters(state.network)
        on_gpu = fabric.device.type == "cuda"
        self._finite = LateFiniteCheck(fabric.device, state.optimizer) if on_gpu else None
        self._previous: tuple[Batch, int] | None = None
        self._gradients = (
            GraphedGradients(self._losses_and_gradients, self.parameters, fabric.device)
            if on_gpu and config.cuda_graphs
            else None
        )

    def __call__(self, batch: Batch) -> None:
        """Compute the gradients of a batch and update the weights.

        Args:
            batch: batch of this step on the CPU; in page-locked memory for a GPU.

        Raises:
            LgadError: a loss term or a gradient is not finite. On a GPU this is noticed in the next step, so
                that the CPU does not wait; no weight is changed in the meantime.
        """
        config, state = self.config, self.state
        losses = self._compute(batch, state.step)
        parameters = [parameter for parameter in self.parameters if parameter.grad is not None]
        norm = nn.utils.get_total_norm([parameter.grad for parameter in parameters])  # type: ignore[arg-type]
        self._check(losses, norm, batch)
        if config.optimizer.gradient_clip is not None:
            nn.utils.clip_grads_with_norm_(parameters, config.optimizer.gradient_clip, norm)
        self.optimizer.step()
        state.step += 1
        state.update_average(config.ema_decay)
        state.add({**losses.terms, "loss": losses.total})

    def finish(self) -> None:
        """Check the latest step, whose result may still be on the device.

        Raises:
            LgadError: see `__call__`.
        """
        if self._finite is not None and self._finite.failed():
            raise self._recomputed_error()

    def _compute(self, batch: Batch, step: int) -> Losses:
        self.network.train()
        # The global generator serves dropout and the corruption of a teacher's input. The student runs first,
        # so that students of one seed get the same dropout masks, whatever else is computed in the step.
        # Processes drop different channels; the first one drops those of a process that trains alone.
        rank = [process_rank()] if process_rank() else []
        seed = np.random.SeedSequence([self.config.seed, step, 1, *rank]).generate_state(1)[0]
        torch.manual_seed(int(seed))
        weights = self.task.weights(step)
        if self._gradients is not None:
            return self._gradients(batch, weights)
        self.optimizer.zero_grad()
        return self._losses_and_gradients(batch.to(self.fabric.device), weights)

    def _losses_and_gradients(self, batch: Batch, weights: Mapping[str, Weight]) -> Losses:
        """Add the gradients of a batch on the device to those of the parameters; return the losses."""
        batch = self.augment(batch)
        parts = batch.parts(self.config.accumulation)
        sums: Losses | None = None
        for number, part in enumerate(parts, 1):
            # Processes add up their gradients in the backward pass of the last part.
            sync_later = self._several and number < len(parts)
            with self.fabric.no_backward_sync(self.network, enabled=sync_later):  # type: ignore[arg-type]
                with self.fabric.autocast():
                    terms = self.task.losses(self.network, part, weights)
                total = total_loss(terms) / len(parts) if len(parts) > 1 else total_loss(terms)
                self.fabric.backward(total + self._no_loss() if self._several else total)
            values = {term.name: term.value.detach() for term in terms}
            if len(parts) > 1:
                values = {name: value / len(parts) for name, value in values.items()}
            if sums is None:
                sums = Losses(values, total.detach())
            else:
                values = {name: value + values[name] for name, value in sums.terms.items()}
                sums = Losses(values, sums.total + total.detach())
        if self._several:
            # In one process these have no gradient, and the optimizer skips them.
            for parameter in self.task.idle_parameters(weights):
                parameter.grad = None
        assert sums is not None
        return sums

    def _no_loss(self) -> torch.Tensor:
        """Return 0, with gradients of 0 for what no active loss uses: processes wait for every gradient."""
        zeros = [0 * parameter.sum() for parameter in self._companions]
        return torch.stack([torch.zeros((), device=self.fabric.device), *zeros]).sum()

    def _check(self, losses: Losses, norm: torch.Tensor, batch: Batch) -> None:
        """Check that loss and gradients are finite; on a GPU, those of the step before."""
        value = sum_over_processes(losses.total + norm)
        if self._finite is None:
            if not torch.isfinite(value):
                raise self._error(losses, batch, self.state.step)
            return
        failed = self._finite.failed()
        if failed:
            raise self._recomputed_error()
        self._finite.record(value)
        self._previous = batch, self.state.step

    def _recomputed_error(self) -> LgadError:
        """Compute the step before again, without a graph, for the names of its terms and layers."""
        assert self._previous is not None
        self._gradients = None
        return self._error(self._compute(*self._previous), *self._previous)

    def _error(self, losses: Losses, batch: Batch, step: int) -> LgadError:
        terms = {name: sum_over_processes(value) for name, value in losses.terms.items()}
        frames = [frame for part in gather(batch.frames) for frame in part]
        total = sum_over_processes(losses.total)
        return LgadError(not_finite_message(terms, total, self.state.network, step=step, frames=frames))
