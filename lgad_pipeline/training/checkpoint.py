"""State of a training and its checkpoints."""

import errno
import logging
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import nn

from lgad_pipeline.atomic_files import atomic_path
from lgad_pipeline.errors import LgadError, os_fault
from lgad_pipeline.training.average import MovingAverage
from lgad_pipeline.training.finite import not_finite
from lgad_pipeline.training.processes import gather, process_count
from lgad_pipeline.training.tensor_packing import pack, unpack

Metrics = dict[str, float]
_LOG = logging.getLogger(__name__)
_OF_THE_MACHINE = ("can't allocate memory", "CUDA error", "out of memory")  # of errors of torch
_PASSING = (
    errno.EMFILE,
    errno.ENFILE,
    errno.ENOMEM,
    errno.ESTALE,
    errno.ETIMEDOUT,
    errno.EACCES,
    errno.EPERM,
)
"""Errors of the operating system that say nothing about the content of a file."""


def damaged_name(checkpoint: str) -> str:
    """Return the file name that a damaged checkpoint is renamed to."""
    return f"{checkpoint}.damaged"


class Checkpoint(NamedTuple):
    """File of a training's checkpoints, and what a checkpoint must agree with to be resumed.

    Attributes:
        path: file of the checkpoint.
        fingerprint: digest of all inputs of the training but the number of its processes.
        normalized_in: number of parts of a batch that have batch-norm statistics of their own.
    """

    path: Path
    fingerprint: str
    normalized_in: int = 1


