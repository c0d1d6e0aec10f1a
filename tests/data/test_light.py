"""Changes of light, colour and noise by their definition."""

import numpy as np
import torch

from lgad_pipeline.config.augmentation import AugmentationConfig
from tests.data.augmented_batches import only, road, run


def test_light_leaves_the_label_alone():
    batch = road()
    config = AugmentationConfig(
        flip=0, rotation=0, scale=0, shift_x=0, shift_y=0, erasing=1, shadow=1, glare=1
    )
    lit = run(batch, config)
    assert torch.equal(lit.label, batch.label) and torch.equal(lit.existence, batch.existence)
    assert (lit.image != batch.image).flatten(1).any(1).all()


def test_shadows_darken_and_glare_brightens():
    batch = road(20)
    shadowed, glaring = (run(batch, only(**{name: 1})).image.int() for name in ("shadow", "glare"))
    assert (shadowed <= batch.image).all() and (shadowed < batch.image - 5).any()
    assert (glaring >= batch.image).all() and (glaring > batch.image.int() + 5).any()


def test_erasing_covers_one_grey_rectangle():
    batch = road(20)
    batch.image[:] = 100
    changed = (run(batch, only(erasing=1)).image != 100).numpy()
    assert changed.any()
    for frame in changed:
        assert (frame[0] == frame[1]).all() and (frame[0] == frame[2]).all()
        rows, columns = frame[0].any(1), frame[0].any(0)
        assert frame[0].sum() == rows.sum() * columns.sum()


def test_brightness_contrast_saturation_and_tone_by_their_definition():
    batch = road(200)
    batch.image[:] = torch.tensor([80, 100, 120]).view(1, 3, 1, 1).byte()
    bright = run(batch, only(brightness=0.5)).image[:, :, 0, 0].float()
    gain = bright[:, 1] / 100
    assert gain.min() < 0.6 and gain.max() > 1.4 and gain.min() >= 0.49 and gain.max() <= 1.51
    torch.testing.assert_close(bright[:, 0] / 80, gain, atol=0.02, rtol=0)
    grey = run(batch, only(saturation=1)).image[:, :, 0, 0].float()
    luma = grey @ torch.tensor([0.299, 0.587, 0.114])
    torch.testing.assert_close(
        luma, torch.full((200,), 80 * 0.299 + 100 * 0.587 + 120 * 0.114), atol=0.6, rtol=0
    )
    assert (grey[:, 2] - grey[:, 0]).min() < 5 and (grey[:, 2] - grey[:, 0]).max() > 75
    toned = run(batch, only(tone=1)).image[:, 1, 0, 0].float() / 255
    x = 100 / 255
    assert toned.min() >= x * x - 0.01 and toned.max() <= x + x * (1 - x) + 0.01
    # Contrast keeps the mean and stretches the rest around it.
    batch = road(50)
    batch.image[:] = 100
    batch.image[..., 60:] = 140
    far = run(batch, only(contrast=0.5)).image[:, :, 0].float()
    torch.testing.assert_close(far.mean((1, 2)), torch.full((50,), 120.0), atol=0.6, rtol=0)
    spread = far[:, 0, -1] - far[:, 0, 0]
    assert 19 <= spread.min() < 25 and 55 < spread.max() <= 61


def test_noise_has_the_deviation_asked_for_and_differs_between_frames():
    batch = road(64)
    batch.image[:] = 128
    noise = run(batch, only(noise=20)).image.float() - 128
    deviation = noise.flatten(1).std(1)
    assert deviation.max() <= 20.5 and deviation.max() > 18 and deviation.min() < 2
    assert abs(noise.mean()) < 0.3
    strongest, second = noise.flatten(1)[deviation.topk(2).indices]
    assert abs(float(torch.corrcoef(torch.stack([strongest, second]))[0, 1])) < 0.1


def test_blur_is_the_mean_of_nine():
    batch = road(1)
    image = batch.image[0].float().numpy()
    mean = sum(image[:, 1 + dy : 47 + dy, 1 + dx : 119 + dx] for dy in (-1, 0, 1) for dx in (-1, 0, 1)) / 9
    blurred = run(batch, only(blur=1)).image[0, :, 1:-1, 1:-1].float().numpy()
    np.testing.assert_allclose(blurred, mean, atol=0.51)
    corner = run(batch, only(blur=1)).image[0, :, 0, 0].float().numpy()
    np.testing.assert_allclose(
        corner, np.pad(image, ((0, 0), (1, 1), (1, 1)), "edge")[:, :3, :3].mean((1, 2)), atol=0.51
    )
