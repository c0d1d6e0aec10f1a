"""Guard of Dagster's web server: pages of other sites cannot send it requests through the user's browser.

Dagster's web server has no log-in, runs GraphQL mutations that are sent by GET, and answers to any host name.
A page of another site could therefore launch runs or delete history with an <img>, and read everything by
DNS rebinding.
"""

from collections.abc import Sequence
from fnmatch import fnmatch
from urllib.parse import parse_qs, urlsplit

from starlette.types import ASGIApp, Message, Receive, Scope, Send

LOCAL_HOSTS = ("localhost", "127.0.0.1", "[::1]")
_READING = ("GET", "HEAD")
# Content types that a browser sends to another site without asking that site first.
_SIMPLE_TYPES = ("", "application/x-www-form-urlencoded", "multipart/form-data", "text/plain")
_DEFAULT_PORTS = {"http": "80", "https": "443"}


class WebGuard:
    """ASGI middleware that accepts only the requests of the server's own pages and of command-line clients.

    It refuses, with status 403 and one sentence:
    - a Host header that is not allowed (DNS rebinding);
    - an Origin header of another host or port, on HTTP requests and websockets;
    - a request that the browser marks as sent by another site (Sec-Fetch-Site), except a link that the user
      follows;
    - GraphQL in the address of a GET, and GraphQL with the content type of a form.

    A page of another site cannot show the answers in a frame.

    Args:
        app: the application to guard.
        allowed_hosts: values of the Host header, as `name` (any port), `name:port` or a pattern such as
            `*.example.org`. Names of this machine are always allowed.
    """

    def __init__(self, app: ASGIApp, allowed_hosts: Sequence[str] = ()) -> None:
        self.app = app
        self.allowed = [host.strip().lower() for host in (*LOCAL_HOSTS, *allowed_hosts) if host.strip()]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Refuse a request, or pass it to the application."""
        if scope["type"] not in ("http", "websocket"):
            await self.app(scope, receive, send)
            return
        fault = self._fault(scope)
        if fault is None:
            await self.app(scope, receive, _without_frames(send))
        elif scope["type"] == "websocket":
            await receive()  # "websocket.connect"; closing before accepting answers with status 403
            await send({"type": "websocket.close", "code": 1008, "reason": fault[:120]})
        else:
            headers = [(b"content-type", b"text/plain; charset=utf-8")]
            await send({"type": "http.response.start", "status": 403, "headers": headers})
            await send({"type": "http.response.body", "body": fault.encode() + b"\n"})

    def _fault(self, scope: Scope) -> str | None:
        """Return the reason why a request is refused, as a sentence; None for an accepted request."""
        headers = _Headers(scope)
        host = headers.only("host")
        if host is None or not self._is_allowed(host.lower()):
            return (
                f"This server does not answer to the host name {host!r}; add it to LGAD_ALLOWED_HOSTS if you "
                "open these pages under that name."
            )
        origin = headers.get("origin")
        if origin is not None and not _is_origin_of(origin, host):
            return f"The page at {origin!r} is not one of this server's; it may not send requests here."
        method = scope.get("method", "GET")
        if headers.get("sec-fetch-site", "none") not in ("none", "same-origin"):
            document = headers.get("sec-fetch-dest") == "document"
            followed = document and headers.get("sec-fetch-mode") == "navigate" and method in _READING
            if not followed or scope["type"] == "websocket":
                return "A page of another site may not send requests here."
        if scope["type"] == "http" and scope["path"].rstrip("/").endswith("/graphql"):
            return _graphql_fault(scope, headers, method)
        return None

    def _is_allowed(self, host: str) -> bool:
        name = host if host.endswith("]") else host.rpartition(":")[0] or host
        return any(fnmatch(host, allowed) or fnmatch(name, allowed) for allowed in _literal(self.allowed))


def _literal(patterns: Sequence[str]) -> list[str]:
    """Return patterns with escaped brackets, which are part of IPv6 addresses."""
    return [pattern.replace("[", "[[]") for pattern in patterns]


def _graphql_fault(scope: Scope, headers: "_Headers", method: str) -> str | None:
    """Return the reason why a GraphQL request is refused, as a sentence; None for an accepted request."""
    if method in _READING and parse_qs(scope["query_string"].decode("latin-1")).get("query"):
        return "GraphQL is not run from the address of a GET; send it by POST as application/json."
    kind = (headers.get("content-type") or "").partition(";")[0].strip().lower()
    if method not in _READING and kind in _SIMPLE_TYPES:
        return f"GraphQL is not accepted as {kind or 'an unnamed type'}; send it as application/json."
    return None


def _is_origin_of(origin: str, host: str) -> bool:
    """Return True if an Origin header names the host and port of the Host header."""
    try:
        parts = urlsplit(origin)
    except ValueError:
        return False
    if parts.scheme not in _DEFAULT_PORTS or not parts.netloc:
        return False
    standard = f":{_DEFAULT_PORTS[parts.scheme]}"
    return parts.netloc.lower().removesuffix(standard) == host.lower().removesuffix(standard)


def _without_frames(send: Send) -> Send:
    """Return a `send` that adds the header which forbids other sites to show the answer in a frame."""

    async def send_with_header(message: Message) -> None:
        if message["type"] == "http.response.start":
            message["headers"] = [*message.get("headers", []), (b"x-frame-options", b"SAMEORIGIN")]
        await send(message)

    return send_with_header


class _Headers:
    """Headers of a request by name, in lower case."""

    def __init__(self, scope: Scope) -> None:
        self._values: dict[str, list[str]] = {}
        for name, value in scope["headers"]:
            self._values.setdefault(name.decode("latin-1").lower(), []).append(value.decode("latin-1"))

    def get(self, name: str, default: str | None = None) -> str | None:
        """Return all values of a header, joined: repeated values of a header that may occur once fail."""
        return ", ".join(self._values[name]) if name in self._values else default

    def only(self, name: str) -> str | None:
        """Return the value of a header that occurs exactly once, else None."""
        values = self._values.get(name, [])
        return values[0] if len(values) == 1 else None
