"""Addresses of MLflow and of its pages: normalized, and never shown or stored with a password."""

import os
from pathlib import Path
from urllib.parse import urlsplit

from lgad_pipeline.errors import LgadError

VARIABLE = "MLFLOW_TRACKING_URI"
BY_VARIABLE = f"${VARIABLE}"
"""Placeholder of the address in settings that are shown and stored; the address is in the environment."""
_SECRET_KEYS = ("pass", "pwd", "secret", "token", "key")


def holds_secret(address: str) -> bool:
    """Return True where an address has a password, or a query that may hold one."""
    parts = urlsplit(address)
    keys = [item.partition("=")[0].lower() for item in parts.query.replace(";", "&").split("&")]
    return parts.password is not None or any(secret in key for key in keys for secret in _SECRET_KEYS)


def without_secret(address: str) -> str:
    """Return an address for messages and pages: password replaced by ***, query left out."""
    parts = urlsplit(address)
    network = parts.netloc
    if parts.password is not None:
        user, _, host = network.rpartition("@")
        network = f"{user.partition(':')[0]}:***@{host}"
    head = f"{parts.scheme}://{network}{parts.path}" if parts.scheme else parts.path
    return f"{head}?***" if holds_secret(address) and parts.query else head


def tracking_address() -> str:
    """Return the tracking address of the environment, normalized; empty where it names none.

    Raises:
        LgadError: the address of a server holds a password.
    """
    address = os.environ.get(VARIABLE, "").strip()
    scheme, separator, rest = address.partition("://")
    address = f"{scheme.lower()}{separator}{rest}" if separator else address
    if address.startswith("http"):
        if holds_secret(address):
            raise LgadError(
                f"{VARIABLE} holds a password; give it in MLFLOW_TRACKING_USERNAME and "
                "MLFLOW_TRACKING_PASSWORD, which are not shown."
            )
        return address.rstrip("/")
    if address.startswith("sqlite:///"):  # a relative path starts at the current working directory
        path, query, options = address.removeprefix("sqlite:///").partition("?")
        return f"sqlite:///{Path(path).absolute()}{query}{options}"
    return address


def page_address(variable: str, default: str) -> str:
    """Return the address in an environment variable at which people open pages.

    Raises:
        LgadError: the address holds a password; it would be written into links.
    """
    address = os.environ.get(variable, default).rstrip("/")
    if holds_secret(address):
        raise LgadError(f"{variable} holds a password or token, but is written into links; remove it.")
    return address
