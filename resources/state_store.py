"""Copies of results in the store of the project (`store` in lgad.yaml), for steps on other machines.

Without a store, every function does nothing.
"""

import json
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from lgad_pipeline.atomic_files import write_text
from lgad_pipeline.config.model_files import NETWORK, WEIGHTS
from lgad_pipeline.config.roles import STUDENTS
from lgad_pipeline.manifest import Manifest, manifest_of
from resources.paths import ProjectPaths, fetch_shards, initial_networks

if TYPE_CHECKING:  # pyarrow is slow to import
    from lgad_pipeline.result_store import ResultStore

DATA_RESULTS = ("recordings", "frames", "lane_labels")
"""Assets of a data set, which all its recipes share; shards have a store of their own."""
_SHARDS = "shards"
_NETWORKS = ("teacher", *STUDENTS)
JOURNAL = "mlflow"
"""Folder of the run journal, in the directory of a network; steps after the training add to it."""
_JOURNALS = {"predictions": STUDENTS, "lane_scores": STUDENTS, "onnx_graph": ("student_lgad",)}
"""Networks whose journals an asset adds to; a network adds to its own."""
_COPY_SECONDS = 2.0


def fetch_results(paths: ProjectPaths, *assets: str) -> ProjectPaths:
    """Complete the results of assets on this machine from the store.

    Args:
        paths: paths of the data set, or of the recipe on it.
        assets: names of the assets; those without files of the project are left out.

    Returns:
        The paths, unchanged.

    Raises:
        LgadError: the store cannot be reached, or does not have a result.
    """
    if _SHARDS in assets:
        fetch_shards(paths)
    if paths.results is None:
        return paths
    store = _store(paths)
    for asset in assets:
        of_asset = replace(paths, recipe="") if asset in DATA_RESULTS else paths
        if paths.outputs(asset) and asset != _SHARDS:
            manifest = store.fetch(_name(of_asset, asset), paths.outputs(asset))
            write_text(of_asset.manifest(asset), json.dumps(manifest) + "\n")
        if asset in _NETWORKS:
            _copy(paths, asset, JOURNAL).fetch()
    return paths


def publish_result(paths: ProjectPaths, asset: str, manifest: Manifest) -> None:
    """Copy what an asset has written to the store, with its entries in the run journals of its networks.

    Args:
        paths: paths of the data set, or of the recipe on it.
        asset: name of the asset.
        manifest: state of its files.
    """
    if paths.results is None:
        return
    if asset == _SHARDS:
        _store(paths).publish(_name(paths, asset), (), {})
    else:
        _store(paths).publish(_name(paths, asset), paths.outputs(asset), manifest)
    # Other journals on this machine may be older than those in the store.
    for role in _JOURNALS.get(asset, (asset,)) if paths.recipe else ():
        if role in _NETWORKS and (paths.network(role) / JOURNAL).is_dir():
            _copy(paths, role, JOURNAL).update()


def is_stored(paths: ProjectPaths, asset: str) -> bool:
    """Return True if the project has a store, and the store has the whole result of an asset."""
    return paths.results is not None and _store(paths).manifest(_name(paths, asset)) is not None


def fetch_stored(paths: ProjectPaths, *assets: str) -> ProjectPaths:
    """Complete the results of those assets that the store has, and return the paths; see `fetch_results`."""
    return fetch_results(paths, *(asset for asset in assets if is_stored(paths, asset)))


def publish_initial(paths: ProjectPaths, network: Path) -> None:
    """Copy a registered version that a student starts from to the store; a directory of the user stays.

    Args:
        paths: paths of the recipe on the data set.
        network: directory of the trained network, such as `InitialNetwork.folder`.
    """
    copy = _initial_copy(paths, network)
    if copy is None or _store(paths).manifest(copy[0]) is not None:
        return
    name, files = copy
    # Without times the index is the same on all machines, so that two may copy the same version at a time.
    states = manifest_of(paths.state, files).items()
    _store(paths).publish(name, files, {file: {**state, "modified": 0} for file, state in states})


def fetch_initial(paths: ProjectPaths, network: Path) -> None:
    """Complete a registered version that `publish_initial` copied; `network` is its directory here."""
    if copy := _initial_copy(paths, network):
        _store(paths).fetch(*copy)


