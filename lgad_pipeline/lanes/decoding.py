"""From probability maps to lanes: the official post-processing, and one finer than a column of the map."""

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from lgad_pipeline.config.decoding import DecodeConfig
from lgad_pipeline.view import View

DecodedLane = tuple[int, np.ndarray, float]
"""Slot (1..4), points float32 (N, 2) as (x, y) in frame pixels, bottom first, confidence (0..1)."""

_OFFICIAL_ROWS = 18
_OFFICIAL_STEP = 20 / 590  # of the frame's height
_OFFICIAL_FILTER = 9


def decode(
    probabilities: Tensor, existence: Tensor, view: View, config: DecodeConfig
) -> list[list[DecodedLane]]:
    """Read the lanes of a batch of frames, by the method that the configuration names.

    Args:
        probabilities: float (B, slots, h, w), softmax over slots and background, without the background.
        existence: float (B, slots), probabilities.
        view: how the maps lie in the frame.
        config: method and thresholds.
    """
    if config.method == "official":
        return decode_official(probabilities, existence, view, config)
    return decode_centroid(probabilities, existence, view, config)


def decode_official(
    probabilities: Tensor, existence: Tensor, view: View, config: DecodeConfig | None = None
) -> list[list[DecodedLane]]:
    """Read lanes as the post-processing of SCNN does (XingangPan/SCNN, tools/prob2lines).

    The maps are smoothed by a 9 x 9 mean filter with zeros around them; on 18 rows, 20 px apart in a frame
    of 590, the first column of the row's maximum is a point if the maximum passes the threshold. Rows and
    columns count from 1, halves round away from zero. Fewer than 2 points are no lane. In frames of another
    height the rows keep their share of it; rows cut off by the view are left out.

    Args:
        probabilities: float (B, slots, h, w).
        existence: float (B, slots).
        view: how the maps lie in the frame.
        config: thresholds; the official ones (0.5 and 0.3) if None.
    """
    config = config or DecodeConfig(method="official")
    frame_height, frame_width = view.frame_size
    height, width = probabilities.shape[-2:]
    below = np.arange(_OFFICIAL_ROWS) * (_OFFICIAL_STEP * frame_height)  # from the frame's bottom, px
    rows = _round(height - below / (frame_height - view.crop_top) * height)
    below, rows = below[rows >= 1], rows[rows >= 1]
    smoothed = _mean_filter(probabilities.double(), rows - 1)  # (B, slots, rows, w)
    peak, column = smoothed.max(dim=3)
    found = (peak.to(probabilities.dtype) > config.peak_threshold).cpu().numpy()
    found &= (existence > config.existence_threshold).cpu().numpy()[..., None]
    xs = _round((column.cpu().numpy() + 1) * frame_width / width) - 1
    ys = _round(frame_height - below) - 1
    peaks = peak.cpu().numpy()
    decoded: list[list[DecodedLane]] = [[] for _ in probabilities]
    for frame, slot in np.argwhere(found.sum(axis=2) >= 2):
        at = found[frame, slot]
        points = np.stack([xs[frame, slot][at], ys[at]], axis=1).astype(np.float32)
        decoded[frame].append((int(slot) + 1, points, float(peaks[frame, slot][at].mean())))
    return decoded


def _round(values: np.ndarray) -> np.ndarray:
    """To the nearest integer, halves up (away from zero, for what is positive)."""
    return np.floor(values + 0.5).astype(np.int64)


def _mean_filter(maps: Tensor, rows: np.ndarray) -> Tensor:
    """The rows chosen of the 9 x 9 mean of maps (B, slots, h, w); in double precision, so that ties hold."""
    half = _OFFICIAL_FILTER // 2
    padded = functional.pad(maps, (half, half, half, half))
    bands = torch.as_tensor(rows[:, None] + np.arange(_OFFICIAL_FILTER), device=maps.device)
    sums = padded[:, :, bands].sum(dim=3)  # (B, slots, rows, w + 8)
    return sums.unfold(3, _OFFICIAL_FILTER, 1).sum(dim=4) / _OFFICIAL_FILTER**2


def decode_centroid(
    probabilities: Tensor, existence: Tensor, view: View, config: DecodeConfig
) -> list[list[DecodedLane]]:
    """Read lanes finer than a column of the map.

    Each row's position is the centroid of the blob of probabilities around its maximum. A cubic x(y) is
    fitted through the rows that pass the threshold, outliers losing their weight; what the rows deviate from
    it is averaged locally and added. Below the lowest row seen the lane continues straight.

    Args:
        probabilities: float (B, slots, h, w).
        existence: float (B, slots).
        view: how the maps lie in the frame.
        config: thresholds and distances.
    """
    maps = probabilities.flatten(0, 1).float()  # (N, h, w)
    height = maps.shape[1]
    centre, weight, peak = _row_centroids(maps, config)
    weight *= (existence.flatten() > config.existence_threshold)[:, None]
    seen = (weight > 0).sum(dim=1)
    chosen = torch.nonzero(seen >= config.least_rows).flatten()
    decoded: list[list[DecodedLane]] = [[] for _ in probabilities]
    if not len(chosen):
        return decoded
    centre, weight = centre[chosen].double(), weight[chosen].double()
    ys = np.arange(view.frame_size[0], -config.row_step, -config.row_step)
    targets = view.to_image(np.stack([np.zeros_like(ys), ys], axis=1))[:, 1]
    row = torch.arange(height, dtype=torch.float64, device=maps.device)
    target = torch.as_tensor(targets, device=maps.device)
    xs, inliers = _smooth(centre, weight, row, target, config)
    top = torch.where(inliers > 0, row, height).amin(dim=1)
    inside = (target >= top[:, None] - 0.5).cpu().numpy()
    if not config.to_bottom:
        inside &= (target <= torch.where(inliers > 0, row, -1).amax(dim=1)[:, None] + 0.5).cpu().numpy()
    confidence = (peak[chosen] * inliers).sum(dim=1) / inliers.sum(dim=1)
    across = view.to_frame(np.stack([xs.cpu().numpy(), np.zeros(xs.shape)], axis=2))[..., 0]
    inside &= (across > -0.5) & (across < view.frame_size[1] - 0.5)
    for lane, index in enumerate(chosen.tolist()):
        frame, slot = divmod(index, probabilities.shape[1])
        at = inside[lane]
        if at.sum() >= 2:
            points = np.stack([across[lane][at], ys[at]], axis=1).astype(np.float32)
            decoded[frame].append((slot + 1, points, float(confidence[lane])))
    return decoded


