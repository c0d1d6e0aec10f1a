import json
import multiprocessing
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

import maintenance
from lgad_pipeline.config.promotion import PromotionConfig
from lgad_pipeline.errors import LgadError
from lgad_pipeline.evaluation.promotion import Verdict, frame_table, judge
from resources.mlflow.registry import Decision, decide
from resources.mlflow.resource import MlflowTracking, default_tracking
from resources.mlflow.versions import champion_of, rollback

NAME = "roads-enet"
Store = tuple[MlflowTracking, Path]


def verdict(champion: int, challenger: int) -> Verdict:
    """Of two networks that find so many of 100 lanes."""
    tables = []
    for hits in (champion, challenger):
        counts = np.ones((100, 3), int)
        counts[hits:, 2] = 0
        tables.append(frame_table(["normal"] * 100, [str(i) for i in range(100)], counts=counts))
    both = tables[0], tables[1]
    return judge(both, both, latency=(0.01, 0.01), rule=PromotionConfig())


def hits_of(folder: Path) -> int:
    return int((folder / "weights.safetensors").read_text())


def compare(champion: Path, challenger: Path) -> Verdict:
    return verdict(hits_of(champion), hits_of(challenger))


def decision(store: Store, version: int) -> Decision:
    tracking, folder = store
    return decide(tracking, NAME, version=str(version), compare=compare, lock=folder / "lock")


@pytest.fixture(scope="module")
def tracking(tmp_path_factory):
    return default_tracking(tmp_path_factory.mktemp("store"))


@pytest.fixture
def store(tracking, tmp_path):
    """One store for all, since making it takes seconds; a test has a model of its own."""
    yield tracking, tmp_path
    tracking.client.delete_registered_model(NAME)


def add_versions(store: Store, hits: list[int]) -> None:
    """A registered model whose versions find so many lanes each."""
    tracking, folder = store
    tracking.client.create_registered_model(NAME)
    run = tracking.client.create_run(tracking.experiment("roads")).info.run_id
    for number, count in enumerate(hits, 1):
        network = folder / str(number) / "artifacts" / "network"
        network.mkdir(parents=True)
        (network / "weights.safetensors").write_text(str(count))
        tracking.client.create_model_version(NAME, (folder / str(number)).as_uri(), run)


def tags(tracking: MlflowTracking, version: int) -> dict[str, str]:
    return tracking.client.get_model_version(NAME, str(version)).tags


def test_first_becomes_champion_better_takes_over_worse_and_equal_do_not(store):
    add_versions(store, [50, 40, 50, 80])
    tracking = store[0]
    first = decision(store, 1)
    assert first.promoted and first.before is None and first.verdict is None
    assert not decision(store, 2).promoted and not decision(store, 3).promoted
    better = decision(store, 4)
    assert better.promoted and better.before == "1" and champion_of(tracking, NAME) == "4"
    assert decision(store, 4).reason == "Version 4 is champion already."
    assert tags(tracking, 4)["decision"] == better.reason, "a second registration keeps the decision"
    written = tags(tracking, 2)
    assert written["validation_f1"] == "0.4000" and written["champion_validation_f1"] == "0.5000"
    assert "loses 10.0 points" in written["decision"]
    rule = "confidence 0.95, scenario_tolerance 0.02, least_frames 20, latency_factor 1.2"
    assert written["promotion_rule"] == tags(tracking, 4)["promotion_rule"] == rule
    assert "promotion_rule" not in tags(tracking, 1), "the first version is compared with none"


