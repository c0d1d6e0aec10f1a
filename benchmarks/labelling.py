"""Benchmark of `lgad suggest`: F1 after training with suggested frames against random ones, on real frames.

python benchmarks/labelling.py ROOT OUTPUT [--frames 20] [--steps 600] [--seeds 3]

ROOT is a data set in CULane's layout. The student is trained on the training frames below the folder
`--first`; the validation frames are the pool without labels, from which frames are chosen and then labelled
with their annotation; F1 is computed on the test frames. All trainings of a seed have the same number of
steps and start from the same random weights. A finished training is reused.
"""

import json
from pathlib import Path
from typing import Annotated

import numpy as np
import pandas as pd
import torch
import typer

from lgad_pipeline.config.recipe import Recipe
from lgad_pipeline.data.frame_table import frames_by_scenario
from lgad_pipeline.data.ingestion import ingest
from lgad_pipeline.data.lane_labels import assign_lane_slots
from lgad_pipeline.data.shards import ShardSet, pack_shards
from lgad_pipeline.evaluation.culane import evaluate_culane
from lgad_pipeline.inference.predictor import LanePredictor, write_predictor
from lgad_pipeline.inference.sources import RejectedFrames
from lgad_pipeline.inference.split_prediction import predict_split
from lgad_pipeline.suggestion.candidates import split_images, suggest_frames
from lgad_pipeline.training.plan import TrainingPlan
from lgad_pipeline.training.trainer import train
from lgad_pipeline.view import View

VIEW = View((590, 1640), (80, 256), 240)
LANE_WIDTH = 32


def main(
    root: Annotated[Path, typer.Argument(help="Data set in CULane's layout.")],
    output: Annotated[Path, typer.Argument(help="Directory of shards, trainings and results.")],
    first: Annotated[str, typer.Option(help="Folder of the frames that have labels first.")] = "driver_23",
    frames: Annotated[int, typer.Option(help="Number of frames to label.")] = 20,
    steps: Annotated[int, typer.Option(help="Optimizer steps of 8 frames.")] = 600,
    seeds: Annotated[int, typer.Option(help="Number of seeds.")] = 3,
) -> None:
    torch.set_num_threads(1)
    table = ingest(root, VIEW.frame_size, workers=1).frames
    table = table[(table["split"] != "train") | table["frame"].str.startswith(first)].reset_index(drop=True)
    pool = table.loc[table["split"] == "val", "frame"].tolist()
    rows = []
    for seed in range(seeds):
        start = score(root, table, [], output / f"start-{seed}", steps, seed)
        model = output / f"start-{seed}"
        chosen = suggest_frames(
            LanePredictor.load(model, "cpu"),
            root,
            names=pool,
            labelled=split_images(ShardSet.open(model / "shards")["train"]),
            count=frames,
            rejected=RejectedFrames(),
        )
        suggested = [frame for frame, _ in chosen.frames]
        drawn = np.random.default_rng(seed).choice(pool, len(suggested), replace=False).tolist()
        values = {
            "seed": seed,
            "frames": len(suggested),
            "without": start,
            "random": score(root, table, drawn, output / f"random-{seed}", steps, seed),
            "suggested": score(root, table, suggested, output / f"suggested-{seed}", steps, seed),
        }
        print(json.dumps(values), flush=True)
        rows.append(values)
    result = pd.DataFrame(rows)
    print(result.to_string(index=False, float_format="{:.1f}".format))
    difference = result["suggested"] - result["random"]
    print(
        f"suggested - random: {difference.mean():+.1f} (seeds {', '.join(f'{d:+.1f}' for d in difference)})"
    )


def score(root: Path, table: pd.DataFrame, labelled: list[str], folder: Path, steps: int, seed: int) -> float:
    """Train with further labelled frames, and return F1@0.5 on the test frames, percent."""
    rows = table.copy()
    rows.loc[rows["frame"].isin(labelled), "split"] = "train"
    rows = rows[rows["split"] != "val"].reset_index(drop=True)
    # A training validates on frames; these are training frames, because every other frame is pool or test.
    check = rows[rows["split"] == "train"].head(8).assign(split="val")
    rows = pd.concat([rows, check], ignore_index=True)
    packed = pack_shards(
        rows,
        assign_lane_slots(rows),
        root=root,
        output=folder / "shards",
        view=VIEW,
        lane_width=LANE_WIDTH,
        workers=1,
    )
    plan = TrainingPlan.from_recipe(
        recipe(steps, seed),
        role="student",
        image_size=VIEW.image_size,
        shards=folder / "shards",
        folder=folder,
    )
    train(plan, device="cpu")
    write_predictor(folder, VIEW, decode_config=recipe(steps, seed).decode)
    predict_split(folder, packed["test"], output_root=folder / "predictions", device="cpu")
    scores = evaluate_culane(
        root,
        folder / "predictions",
        lists=frames_by_scenario(packed["test"].table),
        thresholds=(0.5,),
        frame_size=VIEW.frame_size,
        workers=1,
    )
    return 100 * scores.scores["total"][0.5].f1


def recipe(steps: int, seed: int) -> Recipe:
    """Return ENet at 80 x 256 as in studies/settings.yaml."""
    return Recipe.model_validate(
        {
            "network": {"name": "enet"},
            "teacher": {"steps": 600},
            "student": {
                "steps": steps,
                "batch_size": 8,
                "threads": 1,
                "seed": seed,
                "validate_every": steps,
                "checkpoint_seconds": 60,
                "ema_decay": 0.99,
                "optimizer": {"learning_rate": 0.005, "warmup_steps": 100, "weight_decay": 0.01},
            },
        }
    )


if __name__ == "__main__":
    typer.run(main)
