from pathlib import Path

import numpy as np
import pytest

from lgad_pipeline.config.augmentation import LabelNoiseConfig
from lgad_pipeline.data.ingestion import ingest
from lgad_pipeline.data.label_noise import noisy_label, with_label_noise
from lgad_pipeline.data.lane_labels import assign_lane_slots
from lgad_pipeline.data.shards import pack_shards
from lgad_pipeline.view import View

LABEL = np.zeros((6, 40), np.uint8)
for slot, column in enumerate((4, 14, 24, 34), 1):
    LABEL[:, column] = slot
ALL = np.ones(4, bool)


def test_no_noise_changes_nothing() -> None:
    label, existence = noisy_label(LABEL, ALL, frame="a.jpg", config=LabelNoiseConfig())
    assert np.array_equal(label, LABEL) and existence.all()


def test_all_lanes_can_be_missing() -> None:
    label, existence = noisy_label(LABEL, ALL, frame="a.jpg", config=LabelNoiseConfig(drop=1.0))
    assert not label.any() and not existence.any()


def test_lanes_are_missing_and_moved_as_often_and_as_far_as_asked() -> None:
    missing = LabelNoiseConfig(drop=0.3)
    shifted = LabelNoiseConfig(shift=0.1, shifted=0.5)
    gone, moves = 0, []
    for number in range(500):
        label, existence = noisy_label(LABEL, ALL, frame=f"{number}.jpg", config=missing)
        gone += 4 - int(existence.sum())
        assert set(np.unique(label)) - {0} == set(np.flatnonzero(existence) + 1)
        label, existence = noisy_label(LABEL, ALL, frame=f"{number}.jpg", config=shifted)
        assert existence.all()
        moves += [int(np.flatnonzero(label[0] == slot)[0]) - 10 * slot + 6 for slot in range(1, 5)]
        assert (label == label[0]).all()  # whole lanes
    assert gone / 2000 == pytest.approx(0.3, abs=0.03)
    assert max(moves) == 4 and min(moves) == -4  # 0.1 of 40 columns
    assert np.mean(np.equal(moves, 0)) == pytest.approx(0.5 + 0.5 / 8, abs=0.03)


def test_noise_follows_from_seed_and_frame_and_grows_with_its_amount() -> None:
    first = noisy_label(LABEL, ALL, frame="a.jpg", config=LabelNoiseConfig(drop=0.5, shift=0.1))
    again = noisy_label(LABEL, ALL, frame="a.jpg", config=LabelNoiseConfig(drop=0.5, shift=0.1))
    assert np.array_equal(first[0], again[0])
    frames = [f"{number}.jpg" for number in range(50)]

    def left(drop: float, seed: int = 0) -> np.ndarray:
        config = LabelNoiseConfig(drop=drop, seed=seed)
        return np.array([noisy_label(LABEL, ALL, frame=frame, config=config)[1] for frame in frames])

    assert (left(0.6) <= left(0.3)).all() and (left(0.6) != left(0.3)).any()
    assert (left(0.3, seed=1) != left(0.3)).any()


def test_a_lane_that_leaves_the_frame_does_not_exist() -> None:
    label = np.zeros((6, 40), np.uint8)
    label[:, 39] = 4
    flags = [
        noisy_label(
            label, np.array([False, False, False, True]), frame=f"{n}.jpg", config=LabelNoiseConfig(shift=0.5)
        )
        for n in range(20)
    ]
    assert all(existence[3] == (noisy == 4).any() for noisy, existence in flags)
    assert {bool(existence[3]) for _, existence in flags} == {True, False}


def test_training_labels_alone_are_noisy(write_tree, tmp_path: Path) -> None:
    root = write_tree()
    frames = ingest(root, (118, 328)).frames
    view = View((118, 328), (40, 128), 40)
    clean = pack_shards(
        frames, assign_lane_slots(frames), root=root, output=tmp_path, view=view, lane_width=6
    )
    noisy = with_label_noise(clean, LabelNoiseConfig(drop=1.0))
    assert noisy.fingerprint != clean.fingerprint
    assert any(clean["train"][index].label.any() for index in range(len(clean["train"])))
    assert not any(noisy["train"][index].label.any() for index in range(len(noisy["train"])))
    assert np.array_equal(noisy["train"][0].image, clean["train"][0].image)
    assert noisy["train"].table.equals(clean["train"].table)
    assert all(noisy[split] is clean[split] for split in clean.splits if split != "train")
