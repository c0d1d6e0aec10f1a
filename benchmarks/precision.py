"""Pairs of trainings that differ in their precision alone: float32 and bfloat16 autocast.

    python benchmarks/precision.py --output FOLDER [--pairs 3] [--steps 300] [--size 48 128] [--frames 240]

The students of a pair have the same seed: the same initial weights, batches, augmentation, dropout. Printed
are the validation IoU of each, the mean difference with its standard error over pairs, and the deviation of
the seeds, which is the noise of a training. Finished trainings are reused.
"""

import argparse
import os
import statistics
from pathlib import Path

import torch

from lgad_pipeline.settings import Recipe, SyntheticDataset
from lgad_pipeline.studies.data import prepare_data
from lgad_pipeline.training.plan import TrainingPlan
from lgad_pipeline.training.trainer import train

PRECISIONS = ("32-true", "bf16-mixed")


def main() -> None:
    """Train the pairs and print their scores."""
    parser = argparse.ArgumentParser(description="Pairs of trainings in float32 and bfloat16.")
    parser.add_argument("--output", type=Path, required=True)
    parser.add_argument("--pairs", type=int, default=3)
    parser.add_argument("--steps", type=int, default=300)
    parser.add_argument("--size", type=int, nargs=2, default=(48, 128), metavar=("HEIGHT", "WIDTH"))
    parser.add_argument("--frames", type=int, default=240, help="frames of the training split")
    parser.add_argument("--batch-size", type=int, default=8)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    world = {"seed": 0, "train": arguments.frames, "val": arguments.frames // 2, "test": 1}
    dataset = SyntheticDataset.model_validate(
        {
            "kind": "synthetic",
            "image_size": arguments.size,
            "crop_top": 240,
            "lane_width": 40,
            "world": world,
        }
    )
    workers = len(os.sched_getaffinity(0))
    shards, _ = prepare_data(dataset, arguments.output / "data", workers=workers, progress=lambda text: None)
    scores: dict[str, list[float]] = {precision: [] for precision in PRECISIONS}
    for seed in range(arguments.pairs):
        for precision in PRECISIONS:
            student = {
                "steps": arguments.steps,
                "seed": seed,
                "batch_size": arguments.batch_size,
                "threads": 1,
                "precision": precision,
                "validate_every": arguments.steps,
                "optimizer": {"learning_rate": 0.005, "warmup_steps": arguments.steps // 6},
            }
            recipe = Recipe.model_validate({"network": {"name": "enet"}, "teacher": {}, "student": student})
            plan = TrainingPlan.from_recipe(
                recipe,
                role="student",
                method="alone",
                image_size=dataset.image_size,
                shards=shards,
                folder=arguments.output / f"{precision}-{seed}",
            )
            history = train(plan, device="cpu").history
            scores[precision].append(100 * float(history["val/miou"].dropna().iloc[-1]))
            print(f"seed {seed}, {precision:10}: validation IoU {scores[precision][-1]:.2f} %", flush=True)
    pairs = list(zip(*scores.values(), strict=True))
    differences = [second - first for first, second in pairs]
    error = statistics.stdev(differences) / len(differences) ** 0.5
    print(f"bfloat16 - float32: {statistics.mean(differences):+.2f} points, standard error {error:.2f}")
    for precision, values in scores.items():
        mean, deviation = statistics.mean(values), statistics.stdev(values)
        print(f"{precision}: mean {mean:.2f}, deviation of the seeds {deviation:.2f}")


if __name__ == "__main__":
    main()
