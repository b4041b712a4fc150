"""The regression is scikit-learn's, with weights of rows and a centre of the penalty besides."""

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression

from cascadia_sglang.calibration.fit.logistic import fit_logistic


def rows(count: int = 500) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    x_NG = rng.normal(size=(count, 3))
    right_N = rng.random(count) < 1 / (1 + np.exp(-(x_NG @ [1.5, -0.7, 0.0] + 0.4)))
    return x_NG, right_N


@pytest.mark.parametrize("l2", [0.1, 3.0, 300.0])
def test_it_is_scikit_learns_at_its_default_tolerance_with_and_without_weights(l2: float) -> None:
    x_NG, right_N = rows()
    for weight_N in (None, np.random.default_rng(1).exponential(size=len(x_NG))):
        model = LogisticRegression(C=1 / l2, solver="newton-cholesky", max_iter=500)
        model.fit(x_NG, right_N, sample_weight=weight_N)
        weights_G, bias = fit_logistic(x_NG, right_N, l2, weight_N)
        expected = [*model.coef_[0], model.intercept_[0]]
        np.testing.assert_allclose([*weights_G, bias], expected, atol=1e-5)


def test_a_row_of_weight_two_is_two_rows() -> None:
    x_NG, right_N = rows(60)
    weight_N = np.where(np.arange(60) < 20, 2.0, 1.0)
    once = fit_logistic(x_NG, right_N, 3.0, weight_N)
    repeated_N = np.append(np.arange(60), np.arange(20))
    twice = fit_logistic(x_NG[repeated_N], right_N[repeated_N], 3.0)
    np.testing.assert_allclose([*once[0], once[1]], [*twice[0], twice[1]], atol=1e-6)


def test_a_strong_penalty_draws_to_the_centre() -> None:
    x_NG, right_N = rows()
    weights_G, _ = fit_logistic(x_NG, right_N, 1e8, centre_G=np.array([2.0, 0.0, -1.0]))
    np.testing.assert_allclose(weights_G, [2.0, 0.0, -1.0], atol=1e-3)


def test_it_stays_finite_on_rows_that_a_line_separates() -> None:
    x_NG = np.array([[-1.0], [1.0]] * 50)
    weights_G, bias = fit_logistic(x_NG, x_NG[:, 0] > 0)
    assert np.isfinite([*weights_G, bias]).all()
    assert weights_G[0] > 1


def test_it_stays_finite_on_rows_of_huge_columns() -> None:
    x_NG = np.array([[-1e6], [1e6], [2e6], [-1.0]] * 20)
    weights_G, bias = fit_logistic(x_NG, x_NG[:, 0] > 0)
    assert np.isfinite([*weights_G, bias]).all()
