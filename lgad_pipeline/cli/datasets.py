"""`lgad import`: annotations of other tools; `lgad unpack`: archives; `lgad show`: a contact sheet."""

import csv
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from lgad_pipeline.atomic_files import require_writable
from lgad_pipeline.config.splits import SPLITS
from lgad_pipeline.console import progress_bar, say
from lgad_pipeline.datasets.archive import unpack
from lgad_pipeline.datasets.importing.adding import add_frames
from lgad_pipeline.datasets.importing.convert import Format, convert
from lgad_pipeline.datasets.importing.entry import dataset_entry, dataset_keys, dataset_name
from lgad_pipeline.datasets.importing.summary import summary
from lgad_pipeline.errors import LgadError
from lgad_pipeline.lanes.lane_files import Rejected
from lgad_pipeline.wording import counted

if TYPE_CHECKING:
    import pandas as pd

    from lgad_pipeline.data.ingestion import Ingestion
    from lgad_pipeline.settings import FolderDataset

_SHOWN = 20
"""Rejected files that `lgad import` and `lgad unpack` print."""
_LABELLED = 2000
"""Frames whose lanes `lgad show` labels, spread over the data set, to count those without a slot."""
_REASONS = 10
"""Reasons of rejected entries that `lgad show` prints."""


class AddedSplit(StrEnum):
    """Split that frames can be added to."""

    TRAIN = "train"
    VAL = "val"
    TEST = "test"


def import_annotations(
    annotations: Annotated[Format, typer.Argument(help="Annotation tool.")],
    source: Annotated[Path, typer.Argument(help="Directory of the annotations and images.")],
    output: Annotated[
        Path, typer.Argument(help="Directory to create, in CULane's layout; with --add, an existing one.")
    ],
    add: Annotated[
        AddedSplit | None, typer.Option(help="Add the frames to this split of an existing data set.")
    ] = None,
    labels: Annotated[
        str | None,
        typer.Option(
            metavar="A,B",
            help="Labels that mark lanes, separated by commas; a label with a comma is written in double "
            "quotes; default: all.",
        ),
    ] = None,
    val: Annotated[float, typer.Option(min=0, max=1, help="Share of the validation frames.")] = 0.1,
    test: Annotated[float, typer.Option(min=0, max=1, help="Share of the test frames.")] = 0.2,
    run: Annotated[
        int | None,
        typer.Option(min=1, help="Assign runs of this many consecutive frames to the splits at random."),
    ] = None,
    seed: Annotated[int, typer.Option(min=0, help="Seed of the random splits.")] = 0,
    follow_links: Annotated[
        bool, typer.Option("--follow-links", help="Follow links out of the directory of the annotations.")
    ] = False,
) -> None:
    """Convert annotated frames of another tool to a data set in CULane's layout."""
    chosen = None if labels is None else _labels(labels)
    if add is not None:
        with progress_bar(f"Importing {source}") as progress:
            done = add_frames(
                source,
                output,
                annotations=annotations,
                split=add,
                labels=chosen,
                follow_links=follow_links,
                progress=progress,
            )
        _print_rejected(done.rejected)
        for sentence in summary(done, added=True):
            say(sentence)
        say(f"Added to the {add} frames of {output}.")
        return
    with progress_bar(f"Importing {source}") as progress:
        done = convert(
            source,
            output,
            annotations=annotations,
            val=val,
            test=test,
            run=run,
            seed=seed,
            labels=chosen,
            follow_links=follow_links,
            progress=progress,
        )
    _print_rejected(done.rejected)
    for sentence in summary(done):
        say(sentence)
    say("In lgad.yaml:")
    size = done.sizes.most_common(1)[0][0]
    entry = dataset_entry(
        dataset_name(output.resolve().name), output.resolve(), keys=dataset_keys(size, done.lanes)
    )
    for line in entry.splitlines():
        say(line)


def _labels(text: str) -> list[str]:
    """Return the labels of --labels; a label in double quotes may have commas.

    Raises:
        LgadError: there is no label.
    """
    words = next(csv.reader([" ".join(text.splitlines())], skipinitialspace=True), [])
    labels = [label for word in words if (label := word.strip())]
    if not labels:
        raise LgadError("--labels has no label; give labels separated by commas, or leave the option out.")
    return labels


def unpack_archives(
    source: Annotated[
        Path, typer.Argument(help="Directory of the archives: .tar.gz, .tgz, .tar, .zip, parts.")
    ],
    output: Annotated[
        Path | None, typer.Option(help="Directory to unpack into; default: the same one.")
    ] = None,
) -> None:
    """Unpack CULane's archives; safe for untrusted archives, and resumable."""
    with progress_bar(f"Unpacking {source}") as progress:
        done = unpack(source, output or source, progress=progress)
    _print_rejected(done.rejected)
    for note in done.notes:
        say(f"note: {note}")
    say(f"{counted(done.files, 'file')} below {output or source}; {len(done.rejected)} rejected.")
    if not done.whole:
        raise LgadError("Not every archive was read to its end; correct it as said above, then unpack again.")
    if not done.files:
        raise LgadError(f"The archives in {source} hold no image or text that can be used, as said above.")


