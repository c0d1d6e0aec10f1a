"""`lgad evaluate-llamas`: LLAMAS' metric."""

import json
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from lgad_pipeline.atomic_files import write_text
from lgad_pipeline.cli.score_tables import check_output, figures, missing_notes, say_notes, say_rejected
from lgad_pipeline.console import progress_bar
from lgad_pipeline.evaluation.llamas import evaluate_llamas as score_llamas


def evaluate_llamas(
    annotations: Annotated[Path, typer.Option(help="Directory of a split's label files: labels/valid.")],
    predictions: Annotated[Path, typer.Option(help="Directory of the predicted lane files.")],
    json_file: Annotated[
        Path | None, typer.Option("--json", help="JSON file to write the scores to.")
    ] = None,
) -> None:
    """Compute TP, FP, FN and F1 as LLAMAS' evaluator does, on the four lanes next to the car."""
    check_output(json_file, (annotations, predictions), keys={"frames", "tp", "fp", "fn", "f1"})
    with progress_bar(f"Comparing the lanes of {annotations}") as progress:
        scores = score_llamas(annotations, predictions, progress=progress)
    counts = scores.counts
    table = Table("frames", "TP", "FP", "FN", "precision", "recall", "F1")
    shares = (f"{value:.4f}" for value in (counts.precision, counts.recall, counts.f1))
    table.add_row(str(scores.frames), str(counts.tp), str(counts.fp), str(counts.fn), *shares)
    Console().print(table)
    notes = [*missing_notes(scores.without_prediction, predictions), *scores.notes]
    say_rejected(scores.rejected, strict=False)
    say_notes(notes)
    if json_file:
        content = {"frames": scores.frames, **figures(counts), "notes": notes}
        write_text(json_file, json.dumps(content, indent=2) + "\n")
