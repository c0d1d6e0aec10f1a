"""One training of a study, and the scores of its student on the test split; runs in a process of its own."""

import json
import shutil
from dataclasses import dataclass
from hashlib import blake2b
from pathlib import Path
from typing import Literal

import pandas as pd

from lgad_pipeline.atomic_files import atomic_path, write_text
from lgad_pipeline.config.augmentation import LabelNoiseConfig
from lgad_pipeline.config.network import NetworkSpec, allow_networks
from lgad_pipeline.data.frame_table import frames_by_scenario
from lgad_pipeline.data.shards import ShardSet
from lgad_pipeline.evaluation.culane import evaluate_culane
from lgad_pipeline.inference.predictor import predict_split, write_predictor
from lgad_pipeline.settings import Dataset
from lgad_pipeline.studies.plan import Work
from lgad_pipeline.training.lessons import LABELS, Lessons
from lgad_pipeline.training.run import Device, TrainingResult, train_student, train_teacher

THRESHOLD = 0.5
FRAMES = "test_frames.parquet"
SCORED = "scored.json"


@dataclass(frozen=True)
class Place:
    """What a study's trainings read.

    Attributes:
        dataset: its entry in the settings.
        shards: packed frames.
        recordings: folder of the annotated lane files.
        device: where networks are trained.
        label_noise: noise in the training labels, or None.
    """

    dataset: Dataset
    shards: Path
    recordings: Path
    device: Device = "auto"
    label_noise: LabelNoiseConfig | None = None


def train(work: Work, place: Place) -> TrainingResult:
    """Train a network of a study, or find it trained already."""
    recipe, size = work.recipe, place.dataset.image_size
    allow_networks(recipe.network.name, recipe.teachers_network.name, work.network.name)
    spec = work.network.spec(size)
    if work.role == "teacher":
        return train_teacher(
            recipe.teacher,
            spec,
            place.shards,
            work.folder,
            recipe.augmentation,
            recipe.teacher_input,
            device=place.device,
            label_noise=place.label_noise,
        )
    teacher: Path | NetworkSpec | Literal["labels"] | None = work.teacher
    if "lgad" in work.method and recipe.distillation.teacher == "together":
        teacher = recipe.teachers_network.spec(size)
    if work.method == "blurred":
        teacher = LABELS
    lessons = Lessons(
        teacher,
        recipe.distillation,
        recipe.teacher_input,
        recipe.sad if "sad" in work.method else None,
        work.model,
        recipe.logits,
        recipe.label_head if work.method == "label-head" else None,
    )
    return train_student(
        recipe.student,
        spec,
        place.shards,
        work.folder,
        recipe.augmentation,
        lessons,
        work.network.pretrained,
        device=place.device,
        label_noise=place.label_noise,
    )


def train_and_score(work: Work, place: Place) -> float:
    """Train a student, find the lanes of every test frame and score them; what is done already is kept.

    The folder then holds `test_frames.parquet`, the rows of `LaneScores.frames`.

    Returns:
        The seconds that the training took, over all its runs.
    """
    result = train(work, place)
    split = ShardSet.open(place.shards)["test"]
    wanted = {
        "training": result.fingerprint,
        "decode": work.recipe.decode.model_dump(mode="json"),
        "frames": blake2b("\n".join(split.table["frame"]).encode(), digest_size=8).hexdigest(),
    }
    scored = work.folder / SCORED
    if scored.is_file() and json.loads(scored.read_text(encoding="utf-8")) == wanted:
        return result.seconds
    write_predictor(work.folder, place.dataset.view, work.recipe.decode)
    found = work.folder / "predictions"
    device = "cpu" if place.device == "auto" else place.device
    predict_split(work.folder, split, found, device=device)
    scores = evaluate_culane(
        place.recordings,
        found,
        frames_by_scenario(split.table),
        thresholds=(THRESHOLD,),
        frame_size=place.dataset.frame_size,
        workers=1,
    )
    with atomic_path(work.folder / FRAMES) as temporary:
        scores.frames.to_parquet(temporary, index=False)
    write_text(scored, json.dumps(wanted) + "\n")
    shutil.rmtree(found)
    return result.seconds


def scored_frames(work: Work) -> pd.DataFrame:
    """What `train_and_score` left of a student."""
    return pd.read_parquet(work.folder / FRAMES)
