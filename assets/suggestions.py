"""Asset of the frames to label next (one partition per data set), and the sensor of frames without labels."""

import logging
import shutil
import time
from collections.abc import Iterator
from hashlib import blake2b
from pathlib import Path

import dagster as dg

from assets.data import OWNERS, shards
from assets.freshness import inputs_at_start, latest_materialization, materialize_result
from assets.jobs import suggest_job
from assets.keys import PREFIX, asset_key
from assets.networks import student_alone, student_lgad
from assets.partitions import DATASETS
from assets.presentation import metadata
from assets.run_records import training_record
from lgad_pipeline.atomic_files import write_text
from lgad_pipeline.code_fingerprint import code_fingerprint
from lgad_pipeline.config.roles import STUDENTS
from lgad_pipeline.config.suggestion import SuggestConfig
from lgad_pipeline.datasets.folder_state import FolderState, folder_state
from lgad_pipeline.errors import LgadError
from lgad_pipeline.progress import Progress
from resources.device_pool import DEVICE
from resources.paths import open_shards, settings_named
from resources.progress import ProgressLog
from resources.project import Project
from resources.state_store import fetch_results, fetch_stored
from resources.trainer import Trainer

CODE = code_fingerprint("lgad_pipeline.suggestion.candidates:suggest_frames")
DONE = "suggestions.csv"


@dg.asset(
    key_prefix=PREFIX,
    group_name="labelling",
    kinds={"pytorch", "opencv"},
    owners=OWNERS,
    partitions_def=DATASETS,
    pool=DEVICE,
    deps=[shards, student_alone, student_lgad],
    code_version=CODE,
    description="""Unlabelled frames of the folder `suggest.frames` (lgad.yaml) that would improve the student
most, with predicted lanes for correction in labelme or CVAT.

The score of a frame is the mean of three ranks, each the share of the folder's frames with a smaller value:
the uncertainty of the student with LGAD (entropy where it sees lanes), the disagreement of its prediction
with that of the mirrored frame and of the student alone, and the distance of its features to the nearest
frame that has labels or is suggested already. Nearly identical frames are suggested once.

Each set of suggestions has a folder of its own, and none is ever replaced. Corrected frames become part of
the data set by `lgad import FORMAT FOLDER ROOT --add train`; frames that nobody has checked are rejected.""",
)
def suggestions(
    context: dg.AssetExecutionContext, project: Project, trainer: Trainer, progress: ProgressLog
) -> dg.MaterializeResult:
    """Suggest frames to label."""
    inputs = inputs_at_start(context, project)
    dataset = context.partition_key
    suggest = _config(project, dataset)
    fetch_results(project.paths(dataset, project.settings.suggesting_recipe(dataset)), *STUDENTS)
    version = suggestions_version(project, dataset, folder_state(suggest.frames))
    output = project.paths(dataset).suggestions / version[:12]
    if output.exists() and not (output / DONE).is_file():
        # It may hold corrected frames, so that it is not replaced.
        raise LgadError(f"{output} has no {DONE}; move the folder away, and materialize the asset again.")
    if not output.exists():
        with (
            progress.task(context.log, "looking at frames without labels") as task,
            settings_named(dataset),
            trainer.leased_device() as device,
        ):
            _write(
                project,
                dataset,
                suggest,
                output=output,
                device=device,
                log=context.log,
                progress=task.advance,
            )
    return materialize_result(
        context,
        project,
        inputs=inputs,
        data_version=version,
        metadata=_metadata(project, dataset, suggest, output=output),
    )


@dg.sensor(
    job=suggest_job,
    minimum_interval_seconds=60,
    default_status=dg.DefaultSensorStatus.STOPPED,
    description="Lists the folders of new frames (`suggest` of the data sets in lgad.yaml). Frames to label "
    "are suggested when a folder has changed and has rested for `quiet_seconds`, or when the students have "
    "changed.",
)
def unlabelled_frames(
    context: dg.SensorEvaluationContext, project: Project
) -> Iterator[dg.RunRequest | dg.SkipReason]:
    """Request suggestions for each data set whose new frames or students have changed."""
    reasons, requested = [], False
    for dataset, entry in sorted(project.settings.datasets.items()):
        if entry.suggest is None:
            continue
        try:
            answer = _check(context, project, dataset, entry.suggest)
        except (LgadError, OSError) as error:  # An error of one data set does not stop the others.
            answer = f"{dataset}: {error}"
        if isinstance(answer, dg.RunRequest):
            requested = True
            yield answer
        else:
            reasons.append(answer)
    if not requested:
        yield dg.SkipReason(" ".join(reasons) or "No data set of lgad.yaml has `suggest`.")


def suggestions_version(project: Project, dataset: str, state: FolderState) -> str:
    """Compute the fingerprint of what the suggestions of a data set follow from.

    Args:
        project: settings and paths of the project.
        dataset: name of the data set.
        state: state of the folder of its frames without labels.

    Raises:
        LgadError: the data set has no `suggest`, its folder is missing, or there is no trained student yet.
    """
    suggest = _config(project, dataset)
    parts = [CODE, suggest.model_dump_json(), state.digest]
    recipe = project.settings.suggesting_recipe(dataset)
    for student in STUDENTS:
        folder = project.paths(dataset, recipe).network(student)
        try:
            parts.append(training_record(folder)["fingerprint"])
        except (OSError, ValueError, KeyError) as error:
            raise LgadError(
                f"{dataset} has no trained {student} of the recipe {recipe} yet; materialize `retrain` first."
            ) from error
    return blake2b("\n".join(parts).encode(), digest_size=16).hexdigest()


