"""Commands of README and docs: those that take seconds are executed, the others are checked word by word."""

import re
import shlex

import pytest

from lgad_pipeline.cli.commands import COMMANDS as COMMANDS_OF_LGAD
from lgad_pipeline.cli.commands import load_command
from tests.docs.blocks import ROOT, commands, commands_in_tables

# Names that the pages use for the reader's own files -> files of the small project.
NAMES = {
    "FRAMES": "road",
    "ROOT": "road",
    "OUT": "OUT",
    "NAME": "my_drives",
    "MODEL": ".lgad/models/synthetic/enet/student_lgad",
    "CULANE": "road",
}
# Commands with a place of their own for results, so that each starts from the same project.
REPLACED = {
    "lgad rasterize --annotations ROOT --list ROOT/list/train.txt --output OUT": {"OUT": "LABELS"},
    "lgad export-tusimple --annotations A.json --predictions OUT --output P.json": {
        "OUT": "TUSIMPLE",
        "P.json": "exported.json",
    },
    "lgad import labelme SOURCE OUT": {"OUT": "imported"},
    "lgad export-annotations labelme ROOT OUT": {"OUT": "annotated"},
    "lgad predict SOURCE": {"SOURCE": "road", "OUT": "OUT"},
    "lgad predict /data/my_drives": {"/data/my_drives": "road", "/data/predicted": "PREDICTED"},
    "lgad evaluate --annotations CULANE --predictions A --predictions B": {"A": "OUT", "B": "SECOND"},
    "lgad evaluate --annotations CULANE --predictions PRED": {"PRED": "OUT"},
    "lgad rasterize --annotations CULANE": {"LABELS": "LABELS16"},
    "lgad export-tusimple --annotations test_label.json --predictions PRED": {
        "PRED": "TUSIMPLE",
        "pred.json": "exported2.json",
    },
    "lgad evaluate-tusimple --annotations label.json": {"label.json": "A.json", "pred.json": "P.json"},
}
NOT_RUN = {
    "lgad gain": "trains for hours",
    "LGAD_TRAININGS_PER_GPU=": "needs a GPU",
    "lgad app": "serves until it is stopped; tests_ui/test_app.py",
    "lgad evaluate-llamas": "needs LLAMAS; tests/evaluation/test_llamas.py",
    "lgad suggest": "needs frames without labels; tests/suggestion/test_suggestion.py",
    "labelme /data": "needs labelme",
    "lgad import labelme /data": "needs corrected frames; tests/datasets/test_exporting.py",
    "lgad train": "needs the job file of a training; tests/training/test_job.py",
    "torchrun": "tests/training/test_several_processes.py trains with two processes",
    "srun": "needs SLURM",
    "ray start": "needs Ray; tests/cluster/test_ray.py",
    "lgad predict 0": "needs a camera; tests/cli/test_predict_video.py",
    "lgad predict rtsp": "needs a camera; tests/cli/test_predict_video.py",
    "lgad search": "trains for hours; tests/studies/test_search.py",
    "lgad screen": "needs a trained student; tests/studies/test_screening.py",
    "lgad rollback": "needs a registered model; tests/resources/test_registry.py",
    "lgad sync": "needs a store of MLflow; tests/resources/test_outage.py",
    "lgad relocate": "needs a store of MLflow; tests/resources/test_relocation.py",
    "lgad unpack /data/CULane": "needs CULane; `lgad unpack FOLDER` is run",
    "lgad show synthetic --augmented": "renders frames; tests/inference/test_gallery.py",
    "make": "runs the project; tests/test_demo.py runs the demo",
    "dagster": "tests/test_retraining_doc.py runs them as printed",
    "source": "tests/test_retraining_doc.py runs them as printed",
    "export": "sets a variable for the next line",
    "python benchmarks/": "measures for minutes",
    "mlflow artifacts download": "needs a registered model; tests/resources/test_serving.py",
    "lgad predict FRAMES --model champion": "needs a registered model; tests/resources/test_serving.py",
    "mlflow models serve": "serves until it is stopped; tests/resources/test_serving.py",
    "mlflow models build-docker": "needs Docker; tests/resources/test_serving.py serves its environment",
    "curl": "needs the server of the line before",
    "sudo": "sets up a machine; tests/deploy checks the files",
    "install": "sets up a machine; tests/deploy checks the files",
    "echo POSTGRES_PASSWORD": "sets up a machine; tests/deploy checks the files",
    "LGAD_DATA=": "needs Docker",
    "docker": "needs Docker; tests/deploy checks the files",
    "kubectl": "needs a Kubernetes cluster; tests/deploy checks the files",
    "helm": "needs a Kubernetes cluster; tests/deploy checks the files",
    "caddy": "needs Caddy; tests/deploy/test_proxy.py",
    "DAGSTER_HOME=": "contents of a file",
    "LGAD_POSTGRES_URL=": "contents of a file",
    "MLFLOW_BACKEND_STORE_URI=": "contents of a file",
    "git clone REPOSITORY": "needs the address of the repository",
    ".venv/bin/pytest": "runs tests",
    ".venv/bin/dg": "tests/test_definitions.py runs `check` and `list`; `dev` serves until it is stopped",
    ".venv/bin/pre-commit": "changes the hooks of the clone",
    ".ci/run": "runs all tests",
}
COMMANDS = list(dict.fromkeys([*commands(), *(("README.md", command) for command in commands_in_tables())]))


def reason_not_to_run(command: str) -> str | None:
    return next((reason for start, reason in NOT_RUN.items() if command.startswith(start)), None)


EXECUTED = list(dict.fromkeys(command for _, command in COMMANDS if reason_not_to_run(command) is None))
# The predictions first: others read them.
EXECUTED.sort(key=lambda command: not command.startswith("lgad predict"))


def test_commands_are_found():
    assert len(COMMANDS) > 30 and len(EXECUTED) > 8


@pytest.mark.parametrize("command", EXECUTED)
def test_command_runs_as_printed(command, shell):
    names = dict(NAMES)
    for start, replaced in REPLACED.items():
        if command.startswith(start):
            names |= replaced
    text = re.sub(
        "|".join(rf"(?<![\w.-]){re.escape(name)}(?![\w-])" for name in sorted(names, key=len, reverse=True)),
        lambda match: names[match.group()],
        command,
    )
    finished = shell(text)
    assert finished.returncode == 0, finished.stderr + finished.stdout


LGAD_COMMANDS = list(dict.fromkeys(command for _, command in COMMANDS if command.startswith("lgad ")))


@pytest.mark.parametrize("command", LGAD_COMMANDS)
def test_options_of_lgad_exist(command):
    words = shlex.split(command)[1:]
    name = words.pop(0)
    assert name in COMMANDS_OF_LGAD, f"lgad has no command {name}"
    options = {option for parameter in load_command(name).params for option in parameter.opts}
    for word in words:
        assert not word.startswith("--") or word.split("=")[0] in options, f"{command}: {word}"


@pytest.mark.parametrize("command", [command for _, command in COMMANDS if command.startswith("make ")])
def test_targets_and_variables_of_make_exist(command):
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    for word in shlex.split(command, comments=True)[1:]:
        name = word.split("=")[0]
        pattern = rf"^{name} \?=" if "=" in word else rf"^{name}:"
        assert re.search(pattern, makefile, re.M), f"{command}: {word}"


@pytest.mark.parametrize("start", NOT_RUN)
def test_the_list_of_commands_that_are_not_run_has_no_unused_entry(start):
    assert any(command.startswith(start) for _, command in COMMANDS), f"remove {start!r} from NOT_RUN"
