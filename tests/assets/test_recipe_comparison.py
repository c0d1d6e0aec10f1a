import json
from pathlib import Path

import dagster as dg
import pandas as pd
import pytest

from assets.evaluation import lane_scores
from assets.freshness import DATA_VERSION_TAG, INPUTS_TAG, inputs_digest
from assets.keys import asset_key
from assets.partitions import grid_key
from assets.presentation.recipe_charts import cost_rows, recipe_curves, recipe_scenario_bars, speed_chart
from assets.presentation.recipe_metadata import scenario_rows
from assets.presentation.svg_charts import interval_chart
from assets.recipe_comparison import differing_settings, up_to_date_recipes, validation_history
from lgad_pipeline import DecodeConfig, View, build_network, write_predictor
from lgad_pipeline.config.roles import STUDENTS
from lgad_pipeline.evaluation.recipe_comparison import compare_recipes
from lgad_pipeline.evaluation.speed import Speed, measure_speeds
from lgad_pipeline.evaluation.types import Interval
from lgad_pipeline.networks.checkpoint import save_network
from resources.paths import ProjectPaths
from resources.project import Project
from tests.support.trainings import IMAGE_SIZE, SPEC

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
        "stale": "scored on other frames or annotations",
    }


def test_recipes_with_scores_of_earlier_frames_settings_or_code_are_left_out(project):
    """Scores are compared only if they are of the current frames; the names of the frames may be equal."""
    with dg.DagsterInstance.ephemeral() as instance:

        def materialize(asset: str, partition: str, version: str, **tags: str) -> None:
            event = dg.AssetMaterialization(
                asset_key(asset), partition=partition, tags={DATA_VERSION_TAG: version, **tags}
            )
            instance.report_runless_asset_event(event)

        def score(recipe: str) -> None:
            asset, dataset = lane_scores, "synthetic"
            inputs = inputs_digest(instance, project, asset=asset, dataset=dataset, recipe=recipe)
            materialize("lane_scores", grid_key(dataset, recipe), "scores", **{INPUTS_TAG: inputs})

        materialize("frames", "synthetic", "two lanes in each frame")
        for recipe in ("plain", "strong", "stale"):
            score(recipe)
        missing = {"untrained": "has no scores yet"}
        compared = ["plain", "strong", "stale"]
        assert up_to_date_recipes(instance, project, "synthetic") == (compared, missing)
        materialize("frames", "synthetic", "four lanes in each frame")
        score("plain")
        earlier = "scored with earlier data, settings or code"
        left_out = missing | {"strong": earlier, "stale": earlier}
        assert up_to_date_recipes(instance, project, "synthetic") == (["plain"], left_out)
        score("strong")
        settings = Path(project.file)
        settings.write_text(SETTINGS.replace("weight: 1.0", "weight: 0.5"))
        assert up_to_date_recipes(instance, Project(file=project.file), "synthetic") == (["plain"], left_out)


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


def test_charts_of_recipes_show_every_recipe_scenario_and_curve(project):
    folders = {name: project.paths("synthetic", name).lane_scores for name in ("plain", "strong")}
    results, _ = compare_recipes(folders)
    bars = recipe_scenario_bars(results)
    assert bars.count("<title>") == 4 and "strong, normal: 1.000" in bars and "plain, total: 0.667" in bars
    lines = recipe_curves({"plain": ([10, 20], [0.1, 0.3]), "strong": ([10, 20], [0.2, 0.5])})
    assert lines.count("<polyline") == 2 and ">strong</text>" in lines
    assert recipe_curves({"plain": ([], [])})
    speeds = {"plain": Speed(10.0, 250_000), "strong": Speed(20.0, 1_000_000)}
    chart = speed_chart(results, speeds)
    assert "strong: F1 1.000, 20.0 ms, 1,000,000 parameters" in chart
    # A quarter of the parameters is a quarter of the area: 4 + 14 / 2 px against 4 + 14 px.
    assert 'r="11.0"' in chart and 'r="18.0"' in chart and "nan" not in chart
    assert "no network could be measured" in speed_chart(results, {})
    assert cost_rows(results, {"plain": speeds["plain"]}) == [
        {"recipe": "plain", "F1": pytest.approx(2 / 3), "ms a frame": 10.0, "parameters, M": 0.25},
        {"recipe": "strong", "F1": 1.0, "ms a frame": None, "parameters, M": None},
    ]


def test_speed_and_history_of_networks_on_disk(tmp_path):
    (tmp_path / "damaged").mkdir()
    save_network(tmp_path / "tiny", build_network(SPEC), spec=SPEC)
    write_predictor(tmp_path / "tiny", View((590, 1640), IMAGE_SIZE, 240), decode_config=DecodeConfig())
    speeds = measure_speeds({"tiny": tmp_path / "tiny", "damaged": tmp_path / "damaged"})
    assert list(speeds) == ["tiny"]
    assert speeds["tiny"].parameters == sum(value.numel() for value in build_network(SPEC).parameters())
    assert validation_history(tmp_path) == ([], [])
    history = pd.DataFrame({"step": [1, 2, 3], "val/miou": [None, 0.5, 0.75]})
    history.to_parquet(tmp_path / "history.parquet")
    assert validation_history(tmp_path) == ([2, 3], [0.5, 0.75])
