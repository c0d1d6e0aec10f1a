"""What lgad.yaml says, and where the results of each data set and recipe lie."""

import os
from dataclasses import dataclass
from functools import cached_property
from hashlib import blake2b
from pathlib import Path
from typing import TYPE_CHECKING
from uuid import uuid4

import dagster as dg
from pydantic import Field

from lgad_pipeline.atomic_files import locked, write_text
from lgad_pipeline.config.training import WITHOUT_EFFECT
from lgad_pipeline.networks.source import source_digest
from lgad_pipeline.settings import AnyDataset, FolderDataset, Recipe, Settings

if TYPE_CHECKING:
    from lgad_pipeline.data.shard_index import Origin


@dataclass(frozen=True)
class Place:
    """Where the results of one data set, or of one recipe on it, lie. Each path has the name of its asset."""

    state: Path
    data_root: Path  # the frames: the user's own folder, or the rendered world
    dataset: str
    recipe: str = ""
    lanes_beside_frames: bool = True
    store: str | None = None  # address of the store that the shards are copied to and read from
    owner: str = ""  # name of the project in that store

    @property
    def recordings(self) -> Path:
        """Folder of the frames; in CULane's layout the lane files lie there, too."""
        return self.data_root

    @property
    def annotations(self) -> Path:
        """Folder of the annotated lane files."""
        return self.data_root if self.lanes_beside_frames else self._data / "annotations"

    @property
    def frames(self) -> Path:
        """The frames table."""
        return self._data / "frames.parquet"

    @property
    def rejected(self) -> Path:
        """What ingestion could not use, and why."""
        return self._data / "rejected.parquet"

    @property
    def lane_labels(self) -> Path:
        """The lane labels."""
        return self._data / "labels.parquet"

    @property
    def packed(self) -> Path:
        """Folder that frames are packed into."""
        return self._data / "shards"

    @property
    def shards(self) -> Path:
        """Folder of packed frames to read from; what the store has and this machine lacks is fetched."""
        if self.store is None:
            return self.packed
        from lgad_pipeline.data.remote_shards import fetch

        return fetch(self.store, self.packed, self.origin)

    @property
    def origin(self) -> "Origin":
        """Whose frames the shards hold, as their index states it."""
        from lgad_pipeline.data.shard_index import Origin

        return Origin(self.owner, self.dataset)

    @property
    def teacher(self) -> Path:
        """Folder of the trained teacher."""
        return self.network("teacher")

    @property
    def student_alone(self) -> Path:
        """Folder of the student that learnt from labels alone."""
        return self.network("student_alone")

    @property
    def student_lgad(self) -> Path:
        """Folder of the student that learnt with attention distillation."""
        return self.network("student_lgad")

    @property
    def predictions(self) -> Path:
        """Folder of the lane files that both students wrote."""
        return self.state / "predictions" / self.dataset / self.recipe

    @property
    def lane_scores(self) -> Path:
        """Folder of the scores of both students."""
        return self.state / "scores" / self.dataset / self.recipe

    @property
    def gain(self) -> Path:
        """Folder of the paired trainings, and of what they gain."""
        return self.state / "gain" / self.dataset / self.recipe

    @property
    def onnx_graph(self) -> Path:
        """The student with LGAD as an ONNX graph."""
        return self.state / "exports" / self.dataset / self.recipe / "student.onnx"

    @property
    def report(self) -> Path:
        """The report, one HTML file."""
        return self.state / "reports" / f"{self.dataset}-{self.recipe}.html"

    def network(self, role: str) -> Path:
        """Folder of a trained network: teacher, student_alone or student_lgad."""
        return self.state / "models" / self.dataset / self.recipe / role

    @property
    def _data(self) -> Path:
        return self.state / "data" / self.dataset


class Project(dg.ConfigurableResource):
    """The data sets and recipes of lgad.yaml, and the folder where everything that is made lies."""

    file: str = Field(description="Absolute path of lgad.yaml.")

    @cached_property
    def settings(self) -> Settings:
        """The whole of lgad.yaml."""
        return Settings.load(Path(self.file))

    @property
    def folder(self) -> Path:
        """The folder of lgad.yaml; results are next to it."""
        return Path(self.file).parent

    @property
    def state(self) -> Path:
        """Folder of all results: LGAD_STATE, or `.lgad` next to lgad.yaml."""
        return Path(os.environ.get("LGAD_STATE") or self.folder / ".lgad").resolve()

    def dataset(self, name: str) -> AnyDataset:
        """The entry of a data set."""
        return self.settings.dataset(name)

    def recipe(self, name: str) -> Recipe:
        """The entry of a recipe."""
        return self.settings.recipe(name)

    def place(self, dataset: str, recipe: str = "") -> Place:
        """Where the results of a data set, or of a recipe on it, lie."""
        entry = self.dataset(dataset)
        rendered = self.state / "data" / dataset / "recordings"
        root = entry.root if isinstance(entry, FolderDataset) else rendered
        owner = self.owner if entry.shards else ""
        return Place(self.state, root, dataset, recipe, entry.lane_files, entry.shards, owner)

    @property
    def owner(self) -> str:
        """Name of this project in stores and registries that it shares with others.

        It is `owner` in lgad.yaml; without that, a random name, kept in the state folder.
        """
        return self.settings.owner or _kept_name(self.state / "owner")

    def promotion_lock(self, model: str) -> Path:
        """Folder that is held while it is decided which version of a registered model is in use."""
        return self.state / "locks" / model

    def settings_digest(self, dataset: str, recipe: str = "") -> str:
        """Fingerprint of what lgad.yaml says about a data set and a recipe, without what changes no result.

        Of a recipe it covers the source code of networks of one's own, too.
        """
        # The place of the frames changes no result, either: their content is compared, and both may move.
        text = self.dataset(dataset).model_dump_json(exclude={"retrain", "root"})
        if recipe:
            entry = self.recipe(recipe)
            keys = set(WITHOUT_EFFECT)
            text += entry.model_dump_json(exclude={"teacher": keys, "student": keys})
            text += source_digest(entry.network.name) + source_digest(entry.teachers_network.name)
        return blake2b(text.encode(), digest_size=8).hexdigest()


def _kept_name(path: Path) -> str:
    """The name in a file, which gets a random name on first use."""
    if not path.is_file():
        with locked(path.parent):
            if not path.is_file():
                write_text(path, uuid4().hex + "\n")
    return path.read_text(encoding="utf-8").strip()
