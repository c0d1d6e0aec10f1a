"""Results and trainings of a project whose machines share a store: a real server that speaks S3."""

from pathlib import Path

import pytest

from lgad_pipeline.errors import LgadError
from lgad_pipeline.manifest import manifest_of
from resources.paths import ProjectPaths
from resources.state_store import fetch_results, fetch_stored, is_stored, publish_result, training_copies

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


def test_without_a_store_nothing_is_copied(tmp_path: Path) -> None:
    paths = ProjectPaths(tmp_path, tmp_path / "road", "drives", "enet")
    publish_result(paths, "frames", {})
    with training_copies(paths, "teacher", "checkpoint.pt"):
        assert fetch_results(paths, "frames") == paths and not is_stored(paths, "frames")
    assert list(tmp_path.iterdir()) == []
