"""`lgad evaluate-tusimple`: TuSimple's metric; `lgad export-tusimple`: predictions as JSON lines."""

import json
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from lgad_pipeline.atomic_files import write_text
from lgad_pipeline.cli.evaluation import Height, Strict, Width, given_size
from lgad_pipeline.cli.score_tables import check_output, missing_notes, say_notes, say_rejected
from lgad_pipeline.console import say
from lgad_pipeline.evaluation.tusimple import evaluate_tusimple as score_tusimple
from lgad_pipeline.evaluation.tusimple_export import write_tusimple


def export_tusimple(
    annotations: Annotated[
        Path, typer.Option(help="Frames to predict, JSON lines: test_label.json or a list of tasks.")
    ],
    predictions: Annotated[Path, typer.Option(help="Directory of the predicted lane files.")],
    output: Annotated[Path, typer.Option(help="JSON lines file to write.")],
    frame_height: Height = None,
    frame_width: Width = None,
    strict: Strict = False,
) -> None:
    """Write predicted lane files as the JSON lines that TuSimple's benchmark reads."""
    size = given_size(frame_height, frame_width)
    check_output(output, (annotations,), keys={"raw_file", "lanes", "run_time"})
    done = write_tusimple(annotations, predictions, output=output, frame_size=size, strict=strict)
    say(f"{done.frames} frame{'s' * (done.frames != 1)} in {output}")
    say(done.size_note)
    say_rejected(done.rejected)
    say_notes([*missing_notes(done.without_file, predictions), *done.notes])


def evaluate_tusimple(
    annotations: Annotated[Path, typer.Option(help="Annotated lanes, JSON lines.")],
    predictions: Annotated[Path, typer.Option(help="Predicted lanes, JSON lines.")],
    json_file: Annotated[
        Path | None, typer.Option("--json", help="JSON file to write the scores to.")
    ] = None,
    strict: Strict = False,
) -> None:
    """Compute accuracy, FP and FN as TuSimple's benchmark does."""
    check_output(json_file, (annotations, predictions), keys={"accuracy", "fp", "fn", "zeroed"})
    scores = score_tusimple(annotations, predictions, strict=strict)
    table = Table("accuracy", "FP", "FN")
    table.add_row(*(f"{value:.4f}" for value in (scores.accuracy, scores.fp, scores.fn)))
    Console().print(table)
    notes = [*missing_notes(scores.without_prediction, predictions, thing="prediction"), *scores.notes]
    say_rejected(scores.rejected)
    say_notes(notes)
    if json_file:
        content = {
            "accuracy": scores.accuracy,
            "fp": scores.fp,
            "fn": scores.fn,
            "frames": scores.frames,
            "zeroed": {"run_time": scores.slow, "too_many_lanes": scores.crowded},
            "notes": notes,
        }
        write_text(json_file, json.dumps(content, indent=2) + "\n")
