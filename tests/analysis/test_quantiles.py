"""Standard deviations and quantiles of rows against NumPy's, whatever the rows hold."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from cxrobust.analysis.quantiles import moments, tail_quantiles


def expected(row, low, high):
    row = row[~np.isnan(row)]
    if len(row) < 2:
        return np.nan, np.nan, np.nan
    if np.isinf(row).any():
        return np.nan, *np.quantile(row, [low, high], method="inverted_cdf")
    return row.std(ddof=1), *np.quantile(row, [low, high])


def assert_as_numpy(rows, low, high):
    found = np.column_stack(tail_quantiles(rows, np.full(len(rows), low), np.full(len(rows), high)))
    wanted = np.array([expected(row, low, high) for row in rows]).reshape(-1, 3)
    finite = rows[np.isfinite(rows)]
    scale = np.abs(finite).max(initial=0)
    np.testing.assert_allclose(found, wanted, rtol=1e-12, atol=1e-13 * scale)


@pytest.mark.parametrize("tail", [0.0, 0.0005, 0.023, 0.025, 0.2, 0.5])
@pytest.mark.parametrize("draw", ["normal", "cauchy", "exponential", "integers", "one value", "two values"])
def test_rows_of_many_values_against_numpy(draw, tail):
    rng = np.random.default_rng(1)
    rows = {
        "normal": lambda: rng.normal(0.8, 0.01, (5, 1001)),
        "cauchy": lambda: rng.standard_cauchy((5, 1000)),
        "exponential": lambda: -rng.exponential(size=(5, 2000)),
        "integers": lambda: rng.integers(0, 3, (5, 500)).astype(float),
        "one value": lambda: np.full((2, 100), 0.7),
        "two values": lambda: (rng.random((4, 300)) < 0.01).astype(float),
    }[draw]()
    before = rows.copy()
    assert_as_numpy(rows, tail, 1 - tail)
    np.testing.assert_array_equal(rows, before)


values = st.one_of(st.floats(-1e6, 1e6), st.sampled_from([0.0, 0.5, 1.0, np.nan, np.inf, -np.inf]))


@given(rows=arrays(np.float64, st.tuples(st.integers(1, 3), st.integers(0, 12)), elements=values), data=st.data())
@settings(max_examples=200)
def test_any_rows_against_numpy(rows, data):
    low, high = data.draw(st.floats(0, 1)), data.draw(st.floats(0, 1))
    assert_as_numpy(rows, low, high)


@pytest.mark.filterwarnings("ignore::RuntimeWarning")  # NumPy's of infinite values
@given(rows=arrays(np.float64, st.tuples(st.integers(1, 3), st.integers(0, 12)), elements=values))
@settings(max_examples=100)
def test_means_and_standard_deviations_of_any_rows_against_numpy(rows):
    kept = [row[~np.isnan(row)] for row in rows]
    wanted = [(row.mean(), row.std(ddof=1)) if len(row) > 1 else (np.nan, np.nan) for row in kept]
    scale = np.abs(rows[np.isfinite(rows)]).max(initial=0)
    np.testing.assert_allclose(np.column_stack(moments(rows)), wanted, rtol=1e-12, atol=1e-13 * scale)
