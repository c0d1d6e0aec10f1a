"""Links from Dagster's asset pages to MLflow, and pictures that MLflow stores."""

from pathlib import Path

import dagster as dg

from resources.links import MLFLOW_PATH
from resources.mlflow.resource import MlflowTracking


def stored_picture(
    mlflow: MlflowTracking, folder: Path, *, name: str, caption: str, fallback: dg.MetadataValue
) -> dg.MetadataValue:
    """Show a picture that MLflow stores, with a link to its page.

    Args:
        mlflow: the MLflow store.
        folder: directory of the network whose run has the picture.
        name: file name of the picture.
        caption: text below the picture.
        fallback: value that is shown if the server does not have the picture yet.
    """
    url, file_page = mlflow.file_url(folder, name), mlflow.file_page(folder, name)
    if url is None or file_page is None:
        return fallback
    link = _relative(mlflow, file_page)
    return dg.MetadataValue.md(f"[![{caption}]({_relative(mlflow, url)})]({link})\n\n{caption}")


def page_link(mlflow: MlflowTracking, url: str | None) -> dg.MetadataValue:
    """Link to a page of MLflow, or say that the server does not have it yet (`url` is None)."""
    if url is None:
        return dg.MetadataValue.text("not sent yet: the server did not answer; `lgad sync` sends it")
    return dg.MetadataValue.url(_relative(mlflow, url))


def _relative(mlflow: MlflowTracking, url: str) -> str:
    """Make an address of MLflow relative to Dagster's pages.

    Dagster's web server (resources/links.py) redirects it to the current address of MLflow, so that stored
    links stay valid when either server moves.
    """
    return MLFLOW_PATH + url.removeprefix(mlflow.ui)