def test_list_of_versions_names_those_compared_by_another_rule(store, monkeypatch):
    add_versions(store, [50, 40])
    decision(store, 1)
    decision(store, 2)
    tracking, folder = store
    monkeypatch.setenv("LGAD_SETTINGS", str(folder / "lgad.yaml"))
    monkeypatch.setenv("MLFLOW_TRACKING_URI", tracking.uri)

    recipes = "recipes: {enet: {teacher: {steps: 200}, student: {steps: 200}}}"

    def listed(rule: str) -> list[str]:
        (folder / "lgad.yaml").write_text(f"{recipes}\npromotion: {{{rule}}}\n")
        result = CliRunner().invoke(maintenance.app, ["rollback", "--list", NAME])
        assert result.exit_code == 0, result.output
        return result.output.splitlines()

    second, first = listed("")
    assert second.startswith("   2  - ") and "loses 10.0 points" in second
    assert first.startswith("   1  champion ") and champion_of(tracking, NAME) == "1"
    second_again, other_rule, first_again = listed("latency_factor: 2")
    assert (second_again, first_again) == (second, first)
    assert other_rule.strip() == (
        "compared by another rule than that of lgad.yaml: "
        "confidence 0.95, scenario_tolerance 0.02, least_frames 20, latency_factor 1.2"
    )


def test_decision_is_kept_with_its_numbers(store):
    add_versions(store, [50, 80])
    tracking, folder = store
    decision(store, 1)
    decision(store, 2)
    run = str(tracking.client.get_model_version(NAME, "2").run_id)
    path = tracking.client.download_artifacts(run, "promotion/version-2.json", str(folder))
    content = json.loads(Path(path).read_text())
    assert content["promoted"] and content["before"] == "1"
    assert content["verdict"]["total"]["gain"]["value"] == pytest.approx(0.3)
    assert content["verdict"]["scenarios"][0]["name"] == "normal"
    assert content["verdict"]["rule"].startswith("confidence 0.95, ")


@pytest.mark.parametrize(
    ("failing", "arrives"),
    [
        ("set_model_version_tag", True),
        ("log_dict", False),
        ("set_registered_model_alias", False),
        ("set_registered_model_alias", True),
        ("delete_model_version_tag", False),
    ],
)
def test_decision_that_the_store_interrupts_is_finished_by_the_retry(store, monkeypatch, failing, arrives):
    """The store fails at one request, or its answer is lost; Dagster then retries the step."""
    add_versions(store, [50, 80])
    tracking, folder = store
    decision(store, 1)
    client = tracking.client
    request = getattr(client, failing)

    def fail(*arguments: object) -> None:
        if arrives:
            request(*arguments)
        raise ConnectionError("MLflow is away")

    with monkeypatch.context() as patch, pytest.raises(ConnectionError):
        patch.setattr(client, failing, fail)
        decision(store, 2)
    again = decision(store, 2)
    assert again.takes_over and again.before == "1" and champion_of(tracking, NAME) == "2"
    assert "becomes champion: F1 0.800 against 0.500 of version 1" in again.reason
    written = tags(tracking, 2)
    assert written["decision"] == again.reason and written["replaced"] == "1"
    assert "promotion_pending" not in written
    path = client.download_artifacts(
        str(client.get_model_version(NAME, "2").run_id), "promotion/version-2.json", str(folder)
    )
    assert json.loads(Path(path).read_text())["verdict"]["total"]["challenger"] == 0.8
    assert not decision(store, 2).takes_over, "a finished decision is not repeated"
    assert rollback(tracking, NAME, lock=folder / "lock") == ("2", "1")


def test_rollback_that_the_store_interrupts_is_finished_by_the_same_command(store, monkeypatch):
    add_versions(store, [50, 80])
    tracking, folder = store
    decision(store, 1)
    decision(store, 2)

    def fail(*arguments: object) -> None:
        raise ConnectionError("MLflow is away")

    for failing in ("set_model_version_tag", "set_registered_model_alias"):
        with monkeypatch.context() as patch, pytest.raises(ConnectionError):
            patch.setattr(tracking.client, failing, fail)
            rollback(tracking, NAME, lock=folder / "lock")
        assert champion_of(tracking, NAME) == "2"
    assert rollback(tracking, NAME, lock=folder / "lock") == ("2", "1")
    assert not decision(store, 2).promoted and "was rolled back" in tags(tracking, 2)["decision"]


