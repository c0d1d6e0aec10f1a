import numpy as np
import pytest
import torch
from pydantic import ValidationError

from lgad_pipeline.config.augmentation import AugmentationConfig
from lgad_pipeline.data.augmentation import (
    _augment,
    augment,
    augment_recorded,
    record_amounts,
    swap_slots,
)
from lgad_pipeline.data.loader import Batch
from lgad_pipeline.data.random_amounts import RecordedAmounts, Recording, batch_generator
from lgad_pipeline.data.share import Share
from tests.data.augmented_batches import OFF, SIZE, only, road, run


def test_with_everything_off_nothing_changes():
    batch = road()
    same = run(batch, OFF)
    assert torch.equal(same.image, batch.image)
    assert torch.equal(same.label, batch.label)
    assert torch.equal(same.existence, batch.existence)
    assert same.image.dtype == same.label.dtype == torch.uint8


def test_a_flip_mirrors_and_renumbers():
    batch = road(2)
    batch.existence[:] = torch.tensor([1.0, 0.0, 1.0, 1.0])
    batch.label[batch.label == 2] = 0
    flipped = run(batch, only(flip=1))
    np.testing.assert_array_equal(flipped.image.numpy(), batch.image.numpy()[..., ::-1])
    expected = np.array([0, 4, 3, 2, 1], np.uint8)[batch.label.numpy()[..., ::-1]]
    np.testing.assert_array_equal(flipped.label.numpy(), expected)
    assert flipped.existence.tolist() == [[1, 1, 0, 1]] * 2
    # The far left lane of the mirrored picture is the leftmost one.
    bottom = flipped.label[0, -1]
    slots = [int(slot) for slot in bottom[bottom > 0].unique_consecutive()]
    assert slots == [1, 2, 4]


def test_slots_swapped_twice_are_the_slots():
    label = road().label
    assert not torch.equal(swap_slots(label), label)
    assert torch.equal(swap_slots(swap_slots(label)), label)


def test_an_augmented_flip_twice_is_the_batch():
    batch = road(3)
    batch.existence[:] = torch.tensor([1.0, 0.0, 1.0, 1.0])
    batch.label[batch.label == 2] = 0
    twice = run(run(batch, only(flip=1)), only(flip=1))
    assert torch.equal(twice.image, batch.image) and torch.equal(twice.label, batch.label)
    assert torch.equal(twice.existence, batch.existence)


def test_labels_lie_where_the_moved_lanes_do():
    """The image shows each pixel's own place, so the moved image tells where every pixel came from."""
    batch, (height, width) = road(24), SIZE
    rows, columns = np.mgrid[:height, :width]
    batch.image[:, 0], batch.image[:, 1] = torch.from_numpy(columns * 2), torch.from_numpy(rows * 5)
    moved = run(batch, only(flip=0.5, rotation=10, scale=0.2, shift_x=0.1, shift_y=0.1))
    places = np.stack([columns, rows, np.ones_like(rows)], -1).reshape(-1, 3)
    for index in range(24):
        x, y = moved.image[index, 0].numpy() / 2, moved.image[index, 1].numpy() / 5
        seen = ((x > 1) & (x < width - 2) & (y > 1) & (y < height - 2)).ravel()
        affine, *_ = np.linalg.lstsq(places[seen], np.stack([x, y], -1).reshape(-1, 2)[seen], rcond=None)
        source = (places @ affine).reshape(height, width, 2)
        assert moved.flipped is not None
        assert (np.linalg.det(affine[:2]) < 0) == bool(moved.flipped[index])
        turned = np.array([0, 4, 3, 2, 1] if moved.flipped[index] else range(5))
        label = moved.label[index].numpy()
        for slot, (top, bottom) in enumerate([(45, 5), (55, 40), (65, 80), (75, 115)], 1):
            temporary = np.abs(source[..., 0] - (top + (bottom - top) * source[..., 1] / 47))
            inside = (source[..., 1] > 11) & (source[..., 1] < 46)
            drawn = label == turned[slot]
            assert not (drawn & (temporary > 4)).any()  # 2 px and a half, rounded twice
            assert drawn[inside & (temporary < 1)].all()


