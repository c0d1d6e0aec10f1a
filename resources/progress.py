"""How far an asset has come: lines in the run's log, or bars on a terminal."""

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager

import dagster as dg
from pydantic import Field, PrivateAttr
from rich.console import Console
from rich.progress import (
    BarColumn,
    Progress,
    SpinnerColumn,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

Advance = Callable[[int, int], None]


class ProgressLog(dg.ConfigurableResource):
    """Says in the run's log how far a long piece of work has come."""

    every_seconds: float = Field(15.0, description="Seconds between two lines about the same piece of work.")

    @contextmanager
    def task(self, log: dg.DagsterLogManager, what: str) -> Iterator["Task"]:
        """Follow one piece of work; the task's `advance(done, total)` and `note(text)` may be called often."""
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

    _console: Console = PrivateAttr()

    @classmethod
    def on(cls, console: Console) -> "ProgressBars":
        """Bars on `console`."""
        bars = cls()
        bars._console = console
        return bars

    @contextmanager
    def task(self, log: dg.DagsterLogManager, what: str) -> Iterator["Task"]:
        """Follow one piece of work with a bar."""
        with Progress(
            SpinnerColumn(finished_text="[green]✓[/]"),
            TextColumn("{task.description}"),
            BarColumn(bar_width=28, complete_style="cyan", finished_style="green"),
            TextColumn("{task.percentage:>3.0f} %"),
            TimeElapsedColumn(),
            TimeRemainingColumn(elapsed_when_finished=False),
            TextColumn("[dim]{task.fields[note]}[/]"),
            console=self._console,
            redirect_stdout=False,
            redirect_stderr=False,
        ) as progress:
            bar = progress.add_task(f"{what:<34}", total=None, note="")
            yield Task(
                lambda done, total: progress.update(bar, completed=done, total=total),
                lambda text: progress.update(bar, note=text),
            )
            progress.update(bar, completed=1, total=1)


class Task:
    """One piece of work as the library sees it: two plain callables."""

    def __init__(self, advance: Advance, note: Callable[[str], None]) -> None:
        self.advance = advance
        self.note = note

    def metrics(self, steps: int) -> Callable[[Mapping[str, float], int], None]:
        """A listener for a training's `log(metrics, step)`."""

        def log(metrics: Mapping[str, float], step: int) -> None:
            self.advance(step, steps)
            if "train/loss" in metrics:
                self.note("loss {:.3f}".format(metrics["train/loss"]))

        return log
