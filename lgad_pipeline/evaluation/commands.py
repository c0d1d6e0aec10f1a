"""`lgad evaluate`, `lgad rasterize`, `lgad evaluate-tusimple`: geometry at the command line."""

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TimeRemainingColumn
from rich.table import Table

from lgad_pipeline.errors import LgadError
from lgad_pipeline.evaluation.comparison import f1_interval, paired_difference
from lgad_pipeline.evaluation.culane import MEAN_F1_THRESHOLDS, TOTAL, Counts, LaneScores
from lgad_pipeline.evaluation.culane import evaluate as evaluate_lanes
from lgad_pipeline.evaluation.tusimple import evaluate_tusimple as score_tusimple
from lgad_pipeline.evaluation.tusimple import write_tusimple
from lgad_pipeline.files import atomic_path, write_text
from lgad_pipeline.lanes.files import SetAside, read_list
from lgad_pipeline.lanes.rasterize import rasterize as rasterize_lanes

_SHOWN = 10
"""Lines set aside that are printed one by one."""

Strict = Annotated[
    bool, typer.Option("--strict", help="Stop at the first bad line instead of setting it aside.")
]
Workers = Annotated[int | None, typer.Option(min=1, help="Processes; one a core if not given.")]
Height = Annotated[int, typer.Option(min=1, help="Height of the frames, px.")]
Width = Annotated[int, typer.Option(min=1, help="Width of the frames, px.")]


def evaluate(
    annotations: Annotated[Path, typer.Option(help="Folder of the annotated lane files.")],
    predictions: Annotated[
        list[Path], typer.Option(help="Folder of the predicted lane files; give it twice to compare two.")
    ],
    lists: Annotated[
        list[Path] | None,
        typer.Option("--list", help="List of frames, or a folder of lists; CULane's own if not given."),
    ] = None,
    more_lists: Annotated[
        list[Path] | None, typer.Argument(metavar="[FILE]...", help="Further lists.")
    ] = None,
    threshold: Annotated[
        list[float] | None, typer.Option(help="IoU above which a match counts; 0.5.")
    ] = None,
    mean_f1: Annotated[bool, typer.Option("--mf1", help="Also F1 averaged over IoU 0.50:0.05:0.95.")] = False,
    lane_width: Annotated[int, typer.Option(min=1, help="Width of the lanes compared, px.")] = 30,
    frame_height: Height = 590,
    frame_width: Width = 1640,
    json_file: Annotated[Path | None, typer.Option("--json", help="Write the counts here.")] = None,
    per_frame: Annotated[Path | None, typer.Option(help="Write a row a frame here, as Parquet.")] = None,
    strict: Strict = False,
    workers: Workers = None,
) -> None:
    """TP, FP, FN and F1 of predicted lanes, as CULane's official tool counts them."""
    if len(predictions) > 2:
        raise LgadError(
            f"--predictions was given {len(predictions)} times; give one folder, or two to compare."
        )
    thresholds = sorted(set(threshold or [0.5]))
    if not all(0 <= value <= 1 for value in thresholds):
        raise LgadError("--threshold must lie between 0 and 1; give an IoU such as 0.5.")
    set_aside: list[SetAside] = []
    chosen = [*(lists or []), *(more_lists or [])] or [_culane_list(annotations)]
    frames = _read_lists(chosen, None if strict else set_aside)
    wanted = sorted({*thresholds, *(MEAN_F1_THRESHOLDS if mean_f1 else ())})
    results = []
    for folder in predictions:
        with _progress(f"Evaluating {folder}") as progress:
            results.append(
                evaluate_lanes(
                    annotations,
                    folder,
                    frames,
                    thresholds=wanted,
                    frame_size=(frame_height, frame_width),
                    lane_width=lane_width,
                    strict=strict,
                    workers=workers,
                    progress=progress,
                )
            )
    console = Console()
    contents = [_content(result, thresholds, mean_f1) for result in results]
    for folder, result, content in zip(predictions, results, contents, strict=True):
        for value in thresholds:
            console.print(_table(f"{folder}, IoU > {value:g}", result, content, value))
        if mean_f1:
            console.print(f"mF1 (IoU 0.50:0.05:0.95): {100 * result.mean_f1():.2f}")
        _print_faults(
            [*set_aside, *result.set_aside],
            {"annotation": result.without_annotation, "prediction": result.without_prediction},
        )
    report: dict[str, Any] = contents[0]
    if len(results) == 2:
        report = dict(zip(map(str, predictions), contents, strict=True))
        report["difference"] = _compare(console, results, thresholds)
    if json_file:
        write_text(json_file, json.dumps(report, indent=2) + "\n")
    if per_frame:
        _write_frames(per_frame, predictions, results)


