"""Decoding of probability maps to lanes; needs NumPy and OpenCV only, so that it runs without torch.

Two methods: the post-processing of SCNN ("official"), and centroids of each row with a smooth fit
("centroid"), which is finer than a column of the map.
"""

from typing import Literal, Protocol

import numpy as np

from lgad_pipeline.lanes.lane_fit import smooth_lanes
from lgad_pipeline.lanes.row_peaks import RowPeaks, row_peaks
from lgad_pipeline.view import View

DecodedLane = tuple[int, np.ndarray, float]
"""Slot (1 to the number of slots); points, float32 (N, 2) as (x, y), frame pixels, bottom first; confidence
(0..1)."""

_OFFICIAL_ROWS = 18
_OFFICIAL_STEP = 20 / 590  # distance of two rows, share of the frame's height
_OFFICIAL_FILTER = 9  # side of the mean filter, map pixels


class DecodeSettings(Protocol):
    """Settings that decoding reads; `DecodeConfig` describes and checks them."""

    @property
    def method(self) -> Literal["centroid", "official"]: ...  # noqa: D102
    @property
    def existence_threshold(self) -> float: ...  # noqa: D102
    @property
    def peak_threshold(self) -> float: ...  # noqa: D102
    @property
    def row_step(self) -> float: ...  # noqa: D102
    @property
    def least_rows(self) -> int: ...  # noqa: D102
    @property
    def smoothing(self) -> float: ...  # noqa: D102
    @property
    def outlier_distance(self) -> float: ...  # noqa: D102
    @property
    def to_bottom(self) -> bool: ...  # noqa: D102


def decode(
    probabilities: np.ndarray, existence: np.ndarray, view: View, config: DecodeSettings
) -> list[list[DecodedLane]]:
    """Decode the lanes of a batch of frames by the method that the configuration names.

    Args:
        probabilities: probability maps, float32 (B, slots, h, w): softmax over slots and background, without
            the background.
        existence: existence probabilities, float (B, slots).
        view: mapping between map pixels and frame pixels.
        config: method and thresholds.

    Returns:
        Lanes of each frame, in the order of the slots.
    """
    if config.method == "official":
        return decode_official(probabilities, existence, view, config)
    frames, slots, height, width = probabilities.shape
    centre, weight, peak = (np.zeros((frames * slots, height), np.float32) for _ in range(3))
    exists = existence.ravel() > config.existence_threshold
    maps = probabilities.reshape(-1, height, width)
    found = row_peaks(maps if exists.all() else maps[exists], config.peak_threshold)
    centre[exists], peak[exists], weight[exists] = found
    shape = (frames, slots, height)
    peaks = RowPeaks(centre.reshape(shape), peak.reshape(shape), weight.reshape(shape))
    return decode_rows(peaks, existence, view, config)


def decode_official(
    probabilities: np.ndarray, existence: np.ndarray, view: View, config: DecodeSettings
) -> list[list[DecodedLane]]:
    """Decode lanes as the post-processing of SCNN does (XingangPan/SCNN, tools/prob2lines).

    The maps are smoothed by a 9 x 9 mean filter with zero padding. On 18 rows, 20 px apart in a frame of
    height 590 px, the first column of the row's maximum is a point if the maximum is above the threshold
    (officially 0.3, and 0.5 for the existence). Rows and columns count from 1; halves round away from zero.
    A lane has at least 2 points. In frames of another height the distances scale with the height. Rows that
    the view cuts off have no point.

    Args:
        probabilities: probability maps, float (B, slots, h, w).
        existence: existence probabilities, float (B, slots).
        view: mapping between map pixels and frame pixels.
        config: settings of decoding, of which the thresholds are used.

    Returns:
        Lanes of each frame, in the order of the slots.
    """
    frame_height, frame_width = view.frame_size
    height, width = probabilities.shape[-2:]
    below = np.arange(_OFFICIAL_ROWS) * (_OFFICIAL_STEP * frame_height)  # from the frame's bottom, px
    rows = _round(height - below / (frame_height - view.crop_top) * height)
    below, rows = below[rows >= 1], rows[rows >= 1]
    smoothed = _mean_filter(probabilities, rows - 1)  # (B, slots, rows, w)
    column = smoothed.argmax(axis=3)
    peaks = np.take_along_axis(smoothed, column[..., None], axis=3)[..., 0]
    valid = peaks.astype(probabilities.dtype) > config.peak_threshold
    valid &= (existence > config.existence_threshold)[..., None]
    xs = _round((column + 1) * frame_width / width) - 1
    ys = _round(frame_height - below) - 1
    decoded: list[list[DecodedLane]] = [[] for _ in probabilities]
    for frame, slot in np.argwhere(valid.sum(axis=2) >= 2):
        rows_valid = valid[frame, slot]
        points = np.stack([xs[frame, slot][rows_valid], ys[rows_valid]], axis=1).astype(np.float32)
        decoded[frame].append((int(slot) + 1, points, float(peaks[frame, slot][rows_valid].mean())))
    return decoded


