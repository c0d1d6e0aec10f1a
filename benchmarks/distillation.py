"""Cost of a training step with a distillation loss relative to a plain one: processor time of one thread.

    python benchmarks/distillation.py enet erfnet resnet18 [--precision auto] [--size 80 256] [--frames 16]
    python benchmarks/distillation.py enet --layers encoder.stage1 encoder.stage2 encoder.stage3

The kinds of steps are timed in turn, in every round; printed are the median and the median of the ratios.
"""

import argparse
import statistics
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import torch
from torch import nn

from lgad_pipeline.config.augmentation import AugmentationConfig
from lgad_pipeline.config.distillation import (
    DistillationConfig,
    LabelHeadConfig,
    LogitsConfig,
    MimickingPath,
    SadConfig,
)
from lgad_pipeline.config.network import NetworkSpec
from lgad_pipeline.config.training import TrainingConfig
from lgad_pipeline.data.augmentation import augment
from lgad_pipeline.data.loader import Batch
from lgad_pipeline.data.random_amounts import batch_generator
from lgad_pipeline.distillation.controls import LabelHead
from lgad_pipeline.distillation.losses import (
    CachedLgadLoss,
    DistillationLoss,
    LgadLoss,
    LogitsLoss,
    SadLoss,
)
from lgad_pipeline.distillation.teacher import teacher_spec
from lgad_pipeline.networks.folding import fold_batch_norms
from lgad_pipeline.networks.registry import attention_layers, build_network
from lgad_pipeline.training.cached_attention import CachedAttention, cache_attention
from lgad_pipeline.training.device import resolve_precision
from lgad_pipeline.training.tasks import StudentTask, total_loss

WARMUP = 2
KINDS = (
    "plain",
    "LGAD, computed",
    "LGAD, balanced",
    "LGAD, stride 2",
    "LGAD, cached",
    "SAD",
    "logits",
    "label head",
)


def main() -> None:
    """Print the time of each kind of step and its ratio to the plain one."""
    parser = argparse.ArgumentParser(description="Cost of distillation losses on one thread.")
    parser.add_argument("networks", nargs="*", default=["enet"])
    parser.add_argument("--precision", default="auto", choices=["auto", "32-true", "bf16-mixed"])
    parser.add_argument("--size", type=int, nargs=2, default=(80, 256), metavar=("HEIGHT", "WIDTH"))
    parser.add_argument("--frames", type=int, default=16)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--layers", nargs="*", help="layers that mimic the same layer of the teacher")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    precision = resolve_precision(arguments.precision, torch.device("cpu"))
    print(
        f"{precision}, {arguments.frames} frames of {arguments.size[0]} x {arguments.size[1]} px", flush=True
    )
    for name in arguments.networks:
        spec = NetworkSpec(name=name, image_size=tuple(arguments.size))
        layers = arguments.layers or attention_layers(spec)
        seconds = step_times(
            spec, layers, frames=arguments.frames, rounds=arguments.rounds, bfloat16=precision == "bf16-mixed"
        )
        for kind, values in seconds.items():
            ratios = [value / plain for value, plain in zip(values, seconds["plain"], strict=True)]
            print(
                f"{name:10} {kind:16} {1000 * statistics.median(values):8.1f} ms  "
                f"x {statistics.median(ratios):.2f}",
                flush=True,
            )


def step_times(
    spec: NetworkSpec, layers: Sequence[str], *, frames: int, rounds: int, bfloat16: bool
) -> dict[str, list[float]]:
    """Return the processor time of each kind of step in each round, seconds."""
    height, width = spec.image_size
    batch = Batch(
        [str(number) for number in range(frames)],
        torch.randint(0, 255, (frames, 3, height, width), dtype=torch.uint8),
        torch.randint(0, 5, (frames, height, width), dtype=torch.uint8),
        torch.ones(frames, 4),
    )
    setups = {kind: set_up(kind, spec, layers, batch) for kind in KINDS}
    times: dict[str, list[float]] = {kind: [] for kind in KINDS}
    for step in range(-WARMUP, rounds):
        for kind, (network, task, optimizer) in setups.items():
            start = time.process_time()
            augmented = augment(batch, AugmentationConfig(), batch_generator(0, max(step, 0)))
            with torch.autocast("cpu", torch.bfloat16, enabled=bfloat16):
                loss = total_loss(task.losses(network.train(), augmented, task.weights(max(step, 0))))
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            if step >= 0:
                times[kind].append(time.process_time() - start)
    return times


def set_up(
    kind: str, spec: NetworkSpec, layers: Sequence[str], batch: Batch
) -> tuple[nn.Module, StudentTask, torch.optim.Optimizer]:
    """Return a network in training, its task with the losses of the kind, and its optimizer."""
    torch.manual_seed(0)
    stride = 2 if kind.endswith("stride 2") else 1
    network, spec_of_teacher = build_network(spec), teacher_spec(spec, stride=stride)
    network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    config = DistillationConfig(balance=0.3 if kind.endswith("balanced") else None)
    losses: dict[str, DistillationLoss] = {}
    if kind.startswith("LGAD"):
        teacher = fold_batch_norms(build_network(spec_of_teacher).eval())
        teacher.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        paths = [MimickingPath(student=layer, teacher=layer) for layer in layers]
        if kind.endswith("cached"):
            folder = cache_attention(
                teacher,
                spec_of_teacher,
                layers=layers,
                config=config,
                batches=lambda: [batch],
                count=len(batch.frames),
                root=Path(tempfile.mkdtemp()),
                fingerprint="",
            )
            losses["attention"] = CachedLgadLoss(network, CachedAttention(folder), paths, config)
        else:
            losses["attention"] = LgadLoss(network, teacher, paths, config, stride=stride)
    if kind == "SAD":
        losses["self_attention"] = SadLoss(network, layers, SadConfig(start_step=0))
    if kind == "logits":
        model = fold_batch_norms(build_network(spec).eval())
        model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        losses["logits"] = LogitsLoss(model, LogitsConfig())
    if kind == "label head":
        losses["label_head"] = LabelHead(network, spec, layers, LabelHeadConfig())
    companions = [loss.companion for loss in losses.values() if loss.companion is not None]
    parameters = [p for module in (network, *companions) for p in module.parameters()]
    optimizer = torch.optim.AdamW(parameters, 1e-3, fused=True)
    return network, StudentTask(TrainingConfig(), losses), optimizer


if __name__ == "__main__":
    main()
