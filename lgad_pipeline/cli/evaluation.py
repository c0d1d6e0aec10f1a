"""`lgad evaluate`: scores of predicted lanes; `lgad rasterize`: label maps from lane files."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console

from lgad_pipeline.atomic_files import require_writable, write_text
from lgad_pipeline.cli.score_tables import (
    check_output,
    compare_scores,
    missing_notes,
    say_notes,
    say_rejected,
    score_content,
    score_table,
    write_frame_scores,
)
from lgad_pipeline.console import progress_bar, say
from lgad_pipeline.errors import LgadError
from lgad_pipeline.evaluation.culane import MEAN_F1_THRESHOLDS, LaneScores, evaluate_culane
from lgad_pipeline.evaluation.frame_sizes import FrameSizes
from lgad_pipeline.evaluation.lane_type_scores import score_types
from lgad_pipeline.evaluation.lists import FrameLists
from lgad_pipeline.lanes.rendering.label_tool import rasterize as rasterize_lanes
from lgad_pipeline.lanes.slots import RULE_SIZE
from lgad_pipeline.wording import counted

Strict = Annotated[bool, typer.Option("--strict", help="Stop at the first bad line instead of rejecting it.")]
Workers = Annotated[int | None, typer.Option(min=1, help="Processes; default: one per core.")]
_OF_IMAGES = "of the frames, px; default: that of their images"
Height = Annotated[int | None, typer.Option(min=1, help=f"Height {_OF_IMAGES}.")]
Width = Annotated[int | None, typer.Option(min=1, help=f"Width {_OF_IMAGES}.")]


def given_size(height: int | None, width: int | None) -> tuple[int, int] | None:
    """Return the frame size (H, W) of the two options; None if neither is given.

    Raises:
        LgadError: only one is given.
    """
    if height is None and width is None:
        return None
    if height is None or width is None:
        raise LgadError("Give both --frame-height and --frame-width, or neither.")
    return height, width


def evaluate(
    annotations: Annotated[Path, typer.Option(help="Directory of the annotated lane files.")],
    predictions: Annotated[
        list[Path], typer.Option(help="Directory of the predicted lane files; give two to compare them.")
    ],
    lists: Annotated[
        list[Path] | None,
        typer.Option("--list", help="List of frames, or a directory of lists; default: CULane's test list."),
    ] = None,
    more_lists: Annotated[
        list[Path] | None, typer.Argument(metavar="[FILE]...", help="Further lists.")
    ] = None,
    threshold: Annotated[
        list[float] | None, typer.Option(help="IoU above which a match counts; default: 0.5.")
    ] = None,
    mean_f1: Annotated[
        bool, typer.Option("--mf1", help="Also print F1 averaged over IoU 0.50:0.05:0.95 (mF1).")
    ] = False,
    lane_width: Annotated[int, typer.Option(min=1, help="Width of the lanes compared, px.")] = 30,
    frame_height: Height = None,
    frame_width: Width = None,
    json_file: Annotated[
        Path | None, typer.Option("--json", help="JSON file to write the counts to.")
    ] = None,
    per_frame: Annotated[Path | None, typer.Option(help="Parquet file to write, a row per frame.")] = None,
    strict: Strict = False,
    workers: Workers = None,
) -> None:
    """Compute TP, FP, FN and F1 of predicted lanes as CULane's official tool does."""
    if len(predictions) > 2:
        raise LgadError(
            f"--predictions was given {len(predictions)} times; give one folder, or two to compare."
        )
    thresholds = sorted(set(threshold or [0.5]))
    if not all(0 <= value < 1 for value in thresholds):
        raise LgadError("--threshold must be 0 or more and below 1, which no IoU exceeds; give 0.5, say.")
    size = given_size(frame_height, frame_width)
    given = [*(lists or []), *(more_lists or [])]
    check_output(json_file, given, keys={"about"})
    check_output(per_frame, given, keys={"frame", "list", "predictions"})
    chosen = given or [_culane_list(annotations)]
    named = FrameLists.read(chosen, annotations, strict=strict)
    say_rejected(named.rejected)
    wanted = sorted({*thresholds, *(MEAN_F1_THRESHOLDS if mean_f1 else ())})
    results: list[LaneScores] = []
    for folder in predictions:
        with progress_bar(f"Evaluating {folder}") as progress:
            results.append(
                evaluate_culane(
                    annotations,
                    folder,
                    lists=named.frames,
                    thresholds=wanted,
                    frame_size=size,
                    lane_width=lane_width,
                    image_roots=named.roots,
                    strict=strict,
                    workers=workers,
                    progress=progress,
                )
            )
    say(results[0].size_note)
    console = Console()
    contents = [score_content(result, thresholds, mean_f1=mean_f1) for result in results]
    for folder, result, content in zip(predictions, results, contents, strict=True):
        for value in thresholds:
            console.print(score_table(f"{folder}, IoU > {value:g}", result, content=content, threshold=value))
        if mean_f1:
            console.print(f"mF1 (IoU 0.50:0.05:0.95): {100 * result.mean_f1():.2f}")
        say_rejected(result.rejected)
    missing = missing_notes(results[0].without_annotation, annotations)
    for folder, result in zip(predictions, results, strict=True):
        missing += missing_notes(result.without_prediction, folder)
    if len({folder.resolve() for folder in predictions}) < len(predictions):
        missing.append(
            f"{predictions[0]} is given twice, so that there is no difference; give another folder."
        )
    types = _type_scores(annotations, predictions, results)
    notes = [*missing, *(note for result in results for note in result.notes), *named.notes]
    notes = list(dict.fromkeys(notes))
    say_notes(notes)
    report: dict[str, Any] = contents[0]
    if len(results) == 2:
        report = dict(zip(map(str, predictions), contents, strict=True))
        report["difference"] = compare_scores(console, results, thresholds=thresholds)
    if json_file:
        about = {"frame_sizes": results[0].sizes, "notes": [results[0].size_note, *notes], **types}
        write_text(json_file, json.dumps({**report, "about": about}, indent=2) + "\n")
    if per_frame:
        write_frame_scores(per_frame, predictions, results=results)


