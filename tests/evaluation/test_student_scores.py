import json

import pandas as pd
import pytest

from lgad_pipeline.config.roles import STUDENTS
from lgad_pipeline.errors import LgadError
from lgad_pipeline.evaluation.student_scores import read_comparison, scores_digest


@pytest.fixture
def folder(tmp_path):
    hits = {"student_alone": [1, 1, 0], "student_lgad": [1, 1, 1]}
    for student in STUDENTS:
        found = sum(hits[student])
        counts = {
            "normal": {"tp": found, "fp": 1, "fn": 3 - found, "frames": 3},
            "crossroad": {"tp": 0, "fp": 2, "fn": 0, "frames": 1},
            "total": {"tp": found, "fp": 3, "fn": 3 - found, "frames": 4},
        }
        for split in ("val", "test"):
            (tmp_path / f"{student}-{split}.json").write_text(json.dumps(counts))
        table = pd.DataFrame({"list": ["normal"] * 3, "frame": list("abc"), "tp_0.5": hits[student]})
        table["fp_0.5"], table["fn_0.5"] = [1, 0, 2], 1 - table["tp_0.5"]
        table.to_parquet(tmp_path / f"{student}-test.parquet")
    return tmp_path


def test_f1_by_hand(folder):
    comparison = read_comparison(folder)
    assert [row.scenario for row in comparison.rows] == ["total", "normal", "crossroad"]
    assert comparison.total.alone.f1 == pytest.approx(2 * 2 / (2 * 2 + 3 + 1))
    assert comparison.total.lgad.f1 == pytest.approx(2 * 3 / (2 * 3 + 3 + 0))
    assert comparison.total.gain == pytest.approx(2 / 3 - 1 / 2)
    assert comparison.rows[2].f1_lgad is None and comparison.rows[2].lgad.fp == 2
    low, high = comparison.gain.low, comparison.gain.high
    assert low <= (comparison.total.gain or 0.0) <= high


def test_students_that_were_scored_on_different_scenarios_are_refused(folder):
    path = folder / "student_lgad-test.json"
    path.write_text(
        json.dumps(json.loads(path.read_text()) | {"night": {"tp": 0, "fp": 0, "fn": 0, "frames": 1}})
    )
    with pytest.raises(LgadError, match="scored on different scenarios; score both again"):
        read_comparison(folder)


def test_metrics_for_mlflow_name_each_student(folder):
    metrics = read_comparison(folder).metrics("student_alone")
    assert metrics["test/f1/total"] == pytest.approx(0.5) and metrics["test/fp/crossroad"] == 2
    assert "test/f1/crossroad" not in metrics and metrics["val/f1"] == pytest.approx(0.5)


def test_digest_follows_the_scores(folder):
    before = scores_digest(folder)
    (folder / "student_lgad-val.json").write_text("{}")
    assert scores_digest(folder) != before


def test_digest_follows_the_counts_of_frames_whose_sums_are_equal(folder):
    path, before = folder / "student_alone-test.parquet", scores_digest(folder)
    table = pd.read_parquet(path)
    table.to_parquet(path, compression="gzip")
    assert scores_digest(folder) == before  # the same counts in other bytes
    table.assign(**{"tp_0.5": [0, 1, 1], "fn_0.5": [1, 0, 0]}).to_parquet(path)
    assert scores_digest(folder) != before
