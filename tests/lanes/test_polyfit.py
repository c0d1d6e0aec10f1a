import numpy as np

from lgad_pipeline.lanes.polyfit import evaluate_polynomials, fit_polynomials


def test_fits_are_the_least_squares_polynomials():
    rng = np.random.default_rng(0)
    xs, ys = np.sort(rng.uniform(-1, 1, (4, 35))), rng.normal(size=(4, 35))
    for degree in (1, 3):
        fits = fit_polynomials(xs, ys, degree=degree)
        for x, y, fit, value in zip(xs, ys, fits, evaluate_polynomials(fits, np.full(4, 0.3)), strict=True):
            expected = np.polyfit(x, y, degree)
            np.testing.assert_allclose(fit, expected[::-1], rtol=1e-8)
            np.testing.assert_allclose(value, np.polyval(expected, 0.3), rtol=1e-8)