@dataclass
class TrainingState:
    """State of a training: everything that changes from step to step.

    Batches, augmentation, dropout and learning rate are functions of the step and not part of the state.

    Attributes:
        network: network in training.
        optimizer: optimizer of its parameters.
        average: averaged weights and running statistics by name, or None to keep those of the last step.
        step: number of completed steps.
        seconds: training time over all runs of this training.
        history: log entries so far, each with its `step`.
        sums: sums of the loss terms since the last log entry.
        counts: number of steps since then that each sum is of; a loss may start or end in between.
    """

    network: nn.Module
    optimizer: torch.optim.Optimizer
    average: dict[str, torch.Tensor] | None
    step: int = 0
    seconds: float = 0.0
    history: list[Metrics] = field(default_factory=list)
    sums: dict[str, torch.Tensor] = field(default_factory=dict)
    counts: dict[str, int] = field(default_factory=dict)
    _moving: MovingAverage | None = field(default=None, init=False, repr=False)

    def update_average(self, decay: float) -> None:
        """Move the averaged weights towards the current ones, by a larger share in the first steps."""
        if self.average is None:
            return
        if self._moving is None:
            self._moving = MovingAverage(self.network, self.average)
        self._moving.move(1 - min(decay, (1 + self.step) / (10 + self.step)))

    def add(self, terms: Mapping[str, torch.Tensor]) -> None:
        """Add the loss terms of a step to the sums since the last log entry."""
        for name, term in terms.items():
            self.counts[name] = self.counts.get(name, 0) + 1
            earlier = self.sums.get(name)
            self.sums[name] = term.detach().clone() if earlier is None else earlier + term.detach()

    def pop_means(self) -> Metrics:
        """Return the means `train/<term>` over the steps with it since the last log entry; start new sums."""
        means = {f"train/{name}": float(total.cpu() / self.counts[name]) for name, total in self.sums.items()}
        self.sums, self.counts = {}, {}
        return means

    def share_sums(self) -> None:
        """Replace the sums of this process by their means over all processes."""
        if process_count() == 1:
            return
        everywhere = gather({name: value.cpu() for name, value in self.sums.items()})
        self.sums = {name: torch.stack([sums[name] for sums in everywhere]).mean(dim=0) for name in self.sums}

    def final_weights(self) -> dict[str, torch.Tensor]:
        """Return the weights that are evaluated and saved: the averaged ones if there are any."""
        return self.network.state_dict() if self.average is None else self.average

    def save(self, checkpoint: Checkpoint) -> None:
        """Write a checkpoint atomically; if that fails, the old one is kept.

        Raises:
            LgadError: the disk is full, the directory is not writable, or a weight is not finite.
        """
        layers = not_finite(self.network.named_parameters())
        if layers:
            raise LgadError(
                f"The weights of {layers} are not finite after step {self.step - 1}; lower the learning rate."
            )
        content = {
            "fingerprint": checkpoint.fingerprint,
            "normalized_in": checkpoint.normalized_in,
            "network": self.network.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "average": self.average,
            "step": self.step,
            "seconds": self.seconds,
            "history": self.history,
            "sums": self.sums,
            "counts": self.counts,
        }
        with atomic_path(checkpoint.path) as temporary, temporary.open("wb") as file:
            try:
                torch.save(pack(content), file)
            except RuntimeError as error:
                if isinstance(error.__context__, OSError):  # torch raises a RuntimeError in its place
                    raise error.__context__ from None
                raise

    def restore(self, checkpoint: Checkpoint) -> bool:
        """Resume from a checkpoint; return False if there is none, or if it has another fingerprint.

        A checkpoint that is damaged or does not fit the network is renamed to its `damaged_name`, with a
        warning; the state is not changed, so that the training starts from the first step.

        Raises:
            LgadError: the file cannot be read now, for instance because the permission is missing, or the
                checkpoint is that of another number of processes, each with its own batch-norm statistics.
            torch.OutOfMemoryError: the memory of the device is in use; RuntimeError or MemoryError: that of
                the machine is, or the device has a fault.
        """
        path = checkpoint.path
        if not path.is_file():
            return False
        try:
            content = self._read(path)
            if content["fingerprint"] != checkpoint.fingerprint:
                _LOG.warning(
                    "%s is of a training with other settings, data or code; this one starts from its first "
                    "step and replaces it.",
                    path,
                )
                return False
            parts = content["normalized_in"]
            if parts != checkpoint.normalized_in:
                raise LgadError(
                    f"{path} was written on {parts} devices that have batch-norm statistics of their own "
                    f"(sync_batch_norm: false), and this training has {checkpoint.normalized_in}; "
                    f"train on {parts} devices, or delete the file to start again."
                )
            self._check(content)
            progress = {name: content[name] for name in ("step", "seconds", "history", "sums", "counts")}
            self.optimizer.load_state_dict(content["optimizer"])
        except (LgadError, torch.OutOfMemoryError, MemoryError):
            raise
        except Exception as error:  # torch.load raises many kinds of errors for damaged bytes
            if isinstance(error, OSError) and error.errno in _PASSING:
                raise os_fault(error, path, "read") from error
            if any(words in str(error) for words in _OF_THE_MACHINE):
                raise
            damaged = path.with_name(damaged_name(path.name))
            path.replace(damaged)
            reason = str(error).splitlines()[0] if str(error) else type(error).__name__
            _LOG.warning(
                "%s is damaged (%s) and now called %s; the training starts again from its first step.",
                path,
                reason,
                damaged.name,
            )
            return False
        self.network.load_state_dict(content["network"])
        self.average, self._moving = content["average"], None
        for name, value in progress.items():
            setattr(self, name, value)
        return True

    def _read(self, path: Path) -> dict[str, Any]:
        device = next(self.network.parameters()).device
        return unpack(torch.load(path, map_location="cpu", weights_only=True), device)

    def _check(self, content: Mapping[str, Any]) -> None:
        """Check the names and shapes of all weights before any of them is loaded."""
        expected = {name: value.shape for name, value in self.network.state_dict().items()}
        for weights in (content["network"], content["average"] or expected):
            if {name: getattr(value, "shape", value) for name, value in weights.items()} != expected:
                raise ValueError("its weights are not those of the network")
