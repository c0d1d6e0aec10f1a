from pathlib import Path
from types import ModuleType

from lgad_pipeline.data import ingestion

SIZE = (118, 328)
PAGE = Path(__file__).parents[2] / "docs/data.md"


def test_the_kind_that_the_docs_show_reads_a_data_set(write_tree, monkeypatch):
    blocks = PAGE.read_text(encoding="utf-8").split("```python\n")
    (code,) = [block.split("```")[0] for block in blocks if "def entries(" in block]
    module = ModuleType("csv_kind")
    exec(code, module.__dict__)
    monkeypatch.setitem(ingestion.KINDS, "csv", module)
    root = write_tree()
    frames = [f"drive/{split}.MP4/00000" for split in ("train", "val", "test")]
    lines = [f"{frame.split('/')[1][:-4]},{frame}.jpg,{frame}.lines.txt" for frame in frames]
    (root / "frames.csv").write_text("\n".join([*lines, "train,../outside.jpg,x", "no columns"]))
    found = ingestion.ingest(root, SIZE, kind="csv")
    assert found.frames["split"].tolist() == ["train", "val", "test"]
    assert [len(lanes) for lanes in found.frames["lanes"]] == [2, 2, 2]
    assert found.rejected["line"].tolist() == [4, 5]
