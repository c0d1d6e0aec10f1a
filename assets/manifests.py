"""Manifests of the files that assets write: a deleted, emptied or changed file makes its asset stale."""

import json
from pathlib import Path

from lgad_pipeline.atomic_files import write_text
from lgad_pipeline.errors import LgadError
from lgad_pipeline.manifest import Manifest, changed_files, manifest_of
from resources.paths import ProjectPaths
from resources.state_store import is_stored, publish_result


def write_manifest(paths: ProjectPaths, asset: str) -> None:
    """Write the manifest of the files that an asset has just written, and copy both to the store.

    Raises:
        LgadError: one of the files is missing, or the manifest cannot be written.
    """
    files = paths.outputs(asset)
    if not files:
        return
    try:
        manifest = manifest_of(paths.state, files)
    except OSError as error:
        raise LgadError(
            f"{error.filename} was written but cannot be read ({error.strerror}); check its disk and "
            "its permissions, and materialize the asset again."
        ) from error
    write_text(paths.manifest(asset), json.dumps(manifest) + "\n")
    publish_result(paths, asset, manifest)


def changed_file_reasons(paths: ProjectPaths, asset: str) -> list[str]:
    """Describe the files of an asset that are missing or have changed since its materialization.

    Returns:
        One sentence per file; empty if all files are unchanged. Shards may be missing on this machine if a
        store has them: they are downloaded when they are needed. If all results have a store, its copy
        alone is checked.
    """
    if not paths.outputs(asset):
        return []
    if paths.results is not None:
        stored = is_stored(paths, asset)
        return [] if stored else [f"The result of {asset} is missing or incomplete in the store."]
    if _manifest(paths, asset) is None:
        return [f"{paths.manifest(asset)} is missing or damaged."]
    return list(changed_outputs(paths, asset).values())


def changed_outputs(paths: ProjectPaths, asset: str) -> dict[Path, str]:
    """Find the files of an asset that are missing or have changed, each with a sentence."""
    shards_in_store = asset == "shards" and paths.store is not None
    return changed_files(paths.state, _manifest(paths, asset) or {}, absent_ok=shards_in_store)


def _manifest(paths: ProjectPaths, asset: str) -> Manifest | None:
    try:
        manifest = json.loads(paths.manifest(asset).read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return None
    return manifest if isinstance(manifest, dict) else None
