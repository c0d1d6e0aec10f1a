"""`lgad import`: annotated frames of other tools; `lgad unpack`: downloaded archives."""

from pathlib import Path
from typing import Annotated

import typer

from lgad_pipeline.console import progress_bar, say
from lgad_pipeline.datasets.archive import unpack
from lgad_pipeline.datasets.importing.convert import Format, convert
from lgad_pipeline.datasets.importing.entry import dataset_entry, dataset_keys, dataset_name
from lgad_pipeline.datasets.importing.summary import summary
from lgad_pipeline.datasets.reader import Rejected
from lgad_pipeline.errors import LgadError

_SHOWN = 20


def import_data(
    annotations: Annotated[Format, typer.Argument(help="Tool that the annotations come from.")],
    source: Annotated[Path, typer.Argument(help="Folder of the annotations and images.")],
    output: Annotated[Path, typer.Argument(help="New folder, in CULane's layout.")],
    labels: Annotated[
        str | None, typer.Option(metavar="A,B", help="Labels that mean lanes, separated by commas; else all.")
    ] = None,
    val: Annotated[float, typer.Option(min=0, max=1, help="Share of the validation frames.")] = 0.1,
    test: Annotated[float, typer.Option(min=0, max=1, help="Share of the test frames.")] = 0.2,
    run: Annotated[
        int | None, typer.Option(min=1, help="Draw runs of so many consecutive frames for the splits.")
    ] = None,
    seed: Annotated[int, typer.Option(min=0, help="Of what is drawn for the splits.")] = 0,
) -> None:
    """Annotated frames of another tool as a data set in CULane's layout."""
    chosen = None if labels is None else [label.strip() for label in labels.split(",") if label.strip()]
    if chosen == []:
        raise LgadError("--labels names no label; give labels separated by commas, or leave the option out.")
    with progress_bar(f"Importing {source}") as progress:
        done = convert(
            source,
            output,
            annotations=annotations,
            val=val,
            test=test,
            run=run,
            seed=seed,
            labels=chosen,
            progress=progress,
        )
    _print_rejected(done.rejected)
    for sentence in summary(done):
        say(sentence)
    say("In lgad.yaml:")
    size = done.sizes.most_common(1)[0][0]
    entry = dataset_entry(
        dataset_name(output.resolve().name), output.resolve(), dataset_keys(size, done.lanes)
    )
    for line in entry.splitlines():
        say(line)


def unpack_archives(
    source: Annotated[
        Path, typer.Argument(help="Folder of the archives, as downloaded: .tar.gz, .tgz, .tar, .zip, parts.")
    ],
    output: Annotated[Path | None, typer.Option(help="Folder to unpack into; the same if not given.")] = None,
) -> None:
    """CULane's archives as folders: safe against hostile ones, and resumable."""
    with progress_bar(f"Unpacking {source}") as progress:
        done = unpack(source, output or source, progress=progress)
    _print_rejected(done.rejected)
    say(f"{done.files} files below {output or source}; {len(done.rejected)} rejected.")
    if not done.whole:
        raise LgadError("Not every archive is whole; download those named above again, then unpack again.")


def _print_rejected(rejected: list[Rejected]) -> None:
    for file, line, reason in rejected[:_SHOWN]:
        say(f"rejected: {file}{f', line {line}' if line else ''}: {reason}")
    if len(rejected) > _SHOWN:
        say(f"and {len(rejected) - _SHOWN} more rejected.")
