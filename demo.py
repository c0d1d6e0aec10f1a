"""Whole pipeline on one data set and recipe, in this process and in the Dagster instance that the UI shows.

`make demo [DATASET=synthetic] [RECIPE=enet] [ROOT=folder]` calls it. Only stale assets are materialized; an
interrupted run resumes.
"""

import fcntl
import os
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from lgad_pipeline.config.roles import STUDENTS
from lgad_pipeline.console import marked, plain
from lgad_pipeline.errors import LgadError, os_fault
from lgad_pipeline.settings import FolderDataset, Settings, local_path, settings_path

DEMO_TAG = "lgad/demo"


def main(
    dataset: Annotated[str, typer.Option(help="Data set of lgad.yaml.")] = "synthetic",
    recipe: Annotated[str, typer.Option(help="Recipe of lgad.yaml.")] = "enet",
    root: Annotated[str, typer.Option(help="Folder of a data set that lgad.yaml does not name yet.")] = "",
) -> None:
    """Train, evaluate and register a model on a data set."""
    # Dagster redirects stdout and stderr to keep the output of steps; the bars need a copy of stderr.
    terminal = os.dup(2)
    console = Console(file=os.fdopen(terminal, "w", encoding="utf-8"))
    started = time.monotonic()
    try:
        Settings.from_environment().recipe(recipe)
        require_dataset(settings_path(), dataset, root, console)
        with only_demo():
            changed = run(console, terminal, dataset, recipe)
            show(console, dataset, recipe)
    except LgadError as error:
        text = "\n".join(map(plain, str(error).splitlines()))
        console.print(text, style="bold red", markup=False, highlight=False, soft_wrap=True)
        raise SystemExit(1) from None
    except KeyboardInterrupt:
        console.print("\nStopped. `make demo` resumes from here.")
        raise SystemExit(130) from None
    seconds = time.monotonic() - started
    duration = f"{seconds / 60:.1f} minutes" if seconds >= 90 else f"{seconds:.0f} seconds"
    summary = duration if changed else f"Everything was up to date ({duration})"
    console.print(f"[dim]{summary}. `make ui` shows the results.[/]")


def require_dataset(path: Path, dataset: str, root: str, console: Console) -> None:
    """Check that the settings have the data set and that its folder can be read; add a new data set.

    Args:
        path: lgad.yaml.
        dataset: name of the data set.
        root: folder of a data set that the settings do not have yet; else empty.
        console: console for the report of an added data set.

    Raises:
        LgadError: the data set is not known and no folder is given, its entry or folder is broken, or the
            settings name another folder for it.
    """
    settings = Settings.load(path)
    if dataset in settings.datasets or dataset in settings.broken:
        entry = settings.dataset(dataset)
        folder = isinstance(entry, FolderDataset)
        if root and not (folder and entry.root.resolve() == Path(root).expanduser().resolve()):
            raise LgadError(
                f"{path.name} already has a data set '{dataset}' with another folder; leave ROOT out, or "
                "choose another name with DATASET=."
            )
        if folder:
            entry.require_root()
        return
    if not root:
        raise LgadError(
            f"{path.name} has no data set '{dataset}', only {', '.join(sorted(settings.datasets))}; name its "
            f"folder, in CULane's layout: make demo DATASET={dataset} ROOT=/path/to/it."
        )
    from lgad_pipeline.settings.new_dataset import add_dataset

    added = add_dataset(path, dataset, root=Path(root))
    height, width = added["frame_size"]
    console.print(
        f"Added the data set {dataset} to {local_path(path).name}: frames of {width} x {height} px, used "
        f"from row {added['crop_top']} down, lanes drawn {added['lane_width']} px wide. Change the entry "
        "there if needed.",
        markup=False,
        highlight=False,
    )


@contextmanager
def only_demo() -> Iterator[None]:
    """Hold the lock of this folder's demo.

    Raises:
        LgadError: another demo is running.
    """
    path = settings_path().parent / ".lgad" / "demo.lock"
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        lock = path.open("w")
    except OSError as error:
        raise os_fault(error, path, "written") from error
    with lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise LgadError(
                "Another `make demo` is running in this folder; wait for it or stop it."
            ) from error
        yield


