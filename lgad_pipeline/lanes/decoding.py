"""Decoding of probability maps to lanes.

Two methods: the post-processing of SCNN ("official"), and centroids of each row with a smooth fit
("centroid"), which is finer than a column of the map.
"""

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from lgad_pipeline.config.decoding import DecodeConfig
from lgad_pipeline.view import View

DecodedLane = tuple[int, np.ndarray, float]
"""Slot (1..4); points, float32 (N, 2) as (x, y), frame pixels, bottom first; confidence (0..1)."""

_OFFICIAL_ROWS = 18
_OFFICIAL_STEP = 20 / 590  # distance of two rows, share of the frame's height
_OFFICIAL_FILTER = 9  # side of the mean filter, map pixels

_CUT_OFF = 0.02  # weight factor of rows whose blob is cut off at the border of the map
_ITERATIONS = 6  # iterations of the robust fit
_LOOSEST, _TIGHTEST = (
    12.0,
    2.5,
)  # map columns from the curve at which a row gets weight 0: first, last iteration
_EXTENSION = 0.3  # share of the visible rows that gives the direction below the lowest one


def decode(
    probabilities: Tensor, existence: Tensor, view: View, config: DecodeConfig
) -> list[list[DecodedLane]]:
    """Decode the lanes of a batch of frames by the method that the configuration names.

    Args:
        probabilities: probability maps, float (B, slots, h, w): softmax over slots and background, without
            the background.
        existence: existence probabilities, float (B, slots).
        view: mapping between map pixels and frame pixels.
        config: method and thresholds.

    Returns:
        Lanes of each frame, in the order of the slots.
    """
    if config.method == "official":
        return decode_official(probabilities, existence, view, config)
    return decode_centroid(probabilities, existence, view, config)


def decode_official(
    probabilities: Tensor, existence: Tensor, view: View, config: DecodeConfig | None = None
) -> list[list[DecodedLane]]:
    """Decode lanes as the post-processing of SCNN does (XingangPan/SCNN, tools/prob2lines).

    The maps are smoothed by a 9 x 9 mean filter with zero padding. On 18 rows, 20 px apart in a frame of
    height 590 px, the first column of the row's maximum is a point if the maximum is above the threshold.
    Rows and columns count from 1; halves round away from zero. A lane has at least 2 points. In frames of
    another height the distances scale with the height. Rows that the view cuts off have no point.

    Args:
        probabilities: probability maps, float (B, slots, h, w).
        existence: existence probabilities, float (B, slots).
        view: mapping between map pixels and frame pixels.
        config: thresholds; None for the official ones (existence 0.5, peak 0.3).

    Returns:
        Lanes of each frame, in the order of the slots.
    """
    config = config or DecodeConfig(method="official")
    frame_height, frame_width = view.frame_size
    height, width = probabilities.shape[-2:]
    below = np.arange(_OFFICIAL_ROWS) * (_OFFICIAL_STEP * frame_height)  # from the frame's bottom, px
    rows = _round(height - below / (frame_height - view.crop_top) * height)
    below, rows = below[rows >= 1], rows[rows >= 1]
    smoothed = _mean_filter(probabilities.double(), rows - 1)  # (B, slots, rows, w)
    peak, column = smoothed.max(dim=3)
    valid = (peak.to(probabilities.dtype) > config.peak_threshold).cpu().numpy()
    valid &= (existence > config.existence_threshold).cpu().numpy()[..., None]
    xs = _round((column.cpu().numpy() + 1) * frame_width / width) - 1
    ys = _round(frame_height - below) - 1
    peaks = peak.cpu().numpy()
    decoded: list[list[DecodedLane]] = [[] for _ in probabilities]
    for frame, slot in np.argwhere(valid.sum(axis=2) >= 2):
        rows_valid = valid[frame, slot]
        points = np.stack([xs[frame, slot][rows_valid], ys[rows_valid]], axis=1).astype(np.float32)
        decoded[frame].append((int(slot) + 1, points, float(peaks[frame, slot][rows_valid].mean())))
    return decoded