def test_rollback_puts_the_predecessor_back_and_the_rule_does_not_undo_it(store):
    add_versions(store, [50, 80])
    tracking, folder = store
    decision(store, 1)
    with pytest.raises(LgadError, match=r"no predecessor on record; choose one: .*, of 2, 1 \(champion\)"):
        rollback(tracking, NAME, lock=folder / "lock")
    decision(store, 2)
    assert rollback(tracking, NAME, lock=folder / "lock") == ("2", "1")
    assert champion_of(tracking, NAME) == "1" and "Rolled back" in tags(tracking, 2)["decision"]
    assert not decision(store, 2).promoted and champion_of(tracking, NAME) == "1"
    with pytest.raises(LgadError, match="no registered model nobody-enet"):
        rollback(tracking, "nobody-enet", lock=folder / "lock")


def test_another_version_of_a_training_that_was_rolled_back_stays_challenger(store):
    add_versions(store, [50, 80, 80])
    tracking, folder = store
    for version in ("2", "3"):
        tracking.client.set_model_version_tag(NAME, version, "training_fingerprint", "same")
    decision(store, 1)
    decision(store, 2)
    rollback(tracking, NAME, lock=folder / "lock")
    again = decision(store, 3)
    assert not again.promoted and "Version 3, the same training as version 2, was rolled back" in again.reason
    assert rollback(tracking, NAME, to="3", lock=folder / "lock") == ("1", "3")
    assert "rolled_back" not in tags(tracking, 2)  # a person has put this training in use again


def test_champion_that_cannot_be_loaded_stays(store):
    add_versions(store, [50, 80])
    decision(store, 1)

    def fail(champion: Path, challenger: Path) -> Verdict:
        raise LgadError("the weights do not fit the network.")

    found = decide(store[0], NAME, version="2", compare=fail, lock=store[1] / "lock")
    assert not found.promoted and "do not fit" in found.reason and "lgad rollback" in found.reason


def test_champion_that_another_machine_puts_in_use_meanwhile_is_the_one_to_beat(store):
    tracking, folder = store
    add_versions(store, [20, 50, 90])
    decision(store, 1)
    seen = []

    def compare_late(champion: Path, challenger: Path) -> Verdict:
        seen.append(hits_of(champion))
        tracking.client.set_registered_model_alias(NAME, "champion", "3")  # the other one is ready first
        return compare(champion, challenger)

    found = decide(tracking, NAME, version="2", compare=compare_late, lock=folder / "lock")
    assert seen == [20, 90] and not found.promoted and champion_of(tracking, NAME) == "3"
    assert "of version 3" in tags(tracking, 2)["decision"]


def _decide_in_process(uri: str, folder: Path, version: int, ready) -> None:
    tracking = MlflowTracking(uri=uri, artifacts=str(folder / "mlruns"))
    tracking.client.get_registered_model(NAME)
    ready.wait()
    decide(tracking, NAME, version=str(version), compare=compare, lock=folder / "lock")


def test_two_runs_that_finish_together_leave_the_better_one(store):
    tracking, folder = store
    add_versions(store, [20, 80, 50])
    decision(store, 1)
    processes = multiprocessing.get_context("spawn")
    ready = processes.Barrier(2, timeout=300)
    both = [
        processes.Process(target=_decide_in_process, args=(tracking.uri, folder, version, ready))
        for version in (2, 3)
    ]
    for process in both:
        process.start()
    for process in both:
        process.join()
    assert [process.exitcode for process in both] == [0, 0]
    assert champion_of(tracking, NAME) == "2"
    later = tags(tracking, 3)
    # Either it lost to version 2, or it was champion for a moment and version 2 beat it.
    assert "stays challenger" in later["decision"] or tags(tracking, 2)["replaced"] == "3"