def run(console: Console, terminal: int, dataset: str, recipe: str) -> bool:
    """Materialize the stale assets of a data set and a recipe.

    Args:
        console: console for texts.
        terminal: file descriptor for progress bars.
        dataset: name of the data set.
        recipe: name of the recipe.

    Returns:
        True if an asset was materialized, False if everything was up to date.
    """
    os.environ.setdefault("DAGSTER_HOME", str(settings_path().parent))
    with console.status("Checking which assets are stale"):
        import dagster as dg

        from assets.keys import asset_name
        from assets.partitions import grid_key
        from assets.stale_jobs import stale_in_job
        from definitions import definitions
        from resources.device_pool import widen_device_pool
        from resources.progress import ProgressBars, ProgressLines

        progress = (ProgressBars if os.isatty(terminal) else ProgressLines)(descriptor=terminal)
        defs: Any = definitions(progress)
    changed = False
    with dg.DagsterInstance.get() as instance:
        (defs.resources or {})["mlflow"].check()
        close_orphans(instance)
        slots = widen_device_pool(instance, defs.resources["project"].settings)
        parts = (("data", dataset), ("retrain", grid_key(dataset, recipe)), ("compare", dataset))
        for job, partition in parts:
            stale = stale_in_job(instance, defs, job, dataset=dataset, recipe=recipe)
            if not stale:
                continue
            changed = True
            console.print(f"[bold]{job}[/] of {dataset}{f', recipe {recipe}' if job == 'retrain' else ''}")
            networks = [key for key in stale if asset_name(key) in ("teacher", *STUDENTS)]
            if slots > 1 and len(networks) > 1:
                result = train_together(instance, job, networks, partition=partition, progress=progress)
                check_result(console, result)
                stale = [key for key in stale if key not in networks]
            if stale:
                result = defs.resolve_job_def(job).execute_in_process(
                    instance=instance,
                    partition_key=partition,
                    asset_selection=stale,
                    tags=run_tags(),
                    run_config={"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}},
                    raise_on_error=False,
                )
                check_result(console, result)
    return changed


def run_tags() -> dict[str, str]:
    """Return the tags of the demo's runs."""
    from resources.processes import HOST_TAG

    # The next demo is the retry.
    return {DEMO_TAG: "true", HOST_TAG: socket.gethostname(), "dagster/max_retries": "0"}


def train_together(instance: Any, job: str, networks: list[Any], *, partition: Any, progress: Any) -> Any:
    """Train networks in processes, those at the same time that do not depend on each other."""
    from assets.partitions import GRID
    from resources.parallel_run import execute_in_processes

    tags = {**run_tags(), **GRID.get_tags_for_partition_key(partition)}
    with progress.display() as display:
        return execute_in_processes(job, instance=instance, selection=networks, tags=tags, display=display)


def check_result(console: Console, result: Any) -> None:
    """Print the failed checks of a run, and raise an LgadError if the run failed."""
    print_failed_checks(console, result)
    if not result.success:
        raise LgadError(failure_text(result))


def close_orphans(instance: Any) -> None:
    """Close the runs of demos that were killed here: they would stay open, and occupy the device."""
    import dagster as dg

    from resources.processes import HOST_TAG

    unfinished = dg.RunsFilter(
        tags={DEMO_TAG: "true", HOST_TAG: socket.gethostname()},
        statuses=[dg.DagsterRunStatus.NOT_STARTED, dg.DagsterRunStatus.STARTING, dg.DagsterRunStatus.STARTED],
    )
    for orphan in instance.get_runs(unfinished):
        instance.report_run_canceled(
            orphan, message="The process of the demo ended before this run; the next demo resumes it."
        )
        instance.event_log_storage.free_concurrency_slots_for_run(orphan.run_id)


def print_failed_checks(console: Console, result: Any) -> None:
    """Print the checks that did not pass."""
    from assets.keys import asset_name

    for check in result.get_asset_check_evaluations():
        if not check.passed:
            name = f"{asset_name(check.asset_key)}: {check.check_name.replace('_', ' ')}"
            text = plain(f"  ! {name}: {check.description}")
            console.print(text, style="yellow", markup=False, highlight=False)


def failure_text(result: Any) -> str:
    """Return the reason of a failed run in one sentence, and the page that has the details.

    Raises:
        KeyboardInterrupt: the user stopped the run by Ctrl-C, which Dagster counts as a failure.
    """
    from assets.failures import failure_reason, root_error
    from assets.keys import asset_name, step_name

    where = f"Details: `make ui`, run {result.run_id[:8]}."
    stopped = [event.job_failure_data.error for event in result.filter_events(lambda one: one.is_job_failure)]
    failures = [(event.step_key, event.step_failure_data.error) for event in result.get_step_failure_events()]
    for error in [*filter(None, stopped), *(error for _, error in failures)]:
        if root_error(error).cls_name == "DagsterExecutionInterruptedError":
            raise KeyboardInterrupt
    for step, error in failures:
        if root_error(error).cls_name != "DagsterAssetCheckFailedError":
            return f"{step_name(step)} failed: {failure_reason(error)}\n{where}"
    blocked = [
        f"{asset_name(check.asset_key)} was refused: {check.description}"
        for check in result.get_asset_check_evaluations()
        if not check.passed and check.blocking
    ]
    return "\n".join([*blocked, where])


def show(console: Console, dataset: str, recipe: str) -> None:
    """Print the scores, the registered model and the path of the report."""
    import dagster as dg

    from assets.freshness import latest_materialization
    from assets.partitions import grid_key
    from assets.registry import registered_model
    from lgad_pipeline.evaluation.student_scores import read_comparison
    from resources.mlflow.resource import default_tracking
    from resources.mlflow.versions import standing
    from resources.project import Project
    from resources.state_store import fetch_results

    paths = fetch_results(Project(file=str(settings_path())).paths(dataset, recipe), "lane_scores", "report")
    comparison = read_comparison(paths.lane_scores)
    table = Table(title=f"F1 at IoU 0.5, {dataset}, test frames", title_justify="left", header_style="bold")
    table.add_column("scenario")
    for column in ("frames", "student alone", "student with LGAD", "gain (points)", "FP with LGAD"):
        table.add_column(column, justify="right")
    for row in comparison.rows:
        gain = "–" if row.gain is None else f"[{'green' if row.gain >= 0 else 'red'}]{100 * row.gain:+.1f}[/]"
        cells = ["–" if f1 is None else f"{f1:.3f}" for f1 in (row.f1_alone, row.f1_lgad)]
        style = "bold" if row is comparison.total else None
        table.add_row(marked(row.scenario), str(row.frames), *cells, gain, str(row.lgad.fp), style=style)
        if row is comparison.total:
            table.add_section()
    console.print(table)
    if comparison.finds_lanes:
        interval = comparison.gain.scaled(100)
        gain = f"Gain of distillation: 95 % within {interval.low:+.1f} and {interval.high:+.1f} points."
    else:
        gain = "Neither student finds a lane: train longer, or check sizes and labels with `lgad show`."
    console.print(gain, highlight=False)
    with dg.DagsterInstance.get() as instance:
        record = latest_materialization(instance, registered_model.key, partition=grid_key(dataset, recipe))
    if record is not None:
        metadata: Any = record.materialization.metadata
        name, version = str(metadata["model"].value), str(metadata["version"].value)
        tracking = default_tracking(settings_path().parent)
        with tracking.explained():
            used, decision = standing(tracking, name, version=version)
        decision = decision or str(metadata["decision"].value)
        console.print(f"Model:  [bold]{name} version {version}[/] ({used}). {marked(decision)}")
    console.print(f"Report: [bold]{marked(paths.report)}[/]", soft_wrap=True)


if __name__ == "__main__":
    app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)
    app.command()(main)
    app()
