from pathlib import Path

import pytest

from lgad_pipeline.errors import LgadError
from lgad_pipeline.settings import Settings

BASE = """
  enet:
    network: {name: enet}
    teacher: {steps: 150}
    student: {steps: 600, optimizer: {learning_rate: 0.005, warmup_steps: 10}}
"""


def load(folder: Path, recipes: str, local: str = "") -> Settings:
    (folder / "lgad.yaml").write_text(f"recipes:{recipes}")
    if local:
        (folder / "lgad.local.yaml").write_text(local)
    return Settings.load(folder / "lgad.yaml")


def test_recipe_has_the_keys_of_the_recipe_that_it_extends(tmp_path):
    mine = "  mine: {extends: enet, student: {optimizer: {learning_rate: 0.01}}}\n"
    settings = load(tmp_path, BASE + mine)
    recipe, base = settings.recipe("mine"), settings.recipe("enet")
    assert recipe.teacher == base.teacher and recipe.student.steps == 600
    assert recipe.student.optimizer.learning_rate == 0.01 and recipe.student.optimizer.warmup_steps == 10
    assert base.student.optimizer.learning_rate == 0.005


def test_recipes_are_extended_over_several_levels_and_lists_are_replaced(tmp_path):
    paths = "distillation: {{paths: [{{student: {0}, teacher: {0}}}]}}"
    a = f"  a: {{extends: enet, {paths.format('encoder.stage2')}}}\n"
    b = f"  b: {{extends: a, {paths.format('encoder.stage3')}}}\n"
    recipe = load(tmp_path, BASE + b + a).recipe("b")
    assert [path.student for path in recipe.distillation.paths or ()] == ["encoder.stage3"]
    assert recipe.student.steps == 600


def test_local_file_can_change_the_extended_recipe(tmp_path):
    mine = "  mine: {extends: enet, network: {width: 0.5}}\n"
    settings = load(tmp_path, BASE + mine, "recipes: {enet: {teacher: {steps: 149}}}\n")
    assert settings.recipe("mine").teacher.steps == 149


@pytest.mark.parametrize(
    ("recipes", "sentence"),
    [
        (
            "  mine: {extends: erfnet}\n",
            r"^lgad\.yaml: recipes\.mine\.extends is 'erfnet'; name one .*: enet\.$",
        ),
        ("  mine: {extends: [enet]}\n", r"recipes\.mine\.extends is \['enet'\]; name one of"),
        ("  a: {extends: b}\n  b: {extends: a}\n", r"extends makes a circle \(a -> b -> a\); remove one"),
        ("  a: {extends: a}\n", r"recipes\.a\.extends makes a circle \(a -> a\)"),
    ],
)
def test_unknown_names_and_circles_are_errors(tmp_path, recipes, sentence):
    with pytest.raises(LgadError, match=sentence):
        load(tmp_path, BASE + recipes)


def test_a_weight_that_an_inherited_balance_replaces_is_an_error(tmp_path):
    base = BASE + "    distillation: {balance: 0.3, stop_step: 400}\n"
    with pytest.raises(LgadError, match=r"^lgad\.yaml: recipes\.mine\.distillation\.weight has no effect"):
        load(tmp_path, base + "  mine: {extends: enet, distillation: {weight: 0}}\n")
    for own in ("{weight: 1, balance: null}", "{stop_step: 300}", "{balance: 0.5}"):
        load(tmp_path, base + f"  mine: {{extends: enet, distillation: {own}}}\n")
    load(tmp_path, BASE + "    sad: {weight: 2}\n  mine: {extends: enet, sad: {balance: 0.3}}\n")
