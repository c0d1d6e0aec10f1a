"""Run of a job whose steps are processes that run at the same time; their progress is displayed here."""

import os
import threading
import uuid
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, closing, contextmanager
from pathlib import Path

import dagster as dg

from resources.progress import LogLine, OpenTask, Task

_RUN_TAG = "lgad/parallel"
_POLL_SECONDS = 1.0
_LINE_SECONDS = 5.0  # seconds between two log lines of a step, which the display is made from


def execute_in_processes(
    job: str,
    *,
    instance: dg.DagsterInstance,
    selection: Sequence[dg.AssetKey],
    tags: Mapping[str, str],
    display: OpenTask,
) -> dg.JobExecutionResult:
    """Materialize assets of a job of `definitions.py`, each in a process of its own.

    Args:
        job: name of the job.
        instance: the Dagster instance; the limits of its pools apply.
        selection: keys of the assets.
        tags: tags of the run, those of its partition among them.
        display: function that opens the progress of one task.
    """
    name = uuid.uuid4().hex
    loadable = dg.build_reconstructable_job(
        "definitions", "job_named", (job,), {}, str(Path(__file__).parents[1])
    )
    with _progress_of_run(instance, name, display), _no_output():
        return dg.execute_job(
            loadable,
            instance,
            run_config={
                "loggers": {"console": {"config": {"log_level": "CRITICAL"}}},
                "resources": {"progress": {"config": {"every_seconds": _LINE_SECONDS}}},
            },
            tags={**tags, _RUN_TAG: name},
            asset_selection=list(selection),
            raise_on_error=False,
        )


@contextmanager
def _no_output() -> Iterator[None]:
    """Discard stdout and stderr, on which Dagster repeats the output of the steps."""
    kept = [os.dup(descriptor) for descriptor in (1, 2)]
    with Path(os.devnull).open("wb") as nowhere:
        for descriptor in (1, 2):
            os.dup2(nowhere.fileno(), descriptor)
    try:
        yield
    finally:
        for descriptor, copy in zip((1, 2), kept, strict=True):
            os.dup2(copy, descriptor)
            os.close(copy)


@contextmanager
def _progress_of_run(instance: dg.DagsterInstance, name: str, display: OpenTask) -> Iterator[None]:
    """Display the progress of the run with a tag, from a thread that reads its log."""
    ended = threading.Event()
    runs = dg.RunsFilter(tags={_RUN_TAG: name})

    def watch() -> None:
        with closing(_Steps(display)) as steps:
            cursor: str | None = None
            last = False
            while not last:
                last = ended.wait(_POLL_SECONDS)  # what was written until the end is read, too
                for run_id in instance.get_run_ids(runs, limit=1):
                    page = instance.get_records_for_run(run_id, cursor)
                    cursor = page.cursor
                    for record in page.records:
                        steps.show(record.event_log_entry)

    thread = threading.Thread(target=watch, name="lgad-run-progress", daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()


class _Steps:
    """Display of the steps of a run, one task per step.

    Args:
        display: function that opens the progress of one task.
    """

    def __init__(self, display: OpenTask) -> None:
        self._display = display
        self._opened: dict[str, tuple[AbstractContextManager[Task], Task]] = {}

    def show(self, entry: dg.EventLogEntry) -> None:
        """Display what an entry of the log reports about its step."""
        event, step = entry.dagster_event, entry.step_key or ""
        line = LogLine.read(entry.user_message) if event is None else None
        if line is not None:
            if step not in self._opened:
                context = self._display(line.what)
                self._opened[step] = context, context.__enter__()
            task = self._opened[step][1]
            task.note(line.note)
            task.advance(line.done, line.total)
        elif event is not None and step in self._opened and (event.is_step_success or event.is_step_failure):
            self._close(step, failed=event.is_step_failure)

    def close(self) -> None:
        """Close the tasks of the steps that have not ended."""
        for step in list(self._opened):
            self._close(step, failed=True)

    def _close(self, step: str, *, failed: bool) -> None:
        error = RuntimeError("The step has not ended.") if failed else None
        self._opened.pop(step)[0].__exit__(type(error) if error else None, error, None)
