"""`lgad import`: one's own annotated frames."""

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from lgad_pipeline.data.importing.convert import Format, convert

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
    for file, line, reason in done.set_aside[:_SHOWN]:
        console.print(f"set aside: {file}{f', line {line}' if line else ''}: {reason}", markup=False)
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
