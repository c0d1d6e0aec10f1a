"""Metadata of predictions, scores and promotion decisions."""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import dagster as dg

from assets.presentation import metadata
from assets.presentation.score_charts import F1_CHART
from assets.presentation.svg_charts import NETWORK_NAMES

if TYPE_CHECKING:
    from lgad_pipeline.evaluation.lane_type_scores import TypeScore
    from lgad_pipeline.evaluation.promotion import Verdict
    from lgad_pipeline.evaluation.student_scores import StudentComparison, StudentScores
    from resources.mlflow.registry import Decision


def lane_scores_metadata(scores: "StudentScores", folder: Path, *, chart: dg.MetadataValue) -> dict[str, Any]:
    """Describe the scores of both students.

    Args:
        scores: scores by scenario, gain and notes; for data in TuSimple's format, also by its metric.
        folder: directory of the score files.
        chart: bar chart of F1 by scenario.
    """
    comparison = scores.comparison
    total, gain = comparison.total, comparison.gain.scaled(100)
    tusimple_rows = [
        {"student": NETWORK_NAMES[student], "accuracy": score.accuracy, "FP": score.fp, "FN": score.fn}
        for student, score in scores.tusimple.items()
    ]
    return {
        "F1 student with LGAD": total.f1_lgad,
        "F1 student alone": total.f1_alone,
        "distillation gain": total.gain,
        "gain, 95 % interval": f"{gain.low:+.1f} to {gain.high:+.1f} points",
        F1_CHART: scenario_table(comparison),
        **({"TuSimple metric": metadata.table(tusimple_rows)} if tusimple_rows else {}),
        **({"notes": "\n".join(scores.notes)} if scores.notes else {}),
        "F1 bars": chart,
        "F1 on validation, with LGAD": comparison.validation["student_lgad"].f1,
        "F1 on validation, alone": comparison.validation["student_alone"].f1,
        "folder": dg.MetadataValue.path(folder),
    }


def type_metadata(scores: "Mapping[str, TypeScore]") -> dict[str, Any]:
    """Describe the types of the matched lanes of each student; empty if no types are known."""
    rows = [
        {
            "student": NETWORK_NAMES[student],
            "matched lanes of known type": score.known,
            "right": score.right,
            "share": score.accuracy,
        }
        for student, score in scores.items()
    ]
    return {"types of lanes": metadata.table(rows)} if rows else {}


def scenario_table(comparison: "StudentComparison") -> dg.MetadataValue:
    """Build a table of the scores of both students by scenario."""
    return metadata.table(
        [
            {
                "scenario": row.scenario,
                "frames": row.frames,
                "F1 alone": row.f1_alone,
                "F1 LGAD": row.f1_lgad,
                "gain": None if row.gain is None else f"{100 * row.gain:+.1f}",
                "FP alone": row.alone.fp,
                "FP LGAD": row.lgad.fp,
            }
            for row in comparison.rows
        ]
    )


def verdict_metadata(verdict: "Verdict | None") -> dict[str, dg.MetadataValue]:
    """Describe the comparison of a new version with the champion; empty if there was no champion."""
    if verdict is None:
        return {}
    champion, challenger = (1000 * seconds for seconds in verdict.latency)
    rows = [
        {
            "frames": "validation" if change is verdict.total else f"test, {change.name}",
            "number": change.frames,
            "champion": change.champion,
            "challenger": change.challenger,
            "gain": f"{100 * change.gain.value:+.1f}",
            "95 %": f"{100 * change.gain.low:+.1f} to {100 * change.gain.high:+.1f}",
            "": "worse" if change.worse else "" if change.judged else "too few frames",
        }
        for change in (verdict.total, *verdict.scenarios)
    ]
    return {
        "against the champion": metadata.table(rows),
        "gain on validation frames (points)": dg.MetadataValue.float(100 * verdict.total.gain.value),
        "promotion rule": dg.MetadataValue.text(verdict.rule),
        "milliseconds per frame": dg.MetadataValue.text(f"{challenger:.1f}; champion {champion:.1f}"),
    }


def registered_model_metadata(
    name: str, decision: "Decision", *, comparison: "StudentComparison", version_page: dg.MetadataValue
) -> dict[str, Any]:
    """Describe a registered version.

    Args:
        name: name of the registered model.
        decision: outcome of the promotion rule for the version.
        comparison: scores of both students.
        version_page: link to the page of the version in MLflow.
    """
    return {
        "model": name,
        "version": int(decision.version),
        "alias": "champion, challenger" if decision.promoted else "challenger",
        "decision": decision.reason,
        **verdict_metadata(decision.verdict),
        F1_CHART: scenario_table(comparison),
        "MLflow version": version_page,
        "how to load it": dg.MetadataValue.md(
            f'```python\nmodel = mlflow.pyfunc.load_model("models:/{name}/{decision.version}")\n'
            'lanes = model.predict([open("frame.jpg", "rb").read()])[0].lanes\n```'
        ),
    }