def test_a_batch_in_parts_is_changed_like_the_whole(monkeypatch):
    batch, config = road(5), AugmentationConfig(shadow=1, glare=1, erasing=1, blur=1)
    whole = run(batch, config)
    monkeypatch.setattr("lgad_pipeline.data.augmentation._CACHED_PIXELS", 2 * SIZE[0] * SIZE[1])
    parts = run(batch, config)
    assert torch.equal(whole.label, parts.label) and torch.equal(whole.existence, parts.existence)
    assert torch.equal(whole.image, parts.image)


def test_half_of_the_frames_are_flipped():
    batch = road(400)
    flipped = run(batch, only(flip=0.5))
    share = (flipped.image != batch.image).flatten(1).any(1).float().mean()
    assert 0.4 < share < 0.6


@pytest.mark.parametrize(
    "change",
    [{"rotation": 10}, {"scale": 0.3}, {"shift_x": 0.2}, {"shift_y": 0.2}, {"flip": 1, "rotation": 10}],
)
def test_label_and_image_move_together(change):
    batch = road(16)
    moved = run(batch, only(**change))
    assert not torch.equal(moved.label, batch.label)
    # The image is continued by its border, where the label has none: compare away from it.
    seen, drawn = (moved.image[:, 0] > 127)[..., 14:34, 25:95], (moved.label > 0)[..., 14:34, 25:95]
    assert (seen & drawn).sum() / (seen | drawn).sum() > 0.85


def test_a_shift_is_as_long_as_asked_and_goes_both_ways():
    batch = road(64)
    moved = run(batch, only(shift_x=0.1))
    shifts = []
    for before, after in zip(batch.label.numpy(), moved.label.numpy(), strict=True):
        columns = [np.flatnonzero(label[30] == 3).mean() for label in (before, after)]
        shifts.append(columns[1] - columns[0])
    assert 8 < max(shifts) <= 12.5 and -12.5 <= min(shifts) < -8


def test_a_rotation_keeps_angles_in_the_image():
    """A cross at the centre of an oblong image, rotated by up to 20 degrees, keeps its right angles."""
    batch = road(32)
    batch.label[:] = 0
    batch.label[:, 22:26] = 2
    batch.label[..., 58:62] = 1
    moved = run(batch, only(rotation=20))
    angles = []
    for label in moved.label.numpy():
        top, bottom = (np.flatnonzero(label[row] == 1).mean() for row in (4, 43))
        left, right = (np.flatnonzero(label[:, column] == 2).mean() for column in (35, 85))
        angles.append(np.degrees(np.arctan2(top - bottom, 39)))
        assert abs(angles[-1] - np.degrees(np.arctan2(right - left, 50))) < 2.5
    assert 16 < max(angles) < 21 and -21 < min(angles) < -16


def test_a_slot_whose_lane_left_the_picture_no_longer_exists():
    batch = road(64)
    moved = run(batch, only(shift_x=0.45, shift_y=0.3, scale=0.3))
    pixels = torch.stack([(moved.label == slot).flatten(1).sum(1) for slot in range(1, 5)], 1)
    assert torch.equal(moved.existence.bool(), pixels >= 8)
    assert 0.1 < moved.existence.mean() < 0.95


def test_a_lane_that_was_short_before_still_exists_and_a_missing_one_does_not_appear():
    batch = road(3)
    batch.label[batch.label == 1] = 0
    batch.label[:, 30, 60:63] = 1  # 3 px, fewer than min_lane_pixels
    batch.existence[:, 3] = 0
    assert run(batch, OFF).existence.tolist() == [[1, 1, 1, 0]] * 3


def test_the_same_seed_and_step_give_the_same_batch_and_others_do_not():
    batch, config = road(), AugmentationConfig()
    first = augment(batch, config, batch_generator(1, 2))
    assert torch.equal(first.image, augment(batch, config, batch_generator(1, 2)).image)
    for seed, step in ((1, 3), (2, 2), (2, 1)):
        assert not torch.equal(first.image, augment(batch, config, batch_generator(seed, step)).image)


