"""Manifests of the files that assets write: a deleted, emptied or changed file makes its asset stale."""

import json
from pathlib import Path

from lgad_pipeline.atomic_files import write_text
from lgad_pipeline.errors import LgadError
from lgad_pipeline.manifest import Manifest, changed_files, manifest_of
from resources.paths import ProjectPaths


def write_manifest(paths: ProjectPaths, asset: str) -> None:
    """Write the manifest of the files that an asset has just written.

    Raises:
        LgadError: one of the files is missing, or the manifest cannot be written.
    """
    files = paths.outputs(asset)
    if not files:
        return
    try:
        manifest = manifest_of(paths.state, files)
    except OSError as error:
        raise LgadError(f"{error.filename} cannot be read again ({error.strerror}).") from error
    write_text(_path(paths, asset), json.dumps(manifest) + "\n")


def changed_file_reasons(paths: ProjectPaths, asset: str) -> list[str]:
    """Describe the files of an asset that are missing or have changed since its materialization.

    Returns:
        One sentence per file; empty if all files are unchanged. Shards may be missing on this machine if a
        store has them: they are downloaded when they are needed.
    """
    if not paths.outputs(asset):
        return []
    if _manifest(paths, asset) is None:
        return [f"{_path(paths, asset)} is missing or damaged."]
    return list(changed_outputs(paths, asset).values())


def changed_outputs(paths: ProjectPaths, asset: str) -> dict[Path, str]:
    """Find the files of an asset that are missing or have changed, each with a sentence."""
    in_store = asset == "shards" and paths.store is not None
    return changed_files(paths.state, _manifest(paths, asset) or {}, absent_ok=in_store)


def _manifest(paths: ProjectPaths, asset: str) -> Manifest | None:
    try:
        manifest = json.loads(_path(paths, asset).read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return None
    return manifest if isinstance(manifest, dict) else None


def _path(paths: ProjectPaths, asset: str) -> Path:
    return paths.state / "manifests" / paths.dataset / paths.recipe / f"{asset}.json"
