import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from lgad_pipeline.data.ingestion import ingest
from lgad_pipeline.datasets.registry import DATASET_READERS, dataset_reader, register_dataset
from lgad_pipeline.errors import LgadError

SIZE = (118, 328)
PAGE = Path(__file__).parents[2] / "docs/data.md"


@pytest.fixture
def own_kind(tmp_path, monkeypatch):
    """The package `csv_kinds` with the reader that the docs show."""
    blocks = PAGE.read_text(encoding="utf-8").split("```python\n")
    (code,) = [block.split("```")[0] for block in blocks if "def list_frames(" in block]
    (tmp_path / "csv_kinds.py").write_text(code, encoding="utf-8")
    monkeypatch.syspath_prepend(tmp_path)
    yield "csv_kinds:CsvReader"
    sys.modules.pop("csv_kinds", None)


def test_a_kind_of_another_package_reads_a_data_set(write_tree, own_kind):
    root = write_tree()
    frames = [f"drive/{split}.MP4/00000" for split in ("train", "val", "test")]
    lines = [f"{frame.split('/')[1][:-4]},{frame}.jpg,{frame}.lines.txt" for frame in frames]
    (root / "frames.csv").write_text("\n".join([*lines, "train,../outside.jpg,x", "no columns"]))
    ingestion = ingest(root, SIZE, kind=own_kind)
    assert ingestion.frames["split"].tolist() == ["train", "val", "test"]
    assert [len(lanes) for lanes in ingestion.frames["lanes"]] == [2, 2, 2]
    assert ingestion.rejected["line"].tolist() == [4, 5]
    again = ingest(root, SIZE, kind=own_kind, previous=ingestion.frames)
    assert again.changes.unchanged == 3


def test_a_registered_kind_is_read_by_name(monkeypatch, own_kind):
    monkeypatch.setattr("lgad_pipeline.datasets.registry.DATASET_READERS", dict(DATASET_READERS))
    reader_class = type(dataset_reader(own_kind))
    assert register_dataset("csv")(reader_class) is reader_class
    assert isinstance(dataset_reader("csv"), reader_class)
    with pytest.raises(LgadError, match="csv is registered already"):
        register_dataset("csv")(reader_class)


def test_a_reader_may_keep_what_its_lists_contain(write_tree, monkeypatch):
    """All frames are read by the object that has listed them."""

    class Remembering:
        def list_frames(self, root, rejected):
            entries = DATASET_READERS["culane"].list_frames(root, rejected)
            self.lanes = {b"%d" % number: entry for number, entry in enumerate(entries)}
            return [replace(entry, annotation=key) for key, entry in self.lanes.items()]

        def parse_annotation(self, annotation):
            return [np.full((2, 2), self.lanes[annotation].line, np.float32)]

    monkeypatch.setitem(DATASET_READERS, "remembering", Remembering())
    monkeypatch.setattr("lgad_pipeline.process_pool._ALONE", 0)
    monkeypatch.setattr("lgad_pipeline.process_pool.CHUNK", 2)
    frames = ingest(write_tree(), SIZE, kind="remembering", workers=2).frames
    assert [lanes[0][0][0] for lanes in frames["lanes"]] == [1, 2, 3, 4, 5, 1, 2, 1, 2, 3]


@pytest.mark.parametrize(
    ("kind", "words"),
    [
        (
            "csv",
            "csv is unknown; choose one of bdd100k, culane, curvelanes, llamas, synthetic, "
            "tusimple, vil100, or give an import",
        ),
        ("no_such_package:Reader", "cannot be imported .*No module named"),
        ("collections:Counter", "has no method list_frames and no method parse_annotation"),
    ],
)
def test_an_unusable_kind_is_one_sentence(kind, words):
    with pytest.raises(LgadError, match=words):
        dataset_reader(kind)
