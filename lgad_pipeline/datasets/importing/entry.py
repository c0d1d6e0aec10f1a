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
_MARGIN = 0.05  # fraction of the frame's height that is kept above the highest lane
_LONGEST = 64  # maximum length of a name, characters


def dataset_name(text: str) -> str:
    """Convert any text, such as a folder's name, to a data set name that settings accept.

    Accents are removed, letters become lower case, and every run of other characters becomes one `_`. The
    name is read as text in YAML without quotes: if it would be a number, a date or a truth value, it gets the
    prefix `set_`.

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
    """Compute the keys of a data set's entry that depend on its frames and lanes.

    Args:
        frame_size: (H, W) of the frames, pixels.
        lanes: lanes of the frames, (N, 2) each as (x, y) in frame pixels; may be empty.

    Returns:
        `frame_size`: (H, W), pixels; `crop_top`: frame row 5 % of the height above the highest annotated
        point, rounded down to a multiple of 10; `lane_width`: pixels, in proportion to the 16 px of a 1640 px
        wide frame; `label_rows`: only where lanes reach higher than CULane's 35 rows.
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


def dataset_entry(name: str, root: Path, *, keys: dict[str, object]) -> str:
    """Return an entry as YAML, valid for any path: `datasets:` with one data set in CULane's layout.

    Args:
        name: name of the data set, as `dataset_name` returns it.
        root: absolute path of the data set's root directory.
        keys: further keys of the entry, see `dataset_keys`.
    """
    entry = {"datasets": {name: {"kind": "culane", "root": str(root), **keys}}}
    # The width is infinite, so no line is folded; default_flow_style=None writes lists such as frame_size on
    # one line. A path with characters that a terminal does not show is written with escapes in quotes.
    return yaml.safe_dump(
        entry,
        sort_keys=False,
        allow_unicode=str(root).isprintable(),
        default_flow_style=None,
        width=float("inf"),
    )
