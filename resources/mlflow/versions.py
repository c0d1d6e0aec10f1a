"""Versions of a registered model: aliases, files, owner, and rollback to an earlier version."""

import datetime
import errno
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from lgad_pipeline.atomic_files import locked
from lgad_pipeline.errors import LgadError
from resources.mlflow.logged_model import files_digest
from resources.mlflow.resource import MlflowTracking

if TYPE_CHECKING:
    from mlflow.entities.model_registry import ModelVersion

CHALLENGER = "challenger"
CHAMPION = "champion"
FINGERPRINT_TAG = "training_fingerprint"
CODE_TAG = "code_fingerprint"
DIGEST_TAG = "files_digest"
REPLACED_TAG = "replaced"
PENDING_TAG = "promotion_pending"
ROLLED_BACK_TAG = "rolled_back"
RULE_TAG = "promotion_rule"
OWNER_TAG = "lgad.project"
_ORIGIN = ("dataset", "recipe")


class VersionLostError(LgadError):
    """Error of a registered version whose files are missing or are not those that were registered."""


@dataclass(frozen=True)
class VersionRow:
    """Version of a registered model, as a row of a list.

    Attributes:
        version: Number of the version.
        aliases: Aliases of the version, such as champion.
        test_f1: F1 on test frames at the time of registration; empty if unknown.
        decision: Last promotion decision, a sentence; empty if there was none.
        rule: Settings of the promotion rule at the last comparison with a champion; empty if there was none.
    """

    version: str
    aliases: tuple[str, ...]
    test_f1: str
    decision: str
    rule: str


def champion_of(tracking: MlflowTracking, name: str) -> str | None:
    """Return the version with the alias champion; None if there is none."""
    return _aliases(tracking, name).get(CHAMPION)


def versions_of(tracking: MlflowTracking, name: str) -> "list[ModelVersion]":
    """List all versions of a registered model, newest first; empty if there is no such model."""
    versions = tracking.client.search_model_versions(f"name = '{name}'")
    return sorted(versions, key=lambda version: int(version.version), reverse=True)


def version_rows(tracking: MlflowTracking, name: str) -> list[VersionRow]:
    """List all versions of a registered model with their aliases, newest first.

    Raises:
        LgadError: there is no such model; the error lists the models of the store.
    """
    aliases = _aliases(tracking, name)
    rows = [
        VersionRow(
            str(version.version),
            tuple(sorted(alias for alias, holder in aliases.items() if holder == str(version.version))),
            version.tags.get("test_f1", ""),
            version.tags.get("decision", ""),
            version.tags.get(RULE_TAG, ""),
        )
        for version in versions_of(tracking, name)
    ]
    if not rows:
        models = sorted(model.name for model in tracking.client.search_registered_models(max_results=100))
        known = f"the models are {', '.join(models)}" if models else "no model was registered yet"
        raise LgadError(f"There is no registered model {name} at {tracking.address}; {known}.")
    return rows


def standing(tracking: MlflowTracking, name: str, *, version: str) -> tuple[str, str]:
    """Return the current aliases of a version as a text, and the last decision about it.

    For a version whose files cannot be loaded, the text is "cannot be loaded".
    """
    row = next((row for row in version_rows(tracking, name) if row.version == version), None)
    if row is None:
        return "deleted in MLflow", ""
    try:
        with network_of(tracking, name, version=version):
            return ", ".join(row.aliases) or "without alias", row.decision
    except VersionLostError as error:
        return "cannot be loaded", str(error)


def is_intact(tracking: MlflowTracking, name: str, *, version: str) -> bool:
    """Return True if a version is registered and its files are those that were registered."""
    if not any(str(known.version) == version for known in versions_of(tracking, name)):
        return False
    try:
        with network_of(tracking, name, version=version):
            return True
    except VersionLostError:
        return False


def rollback(
    tracking: MlflowTracking, name: str, *, lock: Path, to: str | None = None, owner: str | None = None
) -> tuple[str | None, str]:
    """Make the predecessor of the champion, or a named version, the champion.

    The promotion rule does not promote a champion again after its rollback; it may promote a new training.

    Args:
        tracking: The MLflow store.
        name: Name of the registered model.
        lock: Directory that is locked during the rollback.
        to: Version that becomes champion; by default the one that the current champion replaced.
        owner: Name of this project; the model of another project is refused.

    Returns:
        The previous champion, None if there was none, and the new champion.

    Raises:
        LgadError: there is no such model or version, no predecessor, or its files cannot be loaded.
    """
    client = tracking.client
    with locked(lock):
        rows = {row.version: row for row in version_rows(tracking, name)}
        if owner is not None:
            _check_owner(tracking, name, owner)
        champion = champion_of(tracking, name)
        target = to or _predecessor(tracking, name, champion, rows)
        if target not in rows:
            raise LgadError(f"{name} has no version {target}; it has {_listed(rows)}.")
        if target == champion:
            raise LgadError(f"Version {target} of {name} is champion already; it has {_listed(rows)}.")
        with network_of(tracking, name, version=target):
            # The alias is set last, so that the same command finishes a rollback that failed in between.
            for version in same_training(versions_of(tracking, name), target):
                if ROLLED_BACK_TAG in version.tags:
                    client.delete_model_version_tag(name, str(version.version), ROLLED_BACK_TAG)
            today = datetime.datetime.now().isoformat(" ", "minutes")
            client.set_model_version_tag(name, target, "decision", f"Put in use by hand on {today}.")
            if champion is not None and int(target) < int(champion):
                client.set_model_version_tag(name, champion, ROLLED_BACK_TAG, today)
                reason = f"Rolled back on {today}: version {target} is champion again."
                client.set_model_version_tag(name, champion, "decision", reason)
            elif champion is not None:  # the next rollback then returns to this champion
                client.set_model_version_tag(name, target, REPLACED_TAG, champion)
            client.set_registered_model_alias(name, CHAMPION, target)
    return champion, target


