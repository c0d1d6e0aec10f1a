"""Writer of "CVAT for images 1.1": one XML file with the lanes of all images as polylines."""

import json
from collections.abc import Iterable
from xml.sax.saxutils import escape, quoteattr

from lgad_pipeline.datasets.exporting.tool_lanes import LABEL, LabelledFrame, tool_points
from lgad_pipeline.datasets.importing.points import PREDICTED

ANNOTATION_FILE = "annotations.xml"
_TYPE = {"name": "type", "mutable": False, "input_type": "text", "default_value": "", "values": [""]}
LABELS = json.dumps(
    [
        {"name": LABEL, "type": "polyline", "attributes": [_TYPE]},
        {"name": PREDICTED, "type": "tag", "attributes": []},
    ]
)
"""Labels of a CVAT task into which the file can be uploaded, for its label constructor (Raw)."""


def annotations_text(frames: Iterable[LabelledFrame]) -> str:
    """Return the content of annotations.xml."""
    lines = ['<?xml version="1.0" encoding="utf-8"?>', "<annotations>", "  <version>1.1</version>"]
    for number, frame in enumerate(frames):
        height, width = frame.size
        name = quoteattr(frame.name)
        lines.append(f'  <image id="{number}" name={name} width="{width}" height="{height}">')
        for lane, lane_type in frame.typed_lanes:
            points = ";".join(f"{x!r},{y!r}" for x, y in tool_points(lane))
            lines += [
                f'    <polyline label="{LABEL}" source="manual" occluded="0" points="{points}" z_order="0">',
                *([f'      <attribute name="type">{escape(lane_type)}</attribute>'] if lane_type else []),
                "    </polyline>",
            ]
        if frame.predicted:
            lines += [f'    <tag label="{PREDICTED}" source="manual">', "    </tag>"]
        lines.append("  </image>")
    return "\n".join([*lines, "</annotations>"]) + "\n"
