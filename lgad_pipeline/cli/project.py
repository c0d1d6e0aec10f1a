"""`lgad rollback`, `lgad sync`, `lgad relocate`, `lgad app`: commands that run a script of the project.

They need MLflow, which this package does not import.
"""

import subprocess
import sys
from pathlib import Path
from typing import Annotated

import typer

from lgad_pipeline.errors import LgadError

_SCRIPT = Path("maintenance.py")
_APP = Path("app.py")


def rollback(
    model: Annotated[str, typer.Argument(help="Registered model, `<data set>-<recipe>`.")],
    to: Annotated[str | None, typer.Option(help="Version to use instead of the previous champion.")] = None,
    show: Annotated[bool, typer.Option("--list", help="List the versions and change nothing.")] = False,
) -> None:
    """Make a model's previous champion, or another version, champion; run in the project's directory."""
    options = [*([] if to is None else ["--to", to]), *(["--list"] if show else [])]
    _run_script("rollback", *options, "--", model)


def sync() -> None:
    """Send the run records that were kept while MLflow was unavailable; run in the project's directory."""
    _run_script("sync")


def relocate() -> None:
    """Correct artifact paths in mlflow.db after the project was moved; run in the project's directory."""
    _run_script("relocate")


def app(port: Annotated[int, typer.Option(help="Port of the page.")] = 8501) -> None:
    """Open a page to try any model of the project on frames and clips; run in the project's directory."""
    _run("app", _APP, "--port", str(port))


def _run_script(*arguments: str) -> None:
    _run(arguments[0], _SCRIPT, *arguments)


def _run(command: str, script: Path, *arguments: str) -> None:
    if not script.is_file():
        raise LgadError(f"There is no {script} here; run `lgad {command}` in the directory of the project.")
    sys.exit(subprocess.run([sys.executable, str(script), *arguments], check=False).returncode)


def schema(
    output: Annotated[Path | None, typer.Option(help="File to write instead of printing.")] = None,
) -> None:
    """Print the JSON schema of lgad.yaml, with which editors complete and check its keys."""
    from lgad_pipeline.atomic_files import write_text
    from lgad_pipeline.cli.score_tables import check_output
    from lgad_pipeline.settings.schema import schema_text

    if output is None:
        print(schema_text(), end="")
    else:
        check_output(output, [], keys={"$schema", "properties"})
        write_text(output, schema_text())
