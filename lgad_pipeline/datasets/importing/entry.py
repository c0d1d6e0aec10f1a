"""Settings entry for a folder in CULane's layout: a valid name, and keys that fit the frames."""

import math
import re
import unicodedata
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import yaml
from ruamel.yaml import YAML

_CULANE_WIDTH, _CULANE_LANE = 1640, 16  # pixels; the official label tool draws lanes 16 px wide
_ROWS, _CULANE_ROWS = 59, 35  # labelled rows are 1/59 of the frame's height apart; CULane labels 35 of them
_MARGIN = 0.05  # of the frame's height, kept above the highest lane
_LONGEST = 64  # characters of a name


def dataset_name(text: str) -> str:
    """Name that settings accept for a data set, made from any text, such as a folder's name.

    Accents are dropped, capitals become small, every other run of characters becomes one `_`. The name is
    text in YAML without quotes: where it would be a number, a date or a truth value, `set_` comes first.

    >>> dataset_name("Été 2024: A9 #3")
    'ete_2024_a9_3'
    >>> dataset_name("2024")
    'set_2024'
    """
    letters = unicodedata.normalize("NFKD", text).encode("ascii", "ignore").decode().lower()
    name = re.sub(r"[^a-z0-9-]+", "_", letters).strip("_-")[:_LONGEST].rstrip("_-")
    if not name:
        return "my_data"
    readings = (yaml.safe_load(name), YAML(typ="safe", pure=True).load(name))  # YAML 1.1 and 1.2
    return name if all(isinstance(reading, str) for reading in readings) else f"set_{name}"[:_LONGEST]


def dataset_keys(frame_size: tuple[int, int], lanes: Iterable[np.ndarray]) -> dict[str, object]:
    """Keys of a data set's entry that depend on its frames and lanes.

    Args:
        frame_size: (H, W) of the frames, pixels.
        lanes: lanes of the frames, (N, 2) each as (x, y) in frame pixels; may be empty.

    Returns:
        `frame_size`; `crop_top`, 5 % of the height above the highest annotated point, in steps of 10 rows;
        `lane_width`, in proportion to the 16 px of a 1640 px wide frame; `label_rows` only where lanes reach
        higher than CULane's 35 rows.
    """
    height, width = frame_size
    highest = min((float(lane[:, 1].min()) for lane in lanes if len(lane)), default=None)
    keys: dict[str, object] = {
        "frame_size": [height, width],
        "crop_top": 0,
        "lane_width": min(max(round(width * _CULANE_LANE / _CULANE_WIDTH), 1), 128),
    }
    if highest is None:
        return keys
    keys["crop_top"] = max(min(math.floor((highest - _MARGIN * height) / 10) * 10, height - 10), 0)
    rows = min(math.ceil(_ROWS * (height - max(highest, 0.0)) / height) + 1, _ROWS)
    if rows > _CULANE_ROWS:
        keys["label_rows"] = rows
    return keys


def dataset_entry(name: str, root: Path, keys: dict[str, object]) -> str:
    """An entry as YAML, valid for any path: `datasets:` with one data set in CULane's layout.

    Args:
        name: name of the data set, as `dataset_name` makes it.
        root: absolute path of its folder.
        keys: further keys of the entry, see `dataset_keys`.
    """
    entry = {"datasets": {name: {"kind": "culane", "root": str(root), **keys}}}
    # No line is folded; lists such as frame_size stay on one line. Characters that a terminal does not show
    # become escapes in quotes.
    return yaml.safe_dump(
        entry,
        sort_keys=False,
        allow_unicode=str(root).isprintable(),
        default_flow_style=None,
        width=float("inf"),
    )
