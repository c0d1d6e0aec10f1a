"""`lgad screen`: gradient ratio and cosine, against gradients that `backward` computes one by one."""

import json
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from lgad_pipeline.cli import main as cli
from lgad_pipeline.cli.studies import screen as command
from lgad_pipeline.data.augmentation import augment
from lgad_pipeline.data.loader import Loader, collate
from lgad_pipeline.data.normalization import normalize
from lgad_pipeline.data.random_amounts import batch_generator
from lgad_pipeline.data.shards import ShardSet
from lgad_pipeline.distillation.attention import attention_divergence, attention_map
from lgad_pipeline.distillation.teacher import label_planes
from lgad_pipeline.errors import LgadError
from lgad_pipeline.networks.checkpoint import load_network
from lgad_pipeline.settings import Settings
from lgad_pipeline.studies.config import GainStudy
from lgad_pipeline.studies.data import prepare_data
from lgad_pipeline.studies.screening import screen
from lgad_pipeline.training.plan import TrainingPlan
from lgad_pipeline.training.tasks import lane_losses, total_loss
from lgad_pipeline.training.trainer import train

SETTINGS = """
datasets:
  tiny:
    kind: synthetic
    image_size: [32, 88]
    crop_top: 240
    lane_width: 40
    world: {seed: 0, train: 4, val: 2, test: 1}
recipes:
  enet:
    network: {width: 0.25}
    teacher: {steps: 4, batch_size: 2, log_every: 2, optimizer: {warmup_steps: 1}}
    student: {steps: 4, batch_size: 2, log_every: 2, optimizer: {warmup_steps: 1}, precision: 32-true}
"""
STUDY = """
dataset: tiny
methods: [lgad, sad, logits, blurred, label-head, equal-compute]
variants:
  balanced:
    recipe: {distillation: {balance: 0.3, gate: true, adapter: true, per_slot: true, frame_weight: error}}
"""
LAYERS = ("encoder.stage2", "encoder.stage3")


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder with a packed data set, a trained student and a trained teacher."""
    torch.set_num_threads(1)
    root = tmp_path_factory.mktemp("screen")
    (root / "lgad.yaml").write_text(SETTINGS)
    (root / "study.yaml").write_text(STUDY)
    settings = Settings.load(root / "lgad.yaml")
    shards, _ = prepare_data(settings.dataset("tiny"), root / "data", workers=1)
    shards.rename(root / "shards")
    for role in ("teacher", "student"):
        plan = TrainingPlan.from_recipe(
            settings.recipe("enet"),
            role=role,  # type: ignore[arg-type]
            image_size=(32, 88),
            shards=root / "shards",
            folder=root / role,
        )
        train(plan, device="cpu")
    return root


def gradients(
    place: Path, layer: str | None, kept: dict | None = None, *, held_out: bool = False
) -> tuple[list[torch.Tensor], float]:
    """Return the gradient of the labels, or of LGAD at one layer, by the parameters; and its value."""
    student, _ = load_network(place / "student")
    teacher, _ = load_network(place / "teacher")
    recipe, packed = Settings.load(place / "lgad.yaml").recipe("enet"), ShardSet.open(place / "shards")
    if held_out:
        batch = collate(packed["val"], [0, 1])  # type: ignore[arg-type]
    else:
        batch = augment(
            Loader(packed["train"], 2, seed=1).batch(0), recipe.augmentation, batch_generator(1, 0)
        )
    kept = {} if kept is None else kept  # features of the layer by network
    for network in (student, teacher):
        name = layer or LAYERS[0]
        network.get_submodule(name).register_forward_hook(
            lambda module, inputs, output, network=network: kept.update({network: output})
        )
    torch.manual_seed(0)
    output = student.train()(normalize(batch.image).contiguous(memory_format=torch.channels_last))
    loss = total_loss(lane_losses(output, batch.label, batch.existence, recipe.student))
    if layer:
        teacher(label_planes(batch.label, 5))
        loss = attention_divergence(attention_map(kept[student]), attention_map(kept[teacher]))
    loss.backward()
    return [
        torch.zeros_like(value) if value.grad is None else value.grad for value in student.parameters()
    ], loss.item()


def test_ratio_and_cosine_of_each_path(place: Path) -> None:
    study, recipe = GainStudy.load(place / "study.yaml"), Settings.load(place / "lgad.yaml").recipe("enet")
    before = {path: path.read_bytes() for path in (place / "student").iterdir()}
    rows = screen(
        place / "student",
        study,
        recipe=recipe,
        shards=place / "shards",
        teacher=place / "teacher",
        settings=["lgad"],
        batches=1,
    )
    assert [(row.setting, row.loss, row.layers) for row in rows] == [
        ("labels", "segmentation", "all"),
        ("lgad", "attention", "all"),
        ("lgad", "attention", LAYERS[0]),
        ("lgad", "attention", LAYERS[1]),
    ]
    labels, value = gradients(place, None)
    held_out, _ = gradients(place, None, held_out=True)
    assert rows[0].ratio == pytest.approx(1) and rows[0].value == pytest.approx(value, rel=1e-4)
    for row in rows[2:]:
        own, value = gradients(place, row.layers, kept := {})
        reached = [index for index, part in enumerate(own) if part.any()]
        a, b, c = (torch.cat([parts[i].flatten() for i in reached]) for parts in (own, labels, held_out))
        assert row.value == pytest.approx(value, rel=1e-4)
        assert row.ratio == pytest.approx((a.norm() / b.norm()).item(), rel=1e-3)
        assert row.cosine == pytest.approx((a @ c / (a.norm() * c.norm())).item(), abs=1e-3)
        first, second = (attention_map(features).flatten(1).detach().numpy() for features in kept.values())
        correlations = [np.corrcoef(*pair)[0, 1] for pair in zip(first, second, strict=True)]
        assert row.correlation == pytest.approx(np.mean(correlations), abs=1e-3)
    assert rows[0].correlation is None and rows[2].correlation and rows[3].correlation
    assert rows[1].correlation == pytest.approx((rows[2].correlation + rows[3].correlation) / 2)
    assert rows[1].value == pytest.approx((rows[2].value + rows[3].value) / 2, rel=1e-5)
    assert {path: path.read_bytes() for path in (place / "student").iterdir()} == before


def test_a_loss_that_is_balanced_is_screened_without_its_balance(place: Path) -> None:
    study = GainStudy.load(place / "study.yaml")
    recipe = Settings.load(place / "lgad.yaml").recipe("enet")

    def rows(**settings: float) -> list:
        return screen(
            place / "student",
            study,
            recipe=recipe.model_copy(update={"losses": {"sad": settings}}),
            shards=place / "shards",
            teacher=place / "teacher",
            settings=["lgad"],
            batches=1,
        )

    assert rows(balance=0.3) == rows()


def test_the_command_prints_a_table_and_writes_json(place: Path, monkeypatch, capsys) -> None:
    monkeypatch.chdir(place)
    arguments = "student student --study study.yaml --shards shards --teacher teacher --batches 2"
    monkeypatch.setattr(sys, "argv", ["lgad", "screen", *arguments.split(), "--json", "rows.json"])
    monkeypatch.setenv("COLUMNS", "200")
    with pytest.raises(SystemExit) as ended:
        cli.main()
    assert ended.value.code == 0
    rows = json.loads((place / "rows.json").read_text())
    settings = {row["setting"] for row in rows}
    assert settings == {"labels", "lgad", "sad", "blurred", "label-head", "balanced"}
    assert len(rows) == 2 * (1 + 4 * 3 + 1) and rows[: len(rows) // 2] == rows[len(rows) // 2 :]
    assert all(abs(row["cosine"]) <= 1 and row["ratio"] > 0 for row in rows)
    printed = capsys.readouterr().out
    assert "over that of the labels" in printed and "encoder.stage3" in printed


def test_an_output_that_cannot_be_written_is_an_error_before_anything_is_read(place: Path) -> None:
    with pytest.raises(LgadError, match=r"rows\.json cannot be written"):
        command(
            [place / "nowhere"], place / "study.yaml", place / "shards", json=place / "study.yaml/rows.json"
        )


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"teacher": None}, "lgad needs a trained teacher; name its directory"),
        (
            {"settings": ["lgda"]},
            "no setting lgda to screen; it has lgad, sad, blurred, label-head, balanced",
        ),
        ({"student": "nowhere"}, "nowhere"),
        (
            {"student": "teacher"},
            "teacher holds a teacher, which reads label maps and no frames; name direct",
        ),
    ],
)
def test_mistakes_are_one_sentence(place: Path, change: dict, sentence: str) -> None:
    study, recipe = GainStudy.load(place / "study.yaml"), Settings.load(place / "lgad.yaml").recipe("enet")
    inputs: dict = {"shards": place / "shards", "teacher": place / "teacher", "batches": 1, **change}
    with pytest.raises(LgadError, match=sentence):
        screen(place / inputs.pop("student", "student"), study, recipe=recipe, **inputs)
