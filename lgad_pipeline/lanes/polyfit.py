"""Batched least-squares polynomials with the rounding errors of CULane's label tool.

Polynomials are solved by the normal equations and Gaussian elimination with partial pivoting, with sums in
a fixed order. That is badly conditioned, and the errors of the label tool reach whole pixels. Because the
order of operations is the tool's, the errors are the same, and so are the label maps.
"""

import numpy as np


def fit_polynomials(xs: np.ndarray, ys: np.ndarray, *, degree: int) -> np.ndarray:
    """Fit the least-squares polynomial y(x) of each row.

    Args:
        xs: abscissas, float (L, N): L polynomials of N points each.
        ys: ordinates, float (L, N).
        degree: degree of the polynomials.

    Returns:
        Coefficients, float64 (L, degree + 1), constant first; NaN or infinite where the solution is not
        unique.
    """
    powers = [np.where(xs == 0, 0.0, 1.0)]
    for _ in range(degree):
        powers.append(powers[-1] * xs.astype(np.float64))
    matrix = np.array([[sequential_sum(left * right) for right in powers] for left in powers])
    right = np.array([sequential_sum(power * ys.astype(np.float64)) for power in powers])
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        return _solve(matrix, right).T


def sequential_sum(terms: np.ndarray) -> np.ndarray:
    """Sum over the last axis from the first term to the last; np.sum and np.dot add in another order.

    Args:
        terms: float (..., N).

    Returns:
        float (...).
    """
    return np.add.accumulate(terms, axis=-1)[..., -1]


def _solve(matrix: np.ndarray, right: np.ndarray) -> np.ndarray:
    """Solve L linear systems of N equations by Gaussian elimination with partial pivoting.

    Args:
        matrix: coefficients, float64 (N, N, L); overwritten.
        right: right-hand sides, float64 (N, L); overwritten.

    Returns:
        Solutions, float64 (N, L).
    """
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
    """Evaluate each polynomial at one abscissa, summed from the constant term up.

    Args:
        coefficients: float64 (L, degree + 1), constant first.
        x: abscissa of each polynomial, float64 (L,), none of them 0.

    Returns:
        Values, float64 (L,).
    """
    total, power = np.zeros(len(coefficients)), np.ones(len(coefficients))
    for coefficient in coefficients.T:
        total += coefficient * power
        power = power * x
    return total
