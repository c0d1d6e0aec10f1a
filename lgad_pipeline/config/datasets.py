"""Settings of data sets: one class for each `kind`."""

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal, Self, get_args

from pydantic import (
    AliasChoices,
    Discriminator,
    Field,
    PrivateAttr,
    Tag,
    field_validator,
    model_validator,
)

from lgad_pipeline.config.base import FolderPath, LaterKeysConfig, Share
from lgad_pipeline.config.frame_sizes import CULANE_FRAME, TUSIMPLE_FRAME
from lgad_pipeline.config.lane_types import LaneTypes
from lgad_pipeline.config.schedule import RetrainConfig
from lgad_pipeline.config.slots import SlotScheme
from lgad_pipeline.config.store_address import Address
from lgad_pipeline.config.suggestion import SuggestConfig
from lgad_pipeline.config.synthetic import SyntheticConfig
from lgad_pipeline.errors import LgadError
from lgad_pipeline.view import View

_LEAST_COLUMNS = 3  # width of a lane in the label map at image_size, pixels, of which no part vanishes

Size = tuple[Annotated[int, Field(ge=16, le=16384)], Annotated[int, Field(ge=16, le=16384)]]


class Dataset(LaterKeysConfig):
    """Settings of every data set: sizes of frames and images, labels, shards, and automatic retraining.

    Attributes:
        frame_size: [height, width] of the camera frames, pixels.
        image_size: [height, width] that the networks train at, pixels; multiples of 8.
        crop_top: frame rows cut off at the top before resizing, pixels.
        lane_width: width at which lanes are drawn into the label maps, frame pixels (official: 16). It should
            be at least 3 px wide at image_size, or thin lanes vanish in the reduction.
        slots: number of lane slots, an even number: half of them are to the left of the car, half to the
            right. CULane has 4; lanes that fit into no slot are not labelled.
        label_rows: rows from the bottom up on which lanes are labelled; CULane labels 35, so nothing in the
            upper two fifths.
        row_divisions: the label rows are 1 / row_divisions of the frame's height apart.
        lane_types: types of lanes that networks tell apart, such as [solid, dashed]; none: they predict no
            type. A lane has the type whose words are all in its annotation: "dashed white" is dashed. Where
            several names fit, the one of most words counts.
        jpeg_quality: quality of the images in the shards, 1..100; 85 needs 60 % of the space of 95.
        shards: folder of an object store that the packed shards are copied to and read from, such as
            s3://bucket/my_drives, used by this data set alone; none: they stay on this machine.
        max_rejected: largest share of the listed frames that may be rejected before ingestion fails, 0..1.
            Settings files of version 0.1 name it max_set_aside, which is read, too.
        follow_links: frames and lane files may be links that lead out of the folder, for instance to another
            disk. Otherwise such frames are rejected, so that a data set from elsewhere reads nothing outside.
        retrain: schedule and recipes of automatic retraining; none unless given.
        suggest: folder of frames without labels, of which those to label next are suggested; none unless
            given.
    """

    later_keys = ("lane_types",)
    lane_files: ClassVar[bool] = False
    """True if every frame has a `.lines.txt` next to it."""

    frame_size: Size = CULANE_FRAME
    image_size: Size = (288, 800)
    crop_top: int = Field(0, ge=0)
    lane_width: int = Field(16, ge=1, le=128)
    slots: int = Field(4, ge=2, le=16)
    label_rows: int = Field(35, ge=2, le=1000)
    row_divisions: int = Field(59, ge=2, le=1000)
    lane_types: LaneTypes = ()
    jpeg_quality: int = Field(95, ge=1, le=100)
    shards: Address | None = None
    max_rejected: Share = Field(0.1, validation_alias=AliasChoices("max_rejected", "max_set_aside"))
    follow_links: bool = False
    retrain: RetrainConfig | None = None
    suggest: SuggestConfig | None = None

    @field_validator("slots")
    @classmethod
    def _is_even(cls, slots: int) -> int:
        if slots % 2:
            raise ValueError(
                f"it must be even; write {slots + 1}, because half of the slots are left of the car"
            )
        return slots

    @model_validator(mode="after")
    def _sizes_agree(self) -> Self:
        if self.label_rows > self.row_divisions:
            raise ValueError(f"label_rows {self.label_rows} is above row_divisions {self.row_divisions}")
        if any(side % 8 for side in self.image_size):
            raise ValueError(f"image_size {list(self.image_size)} must be multiples of 8, the stride")
        if self.crop_top >= self.frame_size[0]:
            raise ValueError(f"crop_top {self.crop_top} leaves nothing of {self.frame_size[0]} px")
        height, width = self.image_size
        if height > width and self.frame_size[0] - self.crop_top < self.frame_size[1]:
            raise ValueError(
                f"image_size [{height}, {width}] is higher than wide, and the frame is not; write height, "
                f"then width: [{width}, {height}]"
            )
        if "@" in (self.shards or ""):  # checked here, where the message does not show the value
            raise ValueError("shards holds credentials; take them out, the store reads the environment's")
        return self

    @property
    def slot_scheme(self) -> SlotScheme:
        """Number of slots, and rows on which lanes are labelled."""
        return SlotScheme(self.slots, self.label_rows, self.row_divisions)

    @property
    def view(self) -> View:
        """Crop and scaling from a frame to the networks' input."""
        return View(self.frame_size, self.image_size, self.crop_top)

    @property
    def thin_lanes(self) -> str:
        """Warning, a sentence, if lanes are so thin at `image_size` that parts of them vanish; else empty."""
        scale = self.view.scale[0]
        least = min(math.ceil(_LEAST_COLUMNS * scale), 128)  # the largest valid width
        if self.lane_width >= least:
            return ""
        return (
            f"lane_width {self.lane_width} is {self.lane_width / scale:.1f} px at image_size, and parts of "
            f"lanes thinner than {_LEAST_COLUMNS} px vanish; set lane_width to {least}."
        )


