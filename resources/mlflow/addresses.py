"""Addresses of MLflow and of its pages: normalized, and never shown or stored with a password."""

import os
import re
from pathlib import Path
from urllib.parse import unquote

from lgad_pipeline.errors import LgadError

VARIABLE = "MLFLOW_TRACKING_URI"
BY_VARIABLE = f"${VARIABLE}"
"""Placeholder of the address in settings that are shown and stored; the address is in the environment."""
# In the address of a database, a password may have any character but @, also # / ?, which end other hosts.
_DATABASE_PASSWORD = re.compile(r"^(\w[\w+.-]*://[^:/]*):[^@]*@(?:[^/?#]*@)?")
_SERVER_PASSWORD = re.compile(r"^(\w+://[^:/]*):[^/]*@")
_PASSWORD_IN_TEXT = re.compile(
    r"(\w://[^:/@\s]*:)[^@\s]+(?=@)|((?:pass\w*|pwd|secret|token)=)[^&\s'\"]+", re.I
)
_WITHOUT_SCHEME = re.compile(r"""["']|[\w.-]+:\d+(/|$)|localhost(/|$)""")
_SECRET_KEYS = ("pass", "pwd", "secret", "token", "key")


def holds_secret(address: str) -> bool:
    """Return True where an address has a password, or a query that may hold one."""
    hidden = _without_password(address)
    query = hidden.partition("?")[2]
    keys = [item.partition("=")[0].lower() for item in query.replace(";", "&").split("&")]
    return hidden != address or any(secret in key for key in keys for secret in _SECRET_KEYS)


def without_secret(address: str) -> str:
    """Return an address for messages and pages: password replaced by ***, query left out."""
    head, mark, _ = _without_password(address).partition("?")
    return f"{head}?***" if mark and holds_secret(address) else head


def _without_password(address: str) -> str:
    """Return an address with *** in place of its password."""
    pattern = _SERVER_PASSWORD if address.lower().startswith("http") else _DATABASE_PASSWORD
    return pattern.sub(r"\1:***@", address)


def text_without_passwords(text: str) -> str:
    """Return a text, such as the message of an error, with *** in place of passwords of addresses in it."""
    return _PASSWORD_IN_TEXT.sub(lambda found: f"{found[1] or found[2]}***", text)


def tracking_address() -> str:
    """Return the tracking address of the environment, normalized; empty where it names none.

    Raises:
        LgadError: the address of a server holds a password, or has quotes or no http:// before it.
    """
    address = os.environ.get(VARIABLE, "").strip()
    if _WITHOUT_SCHEME.match(address):  # MLflow would take it for a folder
        shown = text_without_passwords(address)
        raise LgadError(f"{VARIABLE} is {shown}; write it as http://HOST:PORT, without quotes around it.")
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


def database_in(folder: Path) -> str:
    """Return the address of the sqlite database `mlflow.db` in a folder.

    Raises:
        LgadError: the path of the folder would be read as another one, since MLflow removes what follows ?
            in an address, and decodes codes such as %20.
    """
    path = str(folder / "mlflow.db")
    if "?" in path or unquote(path) != path:
        raise LgadError(
            f"{folder} has a ? or a code such as %20 in its path, which addresses of databases cannot have; "
            f"rename the folder, or name another store in {VARIABLE}."
        )
    return f"sqlite:///{path}"


def page_address(variable: str, default: str) -> str:
    """Return the address in an environment variable at which people open pages.

    Raises:
        LgadError: the address holds a password; it would be written into links.
    """
    address = os.environ.get(variable, default).rstrip("/")
    if holds_secret(address):
        raise LgadError(f"{variable} holds a password or token, but is written into links; remove it.")
    return address
