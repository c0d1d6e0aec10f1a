"""How far an asset has come: lines in the run's log, or bars on a terminal."""

import os
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager

import dagster as dg
from pydantic import Field
from rich.console import Console
from rich.progress import (
    BarColumn,
    Progress,
    SpinnerColumn,
    TextColumn,
    TimeElapsedColumn,
)

Advance = Callable[[int, int], None]


class ProgressLog(dg.ConfigurableResource):
    """Says in the run's log how far a long piece of work has come."""

    every_seconds: float = Field(
        default=15.0, description="Seconds between two lines about one piece of work."
    )

    @contextmanager
    def task(self, log: dg.DagsterLogManager, what: str) -> Iterator["Task"]:
        """Follow one piece of work; `advance(done, total)` and `note(text)` may be called often."""
        last = time.monotonic()
        note = ""

        def advance(done: int, total: int) -> None:
            nonlocal last
            now = time.monotonic()
            if now - last >= self.every_seconds and total:
                last = now
                log.info(f"{what}: {done} of {total} ({done / total:.0%}){note}")

        def annotate(text: str) -> None:
            nonlocal note
            note = f", {text}"

        yield Task(advance, annotate)


class ProgressBars(ProgressLog):
    """Draws a bar for each piece of work on a terminal, and keeps it there when the work is done."""

    descriptor: int = Field(
        description="File descriptor of the terminal; Dagster takes over stdout and stderr."
    )

    @contextmanager
    def task(self, log: dg.DagsterLogManager, what: str) -> Iterator["Task"]:
        """Follow one piece of work with a bar."""
        with (
            os.fdopen(os.dup(self.descriptor), "w", encoding="utf-8") as terminal,
            Progress(
                SpinnerColumn(finished_text="[green]✓[/]"),
                TextColumn("{task.description}"),
                BarColumn(bar_width=28, complete_style="cyan", finished_style="green"),
                TextColumn("{task.percentage:>3.0f} %"),
                TimeElapsedColumn(),
                TextColumn("[dim]{task.fields[note]}[/]"),
                console=Console(file=terminal),
                redirect_stdout=False,
                redirect_stderr=False,
            ) as progress,
        ):
            bar = progress.add_task(f"{what:<40}", total=None, note="")
            try:
                yield Task(
                    lambda done, total: progress.update(bar, completed=done, total=total),
                    lambda text: progress.update(bar, note=text),
                )
            except BaseException:
                progress.update(bar, description=f"[red]{what:<40}[/]", note="stopped")
                raise
            progress.update(bar, completed=1, total=1)


class Task:
    """One piece of work as the library sees it: two plain callables."""

    def __init__(self, advance: Advance, note: Callable[[str], None]) -> None:
        self.advance = advance
        self.note = note

    def metrics(self, steps: int) -> Callable[[Mapping[str, float], int], None]:
        """Return a listener for a training's `log(metrics, step)`."""

        def log(metrics: Mapping[str, float], step: int) -> None:
            self.advance(step, steps)
            if "train/loss" in metrics:
                self.note("loss {:.3f}".format(metrics["train/loss"]))

        return log