def _config(project: Project, dataset: str) -> SuggestConfig:
    suggest = project.dataset(dataset).suggest
    if suggest is None:
        raise LgadError(
            f"lgad.yaml names no frames without labels for {dataset}; write datasets.{dataset}.suggest: "
            "{frames: FOLDER}."
        )
    if not suggest.frames.is_dir():
        raise LgadError(
            f"There is no folder {suggest.frames}; create it, or correct datasets.{dataset}.suggest.frames "
            "in lgad.yaml."
        )
    return suggest


def _check(
    context: dg.SensorEvaluationContext, project: Project, dataset: str, suggest: SuggestConfig
) -> dg.RunRequest | str:
    """Return a run request, or the reason why there is none.

    Raises:
        LgadError: the folder is missing or holds no frame, or there is no trained student yet.
    """
    from lgad_pipeline.inference.sources import RejectedFrames, find_sources

    if not DATASETS.has_partition_key(dataset):
        return f"{dataset} is new in lgad.yaml; reload the code location."
    state = folder_state(suggest.frames)
    fetch_stored(project.paths(dataset, project.settings.suggesting_recipe(dataset)), *STUDENTS)
    version = suggestions_version(project, dataset, state)
    last = latest_materialization(context.instance, asset_key("suggestions"), partition=dataset)
    if last is not None and last.data_version == version:
        return f"{dataset}: nothing has changed since the last suggestions."
    if 0 <= time.time() - state.changed < suggest.quiet_seconds:
        return f"{dataset}: {suggest.frames} has changed just now, and may still be changing."
    # An error where the folder holds no frame, as after all of them have got labels and were moved away.
    find_sources(str(suggest.frames), None, rejected=RejectedFrames())
    # A key is requested once: a run that failed is repeated after a change of frames, students or settings.
    settings = project.settings_digest(dataset, project.settings.suggesting_recipe(dataset))
    return dg.RunRequest(
        run_key=f"{dataset} {version} {settings} {last.run_id if last else ''}",
        partition_key=dataset,
        tags={"lgad/dataset": dataset},
    )


def _write(
    project: Project,
    dataset: str,
    suggest: SuggestConfig,
    *,
    output: Path,
    device: str,
    log: logging.Logger,
    progress: Progress,
) -> None:
    """Write the folder of suggestions; it appears complete."""
    from lgad_pipeline.datasets.importing.convert import Format
    from lgad_pipeline.inference.predictor import LanePredictor
    from lgad_pipeline.inference.sources import RejectedFrames, find_sources
    from lgad_pipeline.suggestion.candidates import split_images, suggest_frames
    from lgad_pipeline.suggestion.pre_annotations import table_text, write_suggestions

    paths = project.paths(dataset, project.settings.suggesting_recipe(dataset))
    rejected = RejectedFrames()
    names = find_sources(str(suggest.frames), None, rejected=rejected).frames
    packed = open_shards(paths)
    predictor = LanePredictor.load(paths.student_lgad, device)
    found = suggest_frames(
        predictor,
        suggest.frames,
        names=names,
        labelled=(image for split in packed.splits.values() for image in split_images(split)),
        count=suggest.count,
        rejected=rejected,
        other=LanePredictor.load(paths.student_alone, device),
        progress=progress,
    )
    unfinished = output.with_name(f".{output.name}.part")
    shutil.rmtree(unfinished, ignore_errors=True)
    if found.frames:
        kind = Format(suggest.format)
        write_suggestions(predictor, suggest.frames, found, output=unfinished, annotations=kind)
    else:  # all of them have labels by now
        write_text(unfinished / DONE, table_text([]))
    for sentence in rejected.sentences():
        log.warning(sentence)
    unfinished.rename(output)


def _metadata(project: Project, dataset: str, suggest: SuggestConfig, *, output: Path) -> dict:
    """Describe a folder of suggestions: contact sheet, scores, and the next steps."""
    import pandas as pd

    from lgad_pipeline.datasets.images import read_image
    from lgad_pipeline.inference.drawn_pictures import SUGGESTIONS_SHEET

    table = pd.read_csv(output / DONE)
    if table.empty:
        reason = f"Every frame of {suggest.frames} shows the same picture as one with labels."
        return {"suggested frames": 0, "reason": reason}
    sheet = read_image(output / SUGGESTIONS_SHEET)
    root = project.paths(dataset).recordings
    return {
        "suggested frames": len(table),
        "folder": dg.MetadataValue.path(output),
        "pictures": metadata.picture(
            sheet, "predicted lanes; under each frame its score and its three ranks"
        ),
        "scores": metadata.first_rows(table),
        "when corrected": dg.MetadataValue.md(f"`lgad import {suggest.format} {output} {root} --add train`"),
    }
