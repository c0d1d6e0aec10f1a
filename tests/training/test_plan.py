"""Training plans derived from recipes."""

from pathlib import Path

import pytest
from pydantic import ValidationError

from lgad_pipeline.config.network import NetworkSpec
from lgad_pipeline.config.recipe import Recipe
from lgad_pipeline.errors import LgadError
from lgad_pipeline.training.distillation_spec import DistillationSpec
from lgad_pipeline.training.plan import TrainingPlan

RECIPE = {
    "network": {"name": "enet", "width": 0.5},
    "teacher_network": {"name": "erfnet"},
    "teacher_input": {"encoding": "binary", "erasing": 0.5},
    "teacher": {"steps": 300},
    "student": {"steps": 400},
    "losses": {"mypackage.losses:MyLoss": {"weight": 0.1}},
}
FOLDERS = {"image_size": (32, 88), "shards": Path("shards"), "folder": Path("out")}


def plan(recipe: dict, **inputs: object) -> TrainingPlan:
    return TrainingPlan.from_recipe(Recipe.model_validate(recipe), **{**FOLDERS, **inputs})  # type: ignore[arg-type]


def test_a_teacher_reads_label_maps_and_changes_geometry_only() -> None:
    teacher = plan(RECIPE, role="teacher")
    assert (teacher.network.name, teacher.network.in_channels, teacher.config.steps) == ("erfnet", 2, 300)
    assert teacher.augmentation.brightness == 0 and teacher.augmentation.rotation > 0
    assert teacher.teacher_input.erasing == 0.5


@pytest.mark.parametrize(
    ("method", "given"),
    [
        ("alone", set()),
        ("equal-compute", set()),
        ("lgad", {"teacher", "losses"}),
        ("sad", {"sad"}),
        ("lgad+sad", {"teacher", "losses", "sad"}),
        ("logits", {"model"}),
        ("blurred", {"blurred_labels"}),
        ("label-head", {"label_head"}),
    ],
)
def test_the_method_selects_the_losses(method: str, given: set[str]) -> None:
    student = plan(RECIPE, role="student", method=method, teacher=Path("teacher"), model=Path("model"))
    assert (student.network.name, student.network.in_channels, student.config.steps) == ("enet", 3, 400)
    names = ("teacher", "joint_teacher", "blurred_labels", "sad", "model", "label_head", "losses")
    assert {name for name in names if getattr(student.distillation, name)} == given


def test_an_unknown_method_is_an_error_that_lists_the_methods() -> None:
    with pytest.raises(LgadError, match=r"The method ldag does not exist; choose of alone, .*sad"):
        plan(RECIPE, role="student", method="ldag+sad")


def test_a_joint_teacher_replaces_the_folder_of_a_teacher() -> None:
    recipe = {**RECIPE, "distillation": {"teacher": "together"}}
    distillation = plan(recipe, role="student", method="lgad", teacher=Path("teacher")).distillation
    assert distillation.teacher is None and distillation.joint_teacher is not None
    assert distillation.joint_teacher.name == "erfnet"


@pytest.mark.parametrize(
    "targets",
    [
        {"teacher": Path("teacher"), "blurred_labels": True},
        {"joint_teacher": NetworkSpec(name="enet", image_size=(32, 88)), "blurred_labels": True},
        {"joint_teacher": NetworkSpec(name="enet", image_size=(32, 88)), "teacher": Path("teacher")},
    ],
    ids=" ".join,
)
def test_two_targets_of_the_lgad_loss_are_an_error(targets: dict) -> None:
    with pytest.raises(ValidationError, match=r"are given together, but .* one target; keep one"):
        DistillationSpec(**targets)


def test_a_compiled_network_is_another_training() -> None:
    """Its results differ by rounding; the description without it is that of versions that left it out."""

    def training(**student: object) -> dict:
        described = plan({**RECIPE, "student": {"steps": 400, **student}}, role="student")
        return described.description("shards", "code", precision="32-true")["training"]

    assert training(compile=True) == {**training(), "compile": True}
    assert "compile" not in training()
    assert training(cuda_graphs=True) == training()


def test_settings_that_no_loss_reads_are_not_described(tmp_path: Path) -> None:
    (tmp_path / "training.json").write_text('{"fingerprint": "that of the teacher"}')
    (tmp_path / "network.json").write_text(NetworkSpec(image_size=(32, 88)).model_dump_json())

    def described(method: str, *path: str, **recipe: object) -> dict:
        paths = [{"student": layer, "teacher": layer} for layer in path]
        changed = {**RECIPE, "losses": {}, "distillation": {"paths": paths}, **recipe}
        student = plan(changed, role="student", method=method, teacher=tmp_path)
        return student.distillation.description()

    own = "tests.support.losses:TeacherAgreement"
    assert described(own) == described(own, "encoder.stage1")
    assert described("label-head") != described("label-head", "encoder.stage1")
    named = {"label_head": {"layers": ["encoder.stage2"]}}
    assert described("label-head", **named) == described("label-head", "encoder.stage1", **named)
    assert described("lgad") != described("lgad", "encoder.stage1")


def test_a_plan_survives_json() -> None:
    student = plan(RECIPE, role="student", method="lgad+sad", teacher=Path("teacher"))
    assert TrainingPlan.model_validate_json(student.model_dump_json()) == student


def test_students_start_from_init_and_teachers_do_not() -> None:
    recipe = {**RECIPE, "init": "/models/student"}
    assert plan(recipe, role="student", method="lgad", teacher=Path("t")).init == Path("/models/student")
    assert plan(recipe, role="teacher").init is None


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"init": ""}, "it names no network; write a registered version or a directory"),
        ({"init": "models:/roads"}, "names no registered version; write models:/NAME@champion or"),
        ({"init": "models:/roads@a@b"}, "names no registered version"),
        ({"init": "runs:/1234/student"}, "names no registered version; write models:/NAME@champion or"),
        ({"init": "s3://bucket/student"}, "models:/NAME/VERSION, or a directory"),
        ({"init": "net", "network": {"pretrained": "resnet18.pth"}}, "both name initial weights"),
    ],
)
def test_wrong_initial_weights_are_an_error_of_the_recipe(changes: dict, sentence: str) -> None:
    with pytest.raises(ValidationError, match=sentence):
        Recipe.model_validate({**RECIPE, **changes})
