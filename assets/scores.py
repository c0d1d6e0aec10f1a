"""The scores of both students on disk, and side by side."""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from hashlib import blake2b
from pathlib import Path
from typing import TYPE_CHECKING, Any

from assets.presentation.report_page import Score, ScoreRow
from lgad_pipeline import atomic_files as files
from lgad_pipeline.config.roles import STUDENTS
from lgad_pipeline.evaluation.types import SCENARIOS_WITHOUT_LANES, TOTAL, Counts, Interval
from resources.paths import ProjectPaths, fetch_shards

if TYPE_CHECKING:
    import pandas as pd

    from lgad_pipeline.config.promotion import PromotionConfig
    from lgad_pipeline.evaluation.culane import LaneScores
    from lgad_pipeline.evaluation.promotion import Verdict

IOU = 0.5


@dataclass(frozen=True)
class Comparison:
    """Both students on the same frames.

    Attributes:
        rows: the test split, total first.
        validation: each student on the validation frames.
        gain: gain in total F1 with its 95 % interval, by paired bootstrap over test frames.
    """

    rows: Sequence[ScoreRow]
    validation: Mapping[str, Score]
    gain: Interval

    @property
    def total(self) -> ScoreRow:
        """The row over all test frames."""
        return self.rows[0]

    @property
    def finds_lanes(self) -> bool:
        """True if one of the students finds at least one annotated lane on the test frames."""
        return not self.total.nothing_found

    @property
    def gain_text(self) -> str:
        """The gain in total F1 and its interval, in words."""
        if not self.finds_lanes:
            return "neither student finds a lane"
        return self.gain.points()

    def table(self) -> list[dict[str, Any]]:
        """Rows for a page."""
        return [
            {
                "scenario": row.scenario,
                "frames": row.frames,
                "F1 alone": row.alone.f1,
                "F1 LGAD": row.lgad.f1,
                "gain": None if row.gain is None else f"{100 * row.gain:+.1f}",
                "FP alone": row.alone.fp,
                "FP LGAD": row.lgad.fp,
            }
            for row in self.rows
        ]

    def metrics(self, student: str) -> dict[str, float]:
        """One student's scores by name, for MLflow."""
        picked = {row.scenario: row.lgad if student == "student_lgad" else row.alone for row in self.rows}
        found = {f"test/f1/{name}": score.f1 for name, score in picked.items() if score.f1 is not None}
        found["test/precision"], found["test/recall"] = picked[TOTAL].precision, picked[TOTAL].recall
        found |= {
            f"test/fp/{name}": float(picked[name].fp) for name in SCENARIOS_WITHOUT_LANES if name in picked
        }
        validation = self.validation[student].f1
        return found if validation is None else {**found, "val/f1": validation}


def score_student(
    paths: ProjectPaths,
    predicted: Path,
    split: str,
    frame_size: tuple[int, int],
    progress: Callable[[int, int], None] | None = None,
) -> "LaneScores":
    """Score the lane files below `predicted` against the annotations of a split, by scenario."""
    from lgad_pipeline.data.frame_table import frames_by_scenario
    from lgad_pipeline.data.shards import ShardSet
    from lgad_pipeline.evaluation.culane import evaluate_culane

    return evaluate_culane(
        paths.annotations,
        predicted,
        frames_by_scenario(ShardSet.open(fetch_shards(paths))[split].table),
        thresholds=(IOU,),
        frame_size=frame_size,
        progress=progress,
    )


def write_scores(paths: ProjectPaths, student: str, split: str, scores: "LaneScores") -> None:
    """Keep the counts of every list, and of every frame."""
    counts = {
        name: {"tp": by_threshold[IOU].tp, "fp": by_threshold[IOU].fp, "fn": by_threshold[IOU].fn}
        for name, by_threshold in scores.scores.items()
    }
    frames = scores.frames.groupby("list", observed=True).size().to_dict()
    frames[TOTAL] = len(scores.frames)
    content = {name: {**values, "frames": int(frames.get(name, 0))} for name, values in counts.items()}
    with files.atomic_path(paths.lane_scores / f"{student}-{split}.parquet") as temporary:
        scores.frames.to_parquet(temporary, index=False)
    files.write_text(paths.lane_scores / f"{student}-{split}.json", json.dumps(content, indent=2) + "\n")


