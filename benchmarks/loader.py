"""Frames a second, ready for the network: shards against original JPEGs, with the same kinds of changes.

    python benchmarks/loader.py [/data/CULane]

Both sides end with a normalized float32 batch and its label map. `plain.py` says what the plain loader does.
Ours decodes the shards' JPEGs and PNGs at training size and augments whole batches, in as many threads as the
plain loader has processes. Rounds of both alternate, so that another load on the machine falls on both; where
there is much of that, the processor time of a frame tells more than frames a second.
Without a data set, frames of CULane's size are rendered.
"""

import argparse
import tempfile
import time
from collections.abc import Callable, Iterable
from functools import partial
from pathlib import Path
from statistics import median

import cv2
import torch
from plain import Plain
from torch.utils.data import DataLoader, default_collate

from lgad_pipeline.config.augmentation import AugmentationConfig
from lgad_pipeline.config.network import NetworkSpec
from lgad_pipeline.config.synthetic import SyntheticConfig
from lgad_pipeline.config.training import TrainingConfig
from lgad_pipeline.data.augmentation import augment
from lgad_pipeline.data.ingestion import ingest
from lgad_pipeline.data.lane_labels import assign_lane_slots, slot_lanes_of
from lgad_pipeline.data.loader import Batch, Loader
from lgad_pipeline.data.normalization import normalize
from lgad_pipeline.data.random_amounts import batch_generator
from lgad_pipeline.data.shard_split import ShardSplit
from lgad_pipeline.data.shards import pack_shards
from lgad_pipeline.lanes.rendering.label_map import label_map
from lgad_pipeline.networks.registry import build_network
from lgad_pipeline.synthetic.dataset_writer import write_dataset
from lgad_pipeline.training.tasks import StudentTask
from lgad_pipeline.view import View

BATCH = 12
FRAME_SIZE, IMAGE_SIZE = (590, 1640), (288, 800)
_OFF = {name: 0.0 for name in AugmentationConfig.model_fields if name != "min_lane_pixels"}
_GEOMETRY = AugmentationConfig.model_validate({**_OFF, "flip": 0.5, "rotation": 3.0})
# The changes on both sides, and whether the plain loader takes RESA's way through float images.
COMPARISONS = {
    "flip and rotation, plain as RESA has it": (_GEOMETRY, True),
    "flip and rotation, plain in uint8": (_GEOMETRY, False),
    "all changes, plain in uint8": (AugmentationConfig(), False),
}


def ready(config: AugmentationConfig, batch: Batch, number: int) -> Batch:
    """Return the batch as the network reads it: augmented and normalized."""
    changed = augment(batch, config, batch_generator(0, number))
    return Batch(changed.frames, normalize(changed.image), changed.label, changed.existence)


def rate(batches: Iterable[object], count: int) -> float:
    """Frames a second over `count` batches after two, which start the workers and fill their queue."""
    stream = iter(batches)
    for _ in range(2):
        next(stream)
    start = time.perf_counter()
    for _ in range(count):
        next(stream)
    return count * BATCH / (time.perf_counter() - start)


def cost(make: Callable[[int], object], count: int) -> float:
    """Processor time of a frame, milliseconds, over `count` batches made in this thread after a first one."""
    make(0)
    start = time.process_time()
    for number in range(1, count + 1):
        make(number)
    return (time.process_time() - start) * 1000 / (count * BATCH)


def costs(plain: Plain, split: ShardSplit, choice: argparse.Namespace) -> None:
    """Print what a frame costs on both sides."""

    def slowly(number: int) -> object:
        frames = [(number * BATCH + place) % len(plain) for place in range(BATCH)]
        return default_collate([plain[index] for index in frames])

    for name, (plain.config, plain.floats) in COMPARISONS.items():
        config = plain.config
        ours = Loader(split, BATCH, seed=0, finish=partial(ready, config))
        rounds = [
            (cost(slowly, choice.rounds), cost(ours.batch, choice.rounds)) for _ in range(choice.rounds)
        ]
        slow, fast = (median(values) for values in zip(*rounds, strict=True))
        ratio = median(slow / fast for slow, fast in rounds)
        print(f"{name}: processor time of a frame {slow:.1f} ms plain, {fast:.1f} ms shards, {ratio:.1f} x")
    alone = median(cost(Loader(split, BATCH, seed=0).batch, choice.rounds) for _ in range(choice.rounds))
    print(f"decoding and batching alone: {alone:.1f} ms shards")


