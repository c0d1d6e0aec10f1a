"""Blocks of Python, YAML and JSON in README and docs: executed where they are complete, else checked."""

import ast
import importlib
import json
from pathlib import Path

import pytest
import yaml

from lgad_pipeline.settings import Settings
from lgad_pipeline.studies.config import GainStudy
from lgad_pipeline.studies.search_config import SearchStudy
from tests.docs.blocks import ROOT, Block, blocks

PYTHON = blocks("python")

# A loop with placeholders for the reader's own objects.
LOOP = """
from collections import OrderedDict
import torch
from torch import nn
from lgad_pipeline import DistillationConfig, MimickingPath

def network(channels):
    layers = {"stem": nn.Conv2d(channels, 8, 3, padding=1), "layer3": nn.ReLU(), "head": nn.Conv2d(8, 5, 1)}
    return nn.Sequential(OrderedDict(layers))

student, teacher = network(3), network(5)
paths, config = [MimickingPath(student="layer3", teacher="layer3")], DistillationConfig()
loader = [(torch.rand(2, 3, 16, 32), torch.randint(0, 5, (2, 16, 32)))]
segmentation_loss = nn.functional.cross_entropy
"""
# First lines of the blocks that are executed -> code that is executed before them.
EXECUTED = {
    "README.md: from lgad_pipeline import DistillationConfig, LgadLoss": LOOP,
    "docs/index.md: from lgad_pipeline import LgadLoss": LOOP,
    "docs/data.md: from pathlib import Path": "",
    "docs/own_network.md: import torch": "",
    "docs/method.md: from lgad_pipeline import RegisteredLoss": "",
}
NOT_EXECUTED = {
    "README.md: model = mlflow": "needs a registered model; tests/resources/test_serving.py",
    "docs/own_data.md: import mlflow": "needs a registered model; tests/resources/test_serving.py",
    "docs/registry.md: import mlflow": "needs a registered model; tests/resources/test_serving.py",
    "docs/registry.md: import cv2": "needs a registered model; tests/resources/test_serving.py",
    "docs/registry.md: from pathlib import Path": "tests/inference/test_onnx_export.py executes it",
    "docs/data.md: from lgad_pipeline.datasets.culane": "tests/datasets/test_registry.py",
    "docs/scaling.md: from lgad_pipeline.training.job": "needs a plan; tests/training/test_job.py",
    "docs/own_network.md: from lgad_pipeline.config.network": "changes this process; tests/networks",
}


def starts(block: Block, names: dict[str, str]) -> str | None:
    return next((name for name in names if block.name.startswith(name)), None)


@pytest.mark.parametrize("block", PYTHON, ids=lambda block: block.name)
def test_python_compiles_and_its_imports_exist(block):
    for node in ast.walk(ast.parse(block.text)):
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("lgad_pipeline"):
            module = importlib.import_module(node.module or "")
            for alias in node.names:
                assert hasattr(module, alias.name), f"{node.module} has no {alias.name}"


@pytest.mark.parametrize("block", PYTHON, ids=lambda block: block.name)
def test_every_python_block_is_executed_or_says_why_not(block):
    assert starts(block, EXECUTED) or starts(block, NOT_EXECUTED), (
        f"{block.page}, line {block.line}: add the block to EXECUTED, or to NOT_EXECUTED with the reason"
    )


def executed() -> list[Block]:
    return [block for block in PYTHON if starts(block, EXECUTED)]


@pytest.mark.parametrize("block", executed(), ids=lambda block: block.name)
def test_python_runs_as_printed(block, project, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    text = block.text.replace("/data/CULane", str(project / "road"))
    before = EXECUTED[starts(block, EXECUTED) or ""]
    exec(compile(before + text, f"{block.page}:{block.line}", "exec"), {"__name__": "page"})


@pytest.mark.parametrize("block", blocks("json"), ids=lambda block: block.name)
def test_json_is_valid(block):
    for line in block.text.splitlines():
        json.loads(line)


@pytest.mark.parametrize("block", blocks("yaml"), ids=lambda block: block.name)
def test_settings_are_read_as_printed(block, tmp_path, project):
    """Merge the printed keys over lgad.yaml, as a reader would write them, and read the file."""
    printed = yaml.safe_load(block.text)
    if "trials" in printed:  # a file of its own, for `lgad search`
        assert SearchStudy.model_validate(printed)
        return
    if "methods" in printed:  # keys of a study, for `lgad gain`
        assert GainStudy.model_validate(printed)
        return
    if "teacher_network" in printed:  # keys of a recipe
        printed = {"recipes": {"printed": printed}}
    settings = yaml.safe_load((ROOT / "lgad.yaml").read_text(encoding="utf-8"))
    for name, recipe in printed.get("recipes", {}).items():  # the keys that are left out are those of `enet`
        printed["recipes"][name] = {**settings["recipes"]["enet"], **recipe}
    for key, value in printed.items():
        settings[key] = {**settings.get(key, {}), **value} if isinstance(value, dict) else value
    for dataset in settings["datasets"].values():
        if "root" in dataset:
            dataset["root"] = str(project / "road")
            dataset.setdefault("image_size", [80, 256])
            dataset.setdefault("lane_width", 32)
    path = Path(tmp_path) / "lgad.yaml"
    path.write_text(yaml.safe_dump(settings))
    read = Settings.load(path)
    assert not read.broken
    for name in printed.get("recipes", {}):
        assert read.recipe(name)
    for name in printed.get("datasets", {}):
        assert read.dataset(name)
