"""A whole study: its trainings in parallel processes, then the comparison."""

import ctypes
import multiprocessing
import os
import signal
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from pathlib import Path

import cv2
import torch

from lgad_pipeline.data.shards import ShardSet
from lgad_pipeline.errors import LgadError
from lgad_pipeline.settings import Dataset, Recipe
from lgad_pipeline.studies.config import GainStudy
from lgad_pipeline.studies.plan import Work, lesson_works, plan
from lgad_pipeline.studies.result import Findings, find, write_findings
from lgad_pipeline.studies.trainings import Place, train, train_and_score
from lgad_pipeline.training.run import Device

Tell = Callable[[str], None]
_PR_SET_PDEATHSIG = 1


def distillation_gain(
    study: GainStudy,
    dataset: Dataset,
    recipes: dict[str, Recipe],
    shards: Path,
    recordings: Path,
    output: Path,
    workers: int = 1,
    device: Device = "auto",
    tell: Tell = print,
) -> Findings:
    """Train all students of a study, score them on the test split, compare and write what was found.

    It may be killed at any time: run again, it keeps finished trainings and goes on with the others from
    their checkpoints. Afterwards `output` holds what `write_findings` writes, and a folder for each training.

    Args:
        study: what to compare.
        dataset: the study's data set.
        recipes: the study's recipes by name.
        shards: packed frames of the data set.
        recordings: folder of its annotated lane files.
        output: folder of the study.
        workers: processes, with one thread each; 1 trains in this process with its threads.
        device: where networks are trained.
        tell: called with a line about each training that ends.

    Raises:
        LgadError: a split is missing; or trainings failed: the others are finished first, and all failures
            are named.
    """
    packed = ShardSet.open(shards)
    for split in ("train", "val", "test"):
        _ = packed[split]  # a missing one is noticed before the first training
    runs = plan(study, recipes, output)
    place = Place(dataset, shards, recordings, device, study.data.label_noise)
    before = lesson_works(study, runs)
    _each(train, before, place, workers, [f"{work.role} {work.folder.name}" for work in before], tell)
    names = [f"{run.recipe} {run.variant} seed {run.seed}" for run in runs]
    _each(train_and_score, [run.work for run in runs], place, workers, names, tell)
    found = find(runs)
    write_findings(found, runs, shards, output)
    return found


def _each(
    do: Callable[[Work, Place], object],
    works: Sequence[Work],
    place: Place,
    workers: int,
    names: Sequence[str],
    tell: Tell,
) -> None:
    failures: list[str] = []

    def ended(name: str, error: BaseException | None, done: int) -> None:
        if error is not None:
            failures.append(f"{name}: {error}")
        tell(f"[{done}/{len(works)}] {name}{' failed' if error else ''}")

    if workers == 1:
        for done, (work, name) in enumerate(zip(works, names, strict=True), 1):
            try:
                do(work, place)
            except LgadError as error:
                ended(name, error, done)
            else:
                ended(name, None, done)
    else:
        context = multiprocessing.get_context("spawn")
        with ProcessPoolExecutor(workers, context, _one_thread, (os.getpid(),)) as pool:
            futures = {pool.submit(do, work, place): name for work, name in zip(works, names, strict=True)}
            for done, future in enumerate(as_completed(futures), 1):
                ended(futures[future], future.exception(), done)
    if failures:
        raise LgadError("\n".join(failures))


def _one_thread(parent: int) -> None:
    """Set up a worker: one thread, and an end when its parent ends, however that came about."""
    torch.set_num_threads(1)
    cv2.setNumThreads(1)
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    if os.name == "posix" and hasattr(ctypes.CDLL(None), "prctl"):
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:  # it ended before the line above
        os._exit(1)