def compare(paths: ProjectPaths) -> Comparison:
    """Both students side by side, from what `write_scores` kept."""
    from lgad_pipeline.data.frame_table import UNLISTED
    from lgad_pipeline.evaluation.bootstrap import paired_f1_difference

    counts = {student: _read(paths, student, "test") for student in STUDENTS}
    names = [TOTAL, *(name for name in counts["student_lgad"] if name not in (TOTAL, UNLISTED))]
    if UNLISTED in counts["student_lgad"] and len(names) > 1:
        names.append(UNLISTED)
    rows = [
        ScoreRow(
            name,
            counts["student_lgad"][name]["frames"],
            _score(counts["student_alone"][name], name),
            _score(counts["student_lgad"][name], name),
        )
        for name in names
    ]
    alone, lgad = (frame_counts(paths, student) for student in STUDENTS)
    difference = paired_f1_difference(alone, lgad, IOU)
    validation = {student: _score(_read(paths, student, "val")[TOTAL], TOTAL) for student in STUDENTS}
    return Comparison(rows, validation, difference)


def frame_counts(paths: ProjectPaths, student: str) -> "pd.DataFrame":
    """TP, FP and FN of a student on every test frame, as `LaneScores.frames` has them."""
    import pandas as pd

    return pd.read_parquet(paths.lane_scores / f"{student}-test.parquet")


def f1_intervals(paths: ProjectPaths, student: str) -> dict[str, Interval]:
    """How sure a student's F1 on test frames is, by scenario and in total."""
    from lgad_pipeline.evaluation.bootstrap import f1_interval

    table = frame_counts(paths, student)
    groups = {TOTAL: table, **{str(name): rows for name, rows in table.groupby("list", observed=True)}}
    return {name: f1_interval(rows, IOU) for name, rows in groups.items()}


def scores_digest(paths: ProjectPaths) -> str:
    """A fingerprint of the kept scores."""
    digest = blake2b(digest_size=16)
    for path in sorted(paths.lane_scores.glob("*.json")):
        digest.update(path.read_bytes())
    return digest.hexdigest()


def _read(paths: ProjectPaths, student: str, split: str) -> dict[str, dict[str, int]]:
    return json.loads((paths.lane_scores / f"{student}-{split}.json").read_text(encoding="utf-8"))


def _score(counts: Mapping[str, int], name: str) -> Score:
    total = Counts(counts["tp"], counts["fp"], counts["fn"])
    f1 = None if name in SCENARIOS_WITHOUT_LANES else total.f1
    return Score(f1, total.precision, total.recall, total.tp, total.fp, total.fn)


def against_champion(
    paths: ProjectPaths,
    champion: Path,
    rule: "PromotionConfig",
    device: str,
    frame_size: tuple[int, int],
    progress: Callable[[int, int], None] | None = None,
) -> "Verdict":
    """Apply the promotion rule to the champion's network in a folder and the student with LGAD.

    Both are scored now, on the frames of today.
    """
    from lgad_pipeline.data import frame_table as tables
    from lgad_pipeline.datasets.images import read_image
    from lgad_pipeline.evaluation.model_comparison import latencies, score_recordings
    from lgad_pipeline.evaluation.promotion import judge
    from lgad_pipeline.inference.predictor import LanePredictor

    table = tables.read_table(paths.frames)
    predictors = [LanePredictor.load(folder, device) for folder in (champion, paths.student_lgad)]
    sides = {
        split: score_recordings(
            predictors, table[table["split"] == split], paths.recordings, frame_size, progress
        )
        for split in ("val", "test")
    }
    frame = read_image((paths.recordings / str(sides["val"][0]["frame"].iloc[0])).read_bytes())
    first, second = latencies([partial(predictor.predict, [frame]) for predictor in predictors])
    return judge(
        (sides["val"][0], sides["val"][1]), (sides["test"][0], sides["test"][1]), (first, second), rule
    )


def verdict_table(verdict: "Verdict") -> list[dict[str, Any]]:
    """A verdict's numbers, rows for a page."""
    return [
        {
            "frames of": "validation" if change is verdict.total else f"test, {change.name}",
            "frames": change.frames,
            "champion": change.champion,
            "challenger": change.challenger,
            "gain": f"{100 * change.gain.value:+.1f}",
            "95 %": f"{100 * change.gain.low:+.1f} to {100 * change.gain.high:+.1f}",
            "": "worse" if change.worse else "" if change.judged else "too few frames",
        }
        for change in (verdict.total, *verdict.scenarios)
    ]