class SyntheticDataset(Dataset):
    """The embedded procedural road world, rendered on first use."""

    lane_files = True

    kind: Literal["synthetic"]
    world: SyntheticConfig = SyntheticConfig()


class FolderDataset(Dataset):
    """A data set on disk, which is only read.

    Attributes:
        kind: layout of its lists and annotations.
        root: folder of the data set; relative paths are relative to the settings file. The
            folder may be missing while the settings are read, so that a disk that is not mounted stops this
            data set alone.
        licence: licence of the frames, a sentence for the model cards.
    """

    kind: str
    root: FolderPath
    licence: str = ""
    _comment: str = PrivateAttr("")  # YAML comment behind the root, which may belong to it

    def require_root(self) -> Path:
        """Return the folder of the data set.

        Raises:
            LgadError: it does not exist, is not a folder, or cannot be looked into.
        """
        try:
            if self.root.is_dir():
                next(self.root.iterdir(), None)
                return self.root
            reason = "there is no such folder"
        except (OSError, ValueError) as error:
            reason = str(getattr(error, "strerror", None) or error)
        remedy = "mount its disk, or correct `root` of this data set"
        if self._comment:
            remedy += (
                f" ({self._comment!r} behind it is a comment in YAML; quote the path if it is part of it)"
            )
        raise LgadError(f"{self.root} cannot be read ({reason}); {remedy}.")

    def note_comment(self, comment: str) -> None:
        """Keep the YAML comment behind the root for the message of `require_root`."""
        self._comment = comment


class CulaneDataset(FolderDataset):
    """A data set in CULane's layout: frames with a `.lines.txt` next to each, and `list/`."""

    lane_files = True

    kind: Literal["culane"]


class TusimpleDataset(FolderDataset):
    """TuSimple's lane challenge: `label_data_*.json`, `test_label.json`, `clips/`.

    Its lanes are annotated on rows 160, 170 ... 710 of 720, and these are the label rows. It has up to five
    lanes a frame, so that there are six slots.
    """

    kind: Literal["tusimple"]
    frame_size: Size = TUSIMPLE_FRAME
    slots: int = Field(6, ge=2, le=16)
    label_rows: int = Field(57, ge=2, le=1000)
    row_divisions: int = Field(72, ge=2, le=1000)


class Bdd100kDataset(FolderDataset):
    """BDD100K: `images/100k/`, and lane markings in `labels/lane/polygons/`."""

    kind: Literal["bdd100k"]
    frame_size: Size = (720, 1280)


class LlamasDataset(FolderDataset):
    """LLAMAS: `color_images/` and `labels/`."""

    kind: Literal["llamas"]
    frame_size: Size = (717, 1276)


class CurvelanesDataset(FolderDataset):
    """CurveLanes: `train/` and `valid/` with `images/`, `labels/` and a list each.

    Most frames have 1440 x 2560 px; those of other sizes are rejected, so that `max_rejected` must allow for
    them. It has up to 14 lanes a frame, also of other roads.
    """

    kind: Literal["curvelanes"]
    frame_size: Size = (1440, 2560)
    slots: int = Field(8, ge=2, le=16)


class Vil100Dataset(FolderDataset):
    """VIL-100: `JPEGImages/`, `Json/` and `data/db_info.yaml`.

    Videos have eight sizes; those of another size than `frame_size` are rejected, so that `max_rejected` must
    allow for them.
    """

    kind: Literal["vil100"]
    frame_size: Size = (1080, 1920)
    slots: int = Field(6, ge=2, le=16)


class ImportedDataset(FolderDataset):
    """A data set of a kind from another package, whose reader is named by its import path.

    Attributes:
        kind: import path of the reader, such as mypackage.kinds:MyReader.
    """

    kind: str = Field(pattern=r"^[A-Za-z_][\w.]*:[A-Za-z_]\w*$")


AnyDataset = (
    SyntheticDataset
    | CulaneDataset
    | TusimpleDataset
    | Bdd100kDataset
    | LlamasDataset
    | CurvelanesDataset
    | Vil100Dataset
    | ImportedDataset
)

IMPORTED_KIND = "package.module:Reader"
"""Key of `DATASET_KINDS` for every import path."""

DATASET_KINDS: Mapping[str, type[Dataset]] = {
    next(iter(get_args(kind.model_fields["kind"].annotation)), IMPORTED_KIND): kind
    for kind in get_args(AnyDataset)
}
"""The class of each `kind`."""


def kind_name(entry: Any) -> Any:
    """Return the key of `DATASET_KINDS` for an entry of lgad.yaml; None if the entry names no kind."""
    if not isinstance(entry, Mapping | Dataset):
        return "culane"  # any class refuses such an entry, and says that it has no keys
    kind = entry.get("kind") if isinstance(entry, Mapping) else getattr(entry, "kind", None)
    return IMPORTED_KIND if isinstance(kind, str) and ":" in kind else kind


DatasetEntry = Annotated[
    Annotated[SyntheticDataset, Tag("synthetic")]
    | Annotated[CulaneDataset, Tag("culane")]
    | Annotated[TusimpleDataset, Tag("tusimple")]
    | Annotated[Bdd100kDataset, Tag("bdd100k")]
    | Annotated[LlamasDataset, Tag("llamas")]
    | Annotated[CurvelanesDataset, Tag("curvelanes")]
    | Annotated[Vil100Dataset, Tag("vil100")]
    | Annotated[ImportedDataset, Tag(IMPORTED_KIND)],
    Discriminator(kind_name),
]
"""An entry of lgad.yaml, whose class is chosen by its `kind`."""
