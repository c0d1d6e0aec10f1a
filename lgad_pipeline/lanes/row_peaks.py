"""Position and height of the maximum of each row of probability maps; needs NumPy and OpenCV only.

`tensor_decoding.row_peaks` computes the same with torch, for maps on a GPU and for exported graphs.
"""

from typing import NamedTuple

import cv2
import numpy as np

CUT_OFF = 0.02
"""Factor on the weight of rows whose blob is cut off at the border of the map."""

_REACHES = (12, 96)  # columns to both sides of a maximum in which most blobs end


class RowPeaks(NamedTuple):
    """Maxima of the rows of probability maps.

    Attributes:
        centre: centroid of the blob around the maximum of each row, map columns, float32 (N, h).
        peak: maximum of the smoothed map in each row, float32 (N, h).
        weight: weight of each row in a fit, float32 (N, h): `peak`, times `CUT_OFF` if the blob reaches the
            border of the map. Such a blob has its centroid moved inwards, so that it should count only where
            no other row is near.
    """

    centre: np.ndarray
    peak: np.ndarray
    weight: np.ndarray


def row_peaks(maps: np.ndarray, least_peak: float = 0.0) -> RowPeaks:
    """Find the maximum of each row, with a resolution finer than a column.

    A map is smoothed by a 3 x 3 mean. The blob is the unbroken run of columns around the row's maximum that
    reach half of it, and its centroid is weighted with the probabilities themselves.

    Args:
        maps: probability maps, float32 (N, h, w).
        least_peak: rows with a lower maximum are not evaluated further: centre and weight are 0.

    Returns:
        Centres, peaks and weights of the N x h rows.
    """
    maps = np.ascontiguousarray(maps)  # OpenCV reads row by row; a network may give channels last
    count, height, width = maps.shape
    smoothed = np.empty_like(maps)
    cells = _neighbours(height)[:, None] * _neighbours(width)
    for lane_map, target in zip(maps, smoothed, strict=True):
        cv2.boxFilter(lane_map, -1, (3, 3), target, normalize=False, borderType=cv2.BORDER_CONSTANT)
        np.divide(target, cells, out=target)
    column = smoothed.argmax(axis=2).ravel()
    values, smooth = maps.reshape(-1, width), smoothed.reshape(-1, width)
    peak = smooth[np.arange(count * height), column]
    centre, weight = np.zeros_like(peak), np.zeros_like(peak)
    rows = np.flatnonzero(peak >= least_peak)
    for reach in (*_REACHES, width):
        unfinished = _centroids(values, smooth, column, rows, reach, centre, weight)
        rows = rows[unfinished]
        if not len(rows):
            break
    return RowPeaks(*(values.reshape(count, height) for values in (centre, peak, weight)))


def _neighbours(length: int) -> np.ndarray:
    """Return the number of cells of a window of 3 that are inside, for each position, float32 (length,)."""
    return np.convolve(np.ones(length, np.float32), np.ones(3, np.float32))[1:-1]


def _centroids(
    values: np.ndarray,
    smooth: np.ndarray,
    column: np.ndarray,
    rows: np.ndarray,
    reach: int,
    centre: np.ndarray,
    weight: np.ndarray,
) -> np.ndarray:
    """Compute centre and weight of some rows from the columns near their maxima.

    Args:
        values: probabilities, float32 (R, w).
        smooth: smoothed probabilities, float32 (R, w).
        column: column of the maximum of each row, int (R,).
        rows: indices of the rows to evaluate, int (K,).
        reach: number of columns to evaluate on both sides of the maximum.
        centre: gets the centroids, float32 (R,).
        weight: gets the weights, float32 (R,).

    Returns:
        Flags of the rows whose blob may continue outside of these columns, bool (K,); not evaluated.
    """
    width = values.shape[1]
    offset = np.arange(-reach, reach + 1)
    columns = column[rows, None] + offset
    inside = (columns >= 0) & (columns < width)
    columns = columns.clip(0, width - 1)
    near = smooth[rows[:, None], columns]
    blob = (near >= 0.5 * near[:, reach, None]) & inside
    # Going outwards from the maximum, the blob ends at the first column that is not in it.
    blob[:, reach:] = np.logical_and.accumulate(blob[:, reach:], axis=1)
    blob[:, reach::-1] = np.logical_and.accumulate(blob[:, reach::-1], axis=1)
    unfinished = (blob[:, 0] & (columns[:, 0] > 0)) | (blob[:, -1] & (columns[:, -1] < width - 1))
    done, blob, columns = rows[~unfinished], blob[~unfinished], columns[~unfinished]
    mass = values[done[:, None], columns] * blob
    centre[done] = column[done] + mass @ offset.astype(np.float32) / np.maximum(mass.sum(axis=1), 1e-9)
    cut_off = ((mass > 0) & ((columns == 0) | (columns == width - 1))).any(axis=1)
    weight[done] = np.where(cut_off, np.float32(CUT_OFF), 1) * smooth[done, column[done]]
    return unfinished
