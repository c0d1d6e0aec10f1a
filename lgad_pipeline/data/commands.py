"""`lgad import`: one's own annotated frames; `lgad unpack`: downloaded archives."""

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.progress import Progress

from lgad_pipeline.data.archives import unpack
from lgad_pipeline.data.entries import SetAside
from lgad_pipeline.data.importing.convert import Format, convert
from lgad_pipeline.errors import LgadError

_SHOWN = 20


def import_data(
    annotations: Annotated[Format, typer.Argument(help="Tool that the annotations come from.")],
    source: Annotated[Path, typer.Argument(help="Folder of the annotations and images.")],
    output: Annotated[Path, typer.Argument(help="New folder, in CULane's layout.")],
    val: Annotated[float, typer.Option(min=0, max=1, help="Share of the validation frames.")] = 0.1,
    test: Annotated[float, typer.Option(min=0, max=1, help="Share of the test frames.")] = 0.2,
    run: Annotated[int, typer.Option(min=1, help="Consecutive frames that share a split.")] = 50,
    seed: Annotated[int, typer.Option(help="Of the splits.")] = 0,
) -> None:
    """Annotated frames of another tool as a data set in CULane's layout."""
    done = convert(source, output, annotations, val, test, run, seed)
    console = Console(soft_wrap=True, highlight=False)
    _print_set_aside(console, done.set_aside)
    counts = ", ".join(f"{count} {split}" for split, count in done.frames.items())
    console.print(f"{counts}; {len(done.set_aside)} set aside. In lgad.yaml:", markup=False)
    height, width = done.sizes.most_common(1)[0][0]
    console.print(
        f"datasets:\n  {output.name.lower()}:\n    kind: culane\n    root: {output.resolve()}\n"
        f"    frame_size: [{height}, {width}]",
        markup=False,
    )
    if len(done.sizes) > 1:
        console.print(f"Frames have {len(done.sizes)} sizes; ingestion sets aside all but this one's.")


def unpack_archives(
    source: Annotated[Path, typer.Argument(help="Folder of the archives, as downloaded: .tar.gz, .tgz, .tar, .zip, parts.")],
    output: Annotated[Path | None, typer.Option(help="Folder to unpack into; the same if not given.")] = None,
) -> None:
    """CULane's archives as folders: safe against hostile ones, and resumable."""
    console = Console(soft_wrap=True, highlight=False)
    with Progress(console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task(f"Unpacking {source}")
        done = unpack(
            source, output or source, lambda read, total: bar.update(task, completed=read, total=total)
        )
    _print_set_aside(console, done.set_aside)
    console.print(
        f"{done.files} files below {output or source}; {len(done.set_aside)} set aside.", markup=False
    )
    if not done.whole:
        raise LgadError("Not every archive is whole; download those named above again, then unpack again.")


def _print_set_aside(console: Console, set_aside: list[SetAside]) -> None:
    for file, line, reason in set_aside[:_SHOWN]:
        text = f"set aside: {file}{f', line {line}' if line else ''}: {reason}"
        console.print(text.encode(errors="backslashreplace").decode(), markup=False)
