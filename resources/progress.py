"""Progress of an asset: lines in the log of the run, or bars on a terminal."""

import os
import re
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from typing import NamedTuple

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

from lgad_pipeline.progress import Progress as Advance

OpenTask = Callable[[str], AbstractContextManager["Task"]]
"""Function of a short text that says what is done; it opens the progress of one task."""


class LogLine(NamedTuple):
    """Progress of a task as a line in the log of a run.

    Attributes:
        what: what is done.
        done: number of finished items.
        total: number of all items, above 0.
        note: short text, or an empty one.
    """

    what: str
    done: int
    total: int
    note: str = ""

    def __str__(self) -> str:
        note = f", {self.note}" if self.note else ""
        return f"{self.what}: {self.done} of {self.total} ({self.done / self.total:.0%}){note}"

    @classmethod
    def read(cls, text: str) -> "LogLine | None":
        """Return what a log line reports, or None if it is another line."""
        match = re.fullmatch(r"(.+): (\d+) of (\d+) \(\d+%\)(?:, (.*))?", text)
        return match and cls(match[1], int(match[2]), int(match[3]), match[4] or "")


class ProgressLog(dg.ConfigurableResource):
    """Progress of long tasks as lines in the log of the run."""

    every_seconds: float = Field(default=15.0, description="Seconds between two log lines of one task.")

    @contextmanager
    def task(self, log: dg.DagsterLogManager, what: str) -> Iterator["Task"]:
        """Report the progress of one task; `advance(done, total)` and `note(text)` may be called often.

        The first call is logged, so that a short task appears in the log, too.
        """
        last = float("-inf")
        note = ""

        def advance(done: int, total: int) -> None:
            nonlocal last
            now = time.monotonic()
            if now - last >= self.every_seconds and total:
                last = now
                log.info(str(LogLine(what, done, total, note)))

        def annotate(text: str) -> None:
            nonlocal note
            note = text

        yield Task(advance, annotate)


class ProgressLines(ProgressLog):
    """Progress of long tasks as lines of a file that is not a terminal, such as the log of a CI job."""

    descriptor: int = Field(description="File descriptor; Dagster redirects stdout and stderr.")
    every_seconds: float = Field(default=30.0, description="Seconds between two lines of one task.")

    @contextmanager
    def display(self) -> Iterator[OpenTask]:
        """Yield a function that opens one task; several may be open at a time."""
        yield self._open

    @contextmanager
    def task(self, log: dg.DagsterLogManager, what: str) -> Iterator["Task"]:
        """Report the progress of one task with lines, the last one with its duration."""
        with self._open(what) as task:
            yield task

    @contextmanager
    def _open(self, what: str) -> Iterator["Task"]:
        started = last = time.monotonic()
        note = ""

        def write(line: str) -> None:
            os.write(self.descriptor, f"{line}\n".encode())

        def advance(done: int, total: int) -> None:
            nonlocal last
            if time.monotonic() - last >= self.every_seconds and total:
                last = time.monotonic()
                write(str(LogLine(what, done, total, note)))

        def annotate(text: str) -> None:
            nonlocal note
            note = text

        yield Task(advance, annotate)
        write(f"{what}: {time.monotonic() - started:.0f} s{note and ', '}{note}")


class ProgressBars(ProgressLog):
    """Progress of long tasks as bars on a terminal, which remain there after the task."""

    descriptor: int = Field(
        description="File descriptor of the terminal; Dagster redirects stdout and stderr."
    )

    @contextmanager
    def task(self, log: dg.DagsterLogManager, what: str) -> Iterator["Task"]:
        """Report the progress of one task with a bar."""
        with self.display() as open_task, open_task(what) as task:
            yield task

    @contextmanager
    def display(self) -> Iterator[OpenTask]:
        """Yield a function that opens one task; the bars of several tasks are below each other."""
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

            @contextmanager
            def open_task(what: str) -> Iterator[Task]:
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

            yield open_task


class Task:
    """One task, as two functions that the library calls.

    Args:
        advance: function of the number of finished items and of all items.
        note: function of a short text that is shown next to the progress.
    """

    def __init__(self, advance: Advance, note: Callable[[str], None]) -> None:
        self.advance = advance
        self.note = note

    def metrics(self, steps: int) -> Callable[[Mapping[str, float], int], None]:
        """Return a function for the `log` argument of a training: it reports the step and the loss.

        Args:
            steps: number of steps of the training.
        """

        def log(metrics: Mapping[str, float], step: int) -> None:
            self.advance(step, steps)
            if "train/loss" in metrics:
                self.note("loss {:.3f}".format(metrics["train/loss"]))

        return log