@contextmanager
def training_copies(paths: ProjectPaths, role: str, *parts: str, update: bool = True) -> Iterator[None]:
    """Fetch the state of an unfinished training, and copy it to the store as it changes.

    A training that is retried on another machine then resumes from the checkpoint, in the same MLflow run.

    Args:
        paths: paths of the recipe on the data set.
        role: `teacher`, `student_alone` or `student_lgad`.
        parts: names in the directory of the network: the file of the checkpoint, the folder of the journal.
        update: False to fetch only.
    """
    copies = [_copy(paths, role, part) for part in parts if paths.results is not None]
    for copy in copies:
        copy.fetch()
    if not copies or not update:
        yield
        return
    done = threading.Event()
    thread = threading.Thread(target=_copy_until, args=(done, copies), daemon=True)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()
        for copy in copies:
            copy.update()


@dataclass(frozen=True)
class StudyFolders:
    """Directories of the trainings of a study, which machines exchange through the store.

    Attributes:
        paths: paths of the recipe on the data set.
    """

    paths: ProjectPaths

    def fetch(self, folder: Path) -> None:
        """Complete a directory from the store, if the store has it."""
        if _store(self.paths).manifest(self._name(folder)) is not None:
            _store(self.paths).fetch(self._name(folder), [folder])

    def publish(self, folder: Path) -> None:
        """Copy a directory to the store."""
        _store(self.paths).publish(self._name(folder), [folder], manifest_of(self.paths.state, [folder]))

    def _name(self, folder: Path) -> str:
        return f"{_name(self.paths, 'distillation_gain')}/{folder.relative_to(self.paths.gain).as_posix()}"


class _Copy:
    """Copy of one file or folder that changes; a removed one is removed from the store."""

    def __init__(self, store: "ResultStore", name: str, path: Path, root: Path) -> None:
        self._store, self._name, self._path, self._root = store, name, path, root
        self._seen: dict[str, tuple[int, int]] | None = None

    def fetch(self) -> None:
        """Replace the file or folder by the copy in the store, if there is one."""
        if self._store.manifest(self._name) is not None:
            self._store.fetch(self._name, [self._path])
            self._seen = self._state()

    def update(self) -> None:
        """Copy the file or folder if it has changed since the last call."""
        state = self._state()
        if state == self._seen:
            return
        if state:
            manifest = manifest_of(self._root, [self._path])
            if self._seen is not None or self._store.manifest(self._name) != manifest:
                self._store.publish(self._name, [self._path], manifest)
        else:
            self._store.remove(self._name)
        self._seen = state

    def _state(self) -> dict[str, tuple[int, int]]:
        """Return sizes and modification times of the files, without those that are hidden."""
        files = self._path.rglob("*") if self._path.is_dir() else [self._path]
        statuses = {
            str(file): file.stat() for file in files if file.is_file() and not file.name.startswith(".")
        }
        return {name: (status.st_size, status.st_mtime_ns) for name, status in statuses.items()}


def _copy(paths: ProjectPaths, role: str, part: str) -> _Copy:
    return _Copy(_store(paths), f"{_name(paths, role)}.{part}", paths.network(role) / part, paths.state)


def _copy_until(done: threading.Event, copies: Sequence[_Copy]) -> None:
    """Update copies every two seconds; an error is raised by the last update, at the end of the training."""
    while not done.wait(_COPY_SECONDS):
        for copy in copies:
            try:
                copy.update()
            except Exception:  # the store may answer again at the next time
                continue


def _store(paths: ProjectPaths) -> "ResultStore":
    from lgad_pipeline.result_store import ResultStore

    assert paths.results is not None
    return ResultStore(paths.results, paths.state)


def _initial_copy(paths: ProjectPaths, network: Path) -> tuple[str, list[Path]] | None:
    """Return name and files of a registered version in the store; None for a directory of the user."""
    if paths.results is None or network.parent != initial_networks(paths.state):
        return None
    return f"initial/{network.name}", [network / NETWORK, network / WEIGHTS]


def _name(paths: ProjectPaths, asset: str) -> str:
    return "/".join(part for part in (paths.dataset, paths.recipe, asset) if part)