def _round(values: np.ndarray) -> np.ndarray:
    """Round to the nearest integer, halves up, as int64."""
    return np.floor(values + 0.5).astype(np.int64)


def _mean_filter(maps: Tensor, rows: np.ndarray) -> Tensor:
    """Compute chosen rows of the 9 x 9 mean of maps.

    Args:
        maps: float64 (B, slots, h, w); double precision, so that equal means stay equal.
        rows: indices of the rows, int64 (R,).

    Returns:
        float64 (B, slots, R, w).
    """
    half = _OFFICIAL_FILTER // 2
    padded = functional.pad(maps, (half, half, half, half))
    bands = torch.as_tensor(rows[:, None] + np.arange(_OFFICIAL_FILTER), device=maps.device)
    sums = padded[:, :, bands].sum(dim=3)  # (B, slots, rows, w + 8)
    return sums.unfold(3, _OFFICIAL_FILTER, 1).sum(dim=4) / _OFFICIAL_FILTER**2


def decode_centroid(
    probabilities: Tensor, existence: Tensor, view: View, config: DecodeConfig
) -> list[list[DecodedLane]]:
    """Decode lanes with a resolution finer than a column of the map.

    The position of each row is the centroid of the blob of probabilities around its maximum. A cubic x(y) is
    fitted to the rows above the threshold, with decreasing weights for outliers. The deviations of the rows
    from the cubic are averaged locally and added. Below the lowest visible row the lane continues straight.

    Args:
        probabilities: probability maps, float (B, slots, h, w).
        existence: existence probabilities, float (B, slots).
        view: mapping between map pixels and frame pixels.
        config: thresholds and distances.

    Returns:
        Lanes of each frame, in the order of the slots.
    """
    maps = probabilities.flatten(0, 1).float()  # (N, h, w)
    height = maps.shape[1]
    centre, weight, peak = _row_centroids(maps, config)
    weight *= (existence.flatten() > config.existence_threshold)[:, None]
    visible_rows = (weight > 0).sum(dim=1)
    chosen = torch.nonzero(visible_rows >= config.least_rows).flatten()
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
    frame_xs = view.to_frame(np.stack([xs.cpu().numpy(), np.zeros(xs.shape)], axis=2))[..., 0]
    inside &= (frame_xs > -0.5) & (frame_xs < view.frame_size[1] - 0.5)
    for lane, index in enumerate(chosen.tolist()):
        frame, slot = divmod(index, probabilities.shape[1])
        valid = inside[lane]
        if valid.sum() >= 2:
            points = np.stack([frame_xs[lane][valid], ys[valid]], axis=1).astype(np.float32)
            decoded[frame].append((slot + 1, points, float(confidence[lane])))
    return decoded


def _row_centroids(maps: Tensor, config: DecodeConfig) -> tuple[Tensor, Tensor, Tensor]:
    """Compute the centroid of each row of maps.

    Args:
        maps: probability maps, float32 (N, h, w).
        config: thresholds.

    Returns:
        Centroid columns, weights (0 below the threshold) and peaks of the rows, float32 (N, h) each.
    """
    smoothed = functional.avg_pool2d(maps[:, None], 3, stride=1, padding=1, count_include_pad=False)[:, 0]
    peak, column = smoothed.max(dim=2, keepdim=True)  # (N, h, 1)
    # The blob is the unbroken run of columns around the maximum that reach half of it.
    outside = smoothed < 0.5 * peak
    stretch = outside.cumsum(dim=2, dtype=torch.int16)
    blob = maps * ((stretch == stretch.gather(2, column)) & ~outside)
    columns = torch.arange(maps.shape[2], dtype=maps.dtype, device=maps.device)
    centre = blob @ columns / blob.sum(dim=2).clamp_min(1e-9)
    # A blob that is cut off at the border has its centroid moved inwards. Its small weight makes it count
    # only where no other row is near.
    cut_off = (blob[:, :, 0] > 0) | (blob[:, :, -1] > 0)
    peak = peak[:, :, 0]
    weight = torch.where(cut_off, _CUT_OFF, 1.0) * peak
    return centre, torch.where(peak > config.peak_threshold, weight, 0), peak