def _round(values: np.ndarray) -> np.ndarray:
    """Round to the nearest integer, halves up, as int64."""
    return np.floor(values + 0.5).astype(np.int64)


def _mean_filter(maps: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """Compute chosen rows of the 9 x 9 mean of maps, with zeros outside of the maps.

    Args:
        maps: float (B, slots, h, w).
        rows: indices of the rows, int64 (R,).

    Returns:
        float64 (B, slots, R, w): double precision, so that equal means stay equal.
    """
    half = _OFFICIAL_FILTER // 2
    bands = rows[:, None] + np.arange(-half, half + 1)  # (R, 9)
    inside = (bands >= 0) & (bands < maps.shape[2])
    chosen = maps[:, :, bands.clip(0, maps.shape[2] - 1)]  # (B, slots, R, 9, w)
    chosen[:, :, ~inside] = 0
    sums = np.pad(chosen.sum(axis=3, dtype=np.float64), ((0, 0), (0, 0), (0, 0), (half, half)))
    windows = np.lib.stride_tricks.sliding_window_view(sums, _OFFICIAL_FILTER, axis=3)
    return windows.sum(axis=4) / _OFFICIAL_FILTER**2


def decode_rows(
    peaks: RowPeaks, existence: np.ndarray, view: View, config: DecodeSettings
) -> list[list[DecodedLane]]:
    """Decode lanes from the maxima of the rows of their maps, with a resolution finer than a column.

    A smooth curve is fitted to the rows above the threshold, see `lane_fit.smooth_lanes`.

    Args:
        peaks: maxima of the rows, float32 (B, slots, h) each.
        existence: existence probabilities, float (B, slots).
        view: mapping between map pixels and frame pixels.
        config: thresholds and distances.

    Returns:
        Lanes of each frame, in the order of the slots.
    """
    frames, slots, height = peaks.peak.shape
    centre, peak, weight = (values.reshape(-1, height) for values in peaks)
    weight = np.where(peak > config.peak_threshold, weight, 0)
    weight = weight * (existence.reshape(-1, 1) > config.existence_threshold)
    chosen = np.flatnonzero((weight > 0).sum(axis=1) >= config.least_rows)
    decoded: list[list[DecodedLane]] = [[] for _ in range(frames)]
    if not len(chosen):
        return decoded
    ys = np.arange(view.frame_size[0], -config.row_step, -config.row_step)
    target = view.to_image(np.stack([np.zeros_like(ys), ys], axis=1))[:, 1]
    xs, inliers = smooth_lanes(
        centre[chosen].astype(np.float64),
        weight[chosen].astype(np.float64),
        target=target,
        smoothing=config.smoothing,
        outlier_distance=config.outlier_distance,
    )
    row = np.arange(height)
    inside = target >= np.where(inliers > 0, row, height).min(axis=1, keepdims=True) - 0.5
    if not config.to_bottom:
        inside &= target <= np.where(inliers > 0, row, -1).max(axis=1, keepdims=True) + 0.5
    confidence = (peak[chosen] * inliers).sum(axis=1) / inliers.sum(axis=1)
    frame_xs = view.to_frame(np.stack([xs, np.zeros(xs.shape)], axis=2))[..., 0]
    inside &= (frame_xs > -0.5) & (frame_xs < view.frame_size[1] - 0.5)
    for lane, index in enumerate(chosen.tolist()):
        frame, slot = divmod(index, slots)
        valid = inside[lane]
        if valid.sum() >= 2:
            points = np.stack([frame_xs[lane][valid], ys[valid]], axis=1).astype(np.float32)
            decoded[frame].append((slot + 1, points, float(confidence[lane])))
    return decoded
