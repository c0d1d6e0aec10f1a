"""Scores of an evaluation as tables, JSON and sentences for the command line."""

import json
from collections.abc import Iterable, Sequence, Set
from pathlib import Path
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

from lgad_pipeline.atomic_files import atomic_path, require_writable
from lgad_pipeline.console import marked, say
from lgad_pipeline.errors import LgadError, os_fault
from lgad_pipeline.evaluation.bootstrap import f1_interval, paired_f1_difference
from lgad_pipeline.evaluation.culane import LaneScores
from lgad_pipeline.evaluation.types import TOTAL, Counts
from lgad_pipeline.lanes.file_names import OtherCase
from lgad_pipeline.lanes.lane_files import Rejected, lane_file_name
from lgad_pipeline.wording import counted

_INPUT_ENDINGS = (".txt", ".jpg", ".jpeg", ".png")
_MOST_READ = 16 << 20
"""Bytes of an existing output that are read; a file of scores is smaller."""
_SHOWN = 10
"""Rejected lines that are printed one by one."""
_NAMED = 5
"""Frames without a file that are named."""


def check_output(path: Path | None, inputs: Iterable[Path], *, keys: Set[str]) -> None:
    """Refuse an output file that would replace a file of the user, or cannot be written.

    Args:
        path: output file; None where none is asked for.
        inputs: files that the command reads.
        keys: keys or columns that a file has which the command wrote before; such a file is replaced.

    Raises:
        LgadError: the output cannot be written, is an input, or exists and was not written by the command.
    """
    if path is None:
        return
    require_writable(path)
    if not path.exists():
        return
    if any(file.exists() and path.samefile(file) for file in inputs):
        raise LgadError(f"{path} is read by this command and would be replaced; choose another output.")
    if path.suffix.lower() in _INPUT_ENDINGS:
        raise LgadError(f"{path} exists and may be a list, lane file or image; choose another output.")
    found = _keys(path)
    if path.stat().st_size and ("h_samples" in found or not keys <= found):
        raise LgadError(
            f"{path} exists and holds something else than this command writes; choose another output."
        )


def _keys(path: Path) -> Set[str]:
    """Return the keys of a file's first JSON object, or the columns of Parquet; empty if it is neither."""
    try:
        with path.open("rb") as file:
            content = file.read(_MOST_READ)
        if content.startswith(b"PAR1"):
            from pyarrow import parquet

            return set(parquet.read_schema(path).names)
        first, _ = json.JSONDecoder().raw_decode(content.decode())
    except OSError as error:
        raise os_fault(error, path, "read") from error
    except (ValueError, RecursionError):  # not UTF-8, not JSON, or damaged Parquet
        return set()
    return first.keys() if isinstance(first, dict) else set()


def score_content(result: LaneScores, thresholds: list[float], *, mean_f1: bool) -> dict[str, dict[str, Any]]:
    """Return the scores for a JSON file: list name -> threshold -> figures."""
    content: dict[str, dict[str, Any]] = {}
    for name, by_threshold in result.scores.items():
        rows = result.frames if name == TOTAL else result.frames[result.frames["list"] == name]
        content[name] = {}
        for threshold in thresholds:
            interval = f1_interval(rows, threshold)
            content[name][f"{threshold:g}"] = {
                **figures(by_threshold[threshold]),
                "f1_interval": [interval.low, interval.high],
            }
        if mean_f1:
            content[name]["mF1"] = {"f1": result.mean_f1(name)}
    return content


def figures(counts: Counts) -> dict[str, float]:
    """Return counts, precision, recall and F1 for a JSON file."""
    return {
        "tp": counts.tp,
        "fp": counts.fp,
        "fn": counts.fn,
        "precision": counts.precision,
        "recall": counts.recall,
        "f1": counts.f1,
    }