def _type_scores(
    annotations: Path, predictions: Sequence[Path], results: Sequence[LaneScores]
) -> dict[str, Any]:
    """Print the share of right types where types are known, and return it for the JSON file."""
    content: dict[str, Any] = {}
    for folder, result in zip(predictions, results, strict=True):
        if next(folder.rglob("*.types.txt"), None) is None:
            continue
        score = score_types(annotations, folder, result)
        if score.unread:
            first, *others = score.unread
            frames, more = counted(len(score.unread), "frame"), " and others" if others else ""
            say(f"{folder}: the types of {frames} cannot be read: {first}{more}.", error=True)
        if score.known:
            lanes = counted(score.known, "matched lane")
            say(f"{folder}: the type is right for {score.right} of {lanes} of known type")
            content[str(folder)] = {"right": score.right, "known": score.known}
    return {"types": content} if content else {}


def _culane_list(annotations: Path) -> Path:
    path = annotations / "list" / "test.txt"
    if not path.is_file():
        raise LgadError(f"There is no {path}; give the frames to evaluate with --list.")
    return path


def rasterize(
    annotations: Annotated[Path, typer.Option(help="Directory of the annotated lane files.")],
    frames: Annotated[Path, typer.Option("--list", help="List of frames.")],
    output: Annotated[
        Path,
        typer.Option(
            help="Directory to write: laneseg_label_w<width>/ and list/train_gt.txt; val_gt.txt or "
            "test_gt.txt for a list whose name begins so."
        ),
    ],
    lane_width: Annotated[int, typer.Option("--width", min=1, help="Width of the lanes, px.")] = 16,
    frame_height: Height = None,
    frame_width: Width = None,
    strict: Strict = False,
    workers: Workers = None,
) -> None:
    """Draw label maps and existence flags from lane files as CULane's official tool does."""
    given = given_size(frame_height, frame_width)
    if frames.is_dir():
        raise LgadError(f"{frames} is a folder; give one list of frames with --list.")
    require_writable(output, folder=True)
    named = FrameLists.read([frames], annotations, strict=strict, scenarios=False)
    (members,) = named.frames.values()
    sizes = FrameSizes.of(members, (annotations, *named.roots), stated=given, default=RULE_SIZE)
    split = next((split for split in ("val", "test") if frames.stem.lower().startswith(split)), "train")
    say_rejected(named.rejected)
    with progress_bar(f"Drawing {frames}") as progress:
        done = rasterize_lanes(
            annotations,
            members,
            output=output,
            list_name=f"{split}_gt.txt",
            lane_width=lane_width,
            frame_size=sizes,
            strict=strict,
            workers=workers,
            progress=progress,
        )
    say(f"{done.frames} label map{'s' * (done.frames != 1)}, named in {done.label_list}")
    say(sizes.describe(done.sizes))
    say_rejected(done.rejected)
    left_out = []
    if done.left_out:
        count, example = counted(len(done.left_out), "frame"), done.left_out[0]
        left_out.append(
            f"{count} with a bad line in the lane file, such as {example}, left out of label maps and list."
        )
    missing = missing_notes(done.without_annotation, annotations)
    say_notes([*left_out, *missing, *done.notes, *named.notes])