def same_training(versions: Sequence["ModelVersion"], number: str) -> list["ModelVersion"]:
    """Return the versions of the training of a version, itself first."""
    own = [version for version in versions if str(version.version) == number]
    training = {version.tags.get(FINGERPRINT_TAG) for version in own} - {None}
    others = [version for version in versions if version.tags.get(FINGERPRINT_TAG) in training]
    return own + [version for version in others if version not in own]


@contextmanager
def network_of(tracking: MlflowTracking, name: str, *, version: str) -> Iterator[Path]:
    """Download the network of a registered version to a temporary directory, which is deleted at the end.

    Raises:
        VersionLostError: the files are missing, or are not those that were registered.
    """
    from mlflow.artifacts import download_artifacts
    from mlflow.exceptions import MlflowException

    tags = tracking.client.get_model_version(name, version).tags
    tracking.point_mlflow_here()
    what = f"The files of version {version} of {name}"
    with tempfile.TemporaryDirectory() as scratch:
        address = f"models:/{name}/{version}"
        try:
            local = download_artifacts(address, dst_path=scratch, tracking_uri=tracking.target)
        except (MlflowException, OSError) as error:
            if not _is_missing(error):
                raise
            raise VersionLostError(f"{what} are no longer in the MLflow store.") from error
        network = Path(local) / "artifacts" / "network"
        if not network.is_dir():
            raise VersionLostError(f"{what} are no longer in the MLflow store.")
        if tags.get(DIGEST_TAG, "") not in ("", files_digest(network)):
            raise VersionLostError(f"{what} are no longer those that were registered.")
        yield network


def claim(tracking: MlflowTracking, name: str, *, owner: str, tags: Mapping[str, str]) -> None:
    """Create a registered model, or check that it belongs to this project, data set and recipe.

    Raises:
        LgadError: the model belongs to another project, data set or recipe.
    """
    from mlflow.exceptions import MlflowException

    origin = {key: tags[key] for key in _ORIGIN if key in tags}
    client = tracking.client
    try:
        client.create_registered_model(
            name,
            tags={OWNER_TAG: owner, **origin},
            description="Finds lanes in camera frames, by slot.",
        )
        return
    except MlflowException as error:
        if error.error_code != "RESOURCE_ALREADY_EXISTS":
            raise
    _check_owner(tracking, name, owner)
    known = client.get_registered_model(name).tags
    for key, value in origin.items():
        if known.get(key, value) != value:
            raise LgadError(
                f"The registered model {name} holds versions of the {key.replace('dataset', 'data set')} "
                f"{known[key]}, not {value}; rename one in lgad.yaml so that the joined names differ."
            )
    for key, value in {OWNER_TAG: owner, **origin}.items():
        client.set_registered_model_tag(name, key, value)


def _check_owner(tracking: MlflowTracking, name: str, owner: str) -> None:
    """Check that a registered model belongs to this project.

    Raises:
        LgadError: it belongs to another project, or this pipeline did not register it.
    """
    if tracking.own_database is not None:  # the database is in the project's folder
        return
    remedy = (
        "rename the data set or the recipe in lgad.yaml, or give all checkouts of one project the same "
        "`owner:` there"
    )
    where = f"{name} at {tracking.address}"
    holder = tracking.client.get_registered_model(name).tags.get(OWNER_TAG)
    if holder is not None and holder != owner:
        raise LgadError(f"The registered model {where} belongs to another project ({holder}); {remedy}.")
    versions = versions_of(tracking, name)
    if holder is None and versions and not any(FINGERPRINT_TAG in version.tags for version in versions):
        raise LgadError(f"The registered model {where} was not registered by this pipeline; {remedy}.")


def _predecessor(
    tracking: MlflowTracking, name: str, champion: str | None, rows: Mapping[str, VersionRow]
) -> str:
    """Return the version that the champion replaced.

    Raises:
        LgadError: there is none; the error lists the versions.
    """
    choose = f"choose one: lgad rollback {name} --to VERSION, of {_listed(rows)}"
    if champion is None:
        raise LgadError(f"No version of {name} is champion; {choose}.")
    previous = tracking.client.get_model_version(name, champion).tags.get(REPLACED_TAG)
    if previous is None or previous not in rows:
        raise LgadError(f"Version {champion} of {name} has no predecessor on record; {choose}.")
    return previous


def _listed(rows: Mapping[str, VersionRow]) -> str:
    """Return the versions with their aliases on one line, such as `3 (champion), 2, 1`."""
    return ", ".join(
        f"{row.version} ({', '.join(row.aliases)})" if row.aliases else row.version for row in rows.values()
    )


def _aliases(tracking: MlflowTracking, name: str) -> dict[str, str]:
    """Return the version of each alias; empty if there is no such model."""
    from mlflow.exceptions import MlflowException

    try:
        aliases = tracking.client.get_registered_model(name).aliases
    except MlflowException as error:
        if error.error_code != "RESOURCE_DOES_NOT_EXIST":
            raise
        return {}
    return {alias: str(version) for alias, version in aliases.items()}


def _is_missing(error: Exception) -> bool:
    """Return True if an error means that a file does not exist; False if the store cannot be reached."""
    from requests import RequestException

    if isinstance(error, RequestException):  # an OSError as well
        return False
    if isinstance(error, OSError):
        return error.errno in (None, errno.ENOENT, errno.ENOTDIR)
    return getattr(error, "error_code", None) in ("RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE")
