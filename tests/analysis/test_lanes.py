"""Numbers side by side in registers, against NumPy."""

import numba
import numpy as np
import pytest

from cxrobust.analysis.lanes import absolute, cast, load, n_not_negative, spread, store, where_not_negative


@numba.njit
def of_fractions(rows, out):
    one, other = load(rows, np.uint32(1), 2, 16), load(rows, np.uint32(0), 0, 16)
    store(out, 3, absolute((one - other) * other / one + spread(-0.5, np.float64, 16)))


@numba.njit
def of_counts(rows, kind, out):
    wide = cast(load(rows, np.uint32(2), 1, 16), kind)
    store(out, 0, wide * wide)


@numba.njit
def not_negative(rows, out):
    lanes = load(rows, np.uint32(0), 0, 16)
    store(out, 0, where_not_negative(lanes, lanes, spread(7, np.int32, 16)))
    return n_not_negative(lanes)


def test_fractions_of_two_rows():
    rows, out = np.random.default_rng(1).normal(size=(2, 18)), np.zeros(20)
    of_fractions(rows, out)
    one, other = rows[1, 2:], rows[0, :16]
    np.testing.assert_allclose(out[3:19], np.abs((one - other) * other / one - 0.5), rtol=1e-15)
    assert out[[0, 1, 2, 19]].tolist() == [0, 0, 0, 0]


@pytest.mark.parametrize("narrow", [np.uint8, np.uint16])
@pytest.mark.parametrize("wide", [np.int32, np.int64, np.float64])
def test_the_largest_counts_widen_without_a_sign(narrow, wide):
    largest = int(np.iinfo(narrow).max) if narrow is np.uint8 else 40_000
    rows, out = np.full((3, 17), largest, narrow), np.zeros(16, wide)
    of_counts(rows, np.dtype(wide), out)
    assert (out == np.full(16, largest, wide) ** 2).all()


def test_numbers_of_0_and_more_are_counted_and_chosen():
    rows, out = np.arange(-5, 11, dtype=np.int32)[None], np.zeros(16, np.int32)
    assert not_negative(rows, out) == 11
    assert out.tolist() == [7] * 5 + list(range(11))


def test_numbers_that_do_not_lie_in_a_row_are_refused():
    """Those of a transposed array would be read from where others lie."""
    rows, out = np.zeros((18, 2)).T, np.zeros(20)
    with pytest.raises(numba.TypingError, match="numbers lie in a row"):
        of_fractions(rows, out)
    with pytest.raises(numba.TypingError, match="numbers lie in a row"):
        of_fractions(np.zeros((2, 18)), np.zeros(40)[::2])