def score_table(
    title: str, result: LaneScores, *, content: dict[str, dict[str, Any]], threshold: float
) -> Table:
    """Build the table of the counts of every list at one threshold; `content` is that of `score_content`."""
    table = Table(title=marked(title), title_justify="left", box=SIMPLE_HEAD, padding=(0, 1, 0, 0))
    table.add_column("list", no_wrap=True)
    for heading in ("frames", "TP", "FP", "FN", "precision", "recall", "F1", "95 % of F1"):
        table.add_column(heading, justify="right", no_wrap=True)
    frames = result.frames.groupby("list", observed=True)["frame"].size().to_dict()
    frames[TOTAL] = result.frames["frame"].nunique()
    for name, by_threshold in content.items():
        row = by_threshold[f"{threshold:g}"]
        shares = [f"{100 * row[key]:.2f}" for key in ("precision", "recall", "f1")]
        shares.append(" - ".join(f"{100 * end:.1f}" for end in row["f1_interval"]))
        if row["tp"] + row["fn"] == 0:  # crossroads have no lanes: false positives are the figure
            shares = ["-"] * len(shares)
        counts = [str(row[key]) for key in ("tp", "fp", "fn")]
        table.add_row(
            marked(name), str(frames[name]), *counts, *shares, style="bold" if name == TOTAL else None
        )
    return table


def compare_scores(console: Console, results: list[LaneScores], *, thresholds: list[float]) -> dict[str, Any]:
    """Print the difference in F1 between two results, and return the figures for JSON."""
    report = {}
    for threshold in thresholds:
        gain = paired_f1_difference(results[0].frames, results[1].frames, threshold=threshold)
        console.print(
            f"F1 of the second less the first at IoU > {threshold:g}: {100 * gain.value:+.2f} "
            f"(95 %: {100 * gain.low:+.2f} .. {100 * gain.high:+.2f}; "
            f"better in {100 * gain.share_above_zero:.1f} % of resamples)"
        )
        report[f"{threshold:g}"] = {
            "f1": gain.value,
            "f1_interval": [gain.low, gain.high],
            "ahead": gain.share_above_zero,
        }
    return report


def say_rejected(rejected: Sequence[Rejected], *, strict: bool = True) -> None:
    """Print rejected lines of lists and lane files, the first of them one by one.

    Args:
        rejected: rejected lines, with their reasons.
        strict: True if the command has the option --strict.
    """
    for fault in rejected[:_SHOWN]:
        say(f"rejected: {fault}", error=True)
    if rejected:
        hint = "; --strict makes them errors" if strict else ""
        say(f"{counted(len(rejected), 'line')} rejected{hint}.", error=True)


def missing_notes(frames: Sequence[str], source: Path, *, thing: str = "lane file") -> list[str]:
    """Return a sentence that names the first frames without a result; an empty list if there are none.

    Args:
        frames: frames that have none.
        source: directory or file that has none; in a directory, files of other case are searched for.
        thing: word for what is missing.
    """
    if not frames:
        return []
    other_case, named = OtherCase(source), []
    for frame in frames[:_NAMED]:
        found = other_case.find(lane_file_name(frame))
        named.append(
            f"{frame} (there is {found}; write the list in the case of the files)" if found else frame
        )
    more = f" and {len(frames) - _NAMED} more" if len(frames) > _NAMED else ""
    have, count = ("has", "counts") if len(frames) == 1 else ("have", "count")
    return [
        f"{counted(len(frames), 'frame')} {have} no {thing} in {source} and {count} as without lanes: "
        f"{', '.join(named)}{more}."
    ]


def say_notes(notes: Iterable[str]) -> None:
    """Print warnings about a result."""
    for note in notes:
        say(f"note: {note}", error=True)


def write_frame_scores(path: Path, predictions: list[Path], *, results: list[LaneScores]) -> None:
    """Write a row per frame and prediction directory as Parquet."""
    import pandas as pd

    tables = []
    for folder, result in zip(predictions, results, strict=True):
        # A frame may be in a list and in that of its scenario; the later list, the scenario, is kept.
        table = result.frames.drop_duplicates("frame", keep="last")
        tables.append(table.assign(list=table["list"].astype(str), predictions=str(folder)))
    with atomic_path(path) as temporary:
        pd.concat(tables).to_parquet(temporary, index=False)
