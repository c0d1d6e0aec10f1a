"""Accuracy of a teacher on TuSimple's label maps: mean lane IoU on validation labels. No images are needed.

python benchmarks/teacher.py LABELS [--encoding binary] [--network erfnet] [--steps 400] [--size 144 256]
"""

import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

import numpy as np
import torch
import typer
from lightning_fabric import Fabric
from rich.progress import track

from lgad_pipeline.config.augmentation import AugmentationConfig
from lgad_pipeline.config.distillation import LabelEncoding, TeacherInputConfig
from lgad_pipeline.config.network import NetworkSpec
from lgad_pipeline.config.training import OptimizerConfig, TrainingConfig
from lgad_pipeline.data.augmentation import augment
from lgad_pipeline.data.batch_order import BatchOrder
from lgad_pipeline.data.loader import Batch
from lgad_pipeline.data.random_amounts import batch_generator
from lgad_pipeline.datasets import tusimple
from lgad_pipeline.distillation.teacher import teacher_spec
from lgad_pipeline.lanes.rendering.label_map import label_map
from lgad_pipeline.lanes.slots import assign_slots
from lgad_pipeline.networks.registry import build_network
from lgad_pipeline.settings import TusimpleDataset
from lgad_pipeline.training.checkpoint import Checkpoint
from lgad_pipeline.training.loop import fit
from lgad_pipeline.training.tasks import TeacherTask
from lgad_pipeline.training.training_data import TrainingData
from lgad_pipeline.view import View

_IMAGE_ONLY = (
    "brightness",
    "contrast",
    "tone",
    "saturation",
    "colour",
    "noise",
    "blur",
    "erasing",
    "shadow",
    "glare",
)
GEOMETRY = AugmentationConfig(**dict.fromkeys(_IMAGE_ONLY, 0.0))


def main(
    labels: Annotated[Path, typer.Argument(help="Folder of TuSimple's label_data_*.json.")],
    encoding: Annotated[LabelEncoding, typer.Option(help="one_hot, gray or binary.")] = "one_hot",
    network: Annotated[str, typer.Option(help="Name of the network.")] = "enet",
    steps: Annotated[int, typer.Option(help="Optimizer steps of 8 label maps.")] = 400,
    size: Annotated[tuple[int, int], typer.Option(help="Height and width, pixels.")] = (144, 256),
    lane_width: Annotated[int, typer.Option(help="Width of drawn lanes, frame pixels.")] = 20,
    threads: Annotated[int, typer.Option(help="Number of CPU threads.")] = 1,
) -> None:
    torch.set_num_threads(threads)
    dataset = TusimpleDataset.model_validate(
        {"kind": "tusimple", "root": labels, "image_size": size, "lane_width": lane_width}
    )
    maps = draw_label_maps(dataset)
    teacher_input = TeacherInputConfig(encoding=encoding)
    spec = teacher_spec(NetworkSpec(name=network, image_size=size), encoding)
    config = TrainingConfig(
        steps=steps, batch_size=8, validate_every=200, optimizer=OptimizerConfig(learning_rate=0.01)
    )
    data = TrainingData(
        lambda start, stop: (
            augment(batch, GEOMETRY, batch_generator(config.seed, step))
            for step, batch in enumerate(batches(maps["train"], config, start, stop), start)
        ),
        lambda batch: batch,
        lambda: (batch_of(maps["val"][start : start + 16]) for start in range(0, len(maps["val"]), 16)),
    )
    torch.manual_seed(config.seed)
    task = TeacherTask(config, spec.slots, teacher_input)
    with tempfile.TemporaryDirectory() as folder:
        state = fit(
            Fabric(accelerator="auto", devices=1),
            task,
            build_network(spec),
            config=config,
            data=data,
            checkpoint=Checkpoint(Path(folder) / "checkpoint.pt", ""),
        )
    for entry in state.history:
        if "val/miou" in entry:
            print(f"step {entry['step']:5.0f}: mean lane IoU {entry['val/miou']:.4f}")


def draw_label_maps(dataset: TusimpleDataset) -> dict[str, np.ndarray]:
    """Draw the label maps of training and validation at training size, uint8 (frames, H, W) by split."""
    view: View = dataset.view
    maps: dict[str, list[np.ndarray]] = {"train": [], "val": []}
    for entry in track(tusimple.list_frames(dataset.root, []), "drawing label maps"):
        assert isinstance(entry.annotation, bytes)  # TuSimple's list holds the annotations
        lanes = assign_slots(
            tusimple.parse_annotation(entry.annotation), dataset.frame_size, scheme=dataset.slot_scheme
        )
        if entry.split in maps:
            maps[entry.split].append(
                view.label(label_map(lanes, dataset.frame_size, lane_width=dataset.lane_width))
            )
    return {split: np.stack(drawn) for split, drawn in maps.items()}


def batches(maps: np.ndarray, config: TrainingConfig, start: int, stop: int) -> Iterator[Batch]:
    order = BatchOrder([len(maps)], config.batch_size, seed=config.seed)
    for step in range(start, stop):
        yield batch_of(maps[order.indices(step)])


def batch_of(maps: np.ndarray) -> Batch:
    label = torch.from_numpy(maps)
    existence = torch.stack([(label == slot).any(dim=2).any(dim=1) for slot in range(1, 5)], dim=1)
    image = torch.zeros(len(maps), 3, *maps.shape[1:], dtype=torch.uint8)
    return Batch([str(number) for number in range(len(maps))], image, label, existence.float())


if __name__ == "__main__":
    typer.run(main)
