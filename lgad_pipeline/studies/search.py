"""Search for recipe settings with Optuna: trials on validation frames, resumable, the best one as YAML."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from hashlib import blake2b
from pathlib import Path
from typing import TYPE_CHECKING

import pandas as pd
import yaml

from lgad_pipeline.atomic_files import locked, write_text
from lgad_pipeline.config.mistakes import value_types
from lgad_pipeline.data.shards import ShardSet
from lgad_pipeline.errors import LgadError, SystemFault
from lgad_pipeline.networks.checkpoint import network_digest
from lgad_pipeline.networks.pretrained import file_digest
from lgad_pipeline.progress import ProgressText
from lgad_pipeline.settings import Recipe
from lgad_pipeline.studies.plan import TrainingSpec, require_initial_weights, shared_folder
from lgad_pipeline.studies.search_config import Range, SearchStudy, Value
from lgad_pipeline.studies.trainings import StudyInputs, annotations_digest, run_training, train_and_validate
from lgad_pipeline.studies.workers import ProcessEndedError, run_all

if TYPE_CHECKING:
    import optuna

JOURNAL = "search.journal"
TRIALS = "trials.csv"
BEST = "best.yaml"
_REASON, _DATA = "reason", "shards"


@dataclass(frozen=True)
class SearchResult:
    """Result of a search.

    Attributes:
        trials: a row for each finished trial, best first: trial, F1 on validation frames, each searched key.
        failed: number of trials whose training failed.
        best: file with the best recipe.
    """

    trials: pd.DataFrame
    failed: int
    best: Path


def search(
    study: SearchStudy,
    *,
    recipe: Recipe,
    inputs: StudyInputs,
    output: Path,
    workers: int = 1,
    progress: ProgressText = print,
) -> SearchResult:
    """Run the trials that are missing, and write the table of all trials and the best recipe.

    The process may be killed at any time: the next run keeps finished trials, and repeats those that were
    running with the same values, whose trainings resume at their checkpoints.

    Args:
        study: settings of the search.
        recipe: recipe that is changed.
        inputs: data set, shards and device of the trainings.
        output: directory of the search.
        workers: number of trials at a time, each in a process; 1 for this process.
        progress: called with a line of text when a trial ends.

    Raises:
        LgadError: a searched key is unknown, initial weights or Optuna are missing, the directory holds
            another search, trials on other data, or is in use by a process, a process ended without a result,
            a file could not be read or written, or every trial failed.
    """
    _check_keys(study, recipe)
    require_initial_weights([recipe])
    with locked(output, wait=False):  # the trials of a search that still runs look interrupted
        return _search(study, recipe, inputs, output, workers=workers, progress=progress)


def _search(
    study: SearchStudy,
    recipe: Recipe,
    inputs: StudyInputs,
    output: Path,
    *,
    workers: int,
    progress: ProgressText,
) -> SearchResult:
    """Run the trials that are missing; see `search`."""
    optuna = _optuna()
    try:
        trials = _open(study, recipe, output)
    except (ValueError, KeyError, TypeError) as error:
        raise LgadError(
            f"{output / JOURNAL} is not a journal of trials, or is damaged ({error}); restore it, or name "
            "another directory."
        ) from error
    _check_inputs(trials, recipe, inputs, output)
    for trial in trials.get_trials(deepcopy=False, states=[optuna.trial.TrialState.RUNNING]):
        trials.tell(trial.number, state=optuna.trial.TrialState.FAIL)
        trials.enqueue_trial(trial.params)
    tasks = _asked(study, trials, recipe=recipe, inputs=inputs, output=output, progress=progress)
    interrupted: LgadError | None = None
    for trial, result in run_all(_evaluate, tasks, workers=workers):
        if isinstance(result, ProcessEndedError | SystemFault):
            interrupted = result  # no result of the trial's values: the next search repeats it
        elif isinstance(result, LgadError):
            _tell(study, trials, trial, progress=progress, reason=str(result))
        else:
            _tell(study, trials, trial, progress=progress, f1=result)
    if interrupted is not None:
        raise interrupted
    return _write(study, trials, recipe=recipe, output=output)


def _asked(
    study: SearchStudy,
    trials: "optuna.Study",
    *,
    recipe: Recipe,
    inputs: StudyInputs,
    output: Path,
    progress: ProgressText,
) -> Iterator[tuple["optuna.Trial", tuple[Recipe, SearchStudy, StudyInputs, Path]]]:
    """Yield trials with the arguments of `_evaluate`, until enough have ended or are running."""
    running = [_optuna().trial.TrialState.RUNNING]
    while _remaining(study, trials) > len(trials.get_trials(deepcopy=False, states=running)):
        trial = trials.ask()
        try:
            changed = study.applied(recipe, _values(study, trial))
        except LgadError as error:
            _tell(study, trials, trial, progress=progress, reason=str(error))
        else:
            yield trial, (changed, study, inputs, output)


def _evaluate(recipe: Recipe, study: SearchStudy, inputs: StudyInputs, output: Path) -> float:
    """Train the teacher, if there is one, and the student of a trial, and return its validation F1."""
    teacher = None
    if study.method == "lgad" and recipe.trains_teacher_first:
        parts = (recipe.teachers_network, recipe.teacher, recipe.teacher_input, recipe.augmentation)
        teacher = shared_folder(output / "teachers", *parts)
        run_training(TrainingSpec("teacher", recipe, recipe.teachers_network, teacher), inputs)
    folder = output / "students" / blake2b(recipe.model_dump_json().encode(), digest_size=6).hexdigest()
    student = TrainingSpec("student", recipe, recipe.network, folder, method=study.method, teacher=teacher)
    return train_and_validate(student, inputs)


def _values(study: SearchStudy, trial: "optuna.Trial") -> dict[str, Value]:
    """Draw a value for each searched key."""
    values: dict[str, Value] = {}
    for key, space in study.settings.items():
        if not isinstance(space, Range):
            chosen = trial.suggest_categorical(key, space.choices)
            assert chosen is not None
            values[key] = chosen
        elif space.whole:
            values[key] = trial.suggest_int(key, int(space.low), int(space.high), log=space.log)
        else:
            values[key] = trial.suggest_float(key, space.low, space.high, log=space.log)
    return values


def _tell(
    study: SearchStudy,
    trials: "optuna.Study",
    trial: "optuna.Trial",
    *,
    progress: ProgressText,
    f1: float | None = None,
    reason: str = "",
) -> None:
    if f1 is None:
        trial.set_user_attr(_REASON, reason)
        trials.tell(trial, state=_optuna().trial.TrialState.FAIL)
    else:
        trials.tell(trial, f1)
    done = study.trials - _remaining(study, trials)
    values = ", ".join(f"{key.rpartition('.')[2]} {_shown(value)}" for key, value in trial.params.items())
    end = f"F1 {f1:.4f}" if f1 is not None else f"failed: {reason}"
    progress(f"[{done}/{study.trials}] {values}: {end}")


def _remaining(study: SearchStudy, trials: "optuna.Study") -> int:
    """Return the number of trials that have not ended; those that were interrupted do not count."""
    ended = [
        trial
        for trial in trials.get_trials(deepcopy=False)
        if trial.state.is_finished() and (trial.value is not None or _REASON in trial.user_attrs)
    ]
    return study.trials - len(ended)


def _open(study: SearchStudy, recipe: Recipe, output: Path) -> "optuna.Study":
    """Open the trials in the directory of the search; another search in it is an error."""
    optuna = _optuna()
    from optuna.storages import JournalStorage
    from optuna.storages.journal import JournalFileBackend

    output.mkdir(parents=True, exist_ok=True)
    described = study.model_dump_json(exclude={"trials"}) + recipe.model_dump_json()
    name = blake2b(described.encode(), digest_size=8).hexdigest()
    _cut_half_a_line(output / JOURNAL)
    storage = JournalStorage(JournalFileBackend(str(output / JOURNAL)))
    known = [summary.study_name for summary in optuna.get_all_study_summaries(storage)]
    if known and name not in known:
        raise LgadError(
            f"{output} holds a search with other settings; name another directory, or restore its settings."
        )
    # The number of trials makes the draws of a resumed search differ from those of its first run.
    count = len(storage.get_all_trials(storage.get_study_id_from_name(name))) if known else 0
    sampler = optuna.samplers.TPESampler(seed=study.seed + count)
    return optuna.create_study(
        storage=storage, sampler=sampler, study_name=name, direction="maximize", load_if_exists=True
    )


def _cut_half_a_line(journal: Path) -> None:
    """Remove a last line that a full disk has cut off; Optuna would append the next line to it."""
    if not journal.is_file():
        return
    content = journal.read_bytes()
    if not content.endswith(b"\n"):
        with journal.open("r+b") as file:
            file.truncate(content.rfind(b"\n") + 1)


def _check_inputs(trials: "optuna.Study", recipe: Recipe, inputs: StudyInputs, output: Path) -> None:
    """Check that earlier trials had the same frames, labels, annotations and initial weights."""
    packed, pretrained = ShardSet.open(inputs.shards), recipe.network.pretrained
    present = {
        _DATA: packed.fingerprint,
        "annotations": annotations_digest(inputs.recordings, packed["val"]),
        "init": network_digest(Path(recipe.init)) if recipe.init is not None else "",
        "pretrained": file_digest(pretrained) if pretrained is not None else "",
    }
    for name, digest in present.items():
        known = trials.user_attrs.get(name)
        if known is None:
            trials.set_user_attr(name, digest)
        elif known != digest:
            of_data = name in (_DATA, "annotations")
            what = "on other frames or labels" if of_data else f"from other weights ({name})"
            raise LgadError(
                f"{output} holds trials {what}; name another directory, or restore the data set, "
                "its settings and the weights."
            )


def _write(study: SearchStudy, trials: "optuna.Study", *, recipe: Recipe, output: Path) -> SearchResult:
    finished = [trial for trial in trials.get_trials(deepcopy=False) if trial.value is not None]
    failed = [trial for trial in trials.get_trials(deepcopy=False) if _REASON in trial.user_attrs]
    if not finished:
        raise LgadError(f"Every trial failed; the first reason: {failed[0].user_attrs[_REASON]}")
    ordered = sorted(finished, key=lambda trial: -(trial.value or 0.0))
    table = pd.DataFrame([{"trial": trial.number, "F1": trial.value, **trial.params} for trial in ordered])
    write_text(output / TRIALS, table.to_csv(index=False, float_format="%.6g"))
    best = ordered[0]
    changed = study.applied(recipe, best.params)
    content = {"recipes": {f"{study.recipe}-search": changed.model_dump(mode="json", exclude_defaults=True)}}
    comment = (
        f"# F1 {best.value:.4f} on the validation frames of {study.dataset}: the best of {len(finished)} "
        f"trials, method {study.method}.\n# Changed keys: {', '.join(study.settings)}.\n"
    )
    write_text(output / BEST, comment + yaml.safe_dump(content, sort_keys=False))
    return SearchResult(table, len(failed), output / BEST)


def _check_keys(study: SearchStudy, recipe: Recipe) -> None:
    """Check that the recipe has every searched key, and that each has an effect on the student."""
    content = recipe.model_dump()
    for key in study.settings:
        if reason := study.without_effect(key, recipe):
            raise LgadError(f"The key {key} has no effect in this search, because {reason}.")
        below: object = content
        for part in key.split("."):
            if not isinstance(below, dict) or part not in below:
                known: Sequence[str] = sorted(below) if isinstance(below, dict) else []
                keys = f"; the keys there are {', '.join(known)}" if known else ""
                raise LgadError(f"The recipe {study.recipe} has no key {key}{keys}.")
            below = below[part]
        space, types = study.settings[key], value_types(tuple(key.split(".")), Recipe)
        if isinstance(space, Range) and not space.whole and int in types and float not in types:
            raise LgadError(f"The key {key} takes whole numbers alone; add `whole: true` to its range.")


def _optuna():
    """Import Optuna, which is an optional dependency."""
    try:
        import optuna
    except ImportError as error:
        raise LgadError(
            "The search needs Optuna; install it: pip install 'lgad-pipeline[search]'."
        ) from error
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    return optuna


def _shown(value: Value) -> str:
    return f"{value:.3g}" if isinstance(value, float) else str(value)
