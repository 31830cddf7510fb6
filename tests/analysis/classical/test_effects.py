"""Dominance, against R's effectsize and wilcox.test, and all pairs in loops."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import roc_auc_score

from cxrobust.analysis.classical.effects import dominance, dominance_paired

from . import oracle

samples = st.lists(st.integers(-4, 4).map(float), min_size=1, max_size=12)


def test_against_r(data, r):
    found = dominance(data["a"][:40], data["b"][9:35])
    assert found.delta == pytest.approx(r["cliff"], rel=1e-12)
    assert found.superiority == pytest.approx(r["superiority"], rel=1e-12)
    assert dominance_paired(data["a"], data["b"]).delta == pytest.approx(r["paired_delta"], rel=1e-12)


@given(samples, samples)
def test_against_all_pairs_in_loops(first, second):
    found = dominance(first, second)
    assert (found.n_greater, found.n_equal, found.n_less) == oracle.wins(first, second)
    assert found.n_comparisons == len(first) * len(second)
    assert found.delta == pytest.approx(2 * found.superiority - 1, abs=1e-12)
    other = dominance(second, first)
    assert (other.n_greater, other.n_less) == (found.n_less, found.n_greater)


def test_superiority_of_positives_is_sklearn_auroc(data):
    positive = data["label"] == 1
    found = dominance(data["c"][positive], data["c"][~positive])
    assert found.superiority == pytest.approx(roc_auc_score(data["label"], data["c"]), rel=1e-12)


@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 3)), min_size=1, max_size=20))
def test_paired_against_loops(pairs):
    found = dominance_paired([a for a, _ in pairs], [b for _, b in pairs])
    assert found.n_greater == sum(a > b for a, b in pairs)
    assert found.n_equal == sum(a == b for a, b in pairs)
    assert found.n_less == sum(a < b for a, b in pairs)


def test_large_samples_are_counted_exactly():
    n = 200_000
    found = dominance(np.arange(n) + 0.5, np.arange(n))
    assert found.n_greater == n * (n + 1) // 2
    assert found.n_equal == 0
    assert found.n_less == n * (n - 1) // 2


def test_wrong_input_is_refused():
    with pytest.raises(ValueError, match="first has 2 values and second 1, expected pairs"):
        dominance_paired([1, 2], [1])
    with pytest.raises(ValueError, match="second has shape"):
        dominance([1.0], [])
    with pytest.raises(ValueError, match="first holds values that are not finite"):
        dominance([np.nan], [1.0])
