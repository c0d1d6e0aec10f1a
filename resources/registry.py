"""The model registry: versions of a student, and which of them is in use."""

import datetime
import shutil
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from importlib.metadata import version as installed
from pathlib import Path
from typing import TYPE_CHECKING

import lgad_pipeline
from lgad_pipeline.errors import LgadError
from lgad_pipeline.evaluation.promotion import Verdict
from resources.processes import exclusive
from resources.tracking import MlflowTracking

if TYPE_CHECKING:
    from mlflow.entities.model_registry import ModelVersion

CHALLENGER = "challenger"
CHAMPION = "champion"
FINGERPRINT_TAG = "training_fingerprint"
REPLACED_TAG = "replaced"
ROLLED_BACK_TAG = "rolled_back"
_ATTEMPTS = 5
_SETTLE_SECONDS = 2.0
_CODE = Path(__file__).with_name("lane_model.py")
_NEEDS = ("mlflow", "torch", "numpy", "opencv-python", "pydantic", "safetensors", "pandas", "pyarrow")


@dataclass(frozen=True)
class Decision:
    """Which version is in use after a new one came, and why.

    Attributes:
        version: the new one.
        champion: version that is in use now.
        before: version that was in use before; None if there was none.
        reason: one sentence with the numbers.
        verdict: the numbers; None where there was nothing to compare with.
    """

    version: str
    champion: str
    before: str | None
    reason: str
    verdict: Verdict | None = None

    @property
    def promoted(self) -> bool:
        """The new version is in use."""
        return self.champion == self.version


def register(
    tracking: MlflowTracking,
    name: str,
    folder: Path,
    graph: Path,
    *,
    run_id: str,
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
        folder: weights, network.json and predictor.json.
        graph: the same network as ONNX, logged beside it.
        run_id: of the training's MLflow run.
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
        uri, model_id = _log_model(tracking, run_id, folder, graph, example)
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
    tracking: MlflowTracking, name: str, version: str, compare: Callable[[Path], Verdict], lock: Path
) -> Decision:
    """Put the new version in use if it beats the one in use; write the decision down with the version.

    One run of this project decides at a time. Where another machine has put its own version in use meanwhile,
    which a server's alias shows, the new version is compared with that one.

    Args:
        tracking: the MLflow store.
        name: registered model.
        version: the new one.
        compare: applies the rule to the champion in a folder and the new version.
        lock: folder that is held meanwhile.

    Raises:
        LgadError: other machines kept changing the champion.
    """
    with exclusive(lock):
        for _ in range(_ATTEMPTS):
            before = champion_of(tracking, name)
            decision = _judged(tracking, name, version, before, compare)
            if decision.promoted and before != version:
                if champion_of(tracking, name) != before:
                    continue
                tracking.client.set_registered_model_alias(name, CHAMPION, version)
                if tracking.is_server:
                    time.sleep(_SETTLE_SECONDS)  # another machine may have looked before, and set its own now
                    if champion_of(tracking, name) != version:
                        continue
            _write_down(tracking, name, decision)
            return decision
    raise LgadError(f"The champion of {name} kept changing; register version {version} again.")


def rollback(tracking: MlflowTracking, name: str, lock: Path) -> tuple[str, str]:
    """Put the champion's predecessor back in use; the champion is not promoted again.

    Returns:
        The version that was in use, and the one that is now.

    Raises:
        LgadError: there is no such model, champion or predecessor.
    """
    client = tracking.client
    with exclusive(lock):
        champion = champion_of(tracking, name)
        if champion is None:
            raise LgadError(f"There is no model {name} with a champion at {tracking.address}.")
        previous = client.get_model_version(name, champion).tags.get(REPLACED_TAG)
        if previous is None or previous not in {str(v.version) for v in _versions(tracking, name)}:
            raise LgadError(f"Version {champion} of {name} has no predecessor that could be put back.")
        client.set_registered_model_alias(name, CHAMPION, previous)
        today = datetime.datetime.now().isoformat(" ", "minutes")
        client.set_model_version_tag(name, champion, ROLLED_BACK_TAG, today)
        reason = f"Rolled back on {today}: version {previous} is champion again."
        client.set_model_version_tag(name, champion, "decision", reason)
    return champion, previous


def champion_of(tracking: MlflowTracking, name: str) -> str | None:
    """The version in use; None if there is none."""
    aliases = tracking.client.get_registered_model(name).aliases if _exists(tracking, name) else {}
    return None if CHAMPION not in aliases else str(aliases[CHAMPION])


@contextmanager
def network_of(tracking: MlflowTracking, name: str, version: str) -> Iterator[Path]:
    """The folder of weights of a registered version, while it is needed."""
    from mlflow.artifacts import download_artifacts

    tracking.point_mlflow_here()
    with tempfile.TemporaryDirectory() as scratch:
        address = f"models:/{name}/{version}"
        local = download_artifacts(address, dst_path=scratch, tracking_uri=tracking.uri)
        yield Path(local) / "artifacts" / "network"


