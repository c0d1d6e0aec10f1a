"""Errors of an MLflow store as one clause and one remedy: no answer, user refused, database locked, ..."""

import re
import shlex
import shutil
import sys
from importlib.metadata import version as installed
from importlib.resources import files
from pathlib import Path
from typing import Literal, NamedTuple

from resources.mlflow.addresses import text_without_passwords

_AWAY = ("INTERNAL_ERROR", "TEMPORARILY_UNAVAILABLE", "REQUEST_LIMIT_EXCEEDED", "DEADLINE_EXCEEDED")
_REFUSED = ("UNAUTHENTICATED", "CUSTOMER_UNAUTHORIZED", "PERMISSION_DENIED")
Kind = Literal["away", "refused", "locked", "full", "unwritable", "damaged", "outdated", "other"]
_DATABASE: tuple[tuple[str, Kind, str, str], ...] = (
    (
        "database is locked",
        "locked",
        "is locked by another process",
        "end that process, such as a database browser or a copy in progress",
    ),
    ("database or disk is full", "full", "has no space left on its disk", "free some"),
    ("readonly database", "unwritable", "cannot be written", "give write permission"),
    ("unable to open database file", "unwritable", "cannot be opened", "give read and write permission"),
    ("file is not a database", "damaged", "is damaged", "put a copy of it back, or move it away"),
    ("disk image is malformed", "damaged", "is damaged", "put a copy of it back, or move it away"),
)
_REVISION = re.compile(r"out-of-date database schema \(found version (\w+)")


class StoreFault(NamedTuple):
    """Fault of an MLflow store.

    Attributes:
        kind: Class of the fault; `away` and `locked` may end without any action.
        clause: Predicate that follows the store's name, such as "does not answer".
        remedy: Imperative clause for the user; empty where none is known.
    """

    kind: Kind
    clause: str
    remedy: str

    @property
    def may_pass(self) -> bool:
        """True if the same request may succeed later without any action."""
        return self.kind in ("away", "locked")

    def sentence(self, store: str) -> str:
        """Return one sentence that names the store, the fault and the remedy."""
        return f"MLflow at {store} {self.clause}{f'; {self.remedy}' if self.remedy else ''}."


def diagnose(error: Exception, address: str = "") -> StoreFault:
    """Return the fault of the store behind an error of MLflow, requests, SQLAlchemy or sqlite.

    Args:
        error: The exception that was raised.
        address: Tracking address without password, for the commands in remedies.
    """
    from requests import RequestException

    text = text_without_passwords(str(error))
    if revision := _REVISION.search(text):
        return _outdated(revision[1], address)
    for needle, kind, clause, remedy in _DATABASE:
        if needle in text:
            return StoreFault(kind, clause, remedy)
    code = getattr(error, "error_code", None)
    if code in _REFUSED:
        remedy = "correct MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD"
        return StoreFault("refused", "refuses the user", remedy)
    if isinstance(error, RequestException) or code in _AWAY:
        return StoreFault("away", "does not answer", "start it, or correct MLFLOW_TRACKING_URI")
    return StoreFault("other", f"failed ({next(iter(text.splitlines()), type(error).__name__)})", "")


def is_store_error(error: Exception) -> bool:
    """Return True for an error of MLflow or of a library through which MLflow reaches its store."""
    from mlflow.exceptions import MlflowException
    from requests import RequestException
    from sqlalchemy.exc import SQLAlchemyError

    if isinstance(error, MlflowException | RequestException | SQLAlchemyError):
        return True
    return type(error).__module__ == "sqlite3"


def _outdated(revision: str, address: str) -> StoreFault:
    """Return the fault of a database whose schema is older or newer than that of the installed MLflow."""
    migrations = files("mlflow.store.db_migrations") / "versions"
    if not any(entry.name.startswith(revision) for entry in migrations.iterdir()):
        clause = f"was written by a newer MLflow than {installed('mlflow')}, which is installed here"
        return StoreFault("outdated", clause, "install the version that wrote it")
    if address.startswith("http"):
        return StoreFault("outdated", "has a database of an older MLflow", "upgrade it on its machine")
    database = '"$MLFLOW_TRACKING_URI"' if "***" in address else shlex.quote(address)
    remedy = f"copy the database, then type: {_mlflow_command()} db upgrade {database}"
    return StoreFault("outdated", "was written by an older MLflow", remedy)


def _mlflow_command() -> str:
    """Return the command of the installed MLflow, as it is typed in the user's shell."""
    program = Path(sys.executable).with_name("mlflow")
    in_path = shutil.which("mlflow")
    return "mlflow" if in_path and Path(in_path) == program else shlex.quote(str(program))
