"""When the scores of a finished student are used again, and what a network that failed stops."""

from pathlib import Path

import pytest

from lgad_pipeline.config.augmentation import LabelNoiseConfig
from lgad_pipeline.errors import LgadError
from lgad_pipeline.settings import Settings
from lgad_pipeline.studies import run as studies_run
from lgad_pipeline.studies.config import GainStudy, StudyData
from lgad_pipeline.studies.data import prepare_data
from lgad_pipeline.studies.plan import plan
from lgad_pipeline.studies.result import finished
from lgad_pipeline.studies.run import distillation_gain
from lgad_pipeline.studies.trainings import StudyInputs, has_other_settings, train_and_score
from tests.studies.test_study import loaded

ALONE = "dataset: tiny\nmethods: []\nvariants: {other: {method: alone, steps: 3}}\nseeds: 1\n"


def prepared(study: GainStudy, settings: Settings, folder: Path) -> StudyInputs:
    dataset = settings.dataset(study.dataset)
    return StudyInputs(dataset, *prepare_data(dataset, folder / "data", workers=1), "cpu")


def test_scores_of_other_settings_and_annotations_are_not_used_again(tmp_path: Path) -> None:
    study, settings = loaded(tmp_path, ALONE)
    inputs, recipe = prepared(study, settings, tmp_path), settings.recipe("enet")
    (run, _) = plan(study, {"enet": recipe}, output=tmp_path / "out")
    train_and_score(run.training, inputs)
    scores = run.training.folder / "test_frames.parquet"
    before = scores.read_bytes()
    scores.write_bytes(before + b" ")  # shows whether it is written again
    train_and_score(run.training, inputs)
    assert finished([run]) == [run] and scores.read_bytes() == before + b" "

    decode = recipe.decode.model_copy(update={"existence_threshold": 0.9})
    noisy = study.model_copy(update={"data": StudyData(label_noise=LabelNoiseConfig(drop=0.3))})
    for changed, of in ((study, recipe.model_copy(update={"decode": decode})), (noisy, recipe)):
        (other, _) = plan(changed, {"enet": of}, output=tmp_path / "out")
        assert has_other_settings(other.training) and not finished([other])

    listed = (inputs.recordings / "list/test.txt").read_text().split()
    lanes = inputs.recordings / Path(listed[0].lstrip("/")).with_suffix(".lines.txt")
    lanes.write_text(lanes.read_text() + "1 580 9 300\n")
    train_and_score(run.training, inputs)
    assert scores.read_bytes() != before + b" "


def test_a_teacher_that_fails_stops_its_own_students_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    study, settings = loaded(tmp_path, "dataset: tiny\nmethods: [lgad]\nseeds: 1\n")
    inputs, recipes = prepared(study, settings, tmp_path), {"enet": settings.recipe("enet")}

    def fails(*_: object) -> None:
        raise LgadError("The teacher diverged.")

    monkeypatch.setattr(studies_run, "run_training", fails)
    with pytest.raises(LgadError) as raised:
        distillation_gain(
            study,
            dataset=inputs.dataset,
            recipes=recipes,
            shards=inputs.shards,
            recordings=inputs.recordings,
            output=tmp_path / "out",
            device="cpu",
        )
    assert "The teacher diverged." in str(raised.value)
    assert "not trained: 1 student of the networks that failed" in str(raised.value)
    runs = finished(plan(study, recipes, output=tmp_path / "out"))
    assert [run.variant for run in runs] == ["alone"]


def test_teachers_of_two_recipes_with_equal_settings_are_both_trained(tmp_path: Path) -> None:
    study, settings = loaded(tmp_path, "dataset: tiny\nrecipes: [enet]\nmethods: [lgad]\nseeds: 1\n")
    study = study.model_copy(update={"recipes": ["enet", "other"]})
    inputs, recipe = prepared(study, settings, tmp_path), settings.recipe("enet")
    recipes = {"enet": recipe, "other": recipe}
    distillation_gain(
        study,
        dataset=inputs.dataset,
        recipes=recipes,
        shards=inputs.shards,
        recordings=inputs.recordings,
        output=tmp_path / "out",
        device="cpu",
    )
    runs = plan(study, recipes, output=tmp_path / "out")
    assert finished(runs) == runs
    teachers = {run.training.teacher for run in runs} - {None}
    assert len(teachers) == 2 and len({folder.name for folder in teachers if folder}) == 1
