"""File of a run journal and its records: the description of the run, then its metrics in order of time."""

import json
import os
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, FiniteFloat, NonNegativeInt, ValidationError

from lgad_pipeline.errors import os_fault

Status = Literal["RUNNING", "FINISHED", "FAILED", "KILLED"]
DESCRIPTION = "run"


class InputRecord(BaseModel):
    """A data set that a run read, in the terms of MLflow's inputs.

    Attributes:
        name: Name of the data set, and of the split where it is not the training's.
        digest: Fingerprint of its content.
        source: Address of its shards; relative to the project's folder where they are below it.
        fields: Columns as (name, type of Arrow).
        rows: Number of frames; None if unknown.
        context: `training`, `validation` or `test`.
    """

    model_config = ConfigDict(frozen=True)

    name: str
    digest: str
    source: str = ""
    fields: tuple[tuple[str, str], ...] = ()
    rows: int | None = None
    context: str = "training"


class RunRecord(BaseModel):
    """Description and state of a run; written by the training.

    Attributes:
        fingerprint: Fingerprint of the training; another one is another run.
        key: Random name of the run on the server, known before the server has given it an id.
        experiment: Name of the MLflow experiment.
        name: Name of the run.
        parameters: Settings without nesting, such as `teacher.steps`.
        tags: Tags of the run.
        inputs: Data sets that the run read.
        status: State of the training.
        started, ended: Milliseconds since 1970.
    """

    model_config = ConfigDict(frozen=True)

    fingerprint: str
    key: str
    experiment: str
    name: str
    parameters: dict[str, str]
    tags: dict[str, str]
    inputs: tuple[InputRecord, ...] = ()
    status: Status = "RUNNING"
    started: int
    ended: int | None = None


class SyncState(BaseModel):
    """Part of a run that a server has confirmed; written by the process that sends.

    Attributes:
        address: The server.
        run_id: Id that the server gave the run.
        experiment_id: Id that it gave the experiment.
        described: True if the server has confirmed the parameters.
        inputs: Number of data sets that the server has confirmed.
        bytes: Position in the journal up to which the server has confirmed the metrics.
        status: Status that the server has confirmed.
    """

    model_config = ConfigDict(frozen=True)

    address: str
    run_id: str | None = None
    experiment_id: str | None = None
    described: bool = False
    inputs: NonNegativeInt = 0
    bytes: NonNegativeInt = 0
    status: str = ""


class Entry(BaseModel):
    """Metrics of one step; `time` in milliseconds since 1970."""

    model_config = ConfigDict(frozen=True)

    step: int
    time: int
    metrics: dict[str, FiniteFloat]


class JournalFile:
    """A file of JSON lines that is only appended to.

    Args:
        path: The file.
    """

    def __init__(self, path: Path) -> None:
        self.path = path

    def append(self, content: Mapping[str, Any]) -> None:
        """Add a line; either all of it is written or nothing.

        Raises:
            LgadError: the disk is full or the file cannot be written.
        """
        line = json.dumps(content).encode() + b"\n"
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            with self.path.open("ab", buffering=0) as file:
                end = file.tell()
                try:
                    written = file.write(line)
                    if written != len(line):  # the disk is full: the next write raises the error
                        file.write(line[written:])
                except OSError:
                    with suppress(OSError):
                        os.ftruncate(file.fileno(), end)
                    raise
        except OSError as error:
            raise os_fault(error, self.path) from error

    def close_torn_line(self) -> None:
        """End a last line that a killed process wrote in part, so that the next line can be read."""
        content = self.path.read_bytes() if self.path.is_file() else b""
        if content and not content.endswith(b"\n"):
            with self.path.open("ab") as file:
                file.write(b"\n")

    def lines(self, start: int = 0) -> Iterator[tuple[Any, int]]:
        """Iterate over the complete lines from a position on.

        Args:
            start: Position, bytes. If it is behind the end of the file, because the file was shortened, all
                lines are read.

        Yields:
            The JSON value of a line, None for a damaged line, and the position after the line, bytes.
        """
        if not self.path.is_file():
            return
        with self.path.open("rb") as file:
            start = 0 if start > self.path.stat().st_size else start
            file.seek(start)
            for line in file:
                start += len(line)
                if not line.endswith(b"\n"):
                    return
                try:
                    yield json.loads(line), start
                except (ValueError, RecursionError):
                    yield None, start

    def entries(self, start: int = 0) -> Iterator[tuple[Entry, int]]:
        """Iterate over the metrics from a position on; damaged lines are left out.

        Args:
            start: Position, bytes.

        Yields:
            Metrics of one step, and the position after their line, bytes.
        """
        for content, end in self.lines(start):
            if _is_description(content):
                continue
            try:
                yield Entry.model_validate(content), end
            except ValidationError:
                continue

    def damaged(self, start: int = 0) -> int:
        """Return the number of lines from a position on that are neither metrics nor a description."""
        lines = sum(not _is_description(content) for content, _ in self.lines(start))
        return lines - sum(1 for _ in self.entries(start))

    def description(self) -> RunRecord | None:
        """Return the description at the start of the journal, from the time when the run began."""
        for content, _ in self.lines():
            if _is_description(content):
                try:
                    return RunRecord.model_validate(content[DESCRIPTION])
                except ValidationError:
                    return None
        return None


def _is_description(content: Any) -> bool:
    return isinstance(content, dict) and DESCRIPTION in content
