"""Job in double precision: its rounding is far below every difference that a test looks for.

Run as `python -m tests.support.double_precision JOB`, alone or as one of several processes.
"""

import sys
import threading
from pathlib import Path
from typing import Any

import torch
from torch import nn

from lgad_pipeline.distillation.registry import build_loss
from lgad_pipeline.networks.checkpoint import load_network
from lgad_pipeline.networks.registry import build_network
from lgad_pipeline.training import run_job, student_losses, trainer


def in_double(network: nn.Module) -> nn.Module:
    """Return the network with weights and inputs of float64."""
    network.register_forward_pre_hook(lambda module, inputs: (inputs[0].double(),))
    return network.double()


def main(job: Path) -> int:
    """Run a job with every tensor of the losses and networks in float64."""
    single = torch.Tensor.float

    def converted(tensor: torch.Tensor) -> torch.Tensor:
        """Return float64 in the training loop, and float32 in the threads that augment."""
        in_loop = threading.current_thread() is threading.main_thread()
        return tensor.double() if in_loop else single(tensor)

    torch.Tensor.float = converted  # type: ignore[assignment]

    def loaded(folder: Path) -> Any:
        network, spec = load_network(folder)
        return in_double(network), spec

    trainer.build_network = student_losses.build_network = lambda spec: in_double(build_network(spec))
    student_losses.load_network = loaded

    def built(*arguments: Any) -> Any:
        loss = build_loss(*arguments)
        if loss.companion is not None:
            loss.companion.double()
        return loss

    student_losses.build_loss = built
    return run_job.main(job)


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
