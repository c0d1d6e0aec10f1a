"""Cost of a training step with a distillation loss relative to a plain one: median CPU time of one thread.

python benchmarks/distillation.py enet erfnet resnet18
"""

import statistics
import sys
import tempfile
import time
from pathlib import Path

import torch
from torch import nn

from lgad_pipeline.config.augmentation import AugmentationConfig
from lgad_pipeline.config.distillation import DistillationConfig, SadConfig, default_paths
from lgad_pipeline.config.network import NetworkSpec
from lgad_pipeline.config.training import TrainingConfig
from lgad_pipeline.data.augmentation import augment
from lgad_pipeline.data.loader import Batch
from lgad_pipeline.data.random_amounts import batch_generator
from lgad_pipeline.distillation.losses import DistillationLoss, LgadLoss, SadLoss
from lgad_pipeline.distillation.teacher import teacher_spec
from lgad_pipeline.networks.registry import attention_layers, build_network
from lgad_pipeline.training.cached_attention import CachedAttention, CachedLgadLoss, cache_attention
from lgad_pipeline.training.tasks import StudentTask, total_loss

SIZE, FRAMES, STEPS, WARMUP = (64, 176), 8, 13, 3
KINDS = ("plain", "LGAD, computed", "LGAD, cached", "SAD")


def main(networks: list[str]) -> None:
    torch.set_num_threads(1)
    for name in networks or ["enet"]:
        seconds = step_times(NetworkSpec(name=name, image_size=SIZE))
        for kind, value in seconds.items():
            print(f"{name:10} {kind:16} {1000 * value:8.1f} ms  x {value / seconds['plain']:.2f}")


def step_times(spec: NetworkSpec) -> dict[str, float]:
    batch = Batch(
        [str(number) for number in range(FRAMES)],
        torch.randint(0, 255, (FRAMES, 3, *SIZE), dtype=torch.uint8),
        torch.randint(0, 5, (FRAMES, *SIZE), dtype=torch.uint8),
        torch.ones(FRAMES, 4),
    )
    setups = {kind: set_up(kind, spec, batch) for kind in KINDS}
    times: dict[str, list[float]] = {kind: [] for kind in KINDS}
    for step in range(STEPS):
        for kind, (network, task, optimizer) in setups.items():
            start = time.process_time()
            augmented = augment(batch, AugmentationConfig(), batch_generator(0, step))
            loss = total_loss(task.losses(network.train(), augmented, task.weights(step)))
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            times[kind].append(time.process_time() - start)
    return {kind: statistics.median(values[WARMUP:]) for kind, values in times.items()}


def set_up(
    kind: str, spec: NetworkSpec, batch: Batch
) -> tuple[nn.Module, StudentTask, torch.optim.Optimizer]:
    torch.manual_seed(0)
    network, spec_of_teacher = build_network(spec), teacher_spec(spec)
    network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    layers, config = attention_layers(spec), DistillationConfig()
    losses: dict[str, DistillationLoss] = {}
    if kind.startswith("LGAD"):
        teacher = build_network(spec_of_teacher).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        paths = default_paths(layers)
        if kind.endswith("cached"):
            folder = cache_attention(
                teacher,
                spec_of_teacher,
                layers=layers,
                config=config,
                batches=lambda: [batch],
                root=Path(tempfile.mkdtemp()),
                fingerprint="",
            )
            losses["attention"] = CachedLgadLoss(network, CachedAttention(folder), paths, config)
        else:
            losses["attention"] = LgadLoss(network, teacher, paths, config)
    if kind == "SAD":
        losses["self_attention"] = SadLoss(network, layers, SadConfig(start_step=0))
    optimizer = torch.optim.AdamW(network.parameters(), 1e-3, fused=True)
    return network, StudentTask(TrainingConfig(), losses), optimizer


if __name__ == "__main__":
    main(sys.argv[1:])
