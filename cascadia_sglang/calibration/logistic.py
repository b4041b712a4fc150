"""Logistic regression of weighted rows, by Newton's method.

Shape legend: N rows, G columns, A = G + 1 with the bias last.
"""

import numpy as np

from cascadia_sglang.arrays import BoolArray, FloatArray

L2 = 3.0  # on standardised weights, against the sum over rows of the log loss
_STEPS = 100
# Largest gradient, as a share of the rows' weight, at which a fit has converged. Newton's next step
# would move the weights by about as little, so a few rows more or less move them far more.
_TOLERANCE = 1e-4
# The bias is free; this keeps the curvature invertible where every row is certain.
_BIAS_L2 = 1e-9


def fit_logistic(
    x_NG: FloatArray,
    right_N: BoolArray,
    l2: float = L2,
    weight_N: FloatArray | None = None,
    centre_G: FloatArray | None = None,
) -> tuple[FloatArray, float]:
    """Weights [G] and bias that minimise the log loss plus l2 / 2 |weights - centre|^2.

    Args:
        weight_N: of each row in the log loss; 1 where not given.
        centre_G: weights that the penalty draws to; 0 where not given.
    """
    ones_NA = np.column_stack((x_NG, np.ones(len(x_NG))))
    weight_N = np.ones(len(x_NG)) if weight_N is None else weight_N
    centre_A = np.zeros(ones_NA.shape[1])
    if centre_G is not None:
        centre_A[:-1] = centre_G
    penalty_A = np.append(np.full(x_NG.shape[1], l2), _BIAS_L2)
    sign_N = np.where(right_N, 1.0, -1.0)

    def loss(found_A: FloatArray) -> float:
        margin_N = sign_N * (ones_NA @ found_A)
        penalty = 0.5 * float(penalty_A @ (found_A - centre_A) ** 2)
        return float(weight_N @ np.logaddexp(0.0, -margin_N)) + penalty

    found_A = centre_A.copy()
    now = loss(found_A)
    for _ in range(_STEPS):
        chance_N = 1.0 / (1.0 + np.exp(-np.clip(ones_NA @ found_A, -500.0, 500.0)))
        gradient_A = ones_NA.T @ (weight_N * (chance_N - right_N))
        gradient_A += penalty_A * (found_A - centre_A)
        if np.abs(gradient_A).max() <= _TOLERANCE * weight_N.sum():
            break
        curvature_N = weight_N * chance_N * (1.0 - chance_N)
        curvature_AA = (ones_NA * curvature_N[:, None]).T @ ones_NA + np.diag(penalty_A)
        step_A = np.linalg.solve(curvature_AA, gradient_A)
        size = 1.0
        while (new := loss(found_A - size * step_A)) > now and size > 1e-6:
            size /= 2.0
        if new > now:
            break
        found_A, now = found_A - size * step_A, new
    return found_A[:-1], float(found_A[-1])
