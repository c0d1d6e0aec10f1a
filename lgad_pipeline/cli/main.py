"""Entry point of `lgad`: the options that precede a command, and the errors.

The commands need neither Dagster nor MLflow.
"""

import io
import os
import re
import sys
from pathlib import Path
from typing import Annotated

import typer

from lgad_pipeline._version import __version__
from lgad_pipeline.cli.commands import LazyCommands
from lgad_pipeline.console import fail
from lgad_pipeline.errors import LgadError, os_fault

app = typer.Typer(cls=LazyCommands, no_args_is_help=True, pretty_exceptions_enable=False)


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


def _with_home(argument: str) -> str:
    """Return an argument with the home folder in place of ~, which a shell leaves in `--output=~/out`."""
    option, separator, value = argument.partition("=") if argument.startswith("--") else ("", "", argument)
    return f"{option}{separator}{Path(value).expanduser()}" if value.startswith("~/") else argument


def main() -> None:
    """Run the command line; an error that the user can correct is one sentence and exit code 1."""
    # Threads of torch that wait sleep instead of spinning, which costs many times the work itself on a busy
    # machine. The variable is read when torch is imported.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            # File names may hold characters that the encoding of the terminal lacks.
            stream.reconfigure(errors="backslashreplace")
    try:
        if any(re.fullmatch("(--[^=]*=)?", argument) for argument in sys.argv[1:]):
            # An empty path would mean the current folder.
            raise LgadError("An argument is empty, perhaps an unset variable of the shell; give it a value.")
        app([_with_home(argument) for argument in sys.argv[1:]])
    except LgadError as error:
        fail(error)
    except OSError as error:
        fail(os_fault(error))
    sys.exit(1)
