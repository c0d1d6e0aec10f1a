import numpy as np
import pandas as pd
import pytest
import torch
from pydantic import ValidationError

from assets.presentation.data_metadata import labelled_types, named_types
from lgad_pipeline.config.augmentation import AugmentationConfig, LabelNoiseConfig
from lgad_pipeline.config.datasets import CulaneDataset
from lgad_pipeline.data.augmentation import augment
from lgad_pipeline.data.frame_table import dataset_fingerprint, read_table, write_table
from lgad_pipeline.data.ingestion import ingest
from lgad_pipeline.data.label_noise import with_label_noise
from lgad_pipeline.data.lane_labels import assign_lane_slots, labels_schema, require_types
from lgad_pipeline.data.loader import Batch, collate
from lgad_pipeline.data.shards import ShardSet, pack_shards
from lgad_pipeline.errors import LgadError
from lgad_pipeline.lanes.lane_types import named_type, write_types
from lgad_pipeline.view import View

SIZE = (118, 328)
NAMES = ("solid", "dashed", "dashed yellow")


@pytest.mark.parametrize(
    ("annotated", "name", "reason"),
    [
        ("dashed white", "dashed", ""),
        ("yellow thin dashed", "dashed yellow", ""),  # more words than dashed
        ("solid", "solid", ""),
        ("solid dashed", "", "solid and dashed fit"),
        ("solid dashed yellow", "dashed yellow", ""),
        ("dashedwhite", "", "no name fits"),
        ("", "", "not annotated"),
    ],
)
def test_a_type_has_the_name_of_most_words_that_fits(annotated, name, reason):
    assert named_type(annotated, NAMES) == (name, reason)


@pytest.mark.parametrize(
    ("names", "sentence"),
    [
        (["solid", " "], r"it holds the name ''; write the words of a type, such as solid"),
        (["solid"], r"it names 'solid' alone; add the types to tell it from, or leave the key out"),
        (["solid white", "White  solid"], r"'solid white' and 'white solid' have the same words; remove one"),
        ([f"type {n}" for n in range(17)], r"it names 17 types; leave 16 of them at most"),
        (["solid", "x" * 61], r"has 61 characters; write 60 at most"),
    ],
)
def test_names_are_checked(names, sentence):
    with pytest.raises(ValidationError, match=sentence):
        CulaneDataset.model_validate({"kind": "culane", "root": "/data", "lane_types": names})


def test_settings_without_names_are_written_as_before():
    plain = {"kind": "culane", "root": "/data"}
    typed = CulaneDataset.model_validate({**plain, "lane_types": ["Solid", "dashed"]})
    assert typed.lane_types == ("solid", "dashed")
    assert typed.model_dump(exclude={"root"})["lane_types"] == ("solid", "dashed")
    assert "lane_types" not in CulaneDataset.model_validate(plain).model_dump_json()


@pytest.fixture
def typed(write_tree):
    """Frames whose left lane is dashed and whose right one is solid; one training frame has no types."""
    root = write_tree()
    for number in range(1, 5):
        write_types(root / f"drive/train.MP4/0000{number}.lines.txt", ["dashed white", "solid"])
    write_types(root / "drive/val.MP4/00000.lines.txt", ["botts dots", ""])
    frames = ingest(root, SIZE).frames
    return root, frames, assign_lane_slots(frames, lane_types=NAMES[:2])


def pack(root, frames, labels, output, **options) -> ShardSet:
    view = View(SIZE, (40, 128), 40)
    return pack_shards(
        frames, labels, root=root, output=output, view=view, lane_width=6, rows_per_shard=2, **options
    )


def test_labels_hold_the_type_of_each_slot(typed, tmp_path):
    _, frames, labels = typed
    schema = labels_schema(NAMES[:2])
    write_table(tmp_path / "labels.parquet", labels, schema=schema)
    for table in (labels, read_table(tmp_path / "labels.parquet")):
        types = [list(types) for types in table["types"]]
        assert types == [[""] * 4, *[["", "dashed", "solid", ""]] * 4, *[[""] * 4] * 5]
    assert "types" not in assign_lane_slots(frames)
    none = {"train": 0, "val": 0, "test": 0}
    assert labelled_types(frames, labels, NAMES[:2]) == [
        {"type": "solid", **none, "train": 4},
        {"type": "dashed", **none, "train": 4},
        {"type": "unknown", "train": 2, "val": 4, "test": 6},
    ]
    assert named_types(frames, NAMES[:2]) == [
        {"annotated": "botts dots", "type": "unknown: no name fits", **none, "val": 1},
        {"annotated": "dashed white", "type": "dashed", **none, "train": 4},
        {"annotated": "solid", "type": "solid", **none, "train": 4},
        {"annotated": "unknown", "type": "unknown: not annotated", **none, "val": 1},
        {
            "annotated": "frames without types",
            "type": "unknown: not annotated",
            "train": 2,
            "val": 2,
            "test": 6,
        },
    ]
    typed_rows = frames[frames["lane_types"].notna()]
    assert [row["annotated"] for row in named_types(typed_rows, NAMES[:2])][-1] == "unknown"
    require_types(frames, labels, lane_types=NAMES[:2])
    with pytest.raises(LgadError, match=r"has the type dashed yellow \(annotated are dashed white, solid\)"):
        require_types(frames, assign_lane_slots(frames, lane_types=NAMES), lane_types=NAMES)


