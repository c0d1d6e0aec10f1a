"""Least-squares polynomials with the rounding errors of CULane's label tool, many at a time."""

import numpy as np


def fit_polynomials(xs: np.ndarray, ys: np.ndarray, degree: int) -> np.ndarray:
    """Coefficients, constant first, of the least-squares polynomials y(x).

    By the normal equations and Gaussian elimination with partial pivoting, summed in order: badly
    conditioned, but then the label tool's rounding errors (which reach whole pixels) come out the same.

    Args:
        xs: (L, N), a polynomial a row.
        ys: likewise.
        degree: of the polynomials.

    Returns:
        float64 (L, degree + 1); NaN or infinite where there is no unique one.
    """
    powers = [np.where(xs == 0, 0.0, 1.0)]
    for _ in range(degree):
        powers.append(powers[-1] * xs.astype(np.float64))
    matrix = np.array([[sequential_sum(left * right) for right in powers] for left in powers])
    right = np.array([sequential_sum(power * ys.astype(np.float64)) for power in powers])
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        return _solve(matrix, right).T


def sequential_sum(terms: np.ndarray) -> np.ndarray:
    """Sums over the last axis, from the first term to the last; np.sum and np.dot add in another order."""
    return np.add.accumulate(terms, axis=-1)[..., -1]


def _solve(matrix: np.ndarray, right: np.ndarray) -> np.ndarray:
    """Solutions (N, L) of the systems matrix (N, N, L), right (N, L), both of which are overwritten."""
    size, lanes = right.shape
    lane = np.arange(lanes)
    for i in range(size - 1):
        pivot = i + np.abs(matrix[i:, i]).argmax(axis=0)
        for table in (matrix, right):
            upper = table[i].copy()
            table[i] = np.moveaxis(table[pivot, ..., lane], 0, -1)
            table[pivot, ..., lane] = np.moveaxis(upper, -1, 0)
        regular = matrix[i, i] != 0
        for row in range(i + 1, size):
            factor = np.where(regular, matrix[row, i] / matrix[i, i], matrix[row, i])
            below = matrix[row, i + 1 :]
            matrix[row, i + 1 :] = np.where(regular, below - factor * matrix[i, i + 1 :], below)
            matrix[row, i] = factor
    for i in range(size):
        for j in range(i):
            right[i] += -matrix[i, j] * right[j]
    for i in range(size - 1, -1, -1):
        right[i] /= matrix[i, i]
        for j in range(i + 1, size):
            right[i] += -matrix[i, j] * right[j] / matrix[i, i]
    return right


def evaluate_polynomials(coefficients: np.ndarray, x: np.ndarray) -> np.ndarray:
    """The polynomials' values, (L,), at `x`, (L,) and not 0, summed from the constant up."""
    total, power = np.zeros(len(coefficients)), np.ones(len(coefficients))
    for coefficient in coefficients.T:
        total += coefficient * power
        power = power * x
    return total
