"""Time of a whole training step on one thread of a CPU, against plain float32 loops.

    python benchmarks/training_step.py [--enet-sad FOLDER] [--networks enet resnet18 erfnet] [--rounds 5]

A step goes from an augmented batch to updated weights. Ours is the step of the training loop, with the
precision that `auto` resolves to on this machine, and in float32. A plain loop is what public repositories
write: NCHW, float32, Adam, the loss read at every step. FOLDER is a clone of
github.com/InhwanBae/ENet-SAD_Pytorch; its network is timed at 288 x 800 with batches of 4, its own losses and
optimizer, without SAD. All steps are timed in turn, in every round, by processor time, so that other
processes disturb ratios little.
"""

import argparse
import itertools
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import torch
from torch import nn

from lgad_pipeline.config.network import NetworkSpec
from lgad_pipeline.config.training import Precision, TrainingConfig
from lgad_pipeline.data.loader import Batch
from lgad_pipeline.networks.registry import build_network
from lgad_pipeline.training.checkpoint import TrainingState
from lgad_pipeline.training.device import resolve_precision
from lgad_pipeline.training.fabric import build_fabric
from lgad_pipeline.training.loop import TrainingStep
from lgad_pipeline.training.optimizer import build_optimizer
from lgad_pipeline.training.tasks import StudentTask

Step = Callable[[], object]


def main() -> None:
    """Time the steps and print milliseconds and ratios."""
    parser = argparse.ArgumentParser(description="Time of a training step on one thread.")
    parser.add_argument("--enet-sad", type=Path, help="clone of ENet-SAD_Pytorch")
    parser.add_argument("--networks", nargs="*", default=["enet", "resnet18", "erfnet"])
    parser.add_argument("--rounds", type=int, default=5)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    resolved = resolve_precision("auto", torch.device("cpu"))
    print(f"torch {torch.__version__}, one thread; precision auto is {resolved}", flush=True)
    if arguments.enet_sad:
        batch = random_batch(4, (288, 800))
        steps = {
            "auto": own_step("enet", batch, "auto"),
            "float32": own_step("enet", batch, "32-true"),
            "ENet-SAD_Pytorch": enet_sad_step(arguments.enet_sad, batch),
        }
        compare("enet, 288 x 800, 4 frames", steps, arguments.rounds)
    batch = random_batch(16, (80, 256))
    for name in arguments.networks:
        steps = {
            "auto": own_step(name, batch, "auto"),
            "float32": own_step(name, batch, "32-true"),
            "plain float32 loop": plain_step(name, batch),
        }
        compare(f"{name}, 80 x 256, 16 frames", steps, arguments.rounds)


def compare(title: str, steps: dict[str, Step], rounds: int) -> None:
    """Time steps in turn; print the median of each, and the ratio of the last one to the others."""
    seconds: dict[str, list[float]] = {name: [] for name in steps}
    for number in range(-2, rounds):  # the first two rounds warm up
        for name, step in steps.items():
            started = time.process_time()
            step()
            if number >= 0:
                seconds[name].append(time.process_time() - started)
    reference = np.array(seconds[list(steps)[-1]])
    for name, values in seconds.items():
        low, ratio, high = np.quantile(reference / np.array(values), [0.25, 0.5, 0.75])
        print(
            f"{title:28} {name:20} {1e3 * np.median(values):8.1f} ms  "
            f"{ratio:5.2f} times faster (quartiles {low:.2f} and {high:.2f})",
            flush=True,
        )


def random_batch(frames: int, size: tuple[int, int]) -> Batch:
    """Return a batch of noise with labels of five classes."""
    torch.manual_seed(0)
    return Batch(
        [str(number) for number in range(frames)],
        torch.randint(0, 255, (frames, 3, *size), dtype=torch.uint8),
        torch.randint(0, 5, (frames, *size), dtype=torch.uint8),
        torch.ones(frames, 4),
    )


def own_step(name: str, batch: Batch, precision: Precision) -> Step:
    """Return the step of the training loop on a batch."""
    torch.manual_seed(0)
    size = (int(batch.image.shape[2]), int(batch.image.shape[3]))
    network = build_network(NetworkSpec(name=name, image_size=size))
    network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    config, device = TrainingConfig(), torch.device("cpu")
    optimizer = build_optimizer(config.optimizer, network.parameters())
    average = {key: value.clone() for key, value in network.state_dict().items()}
    fabric = build_fabric(device, resolve_precision(precision, device))
    wrapped, wrapped_optimizer = fabric.setup(network, optimizer)
    step = TrainingStep(
        fabric,
        StudentTask(config),
        wrapped,
        wrapped_optimizer,
        config=config,
        state=TrainingState(network, optimizer, average),
        augment=lambda augmented: augmented,
    )
    return lambda: step(batch)


def plain_step(name: str, batch: Batch) -> Step:
    """Return the step of a plain float32 loop on a batch."""
    torch.manual_seed(0)
    size = (int(batch.image.shape[2]), int(batch.image.shape[3]))
    network = build_network(NetworkSpec(name=name, image_size=size))
    loop = plain_loop(network, itertools.repeat(batch), "cpu")
    return lambda: next(loop)


def plain_loop(network: nn.Module, batches: Iterator[Batch], device: str) -> Iterator[None]:
    """Train as the public repositories do: float32, Adam, loss read at every step; one step per item."""
    network.to(device).train()
    optimizer = torch.optim.Adam(network.parameters(), 1e-3)
    weight = torch.tensor([0.4, 1, 1, 1, 1], device=device)
    mean = torch.tensor([0.485, 0.456, 0.406], device=device).view(1, 3, 1, 1)
    for batch in batches:
        image = batch.image.to(device).float() / 255 - mean
        output = network(image.contiguous())
        loss = nn.functional.cross_entropy(output.logits, batch.label.to(device).long(), weight)
        loss = loss + 0.1 * nn.functional.binary_cross_entropy_with_logits(
            output.existence, batch.existence.to(device)
        )
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        loss.item()
        yield


def enet_sad_step(folder: Path, batch: Batch) -> Step:
    """Return the step of ENet-SAD_Pytorch's `train.py` on a batch."""
    sys.path.insert(0, str(folder))
    from model_ENET_SAD import ENet_SAD  # type: ignore[import-not-found]

    torch.manual_seed(0)
    network = ENet_SAD((batch.image.shape[3], batch.image.shape[2]), sad=False).train()
    optimizer = torch.optim.SGD(network.parameters(), lr=1e-2, momentum=0.9, weight_decay=2e-5, nesterov=True)
    image = (batch.image.float() / 255 - 0.36) / 0.26
    label, existence = batch.label.long(), batch.existence

    def step() -> float:
        optimizer.zero_grad()
        loss = network(image, label, existence, False)[-1].sum()
        loss.backward()
        optimizer.step()
        return loss.item()

    return step


if __name__ == "__main__":
    main()
