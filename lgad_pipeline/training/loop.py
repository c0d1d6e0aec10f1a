"""Training loop: batches, steps, log entries, validations and checkpoints."""

from collections.abc import Callable, Generator
from contextlib import closing
from typing import cast

import torch
from lightning_fabric import Fabric
from torch import nn

from lgad_pipeline.config.training import TrainingConfig
from lgad_pipeline.data.loader import Batch
from lgad_pipeline.errors import LgadError
from lgad_pipeline.training.checkpoint import Checkpoint, Metrics, TrainingState
from lgad_pipeline.training.optimizer import build_optimizer, learning_rate
from lgad_pipeline.training.processes import any_process, gather, on_rank_zero, process_rank, rank_zero_first
from lgad_pipeline.training.step import TrainingStep
from lgad_pipeline.training.stop import StopRequest, TrainingStopped
from lgad_pipeline.training.tasks import Task
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
    for batches), `memory_gb` (the highest so far); at validations `val/miou`, `val/existence_accuracy`.
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
                with checkpoints.saving():
                    on_rank_zero(lambda: state.save(checkpoint))
            if stopped:
                raise TrainingStopped(state.step)
    return state