def show_dataset(
    dataset: Annotated[str, typer.Argument(help="Data set of lgad.yaml.")],
    output: Annotated[
        Path | None,
        typer.Option(help="Picture to write, PNG or JPEG; default: below .lgad/shown of the project."),
    ] = None,
    count: Annotated[
        int, typer.Option(min=1, max=100, help="Number of frames, and greatest number of rejected frames.")
    ] = 8,
    augmented: Annotated[
        str | None,
        typer.Option(metavar="RECIPE", help="Show this recipe's augmentation of one frame."),
    ] = None,
) -> None:
    """Draw a contact sheet: frames with lanes and labels, and rejected frames with the reason."""
    from lgad_pipeline.lanes.lane_files import lane_file
    from lgad_pipeline.settings import FolderDataset, Settings, settings_path
    from lgad_pipeline.visualization.augmentation_sheet import augmentation_sheet
    from lgad_pipeline.visualization.dataset_sheet import data_sheet, first_frame
    from lgad_pipeline.visualization.overlays import write_png

    settings = Settings.from_environment()
    entry = settings.dataset(dataset)
    name = f"{dataset}-{augmented}.png" if augmented else f"{dataset}.png"
    output = output or settings_path().parent / ".lgad" / "shown" / name
    if output.suffix.lower() not in (".png", ".jpg", ".jpeg"):
        raise LgadError(f"{output} does not end in .png, .jpg or .jpeg; give a picture file.")
    require_writable(output)
    drawing = {"lane_width": entry.lane_width, "scheme": entry.slot_scheme}
    root = entry.root.resolve() if isinstance(entry, FolderDataset) else None
    if root and output.exists() and output.resolve().is_relative_to(root):
        raise LgadError(f"{output} is a file of the data set; give a picture outside of {root}.")
    if output.exists() and lane_file(output.parent, output.name).exists():
        raise LgadError(f"{output} has a lane file next to it, so it is a frame; give another picture.")
    if isinstance(entry, FolderDataset):
        ingestion = _ingest(entry)
        _print_ingestion(ingestion)
        _print_lanes(ingestion.frames, entry)
        if entry.thin_lanes:
            say(f"note: {entry.thin_lanes}")
        if ingestion.frames.empty and ingestion.rejected.empty:
            raise LgadError(f"The lists of {entry.root} name no frame; write one frame path a line.")
        if augmented is None:
            write_png(output, data_sheet(ingestion, entry.view, count=count, **drawing))
            say(output)
            return
        frame, lanes = first_frame(ingestion, entry.frame_size)
    elif augmented is None:
        raise LgadError(f"The data set {dataset} is rendered by the pipeline; give one with a `root`.")
    else:
        from lgad_pipeline.synthetic.render import render

        scene = render(entry.world.seed, 0, "normal")
        frame, lanes = scene.image[..., ::-1], scene.lanes
    changes = settings.recipe(augmented).augmentation
    write_png(output, augmentation_sheet(frame, lanes, view=entry.view, config=changes, **drawing))
    say(output)


def _ingest(entry: "FolderDataset") -> "Ingestion":
    from lgad_pipeline.data.ingestion import ingest

    with progress_bar(f"Reading {entry.root}") as progress:
        return ingest(
            entry.require_root(),
            entry.frame_size,
            kind=entry.kind,
            follow_links=entry.follow_links,
            progress=progress,
        )


def _print_ingestion(ingestion: "Ingestion") -> None:
    """Print the number of frames of a data set, and the reasons of rejected entries."""
    from lgad_pipeline.visualization.dataset_sheet import reasons

    for note in ingestion.notes:
        say(f"{note.file}: {note.text}")
    say(f"{counted(len(ingestion.frames), 'frame')}, {len(ingestion.rejected)} rejected")
    splits = [(ingestion.frames["split"] == split).sum() for split in SPLITS]
    say("  " + ", ".join(f"{count} {split}" for count, split in zip(splits, SPLITS, strict=True)))
    reason_counts = reasons(ingestion.rejected)
    for number, reason in reason_counts[:_REASONS]:
        say(f"  {number} rejected, such as {reason}")
    if further := reason_counts[_REASONS:]:
        say(f"  {sum(number for number, _ in further)} rejected for {len(further)} further reasons")


def _print_lanes(frames: "pd.DataFrame", entry: "FolderDataset") -> None:
    """Print how many annotated lanes become labels; the others find no slot, or are cut off by `crop_top`."""
    from lgad_pipeline.data.lane_labels import assign_lane_slots, coverage, cropped_lanes

    if frames.empty:
        return
    chosen = frames.iloc[:: -(-len(frames) // _LABELLED)]
    scheme = entry.slot_scheme
    labels = assign_lane_slots(chosen, scheme=scheme)
    counts = coverage(chosen, labels)
    annotated, labelled = counts["annotated_lanes"], counts["labelled_lanes"]
    of = "" if len(chosen) == len(frames) else f" of {len(chosen)} of the frames"
    say(f"  {counted(annotated, 'annotated lane')}{of}, {labelled} with a label")
    if labelled < annotated:
        say(
            f"  note: {annotated - labelled} without a label: the {scheme.slots} slots (key slots in "
            "lgad.yaml), half of them on each side of the vehicle, are too few, or the lane is too short, "
            "or one of a double line"
        )
    if cropped := cropped_lanes(labels, entry.crop_top):
        say(f"  note: {cropped}")


def _print_rejected(rejected: list[Rejected]) -> None:
    for file, line, reason in rejected[:_SHOWN]:
        say(f"rejected: {file}{f', line {line}' if line else ''}: {reason}")
    if len(rejected) > _SHOWN:
        say(f"and {len(rejected) - _SHOWN} more rejected.")
