"""Trained networks that students start from: directories, or registered versions that are downloaded."""

import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path

from lgad_pipeline.atomic_files import locked
from lgad_pipeline.config.model_files import NETWORK, WEIGHTS
from lgad_pipeline.config.recipe import REGISTERED
from lgad_pipeline.errors import LgadError
from resources.mlflow.resource import MlflowTracking
from resources.mlflow.versions import VersionLostError, network_of, version_rows
from resources.paths import initial_networks


@dataclass(frozen=True)
class InitialNetwork:
    """Trained network that a student starts from.

    Attributes:
        folder: Directory of weights.safetensors and network.json.
        source: Its directory, or its registered version as `models:/<name>/<version>`.
        digest: Fingerprint of both files, see `network_digest`.
        model: Id of the logged model of a registered version; empty for a directory.
    """

    folder: Path
    source: str
    digest: str
    model: str = ""


def initial_network(init: str, *, tracking: MlflowTracking, state: Path) -> InitialNetwork:
    """Find the network that the key `init` of a recipe names; a registered version is downloaded.

    Args:
        init: Absolute directory, `models:/NAME@ALIAS` or `models:/NAME/VERSION`.
        tracking: The MLflow store.
        state: State root; downloaded networks are kept below it, named by their content.

    Raises:
        LgadError: there is no such directory, model, alias or version, or its files are lost or damaged.
    """
    from lgad_pipeline.networks.checkpoint import network_digest

    if not init.startswith(REGISTERED):
        return InitialNetwork(Path(init), init, network_digest(Path(init)))
    name, version = _version(init, tracking)
    try:
        with network_of(tracking, name, version=version) as network:
            digest = network_digest(network)
            folder = initial_networks(state) / digest
            with locked(folder.parent):
                _keep(network, folder, digest)
    except VersionLostError as error:
        raise LgadError(f"{error} Name another version or a directory under init.") from error
    model = tracking.client.get_model_version(name, version).model_id or ""
    return InitialNetwork(folder, f"{REGISTERED}{name}/{version}", digest, model)


def _version(init: str, tracking: MlflowTracking) -> tuple[str, str]:
    """Return name and version of a registered version that is named by number or alias."""
    name, separator, alias = init.removeprefix(REGISTERED).partition("@")
    if not separator:
        name, _, number = name.partition("/")
    try:
        rows = version_rows(tracking, name)
    except LgadError as error:
        raise LgadError(f"{str(error).rstrip('.')}; correct init, or train and register it first.") from error
    for row in rows:
        if (alias in row.aliases) if separator else (row.version == number):
            return name, row.version
    known = ", ".join(f"{row.version} ({', '.join(row.aliases) or 'without alias'})" for row in rows)
    wanted = f"the alias {alias}" if separator else f"the number {number}"
    raise LgadError(f"No version of {name} has {wanted}; name one of {known} under init.")


def _keep(network: Path, folder: Path, digest: str) -> None:
    """Copy a downloaded network to its directory unless an intact copy is there."""
    from lgad_pipeline.networks.checkpoint import DamagedNetwork, network_digest

    try:
        if network_digest(folder) == digest:
            return
    except DamagedNetwork:
        pass
    shutil.rmtree(folder, ignore_errors=True)
    scratch = Path(tempfile.mkdtemp(dir=folder.parent))
    for name in (NETWORK, WEIGHTS):
        shutil.copyfile(network / name, scratch / name)
    scratch.rename(folder)
