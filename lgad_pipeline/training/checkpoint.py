"""Training state: what changes while a network trains, and its checkpoints."""

import logging
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import nn

from lgad_pipeline.atomic_files import atomic_path
from lgad_pipeline.errors import LgadError, os_fault
from lgad_pipeline.training.average import MovingAverage
from lgad_pipeline.training.finite import not_finite
from lgad_pipeline.training.tensor_packing import pack, unpack

Metrics = dict[str, float]
_LOG = logging.getLogger(__name__)


def damaged_name(checkpoint: str) -> str:
    """Return the file name that a damaged checkpoint gets."""
    return f"{checkpoint}.damaged"


@dataclass
class TrainingState:
    """What changes while a network trains.

    Batches, augmentation, dropout and learning rate follow from the step and are no part of it.

    Attributes:
        network: The network in training.
        optimizer: Its optimizer.
        average: Averaged weights and running statistics by name, or None where the last ones are kept.
        step: Number of steps done.
        seconds: Time spent, over all runs of this training.
        history: Log entries so far, each with its `step`.
        sums: Sums of the loss terms since the last log entry.
    """

    network: nn.Module
    optimizer: torch.optim.Optimizer
    average: dict[str, torch.Tensor] | None
    step: int = 0
    seconds: float = 0.0
    history: list[Metrics] = field(default_factory=list)
    sums: dict[str, torch.Tensor] = field(default_factory=dict)
    _moving: MovingAverage | None = field(default=None, init=False, repr=False)

    def update_average(self, decay: float) -> None:
        """Move the averaged weights towards the present ones; faster in the first steps."""
        if self.average is None:
            return
        if self._moving is None:
            self._moving = MovingAverage(self.network, self.average)
        self._moving.move(1 - min(decay, (1 + self.step) / (10 + self.step)))

    def final_weights(self) -> dict[str, torch.Tensor]:
        """Return the weights that are evaluated and kept."""
        return self.network.state_dict() if self.average is None else self.average

    def save(self, path: Path, fingerprint: str) -> None:
        """Write a checkpoint in one step; the old one stays if that fails.

        Raises:
            LgadError: the disk is full or the folder cannot be written to, or a weight is not finite.
        """
        broken = not_finite(self.network.named_parameters())
        if broken:
            raise LgadError(
                f"The weights of {broken} are not finite after step {self.step - 1}; lower the learning rate."
            )
        content = {
            "fingerprint": fingerprint,
            "network": self.network.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "average": self.average,
            "step": self.step,
            "seconds": self.seconds,
            "history": self.history,
            "sums": self.sums,
        }
        with atomic_path(path) as temporary, temporary.open("wb") as file:
            try:
                torch.save(pack(content), file)
            except RuntimeError as error:
                if isinstance(error.__context__, OSError):  # torch hides it behind an error of its own
                    raise error.__context__ from None
                raise

    def restore(self, path: Path, fingerprint: str) -> bool:
        """Continue from a checkpoint; False if there is none, or if it belongs to other inputs.

        A checkpoint that is damaged or does not fit the network gets its `damaged_name`, with a
        warning; the state stays as it was, so that the training starts again.

        Raises:
            LgadError: the file may not be read.
        """
        if not path.is_file():
            return False
        try:
            content = self._read(path)
            if content["fingerprint"] != fingerprint:
                return False
            self._check(content)
            progress = {name: content[name] for name in ("step", "seconds", "history", "sums")}
            self.optimizer.load_state_dict(content["optimizer"])
        except PermissionError as error:
            raise os_fault(error, path, "read") from error
        except Exception as error:  # torch.load lets through whatever damaged bytes cause
            damaged = path.with_name(damaged_name(path.name))
            path.replace(damaged)
            reason = str(error).splitlines()[0] if str(error) else type(error).__name__
            _LOG.warning(
                "%s is damaged (%s); it is now called %s, and the training starts again from its first step.",
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
        """Refuse weights of other names or shapes before any of them is loaded."""
        expected = {name: value.shape for name, value in self.network.state_dict().items()}
        for weights in (content["network"], content["average"] or expected):
            if {name: getattr(value, "shape", value) for name, value in weights.items()} != expected:
                raise ValueError("its weights are not those of the network")
