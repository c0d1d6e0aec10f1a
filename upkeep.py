"""What is done by hand with MLflow: put the previous champion back, send what was kept while it was away.

`lgad rollback MODEL` and `lgad sync` call it in the project's folder.
"""

import sys
from typing import Annotated

import typer

from lgad_pipeline.errors import LgadError
from lgad_pipeline.settings import settings_path
from resources.mlflow_errors import is_away
from resources.project import Project
from resources.tracking import default_tracking

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)


@app.command()
def rollback(
    model: Annotated[str, typer.Argument(help="Registered model, `<data set>-<recipe>`.")],
) -> None:
    """Put the predecessor of a model's champion back in use."""
    from resources.registry import rollback

    project, tracking = Project(file=str(settings_path())), default_tracking(settings_path().parent)
    champion, previous = rollback(tracking, model, project.promotion_lock(model))
    print(f"{model}: version {previous} is champion again, version {champion} is not promoted any more.")
    print(tracking.version_url(model, previous))


@app.command()
def sync() -> None:
    """Send what trainings kept while MLflow was away."""
    project, tracking = Project(file=str(settings_path())), default_tracking(settings_path().parent)
    faults = tracking.deliver_all(project.state / "models")
    if faults:
        raise LgadError("\n".join(faults))
    print(f"{tracking.address} has everything.")


def main() -> None:
    """Run a command; what the user can mend is one sentence and exit code 2."""
    try:
        app()
    except Exception as error:
        if not isinstance(error, LgadError) and not is_away(error):
            raise
        away = "MLflow does not answer; start it, or correct MLFLOW_TRACKING_URI."
        print(f"error: {error if isinstance(error, LgadError) else away}", file=sys.stderr)
        sys.exit(2)


if __name__ == "__main__":
    main()
