"""New data set in lgad.local.yaml: its keys are measured from the frames, and written as valid YAML."""

import io
import math
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from ruamel.yaml import YAML
from ruamel.yaml.comments import CommentedMap, CommentedSeq
from ruamel.yaml.error import YAMLError

from lgad_pipeline.atomic_files import atomic_path, write_text
from lgad_pipeline.data.frame_table import require_splits
from lgad_pipeline.datasets import culane
from lgad_pipeline.datasets.images import image_size
from lgad_pipeline.datasets.importing.entry import dataset_keys, dataset_name
from lgad_pipeline.datasets.reader import FrameEntry, Note
from lgad_pipeline.errors import LgadError
from lgad_pipeline.lanes.lane_files import Rejected, find_lane_file, read_lanes
from lgad_pipeline.lanes.text_encoding import plain_text
from lgad_pipeline.settings import Settings, local_path
from lgad_pipeline.settings.yaml_files import read_yaml

_HEADERS = 100  # frames whose size is read
_LANE_FILES = 1000  # lane files that are searched for the highest point
_IMAGE_SIZE = (80, 256)  # height and width that the recipe of the demo trains at
_LANE_COLUMNS = 5  # columns of the training image that a lane is drawn over
_HEAD = "Settings of this machine: they replace those of lgad.yaml, and git ignores this file."


def add_dataset(path: Path, name: str, *, root: Path) -> dict[str, Any]:
    """Add a data set in CULane's layout to the local settings file next to a settings file.

    Args:
        path: lgad.yaml; it is not changed.
        name: name of the data set.
        root: folder of the data set.

    Returns:
        The entry that was written.

    Raises:
        LgadError: the name is not allowed or clashes with another, or the folder holds no usable data; the
            local file is then left as it was.
    """
    if dataset_name(name) != name:
        raise LgadError(f"The name {name!r} cannot be used for a data set; use {dataset_name(name)!r}.")
    root = root.expanduser().absolute()
    entry = {"kind": "culane", "root": str(root), **measured_keys(root)}
    local = local_path(path)
    before = None
    if local.exists():
        read_yaml(local)  # an error if it is no text
        before = local.read_bytes()
    write_text(local, with_dataset(plain_text(before or b"").decode(), name, entry=entry))
    try:
        _require_same(read_yaml(local), name, entry)
        Settings.load(path).dataset(name)
    except BaseException:
        if before is None:
            local.unlink()
        else:
            with atomic_path(local) as part:
                part.write_bytes(before)
        raise
    return entry


def measured_keys(root: Path) -> dict[str, Any]:
    """Return the keys of a data set's entry that fit its frames and lanes.

    The size is the most frequent one among the headers of up to 100 frames; `crop_top`, `lane_width` and
    `label_rows` follow from it and from the highest annotated point.

    Raises:
        LgadError: the folder has no lists, a split is empty, or no frame can be read.
    """
    if not root.is_dir():
        raise LgadError(
            f"The folder {root} does not exist; give the folder that holds the data set's `list/`."
        )
    faults: list[Rejected | Note] = []
    entries = culane.list_frames(root, faults)
    if not entries:
        example = "; ".join(f"{file}: {reason}" for file, _, reason in faults[:1])
        raise LgadError(f"{root} has no frames in its lists ({example or 'empty'}); list the frames.")
    require_splits(pd.DataFrame({"split": [entry.split for entry in entries]}))
    size = _frame_size(root, _spread(entries, _HEADERS))
    keys = dataset_keys(size, _lanes(root, _spread(entries, _LANE_FILES)))
    widest = math.ceil(_LANE_COLUMNS * size[1] / _IMAGE_SIZE[1])
    lane_width = max(int(str(keys["lane_width"])), min(widest, 128))
    return {**keys, "image_size": list(_IMAGE_SIZE), "lane_width": lane_width}


def with_dataset(text: str, name: str, *, entry: Mapping[str, Any]) -> str:
    """Return the text of a settings file with one more data set; comments and other keys are kept.

    Raises:
        LgadError: the text is not a YAML mapping, or has the data set.
    """
    yaml = YAML()
    yaml.preserve_quotes = True
    yaml.width = 4096
    yaml.indent(mapping=2, sequence=4, offset=2)
    try:
        content = yaml.load(text)
    except (YAMLError, ValueError) as error:
        reason = " ".join(str(error).split())
        raise LgadError(f"lgad.local.yaml is not valid YAML: {reason}; correct that line.") from error
    if content is None:
        content = CommentedMap()
        content.yaml_set_start_comment(_HEAD)
    datasets = content.setdefault("datasets", CommentedMap()) if isinstance(content, dict) else None
    if datasets is None and isinstance(content, dict):
        datasets = content["datasets"] = CommentedMap()
    if not isinstance(datasets, dict):
        raise LgadError("lgad.local.yaml has no mapping under `datasets:`; correct it.")
    if name in datasets:
        raise LgadError(
            f"lgad.local.yaml has the data set {name}; choose another name, or correct its entry."
        )
    datasets[name] = CommentedMap({key: _flow(value) for key, value in entry.items()})
    stream = io.StringIO()
    yaml.dump(content, stream)
    return stream.getvalue()


def _require_same(content: Any, name: str, entry: Mapping[str, Any]) -> None:
    """Check that an entry is read back as it was written.

    Raises:
        LgadError: it is read differently.
    """
    written = content["datasets"].get(name) if isinstance(content, Mapping) else None
    if written != entry:
        raise LgadError(
            f"The entry of {name} would be read as {written} instead of {dict(entry)}; rename its folder."
        )


def _frame_size(root: Path, entries: Sequence[FrameEntry]) -> tuple[int, int]:
    sizes: Counter[tuple[int, int]] = Counter()
    fault = ""
    for entry in entries:
        try:
            sizes[image_size(root / entry.frame)] += 1
        except (OSError, LgadError) as error:
            fault = fault or str(error)
    if not sizes:
        raise LgadError(f"No frame of {root} can be read; the first error: {fault}")
    return sizes.most_common(1)[0][0]


def _lanes(root: Path, entries: Sequence[FrameEntry]) -> list[np.ndarray]:
    lanes = []
    for entry in entries:
        try:
            lanes += read_lanes(find_lane_file(root, entry.frame))
        except (OSError, LgadError):
            continue  # ingestion rejects this frame and says why
    return lanes


def _spread(entries: Sequence[FrameEntry], most: int) -> list[FrameEntry]:
    """Choose up to `most` entries, evenly spread."""
    indices = {*np.linspace(0, len(entries) - 1, most).astype(int).tolist()}
    return [entries[index] for index in sorted(indices)]


def _flow(value: Any) -> Any:
    """Return a list on one line."""
    if not isinstance(value, list):
        return value
    flow = CommentedSeq(value)
    flow.fa.set_flow_style()
    return flow
