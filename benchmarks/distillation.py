"""What a distilled step costs over a plain one: processor time of one thread, kinds interleaved, medians.

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
from lgad_pipeline.data.augmentation import augment, batch_generator
from lgad_pipeline.data.loader import Batch
from lgad_pipeline.distillation.lessons import Lesson
from lgad_pipeline.distillation.lgad import LgadLoss
from lgad_pipeline.distillation.sad import SadLoss
from lgad_pipeline.distillation.stored import CachedAttention, store_attention
from lgad_pipeline.distillation.teacher import TeacherAttention, teacher_spec
from lgad_pipeline.networks.registry import attention_layers, build_network
from lgad_pipeline.training.tasks import StudentTask

SIZE, FRAMES, STEPS, WARMUP = (64, 176), 8, 13, 3
KINDS = ("plain", "LGAD, computed", "LGAD, stored", "SAD")


def main(networks: list[str]) -> None:
    torch.set_num_threads(1)
    for name in networks or ["enet"]:
        seconds = measured(NetworkSpec(name=name, image_size=SIZE))
        for kind, value in seconds.items():
            print(f"{name:10} {kind:16} {1000 * value:8.1f} ms  x {value / seconds['plain']:.2f}")


def measured(spec: NetworkSpec) -> dict[str, float]:
    batch = Batch(
        [str(number) for number in range(FRAMES)],
        torch.randint(0, 255, (FRAMES, 3, *SIZE), dtype=torch.uint8),
        torch.randint(0, 5, (FRAMES, *SIZE), dtype=torch.uint8),
        torch.ones(FRAMES, 4),
    )
    learners = {kind: learner(kind, spec, batch) for kind in KINDS}
    times: dict[str, list[float]] = {kind: [] for kind in KINDS}
    for step in range(STEPS):
        for kind, (network, task, optimizer) in learners.items():
            start = time.process_time()
            changed = augment(batch, AugmentationConfig(), batch_generator(0, step))
            terms, weights = task.losses(network.train(), changed, step), task.weights(step)
            optimizer.zero_grad()
            torch.stack([weights[name] * term for name, term in terms.items()]).sum().backward()
            optimizer.step()
            times[kind].append(time.process_time() - start)
    return {kind: statistics.median(values[WARMUP:]) for kind, values in times.items()}


def learner(
    kind: str, spec: NetworkSpec, batch: Batch
) -> tuple[nn.Module, StudentTask, torch.optim.Optimizer]:
    torch.manual_seed(0)
    network, theirs = build_network(spec), teacher_spec(spec)
    network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    layers, config = attention_layers(spec), DistillationConfig()
    lessons: dict[str, Lesson] = {}
    if kind.startswith("LGAD"):
        teacher = build_network(theirs).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        source = TeacherAttention(teacher, theirs, layers, config)
        if kind.endswith("stored"):
            folder = Path(tempfile.mkdtemp())
            source = CachedAttention(
                store_attention(teacher, theirs, layers, config, lambda: [batch], folder, "")
            )
        lessons["attention"] = LgadLoss(network, source, default_paths(layers), config)
    if kind == "SAD":
        lessons["self_attention"] = SadLoss(network, layers, SadConfig(start_step=0))
    optimizer = torch.optim.AdamW(network.parameters(), 1e-3, fused=True)
    return network, StudentTask(TrainingConfig(), lessons), optimizer


if __name__ == "__main__":
    main(sys.argv[1:])
