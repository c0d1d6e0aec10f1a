"""Links from Dagster's pages to MLflow's: stored relative, led to MLflow's present address when opened."""

import os
from urllib.parse import quote

from starlette.types import ASGIApp, Receive, Scope, Send

MLFLOW_PATH = "/mlflow"
"""Path on Dagster's web server that stands for MLflow's pages."""


def mlflow_address() -> str:
    """Where people open MLflow's pages at present, from the environment."""
    server = os.environ.get("MLFLOW_TRACKING_URI", "")
    served = server if server.startswith("http") else "http://localhost:5000"
    return os.environ.get("LGAD_MLFLOW_UI", served).rstrip("/")


class MlflowLinks:
    """ASGI middleware that answers `/mlflow/...` with a redirect to the same path at MLflow.

    The part of an address behind `#` stays in the browser, which adds it to where it is led.

    Args:
        app: the application for all other paths.
        address: of MLflow's pages, without a slash at the end.
    """

    def __init__(self, app: ASGIApp, address: str) -> None:
        self.app = app
        self.address = address

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Lead on to MLflow, or pass the request on."""
        path = scope.get("path", "")
        if scope["type"] != "http" or not f"{path}/".startswith(f"{MLFLOW_PATH}/"):
            await self.app(scope, receive, send)
            return
        rest = quote(path.removeprefix(MLFLOW_PATH)) or "/"
        query = scope["query_string"].decode("latin-1")
        location = f"{self.address}{rest}?{query}" if query else f"{self.address}{rest}"
        headers = [(b"location", location.encode("latin-1")), (b"cache-control", b"no-store")]
        await send({"type": "http.response.start", "status": 307, "headers": headers})
        await send({"type": "http.response.body", "body": b""})
