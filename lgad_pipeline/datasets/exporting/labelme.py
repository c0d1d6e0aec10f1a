"""Writer of labelme's annotations: one JSON file per image, next to it."""

import json
from pathlib import PurePosixPath

from lgad_pipeline.datasets.exporting.tool_lanes import LABEL, LabelledFrame, tool_points
from lgad_pipeline.datasets.importing.points import PREDICTED

_VERSION = "5.5.0"  # version of labelme whose keys are written


def annotation_text(frame: LabelledFrame) -> str:
    """Return the content of a frame's JSON file; lanes are `linestrip` shapes, their types flags."""
    height, width = frame.size
    content = {
        "version": _VERSION,
        "flags": {PREDICTED: True} if frame.predicted else {},
        "shapes": [
            {
                "label": LABEL,
                "points": tool_points(lane),
                "group_id": None,
                "description": "",
                "shape_type": "linestrip",
                "flags": dict.fromkeys(name.split(), True),
                "mask": None,
            }
            for lane, name in frame.typed_lanes
        ],
        "imagePath": PurePosixPath(frame.name).name,
        "imageData": None,
        "imageHeight": height,
        "imageWidth": width,
    }
    return json.dumps(content, ensure_ascii=False, indent=2) + "\n"


def annotation_file(name: str) -> str:
    """Return the path of the JSON file of an image: its last ending is replaced by .json."""
    return str(PurePosixPath(name).with_suffix(".json"))
