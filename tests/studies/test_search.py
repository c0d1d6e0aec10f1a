"""Search for recipe settings: real trainings of a small network, resumed after an interruption."""

import errno
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest
import torch

from lgad_pipeline.config.distillation import DistillationConfig
from lgad_pipeline.config.network import NetworkSpec
from lgad_pipeline.errors import LgadError, os_fault
from lgad_pipeline.inference.split_prediction import predict_split
from lgad_pipeline.networks.checkpoint import save_network
from lgad_pipeline.networks.registry import build_network
from lgad_pipeline.settings import Settings, SyntheticDataset
from lgad_pipeline.studies import search as searching
from lgad_pipeline.studies import trainings
from lgad_pipeline.studies.search import search
from lgad_pipeline.studies.search_config import SearchStudy
from lgad_pipeline.studies.trainings import StudyInputs
from tests.support.trainings import pack_road

optuna = pytest.importorskip("optuna")

SETTINGS = """
recipes:
  tiny:
    network: {name: enet, width: 0.25}
    teacher: &training {steps: 3, batch_size: 2, validate_every: 3, threads: 1, optimizer: {warmup_steps: 1}}
    student: *training
    decode: {existence_threshold: 0, peak_threshold: 0}
"""
STUDY = {
    "recipe": "tiny",
    "trials": 3,
    "settings": {
        "student.optimizer.learning_rate": {"low": 1e-3, "high": 1e-1, "log": True},
        "distillation.weight": {"choices": [0.5, 2.0]},
        "student.steps": {"low": 2, "high": 4, "whole": True},
    },
}


@pytest.fixture(scope="module")
def world(tmp_path_factory) -> tuple[Settings, StudyInputs]:
    """A data set of training and validation frames; no test frame exists."""
    root = tmp_path_factory.mktemp("road")
    shards = pack_road(root, {"train": range(6), "val": [6, 7], "test": []})
    (root / "lgad.yaml").write_text(SETTINGS)
    dataset = SyntheticDataset.model_validate(
        {"kind": "synthetic", "image_size": [32, 88], "crop_top": 240, "lane_width": 40}
    )
    return Settings.load(root / "lgad.yaml"), StudyInputs(dataset, shards, root, "cpu")


def run(world, output: Path, study: dict, **options) -> tuple[searching.SearchResult, list[str]]:
    settings, inputs = world
    lines: list[str] = []
    result = search(
        SearchStudy.model_validate(study),
        recipe=settings.recipe("tiny"),
        inputs=inputs,
        output=output,
        progress=lines.append,
        **options,
    )
    return result, lines


def test_interrupted_search_is_resumed_and_the_best_recipe_is_written(world, tmp_path, monkeypatch):
    evaluate, seen = searching._evaluate, []

    def killed_in_the_second_trial(recipe, *others):
        seen.append(recipe)
        if len(seen) == 2:
            raise KeyboardInterrupt
        return evaluate(recipe, *others)

    monkeypatch.setattr(searching, "_evaluate", killed_in_the_second_trial)
    with pytest.raises(KeyboardInterrupt):
        run(world, tmp_path, STUDY)
    monkeypatch.setattr(searching, "_evaluate", lambda *values: seen.append(values[0]) or evaluate(*values))
    result, lines = run(world, tmp_path, STUDY)
    assert seen[2] == seen[1], "the interrupted trial is repeated with its values"
    assert len(result.trials) == 3 and len(lines) == 2 and lines[-1].startswith("[3/3]")
    again, lines = run(world, tmp_path, STUDY)
    assert not lines and again.trials.equals(result.trials)
    best = Settings.load(result.best).recipe("tiny-search")
    row = result.trials.iloc[0]
    assert result.trials["F1"].is_monotonic_decreasing
    assert best.student.optimizer.learning_rate == row["student.optimizer.learning_rate"]
    assert (
        best.distillation.weight == row["distillation.weight"] and best.student.steps == row["student.steps"]
    )
    assert best.network.width == 0.25 and best.decode.peak_threshold == 0
    written = pd.read_csv(tmp_path / "trials.csv")
    assert written["trial"].tolist() == result.trials["trial"].tolist()
    journal = tmp_path / searching.JOURNAL
    with journal.open("a") as file:
        file.write('{"op_code": 4, "worker')  # the disk was full
    more, lines = run(world, tmp_path, {**STUDY, "trials": 4})
    assert len(more.trials) == 4 and len(lines) == 1
    assert len(run(world, tmp_path, {**STUDY, "trials": 4})[0].trials) == 4
    with pytest.raises(LgadError, match="search with other settings"):
        run(world, tmp_path, {**STUDY, "seed": 1})
    journal.write_text("another program's\n")
    with pytest.raises(
        LgadError, match=r"search\.journal is not a journal of trials, or is damaged \(.*restore"
    ):
        run(world, tmp_path, STUDY)


