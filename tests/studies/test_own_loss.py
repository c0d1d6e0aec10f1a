"""A user's own loss as a method of a study."""

from pathlib import Path

import pandas as pd
import pytest
import torch
from pydantic import ValidationError

from lgad_pipeline.errors import LgadError
from lgad_pipeline.settings import Settings
from lgad_pipeline.studies.config import GainStudy
from lgad_pipeline.studies.plan import plan, teacher_trainings
from lgad_pipeline.studies.run import distillation_gain
from tests.support.trainings import pack_road, same_weights

SHARE, AGREEMENT = "tests.support.losses:LaneShare", "tests.support.losses:TeacherAgreement"
SETTINGS = """
datasets:
  tiny: {kind: synthetic, image_size: [32, 88], crop_top: 240, lane_width: 40}
recipes:
  enet:
    network: {width: 0.25}
    teacher: {steps: 4, batch_size: 2, log_every: 1, optimizer: {warmup_steps: 1}}
    student: {steps: 4, batch_size: 2, log_every: 1, optimizer: {warmup_steps: 1}}
"""


def settings(folder: Path) -> Settings:
    (folder / "lgad.yaml").write_text(SETTINGS)
    return Settings.load(folder / "lgad.yaml")


def study(**changes: object) -> GainStudy:
    return GainStudy.model_validate({"dataset": "tiny", "seeds": 1, **changes})


def test_a_loss_by_its_import_path_is_trained_and_compared(tmp_path: Path) -> None:
    torch.set_num_threads(1)
    project, root = settings(tmp_path), tmp_path / "road"
    root.mkdir()
    # The settings of SAD, which starts at step 9999, are not those of this method.
    losses = {SHARE: {"weight": 0.5, "start_step": 2}, "sad": {"start_step": 9999}}
    late = {"method": SHARE, "recipe": {"losses": losses}}
    off = {"method": SHARE, "recipe": {"losses": {SHARE: {"weight": 0}}}}
    given = study(methods=[SHARE, AGREEMENT], variants={"late": late, "off": off})
    result = distillation_gain(
        given,
        dataset=project.dataset("tiny"),
        recipes={"enet": project.recipe("enet")},
        shards=pack_road(root, {"train": range(4), "val": [4], "test": [5, 6, 7]}),
        recordings=root,
        output=tmp_path / "out",
        device="cpu",
        progress=lambda text: None,
    )
    folders = {name: tmp_path / "out/enet" / name / "seed0" for name in given.all_variants}
    history = {name: pd.read_parquet(folder / "history.parquet") for name, folder in folders.items()}
    assert set(folders) == {"alone", "LaneShare", "TeacherAgreement", "late", "off"}
    assert {row["variant"] for row in result.gains.to_dict("records")} == {*folders} - {"alone"}
    assert history["LaneShare"][f"train/{SHARE}"].notna().all()
    assert history["TeacherAgreement"][f"train/{AGREEMENT}"].notna().all()
    assert history["late"][f"train/{SHARE}"].notna().tolist() == [False, False, True, True]
    assert not any("attention" in str(column) for table in history.values() for column in table)
    # Without weight the student is the student alone, bit for bit; with it, it is another one.
    assert same_weights(folders["off"], folders["alone"])
    for name in ("LaneShare", "TeacherAgreement", "late"):
        assert not same_weights(folders[name], folders["alone"])


def test_a_teacher_is_trained_only_for_a_loss_that_reads_it(tmp_path: Path) -> None:
    recipes = {"enet": settings(tmp_path).recipe("enet")}
    for method, teachers in ((SHARE, 0), (AGREEMENT, 1), ("alone", 0)):
        given = study(methods=[method])
        assert len(teacher_trainings(given, plan(given, recipes, output=tmp_path))) == teachers


def test_the_steps_of_a_study_scale_the_schedule_of_every_loss(tmp_path: Path) -> None:
    recipe = settings(tmp_path).recipe("enet")
    losses = {SHARE: {"weight": 0.5, "start_step": 2, "stop_step": 4}, "sad": {}}
    recipe = recipe.model_copy(update={"losses": losses})
    alone, _ = plan(study(methods=[SHARE], steps=8), {"enet": recipe}, output=tmp_path)
    assert alone.training.recipe.losses == {
        SHARE: {"weight": 0.5, "start_step": 4, "stop_step": 8},
        "sad": {"start_step": 7},  # SAD's default, step 400 of 600, would be after the end
    }


@pytest.mark.parametrize(
    ("methods", "message"),
    [
        (["sadd"], "the method 'sadd' does not exist; choose one of alone, lgad"),
        ([SHARE, "other.losses:LaneShare"], "two methods have one class name; give one of them another name"),
    ],
)
def test_wrong_methods_are_rejected(methods: list[str], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        study(methods=methods)


def test_a_loss_that_cannot_be_imported_is_an_error_before_the_first_training(tmp_path: Path) -> None:
    recipes = {"enet": settings(tmp_path).recipe("enet")}
    with pytest.raises(LgadError, match=r"Loss tests\..*:Missing cannot be imported"):
        plan(study(methods=["tests.support.losses:Missing"]), recipes, output=tmp_path)
