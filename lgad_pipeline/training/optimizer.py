"""Optimizer and learning rate.

The learning rate is a pure function of the step, so that a checkpoint needs no state of a scheduler.
"""

import math
from collections.abc import Iterable

import torch

from lgad_pipeline.config.training import OptimizerConfig


def learning_rate(config: OptimizerConfig, step: int, steps: int) -> float:
    """Return the learning rate of `step`, 0 <= step < steps.

    - one_cycle: half a cosine up from 1/25 of the highest rate, half a cosine down to 1/1000 of it (Smith and
      Topin, "Super-convergence", 2018; the shape of `torch.optim.lr_scheduler.OneCycleLR`).
    - poly: linear up, then (1 - progress)^0.9 (PytorchAutoDrive's and SCNN's CULane recipes).
    """
    warmup, highest = config.warmup_steps, config.learning_rate
    if step < warmup:
        up = (step + 1) / (warmup + 1)
        if config.schedule == "poly":
            return highest * up
        return _cosine(highest / 25, highest, up)
    progress = (step - warmup) / (steps - warmup)
    if config.schedule == "poly":
        return highest * (1 - progress) ** 0.9
    return _cosine(highest, highest / 1000, progress)


def _cosine(start: float, end: float, progress: float) -> float:
    return end + (start - end) * (1 + math.cos(math.pi * progress)) / 2


def build_optimizer(
    config: OptimizerConfig, parameters: Iterable[torch.nn.Parameter]
) -> torch.optim.Optimizer:
    """Build the optimizer; the training loop sets its learning rate at every step.

    Weight decay acts on the weights of convolutions and linear layers. Parameters of one dimension
    (normalization layers, slopes of PReLU, biases) are excluded: they set the scale of a layer's output,
    which decay would shrink to zero.
    """
    by_decay: dict[bool, list[torch.nn.Parameter]] = {True: [], False: []}
    for parameter in parameters:
        by_decay[parameter.dim() > 1].append(parameter)
    groups = [
        {"params": members, "weight_decay": config.weight_decay if decays else 0.0}
        for decays, members in by_decay.items()
        if members
    ]
    if config.name == "sgd":
        return torch.optim.SGD(
            groups,
            config.learning_rate,
            momentum=config.momentum,
            nesterov=config.momentum > 0,
            fused=groups[0]["params"][0].is_cuda,
        )
    return torch.optim.AdamW(
        groups,
        config.learning_rate,
        betas=(config.momentum, 0.999),
        fused=True,
    )
