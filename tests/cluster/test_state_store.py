"""The chain on three machines that share a store alone: a real server that speaks S3, on localhost."""

from pathlib import Path

import pytest
from pyarrow import fs

from lgad_pipeline.evaluation.student_scores import read_comparison
from resources.mlflow.resource import run_id_of
from resources.state_store import fetch_results
from tests.cluster.chains import paths_here, run, stale, use_project, write_project
from tests.support.s3 import empty_bucket, s3_server, s3_variables

pytestmark = pytest.mark.cluster


def test_each_machine_continues_with_the_results_of_the_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    project = tmp_path / "project"
    write_project(project, store="s3://drives/project")
    with s3_server() as address:
        for name, value in s3_variables(address).items():
            monkeypatch.setenv(name, value)
        s3 = empty_bucket("drives")
        use_project(monkeypatch, project, tmp_path / "first")
        run("data")
        use_project(monkeypatch, project, tmp_path / "second")
        run("retrain")
        second = paths_here()
        assert second.lane_labels.is_file() and second.recordings.is_dir()

        use_project(monkeypatch, project, tmp_path / "third")
        assert stale("data") == [] and stale("retrain") == []
        third = fetch_results(paths_here(), "student_lgad", "lane_scores", "predictions", "report")
        for path in (third.student_lgad / "weights.safetensors", third.report):
            assert path.read_bytes() == (second.state / path.relative_to(third.state)).read_bytes()
        assert read_comparison(third.lane_scores) == read_comparison(second.lane_scores)
        assert len(list(third.predictions.rglob("*.lines.txt"))) == 2 * 18
        assert run_id_of(third.student_lgad) == run_id_of(second.student_lgad) != ""
        assert not any("checkpoint" in name for name in objects(s3)), "of a finished training"

        lost = next(name for name in objects(s3) if "/lane_scores/" in name and "index" not in name)
        s3.delete_file(lost)
        assert stale("retrain") == ["lane_scores", "registered_model", "report"]


def objects(s3: fs.FileSystem) -> list[str]:
    listed = s3.get_file_info(fs.FileSelector("drives/project", recursive=True))
    return [info.path for info in listed if info.type == fs.FileType.File]
