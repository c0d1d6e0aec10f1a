"""Directory of a finished training: its files, fingerprint and verification."""

import json
import logging
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
from torch import nn

from lgad_pipeline.atomic_files import atomic_path, remove_left_overs, write_text
from lgad_pipeline.config.model_files import CHECKPOINT, NETWORK, WEIGHTS
from lgad_pipeline.config.network import NetworkSpec
from lgad_pipeline.errors import LgadError
from lgad_pipeline.manifest import manifest_faults, manifest_of
from lgad_pipeline.networks.checkpoint import save_network
from lgad_pipeline.training.checkpoint import TrainingState, damaged_name

HISTORY = "history.parquet"
TRAINING = "training.json"
_FILES = (WEIGHTS, NETWORK, HISTORY)
_LOG = logging.getLogger(__name__)


@dataclass(frozen=True)
class TrainingResult:
    """Finished training.

    Attributes:
        folder: directory with the weights, `network.json`, `history.parquet` and `training.json`.
        fingerprint: digest of settings, data, teacher and code, BLAKE2b-128, hexadecimal.
        seconds: training time over all runs.
        history: log entries, a row each: column `step` and the metrics of `fit`.
        reused: True if the directory already held this training, so that nothing was trained.
        init_adaptation: sentence that names layers that did not fit the initial network; empty for none.
    """

    folder: Path
    fingerprint: str
    seconds: float
    history: pd.DataFrame
    reused: bool
    init_adaptation: str = ""


def read_result(folder: Path, *, reused: bool) -> TrainingResult:
    """Read the result of a finished training.

    Args:
        folder: directory of the training.
        reused: value of `TrainingResult.reused`.
    """
    summary = json.loads((folder / TRAINING).read_text(encoding="utf-8"))
    history = pd.read_parquet(folder / HISTORY)
    return TrainingResult(
        folder,
        summary["fingerprint"],
        summary["seconds"],
        history,
        reused,
        summary.get("init_adaptation", ""),
    )


def write_result(
    folder: Path,
    network: nn.Module,
    spec: NetworkSpec,
    *,
    state: TrainingState,
    fingerprint: str,
    description: Mapping[str, Any],
) -> TrainingResult:
    """Write a trained network and its history, then remove the checkpoints.

    Args:
        folder: directory of the training.
        network: network with its final weights.
        spec: specification of the network.
        state: final state of the training.
        fingerprint: digest of the description.
        description: all inputs that the weights depend on.
    """
    save_network(folder, network, spec=spec)
    with atomic_path(folder / HISTORY) as temporary:
        pd.DataFrame(state.history).astype({"step": "int64"}).to_parquet(temporary, index=False)
    files = manifest_of(folder, [folder / name for name in _FILES])
    summary = {"fingerprint": fingerprint, "seconds": state.seconds, **description, "files": files}
    write_text(folder / TRAINING, json.dumps(summary, indent=2) + "\n")
    remove_unfinished(folder, finished=True)
    return read_result(folder, reused=False)


def remove_unfinished(folder: Path, *, finished: bool) -> None:
    """Remove files that killed processes left in the directory of a training.

    Args:
        folder: directory of the training.
        finished: True to remove the checkpoints, too, which a process killed at the end has left.
    """
    remove_left_overs(folder.rglob(".*.part"))
    for name in (CHECKPOINT, damaged_name(CHECKPOINT)) if finished else ():
        (folder / name).unlink(missing_ok=True)


def is_finished(folder: Path, fingerprint: str) -> bool:
    """Return True if the directory holds the training of this fingerprint with unchanged files."""
    try:
        summary = json.loads((folder / TRAINING).read_text(encoding="utf-8"))
        if summary["fingerprint"] != fingerprint:
            return False
        faults = manifest_faults(folder, summary["files"])
        if not set(_FILES) <= set(summary["files"]):
            faults.append(f"{folder / TRAINING} does not list them.")
    except FileNotFoundError:
        return False
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        faults = [f"{folder / TRAINING} is damaged ({error})."]
    if faults:
        _LOG.warning("A finished training is incomplete or changed, and is repeated: %s", " ".join(faults))
    return not faults


def fingerprint_of(folder: Path) -> str:
    """Return the fingerprint of a finished training.

    Raises:
        LgadError: the directory holds no finished training.
    """
    try:
        return json.loads((folder / TRAINING).read_text(encoding="utf-8"))["fingerprint"]
    except (OSError, ValueError, KeyError) as error:
        raise LgadError(f"{folder / TRAINING} is missing or damaged; train that network again.") from error
