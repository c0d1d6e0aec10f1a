"""Parts with changed bytes: Arrow crashes on many of them, so each is tried in a process of its own."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from lgad_pipeline.data.ingestion import ingest
from lgad_pipeline.data.lane_labels import assign_lane_slots
from lgad_pipeline.data.shard_file import SHARD_SCHEMA
from lgad_pipeline.data.shard_index import INDEX, LOCAL, digest_of, new_index, read_index
from lgad_pipeline.data.shards import ShardSet, pack_shards
from lgad_pipeline.errors import LgadError
from lgad_pipeline.view import View

SIZE = (118, 328)
VIEW = View(SIZE, (40, 128), 40)
OPEN_ALL = """
import sys
from pathlib import Path
from lgad_pipeline.data.shards import ShardSet
from lgad_pipeline.errors import LgadError
for folder in sys.argv[1:]:
    try:
        ShardSet.open(Path(folder))["train"][0]
    except LgadError as error:
        print(error)
"""


@pytest.fixture
def shards(write_tree, tmp_path: Path) -> Path:
    root = write_tree(train=4)
    frames = ingest(root, SIZE).frames
    pack_shards(
        frames, assign_lane_slots(frames), root=root, output=tmp_path / "shards", view=VIEW, lane_width=6
    )
    return tmp_path / "shards"


def copies(shards: Path, contents: list[bytes]) -> list[Path]:
    """Folders like `shards` whose part of training frames has other bytes."""
    (name,) = (path.name for path in shards.glob("train-*"))
    folders = []
    for number, content in enumerate(contents):
        folder = shards.parent / f"damaged{number}"
        folder.mkdir()
        for path in shards.iterdir():
            (folder / path.name).write_bytes(content if path.name == name else path.read_bytes())
        folders.append(folder)
    return folders


def test_every_damage_is_one_sentence_and_never_ends_the_process(shards):
    content = next(shards.glob("train-*")).read_bytes()
    generator = np.random.default_rng(0)
    damaged = [b"", content[:8], content[: len(content) // 2], content + b"more", bytes(len(content))]
    for position in [*range(0, 1200, 16), *range(len(content) - 1200, len(content), 16)]:
        changed = bytearray(content)
        changed[position : position + 8] = generator.integers(0, 256, 8, np.uint8).tobytes()
        if bytes(changed) != content:
            damaged.append(bytes(changed))
    folders = copies(shards, damaged)
    command = [sys.executable, "-c", OPEN_ALL, *map(str, folders)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    sentences = done.stdout.splitlines()
    assert len(sentences) == len(damaged)
    for folder, sentence in zip(folders, sentences, strict=True):
        assert sentence.startswith(f"{folder}/train-00000")
        assert sentence.endswith(" is missing or damaged; pack the shards again.")


def test_packing_again_restores_a_damaged_part_alone(shards, write_tree, tmp_path):
    part = next(shards.glob("train-*"))
    content = part.read_bytes()
    others = {path: path.stat().st_mtime_ns for path in shards.glob("*.arrow") if path != part}
    part.write_bytes(content[:-300] + bytes(300))  # its footer, which Arrow trusts
    root = tmp_path / "data"
    frames = ingest(root, SIZE).frames
    pack_shards(frames, assign_lane_slots(frames), root=root, output=shards, view=VIEW, lane_width=6)
    assert part.read_bytes() == content
    assert others == {path: path.stat().st_mtime_ns for path in others}


def replaced(shards: Path, table: pa.Table) -> None:
    """Write a table in place of the training frames, with an index that states its digest."""
    index = read_index(shards)
    part = index.splits["train"][0]
    with pa.OSFile(str(shards / part.file), "wb") as sink, pa.ipc.new_file(sink, table.schema) as writer:
        writer.write_table(table)
    entry = part.model_copy(update={"digest": digest_of(shards / part.file)})
    content = new_index({"train": [entry]}, VIEW, rejected=[], origin=LOCAL).to_bytes()
    (shards / INDEX).write_bytes(content)


@pytest.mark.parametrize(
    "change",
    [
        lambda table: table.slice(1),
        lambda table: table.drop_columns(["label"]),
        lambda table: table.set_column(4, "label", table["label"].cast(pa.large_binary())),
        lambda table: pa.concat_tables([table.slice(0, 2), table.slice(2)]),
        lambda table: table.set_column(0, SHARD_SCHEMA.field(0), pa.array([None] * 4, pa.string())),
    ],
    ids=["fewer rows", "a column less", "another type", "two batches", "nulls"],
)
def test_a_part_that_is_not_what_the_index_says_is_refused(shards, change):
    part = next(shards.glob("train-*"))
    with pa.OSFile(str(part)) as source:  # not mapped: the file is written over
        table = pa.ipc.open_file(source).read_all()
    replaced(shards, change(table))
    with pytest.raises(LgadError, match=r"does not hold the 4 frames that the index names"):
        ShardSet.open(shards)
