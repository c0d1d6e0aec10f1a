"""Style sheet for Dagster's pages: pictures in metadata fit the width of their column, keys stay readable."""

from starlette.datastructures import MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

_STYLE = b"""<style>
.dagster-markdown img { max-width: 100%; height: auto }
[class*=assetEventMetadataScroll] > table > tbody > tr > td:first-child { min-width: 9em }
[class*=assetEventMetadataScroll] > table > tbody > tr > td:last-child { overflow-wrap: anywhere }
.dagster-markdown table { overflow-wrap: normal }
</style>"""


class PageStyle:
    """ASGI middleware that adds a style sheet to every HTML page.

    Args:
        app: the application whose pages are styled.
    """

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request to the application, and add the style sheet to an answer that is an HTML page."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        held: Message | None = None  # the start of an HTML answer, whose length is not known yet
        page = b""

        async def styled(message: Message) -> None:
            nonlocal held, page
            if message["type"] == "http.response.start" and _is_page(message):
                held = message
                return
            if held is None:
                await send(message)
                return
            page += message.get("body", b"")
            if message.get("more_body"):
                return
            body = page.replace(b"</head>", _STYLE + b"</head>", 1)
            headers = MutableHeaders(scope=held)
            if "content-length" in headers and scope["method"] != "HEAD":
                headers["content-length"] = str(len(body))
            await send(held)
            await send({"type": "http.response.body", "body": body})

        await self.app(scope, receive, styled)


def _is_page(start: Message) -> bool:
    headers = MutableHeaders(scope=start)
    return headers.get("content-type", "").startswith("text/html") and "content-encoding" not in headers