def _smooth(
    centre: Tensor, weight: Tensor, row: Tensor, target: Tensor, config: DecodeConfig
) -> tuple[Tensor, Tensor]:
    """Fit smooth lanes x(row) and evaluate them at target rows.

    Args:
        centre: centroid columns, float64 (N, h), map pixels.
        weight: weights of the rows, float64 (N, h), 0 where the lane is not visible.
        row: rows of the map, float64 (h,).
        target: rows to evaluate at, float64 (T,), map pixels.
        config: smoothing.

    Returns:
        x, float64 (N, T), map pixels; inliers, float64 (N, h): 1 for each row that the fit uses, else 0.
    """
    height = len(row)
    basis, target_basis = (_powers(rows / height * 2 - 1) for rows in (row, target))
    robust = weight
    for width in np.geomspace(_LOOSEST, _TIGHTEST, _ITERATIONS):
        fit = _fit(basis, centre, robust)
        residual = centre - fit @ basis.T
        robust = weight * (1 - (residual / width) ** 2).clamp_min(0) ** 2
    inliers = ((robust > 0) & (weight > 0)).double()
    inliers = torch.where(inliers.sum(dim=1, keepdim=True) >= 2, inliers, (weight > 0).double())
    weight = weight * inliers
    fit = _fit(basis, centre, weight)
    residual = centre - fit @ basis.T
    kernel = torch.exp(-0.5 * ((target[:, None] - row) / config.smoothing) ** 2)  # (T, h)
    deviation = ((weight * residual) @ kernel.T) / (weight @ kernel.T + 0.5)
    lowest = torch.where(inliers > 0, row, -1).amax(dim=1, keepdim=True)
    highest = torch.where(inliers > 0, row, height).amin(dim=1, keepdim=True)
    x = target_basis @ fit.T
    x = x.T + deviation
    near = weight * (row >= lowest - _EXTENSION * (lowest - highest).clamp_min(height * 0.1))
    line = _line(row, centre, near)
    return torch.where(target > lowest, line[:, :1] + line[:, 1:] * target, x), inliers


def _powers(x: Tensor) -> Tensor:
    """Return the powers 0 .. 3 of x (R,), as (R, 4)."""
    return torch.stack([x**0, x, x**2, x**3], dim=1)


def _fit(basis: Tensor, values: Tensor, weight: Tensor) -> Tensor:
    """Fit cubics by weighted least squares.

    A ridge penalty that grows with the power keeps cubics through few rows straight.

    Args:
        basis: powers of the rows, float64 (h, 4).
        values: columns, float64 (N, h).
        weight: weights of the rows, float64 (N, h).

    Returns:
        Coefficients, float64 (N, 4), constant first.
    """
    weighted = basis.T * weight[:, None]  # (N, 4, h)
    ridge = torch.tensor([1e-6, 1e-4, 1e-2, 3e-2], dtype=basis.dtype, device=basis.device).diag()
    return torch.linalg.solve(weighted @ basis + ridge, weighted @ values[..., None])[..., 0]


def _line(row: Tensor, values: Tensor, weight: Tensor) -> Tensor:
    """Fit straight lines by weighted least squares.

    Args:
        row: rows, float64 (h,).
        values: columns, float64 (N, h).
        weight: weights of the rows, float64 (N, h).

    Returns:
        float64 (N, 2): value at row 0, and slope.
    """
    total = weight.sum(dim=1, keepdim=True).clamp_min(1e-9)
    mean_row = (weight * row).sum(dim=1, keepdim=True) / total
    mean = (weight * values).sum(dim=1, keepdim=True) / total
    deviation = row - mean_row
    slope = (weight * deviation * (values - mean)).sum(dim=1, keepdim=True)
    slope = slope / ((weight * deviation**2).sum(dim=1, keepdim=True) + 1e-3)
    return torch.cat([mean - slope * mean_row, slope], dim=1)
