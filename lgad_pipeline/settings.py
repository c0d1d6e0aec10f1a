"""lgad.yaml: the one place where a user writes data sets and recipes."""

import difflib
import os
import reprlib
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal, Self, TypeVar, get_args

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from lgad_pipeline.data.config import AugmentationConfig
from lgad_pipeline.data.synthetic.config import SyntheticConfig
from lgad_pipeline.distillation.config import DistillationConfig, LabelInputConfig, LogitsConfig, SadConfig
from lgad_pipeline.errors import LgadError
from lgad_pipeline.evaluation.config import PromotionConfig
from lgad_pipeline.lanes.config import DecodeConfig
from lgad_pipeline.lanes.view import View
from lgad_pipeline.models.spec import NetworkSpec, allow_networks
from lgad_pipeline.retraining import NotifyConfig, RetrainConfig
from lgad_pipeline.training.config import TrainingConfig

Name = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9_-]*$")]
T = TypeVar("T")
_MOST_ALIASES = 32  # nested ones multiply: thirty-two can make 100,000 values of one, sixty-four 10^10
Size = tuple[Annotated[int, Field(ge=16, le=16384)], Annotated[int, Field(ge=16, le=16384)]]


class _Entry(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Dataset(_Entry):
    """What every data set says of itself: where the frames look and how large they are trained on.

    Attributes:
        frame_size: [height, width] of the camera frames, pixels.
        image_size: [height, width] that the networks train at, pixels; multiples of 8.
        crop_top: frame rows cut off at the top before resizing, pixels.
        lane_width: width at which lanes are drawn into the label maps, frame pixels (official: 16). It should
            be at least 3 px wide at image_size, or thin lanes vanish in the reduction.
        label_rows: rows from the bottom up on which lanes are labelled, every 1/59 of the frame's height;
            CULane labels 35, so nothing in the upper two fifths.
        jpeg_quality: of the images in the shards, 1..100; 85 takes 60 % of the room of 95.
        shards: a folder of a store that the packed shards are copied to and read from, such as
            s3://bucket/my_drives; none: they stay on this machine.
        max_set_aside: largest share of the listed frames that may be set aside before ingestion fails.
        retrain: when its models are trained anew without being asked; never unless given.
    """

    lane_files: ClassVar[bool] = False
    """Whether every frame has a `.lines.txt` beside it."""

    frame_size: Size = (590, 1640)
    image_size: Size = (288, 800)
    crop_top: int = Field(0, ge=0)
    lane_width: int = Field(16, ge=1, le=128)
    label_rows: int = Field(35, ge=2, le=59)
    jpeg_quality: int = Field(95, ge=1, le=100)
    shards: str | None = None
    max_set_aside: float = Field(0.1, ge=0, le=1)
    retrain: RetrainConfig | None = None

    @field_validator("shards")
    @classmethod
    def _is_address(cls, shards: str | None) -> str | None:
        if shards is not None and "://" not in shards:
            raise ValueError("write the address of a store, such as s3://bucket/folder")
        return shards

    @model_validator(mode="after")
    def _sizes_agree(self) -> Self:
        if any(side % 8 for side in self.image_size):
            raise ValueError(f"image_size {list(self.image_size)} must be multiples of 8, the stride")
        if self.crop_top >= self.frame_size[0]:
            raise ValueError(f"crop_top {self.crop_top} leaves nothing of {self.frame_size[0]} px")
        if "@" in (self.shards or ""):  # checked here, where the message does not show the value
            raise ValueError("shards holds credentials; take them out, the store reads the environment's")
        return self

    @property
    def view(self) -> View:
        """How its frames become the networks' input."""
        return View(self.frame_size, self.image_size, self.crop_top)


class SyntheticDataset(Dataset):
    """The embedded procedural road world, rendered on first use."""

    lane_files = True

    kind: Literal["synthetic"]
    world: SyntheticConfig = SyntheticConfig()


class FolderDataset(Dataset):
    """A data set on disk, which is only read.

    Attributes:
        kind: which module reads its lists and annotations.
        root: its folder; relative paths are relative to lgad.yaml.
        licence: of its frames, a sentence for the model cards.
    """

    kind: str
    root: Path
    licence: str = ""

    @field_validator("root")
    @classmethod
    def _exists(cls, root: Path) -> Path:
        if not root.is_dir():
            raise ValueError("there is no such folder; name the one that holds the data set")
        return root


class CulaneDataset(FolderDataset):
    """A data set in CULane's layout: frames with `.lines.txt` beside them, and `list/`."""

    lane_files = True

    kind: Literal["culane"]


class TusimpleDataset(FolderDataset):
    """TuSimple's lane challenge: `label_data_*.json`, `test_label.json`, `clips/`.

    Its lanes are annotated from row 160 of 720 downward, so more rows are labelled than CULane has.
    """

    kind: Literal["tusimple"]
    frame_size: Size = (720, 1280)
    label_rows: int = Field(46, ge=2, le=59)


class Bdd100kDataset(FolderDataset):
    """BDD100K: `images/100k/`, and lane markings in `labels/lane/polygons/`."""

    kind: Literal["bdd100k"]
    frame_size: Size = (720, 1280)


class LlamasDataset(FolderDataset):
    """LLAMAS: `color_images/` and `labels/`."""

    kind: Literal["llamas"]
    frame_size: Size = (717, 1276)


AnyDataset = SyntheticDataset | CulaneDataset | TusimpleDataset | Bdd100kDataset | LlamasDataset


class NetworkChoice(_Entry):
    """Which network, and how wide.

    Attributes:
        name: a network of this package (enet), or the import path of one's own, `package.module:Class`.
        width: multiplies the channels of every layer.
        zero_init_residual: residual branches start at zero, which learns several times faster; False for the
            start that ENet and ERFNet were published with.
        pretrained: file of torchvision's resnet18 or resnet34 with ImageNet weights, for students.
    """

    name: str = "enet"
    width: float = Field(default=1.0, gt=0)
    zero_init_residual: bool = True
    pretrained: Path | None = None

    @field_validator("name")
    @classmethod
    def _allowed(cls, name: str) -> str:
        allow_networks(name)  # folders of trained networks may name the class now, too
        return name

    def spec(self, image_size: tuple[int, int]) -> NetworkSpec:
        """The network at a size (H, W) of its input, pixels."""
        return NetworkSpec(
            name=self.name,
            width=self.width,
            image_size=image_size,
            zero_init_residual=self.zero_init_residual,
        )


class Recipe(_Entry):
    """How a student is made: the network, its teacher, the distillation, the way back to lanes.

    Attributes:
        network: of the student, and of the teacher unless `teacher_network` says otherwise.
        teacher: training of the teacher.
        student: training of both students, alone and with LGAD; they differ in nothing but the distillation.
        teacher_network: of the teacher, where it is another than the student's.
        teacher_input: what the teacher reads of a label map, and how that is spoiled in training.
        distillation: LGAD: attention maps, mimicking paths and the weight of their loss.
        sad: self attention distillation, for comparison.
        logits: logits distillation, for comparison.
        augmentation: of the students' batches.
        decode: probability maps to lanes.
    """

    network: NetworkChoice = NetworkChoice()
    teacher_network: NetworkChoice | None = None
    teacher: TrainingConfig
    teacher_input: LabelInputConfig = LabelInputConfig()
    student: TrainingConfig
    distillation: DistillationConfig = DistillationConfig()
    sad: SadConfig = SadConfig()
    logits: LogitsConfig = LogitsConfig()
    augmentation: AugmentationConfig = AugmentationConfig()
    decode: DecodeConfig = DecodeConfig()

    @property
    def teachers_network(self) -> NetworkChoice:
        """The teacher's network: its own, or the student's."""
        return self.teacher_network or self.network


class Settings(_Entry):
    """The whole of lgad.yaml, validated.

    Attributes:
        datasets: by name; the name is part of paths, partitions and models.
        recipes: by name.
        notify: who is told when a run fails.
        owner: name that this project's shards and registered models carry in a store or on an MLflow server
            that others use too. Checkouts of one project that share them need the same name; without one,
            each state folder has a random name of its own.
    """

    datasets: dict[Name, Annotated[AnyDataset, Field(discriminator="kind")]]
    recipes: dict[Name, Recipe] = Field(min_length=1)
    notify: NotifyConfig | None = None
    owner: Name | None = None
    promotion: PromotionConfig = PromotionConfig()

    @classmethod
    def load(cls, path: Path) -> Self:
        """Read lgad.yaml.

        The embedded data set `synthetic` is there without an entry; an entry of that name replaces it.

        Raises:
            LgadError: the file is missing, is no YAML, or holds a wrong key or value; every mistake is named
                with its key and the remedy.
        """
        content = _read(path)
        if not isinstance(content, Mapping):
            raise LgadError(f"{path} holds no keys; give it `datasets:` and `recipes:`.")
        content = {**content, "datasets": _with_roots(content.get("datasets"), path.parent)}
        try:
            settings = cls.model_validate(content)
        except ValidationError as error:
            raise LgadError("\n".join(_sentence(path.name, details) for details in error.errors())) from error
        for name in settings.datasets:
            unknown = set(settings.retrained(name)) - set(settings.recipes)
            if unknown:
                raise LgadError(
                    f"{path.name}: datasets.{name}.retrain.recipes names {', '.join(sorted(unknown))}; "
                    f"the recipes are {', '.join(sorted(settings.recipes))}."
                )
        return settings

    @classmethod
    def from_environment(cls) -> Self:
        """Read the file that LGAD_SETTINGS names, or lgad.yaml in the working directory."""
        return cls.load(settings_path())

    def dataset(self, name: str) -> AnyDataset:
        """The data set of that name; LgadError names the ones there are."""
        return _entry("data set", name, self.datasets)

    def retrained(self, dataset: str) -> tuple[str, ...]:
        """The recipes that are trained anew by themselves when a data set has changed."""
        retrain = self.dataset(dataset).retrain
        return () if retrain is None else retrain.recipes or tuple(sorted(self.recipes))

    def recipe(self, name: str) -> Recipe:
        """The recipe of that name; LgadError names the ones there are."""
        return _entry("recipe", name, self.recipes)


def settings_path() -> Path:
    """The settings file in use: LGAD_SETTINGS, or lgad.yaml in the working directory."""
    return Path(os.environ.get("LGAD_SETTINGS", "lgad.yaml")).resolve()


def _read(path: Path) -> object:
    """The values of a YAML file, with no more aliases in it than can do harm.

    Raises:
        LgadError: it cannot be read, or is no YAML.
    """
    try:
        text = path.read_text(encoding="utf-8")
        # LibYAML bounds the depth of nesting, which takes the other loader quadratic time.
        aliases = sum(isinstance(event, yaml.AliasEvent) for event in yaml.parse(text, yaml.CSafeLoader))
        if aliases > _MOST_ALIASES:
            raise LgadError(f"{path} has more than {_MOST_ALIASES} aliases (*name); write some of them out.")
        return yaml.load(text, yaml.CSafeLoader)
    except OSError as error:
        raise LgadError(
            f"{path} cannot be read ({error.strerror}); run in the project's folder or name it in "
            "the environment variable LGAD_SETTINGS."
        ) from error
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        place = " ".join(str(error).split())
        raise LgadError(f"{path} is not valid YAML: {place}; correct the line named.") from error


def _entry(kind: str, name: str, entries: Mapping[str, T]) -> T:
    if name not in entries:
        raise LgadError(f"lgad.yaml has no {kind} '{name}'; it has {', '.join(sorted(entries))}.")
    return entries[name]


def _with_roots(datasets: object, folder: Path) -> object:
    """Add the embedded data set and make roots absolute; what is no mapping is left for the validation."""
    if datasets is None:
        datasets = {}
    if not isinstance(datasets, Mapping):
        return datasets
    rooted: dict[Any, Any] = {"synthetic": {"kind": "synthetic"}}
    for name, entry in datasets.items():
        if isinstance(entry, Mapping) and isinstance(entry.get("root"), str):
            entry = {**entry, "root": folder / Path(entry["root"]).expanduser()}
        rooted[name] = entry
    return rooted


def _sentence(file: str, details: Any) -> str:
    """One mistake as one sentence: file and key, what is wrong, the remedy."""
    location = [part for part in details["loc"] if part != "[key]"]
    if details["loc"][0] == "datasets":  # behind the name of a data set, pydantic names its kind
        location = [part for index, part in enumerate(details["loc"]) if index != 2]
    key = ".".join(str(part) for part in location)
    if details["type"] == "extra_forbidden":
        known = _known_keys(details["loc"][:-1])
        near = difflib.get_close_matches(str(location[-1]), known, n=1)
        remedy = f"did you mean {near[0]}?" if near else f"the keys here are {', '.join(known)}."
        return f"{file}: {key} is not a known key; {remedy}"
    if details["type"] in ("missing", "union_tag_not_found"):
        missing = f"{key}.kind" if details["type"] == "union_tag_not_found" else key
        return f"{file}: {missing} is missing; add it."
    if details["type"] == "union_tag_invalid":
        kinds = details["ctx"]["expected_tags"]
        return f"{file}: {key}.kind is {details['ctx']['tag']!r}; the kinds are {kinds}."
    reason = details["msg"].removeprefix("Value error, ")
    return f"{file}: {key}{_shown(details['input'])}: {reason[:1].lower()}{reason[1:]}."


def _shown(value: object) -> str:
    if isinstance(value, Mapping):  # its keys do not agree; the reason names them
        return ""
    return " is " + reprlib.repr(str(value) if isinstance(value, Path) else value)


def _kind(dataset: type[BaseModel]) -> str:
    return get_args(dataset.model_fields["kind"].annotation)[0]


def _known_keys(location: tuple[int | str, ...]) -> list[str]:
    """The keys of the entry that a validation error's location leads to."""
    model: type[BaseModel] = Settings
    if location[:1] == ("datasets",):
        model = next(kind for kind in get_args(AnyDataset) if _kind(kind) == location[2])
        location = location[3:]
    elif location[:1] == ("recipes",):
        model, location = Recipe, location[2:]
    for part in location:
        if isinstance(part, str):
            found = [model.model_fields[part].annotation, *get_args(model.model_fields[part].annotation)]
            model = next(kind for kind in found if isinstance(kind, type) and issubclass(kind, BaseModel))
    return list(model.model_fields)
