"""Commands of `lgad`, each imported when it is called, so that `lgad --help` starts fast."""

from collections.abc import Sequence
from importlib import import_module

import typer
from typer.core import TyperCommand, TyperGroup

COMMANDS = {
    "import": (
        "datasets:import_annotations",
        "Convert annotated frames of another tool to a data set in CULane's layout.",
    ),
    "export-annotations": (
        "labelling:export_annotations",
        "Write the frames and lanes of a data set as annotations of labelme or CVAT.",
    ),
    "suggest": (
        "labelling:suggest",
        "Choose the frames that would improve a student most; write them with predicted lanes to correct.",
    ),
    "unpack": (
        "datasets:unpack_archives",
        "Unpack CULane's archives; safe for untrusted archives, and resumable.",
    ),
    "show": (
        "datasets:show_dataset",
        "Draw a contact sheet: frames with lanes and labels, and rejected frames with the reason.",
    ),
    "schema": (
        "project:schema",
        "Print the JSON schema of lgad.yaml, with which editors complete and check its keys.",
    ),
    "rollback": (
        "project:rollback",
        "Make a model's previous champion, or another version, champion; run in the project's directory.",
    ),
    "sync": (
        "project:sync",
        "Send the run records that were kept while MLflow was unavailable; run in the project's directory.",
    ),
    "relocate": (
        "project:relocate",
        "Correct artifact paths in mlflow.db after the project was moved; run in the project's directory.",
    ),
    "app": (
        "project:app",
        "Open a page to try any model of the project on frames and clips; run in the project's directory.",
    ),
    "predict": ("inference:predict", "Find the lanes in frames of any size, or in a video."),
    "export": (
        "export:export",
        "Write a trained student as an ONNX graph and compare its output with torch.",
    ),
    "train": ("training:train", "Run the training of a job file; a stopped one is resumed."),
    "gain": (
        "studies:gain",
        "Train teachers and paired students, score them on the test split, and report the gain.",
    ),
    "search": (
        "studies:search",
        "Search for the recipe settings with the highest F1 on validation frames; test frames are not used.",
    ),
    "screen": (
        "studies:screen",
        "Compare the gradients of loss settings with that of the labels, at trained students.",
    ),
    "evaluate": (
        "evaluation:evaluate",
        "Compute TP, FP, FN and F1 of predicted lanes as CULane's official tool does.",
    ),
    "rasterize": (
        "evaluation:rasterize",
        "Draw label maps and existence flags from lane files as CULane's official tool does.",
    ),
    "evaluate-tusimple": (
        "tusimple:evaluate_tusimple",
        "Compute accuracy, FP and FN as TuSimple's benchmark does.",
    ),
    "evaluate-llamas": (
        "llamas:evaluate_llamas",
        "Compute TP, FP, FN and F1 as LLAMAS' evaluator does, on the four lanes next to the car.",
    ),
    "export-tusimple": (
        "tusimple:export_tusimple",
        "Write predicted lane files as the JSON lines that TuSimple's benchmark reads.",
    ),
}
"""Module and function below this package, and first sentence of the help, in the order of `lgad --help`."""


def load_command(name: str) -> TyperCommand:
    """Import the function of a command, and return its command."""
    module, _, function = COMMANDS[name][0].partition(":")
    app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)
    app.command(name)(getattr(import_module(f"lgad_pipeline.cli.{module}"), function))
    command = typer.main.get_command(app)
    assert isinstance(command, TyperCommand)
    return command


class LazyCommands(TyperGroup):
    """Group that lists its commands without importing them."""

    def list_commands(self, ctx: typer.Context) -> list[str]:  # type: ignore[override]
        """Return the names of the commands, in the order of the help."""
        return list(COMMANDS)

    def get_command(self, ctx: typer.Context, cmd_name: str) -> TyperCommand | None:  # type: ignore[override]
        """Return a command with its name and the first sentence of its help alone."""
        if cmd_name not in COMMANDS:
            return None
        return TyperCommand(cmd_name, help=COMMANDS[cmd_name][1])

    def resolve_command(  # type: ignore[override]
        self, ctx: typer.Context, args: Sequence[str]
    ) -> tuple[str | None, TyperCommand | None, list[str]]:
        """Return the command that is called, imported now."""
        name, command, rest = super().resolve_command(ctx, list(args))
        return name, load_command(name) if name in COMMANDS and command is not None else None, rest
