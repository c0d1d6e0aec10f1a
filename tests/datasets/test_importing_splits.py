import pytest

from lgad_pipeline.datasets.importing.splits import draw_splits
from lgad_pipeline.errors import LgadError


def frames(count: int, folder: str = "a") -> list[str]:
    return [f"{folder}/{number}.jpg" for number in range(count)]


def sizes(splits: dict) -> tuple[int, ...]:
    return tuple(len(splits[split]) for split in ("train", "val", "test"))


@pytest.mark.parametrize(
    ("count", "expected"),
    [
        (1, (1, 0, 0)),
        (2, (2, 0, 0)),
        (3, (1, 1, 1)),
        (4, (2, 1, 1)),
        (10, (7, 1, 2)),
        (50, (35, 5, 10)),
        (100, (70, 10, 20)),
    ],
)
def test_one_folder_is_cut_in_order_of_time_with_frames_to_train_on(count, expected):
    splits = draw_splits(frames(count), val=0.1, test=0.2)
    assert sizes(splits) == expected
    # By number: 2.jpg is before 10.jpg.
    assert splits["train"] + splits["val"] + splits["test"] == frames(count)


def test_two_folders_are_one_line_of_time():
    splits = draw_splits(frames(50, "a") + frames(50, "b"), val=0.1, test=0.2)
    assert splits["train"] == frames(50, "a") + frames(20, "b")
    assert splits["test"] == frames(50, "b")[30:]


@pytest.mark.parametrize("counts", [(30, 30, 30), (10,) * 10, (7, 20, 33, 40, 12)])
def test_folders_are_divided_whole(counts):
    named = [frame for number, count in enumerate(counts) for frame in frames(count, f"drive{number}")]
    splits = draw_splits(named, val=0.1, test=0.2)
    assert splits == draw_splits(named[::-1], val=0.1, test=0.2)
    folders = [{frame.split("/")[0] for frame in splits[split]} for split in splits]
    assert sum(map(len, folders)) == len(counts) == len(set().union(*folders))
    assert all(sizes(splits)) and sum(sizes(splits)) == sum(counts)
    assert sizes(splits)[0] >= sum(counts) / 3


def test_folders_too_uneven_to_be_divided_whole_are_cut():
    named = frames(1000, "a") + frames(2, "b") + frames(2, "c")
    assert sizes(draw_splits(named, val=0.1, test=0.2)) == (703, 100, 201)


def test_folders_that_name_splits_are_followed():
    named = frames(6, "images/Train") + frames(2, "images/Validation") + frames(3, "images/Test")
    splits = draw_splits(named, val=0.1, test=0.2)
    assert splits == {
        "train": frames(6, "images/Train"),
        "val": frames(2, "images/Validation"),
        "test": frames(3, "images/Test"),
    }
    without_val = draw_splits(frames(20, "train") + frames(3, "test"), val=0.1, test=0.2)
    assert sizes(without_val) == (18, 2, 3) and without_val["val"] == frames(20, "train")[18:]
    # Two frames of one split and no other state nothing.
    assert sizes(draw_splits(frames(10, "test"), val=0.1, test=0.2)) == (7, 1, 2)


def test_runs_are_drawn_within_folders():
    named = frames(25, "a") + frames(25, "b")
    splits = draw_splits(named, val=0.2, test=0.2, run=10, seed=3)
    assert sorted(frame for members in splits.values() for frame in members) == sorted(named)
    assert splits == draw_splits(named, val=0.2, test=0.2, run=10, seed=3)
    assert splits != draw_splits(named, val=0.2, test=0.2, run=10, seed=4)
    run_of = {frame: (frame[0], int(frame[2:-4]) // 10) for frame in named}
    for split in splits:
        others = {run_of[frame] for other in splits if other != split for frame in splits[other]}
        assert not others & {run_of[frame] for frame in splits[split]}
    assert len(splits["test"]) >= 10 and len(splits["val"]) >= 10 and len(splits["train"]) > 0


def test_shares_that_leave_nothing():
    assert sizes(draw_splits(frames(3), val=0, test=1)) == (0, 0, 3)
    assert sizes(draw_splits(frames(5), val=0, test=0)) == (5, 0, 0)
    assert sizes(draw_splits(frames(3), val=0.45, test=0.45)) == (1, 1, 1)
    with pytest.raises(LgadError, match="more than the whole"):
        draw_splits(frames(5), val=0.6, test=0.6)
    with pytest.raises(
        LgadError, match="--run 50 divides 100 frames into 2 runs and leaves none to train on"
    ):
        draw_splits(frames(100), val=0.1, test=0.2, run=50)
