"""Entry point of `lgad`: the commands, mounted from the modules of this package.

The commands need neither Dagster nor MLflow.
"""

import io
import sys
from typing import Annotated

import typer

from lgad_pipeline._version import __version__
from lgad_pipeline.cli import datasets, evaluation, inference, project, studies, training, tusimple
from lgad_pipeline.console import fail
from lgad_pipeline.errors import LgadError, os_fault

app = typer.Typer(no_args_is_help=True, pretty_exceptions_enable=False)

COMMANDS = {
    "import": datasets.import_annotations,
    "unpack": datasets.unpack_archives,
    "show": datasets.show_dataset,
    "schema": project.schema,
    "rollback": project.rollback,
    "sync": project.sync,
    "relocate": project.relocate,
    "predict": inference.predict,
    "export": inference.export,
    "train": training.train,
    "gain": studies.gain,
    "screen": studies.screen,
    "evaluate": evaluation.evaluate,
    "rasterize": evaluation.rasterize,
    "evaluate-tusimple": tusimple.evaluate_tusimple,
    "export-tusimple": tusimple.export_tusimple,
}
"""Function of each command, in the order of `lgad --help`."""

for name, function in COMMANDS.items():
    app.command(name)(function)


def _print_version(requested: bool) -> None:
    if requested:
        print(f"lgad {__version__}")
        raise typer.Exit


@app.callback()
def _options(
    show_version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """Prepare lane data, evaluate lanes, run trained networks, compare methods."""


def main() -> None:
    """Run the command line; an error that the user can correct is one sentence and exit code 1."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            # File names may hold characters that the encoding of the terminal lacks.
            stream.reconfigure(errors="backslashreplace")
    try:
        app()
    except LgadError as error:
        fail(error)
    except OSError as error:
        fail(os_fault(error))
    sys.exit(1)
