"""Shards that stay in a store: a real server that speaks S3, on localhost."""

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from itertools import islice
from pathlib import Path

import numpy as np
import pytest
import torch
from pyarrow import fs

from lgad_pipeline.atomic_files import locked
from lgad_pipeline.data.ingestion import ingest
from lgad_pipeline.data.lane_labels import assign_lane_slots
from lgad_pipeline.data.loader import Batch, Loader, in_order
from lgad_pipeline.data.remote_shards import upload
from lgad_pipeline.data.shard_index import Origin
from lgad_pipeline.data.shard_split import ShardSplit
from lgad_pipeline.data.shards import ShardSet, pack_shards
from lgad_pipeline.data.share import Share
from lgad_pipeline.data.streamed_shards import stream
from lgad_pipeline.errors import LgadError
from lgad_pipeline.view import View
from tests.support.frame_trees import write_frame

MINE = Origin("night-team", "drives")
URI = "s3://drives/streamed"
BUCKET = "drives/streamed"
FRAMES, ROWS = 48, 4


@pytest.fixture(scope="module")
def packed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Twelve training shards of four frames, and one shard of the other splits."""
    root = tmp_path_factory.mktemp("road")
    (root / "list").mkdir()
    for number, (split, count) in enumerate({"train": FRAMES, "val": 1, "test": 1}.items()):
        names = [f"{split}/{frame:05d}.jpg" for frame in range(count)]
        for frame, name in enumerate(names):
            write_frame(root, name, 100 * number + frame)
        (root / "list" / f"{split}.txt").write_text("".join(f"{name}\n" for name in names))
    frames = ingest(root, (118, 328)).frames
    pack_shards(
        frames,
        assign_lane_slots(frames),
        root=root,
        output=root / "shards",
        view=View((118, 328), (40, 128), 40),
        lane_width=6,
        rows_per_shard=ROWS,
        origin=MINE,
    )
    return root / "shards"


@pytest.fixture
def local(packed: Path, s3: fs.FileSystem) -> Path:
    """Shards on this machine, and a copy of them in the store."""
    upload(packed, URI)
    return packed


def largest(local: Path) -> int:
    return max(path.stat().st_size for path in local.glob("*.arrow"))


def streamed(local: Path, cache: Path, shards: float) -> ShardSet:
    """Open the shards of the store with a cache that holds a number of them."""
    folder = stream(
        URI, cache / "index", origin=MINE, cache=cache / "files", limit=int(shards * largest(local))
    )
    return ShardSet.open(folder)


def same(first: Batch, second: Batch) -> bool:
    return first.frames == second.frames and all(
        torch.equal(mine, yours) for mine, yours in zip(first.tensors(), second.tensors(), strict=True)
    )


def occupied(folder: Path) -> int:
    """Add up the sizes of the files while none is removed or added."""
    with locked(folder):
        return sum(path.stat().st_size for path in folder.glob("*"))


@contextmanager
def sizes_observed(folder: Path) -> Iterator[list[int]]:
    """Add up the sizes of the files of a folder all the time, in a thread."""
    observed, done = [0], threading.Event()

    def observe() -> None:
        while not done.wait(0.001):
            observed.append(occupied(folder))

    thread = threading.Thread(target=observe)
    thread.start()
    try:
        yield observed
    finally:
        done.set()
        thread.join()


@pytest.mark.parametrize("shards", [4, 5.5, 9, 100])
def test_batches_are_those_of_local_shards_with_any_cache(local: Path, tmp_path: Path, shards: float):
    """Two epochs, of which the second is resumed in the middle on a machine with an empty cache."""
    order = partial(Loader, batch_size=5, seed=3, window=2)
    expected = list(order(ShardSet.open(local)["train"]).batches(0, 19))
    limit = int(shards * largest(local))
    with sizes_observed(tmp_path / "first" / "files") as sizes:
        batches = list(order(streamed(local, tmp_path / "first", shards)["train"]).batches(0, 12))
    batches += order(streamed(local, tmp_path / "second", shards)["train"]).batches(12, 19)
    assert len(batches) == 19 and all(map(same, batches, expected))
    assert largest(local) < max(sizes) <= limit


def test_each_shard_is_downloaded_once_per_epoch(local: Path, tmp_path: Path, requests: list[str]):
    """The cache holds the window and some more; the last shards of an epoch are not needed in the next."""
    loader = Loader(streamed(local, tmp_path, 7)["train"], batch_size=2, seed=0, window=2, workers=1)
    list(loader.batches(0, FRAMES // 2))
    downloaded = [name for name in requests if "train-" in name]
    assert len(set(downloaded)) == FRAMES // ROWS == len(downloaded)


@pytest.fixture
def requests(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Names of the objects that are read."""
    from lgad_pipeline.object_store import ObjectStore

    names: list[str] = []
    chunks = ObjectStore.chunks
    monkeypatch.setattr(ObjectStore, "chunks", lambda self, name: names.append(name) or chunks(self, name))
    return names


