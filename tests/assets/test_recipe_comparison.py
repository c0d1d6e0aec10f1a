import json

import pandas as pd
import pytest

from assets.presentation.recipe_metadata import scenario_rows
from assets.presentation.svg_charts import interval_chart
from assets.recipe_comparison import differing_settings
from lgad_pipeline.config.roles import STUDENTS
from lgad_pipeline.evaluation.recipe_comparison import compare_recipes
from lgad_pipeline.evaluation.types import Interval
from resources.paths import ProjectPaths
from resources.project import Project

SETTINGS = """
recipes:
  plain: {teacher: {}, student: {}}
  strong: {teacher: {}, student: {}, distillation: {weight: 1.0}}
  untrained: {teacher: {}, student: {}}
  stale: {teacher: {}, student: {}}
"""


def write(paths: ProjectPaths, hits: dict[str, list[int]], frames: str) -> None:
    paths.lane_scores.mkdir(parents=True)
    for student in STUDENTS:
        table = pd.DataFrame({"list": "normal", "frame": list(frames), "tp_0.5": hits[student], "fp_0.5": 0})
        table["fn_0.5"] = 1 - table["tp_0.5"]
        table.to_parquet(paths.lane_scores / f"{student}-test.parquet")
        found = sum(hits[student])
        counts = {"tp": found, "fp": 0, "fn": len(frames) - found, "frames": len(frames)}
        for split in ("val", "test"):
            text = json.dumps({"normal": counts, "total": counts})
            (paths.lane_scores / f"{student}-{split}.json").write_text(text)


@pytest.fixture
def project(tmp_path, monkeypatch):
    monkeypatch.setenv("LGAD_STATE", str(tmp_path))
    (tmp_path / "lgad.yaml").write_text(SETTINGS)
    project = Project(file=str(tmp_path / "lgad.yaml"))
    half, all_found = [1, 0, 1, 0], [1, 1, 1, 1]
    write(project.paths("synthetic", "plain"), {"student_alone": half, "student_lgad": half}, "abcd")
    write(project.paths("synthetic", "strong"), {"student_alone": half, "student_lgad": all_found}, "abcd")
    write(project.paths("synthetic", "stale"), {"student_alone": half, "student_lgad": half}, "wxyz")
    return project


def test_recipes_side_by_side_by_hand(project):
    folders = {name: project.paths("synthetic", name).lane_scores for name in project.settings.recipes}
    results, left_out = compare_recipes(folders)
    plain, strong = results
    # Two of four lanes found and nothing else: F1 = 4 / (4 + 2); all four found: F1 = 1.
    assert plain.recipe == "plain" and plain.lead is None
    assert plain.f1["student_lgad"].value == pytest.approx(2 / 3)
    assert strong.comparison.total.gain == pytest.approx(1 / 3)
    assert strong.lead is not None and strong.lead.value == pytest.approx(1 / 3)
    assert 0 <= strong.lead.low < 1 / 3 < strong.lead.high <= 1
    assert scenario_rows(results)[1] == {
        "scenario": "normal",
        "frames": 4,
        "plain": pytest.approx(2 / 3),
        "strong": 1.0,
    }
    assert left_out == {
        "untrained": "has no scores yet",
        "stale": "scored on other frames",
    }


def test_settings_that_differ_are_named(project):
    assert differing_settings(project, ["plain", "strong"]) == [
        {"key": "distillation.weight", "plain": "0.2", "strong": "1.0"}
    ]


def test_chart_has_a_mark_for_every_estimate():
    estimate = Interval(0.5, 0.4, 0.6)
    rows = {
        "a <b>": ({"student_alone": estimate, "student_lgad": estimate}, Interval(-0.01, -0.03, 0.02)),
        "c": ({"student_alone": estimate, "student_lgad": estimate}, Interval(0, 0, 0)),
    }
    svg = interval_chart(rows)
    assert svg.count("<circle") == 6 and "a &lt;b&gt;" in svg and "nan" not in svg
    assert "gain, a &lt;b&gt;: -1.0, 95 % -3.0 to +2.0 points" in svg


def test_chart_of_students_that_found_nothing():
    nothing = Interval(0.0, 0.0, 0.0)
    svg = interval_chart({"a": ({"student_alone": nothing, "student_lgad": nothing}, nothing)})
    assert svg.count("<circle") == 3 and "nan" not in svg
