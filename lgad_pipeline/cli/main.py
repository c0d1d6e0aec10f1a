"""`lgad ...`: every step at the command line, without Dagster or MLflow."""

import io
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from lgad_pipeline.cli import evaluation as geometry
from lgad_pipeline.cli.datasets import import_data, unpack_archives
from lgad_pipeline.cli.inference import export, predict
from lgad_pipeline.cli.studies import gain
from lgad_pipeline.cli.tusimple import evaluate_tusimple, export_tusimple
from lgad_pipeline.console import fail, progress_bar, say
from lgad_pipeline.errors import LgadError, os_fault

if TYPE_CHECKING:
    from lgad_pipeline.data.ingestion import Ingestion
    from lgad_pipeline.settings import FolderDataset

_REASONS = 10
"""Reasons of rejected entries that `lgad show` prints."""

app = typer.Typer(
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)


def _print_version(wanted: bool) -> None:
    if wanted:
        print(f"lgad {version('lgad-pipeline')}")
        raise typer.Exit


@app.callback()
def _options(
    show_version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """Lane geometry, evaluation, inference and studies."""


app.command("import")(import_data)
app.command("unpack")(unpack_archives)


@app.command()
def show(
    dataset: Annotated[str, typer.Argument(help="A data set of lgad.yaml.")],
    output: Annotated[
        Path | None,
        typer.Option(help="The picture, PNG or JPEG; below .lgad/shown of the project if not given."),
    ] = None,
    count: Annotated[int, typer.Option(min=1, max=100, help="Frames, and at most as many rejected.")] = 8,
    augmented: Annotated[
        str | None, typer.Option(metavar="RECIPE", help="Show one frame as this recipe augments it instead.")
    ] = None,
) -> None:
    """A contact sheet: frames with lanes and labels, and rejected frames with the reason."""
    from lgad_pipeline.settings import FolderDataset, Settings, settings_path
    from lgad_pipeline.visualization.augmentation_sheet import augmentation_sheet
    from lgad_pipeline.visualization.dataset_sheet import data_sheet, first_frame
    from lgad_pipeline.visualization.overlays import write_png

    settings = Settings.from_environment()
    entry = settings.dataset(dataset)
    name = f"{dataset}-{augmented}.png" if augmented else f"{dataset}.png"
    output = output or settings_path().parent / ".lgad" / "shown" / name
    if output.suffix.lower() not in (".png", ".jpg", ".jpeg"):
        raise LgadError(f"{output} does not end in .png, .jpg or .jpeg; name the picture so.")
    drawing = (entry.lane_width, entry.label_rows)
    if isinstance(entry, FolderDataset):
        if output.exists() and output.resolve().is_relative_to(entry.root.resolve()):
            raise LgadError(f"{output} is a file of the data set; name a picture outside of {entry.root}.")
        found = _ingest(entry)
        _tell(found)
        if augmented is None:
            write_png(output, data_sheet(found, entry.frame_size, *drawing, count))
            say(output)
            return
        frame, lanes = first_frame(found, entry.frame_size)
    elif augmented is None:
        raise LgadError(f"The data set {dataset} is rendered by the pipeline; name one with a `root`.")
    else:
        from lgad_pipeline.synthetic.render import render

        scene = render(entry.world.seed, 0, "normal")
        frame, lanes = scene.image[..., ::-1], scene.lanes
    changes = settings.recipe(augmented).augmentation
    write_png(output, augmentation_sheet(frame, lanes, entry.view, *drawing, changes))
    say(output)


def _ingest(entry: "FolderDataset") -> "Ingestion":
    from lgad_pipeline.data.ingestion import ingest

    with progress_bar(f"Reading {entry.root}") as progress:
        return ingest(
            entry.require_root(),
            entry.frame_size,
            kind=entry.kind,
            follow_links=entry.follow_links,
            progress=progress,
        )


def _tell(found: "Ingestion") -> None:
    """Print how many frames a data set has, and why entries were rejected."""
    from lgad_pipeline.visualization.dataset_sheet import reasons

    for note in found.notes:
        say(f"{note.file} {note.text}")
    say(f"{len(found.frames)} frames, {len(found.rejected)} rejected")
    told = reasons(found.rejected)
    for number, reason in told[:_REASONS]:
        say(f"  {number} rejected, such as {reason}")
    if others := told[_REASONS:]:
        say(f"  {sum(number for number, _ in others)} rejected for {len(others)} further reasons")


@app.command()
def rollback(
    model: Annotated[str, typer.Argument(help="Registered model, `<data set>-<recipe>`.")],
    to: Annotated[str | None, typer.Option(help="Version to use instead of the predecessor.")] = None,
    show: Annotated[bool, typer.Option("--list", help="List the versions and change nothing.")] = False,
) -> None:
    """Put the predecessor of a model's champion, or any other version, in use; in the project's folder."""
    options = [*([] if to is None else ["--to", to]), *(["--list"] if show else [])]
    _of_the_project("rollback", *options, "--", model)


@app.command()
def sync() -> None:
    """Send to MLflow what trainings kept while it was away; in the project's folder."""
    _of_the_project("sync")


@app.command()
def relocate() -> None:
    """Repair the artifact paths in mlflow.db after the project's folder was moved; in that folder."""
    _of_the_project("relocate")


def _of_the_project(*arguments: str) -> None:
    """Run a command that needs MLflow, which this package does without: the project's script has it."""
    script = Path("maintenance.py")
    if not script.is_file():
        raise LgadError(f"There is no {script} here; run `lgad {arguments[0]}` in the project's folder.")
    sys.exit(subprocess.run([sys.executable, str(script), *arguments], check=False).returncode)


app.command("predict")(predict)
app.command("export")(export)
app.command("gain")(gain)
app.command("evaluate")(geometry.evaluate)
app.command("rasterize")(geometry.rasterize)
app.command("evaluate-tusimple")(evaluate_tusimple)
app.command("export-tusimple")(export_tusimple)


def main() -> None:
    """Run the command line; what the user can correct is one sentence and exit code 1."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")  # names that the terminal's encoding lacks
    try:
        app()
    except LgadError as error:
        fail(error)
    except OSError as error:
        fail(os_fault(error))
    sys.exit(1)
