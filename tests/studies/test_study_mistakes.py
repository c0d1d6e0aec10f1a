"""Mistakes in studies and their recipes, which are errors before anything is rendered or trained."""

from pathlib import Path

import pytest
from pydantic import ValidationError

from lgad_pipeline.cli.studies import gain
from lgad_pipeline.config.distillation import DistillationConfig
from lgad_pipeline.errors import LgadError
from lgad_pipeline.studies.config import Variant
from lgad_pipeline.studies.data import prepare_data
from lgad_pipeline.studies.run import distillation_gain
from tests.studies.test_study import SETTINGS, loaded


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ("init: gone", "init: .*gone does not exist; train the network first, or name another folder"),
        ("init: models:/tiny-enet@champion", "init: .* is an address of MLflow, not a folder; fetch"),
        (
            "network: {name: resnet18, pretrained: gone.pth}",
            "pretrained: .*gone.pth does not exist; download",
        ),
    ],
)
def test_missing_initial_weights_are_one_error_before_anything_starts(tmp_path, change, reason) -> None:
    loaded(tmp_path)
    recipe = SETTINGS.replace("    network: {width: 0.25}", f"    {change}")
    (tmp_path / "lgad.yaml").write_text(recipe)
    with pytest.raises(LgadError, match=f"^{reason}") as raised:
        gain(tmp_path / "study.yaml", output=tmp_path / "out", settings=tmp_path / "lgad.yaml", device="cpu")
    assert len(str(raised.value).splitlines()) == 1 and not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("study", "sentence"),
    [
        ("seeds: yes", "study.yaml: seeds is yes; write a number"),
        ("compute: {distilled_step: on}", "study.yaml: compute.distilled_step is yes; write a number"),
        (
            "variants: {even: {recipe: {distillation: {balance: yes, gate: yes}}}}",
            "study.yaml: variants.even: recipe.distillation.balance is yes; write a number",
        ),
    ],
)
def test_yes_in_place_of_a_number_of_a_study_is_an_error(tmp_path: Path, study: str, sentence: str) -> None:
    with pytest.raises(LgadError) as error:
        loaded(tmp_path, study)
    assert str(error.value).startswith(sentence)


@pytest.mark.parametrize("number", [".inf", "-.inf", ".nan"])
def test_an_infinite_number_of_a_study_is_an_error(tmp_path: Path, number: str) -> None:
    with pytest.raises(LgadError, match=r"^study.yaml: compute.teacher_step is .*; give a finite number"):
        loaded(tmp_path, f"compute: {{teacher_step: {number}}}")
    with pytest.raises(ValidationError, match="finite number"):
        DistillationConfig(weight=float(number.replace(".", "")))


@pytest.mark.parametrize(
    ("recipe", "method", "reason"),
    [
        (
            {"distillation": {"paths": [{"student": "nope", "teacher": "encoder.stage1"}]}},
            "lgad",
            "ENet has no layer 'nope'",
        ),
        (
            {"distillation": {"paths": [{"student": "encoder.stage1", "teacher": "nope"}]}},
            "lgad",
            "ENet has no layer 'nope'",
        ),
        (
            {"distillation": {"start_step": 4}},
            "lgad",
            "The loss attention starts at step 4 of a training of 4 steps",
        ),
        (
            {"distillation": {"maps": "cached", "paths": [{"student": "encoder.stage1", "teacher": "nope"}]}},
            "lgad",
            "ENet has no layer 'nope'",
        ),
        (
            {"distillation": {"paths": [{"student": "nope", "teacher": "encoder.stage1"}]}},
            "blurred",
            "ENet has no layer 'nope'",
        ),
        ({"label_head": {"layers": ["nope"]}}, "label-head", "ENet has no layer 'nope'"),
        ({"label_head": {"start_step": 5000}}, "label-head", "The loss label_head starts at step 5000"),
        ({"sad": {"layers": ["encoder.stage1"]}}, "lgad+sad", "SAD needs two layers"),
        ({"logits": {"start_step": 9999}}, "logits", "The loss logits starts at step 9999"),
        ({"losses": {"nope": {}}}, "lgad", "Loss 'nope' does not exist"),
    ],
)
def test_losses_that_do_not_fit_are_an_error_before_teachers_are_trained(
    tmp_path, recipe, method, reason
) -> None:
    study, settings = loaded(tmp_path)
    study = study.model_copy(update={"variants": {"odd": Variant(method=method, recipe=recipe)}})
    dataset, recipes = settings.dataset("tiny"), {"enet": settings.recipe("enet")}
    shards, recordings = prepare_data(dataset, tmp_path / "data", workers=1)
    with pytest.raises(LgadError, match=f"^enet odd: {reason}"):
        distillation_gain(
            study,
            dataset=dataset,
            recipes=recipes,
            shards=shards,
            recordings=recordings,
            output=tmp_path / "out",
            device="cpu",
        )
    assert not (tmp_path / "out").exists()


def test_settings_of_a_study_that_change_nothing_are_errors(tmp_path: Path) -> None:
    study, settings = loaded(tmp_path, "variants: {other: {recipe: {teacher: {seed: 3}}}}")
    with pytest.raises(
        LgadError, match=r"variants\.other\.recipe\.teacher\.seed has no effect, because teach"
    ):
        study.require_effects("study.yaml", [settings.recipe("enet")])
    with pytest.raises(LgadError, match=r"label_noise\.shifted is 0, so that shift moves no lane"):
        loaded(tmp_path, "data: {label_noise: {shift: 0.1, shifted: 0}}")