def test_a_cache_of_one_shard_serves_random_access_and_evaluation(local: Path, tmp_path: Path):
    ours, theirs = streamed(local, tmp_path, 1), ShardSet.open(local)
    for index in (47, 0, 46, 0):
        np.testing.assert_array_equal(ours["train"][index].image, theirs["train"][index].image)
        assert occupied(tmp_path / "files") <= largest(local)
    assert ours["train"].table.equals(theirs["train"].table) and ours["train"].slots == 4
    for mine, yours in zip(in_order(ours["train"], 3), in_order(theirs["train"], 3), strict=True):
        assert same(mine, yours)
    evenly = partial(in_order, batch_size=2, limit=7, share=Share(1, 2))
    assert all(map(same, evenly(ours["train"]), evenly(theirs["train"])))


def test_several_trainings_share_a_cache(local: Path, tmp_path: Path):
    """Locks are those of open files, so that threads with caches of their own are like processes."""

    def batches(split: ShardSplit, seed: int) -> list[Batch]:
        return list(Loader(split, 4, seed=seed, window=2).batches(0, 12))

    splits = [streamed(local, tmp_path, 5)["train"] for _ in range(2)]
    with ThreadPoolExecutor(2) as pool, sizes_observed(tmp_path / "files") as sizes:
        results = list(pool.map(batches, splits, range(2)))
    for seed, result in enumerate(results):
        assert all(map(same, result, batches(ShardSet.open(local)["train"], seed)))
    assert largest(local) < max(sizes) <= 5 * largest(local)


def test_a_download_that_was_killed_is_repeated(local: Path, tmp_path: Path):
    """Its file counts until it is removed; it has no lock any more."""
    split = streamed(local, tmp_path, 2)["train"]
    files = tmp_path / "files"
    files.mkdir()
    for path in sorted(local.glob("train-*"))[:2]:
        (files / f".{path.name}.part").write_bytes(path.read_bytes()[:-1])
    assert split[0].frame and split[2 * ROWS].frame and occupied(files) <= 2 * largest(local)
    assert not list(files.glob(".*.part"))


def test_a_file_that_was_damaged_on_this_machine_is_downloaded_again(local: Path, tmp_path: Path):
    split = streamed(local, tmp_path, 3)["train"]
    before = split[0].image
    path = next((tmp_path / "files").glob("train-*"))
    path.write_bytes(bytes(path.stat().st_size))
    np.testing.assert_array_equal(split[0].image, before)


def test_damaged_and_missing_objects_are_one_sentence(local: Path, tmp_path: Path, s3: fs.FileSystem):
    split = streamed(local, tmp_path / "first", 6)["train"]
    names = sorted(path.name for path in local.glob("train-*"))
    with s3.open_output_stream(f"{BUCKET}/{names[1]}") as file:
        file.write(bytes((local / names[1]).stat().st_size))
    with pytest.raises(LgadError, match=rf"^{URI}/{names[1]} is damaged; delete it and pack") as raised:
        list(Loader(split, 4, seed=0, window=2).batches(0, 6))
    assert "\n" not in str(raised.value)
    split = streamed(local, tmp_path / "other", 6)["train"]
    s3.delete_file(f"{BUCKET}/{names[2]}")
    with pytest.raises(LgadError, match=rf"^{URI}/{names[2]} is missing; if the shards were packed again"):
        split[2 * ROWS]
    with pytest.raises(LgadError, match=rf"^{URI}/{names[2]} is missing"):
        streamed(local, tmp_path / "second", 6)
    assert not list(tmp_path.glob("*/files/.*.part"))


def test_an_order_that_does_not_fit_the_cache_is_refused(local: Path, tmp_path: Path):
    split = streamed(local, tmp_path, 6.5)["train"]
    with pytest.raises(
        LgadError, match=r"an order over all frames reads .* set shuffle_window to at most 4 in"
    ):
        Loader(split, 4, seed=0)
    with pytest.raises(LgadError, match=r"shuffle_window 5 reads .* set shuffle_window to at most 4 in the"):
        Loader(split, 4, seed=0, window=5)
    assert len(list(islice(Loader(split, 4, seed=0, window=4).batches(0, 9), 2))) == 2
    with pytest.raises(LgadError, match=r"has .* GB, more than shard_cache_gb \(.*\); raise it"):
        streamed(local, tmp_path / "small", 0.5)
