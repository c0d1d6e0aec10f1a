"""Links from Dagster's pages to MLflow's: stored as relative paths, redirected to MLflow when opened."""

import os
from urllib.parse import quote

from starlette.types import ASGIApp, Receive, Scope, Send

MLFLOW_PATH = "/mlflow"
"""Path on Dagster's web server below which requests are redirected to MLflow's pages."""


def mlflow_address() -> str:
    """Return the address at which people open MLflow's pages now, from the environment."""
    server = os.environ.get("MLFLOW_TRACKING_URI", "")
    served = server if server.startswith("http") else "http://localhost:5000"
    return os.environ.get("LGAD_MLFLOW_UI", served).rstrip("/")


class MlflowLinks:
    """ASGI middleware that answers `/mlflow/...` with a redirect to the same path at MLflow.

    The browser keeps the part of an address after `#` and adds it to the address of the redirect.

    Args:
        app: the application that answers all other paths.
        address: address of MLflow's pages, without a slash at the end.
    """

    def __init__(self, app: ASGIApp, address: str) -> None:
        self.app = app
        self.address = address

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer with a redirect to MLflow, or pass the request to the application."""
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
