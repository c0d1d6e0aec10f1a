"""Measures of a frame from which its use for training is estimated: uncertainty, disagreement, features."""

from collections.abc import Iterable, Sequence
from itertools import islice
from typing import NamedTuple

import cv2
import numpy as np
import torch

from lgad_pipeline.datasets.picture_hash import picture_hash
from lgad_pipeline.distillation.taps import FeatureTaps
from lgad_pipeline.errors import LgadError
from lgad_pipeline.inference.predictor import LanePredictor

_BATCH = 8
_TINY = 1e-9


class FrameMeasures(NamedTuple):
    """Measures of frames.

    Attributes:
        uncertainty: float64 (N,), 0..1: see `uncertainty`.
        disagreement: float64 (N,), 0..1: see `disagreement`.
        features: float64 (N, 2C): mean and standard deviation of each channel of a layer over its positions.
        hashes: difference hash of each network input, hexadecimal; None for one without structure.
    """

    uncertainty: np.ndarray
    disagreement: np.ndarray
    features: np.ndarray
    hashes: list[str | None]


def measure(
    predictor: LanePredictor, images: Iterable[np.ndarray], layer: str, *, other: LanePredictor | None = None
) -> FrameMeasures:
    """Measure frames.

    Args:
        predictor: trained student.
        images: network inputs, uint8 (h, w, 3) RGB each.
        layer: dotted name of the student's layer whose output describes a frame.
        other: second student, whose disagreement counts, too.

    Raises:
        LgadError: the students have different inputs or slots, or the layer does not exist.
    """
    if other is not None:
        _require_same(predictor, other)
    parts: list[tuple[np.ndarray, ...]] = []
    hashes: list[str | None] = []
    remaining = iter(images)
    with FeatureTaps(predictor.network, [layer]) as taps:
        for chunk in iter(lambda: list(islice(remaining, _BATCH)), []):
            hashes += [picture_hash(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)) for image in chunk]
            batch = torch.from_numpy(np.stack(chunk)).permute(0, 3, 1, 2)
            maps = predictor.probabilities(batch)[0]
            features = taps.pop()[layer]
            views = [_mirrored(predictor, batch)]
            taps.pop()
            if other is not None:
                views.append(other.probabilities(batch)[0].to(maps.device))
                _require_same_slots(maps, views[-1])
            apart = torch.stack([disagreement(maps, view) for view in views]).mean(dim=0)
            parts.append(tuple(_numpy(value) for value in (uncertainty(maps), apart, _described(features))))
    if not parts:
        empty = np.zeros(0)
        return FrameMeasures(empty, empty, np.zeros((0, 0)), [])
    unsure, apart, features = (np.concatenate(values) for values in zip(*parts, strict=True))
    return FrameMeasures(unsure, apart, features, hashes)


def uncertainty(maps: torch.Tensor) -> torch.Tensor:
    """Compute the mean entropy of the pixels of a frame, weighted by their probability of any lane.

    The entropy is that of the distribution over the slots and the background, as a share of its maximum, so
    that 0 is certain and 1 is a guess. The weights leave out the background, where every network is certain.

    Args:
        maps: probability maps, float32 (B, slots, h, w).

    Returns:
        float32 (B,), 0..1.

    Example:
        >>> certain = torch.zeros(1, 4, 8, 8); certain[0, 1, :, 3] = 1.0
        >>> uncertainty(certain).item()
        0.0
    """
    lane = maps.sum(dim=1).clamp(0, 1)
    every = torch.cat([(1 - lane)[:, None], maps], dim=1)
    entropy = torch.special.entr(every).sum(dim=1) / np.log(every.shape[1])
    return (lane * entropy).sum(dim=(1, 2)) / lane.sum(dim=(1, 2)).clamp_min(_TINY)


def disagreement(maps: torch.Tensor, others: torch.Tensor) -> torch.Tensor:
    """Compute the share of lane probability that two predictions place differently.

    It is the sum of the absolute differences divided by the sum of all probabilities: 0 for equal maps, 1 for
    maps that share no pixel.

    Args:
        maps: probability maps, float32 (B, slots, h, w).
        others: probability maps of the other prediction, of the same shape.

    Returns:
        float32 (B,), 0..1.
    """
    apart = (maps - others).abs().sum(dim=(1, 2, 3))
    return apart / (maps + others).sum(dim=(1, 2, 3)).clamp_min(_TINY)


def _mirrored(predictor: LanePredictor, batch: torch.Tensor) -> torch.Tensor:
    """Predict the mirrored images, and mirror the maps and the order of the slots back."""
    return predictor.probabilities(batch.flip(3))[0].flip(3).flip(1)


def _described(features: torch.Tensor) -> torch.Tensor:
    """Return mean and standard deviation of each channel, (B, 2C), of features (B, C, h, w)."""
    return torch.cat([features.mean(dim=(2, 3)), features.std(dim=(2, 3), correction=0)], dim=1)


def _require_same(predictor: LanePredictor, other: LanePredictor) -> None:
    shapes: Sequence[tuple] = [
        (*each.view.image_size, each.view.crop_top, *each.view.frame_size) for each in (predictor, other)
    ]
    if shapes[0] != shapes[1]:
        raise LgadError(
            f"The two students read different images, {predictor.view} and {other.view}; give students "
            "of one data set."
        )


def _require_same_slots(maps: torch.Tensor, others: torch.Tensor) -> None:
    if maps.shape != others.shape:
        raise LgadError(
            f"The two students have {maps.shape[1]} and {others.shape[1]} lane slots; give students of one "
            "data set."
        )


def _numpy(values: torch.Tensor) -> np.ndarray:
    return values.double().cpu().numpy()
