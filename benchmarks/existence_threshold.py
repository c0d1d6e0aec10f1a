"""F1 of a study's students at several existence thresholds, and the gain with one chosen for each student.

    python benchmarks/existence_threshold.py STUDY --settings studies/settings.yaml --output FOLDER

FOLDER is the output of `lgad gain` with that study; its scores are left as they are. The threshold that is
chosen for a student is the one with the highest F1 on the validation frames, of equal ones the highest.
"""

import argparse
import tempfile
from collections import defaultdict
from dataclasses import replace
from pathlib import Path

import pandas as pd

from lgad_pipeline.config.model_files import NETWORK, WEIGHTS
from lgad_pipeline.data.shards import ShardSet, ShardSplit
from lgad_pipeline.errors import LgadError
from lgad_pipeline.evaluation.types import IOU, Interval, f1_score
from lgad_pipeline.settings import Settings
from lgad_pipeline.studies.config import GainStudy
from lgad_pipeline.studies.data import prepare_data
from lgad_pipeline.studies.plan import StudyRun
from lgad_pipeline.studies.run import finished_students
from lgad_pipeline.studies.statistics import paired_gain
from lgad_pipeline.studies.trainings import StudyInputs, score_split

THRESHOLDS = (0.0, 0.1, 0.25, 0.35, 0.5)
CHOSEN = "chosen on validation"

Scores = dict[object, pd.DataFrame]  # a table of scored test frames for each threshold, and for CHOSEN


def main() -> None:
    """Print the F1 of each student, and the gain of LGAD over each other variant, at each threshold."""
    parser = argparse.ArgumentParser(description="F1 of a study's students by existence threshold.")
    parser.add_argument("study", type=Path)
    parser.add_argument("--settings", type=Path, required=True)
    parser.add_argument("--output", type=Path, required=True)
    choice = parser.parse_args()
    try:
        compare(choice.study, choice.settings, output=choice.output)
    except LgadError as error:
        parser.error(str(error))


def compare(study_file: Path, settings_file: Path, *, output: Path) -> None:
    """Score the finished students of a study, and print the tables."""
    study, settings = GainStudy.load(study_file), Settings.load(settings_file)
    dataset = settings.dataset(study.dataset)
    recipes = {name: settings.recipe(name) for name in study.recipes}
    runs = finished_students(study, recipes, output=output)
    shards, recordings = prepare_data(dataset, output / "data")
    packed, inputs = ShardSet.open(shards), StudyInputs(dataset, shards, recordings)
    scores: dict[str, dict[str, dict[int, Scores]]] = defaultdict(lambda: defaultdict(dict))
    for run in runs:
        if not (run.training.folder / WEIGHTS).is_file():
            print(f"{run.recipe} {run.variant} seed {run.seed}: its weights are missing")
            continue
        tables = {split: scored(run, packed[split], inputs) for split in ("val", "test")}
        best = max(THRESHOLDS, key=lambda threshold: (f1(tables["val"][threshold]), threshold))
        scores[run.recipe][run.variant][run.seed] = {**tables["test"], CHOSEN: tables["test"][best]}
        values = [
            f"{split} " + " ".join(f"{f1(table):.1f}" for table in tables[split].values()) for split in tables
        ]
        print(f"{run.recipe} {run.variant} seed {run.seed}: {', '.join(values)}; chosen {best:g}", flush=True)
    for recipe, variants in scores.items():
        for variant in variants:
            if variant != "lgad" and "lgad" in variants:
                print_gains(f"{recipe}: lgad over {variant}", variants["lgad"], variants[variant])


def scored(run: StudyRun, split: ShardSplit, inputs: StudyInputs) -> Scores:
    """Return the scored frames of a split for each threshold."""
    tables: Scores = {}
    lists = {"total": split.table["frame"].tolist()}
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        for name in (NETWORK, WEIGHTS):
            (folder / name).symlink_to((run.training.folder / name).resolve())
        for threshold in THRESHOLDS:
            decoding = run.training.recipe.decode.model_copy(update={"existence_threshold": threshold})
            recipe = run.training.recipe.model_copy(update={"decode": decoding})
            student = replace(run.training, recipe=recipe, folder=folder)
            tables[threshold] = score_split(student, inputs, split=split, lists=lists, device="auto").frames
    return tables


def f1(frames: pd.DataFrame) -> float:
    """Return the F1 of scored frames, points."""
    return 100 * float(f1_score(*(frames[f"{count}_{IOU:g}"].sum() for count in ("tp", "fp", "fn"))))


def print_gains(heading: str, lgad: dict[int, Scores], other: dict[int, Scores]) -> None:
    """Print the gain of LGAD at each threshold, over seeds and frames and over seeds alone."""
    seeds = sorted(lgad.keys() & other.keys())
    for threshold in (*THRESHOLDS, CHOSEN):
        first, second = ([method[seed][threshold] for seed in seeds] for method in (other, lgad))
        gain = paired_gain(first, second)
        text = f"{points(gain.gain)}; {points(gain.over_seeds)} by seeds"
        print(f"{heading}, {len(seeds)} pairs, {threshold}: {text}")


def points(interval: Interval) -> str:
    """Write a gain in points with its interval."""
    return f"{100 * interval.value:+.1f} ({100 * interval.low:+.1f} to {100 * interval.high:+.1f})"


if __name__ == "__main__":
    main()
