"""`lgad suggest`: the frames to label next; `lgad export-annotations`: lanes as files of labelme or CVAT."""

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from lgad_pipeline.cli.inference import TrustedCode
from lgad_pipeline.config.network import allow_networks
from lgad_pipeline.console import progress_bar, say
from lgad_pipeline.datasets.importing.convert import Format
from lgad_pipeline.errors import LgadError
from lgad_pipeline.wording import counted

if TYPE_CHECKING:
    import numpy as np

    from lgad_pipeline.inference.predictor import LanePredictor
    from lgad_pipeline.inference.sources import RejectedFrames


def suggest(
    frames: Annotated[Path, typer.Argument(help="Directory of frames without labels.")],
    model: Annotated[Path, typer.Option(help="Directory of a trained student, such as student_lgad.")],
    labelled: Annotated[
        Path, typer.Option(help="Directory of the frames that have labels: images, or packed shards.")
    ],
    output: Annotated[Path, typer.Option(help="Directory to create, for labelme or CVAT.")],
    count: Annotated[int, typer.Option(min=1, max=10_000, help="Number of frames to suggest.")] = 20,
    annotations: Annotated[
        Format, typer.Option("--format", help="Tool in which the lanes will be corrected.")
    ] = Format.LABELME,
    second_model: Annotated[
        Path | None, typer.Option(help="Second student, whose disagreement with the first counts, too.")
    ] = None,
    frame_list: Annotated[
        Path | None,
        typer.Option("--list", help="List of frames; without it, every image below the directory."),
    ] = None,
    device: Annotated[str, typer.Option(help="Device of the network: auto, cpu or cuda.")] = "auto",
    trusted: TrustedCode = None,
) -> None:
    """Choose the frames that would improve a student most; write them with predicted lanes to correct."""
    from lgad_pipeline.datasets.exporting import cvat
    from lgad_pipeline.datasets.exporting.write import require_new
    from lgad_pipeline.inference.drawn_pictures import SUGGESTIONS_SHEET, SUGGESTIONS_TABLE
    from lgad_pipeline.inference.predictor import LanePredictor
    from lgad_pipeline.inference.sources import RejectedFrames, find_sources
    from lgad_pipeline.suggestion.candidates import suggest_frames
    from lgad_pipeline.suggestion.pre_annotations import write_suggestions

    if not frames.is_dir():
        raise LgadError(f"{frames} is not a folder; give the folder of the frames without labels.")
    require_new(output)
    allow_networks(*(trusted or ()))
    rejected = RejectedFrames()
    names = find_sources(str(frames), frame_list, rejected=rejected).frames
    predictor = LanePredictor.load(model, device)
    other = None if second_model is None else LanePredictor.load(second_model, device)
    with progress_bar(f"Looking at {counted(len(names), 'frame')}") as progress:
        suggested = suggest_frames(
            predictor,
            frames,
            names=names,
            labelled=_labelled_images(predictor, labelled, rejected),
            count=count,
            rejected=rejected,
            other=other,
            progress=progress,
        )
    for sentence in rejected.sentences():
        say(sentence, error=True)
    if not suggested.frames:
        raise LgadError(
            f"Every frame of {frames} shows the same picture as one with labels; give other frames."
        )
    write_suggestions(predictor, frames, suggested, output=output, annotations=annotations)
    say(
        f"{len(suggested.frames)} of {counted(suggested.pool, 'frame')} suggested, compared with "
        f"{suggested.labelled} that have labels; {suggested.repeats} show a picture again and were left out"
    )
    say(f"Scores: {output / SUGGESTIONS_TABLE}; pictures: {output / SUGGESTIONS_SHEET}")
    if annotations is Format.CVAT:
        say(f"Labels of the task in CVAT (Raw): {cvat.LABELS}")
    say(f"When they are corrected: lgad import {annotations} {output} DATA_SET --add train")


def export_annotations(
    annotations: Annotated[Format, typer.Argument(help="Annotation tool.")],
    source: Annotated[Path, typer.Argument(help="Data set in CULane's layout.")],
    output: Annotated[Path, typer.Argument(help="Directory to create.")],
    frame_list: Annotated[
        Path | None, typer.Option("--list", help="List of frames; default: all lists of the data set.")
    ] = None,
    follow_links: Annotated[
        bool, typer.Option("--follow-links", help="Use frames that are links to files elsewhere.")
    ] = False,
) -> None:
    """Write the frames and lanes of a data set as annotations of labelme or CVAT."""
    from lgad_pipeline.datasets import culane
    from lgad_pipeline.datasets.exporting.write import labelled_frames, require_new, write_annotations
    from lgad_pipeline.lanes.frame_list import read_frame_list
    from lgad_pipeline.lanes.lane_files import Rejected

    require_new(output)
    faults: list = []
    if frame_list is None:
        names = list(dict.fromkeys(entry.frame for entry in culane.list_frames(source, faults)))
    else:
        listed = read_frame_list(frame_list, source)
        names, faults = listed.frames, list(listed.rejected)
    rejected = [fault for fault in faults if isinstance(fault, Rejected)]
    with progress_bar(f"Exporting {counted(len(names), 'frame')}") as progress:
        frames = labelled_frames(
            source, names, rejected=rejected, follow_links=follow_links, progress=progress
        )
        written = write_annotations(frames, source, output, annotations=annotations, rejected=rejected)
    for fault in rejected[:20]:
        say(f"rejected: {fault}", error=True)
    if len(rejected) > 20:
        say(f"and {len(rejected) - 20} more rejected.", error=True)
    if not written:
        raise LgadError(f"No frame of {source} can be exported; correct the data set.")
    say(f"{counted(written, 'frame')} below {output}; {len(rejected)} rejected.")


def _labelled_images(
    predictor: "LanePredictor", folder: Path, rejected: "RejectedFrames"
) -> Iterator["np.ndarray"]:
    """Yield the network inputs of the labelled frames of a directory, images or packed shards."""
    from lgad_pipeline.data.shard_index import INDEX
    from lgad_pipeline.data.shards import ShardSet
    from lgad_pipeline.inference.sources import find_sources
    from lgad_pipeline.suggestion.candidates import folder_images, split_images

    if not (folder / INDEX).is_file():
        names = find_sources(str(folder), None, rejected=rejected).frames
        return folder_images(predictor, folder, names, rejected=rejected)
    shards = ShardSet.open(folder)
    if shards.view != predictor.view:
        raise LgadError(
            f"The shards {folder} have another view than the student, {shards.view} instead of "
            f"{predictor.view}; give the shards of its training, or the folder of their frames."
        )
    return (image for split in shards.splits.values() for image in split_images(split))
