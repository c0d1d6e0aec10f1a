"""Manifests of what assets wrote, so that a deleted, emptied or changed file makes its asset stale."""

import json
from pathlib import Path

from lgad_pipeline.atomic_files import write_text
from lgad_pipeline.config.roles import STUDENTS
from lgad_pipeline.errors import LgadError
from lgad_pipeline.manifest import Manifest, changed_files, manifest_of
from resources.project import Place

_NETWORK = ("weights.safetensors", "network.json", "predictor.json", "history.parquet", "training.json")


def output_files(place: Place, asset: str) -> list[Path]:
    """Files and folders that an asset writes for a data set, or a recipe on it; none: it writes none.

    A folder stands for every file below it.
    """
    if asset in ("teacher", *STUDENTS):
        return [place.network(asset) / name for name in _NETWORK]
    if asset == "frames":
        own = [] if place.lanes_beside_frames else [place.annotations]
        return [place.frames, place.rejected, *own]
    if asset == "recordings":  # a user's own folder is watched by `folder_state`
        rendered = place.state / "data" / place.dataset / "recordings"
        return [rendered] if place.recordings == rendered else []
    if asset == "shards":
        return [place.packed]
    if asset in ("lane_labels", "predictions", "lane_scores", "onnx_graph", "report"):
        return [getattr(place, asset)]
    return []


def write_manifest(place: Place, asset: str) -> None:
    """Write the manifest of the files that an asset has just written.

    Raises:
        LgadError: one of them is missing, or the manifest cannot be written.
    """
    files = output_files(place, asset)
    if not files:
        return
    try:
        manifest = manifest_of(place.state, files)
    except OSError as error:
        raise LgadError(f"{error.filename} cannot be read again ({error.strerror}).") from error
    write_text(_path(place, asset), json.dumps(manifest) + "\n")


def changed_file_reasons(place: Place, asset: str) -> list[str]:
    """Sentences about files of an asset that are gone or changed since it was made; none if all are there.

    Shards that a store has may be missing here: they are fetched when they are needed.
    """
    if not output_files(place, asset):
        return []
    if _manifest(place, asset) is None:
        return [f"{_path(place, asset)} is missing or damaged."]
    return list(changed_outputs(place, asset).values())


def changed_outputs(place: Place, asset: str) -> dict[Path, str]:
    """Files of an asset that are gone or changed since it was made, each with a sentence."""
    in_store = asset == "shards" and place.store is not None
    return changed_files(place.state, _manifest(place, asset) or {}, absent_ok=in_store)


def _manifest(place: Place, asset: str) -> Manifest | None:
    try:
        manifest = json.loads(_path(place, asset).read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return None
    return manifest if isinstance(manifest, dict) else None


def _path(place: Place, asset: str) -> Path:
    return place.state / "manifests" / place.dataset / place.recipe / f"{asset}.json"
