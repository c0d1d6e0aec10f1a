"""Scores of the student alone and of the student with LGAD: score files, rows by scenario, paired gain.

A folder of scores has two files for each student and split: `<student>-<split>.json` with the counts of
each scenario, and `<student>-<split>.parquet` with the counts of each frame.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from hashlib import blake2b
from pathlib import Path

import pandas as pd

from lgad_pipeline.atomic_files import atomic_path, write_text
from lgad_pipeline.config.roles import STUDENTS
from lgad_pipeline.config.splits import SCORED_SPLITS
from lgad_pipeline.data.frame_table import UNLISTED, frames_by_scenario
from lgad_pipeline.data.shards import ShardSet
from lgad_pipeline.errors import LgadError
from lgad_pipeline.evaluation.bootstrap import f1_interval, paired_f1_difference
from lgad_pipeline.evaluation.culane import LaneScores, evaluate_culane
from lgad_pipeline.evaluation.lane_type_scores import TypeScore, score_types
from lgad_pipeline.evaluation.tusimple_students import TusimpleScore, score_tusimple_students
from lgad_pipeline.evaluation.types import IOU, SCENARIOS_WITHOUT_LANES, TOTAL, Counts, Interval
from lgad_pipeline.progress import Progress, part_of


@dataclass(frozen=True)
class ScoreRow:
    """Counts of both students on the test frames of one scenario.

    Attributes:
        scenario: name of the scenario, or `total` for all test frames.
        frames: number of test frames.
        alone: counts of the student alone.
        lgad: counts of the student with LGAD.
    """

    scenario: str
    frames: int
    alone: Counts
    lgad: Counts

    @property
    def has_lanes(self) -> bool:
        """False for a scenario whose frames have no annotated lane: F1 is not defined there."""
        return self.scenario not in SCENARIOS_WITHOUT_LANES

    @property
    def finds_lanes(self) -> bool:
        """True if at least one student finds at least one annotated lane."""
        return bool(self.alone.tp or self.lgad.tp)

    @property
    def f1_alone(self) -> float | None:
        """F1 of the student alone; None for a scenario without lanes."""
        return self.alone.f1 if self.has_lanes else None

    @property
    def f1_lgad(self) -> float | None:
        """F1 of the student with LGAD; None for a scenario without lanes."""
        return self.lgad.f1 if self.has_lanes else None

    @property
    def gain(self) -> float | None:
        """F1 of the student with LGAD minus F1 of the student alone; None for a scenario without lanes."""
        return self.lgad.f1 - self.alone.f1 if self.has_lanes else None


@dataclass(frozen=True)
class StudentComparison:
    """Scores of both students on the same frames.

    Attributes:
        rows: rows of the test split by scenario, the total first.
        validation: counts of each student over all validation frames.
        gain: gain in total F1 on test frames with its 95 % interval (paired bootstrap over frames).
    """

    rows: Sequence[ScoreRow]
    validation: Mapping[str, Counts]
    gain: Interval

    @property
    def total(self) -> ScoreRow:
        """Row over all test frames."""
        return self.rows[0]

    @property
    def finds_lanes(self) -> bool:
        """True if at least one student finds at least one annotated lane of the test frames."""
        return self.total.finds_lanes

    @property
    def gain_text(self) -> str:
        """Sentence fragment with the gain in total F1 and its interval."""
        return self.gain.points() if self.finds_lanes else "neither student finds a lane"

    def metrics(self, student: str) -> dict[str, float]:
        """Return the scores of one student under the names of MLflow metrics."""
        counts = {row.scenario: row.lgad if student == "student_lgad" else row.alone for row in self.rows}
        f1 = {f"test/f1/{row.scenario}": counts[row.scenario].f1 for row in self.rows if row.has_lanes}
        false_positives = {
            f"test/fp/{row.scenario}": float(counts[row.scenario].fp)
            for row in self.rows
            if not row.has_lanes
        }
        total = {"test/precision": counts[TOTAL].precision, "test/recall": counts[TOTAL].recall}
        return {**f1, **total, **false_positives, "val/f1": self.validation[student].f1}


@dataclass(frozen=True)
class StudentScores:
    """Result of scoring both students.

    Attributes:
        comparison: the scores of both students.
        metrics: scores of each student under the names of MLflow metrics.
        notes: sentences about doubtful scores, such as lanes in pixels of another frame size.
        digest: fingerprint of the score files.
        tusimple: scores of each student by TuSimple's metric; empty for data sets of other formats.
        types: types of the lanes of test frames, by student; empty if no student predicts types.
    """

    comparison: StudentComparison
    metrics: Mapping[str, Mapping[str, float]]
    notes: Sequence[str]
    digest: str
    tusimple: Mapping[str, TusimpleScore]
    types: Mapping[str, TypeScore]


def score_students(
    *,
    predictions: Path,
    annotations: Path,
    shards: ShardSet,
    output: Path,
    tusimple: Path | None = None,
    lane_types: Sequence[str] = (),
    progress: Progress | None = None,
) -> StudentScores:
    """Score the lane files of both students on validation and test frames, and write the score files.

    Args:
        predictions: directory of the lane files, `<student>/<split>/<frame>.lines.txt`.
        annotations: directory of the annotated lane files.
        shards: packed frames, which name the scored frames and their scenarios.
        output: directory of the score files.
        tusimple: root directory of a data set in TuSimple's format, whose metric is added; None for others.
        lane_types: names of the lane types that the students tell apart; empty for none.
        progress: called as progress(frames done, frames in total), over both students and splits.
    """
    lists = {split: frames_by_scenario(shards[split].table) for split in SCORED_SPLITS}
    frames = {split: len(shards[split]) for split in SCORED_SPLITS}
    notes: list[str] = []
    types: dict[str, TypeScore] = {}
    done, total = 0, len(STUDENTS) * sum(frames.values())
    for student in STUDENTS:
        for split in SCORED_SPLITS:
            predicted = predictions / student / split
            scores = evaluate_culane(
                annotations,
                predicted,
                lists=lists[split],
                thresholds=(IOU,),
                frame_size=shards.view.frame_size,
                progress=part_of(progress, done, total=total),
            )
            done += frames[split]
            notes += [f"{student}, {split}: {note}" for note in scores.notes]
            write_scores(output, student, split=split, scores=scores)
            if split == "test" and lane_types:
                types[student] = score_types(annotations, predicted, scores, lane_types=lane_types)
    comparison = read_comparison(output)
    metrics = {student: comparison.metrics(student) for student in STUDENTS}
    benchmark = (
        {}
        if tusimple is None
        else score_tusimple_students(recordings=tusimple, shards=shards, predictions=predictions)
    )
    types = {student: score for student, score in types.items() if score.known}
    return StudentScores(comparison, metrics, notes, scores_digest(output), benchmark, types)


def write_scores(folder: Path, student: str, *, split: str, scores: LaneScores) -> None:
    """Write the counts of each scenario and of each frame, as `read_comparison` reads them."""
    frames = scores.frames.groupby("list", observed=True).size().to_dict()
    frames[TOTAL] = len(scores.frames)
    content = {
        name: {
            "tp": by_threshold[IOU].tp,
            "fp": by_threshold[IOU].fp,
            "fn": by_threshold[IOU].fn,
            "frames": int(frames.get(name, 0)),
        }
        for name, by_threshold in scores.scores.items()
    }
    with atomic_path(folder / f"{student}-{split}.parquet") as temporary:
        scores.frames.to_parquet(temporary, index=False)
    write_text(folder / f"{student}-{split}.json", json.dumps(content, indent=2) + "\n")


def read_comparison(folder: Path) -> StudentComparison:
    """Read the score files of both students.

    Args:
        folder: directory that `score_students` wrote to.

    Raises:
        FileNotFoundError: a score file is missing.
        LgadError: the students were scored on different frames or scenarios.
    """
    alone, lgad = (_read(folder, student, "test") for student in STUDENTS)
    names = [TOTAL, *(name for name in lgad if name not in (TOTAL, UNLISTED))]
    if UNLISTED in lgad and len(names) > 1:
        names.append(UNLISTED)
    first, second = (frame_counts(folder, student) for student in STUDENTS)
    gain = paired_f1_difference(first, second, threshold=IOU)
    if alone.keys() != lgad.keys():
        raise LgadError(f"The students of {folder} were scored on different scenarios; score both again.")
    rows = [ScoreRow(name, lgad[name]["frames"], _counts(alone[name]), _counts(lgad[name])) for name in names]
    validation = {student: _counts(_read(folder, student, "val")[TOTAL]) for student in STUDENTS}
    return StudentComparison(rows, validation, gain)


def frame_counts(folder: Path, student: str) -> pd.DataFrame:
    """Read the counts of a student on every test frame, a table like `LaneScores.frames`."""
    return pd.read_parquet(folder / f"{student}-test.parquet")


def f1_intervals(folder: Path, student: str) -> dict[str, Interval]:
    """Compute F1 of a student on test frames with its 95 % interval, by scenario and in total."""
    table = frame_counts(folder, student)
    groups = {TOTAL: table, **{str(name): rows for name, rows in table.groupby("list", observed=True)}}
    return {name: f1_interval(rows, IOU) for name, rows in groups.items()}


def scores_digest(folder: Path) -> str:
    """Compute a fingerprint of the score files in a directory: counts of scenarios and counts of frames.

    Intervals follow from the counts of frames, which can differ although their sums are equal.
    """
    digest = blake2b(digest_size=16)
    for path in sorted(folder.glob("*.json")):
        digest.update(path.read_bytes())
    for path in sorted(folder.glob("*.parquet")):
        # Values are hashed instead of bytes, which hold the version of the Parquet library.
        digest.update(pd.util.hash_pandas_object(pd.read_parquet(path), index=False).to_numpy().tobytes())
    return digest.hexdigest()


def _read(folder: Path, student: str, split: str) -> dict[str, dict[str, int]]:
    return json.loads((folder / f"{student}-{split}.json").read_text(encoding="utf-8"))


def _counts(counts: Mapping[str, int]) -> Counts:
    return Counts(counts["tp"], counts["fp"], counts["fn"])
