"""Results and trainings of a project whose machines share a store: a real server that speaks S3."""

import shutil
from pathlib import Path

import pytest

from assets.run_records import training_record
from lgad_pipeline.errors import LgadError
from lgad_pipeline.manifest import manifest_of
from lgad_pipeline.networks.checkpoint import network_digest, save_network
from lgad_pipeline.networks.registry import build_network
from lgad_pipeline.settings import Recipe, SyntheticDataset
from lgad_pipeline.training.job import read_job
from lgad_pipeline.training.job_log import JobLog
from resources.paths import ProjectPaths
from resources.ray_worker import _run_with_store
from resources.state_store import (
    fetch_initial,
    fetch_results,
    fetch_stored,
    is_stored,
    publish_initial,
    publish_result,
    training_copies,
)
from resources.trainer import Trainer
from tests.support.trainings import CONFIG, SPEC, pack_road

STORE = "s3://drives/project/results"
pytestmark = pytest.mark.usefixtures("s3")


def machine(folder: Path, recipe: str = "enet") -> ProjectPaths:
    return ProjectPaths(folder, folder / "road", "drives", recipe, results=STORE)


def written(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


def test_a_training_continues_on_another_machine(tmp_path: Path) -> None:
    first, second = machine(tmp_path / "first"), machine(tmp_path / "second")
    with pytest.raises(KeyboardInterrupt), training_copies(first, "teacher", "checkpoint.pt", "mlflow"):
        written(first.teacher / "checkpoint.pt", "step 100")
        written(first.teacher / "mlflow" / "run.json", "{}")
        raise KeyboardInterrupt
    written(second.teacher / "checkpoint.pt", "step 20, of an earlier try on this machine")
    with training_copies(second, "teacher", "checkpoint.pt", "mlflow"):
        assert (second.teacher / "checkpoint.pt").read_text() == "step 100"
        assert (second.teacher / "mlflow" / "run.json").read_text() == "{}"
        (second.teacher / "checkpoint.pt").unlink()  # finished
    with training_copies(first, "teacher", "checkpoint.pt", update=False):
        assert (first.teacher / "checkpoint.pt").read_text() == "step 100", "nothing to fetch any more"
    assert not is_stored(first, "teacher")


def test_results_of_a_data_set_are_those_of_all_its_recipes(tmp_path: Path) -> None:
    first, second = machine(tmp_path / "first", recipe=""), machine(tmp_path / "second")
    files = [written(first.frames, "table"), written(first.rejected, "none")]
    with pytest.raises(LgadError, match=r"frames/index\.json is missing; materialize its asset again"):
        fetch_results(second, "frames")
    assert fetch_stored(second, "student_lgad") == second and not second.student_lgad.exists()
    publish_result(first, "frames", manifest_of(first.state, files))
    assert fetch_results(second, "recordings", "frames") == second
    assert second.frames.read_text() == "table" and second.rejected.read_text() == "none"
    assert machine(tmp_path / "second", recipe="").manifest("frames").is_file()


def test_steps_after_a_training_add_to_its_run_journal(tmp_path: Path) -> None:
    first, second = machine(tmp_path / "first"), machine(tmp_path / "second")
    network = written(first.student_lgad / "network.json", "{}")
    written(first.student_lgad / "mlflow" / "metrics.jsonl", "1\n")
    publish_result(first, "student_lgad", manifest_of(first.state, [network]))
    fetch_results(second, "student_lgad")
    journal = second.student_lgad / "mlflow" / "metrics.jsonl"
    scores = written(second.lane_scores / "scores.json", "{}")
    journal.write_text(journal.read_text() + "2\n")
    publish_result(second, "lane_scores", manifest_of(second.state, [scores]))
    fetch_results(first, "student_lgad", "lane_scores")
    assert (first.student_lgad / "mlflow" / "metrics.jsonl").read_text() == "1\n2\n"
    assert (first.lane_scores / "scores.json").read_text() == "{}"


def test_a_step_does_not_replace_journals_of_other_networks_by_older_ones(tmp_path: Path) -> None:
    first, second = machine(tmp_path / "first"), machine(tmp_path / "second")
    written(second.student_alone / "mlflow" / "run.json", "an old training")
    network = written(first.student_alone / "network.json", "{}")
    written(first.student_alone / "mlflow" / "run.json", "the new training")
    publish_result(first, "student_alone", manifest_of(first.state, [network]))
    graph = written(second.onnx_graph, "graph")
    publish_result(second, "onnx_graph", manifest_of(second.state, [graph]))
    third = machine(tmp_path / "third")
    fetch_results(third, "student_alone")
    assert (third.student_alone / "mlflow" / "run.json").read_text() == "the new training"


def test_a_student_on_another_machine_starts_from_the_registered_version(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The step downloads it from MLflow; the process of the training has the store alone."""
    first, second = machine(tmp_path / "first"), machine(tmp_path / "second")
    network = tmp_path / "network"
    save_network(network, build_network(SPEC), spec=SPEC)
    init = shutil.copytree(network, first.state / "initial" / network_digest(network))
    (tmp_path / "road").mkdir()
    shutil.copytree(pack_road(tmp_path / "road"), second.shards)
    monkeypatch.setenv("LGAD_STATE", str(second.state))
    training = CONFIG.model_dump(mode="json")
    recipe = {"network": {"width": 0.25}, "teacher": training, "student": training, "init": str(init)}
    dataset = SyntheticDataset.model_validate({"kind": "synthetic", "image_size": SPEC.image_size})
    trainer = Trainer(launcher="ray", device="cpu", ray_address="127.0.0.1:1")
    with pytest.raises(LgadError, match=r"Ray, which is not installed|Ray cluster at .* cannot be reached"):
        trainer.student(dataset, Recipe.model_validate(recipe), first, lambda *_: None, teacher=None)
    job = read_job(first.student_alone / "job.json")
    _run_with_store(job, first, stop=lambda: False, log=JobLog(tmp_path / "job.jsonl"))
    assert training_record(second.student_alone)["init"] == init.name
    fetched = second.state / init.relative_to(first.state)
    assert network_digest(fetched) == init.name
    times = [file.stat().st_mtime_ns for file in sorted(fetched.iterdir())]
    publish_initial(second, fetched)  # a second machine that has the version publishes nothing new
    fetch_initial(second, fetched)
    assert [file.stat().st_mtime_ns for file in sorted(fetched.iterdir())] == times
    publish_initial(first, network)  # a directory of the user stays where it is
    fetch_initial(second, network)


def test_without_a_store_nothing_is_copied(tmp_path: Path) -> None:
    paths = ProjectPaths(tmp_path, tmp_path / "road", "drives", "enet")
    publish_result(paths, "frames", {})
    with training_copies(paths, "teacher", "checkpoint.pt"):
        assert fetch_results(paths, "frames") == paths and not is_stored(paths, "frames")
    assert list(tmp_path.iterdir()) == []
