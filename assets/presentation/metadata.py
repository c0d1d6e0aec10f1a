"""Results as metadata of Dagster's pages: tables, pictures and curves."""

import base64
import math
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import dagster as dg
import numpy as np

from assets.presentation.report_page import jpeg_uri
from lgad_pipeline.console import plain
from resources.links import MLFLOW_PATH
from resources.mlflow.resource import MlflowTracking

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa

_MARKDOWN = re.compile(r"[\\`*_\[\]<>!|~#&]")
SHOWN_AT_ONCE = 1000  # characters of markdown; Dagster's pages hide more behind a link


def table(rows: Sequence[Mapping[Any, Any]]) -> dg.MetadataValue:
    """Rows as a table that stands on the asset's page, whatever its length."""
    text = markdown_table(rows)
    if len(text) < SHOWN_AT_ONCE:
        return dg.MetadataValue.md(text)
    return dg.MetadataValue.table([dg.TableRecord({name: _cell(row[name]) for name in row}) for row in rows])


def markdown_table(rows: Sequence[Mapping[Any, Any]]) -> str:
    """Rows as a markdown table; numbers to the right, three decimals; texts are shown as they are."""
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
    """The first rows of a table, such as that of the rejected files."""
    head = frame.head(most)
    return table(head.astype(object).where(head.notna(), None).to_dict("records"))


def columns(schema: "pa.Schema") -> dg.TableSchema:
    """An Arrow schema with its field descriptions as Dagster shows tables."""
    return dg.TableSchema(
        [
            dg.TableColumn(
                field.name, str(field.type), (field.metadata or {}).get(b"description", b"").decode()
            )
            for field in schema
        ]
    )


def picture(image: np.ndarray, caption: str, width: int = 900) -> dg.MetadataValue:
    """A picture, uint8 (H, W, 3) RGB, inside markdown.

    It is stored with the event in Dagster's database, so it is a small JPEG; the full one is in MLflow.
    """
    return dg.MetadataValue.md(f"![{caption}]({jpeg_uri(image, width, 72)})\n\n{caption}")


def in_mlflow(
    mlflow: MlflowTracking, folder: Path, name: str, caption: str, otherwise: dg.MetadataValue
) -> dg.MetadataValue:
    """A picture that MLflow keeps in the run of the network in `folder`: drawn on the asset's page itself.

    Args:
        mlflow: the store.
        folder: of the network.
        name: of the file.
        caption: below it.
        otherwise: what is shown where the server does not have it yet.
    """
    url, page_of_file = mlflow.file_url(folder, name), mlflow.file_page(folder, name)
    if url is None or page_of_file is None:
        return otherwise
    picture_address, link = mlflow_link(mlflow, url), mlflow_link(mlflow, page_of_file)
    return dg.MetadataValue.md(f"[![{caption}]({picture_address})]({link})\n\n{caption}")


def mlflow_link(mlflow: MlflowTracking, url: str) -> str:
    """An address of MLflow as Dagster's pages store it: relative to them.

    The web server (resources/links.py) leads it to where MLflow's pages are when it is opened, so that it
    survives a move of either server.
    """
    return MLFLOW_PATH + url.removeprefix(mlflow.ui)


def chart(svg: str, title: str) -> dg.MetadataValue:
    """A chart inside markdown."""
    data = base64.b64encode(svg.encode("utf-8")).decode("ascii")
    return dg.MetadataValue.md(f"![{title}](data:image/svg+xml;base64,{data})")


def page(mlflow: MlflowTracking, url: str | None) -> dg.MetadataValue:
    """A page of MLflow; None where the server has not been told of it yet."""
    if url is None:
        return dg.MetadataValue.text("not sent yet: the server was away; `lgad sync` sends what is kept")
    return dg.MetadataValue.url(mlflow_link(mlflow, url))


def _line(cells: Iterable[str]) -> str:
    return "| " + " | ".join(cells) + " |"


def _cell(value: Any) -> str:
    """A value as plain text."""
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return "–"
    return f"{value:.3f}" if isinstance(value, float) else " ".join(str(value).split())


def _escaped(text: str) -> str:
    """Text that markdown shows as it is: names of files must not become pictures, links or HTML."""
    return _MARKDOWN.sub(r"\\\g<0>", plain(text))
