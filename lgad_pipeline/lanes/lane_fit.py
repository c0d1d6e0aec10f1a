"""Smooth curves through the row maxima of probability maps; needs NumPy only."""

import numpy as np

_ITERATIONS = 6  # iterations of the robust fit
_LOOSEST = 12.0  # map columns from the curve at which a row gets weight 0 in the first iteration, at least
_EXTENSION = 0.3  # share of the visible rows that gives the direction below the lowest one
_RIDGE = np.diag([1e-6, 1e-4, 1e-2, 3e-2])  # grows with the power: keeps cubics through few rows straight


def smooth_lanes(
    centre: np.ndarray, weight: np.ndarray, *, target: np.ndarray, smoothing: float, outlier_distance: float
) -> tuple[np.ndarray, np.ndarray]:
    """Fit smooth lanes x(row) and evaluate them at target rows.

    A cubic is fitted to the rows, with decreasing weights for outliers. The deviations of the rows from the
    cubic are averaged locally and added. Below the lowest row of a lane it continues straight.

    Args:
        centre: columns of the maxima, float64 (N, h), map pixels.
        weight: weights of the rows, float64 (N, h), 0 where the lane is not visible.
        target: rows to evaluate at, float64 (T,), map pixels.
        smoothing: half-width of the local average, map rows.
        outlier_distance: distance from the cubic at which a row gets weight 0, map columns.

    Returns:
        x, float64 (N, T), map pixels; inliers, float64 (N, h): 1 for each row that the fit uses, else 0.
    """
    height = centre.shape[1]
    row = np.arange(height, dtype=np.float64)
    basis, target_basis = (_powers(rows / height * 2 - 1) for rows in (row, target))
    robust = weight
    for width in np.geomspace(max(_LOOSEST, outlier_distance), outlier_distance, _ITERATIONS):
        fit = _fit(basis, centre, robust)
        residual = centre - fit @ basis.T
        robust = weight * np.maximum(1 - (residual / width) ** 2, 0) ** 2
    inliers = ((robust > 0) & (weight > 0)).astype(np.float64)
    inliers = np.where(inliers.sum(axis=1, keepdims=True) >= 2, inliers, weight > 0)
    weight = weight * inliers
    fit = _fit(basis, centre, weight)
    residual = centre - fit @ basis.T
    kernel = np.exp(-0.5 * ((target[:, None] - row) / smoothing) ** 2)  # (T, h)
    x = fit @ target_basis.T + ((weight * residual) @ kernel.T) / (weight @ kernel.T + 0.5)
    lowest = np.where(inliers > 0, row, -1).max(axis=1, keepdims=True)
    highest = np.where(inliers > 0, row, height).min(axis=1, keepdims=True)
    near = weight * (row >= lowest - _EXTENSION * np.maximum(lowest - highest, height * 0.1))
    line = _line(row, centre, near)
    return np.where(target > lowest, line[:, :1] + line[:, 1:] * target, x), inliers


def _powers(x: np.ndarray) -> np.ndarray:
    """Return the powers 0 .. 3 of x (R,), as (R, 4)."""
    return np.stack([x**0, x, x**2, x**3], axis=1)


def _fit(basis: np.ndarray, values: np.ndarray, weight: np.ndarray) -> np.ndarray:
    """Fit cubics by weighted least squares with a ridge penalty.

    Args:
        basis: powers of the rows, float64 (h, 4).
        values: columns, float64 (N, h).
        weight: weights of the rows, float64 (N, h).

    Returns:
        Coefficients, float64 (N, 4), constant first.
    """
    weighted = basis.T * weight[:, None]  # (N, 4, h)
    return np.linalg.solve(weighted @ basis + _RIDGE, weighted @ values[..., None])[..., 0]


def _line(row: np.ndarray, values: np.ndarray, weight: np.ndarray) -> np.ndarray:
    """Fit straight lines by weighted least squares.

    Args:
        row: rows, float64 (h,).
        values: columns, float64 (N, h).
        weight: weights of the rows, float64 (N, h).

    Returns:
        float64 (N, 2): value at row 0, and slope.
    """
    total = np.maximum(weight.sum(axis=1, keepdims=True), 1e-9)
    mean_row = (weight * row).sum(axis=1, keepdims=True) / total
    mean = (weight * values).sum(axis=1, keepdims=True) / total
    deviation = row - mean_row
    slope = (weight * deviation * (values - mean)).sum(axis=1, keepdims=True)
    slope = slope / ((weight * deviation**2).sum(axis=1, keepdims=True) + 1e-3)
    return np.concatenate([mean - slope * mean_row, slope], axis=1)
