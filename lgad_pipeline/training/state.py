"""Everything that a training is at one moment, and how it survives a killed process."""

from dataclasses import dataclass, field
from pathlib import Path

import torch
from torch import nn

from lgad_pipeline.files import atomic_path
from lgad_pipeline.training.packing import pack, unpack

Metrics = dict[str, float]


@dataclass
class TrainingState:
    """What changes while a network trains.

    Batches, augmentation, dropout and learning rate follow from the step and are no part of it.

    Attributes:
        network: being trained.
        optimizer: its optimizer.
        average: averaged weights and running statistics by name, or None where the last ones are kept.
        step: steps done.
        seconds: time spent, over all runs of this training.
        history: log entries so far, each with its `step`.
        sums: of the loss terms since the last log entry.
    """

    network: nn.Module
    optimizer: torch.optim.Optimizer
    average: dict[str, torch.Tensor] | None
    step: int = 0
    seconds: float = 0.0
    history: list[Metrics] = field(default_factory=list)
    sums: dict[str, torch.Tensor] = field(default_factory=dict)

    @torch.no_grad()
    def update_average(self, decay: float) -> None:
        """Move the averaged weights towards the present ones; faster in the first steps."""
        if self.average is None:
            return
        rate = 1 - min(decay, (1 + self.step) / (10 + self.step))
        for name, value in self.network.state_dict().items():
            if value.is_floating_point():
                self.average[name].lerp_(value, rate)
            else:
                self.average[name].copy_(value)

    def final_weights(self) -> dict[str, torch.Tensor]:
        """Return the weights that are evaluated and kept."""
        return self.network.state_dict() if self.average is None else self.average

    def save(self, path: Path, fingerprint: str) -> None:
        """Write a checkpoint in one step."""
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
        with atomic_path(path) as beside:
            torch.save(pack(content), beside)

    def restore(self, path: Path, fingerprint: str) -> bool:
        """Take up a checkpoint; False if there is none, or if it belongs to a training with other inputs."""
        if not path.is_file():
            return False
        device = next(self.network.parameters()).device
        content = unpack(torch.load(path, map_location="cpu", weights_only=True), device)
        if content["fingerprint"] != fingerprint:
            return False
        self.network.load_state_dict(content["network"])
        self.optimizer.load_state_dict(content["optimizer"])
        self.average = content["average"]
        self.step = content["step"]
        self.seconds = content["seconds"]
        self.history = content["history"]
        self.sums = content["sums"]
        return True
