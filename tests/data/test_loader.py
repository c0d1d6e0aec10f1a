import threading
from dataclasses import replace

import numpy as np
import pytest
import torch

from lgad_pipeline.data.batch_order import BatchOrder
from lgad_pipeline.data.ingestion import ingest
from lgad_pipeline.data.lane_labels import assign_lane_slots
from lgad_pipeline.data.loader import Batch, Loader, collate, in_order
from lgad_pipeline.data.normalization import normalize
from lgad_pipeline.data.shards import ShardSet, pack_shards
from lgad_pipeline.data.share import Share
from lgad_pipeline.errors import LgadError
from lgad_pipeline.view import View


@pytest.fixture
def shards(write_tree, tmp_path) -> ShardSet:
    root = write_tree(train=7)
    frames = ingest(root, (118, 328)).frames
    view = View((118, 328), (40, 128), 40)
    return pack_shards(
        frames,
        assign_lane_slots(frames),
        root=root,
        output=tmp_path / "shards",
        view=view,
        lane_width=6,
        rows_per_shard=3,
    )


def test_a_batch_holds_the_samples(shards):
    split = shards["train"]
    batch = Loader(split, 4, seed=5).batch(2)
    indices = BatchOrder([7], 4, seed=5).indices(2)
    assert batch.image.shape == (4, 3, 40, 128) and batch.image.dtype == torch.uint8
    assert batch.label.shape == (4, 40, 128) and batch.label.dtype == torch.uint8
    assert batch.existence.tolist() == [[0, 1, 1, 0]] * 4 and batch.existence.dtype == torch.float32
    for place, index in enumerate(indices):
        sample = split[int(index)]
        assert batch.frames[place] == sample.frame
        np.testing.assert_array_equal(batch.image[place].permute(1, 2, 0).numpy(), sample.image)
        np.testing.assert_array_equal(batch.label[place].numpy(), sample.label)


def test_batches_ahead_are_those_of_their_steps_also_after_a_restart(shards):
    loader = Loader(shards["train"], 4, seed=1)
    ahead = list(loader.batches(3, 9))
    assert len(ahead) == 6
    for step, batch in enumerate(ahead, 3):
        direct = loader.batch(step)
        assert batch.frames == direct.frames
        assert torch.equal(batch.image, direct.image) and torch.equal(batch.label, direct.label)


@pytest.mark.parametrize(("start", "count"), [(0, 3), (3, 3), (1, 2)])
def test_processes_share_each_batch_of_one_process(shards, start: int, count: int):
    """A resume in the middle of an epoch is covered: 7 frames are an epoch of one batch and a sixth."""
    alone = list(Loader(shards["train"], 6, seed=4).batches(start, 7))
    shares = [
        list(Loader(shards["train"], 6, seed=4, share=Share(rank, count)).batches(start, 7))
        for rank in range(count)
    ]
    for step, whole in enumerate(alone):
        parts = [batches[step] for batches in shares]
        assert [len(part.frames) for part in parts] == [6 // count] * count
        for rank, part in enumerate(parts):
            assert part.frames == whole.frames[rank::count]
            assert torch.equal(part.image, whole.image[rank::count])


def test_threads_finish_the_batches_of_their_steps(shards):
    def finish(batch: Batch, step: int) -> Batch:
        assert threading.current_thread().name.startswith("lgad-data")
        return replace(batch, existence=batch.existence + step)

    loader = Loader(shards["train"], 2, seed=4, finish=finish, share=Share(1, 2))
    plain = Loader(shards["train"], 2, seed=4, share=Share(1, 2))
    for step, batch in enumerate(loader.batches(2, 5), 2):
        assert torch.equal(batch.existence, plain.batch(step).existence + step)


def test_stopping_early_ends_the_threads(shards):
    batches = Loader(shards["train"], 2, seed=0).batches(0, 1_000_000)
    next(batches)
    batches.close()
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("lgad-data")]


def test_evaluation_takes_every_frame_once_in_order(shards):
    batches = list(in_order(shards["train"], 3))
    assert [len(batch.frames) for batch in batches] == [3, 3, 1]
    assert [frame for batch in batches for frame in batch.frames] == shards["train"].table["frame"].tolist()


def test_processes_evaluate_every_frame_once(shards):
    batches = [
        batch.frames for rank in range(2) for batch in in_order(shards["train"], 2, share=Share(rank, 2))
    ]
    assert [len(frames) for frames in batches] == [2, 2, 2, 1]
    assert sorted(frame for frames in batches for frame in frames) == sorted(shards["train"].table["frame"])


def test_an_empty_split_is_refused(shards):
    class Empty:
        def __len__(self) -> int:
            return 0

    with pytest.raises(LgadError, match="no frames to train on"):
        Loader(Empty(), 4, seed=0)  # pyright: ignore[reportArgumentType]


def test_normalization_by_hand():
    image = torch.tensor([0, 128, 255], dtype=torch.uint8).view(1, 3, 1, 1)
    expected = [(0 - 0.485) / 0.229, (128 / 255 - 0.456) / 0.224, (1 - 0.406) / 0.225]
    torch.testing.assert_close(normalize(image).flatten(), torch.tensor(expected))


def test_a_batch_moves_to_a_device(shards):
    batch = collate(shards["val"], np.array([1, 0]))
    moved = batch.to("meta")
    assert moved.frames == batch.frames and moved.image.device.type == "meta"
    assert batch.image.device.type == "cpu"
