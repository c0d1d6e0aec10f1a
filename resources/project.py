"""Dagster resource of the project: settings of lgad.yaml, and the paths of the results."""

import os
from functools import cached_property
from hashlib import blake2b
from pathlib import Path
from uuid import uuid4

import dagster as dg
from pydantic import Field

from lgad_pipeline.atomic_files import locked, write_text
from lgad_pipeline.config.recipe import REGISTERED
from lgad_pipeline.config.store_address import below
from lgad_pipeline.config.training import WITHOUT_EFFECT
from lgad_pipeline.errors import LgadError
from lgad_pipeline.networks.source import source_digest
from lgad_pipeline.settings import AnyDataset, FolderDataset, Recipe, Settings
from resources.paths import ProjectPaths, rendered_frames


class Project(dg.ConfigurableResource):
    """Data sets and recipes of lgad.yaml, and the state root, the directory of all results."""

    file: str = Field(description="Absolute path of lgad.yaml.")

    @cached_property
    def settings(self) -> Settings:
        """Contents of lgad.yaml, validated."""
        return Settings.load(Path(self.file))

    @property
    def folder(self) -> Path:
        """Directory of lgad.yaml."""
        return Path(self.file).parent

    @property
    def state(self) -> Path:
        """State root, the directory of all results: LGAD_STATE, or `.lgad` next to lgad.yaml."""
        return Path(os.environ.get("LGAD_STATE") or self.folder / ".lgad").expanduser().resolve()

    def dataset(self, name: str) -> AnyDataset:
        """Return the entry of a data set."""
        return self.settings.dataset(name)

    def recipe(self, name: str) -> Recipe:
        """Return the entry of a recipe."""
        return self.settings.recipe(name)

    def paths(self, dataset: str, recipe: str = "") -> ProjectPaths:
        """Return the paths of the results of a data set, or of a recipe on it."""
        entry = self.dataset(dataset)
        root = entry.root if isinstance(entry, FolderDataset) else rendered_frames(self.state, dataset)
        store = self.settings.store
        shards = entry.shards or (below(store, f"shards/{dataset}") if store else None)
        limit = self.settings.shard_cache_gb
        return ProjectPaths(
            self.state,
            root,
            dataset,
            recipe,
            has_lane_files=entry.lane_files,
            store=shards,
            owner=self.owner if shards else "",
            results=below(store, "results") if store else None,
            kind=entry.kind,
            shard_limit=round(limit * 1e9) if limit and shards else None,
        )

    @property
    def owner(self) -> str:
        """Name of this project in stores and registries that it shares with other projects.

        It is `owner` in lgad.yaml; without this key it is a random name, kept below the state root.
        """
        return self.settings.owner or _kept_name(self.state / "owner")

    def promotion_lock(self, model: str) -> Path:
        """Return the directory that is locked while a champion of a registered model is chosen."""
        return self.state / "locks" / model

    def settings_digest(self, dataset: str, recipe: str = "") -> str:
        """Return the fingerprint of the settings of a data set and a recipe that change results.

        It also covers the source code of networks, losses and kinds of data sets that other packages define.
        """
        # `root` changes no result: the content of the frames is compared, and their directory may move.
        data = self.dataset(dataset)
        text = data.model_dump_json(exclude={"retrain", "root", "suggest"}) + source_digest(data.kind)
        if recipe:
            entry = _with_content_of_pretrained(self.recipe(recipe))
            keys = set(WITHOUT_EFFECT)
            # Of a network in a directory, the content counts; an alias may move without a new training.
            text += entry.model_dump_json(exclude={"teacher": keys, "student": keys, "init": True})
            text += _content_of(entry.init)
            names = (entry.network.name, entry.teachers_network.name, *entry.losses)
            text += "".join(map(source_digest, names))
        return blake2b(text.encode(), digest_size=8).hexdigest()


def _content_of(init: str | None) -> str:
    """Return the fingerprint of the directory that `init` names, or the address of a registered version."""
    from lgad_pipeline.networks.checkpoint import DamagedNetwork, network_digest

    if init is None or init.startswith(REGISTERED):
        return init or ""
    try:
        return network_digest(Path(init))
    except DamagedNetwork:
        return "missing"


def _with_content_of_pretrained(recipe: Recipe) -> Recipe:
    """Return a recipe with the fingerprint of the file `network.pretrained` in place of its path."""
    from lgad_pipeline.networks.pretrained import file_digest

    path = recipe.network.pretrained
    if path is None:
        return recipe
    try:
        content = file_digest(path)
    except LgadError:
        content = "missing"
    network = recipe.network.model_copy(update={"pretrained": Path(content)})
    return recipe.model_copy(update={"network": network})


def _kept_name(path: Path) -> str:
    """Return the name in a file; the first call writes a random name into it."""
    if not path.is_file():
        with locked(path.parent):
            if not path.is_file():
                write_text(path, uuid4().hex + "\n")
    return path.read_text(encoding="utf-8").strip()