def _judged(
    tracking: MlflowTracking,
    name: str,
    version: str,
    champion: str | None,
    compare: Callable[[Path], Verdict],
) -> Decision:
    if champion is None:
        return Decision(version, version, None, f"Version {version} is the first: it becomes champion.")
    if champion == version:
        return Decision(version, version, version, f"Version {version} is champion already.")
    rolled_back = tracking.client.get_model_version(name, version).tags.get(ROLLED_BACK_TAG)
    if rolled_back is not None:
        reason = f"Version {version} was rolled back on {rolled_back} and stays challenger."
        return Decision(version, champion, champion, reason)
    try:
        with network_of(tracking, name, champion) as network:
            verdict = compare(network)
    except LgadError as error:
        reason = (
            f"Version {version} stays challenger: it cannot be compared with version {champion} ({error}) "
            "Give it the alias champion by hand."
        )
        return Decision(version, champion, champion, reason)
    total = verdict.total
    numbers = (
        f"F1 {total.challenger:.3f} against {total.champion:.3f} of version {champion} on {total.frames} "
        f"validation frames, {100 * total.gain.value:+.1f} points ({100 * total.gain.low:+.1f} to "
        f"{100 * total.gain.high:+.1f})"
    )
    if verdict.promoted:
        return Decision(
            version, version, champion, f"Version {version} becomes champion: {numbers}.", verdict
        )
    reason = f"Version {version} stays challenger: {numbers}; {'; '.join(verdict.objections)}."
    return Decision(version, champion, champion, reason, verdict)


def _write_down(tracking: MlflowTracking, name: str, decision: Decision) -> None:
    """Keep a decision as tags of the version, and with all numbers as JSON in its run."""
    client, version = tracking.client, decision.version
    tags = {"decision": decision.reason}
    if decision.verdict is not None:
        total = decision.verdict.total
        tags |= {
            "validation_f1": f"{total.challenger:.4f}",
            "champion_validation_f1": f"{total.champion:.4f}",
            "validation_gain": f"{total.gain.value:+.4f} ({total.gain.low:+.4f} to {total.gain.high:+.4f})",
        }
    if decision.promoted and decision.before not in (None, version):
        tags[REPLACED_TAG] = str(decision.before)
    for key, value in tags.items():
        client.set_model_version_tag(name, version, key, value[:5000])
    run_id = client.get_model_version(name, version).run_id
    if run_id:
        content = {"model": name, "promoted": decision.promoted, "time": time.time(), **asdict(decision)}
        client.log_dict(run_id, content, f"promotion/version-{version}.json")


def _log_model(
    tracking: MlflowTracking, run_id: str, folder: Path, graph: Path, example: bytes
) -> tuple[str, str]:
    """Log weights and code of a student in its run; returns the model's address and id."""
    import mlflow

    status = tracking.client.get_run(run_id).info.status
    with (
        _no_advice_on_types(),
        mlflow.start_run(run_id=run_id),
        tempfile.TemporaryDirectory() as scratch,
    ):
        logged = mlflow.pyfunc.log_model(
            name="student",
            python_model=str(_CODE),
            artifacts={"network": str(_portable(folder, graph, Path(scratch)))},
            code_paths=[str(Path(lgad_pipeline.__file__).parent)],
            input_example=[example],
            pip_requirements=_requirements(_NEEDS),
        )
    tracking.client.set_terminated(run_id, status=status)
    return logged.model_uri, str(logged.model_id)


@contextmanager
def _no_advice_on_types() -> Iterator[None]:
    """Keep MLflow from asking for other type hints: a frame is an array or bytes, and `predict` checks it.

    MLflow sets filters of its own, so what is said is collected.
    """
    with warnings.catch_warnings(record=True) as said:
        yield
    for warning in said:
        if "type hint" not in str(warning.message):
            warnings.warn_explicit(warning.message, warning.category, warning.filename, warning.lineno)


def _portable(folder: Path, graph: Path, scratch: Path) -> Path:
    """A folder named `network` with what prediction needs, and nothing of the training."""
    copy = scratch / "network"
    copy.mkdir()
    for file in (folder / "weights.safetensors", folder / "network.json", folder / "predictor.json", graph):
        shutil.copy2(file, copy / file.name)
    return copy


def _requirements(packages: Sequence[str]) -> list[str]:
    return [f"{package}=={installed(package).split('+')[0]}" for package in packages]


def _exists(tracking: MlflowTracking, name: str) -> bool:
    from mlflow.exceptions import MlflowException

    try:
        tracking.client.get_registered_model(name)
    except MlflowException as error:
        if error.error_code != "RESOURCE_DOES_NOT_EXIST":
            raise
        return False
    return True


def _versions(tracking: MlflowTracking, name: str) -> "list[ModelVersion]":
    return list(tracking.client.search_model_versions(f"name = '{name}'"))
