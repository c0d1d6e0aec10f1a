"""Summary of an import in sentences for the terminal."""

from collections import Counter
from collections.abc import Iterator

from lgad_pipeline.datasets.importing.convert import Conversion, label_as_typed
from lgad_pipeline.wording import counted

_SHOWN = 20  # kinds of rejected shapes, labels or renamed frames


def summary(done: Conversion, *, added: bool = False) -> Iterator[str]:
    """Yield one sentence for each result of an import that the user should know, the counts first.

    Args:
        done: result of the import.
        added: True if the frames were added to a data set, which keeps its splits.
    """
    counts = ", ".join(f"{count} {split}" for split, count in done.frames.items())
    yield f"{counted(sum(done.frames.values()), 'frame')} ({counts}); {len(done.rejected)} rejected."
    yield from _shapes(done)
    yield from _frames(done)
    if not added:
        yield from _splits(done)


def _shapes(done: Conversion) -> Iterator[str]:
    shapes = done.shapes
    if shapes.labels:
        hint = ""
        if len(shapes.labels) > 1 and not any(name.startswith("label ") for name in shapes.ignored):
            hint = "; shapes of every label count as lanes, choose with --labels"
        labels = Counter({label_as_typed(label): count for label, count in shapes.labels.items()})
        yield f"Labels: {_counts(labels)}{hint}."
    if shapes.used:
        uses = Counter({f"{kind} ({became})": count for (kind, became), count in shapes.used.items()})
        yield f"{counted(done.count, 'lane')} from shapes: {_counts(uses)}."
    if done.types:
        yield f"Types of lanes, in .types.txt files next to the lane files: {_counts(done.types)}."
    for (kind, label, reason), (count, first) in list(shapes.rejected.items())[:_SHOWN]:
        yield f"rejected: {count} {kind} with label {label or '(none)'}, first in {first}: {reason}"
    if len(shapes.rejected) > _SHOWN:
        yield f"and {len(shapes.rejected) - _SHOWN} more kinds of rejected shapes."
    if shapes.ignored:
        yield f"Not imported: {_counts(shapes.ignored)}."
    if shapes.doubled:
        yield f"Left out, since equal to the point before: {counted(shapes.doubled, 'point')}."
    if shapes.grouped:
        yield (
            f"{counted(shapes.grouped, 'line')} have the group of another line of their frame, and each is a "
            "lane of its own; draw the pieces of one lane as one line."
        )
    if shapes.repeated:
        yield (
            f"Drawn twice in one frame: {counted(shapes.repeated, 'lane')}; delete the copy, since a "
            "prediction can match only one of the two."
        )


def _frames(done: Conversion) -> Iterator[str]:
    if done.empty:
        yield f"Imported without lanes, since annotated without a shape: {counted(done.empty, 'frame')}."
    if done.other_labels:
        yield (
            "Imported without lanes, since all their shapes have other labels: "
            f"{counted(done.other_labels, 'frame')}; leave those out whose lanes are not drawn yet."
        )
    if not done.count:
        yield "No frame has a lane; nothing can be learned from this data set."
    if done.scaled:
        yield f"Lanes scaled, since annotated at another size: {counted(done.scaled, 'frame')}."
    if done.turned:
        yield f"Written upright, since stored turned (EXIF orientation): {counted(done.turned, 'frame')}."
    if done.embedded:
        yield f"Written from imageData in the annotation file: {counted(done.embedded, 'image')}."
    for image, name in list(done.renamed.items())[:_SHOWN]:
        yield f"Renamed: {image} is {name}, since a lane file of its name belongs to another frame."
    if done.unused:
        yield f"Not imported, since no annotation names them: {counted(done.unused, 'image')}."
    for file, image in list(done.other_images.items())[:1]:
        yield (
            "State another image than that of their own name: "
            f"{counted(len(done.other_images), 'annotation file')}, such as {file}, which states {image}; "
            "if the images were renamed after their annotation, correct imagePath and import again."
        )
    if len(done.sizes) > 1:
        sizes = ", ".join(
            f"{count} of {width} x {height} px" for (height, width), count in done.sizes.most_common()
        )
        yield (
            f"Frames have {len(done.sizes)} sizes ({sizes}); a data set has one, and ingestion rejects the "
            "others: import each size into a folder of its own."
        )
    yield from done.notes


def _splits(done: Conversion) -> Iterator[str]:
    if done.followed:
        yield "The splits are those of the folders called train, val or test."
    missing = [split for split, count in done.frames.items() if not count]
    if missing:
        yield (
            f"No frames for {' and '.join(missing)}: the whole chain needs at least three frames, one for "
            "each of train, val and test."
        )


def _counts(counter: Counter[str]) -> str:
    """Format at most 20 names with their counts, the most frequent first."""
    named = [f"{name or '(none)'} {count}" for name, count in counter.most_common(_SHOWN)]
    return ", ".join(named) + (f" and {len(counter) - _SHOWN} more" if len(counter) > _SHOWN else "")
