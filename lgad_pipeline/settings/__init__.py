"""lgad.yaml: the one file in which a user describes data sets and recipes."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Self, TypeVar

from pydantic import Field, PrivateAttr, TypeAdapter, ValidationError, model_validator

from lgad_pipeline.config.base import BaseConfig
from lgad_pipeline.config.datasets import (
    AnyDataset,
    Bdd100kDataset,
    CulaneDataset,
    Dataset,
    DatasetEntry,
    FolderDataset,
    LlamasDataset,
    SyntheticDataset,
    TusimpleDataset,
)
from lgad_pipeline.config.mistakes import shown
from lgad_pipeline.config.network import NetworkChoice
from lgad_pipeline.config.promotion import PromotionConfig
from lgad_pipeline.config.recipe import Recipe
from lgad_pipeline.config.schedule import NotifyConfig
from lgad_pipeline.config.store_address import Address
from lgad_pipeline.config.trainer import TrainerConfig
from lgad_pipeline.errors import LgadError
from lgad_pipeline.settings.clashes import clashes
from lgad_pipeline.settings.contents import SettingsFiles
from lgad_pipeline.settings.yaml_files import local_path

__all__ = [
    "AnyDataset",
    "Bdd100kDataset",
    "CulaneDataset",
    "Dataset",
    "FolderDataset",
    "LlamasDataset",
    "NetworkChoice",
    "Recipe",
    "Settings",
    "SyntheticDataset",
    "TusimpleDataset",
    "local_path",
    "settings_path",
]

Name = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9_-]*$", max_length=64)]
T = TypeVar("T")
_DATASETS = TypeAdapter(dict[Name, DatasetEntry])
_NAME = TypeAdapter(Name)


class Settings(BaseConfig):
    '''Contents of lgad.yaml, validated.

    Attributes:
        datasets: usable data sets by name; the name is part of paths, partitions and models.
        recipes: recipes by name; with the key `extends`, a recipe inherits the keys of the one it names.
        notify: command that is run when a run fails for good, and when a champion changes.
        owner: name that this project's shards and registered models carry in a store or on an MLflow server
            that others use too. Checkouts of one project that share them need the same name; without one,
            each state folder has a random name of its own.
        promotion: rule by which a new version of a model becomes champion.
        store: folder of an object store that all results are copied to, such as s3://bucket/project, so that
            steps on other machines continue with them; the state folder of each machine is then a cache.
            Without one, results stay in the state folder.
        shard_cache_gb: limit of the shards on each machine, in 10^9 bytes, for data sets that do not fit its
            disk: shards then stay in the store, and are downloaded as the batches need them. If the training
            frames are more, the trainings need the key `shuffle_window`. Without a limit, all shards are
            downloaded.
        trainer: devices of the trainings that Dagster starts.

    Example:
        >>> path = Path("lgad.yaml")
        >>> _ = path.write_text("""
        ... datasets:
        ...   synthetic: {kind: synthetic, image_size: [80, 256], lane_width: 32}
        ... recipes:
        ...   enet: {network: {name: enet}, teacher: {steps: 150}, student: {steps: 600}}
        ... """)
        >>> Settings.load(path).recipe("enet").student.steps
        600
    '''

    datasets: dict[str, AnyDataset]
    recipes: dict[Name, Recipe] = Field(min_length=1)
    notify: NotifyConfig | None = None
    owner: Name | None = None
    promotion: PromotionConfig = PromotionConfig()
    store: Address | None = None
    shard_cache_gb: float | None = Field(default=None, gt=0)
    trainer: TrainerConfig = TrainerConfig()
    _broken: dict[str, str] = PrivateAttr(default_factory=dict)

    @model_validator(mode="after")
    def _store_is_shared(self) -> Self:
        if "@" in (self.store or ""):
            raise ValueError("store holds credentials; take them out, the store reads the environment's")
        if self.store is not None and self.owner is None:
            raise ValueError("store needs the key owner, the name of this project on all machines; add it")
        stored = self.store or any(entry.shards for entry in self.datasets.values())
        if self.shard_cache_gb is not None and not stored:
            raise ValueError("shard_cache_gb needs the key store, from which shards are downloaded; add it")
        return self

    @classmethod
    def load(cls, path: Path) -> Self:
        """Read lgad.yaml, and lgad.local.yaml next to it, whose values replace those of the first.

        The data set `synthetic` exists without an entry; an entry of that name replaces it. A data set with a
        mistake in its entry is not in `datasets`; its error is in `broken`. Other data sets are not affected.

        Raises:
            LgadError: a file cannot be read, is not YAML, or has a wrong key or value outside `datasets`; the
                error has one sentence for each mistake, with key and remedy.
        """
        files = SettingsFiles(path)
        mistakes: dict[str, list[str]] = {}
        for name, mistake in files.switched_on(cls):
            mistakes.setdefault(name, []).append(mistake)
        content = files.complete()
        try:
            content["datasets"], broken = _valid_datasets(content["datasets"], files, cls)
            settings = cls.model_validate(content)
        except ValidationError as error:
            raise LgadError("\n".join(files.sentences(error, cls))) from error
        recipes = settings.recipes
        for mistake in (*files.replaced_weights(recipes), *files.without_lanes(recipes)):
            mistakes.setdefault("", []).append(mistake)
        if "" in mistakes:
            raise LgadError("\n".join(mistakes[""]))
        for name, sentences in broken.items():
            mistakes.setdefault(name, []).extend(sentences)
        for name, mistake in _conflicts(settings, files).items():
            mistakes.setdefault(name, []).append(mistake)
        for name, sentences in mistakes.items():
            settings.datasets.pop(name, None)
            settings._broken[name] = "\n".join(sentences)
        for name, comment in files.comments().items():
            entry = settings.datasets.get(name)
            if isinstance(entry, FolderDataset):  # for the message if there is no such folder
                entry.note_comment(comment)
        return settings

    @classmethod
    def from_environment(cls) -> Self:
        """Read the file that LGAD_SETTINGS names, or lgad.yaml in the working directory."""
        return cls.load(settings_path())

    @property
    def broken(self) -> Mapping[str, str]:
        """Data sets with mistakes in their entry, each with a sentence for every mistake."""
        return self._broken

    @property
    def dataset_names(self) -> list[str]:
        """Sorted names of all data sets, including those with a broken entry, without invalid names."""
        return sorted([*self.datasets, *(name for name in self._broken if _is_name(name))])

    def dataset(self, name: str) -> AnyDataset:
        """Return the data set of that name.

        Raises:
            LgadError: its entry is broken, or there is none of that name; the error lists the data sets.
        """
        if name in self._broken:
            raise LgadError(self._broken[name])
        invalid = [sentence for key, sentence in self._broken.items() if not _is_name(key)]
        if name not in self.datasets and invalid:  # YAML reads names such as `on` as another value
            raise LgadError("\n".join(invalid))
        return _entry("data set", name, self.datasets)

    def retrained(self, dataset: str) -> tuple[str, ...]:
        """Return the recipes that are retrained automatically when a data set has changed."""
        retrain = self.dataset(dataset).retrain
        return () if retrain is None else retrain.recipes or tuple(sorted(self.recipes))

    def suggesting_recipe(self, dataset: str) -> str:
        """Return the recipe whose students suggest frames of a data set."""
        suggest = self.dataset(dataset).suggest
        named = suggest.recipe if suggest else None
        return named or next(iter(self.retrained(dataset)), min(self.recipes))

    def recipe(self, name: str) -> Recipe:
        """Return the recipe of that name.

        Raises:
            LgadError: there is none of that name; the error lists the recipes.
        """
        return _entry("recipe", name, self.recipes)


def settings_path() -> Path:
    """Return the settings file in use: LGAD_SETTINGS, or lgad.yaml in the working directory."""
    return Path(os.environ.get("LGAD_SETTINGS") or "lgad.yaml").expanduser().resolve()


def _valid_datasets(
    entries: Any, files: SettingsFiles, model: type[Settings]
) -> tuple[Any, dict[str, list[str]]]:
    """Validate each data set on its own; return the valid ones, and the sentences of the broken ones."""
    if not isinstance(entries, Mapping):
        return entries, {}
    good: dict[str, AnyDataset] = {}
    bad: dict[str, list[str]] = {}
    for name, entry in entries.items():
        if not isinstance(name, str):
            file = files.file_of(("datasets", name))
            bad[str(name)] = [
                f"{file}: datasets has the name {shown(name)}, which YAML does not read as text; "
                "put the name in quotes."
            ]
            continue
        try:
            good |= _DATASETS.validate_python({name: entry})
        except ValidationError as error:
            bad[str(name)] = list(files.sentences(error, model, "datasets"))
    return good, bad


def _conflicts(settings: Settings, files: SettingsFiles) -> dict[str, str]:
    """Return the mistakes of data sets in relation to recipes and other data sets."""
    mistakes = {
        name: f"{files.file_of(('datasets', name))}: datasets.{name} {reason}."
        for name, reason in clashes(settings.datasets, settings.recipes).items()
    }
    for name, entry in settings.datasets.items():
        retrained = entry.retrain.recipes if entry.retrain else ()
        suggesting = (entry.suggest.recipe,) if entry.suggest and entry.suggest.recipe else ()
        for end, named in ((("retrain", "recipes"), retrained), (("suggest", "recipe"), suggesting)):
            keys = ("datasets", name, *end)
            if unknown := set(named) - set(settings.recipes):
                mistakes[name] = (
                    f"{files.file_of(keys)}: {'.'.join(keys)} names {', '.join(sorted(unknown))}; "
                    f"the recipes are {', '.join(sorted(settings.recipes))}."
                )
    return mistakes


def _is_name(name: str) -> bool:
    try:
        return bool(_NAME.validate_python(name))
    except ValidationError:
        return False


def _entry(kind: str, name: str, entries: Mapping[str, T]) -> T:
    if name not in entries:
        raise LgadError(f"lgad.yaml has no {kind} {shown(name)}; it has {', '.join(sorted(entries))}.")
    return entries[name]
