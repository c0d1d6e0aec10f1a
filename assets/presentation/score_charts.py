"""Charts of the scores of both students."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from assets.presentation.svg_charts import BarGroup, grouped_bars

if TYPE_CHECKING:
    from lgad_pipeline.evaluation.student_scores import ScoreRow

F1_CHART = "F1 by scenario"


def scenario_bars(rows: Sequence["ScoreRow"]) -> str:
    """Draw F1 bars of both students for each scenario, the total first, as SVG."""
    groups = []
    for row in sorted(rows, key=lambda row: row.scenario != "total"):
        note = ""
        if not row.has_lanes:
            note = f"no annotated lanes: {row.alone.fp} false positives alone, {row.lgad.fp} with LGAD"
        values = {"student_alone": row.f1_alone, "student_lgad": row.f1_lgad}
        groups.append(BarGroup(row.scenario, values, note, strong=row.scenario == "total"))
    return grouped_bars(groups)