def compare(plain: Plain, split: ShardSplit, choice: argparse.Namespace) -> None:
    """Print frames a second of both sides with each kind of changes."""
    count = choice.batches
    # Epochs one after the other, so that both have enough frames.
    order = [index for _ in range(1 + count * BATCH // len(plain)) for index in range(len(plain))] * 2
    for name, (plain.config, plain.floats) in COMPARISONS.items():
        config = plain.config
        rounds = []
        for _ in range(choice.rounds):
            reference = DataLoader(plain, BATCH, sampler=order, num_workers=choice.workers)
            ours = Loader(split, BATCH, seed=0, workers=choice.workers, finish=partial(ready, config))
            rounds.append((rate(reference, count), rate(ours.batches(0, count + 2), count)))
        slow, fast = (median(values) for values in zip(*rounds, strict=True))
        ratio = median(fast / slow for slow, fast in rounds)
        print(f"{name}: plain {slow:.0f} frames/s, shards {fast:.0f} frames/s, {ratio:.1f} x")


def waiting(split: ShardSplit, workers: int, steps: int) -> None:
    """Print which share of an ENet training step is spent waiting for its batch."""
    network = build_network(NetworkSpec(name="enet", image_size=IMAGE_SIZE))
    optimizer = torch.optim.SGD(network.parameters(), lr=0.01)
    task = StudentTask(TrainingConfig())

    def finish(batch: Batch, number: int) -> Batch:
        return augment(batch, AugmentationConfig(), batch_generator(0, number))

    stream = Loader(split, BATCH, seed=0, workers=workers, finish=finish).batches(0, steps + 1)
    waits, wholes = [], []
    for _ in range(steps + 1):
        start = time.perf_counter()
        batch = next(stream)
        waits.append(time.perf_counter() - start)
        loss = torch.stack([term.value for term in task.losses(network, batch, {})]).sum()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        wholes.append(time.perf_counter() - start)
    waited, whole = sum(waits[1:]), sum(wholes[1:])
    print(
        f"ENet at {IMAGE_SIZE[0]} x {IMAGE_SIZE[1]}, batches of {BATCH}: {steps / whole:.2f} steps/s on the "
        f"CPU, {waited / whole:.2%} of the time waiting for data ({waited / steps * 1000:.0f} ms a step)"
    )


def main() -> None:
    """Print frames a second of both loaders, their ratios, and the wait of a training."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("root", type=Path, nargs="?", help="a data set in CULane's layout")
    parser.add_argument("--workers", type=int, default=2, help="threads, or processes of the plain loader")
    parser.add_argument("--batches", type=int, default=16, help="batches in a round")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--steps", type=int, default=5, help="of ENet")
    choice = parser.parse_args()
    cv2.setNumThreads(1)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        root = choice.root or folder / "world"
        if not choice.root:
            write_dataset(root, SyntheticConfig(train=96, val=0, test=0))
        frames = ingest(root).frames
        frames = frames[frames["split"] == "train"].head(192).reset_index(drop=True)
        labels = assign_lane_slots(frames)
        packed = pack_shards(
            frames,
            labels,
            root=root,
            output=folder / "shards",
            view=View(FRAME_SIZE, IMAGE_SIZE),
            lane_width=16,
        )
        for index, row in enumerate(labels.itertuples()):
            cv2.imwrite(f"{folder}/{index}.png", label_map(slot_lanes_of(row)))
        plain = Plain(root, frames["frame"].tolist(), folder, IMAGE_SIZE)
        # The loaders' threads are the parallelism; a training has the threads that are left.
        torch.set_num_threads(1)
        costs(plain, packed["train"], choice)
        compare(plain, packed["train"], choice)
        waiting(packed["train"], choice.workers, choice.steps)


if __name__ == "__main__":
    main()