def _row_centroids(maps: Tensor, config: DecodeConfig) -> tuple[Tensor, Tensor, Tensor]:
    """Centroid column of each row, its weight (0 below the threshold) and its peak; each (N, h)."""
    smoothed = functional.avg_pool2d(maps[:, None], 3, stride=1, padding=1, count_include_pad=False)[:, 0]
    peak, column = smoothed.max(dim=2, keepdim=True)  # (N, h, 1)
    # The blob: the columns around the maximum that reach half of it without a break.
    outside = smoothed < 0.5 * peak
    stretch = outside.cumsum(dim=2, dtype=torch.int16)
    blob = maps * ((stretch == stretch.gather(2, column)) & ~outside)
    columns = torch.arange(maps.shape[2], dtype=maps.dtype, device=maps.device)
    centre = blob @ columns / blob.sum(dim=2).clamp_min(1e-9)
    # A blob cut off by the border has its centre pulled inwards: it speaks only where no other does.
    cut_off = (blob[:, :, 0] > 0) | (blob[:, :, -1] > 0)
    peak = peak[:, :, 0]
    weight = torch.where(cut_off, _CUT_OFF, 1.0) * peak
    return centre, torch.where(peak > config.peak_threshold, weight, 0), peak


_CUT_OFF = 0.02
_ITERATIONS = 6
_LOOSEST, _TIGHTEST = 12.0, 2.5  # columns from the curve at which a row has lost its weight, first and last
_EXTENSION = 0.3  # share of the rows seen that give the direction below the lowest


def _smooth(
    centre: Tensor, weight: Tensor, row: Tensor, target: Tensor, config: DecodeConfig
) -> tuple[Tensor, Tensor]:
    """Smooth lanes x(row), seen at every row of the map, at the target rows.

    Args:
        centre: (N, h) columns.
        weight: (N, h), 0 where the lane is not seen.
        row: (h,) rows of the map.
        target: (T,) rows wanted, in rows of the map.
        config: smoothing.

    Returns:
        x (N, T), and for every row whether it was believed, 0 or 1 (N, h).
    """
    height = len(row)
    basis, target_basis = (_powers(at / height * 2 - 1) for at in (row, target))
    robust = weight
    for width in np.geomspace(_LOOSEST, _TIGHTEST, _ITERATIONS):
        fit = _fit(basis, centre, robust)
        residual = centre - fit @ basis.T
        robust = weight * (1 - (residual / width) ** 2).clamp_min(0) ** 2
    believed = ((robust > 0) & (weight > 0)).double()
    believed = torch.where(believed.sum(dim=1, keepdim=True) >= 2, believed, (weight > 0).double())
    weight = weight * believed
    fit = _fit(basis, centre, weight)
    residual = centre - fit @ basis.T
    kernel = torch.exp(-0.5 * ((target[:, None] - row) / config.smoothing) ** 2)  # (T, h)
    deviation = ((weight * residual) @ kernel.T) / (weight @ kernel.T + 0.5)
    lowest = torch.where(believed > 0, row, -1).amax(dim=1, keepdim=True)
    highest = torch.where(believed > 0, row, height).amin(dim=1, keepdim=True)
    x = target_basis @ fit.T
    x = x.T + deviation
    near = weight * (row >= lowest - _EXTENSION * (lowest - highest).clamp_min(height * 0.1))
    line = _line(row, centre, near)
    return torch.where(target > lowest, line[:, :1] + line[:, 1:] * target, x), believed


def _powers(at: Tensor) -> Tensor:
    return torch.stack([at**0, at, at**2, at**3], dim=1)


def _fit(basis: Tensor, values: Tensor, weight: Tensor) -> Tensor:
    """Weighted least-squares coefficients (N, 4); the higher ones need rows to speak for them."""
    weighted = basis.T * weight[:, None]  # (N, 4, h)
    ridge = torch.tensor([1e-6, 1e-4, 1e-2, 3e-2], dtype=basis.dtype, device=basis.device).diag()
    return torch.linalg.solve(weighted @ basis + ridge, weighted @ values[..., None])[..., 0]


def _line(row: Tensor, values: Tensor, weight: Tensor) -> Tensor:
    """Weighted least-squares line through (row, values), (N, 2): value at row 0 and slope."""
    total = weight.sum(dim=1, keepdim=True).clamp_min(1e-9)
    mean_row = (weight * row).sum(dim=1, keepdim=True) / total
    mean = (weight * values).sum(dim=1, keepdim=True) / total
    away = row - mean_row
    slope = (weight * away * (values - mean)).sum(dim=1, keepdim=True)
    slope = slope / ((weight * away**2).sum(dim=1, keepdim=True) + 1e-3)
    return torch.cat([mean - slope * mean_row, slope], dim=1)
