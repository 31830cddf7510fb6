"""Paired cluster sign-flip test: the null is that a contrast is 0, patients being exchangeable with their mirror image.

Each patient contributes d_i to a contrast, Σ d_i being the estimate. Under "no change", or for a
difference-in-differences "no interaction", d_i is as likely as −d_i, so the estimate is compared with the sum of
s_i d_i over random signs s. Sums over images split exactly; for rank metrics d_i is the patient's influence plus its
share of the estimate. Studentising by the spread of s_i d_i does not change the order of the absolute sums, hence not
the p-value.
"""

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray


def sign_flip_p_values(
    contributions: NDArray[np.float64], *, n_draws: int, rng: np.random.Generator
) -> NDArray[np.float64]:
    """Two-sided p-values of the hypotheses that the columns' sums are 0; in (0, 1].

    Exact over all 2^n_patients sign patterns when these are no more than `n_draws`, else (hits + 1) / (draws + 1)
    over random ones (Phipson and Smyth 2010, doi:10.2202/1544-6115.1585); never 0.

    Parameters
    ----------
    contributions
        (n_patients, n_contrasts).
    n_draws
        Random sign patterns, shared by all contrasts.

    Examples
    --------
    >>> sign_flip_p_values(np.array([[1.0], [2.0], [3.0]]), n_draws=1000, rng=np.random.default_rng(0))
    array([0.25])
    """
    observed = np.abs(contributions.sum(axis=0))
    bound = observed - 1e-12 * np.maximum(np.abs(contributions).sum(axis=0), 1e-300)
    hits = np.zeros(contributions.shape[1])
    exact = is_exact(len(contributions), n_draws=n_draws)
    patterns = _all_signs(len(contributions)) if exact else _random_signs(len(contributions), n_draws, rng)
    total = 0
    for signs in patterns:
        hits += (np.abs(signs @ contributions) >= bound).sum(axis=0)
        total += len(signs)
    return np.asarray(hits / total if exact else (hits + 1) / (total + 1))


def is_exact(n_patients: int, *, n_draws: int) -> bool:
    """Whether all sign patterns of so few patients are counted rather than drawn."""
    return n_patients < 63 and 2**n_patients <= n_draws


def _all_signs(n_patients: int) -> Iterator[NDArray[np.float64]]:
    numbers = np.arange(2**n_patients)[:, None]
    yield np.asarray(1 - 2 * ((numbers >> np.arange(n_patients)) & 1), dtype=np.float64)


def _random_signs(n_patients: int, n_draws: int, rng: np.random.Generator) -> Iterator[NDArray[np.float64]]:
    step = max(1, 2**23 // n_patients)
    for first in range(0, n_draws, step):
        bits = rng.integers(0, 2, (min(step, n_draws - first), n_patients), dtype=np.int8)
        yield np.asarray(1 - 2 * bits, dtype=np.float64)