def test_the_batch_that_came_in_is_left_as_it_was():
    batch = road()
    copy = road()
    run(batch, AugmentationConfig(flip=1, erasing=1, shadow=1, glare=1, blur=1))
    assert torch.equal(batch.image, copy.image) and torch.equal(batch.label, copy.label)
    assert torch.equal(batch.existence, copy.existence)


def test_a_wrong_amount_or_an_unknown_key_is_refused():
    for wrong in ({"flip": 1.5}, {"rotation": -1}, {"rotatoin": 3}):
        with pytest.raises(ValidationError):
            AugmentationConfig.model_validate(wrong)


@pytest.mark.parametrize("count", [2, 3])
def test_processes_change_their_frames_as_one_process_changes_the_batch(count: int) -> None:
    generator = torch.Generator().manual_seed(3)
    batch = Batch(
        [str(number) for number in range(6)],
        torch.randint(0, 256, (6, 3, 24, 40), dtype=torch.uint8, generator=generator),
        torch.randint(0, 5, (6, 24, 40), dtype=torch.uint8, generator=generator),
        torch.ones(6, 4),
    )
    config = AugmentationConfig(shadow=0.5, glare=0.5, erasing=0.5, blur=0.5, noise=5)
    whole = augment(batch, config, batch_generator(1, 7))
    for rank in range(count):
        share = Share(rank, count)
        parts = (share.of(part) for part in (batch.frames, batch.image, batch.label, batch.existence))
        mine = Batch(*parts)  # type: ignore[arg-type]
        changed = augment(mine, config, batch_generator(1, 7), share=share)
        recorded = record_amounts(mine, config, batch_generator(1, 7), share=share)
        for result in (changed, augment_recorded(mine, config, recorded)):
            assert torch.equal(result.image, share.of(whole.image))
            assert torch.equal(result.label, share.of(whole.label))
            assert torch.equal(result.existence, share.of(whole.existence))


def test_recorded_amounts_give_the_same_batch_on_the_path_of_a_gpu() -> None:
    class OnGpu(RecordedAmounts):
        """Amounts that select the path of a GPU, whose operations run on the CPU here."""

        def __init__(self, recording: Recording) -> None:
            super().__init__(recording)
            self.device = torch.device("meta")

    generator = torch.Generator().manual_seed(4)
    image = torch.randint(0, 256, (6, 3, 48, 96), generator=generator, dtype=torch.uint8)
    label = torch.randint(0, 5, (6, 48, 96), generator=generator, dtype=torch.uint8)
    batch = Batch([str(number) for number in range(6)], image, label, torch.ones(6, 4))
    without_colours = dict.fromkeys(("brightness", "colour", "contrast", "saturation"), 0.0)
    config = AugmentationConfig.model_validate(
        {"shadow": 0.5, "glare": 0.5, "erasing": 0.5, "blur": 0.5, "noise": 20.0, **without_colours}
    )
    for step in range(4):
        expected = augment(batch, config, batch_generator(3, step))
        recording = record_amounts(batch, config, batch_generator(3, step))
        changed = _augment(batch, config, OnGpu(recording))
        assert (changed.image.int() - expected.image.int()).abs().max() <= 1
        assert torch.equal(changed.label, expected.label)
        assert torch.equal(changed.existence, expected.existence)
        assert torch.equal(changed.flipped, expected.flipped)  # type: ignore[arg-type]


def test_six_slots_are_mirrored():
    label = torch.zeros(1, 8, 14, dtype=torch.uint8)
    for slot in range(1, 6):  # the slot on the right is empty
        label[..., 2 * slot - 1 : 2 * slot + 1] = slot
    existence = torch.tensor([[1.0, 1, 1, 1, 1, 0]])
    image = torch.zeros(1, 3, 8, 14, dtype=torch.uint8)
    off = dict.fromkeys(AugmentationConfig.model_fields, 0)
    config = AugmentationConfig.model_validate({**off, "flip": 1.0, "min_lane_pixels": 1})
    mirrored = run(Batch(["a"], image, label, existence), config)
    assert mirrored.existence.tolist() == [[0, 1, 1, 1, 1, 1]]
    assert mirrored.label[0, 0].tolist() == swap_slots(label, 6).flip(2)[0, 0].tolist()
    assert set(mirrored.label.unique().tolist()) == {0, 2, 3, 4, 5, 6}
