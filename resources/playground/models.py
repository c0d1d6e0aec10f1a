"""Models that the page offers: registered versions, students of this project, and directories."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from lgad_pipeline.config.model_files import NETWORK
from lgad_pipeline.config.roles import ROLES
from lgad_pipeline.errors import LgadError
from resources.mlflow.resource import MlflowTracking
from resources.mlflow.versions import CHAMPION, network_of, version_rows
from resources.project import Project


@dataclass(frozen=True)
class ModelChoice:
    """A model to try.

    Attributes:
        title: text of the selection.
        dataset: data set of the model; empty if it is not known.
        recipe: recipe of the model; empty if it is not known.
        version: version of the registered model, whose student with LGAD is shown; None for the present
            networks of the project.
    """

    title: str
    dataset: str = ""
    recipe: str = ""
    version: str | None = None


def model_choices(project: Project, tracking: MlflowTracking) -> Iterator[ModelChoice]:
    """Yield the models of the project, each recipe on each data set: champion, other versions, networks.

    A store that cannot be reached has no versions; the caller says so (`MlflowTracking.needed`).
    """
    for dataset in sorted(project.settings.datasets):
        for recipe in sorted(project.settings.recipes):
            name = f"{dataset}-{recipe}"
            try:
                rows = version_rows(tracking, name)
            except LgadError:  # nothing is registered
                rows = []
            rows.sort(key=lambda row: CHAMPION not in row.aliases)
            for row in rows:
                aliases = f", {', '.join(row.aliases)}" if row.aliases else ""
                title = f"{name} {row.version}{aliases}"
                yield ModelChoice(title, dataset, recipe, row.version)
            if any(
                (folder / NETWORK).is_file() for folder in role_folders(project, dataset, recipe).values()
            ):
                yield ModelChoice(f"{name}, networks trained last", dataset, recipe)


def role_folders(project: Project, dataset: str, recipe: str) -> dict[str, Path]:
    """Return the directory of each network of a recipe on a data set, by role."""
    paths = project.paths(dataset, recipe)
    return {role: paths.network(role) for role in ROLES}


def networks_in(folder: Path) -> dict[str, Path]:
    """Find networks in a directory: one network, or those of the roles in subdirectories.

    Returns:
        Directory of each network by role; a single network counts as the student with LGAD.

    Raises:
        LgadError: there is no network.
    """
    if (folder / NETWORK).is_file():
        return {"student_lgad": folder}
    found = {role: folder / role for role in ROLES if (folder / role / NETWORK).is_file()}
    if not found:
        raise LgadError(
            f"{folder} holds no {NETWORK}; give the directory of a student, or of a recipe with its students."
        )
    return found


def registered_network(tracking: MlflowTracking, choice: ModelChoice, scratch: Path) -> Path:
    """Copy the network of a registered version below `scratch`, and return its directory."""
    import shutil

    target = scratch / f"{choice.dataset}-{choice.recipe}-{choice.version}"
    if not target.is_dir():
        assert choice.version is not None
        with network_of(tracking, f"{choice.dataset}-{choice.recipe}", version=choice.version) as network:
            shutil.copytree(network, target)
    return target