def test_shards_hold_the_types_only_if_they_are_named(typed, tmp_path):
    root, frames, labels = typed
    plain = pack(root, frames, assign_lane_slots(frames), tmp_path / "plain")
    assert pack(root, frames, labels, tmp_path / "also").fingerprint == plain.fingerprint
    assert plain["train"].lane_types == () and collate(plain["train"], np.arange(2)).types is None
    shards = pack(root, frames, labels, tmp_path / "typed", lane_types=NAMES[:2])
    assert shards.fingerprint != plain.fingerprint and shards["val"].lane_types == NAMES[:2]
    batch = collate(shards["train"], np.arange(5))
    assert batch.types is not None and batch.types.dtype == torch.int64
    assert batch.types.tolist() == [[-1] * 4, *[[-1, 1, 0, -1]] * 4]
    assert torch.equal(batch.label, collate(plain["train"], np.arange(5)).label)
    noisy = with_label_noise(shards, LabelNoiseConfig(drop=0.5))["train"]
    noisy_types = collate(noisy, np.array([1])).types
    assert noisy.lane_types == NAMES[:2] and noisy_types is not None
    assert noisy_types.tolist() == [[-1, 1, 0, -1]]
    files = {path.name: path.stat().st_mtime_ns for path in (tmp_path / "typed").glob("*.arrow")}
    again = pack(root, frames, labels, tmp_path / "typed", lane_types=NAMES[:2])
    assert again.fingerprint == shards.fingerprint
    assert files == {path.name: path.stat().st_mtime_ns for path in (tmp_path / "typed").glob("*.arrow")}
    with pytest.raises(LgadError, match="hold no types of lanes; assign the lane slots again"):
        pack(root, frames, assign_lane_slots(frames), tmp_path / "none", lane_types=NAMES[:2])


def test_a_changed_type_changes_the_fingerprint_only_where_types_are_named(typed, tmp_path):
    root, frames, _ = typed
    write_types(root / "drive/train.MP4/00001.lines.txt", ["solid", "solid"])
    changed = ingest(root, SIZE).frames
    assert dataset_fingerprint(changed) == dataset_fingerprint(frames)
    assert dataset_fingerprint(changed, lane_types=True) != dataset_fingerprint(frames, lane_types=True)
    shards = [
        pack(
            root,
            table,
            assign_lane_slots(table, lane_types=NAMES[:2]),
            tmp_path / str(n),
            lane_types=NAMES[:2],
        )
        for n, table in enumerate((frames, changed))
    ]
    assert shards[0].fingerprint != shards[1].fingerprint


def test_a_mirrored_frame_has_its_types_in_the_mirrored_slots():
    types = torch.tensor([[0, 1, -1, 2], [2, -1, 0, 0]])
    batch = Batch(
        ["a", "b"],
        torch.zeros(2, 3, 16, 32, dtype=torch.uint8),
        torch.zeros(2, 16, 32, dtype=torch.uint8),
        torch.ones(2, 4),
        types=types,
    )
    plain = {name: 0 for name in AugmentationConfig.model_fields if name != "min_lane_pixels"}
    mirrored = augment(batch, AugmentationConfig.model_validate({**plain, "flip": 1}), torch.Generator())
    assert mirrored.types is not None and mirrored.types.tolist() == [[2, -1, 1, 0], [0, 0, -1, 2]]
    same = augment(batch, AugmentationConfig.model_validate(plain), torch.Generator())
    assert same.types is not None and torch.equal(types, same.types)
    parts = [part.types.tolist() for part in mirrored.parts(2) if part.types is not None]
    assert parts == [[[2, -1, 1, 0]], [[0, 0, -1, 2]]]
    assert any(tensor is mirrored.types for tensor in mirrored.tensors())


def test_a_lane_too_short_for_a_slot_has_no_type_there(write_tree):
    root = write_tree()
    frames = ingest(root, SIZE).frames.iloc[:1].copy()
    frames["height"], frames["width"] = 590, 1640
    frames["lanes"] = pd.Series([[[100.0, 580.0, 200.0, 577.0, 300.0, 574.0]]])
    frames["lane_types"] = [["dashed"]]
    labels = assign_lane_slots(frames, lane_types=NAMES[:2])
    assert not any(labels["existence"][0]) and list(labels["types"][0]) == ["", "", "", ""]
    with pytest.raises(LgadError, match="has the type solid or dashed"):
        require_types(frames, labels, lane_types=NAMES[:2])
