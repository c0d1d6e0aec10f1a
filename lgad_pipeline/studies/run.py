"""Run of a study: its trainings in parallel processes, then the comparison."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Protocol

from lgad_pipeline.config.network import allow_networks
from lgad_pipeline.data.shards import ShardSet
from lgad_pipeline.errors import LgadError
from lgad_pipeline.networks.registry import network_class
from lgad_pipeline.process_pool import uses_cluster
from lgad_pipeline.progress import ProgressText
from lgad_pipeline.settings import Dataset, Recipe
from lgad_pipeline.studies.config import GainStudy
from lgad_pipeline.studies.plan import (
    StudyRun,
    TrainingSpec,
    plan,
    require_initial_weights,
    teacher_trainings,
)
from lgad_pipeline.studies.report import write_study
from lgad_pipeline.studies.result import StudyResult, finished, summarize
from lgad_pipeline.studies.trainings import (
    StudyInputs,
    has_other_settings,
    run_training,
    train_and_score,
    trained_on,
)
from lgad_pipeline.studies.workers import run_all
from lgad_pipeline.training.device_lease import DeviceKind
from lgad_pipeline.training.student_losses import check_losses
from lgad_pipeline.wording import counted


class Exchange(Protocol):
    """Store through which machines exchange the directories of trainings; picklable."""

    def fetch(self, folder: Path) -> None:
        """Complete a directory from the store, if the store has it."""

    def publish(self, folder: Path) -> None:
        """Copy a directory to the store."""


def distillation_gain(
    study: GainStudy,
    *,
    dataset: Dataset,
    recipes: dict[str, Recipe],
    shards: Path,
    recordings: Path,
    output: Path,
    workers: int = 1,
    device: DeviceKind = "auto",
    only_report: bool = False,
    progress: ProgressText = print,
    exchange: Exchange | None = None,
) -> StudyResult:
    """Train all students of a study, score them on the test split, and write the comparison.

    The process may be killed at any time: the next run reuses finished trainings and resumes the others from
    their checkpoints. Afterwards `output` contains the files of `write_study`, and a directory per training.

    Args:
        study: recipes, variants and seeds to compare.
        dataset: settings of the study's data set.
        recipes: recipes of the study by name.
        shards: directory of the packed data set.
        recordings: directory of its annotated lane files.
        output: directory of the study.
        workers: number of processes, among which the CPU cores are divided; 1 trains in this process. On a
            cluster (`on_cluster`) it has no effect.
        device: kind of the devices on which networks are trained.
        only_report: True to train nothing and to compare the students that are finished.
        progress: function that is called with a line of text when a training ends.
        exchange: store of the trainings' directories on a cluster; None if the machines share `output`.

    Raises:
        LgadError: a split or initial weights are missing; the losses of a variant do not fit; there is no
            finished student to report; or trainings failed: the others are finished first, and all failures
            are listed.
    """
    packed = ShardSet.open(shards)
    for split in ("train", "val", "test"):
        _ = packed[split]  # raises an error before the first training if it is missing
    runs = plan(study, recipes, output=output)
    if only_report:
        scored = finished_students(study, recipes, output=output)
        return _report(study, runs, scored, shards=shards, output=output)
    require_initial_weights(run.training.recipe for run in runs)
    _check_losses(study, runs, dataset)
    inputs = StudyInputs(dataset, shards, recordings, device)
    options = {"workers": workers, "progress": progress, "exchange": exchange}
    mimicked = [(f"{each.role} {each.folder.name}", each) for each in teacher_trainings(study, runs)]
    failed = _run_all(run_training, mimicked, inputs, **options)
    students = [
        (f"{run.recipe} {run.variant} seed {run.seed}", run.training)
        for run in runs
        if failed.keys().isdisjoint((run.training.teacher, run.training.model))
    ]
    failures = [*failed.values(), *_run_all(train_and_score, students, inputs, **options).values()]
    if left_out := len(runs) - len(students):
        failures.append(f"not trained: {counted(left_out, 'student')} of the networks that failed")
    if failures:
        raise LgadError("\n".join(failures))
    return _report(study, runs, runs, shards=shards, output=output)


def _check_losses(study: GainStudy, runs: list[StudyRun], dataset: Dataset) -> None:
    """Check the losses of each variant before the teachers, whose trainings come first, are trained."""
    for run in runs:
        if run.seed != study.first_seed:
            continue
        recipe = run.training.recipe
        allow_networks(recipe.network.name, recipe.teachers_network.name)
        try:
            if run.training.model is not None:
                network_class(study.model.name)
            check_losses(recipe, run.training.method, image_size=dataset.image_size, slots=dataset.slots)
        except LgadError as error:
            raise LgadError(f"{run.recipe} {run.variant}: {error}") from error


def finished_students(study: GainStudy, recipes: dict[str, Recipe], *, output: Path) -> list[StudyRun]:
    """Return the students of a study that are trained and scored.

    Args:
        study: recipes, variants and seeds to compare.
        recipes: recipes of the study by name.
        output: directory of the study.

    Raises:
        LgadError: no student is finished.
    """
    scored = finished(plan(study, recipes, output=output))
    if not scored:
        raise LgadError(f"{output} holds no finished student of this study; run the study first.")
    return scored


def _report(
    study: GainStudy, runs: list[StudyRun], scored: list[StudyRun], *, shards: Path, output: Path
) -> StudyResult:
    result = summarize(scored, study.compute)
    result = replace(result, notes=(*_left_out(runs, scored), *_of_other_data(scored), *result.notes))
    write_study(result, scored, shards=shards, output=output)
    return result


def _left_out(runs: list[StudyRun], scored: list[StudyRun]) -> list[str]:
    """State how many students are not in the report, and how many of these have other settings now."""
    if len(scored) == len(runs):
        return []
    notes = [f"{len(scored)} of {len(runs)} students are finished; pairs are those of finished students."]
    changed = sum(run not in scored and has_other_settings(run.training) for run in runs)
    if changed:
        notes.append(
            f"{counted(changed, 'student')} {'was' if changed == 1 else 'were'} trained with other settings "
            "than the study and its recipes have now, and left out; run the study to train them again."
        )
    return notes


def _of_other_data(scored: list[StudyRun]) -> list[str]:
    """State that students were trained on different data, as after a change of the data set."""
    packed = {shards for run in scored if (shards := trained_on(run.training)) is not None}
    if len(packed) < 2:
        return []
    return [
        f"The students were trained on {len(packed)} different sets of frames and labels; run the study to "
        "train all of them on the present one."
    ]


def _run_all(
    function: Callable[[TrainingSpec, StudyInputs], object],
    trainings: Sequence[tuple[str, TrainingSpec]],
    inputs: StudyInputs,
    *,
    workers: int,
    progress: ProgressText,
    exchange: Exchange | None,
) -> dict[Path, str]:
    """Call a function for every training.

    Args:
        function: function of a training and the inputs.
        trainings: name, for texts, and settings of each training.
        inputs: inputs of all trainings.
        workers: see `distillation_gain`, as the others.
        progress: called with a line of text when a training ends.
        exchange: store of the trainings' directories on a cluster, or None.

    Returns:
        Directory of each training that failed -> its name and the reason.
    """
    failures: dict[Path, str] = {}
    shared = exchange if uses_cluster() else None
    work = function if shared is None else partial(_exchanged, function, shared)
    tasks = (((name, t.folder), (t, inputs)) for name, t in trainings)
    for done, ((name, folder), result) in enumerate(run_all(work, tasks, workers=workers), 1):
        failed = isinstance(result, LgadError)
        if failed:
            failures[folder] = f"{name}: {result}"
        elif shared is not None:
            shared.fetch(folder)
        progress(f"[{done}/{len(trainings)}] {name}{' failed' if failed else ''}")
    return failures


def _exchanged(
    function: Callable[[TrainingSpec, StudyInputs], object],
    exchange: Exchange,
    training: TrainingSpec,
    inputs: StudyInputs,
) -> None:
    """Call a function for a training on another machine, between the exchange of the directories."""
    for folder in (training.teacher, training.model, training.folder):
        if folder is not None:
            exchange.fetch(folder)
    function(training, inputs)
    exchange.publish(training.folder)