def _culane_list(annotations: Path) -> Path:
    path = annotations / "list" / "test.txt"
    if not path.is_file():
        raise LgadError(f"There is no {path}; name the frames to evaluate with --list.")
    return path


def _read_lists(paths: list[Path], set_aside: list[SetAside] | None) -> dict[str, list[str]]:
    """Lists by name. Where CULane's scenario lists lie beside a list, they divide its frames."""
    files = [file for path in paths for file in (sorted(path.glob("*.txt")) if path.is_dir() else [path])]
    if not files:
        raise LgadError(f"{paths[0]} holds no list; name a list of frames with --list.")
    lists: dict[str, list[str]] = {}
    for file in files:
        if file.stem in lists:
            raise LgadError(f"Two lists are called {file.stem}; rename one of them.")
        lists[file.stem] = read_list(file, set_aside)
    scenarios = sorted((files[0].parent / "test_split").glob("*.txt")) if len(files) == 1 else []
    members = set(lists[files[0].stem])
    for file in scenarios:
        inside = [frame for frame in read_list(file, set_aside) if frame in members]
        if inside and file.stem not in lists:
            lists[file.stem] = inside
    return lists


@contextmanager
def _progress(title: str) -> Iterator[Callable[[int, int], None]]:
    columns = ("{task.description}", BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task(title, total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total)


def _content(result: LaneScores, thresholds: list[float], mean_f1: bool) -> dict[str, dict[str, Any]]:
    """The scores as JSON: list name -> threshold -> figures."""
    content: dict[str, dict[str, Any]] = {}
    for name, by_threshold in result.scores.items():
        rows = result.frames if name == TOTAL else result.frames[result.frames["list"] == name]
        content[name] = {}
        for threshold in thresholds:
            interval = f1_interval(rows, threshold)
            content[name][f"{threshold:g}"] = {
                **_figures(by_threshold[threshold]),
                "f1_interval": [interval.low, interval.high],
            }
        if mean_f1:
            content[name]["mF1"] = {"f1": result.mean_f1(name)}
    return content


def _figures(counts: Counts) -> dict[str, float]:
    return {
        "tp": counts.tp,
        "fp": counts.fp,
        "fn": counts.fn,
        "precision": counts.precision,
        "recall": counts.recall,
        "f1": counts.f1,
    }


def _table(title: str, result: LaneScores, content: dict[str, dict[str, Any]], threshold: float) -> Table:
    table = Table(title=title, title_justify="left", box=SIMPLE_HEAD, padding=(0, 1, 0, 0))
    table.add_column("list", no_wrap=True)
    for heading in ("frames", "TP", "FP", "FN", "precision", "recall", "F1", "95 % of F1"):
        table.add_column(heading, justify="right", no_wrap=True)
    frames = result.frames.groupby("list", observed=True)["frame"].size().to_dict()
    frames[TOTAL] = result.frames["frame"].nunique()
    for name, by_threshold in content.items():
        row = by_threshold[f"{threshold:g}"]
        shares = [f"{100 * row[key]:.2f}" for key in ("precision", "recall", "f1")]
        shares.append(" - ".join(f"{100 * end:.1f}" for end in row["f1_interval"]))
        if row["tp"] + row["fn"] == 0:  # crossroads: no lanes to find, so false positives are the figure
            shares = ["-"] * len(shares)
        counts = [str(row[key]) for key in ("tp", "fp", "fn")]
        table.add_row(name, str(frames[name]), *counts, *shares, style="bold" if name == TOTAL else None)
    return table


def _compare(console: Console, results: list[LaneScores], thresholds: list[float]) -> dict[str, Any]:
    report = {}
    for threshold in thresholds:
        gain = paired_difference(results[0].frames, results[1].frames, threshold)
        console.print(
            f"F1 of the second less the first at IoU > {threshold:g}: {100 * gain.value:+.2f} "
            f"(95 %: {100 * gain.low:+.2f} .. {100 * gain.high:+.2f}; "
            f"ahead in {100 * gain.ahead:.1f} % of resamples)"
        )
        report[f"{threshold:g}"] = {
            "f1": gain.value,
            "f1_interval": [gain.low, gain.high],
            "ahead": gain.ahead,
        }
    return report


def _print_faults(set_aside: list[SetAside], missing: dict[str, int]) -> None:
    console = Console(stderr=True, soft_wrap=True, highlight=False)
    for fault in set_aside[:_SHOWN]:
        console.print(f"set aside: {fault}", markup=False)
    if set_aside:
        console.print(
            f"{len(set_aside)} line{'s' * (len(set_aside) > 1)} set aside; --strict makes them errors."
        )
    for kind, count in missing.items():
        if count:
            console.print(
                f"{count} frame{'s' * (count > 1)} without a file of {kind}s, taken as without lanes."
            )


def _write_frames(path: Path, predictions: list[Path], results: list[LaneScores]) -> None:
    import pandas as pd

    tables = []
    for folder, result in zip(predictions, results, strict=True):
        # A frame may be on a list and on its scenario's: the later list says more about it.
        table = result.frames.drop_duplicates("frame", keep="last")
        tables.append(table.assign(list=table["list"].astype(str), predictions=str(folder)))
    with atomic_path(path) as beside:
        pd.concat(tables).to_parquet(beside, index=False)


def rasterize(
    annotations: Annotated[Path, typer.Option(help="Folder of the annotated lane files.")],
    frames: Annotated[Path, typer.Option("--list", help="List of frames.")],
    output: Annotated[Path, typer.Option(help="Gets laneseg_label_w<width>/ and list/train_gt.txt.")],
    lane_width: Annotated[int, typer.Option("--width", min=1, help="Width of the lanes, px.")] = 16,
    frame_height: Height = 590,
    frame_width: Width = 1640,
    strict: Strict = False,
    workers: Workers = None,
) -> None:
    """Label maps and existence flags from lane files, as CULane's official tool draws them."""
    set_aside: list[SetAside] = []
    split = frames.stem.removesuffix("_gt")
    with _progress(f"Drawing {frames}") as progress:
        done = rasterize_lanes(
            annotations,
            read_list(frames, None if strict else set_aside),
            output,
            list_name=f"{split if split in ('val', 'test') else 'train'}_gt.txt",
            lane_width=lane_width,
            frame_size=(frame_height, frame_width),
            strict=strict,
            workers=workers,
            progress=progress,
        )
    Console().print(f"{done.frames} label maps, named in {done.label_list}", soft_wrap=True)
    _print_faults([*set_aside, *done.set_aside], {"annotation": done.without_annotation})


def export_tusimple(
    annotations: Annotated[Path, typer.Option(help="Annotated lanes, JSON lines, such as test_label.json.")],
    predictions: Annotated[Path, typer.Option(help="Folder of the predicted lane files.")],
    output: Annotated[Path, typer.Option(help="Gets the predictions as JSON lines.")],
) -> None:
    """Predicted lane files as the JSON lines that TuSimple's benchmark reads."""
    count = write_tusimple(annotations, predictions, output)
    Console().print(f"{count} frames in {output}", soft_wrap=True)


def evaluate_tusimple(
    annotations: Annotated[Path, typer.Option(help="Annotated lanes, JSON lines.")],
    predictions: Annotated[Path, typer.Option(help="Predicted lanes, JSON lines.")],
    json_file: Annotated[Path | None, typer.Option("--json", help="Write the figures here.")] = None,
    strict: Strict = False,
) -> None:
    """Accuracy, FP and FN as TuSimple's benchmark computes them."""
    scores = score_tusimple(annotations, predictions, strict=strict)
    table = Table("accuracy", "FP", "FN")
    table.add_row(*(f"{value:.4f}" for value in (scores.accuracy, scores.fp, scores.fn)))
    Console().print(table)
    _print_faults(scores.set_aside, {"prediction": scores.without_prediction})
    if json_file:
        content = {"accuracy": scores.accuracy, "fp": scores.fp, "fn": scores.fn}
        write_text(json_file, json.dumps(content, indent=2) + "\n")
