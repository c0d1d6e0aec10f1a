"""Commands for the project's MLflow store: roll back a model, send run journals, repair moved paths.

`lgad rollback`, `lgad sync` and `lgad relocate` run this file in the project's directory.
"""

import sys
from typing import Annotated

import typer

from lgad_pipeline.console import fail, say
from lgad_pipeline.errors import LgadError, os_fault
from lgad_pipeline.settings import settings_path
from resources.mlflow.errors import diagnose, is_store_error
from resources.mlflow.resource import MlflowTracking, default_tracking
from resources.notification import champion_changed
from resources.project import Project

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)


@app.command()
def rollback(
    model: Annotated[str, typer.Argument(help="Registered model, `<data set>-<recipe>`.")],
    to: Annotated[str | None, typer.Option(help="Version to use instead of the predecessor.")] = None,
    show: Annotated[bool, typer.Option("--list", help="List the versions and change nothing.")] = False,
) -> None:
    """Make the predecessor of a model's champion, or another version, the champion."""
    from resources.mlflow.versions import rollback, version_rows

    project, tracking = _project()
    if show:
        for row in version_rows(tracking, model):
            score = f"F1 {row.test_f1}" if row.test_f1 else "F1 unknown"
            say(f"{row.version:>4}  {', '.join(row.aliases) or '-':<22}  {score}  {row.decision}".rstrip())
            if row.rule and row.rule != project.settings.promotion.text:
                say(f"      compared by another rule than that of lgad.yaml: {row.rule}")
        return
    before, now = rollback(tracking, model, lock=project.promotion_lock(model), to=to, owner=project.owner)
    replaced = f"; version {before} is not promoted again" if before and int(before) > int(now) else ""
    say(f"{model}: version {now} is champion{replaced}.")
    page = tracking.version_url(model, now)
    say(page)
    reason = f"Version {now} was put in use by hand."
    if fault := champion_changed(project, model, champion=now, before=before, reason=reason, page=page):
        say(fault, error=True)


@app.command()
def sync() -> None:
    """Send to MLflow the run journals that it did not receive during an outage."""
    project, tracking = _project()
    tracking.check()
    tracking.sync_all(project.state / "models")
    say(f"Nothing is left to send to {tracking.address}.")


@app.command()
def relocate() -> None:
    """Repair the artifact paths in mlflow.db after the project's folder was moved or copied."""
    _, tracking = _project()
    if tracking.own_database is None:
        raise LgadError(f"{tracking.address} is not in this folder; nothing in it has to be repaired here.")
    if not tracking.own_database.is_file():
        raise LgadError(f"{tracking.own_database} does not exist; nothing was trained here yet.")
    changed = tracking.relocate()
    say(f"{changed} paths of {tracking.own_database} were changed; they lead to {tracking.artifacts}.")


def _project() -> tuple[Project, MlflowTracking]:
    return Project(file=str(settings_path())), default_tracking(settings_path().parent)


def main() -> None:
    """Run a command; an error that the user can correct is printed as one sentence, with exit code 1."""
    try:
        app()
    except LgadError as error:
        fail(error)
    except Exception as error:
        if is_store_error(error):
            address = default_tracking(settings_path().parent).address
            fail(diagnose(error, address).sentence(address))
        elif isinstance(error, OSError):
            fail(os_fault(error))
        else:
            raise
    sys.exit(1)


if __name__ == "__main__":
    main()
