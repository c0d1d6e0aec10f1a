"""The model registry: versions of a student, and which of them is in use."""

import shutil
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version as installed
from pathlib import Path
from typing import TYPE_CHECKING

import lgad_pipeline
from lgad_pipeline.errors import LgadError
from resources.tracking import MlflowTracking, noted_run

if TYPE_CHECKING:
    from mlflow.entities.model_registry import ModelVersion

CHALLENGER = "challenger"
CHAMPION = "champion"
FINGERPRINT_TAG = "training_fingerprint"
_CODE = Path(__file__).with_name("lane_model.py")
_NEEDS = ("mlflow", "torch", "numpy", "opencv-python", "pydantic", "safetensors", "pandas", "pyarrow")


@dataclass(frozen=True)
class Decision:
    """Which version is in use after a new one came, and why.

    Attributes:
        champion: version that is in use now.
        promoted: the new version is the one.
        f1: of the new version on the validation frames.
        champion_f1: of the version that was in use before, on the same frames; None if there was none.
        reason: one sentence with the numbers.
    """

    champion: str
    promoted: bool
    f1: float
    champion_f1: float | None
    reason: str


def register(
    tracking: MlflowTracking,
    name: str,
    folder: Path,
    *,
    fingerprint: str,
    example: bytes,
    tags: Mapping[str, str],
    card: str,
) -> str:
    """Register the student in `folder` as a new version with the alias challenger.

    The same training (`fingerprint`) is registered once: the version that holds it is returned, and its
    card and tags are renewed.

    Args:
        tracking: the MLflow store.
        name: registered model.
        folder: weights, network.json and predictor.json; the id of its MLflow run is noted there.
        fingerprint: of the training.
        example: a JPEG, the input example.
        tags: of the version.
        card: the version's description, markdown.

    Returns:
        The version.
    """
    client = tracking.client
    tracking.point_mlflow_here()
    version = next(
        (v.version for v in _versions(tracking, name) if v.tags.get(FINGERPRINT_TAG) == fingerprint), None
    )
    if version is None:
        run_id = noted_run(folder)
        uri, model_id = _log_model(tracking, run_id, folder, example)
        if not _exists(tracking, name):
            client.create_registered_model(
                name, description="Finds lanes in camera frames, four slots a frame."
            )
        made = client.create_model_version(
            name, uri, run_id, tags={FINGERPRINT_TAG: fingerprint, **tags}, model_id=model_id
        )
        version = made.version
    version = str(version)
    client.update_model_version(name, version, description=card)
    for key, value in tags.items():
        client.set_model_version_tag(name, version, key, value)
    client.set_registered_model_alias(name, CHALLENGER, version)
    return version


def decide(
    tracking: MlflowTracking, name: str, version: str, folder: Path, score: Callable[[Path], float]
) -> Decision:
    """Put the new version in use if it beats the one in use on the same validation frames.

    Args:
        tracking: the MLflow store.
        name: registered model.
        version: the new one.
        folder: the new version's network.
        score: F1 of the network in a folder on the validation frames.
    """
    client = tracking.client
    champion = _champion(tracking, name)
    f1, champion_f1 = score(folder), None
    if champion is None:
        promoted, reason = True, f"Version {version} is the first: it becomes champion with F1 {f1:.3f}."
    elif champion == version:
        promoted, reason = True, f"Version {version} is champion already, with F1 {f1:.3f}."
    else:
        champion_f1, how = _score_champion(tracking, name, champion, score)
        promoted = f1 > champion_f1
        verb = "becomes champion" if promoted else "stays challenger"
        both = f"F1 {f1:.3f} on the validation frames, {champion_f1:.3f} of version {champion}{how}"
        reason = f"Version {version} {verb}: {both}."
    if promoted:
        client.set_registered_model_alias(name, CHAMPION, version)
    outcome = Decision(version if promoted else str(champion), promoted, f1, champion_f1, reason)
    client.set_model_version_tag(name, version, "decision", reason)
    client.set_model_version_tag(name, version, "validation_f1", f"{f1:.4f}")
    if champion_f1 is not None:
        client.set_model_version_tag(name, version, "champion_validation_f1", f"{champion_f1:.4f}")
    return outcome


def _score_champion(
    tracking: MlflowTracking, name: str, version: str, score: Callable[[Path], float]
) -> tuple[float, str]:
    """F1 of the version in use, and a word on it where today's code no longer loads it."""
    try:
        return score(_network_of(tracking, name, version)), ""
    except LgadError:
        tags = tracking.client.get_model_version(name, version).tags
        return float(tags["validation_f1"]), ", as recorded then: today's code cannot load it"


def _log_model(tracking: MlflowTracking, run_id: str, folder: Path, example: bytes) -> tuple[str, str]:
    """Log weights and code of a student in its run; returns the model's address and id."""
    import mlflow

    status = tracking.client.get_run(run_id).info.status
    with mlflow.start_run(run_id=run_id), tempfile.TemporaryDirectory() as scratch:
        logged = mlflow.pyfunc.log_model(
            name="student",
            python_model=str(_CODE),
            artifacts={"network": str(_portable(folder, Path(scratch)))},
            code_paths=[str(Path(lgad_pipeline.__file__).parent)],
            input_example=[example],
            pip_requirements=_requirements(_NEEDS),
        )
    tracking.client.set_terminated(run_id, status=status)
    return logged.model_uri, str(logged.model_id)


def _portable(folder: Path, scratch: Path) -> Path:
    """A folder named `network` with what prediction needs, and nothing of the training."""
    copy = scratch / "network"
    copy.mkdir()
    for file in ("weights.safetensors", "network.json", "predictor.json"):
        shutil.copy2(folder / file, copy / file)
    return copy


def _requirements(packages: Sequence[str]) -> list[str]:
    return [f"{package}=={installed(package).split('+')[0]}" for package in packages]


def _exists(tracking: MlflowTracking, name: str) -> bool:
    from mlflow.exceptions import MlflowException

    try:
        tracking.client.get_registered_model(name)
    except MlflowException:
        return False
    return True


def _versions(tracking: MlflowTracking, name: str) -> "list[ModelVersion]":
    return list(tracking.client.search_model_versions(f"name = '{name}'"))


def _champion(tracking: MlflowTracking, name: str) -> str | None:
    aliases = tracking.client.get_registered_model(name).aliases
    return None if CHAMPION not in aliases else str(aliases[CHAMPION])


def _network_of(tracking: MlflowTracking, name: str, version: str) -> Path:
    """The folder of weights of a registered version."""
    from mlflow.artifacts import download_artifacts

    tracking.point_mlflow_here()
    local = download_artifacts(f"models:/{name}/{version}", tracking_uri=tracking.uri)
    return Path(local) / "artifacts" / "network"
