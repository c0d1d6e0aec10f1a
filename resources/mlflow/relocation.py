"""Repair of a project's own MLflow database after its folder was moved, copied or restored elsewhere.

MLflow writes absolute artifact paths into its database. They are compared with the project's folder whenever
the database is opened, so that no file is ever written to the folder where the project was before.
"""

import sqlite3
from contextlib import closing
from pathlib import Path
from urllib.parse import unquote, urlsplit

TRAINING_KIND = "custom_model_development"
KIND_TAG = "mlflow.experimentKind"
_BUSY_SECONDS = 20.0
_COLUMNS = (
    ("experiments", "artifact_location"),
    ("runs", "artifact_uri"),
    ("logged_models", "artifact_location"),
    ("model_versions", "source"),
    ("model_versions", "storage_location"),
)


def relocate(database: Path, artifacts: Path) -> int:
    """Point the artifact paths of a database to the folder that the artifacts are in now.

    Only paths below a folder in which this project kept its experiments are changed, in one transaction.
    Running it again changes nothing.

    Args:
        database: MLflow's sqlite file, in the project's folder.
        artifacts: Folder of the artifacts now, absolute; it had the same name before.

    Returns:
        Number of paths that were changed.

    Raises:
        sqlite3.Error: the database is locked, damaged or cannot be written.
    """
    if not database.is_file():
        return 0
    if not _former_folders(database, artifacts):  # the usual case opens the database for reading only
        return 0
    changed = 0
    with closing(sqlite3.connect(database, timeout=_BUSY_SECONDS)) as connection, connection:
        connection.execute("BEGIN IMMEDIATE")
        for folder in _former_folders(database, artifacts):
            for before, after in ((str(folder), str(artifacts)), (folder.as_uri(), artifacts.as_uri())):
                for table, column in _existing(connection):
                    changed += connection.execute(
                        f"UPDATE {table} SET {column} = ? || substr({column}, ?) "
                        f"WHERE substr({column}, 1, ?) = ?",
                        (f"{after}/", len(before) + 2, len(before) + 1, f"{before}/"),
                    ).rowcount
    return changed


def _former_folders(database: Path, artifacts: Path) -> list[Path]:
    """List the directories, other than `artifacts`, that have the experiments according to the database."""
    with closing(sqlite3.connect(f"{database.as_uri()}?mode=ro", uri=True, timeout=_BUSY_SECONDS)) as reader:
        if ("experiments", "artifact_location") not in _existing(reader):
            return []
        rows = reader.execute(
            "SELECT name, artifact_location FROM experiments JOIN experiment_tags USING (experiment_id) "
            "WHERE key = ? AND value = ?",
            (KIND_TAG, TRAINING_KIND),
        ).fetchall()
    folders = set()
    for name, location in rows:
        path = _local_path(location or "")
        if path is not None and path.name == name and path.parent.name == artifacts.name:
            folders.add(path.parent)
    return sorted(folder for folder in folders if folder != artifacts)


def _existing(connection: sqlite3.Connection) -> list[tuple[str, str]]:
    """List the columns with artifact paths that exist in this version of MLflow's schema."""
    return [
        (table, column)
        for table, column in _COLUMNS
        if column in {row[1] for row in connection.execute(f"PRAGMA table_info({table})")}
    ]


def _local_path(location: str) -> Path | None:
    """Return the directory that an artifact location names; None if it is not an absolute path."""
    parts = urlsplit(location)
    if parts.scheme not in ("", "file"):
        return None
    path = Path(unquote(parts.path) if parts.scheme else location)
    return path if path.is_absolute() else None
