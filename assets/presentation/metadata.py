"""Building blocks of Dagster metadata: tables, pictures and charts."""

import base64
import math
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import dagster as dg
import numpy as np

from lgad_pipeline.console import plain

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa

_MARKDOWN = re.compile(r"[\\`*_\[\]<>!|~#&]")
SHORT_MARKDOWN = 1000  # characters; Dagster's pages hide longer markdown behind a link


def table(rows: Sequence[Mapping[Any, Any]]) -> dg.MetadataValue:
    """Build a table that the asset page shows directly: markdown if it is short, else a Dagster table."""
    text = markdown_table(rows)
    if len(text) < SHORT_MARKDOWN:
        return dg.MetadataValue.md(text)
    return dg.MetadataValue.table([dg.TableRecord({name: _cell(row[name]) for name in row}) for row in rows])


def markdown_table(rows: Sequence[Mapping[Any, Any]]) -> str:
    """Build a markdown table: numbers aligned right with three decimals, special characters escaped."""
    if not rows:
        return "*none*"
    names = list(rows[0])
    numbers = [isinstance(rows[0][name], int | float) for name in names]
    lines = [
        _line(map(_escaped, map(str, names))),
        _line("---:" if number else "---" for number in numbers),
        *(_line(_escaped(_cell(row[name])) for name in names) for row in rows),
    ]
    return "\n".join(lines)


def first_rows(frame: "pd.DataFrame", most: int = 20) -> dg.MetadataValue:
    """Build a table of the first `most` rows of a data frame."""
    head = frame.head(most)
    return table(head.astype(object).where(head.notna(), None).to_dict("records"))


def columns(schema: "pa.Schema") -> dg.TableSchema:
    """Convert an Arrow schema with field descriptions to a Dagster table schema."""
    return dg.TableSchema(
        [
            dg.TableColumn(
                field.name, str(field.type), (field.metadata or {}).get(b"description", b"").decode()
            )
            for field in schema
        ]
    )


def picture(image: np.ndarray, caption: str, width: int = 900) -> dg.MetadataValue:
    """Embed a picture in markdown as a JPEG data URI.

    The event in Dagster's database holds the picture, so it is scaled down; MLflow has the full size.

    Args:
        image: picture, uint8 (H, W, 3) RGB.
        caption: text below the picture.
        width: largest width of the embedded picture, pixels.
    """
    return dg.MetadataValue.md(f"![{caption}]({jpeg_uri(image, width, quality=72)})\n\n{caption}")


def chart(svg: str, title: str) -> dg.MetadataValue:
    """Embed an SVG chart in markdown."""
    data = base64.b64encode(svg.encode("utf-8")).decode("ascii")
    return dg.MetadataValue.md(f"![{title}](data:image/svg+xml;base64,{data})")


def jpeg_uri(image: np.ndarray, width: int = 760, *, quality: int = 84) -> str:
    """Encode a picture as a JPEG data URI.

    Args:
        image: picture, uint8 (H, W, 3) RGB.
        width: largest width, pixels; a wider picture is scaled down.
        quality: JPEG quality, 0 to 100.
    """
    import cv2

    if image.shape[1] > width:
        height = round(image.shape[0] * width / image.shape[1])
        image = cv2.resize(image, (width, height), interpolation=cv2.INTER_AREA)
    _, data = cv2.imencode(".jpg", image[:, :, ::-1], [cv2.IMWRITE_JPEG_QUALITY, quality])
    return "data:image/jpeg;base64," + base64.b64encode(data.tobytes()).decode("ascii")


def _line(cells: Iterable[str]) -> str:
    return "| " + " | ".join(cells) + " |"


def _cell(value: Any) -> str:
    """Format a value as plain text."""
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return "–"
    return f"{value:.3f}" if isinstance(value, float) else " ".join(str(value).split())


def _escaped(text: str) -> str:
    """Escape markdown, so that file names cannot become pictures, links or HTML."""
    return _MARKDOWN.sub(r"\\\g<0>", plain(text))
