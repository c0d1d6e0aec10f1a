"""Dagster's web server behind the guard: python -m resources.dagster_web --port 3000 --workspace FILE.

It replaces `dagster-webserver`. LGAD_ALLOWED_HOSTS lists the host names, in addition to localhost, under
which the pages are opened; the host of LGAD_DAGSTER_UI is one of them.
"""

import os
from pathlib import Path
from typing import Annotated
from urllib.parse import urlsplit

import typer
import uvicorn
from dagster import DagsterInstance
from dagster_webserver.app import create_app_from_workspace_process_context

from resources.dagster_private import workspace_context
from resources.links import MlflowLinks, mlflow_address
from resources.page_style import PageStyle
from resources.web_guard import WebGuard

# Milliseconds for a statement of the database, seconds for which a connection is kept, extra connections.
_STATEMENT_TIMEOUT, _RECYCLE, _OVERFLOW = 15000, 3600, 20


def allowed_hosts() -> list[str]:
    """Return the host names of the environment under which people open Dagster's pages."""
    listed = os.environ.get("LGAD_ALLOWED_HOSTS", "").split(",")
    return [*listed, urlsplit(os.environ.get("LGAD_DAGSTER_UI", "")).netloc]


def main(
    workspace: Annotated[Path, typer.Option(exists=True, dir_okay=False, help="Workspace file.")],
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="Port to listen on.")] = 3000,
) -> None:
    """Serve Dagster's pages for the instance in DAGSTER_HOME."""
    with DagsterInstance.get() as instance:
        instance.optimize_for_webserver(_STATEMENT_TIMEOUT, _RECYCLE, _OVERFLOW)
        with workspace_context(instance, workspace) as context:
            pages = PageStyle(create_app_from_workspace_process_context(context))
            app = MlflowLinks(pages, mlflow_address())
            uvicorn.run(WebGuard(app, allowed_hosts()), host=host, port=port, log_level="warning")


if __name__ == "__main__":
    typer.run(main)