def test_a_full_disk_uses_up_no_trial(world, tmp_path, monkeypatch):
    evaluate, seen, full = searching._evaluate, [], True

    def on_a_full_disk(recipe, *others):
        seen.append(recipe)
        if full and len(seen) > 1:
            raise os_fault(OSError(errno.ENOSPC, ""), tmp_path / "checkpoint.pt", "written")
        return evaluate(recipe, *others)

    monkeypatch.setattr(searching, "_evaluate", on_a_full_disk)
    with pytest.raises(LgadError, match=r"checkpoint\.pt cannot be written \(No space left on device\)"):
        run(world, tmp_path, STUDY)
    tried, full = list(seen), False
    result, lines = run(world, tmp_path, STUDY)
    assert len(result.trials) == 3 and not result.failed and len(lines) == 2
    assert seen[len(tried) :] == tried[1:], "the trials are repeated with their values"


def test_missing_initial_weights_use_up_no_trial(world, tmp_path):
    settings, inputs = world
    recipe = settings.recipe("tiny").model_copy(update={"init": str(tmp_path / "missing")})
    with pytest.raises(LgadError, match=r"^init: .*missing does not exist; train the network first"):
        search(SearchStudy.model_validate(STUDY), recipe=recipe, inputs=inputs, output=tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_trials_at_a_time_with_equal_settings_do_not_share_their_files(world, tmp_path, monkeypatch):
    settings, inputs = world
    meeting, together = threading.Barrier(2), []

    def predict(*arguments, **options):
        with suppress(threading.BrokenBarrierError):
            meeting.wait(2)  # seconds; without a lock the other trial comes here, too
            together.append(True)
        predict_split(*arguments, **options)

    monkeypatch.setattr(trainings, "predict_split", predict)
    study = SearchStudy.model_validate({**STUDY, "method": "alone"})
    with ThreadPoolExecutor(2) as pool:
        trials = [
            pool.submit(searching._evaluate, settings.recipe("tiny"), study, inputs, tmp_path)
            for _ in range(2)
        ]
    assert trials[0].result() == trials[1].result() and not together


def test_a_second_search_in_the_directory_of_a_running_one_is_an_error(world, tmp_path, monkeypatch):
    evaluate, errors = searching._evaluate, []

    def meanwhile(*values):
        with ThreadPoolExecutor(1) as pool:  # the lock belongs to a thread
            errors.append(pool.submit(run, world, tmp_path, STUDY).exception())
        return evaluate(*values)

    monkeypatch.setattr(searching, "_evaluate", meanwhile)
    result, lines = run(world, tmp_path, {**STUDY, "trials": 1})
    assert str(errors[0]) == (
        f"{tmp_path} is in use by another process; wait until it has ended, or name another folder."
    )
    assert len(result.trials) == len(lines) == 1 and not result.failed


def test_trials_on_other_data_are_not_continued(world, tmp_path):
    settings, inputs = world
    study = {**STUDY, "method": "alone", "settings": {"student.steps": {"choices": [2, 3]}}}
    run(world, tmp_path / "out", {**study, "trials": 1})
    shards = pack_road(tmp_path / "road", {"train": range(5), "val": [5, 6], "test": []})
    with pytest.raises(LgadError, match="holds trials on other frames or labels; name another directory"):
        run((settings, replace(inputs, shards=shards)), tmp_path / "out", study)


def test_trials_from_other_initial_weights_are_not_continued(world, tmp_path):
    settings, inputs = world
    spec = NetworkSpec(image_size=(32, 88), width=0.25)
    study = SearchStudy.model_validate({**STUDY, "trials": 1})
    recipe = settings.recipe("tiny").model_copy(update={"init": str(tmp_path / "init")})
    for seed in (0, 1):
        torch.manual_seed(seed)
        save_network(tmp_path / "init", build_network(spec), spec=spec)
        if seed == 0:
            search(study, recipe=recipe, inputs=inputs, output=tmp_path / "out")
    with pytest.raises(LgadError, match=r"holds trials from other weights \(init\); name another directory"):
        search(study, recipe=recipe, inputs=inputs, output=tmp_path / "out")


def test_trials_that_fail_are_counted_with_their_reason(world, tmp_path):
    settings = {"student.optimizer.warmup_steps": {"choices": [1, 99]}}
    result, lines = run(world, tmp_path, {**STUDY, "method": "alone", "trials": 6, "settings": settings})
    assert len(result.trials) + result.failed == 6 and result.failed
    assert any("failed" in line and "warmup_steps 99" in line for line in lines)


@pytest.mark.parametrize(
    ("settings", "reason"),
    [
        (
            {"student.optimizer.speed": {"choices": [1, 2]}},
            r"no key student\.optimizer\.speed; the keys there",
        ),
        ({"student.steps.more": {"choices": [1, 2]}}, r"no key student\.steps\.more"),
        ({"student.batch_size": {"low": 2, "high": 8}}, "takes whole numbers alone; add `whole: true`"),
    ],
)
def test_unknown_keys_are_named(world, tmp_path, settings, reason):
    with pytest.raises(LgadError, match=reason):
        run(world, tmp_path, {**STUDY, "settings": settings})


@pytest.mark.parametrize(
    ("method", "key", "reason"),
    [
        ("alone", "distillation.start_step", "the method is alone, and only lgad reads distillation"),
        ("lgad", "sad.weight", "the method is lgad, and only sad reads sad"),
        ("lgad", "student.seed", "trials have the seed of the search"),
        ("lgad", "student.log_every", "it changes no weights"),
        ("lgad", "distillation.weight", "`balance` replaces it; change balance"),
        ("lgad", "distillation.temperature", "only `normalization: softmax` has a temperature"),
    ],
)
def test_keys_without_effect_are_named(world, tmp_path, method, key, reason):
    settings, inputs = world
    study = {**STUDY, "method": method, "settings": {key: {"choices": [1, 2]}}}
    tiny = settings.recipe("tiny")
    balanced = tiny.model_copy(update={"distillation": DistillationConfig(balance=0.3)})
    with pytest.raises(LgadError, match=f"The key {key} has no effect in this search, because {reason}"):
        search(SearchStudy.model_validate(study), recipe=balanced, inputs=inputs, output=tmp_path)
    both = {**STUDY["settings"], "distillation.balance": {"choices": [0.1, 0.3]}}
    with pytest.raises(LgadError, match=r"distillation\.balance replaces it; take one"):
        run(world, tmp_path, {**STUDY, "settings": both})


@pytest.mark.parametrize(
    ("space", "reason"),
    [
        ("{low: 2, high: 1}", "not below high"),
        ("{low: 0, high: 1, log: true}", "above 0"),
        ("{low: 0.5, high: 2, whole: true}", "whole numbers"),
        ("{choices: [1]}", "at least 2"),
    ],
)
def test_ranges_are_checked(tmp_path, space, reason):
    (tmp_path / "search.yaml").write_text(f"settings: {{student.steps: {space}}}")
    with pytest.raises(LgadError, match=reason):
        SearchStudy.load(tmp_path / "search.yaml")


def test_errors_speak_of_a_search(tmp_path):
    with pytest.raises(LgadError, match=r"none\.yaml cannot be read .*; give the YAML file of a search\."):
        SearchStudy.load(tmp_path / "none.yaml")
