"""Cochran's Q and its pairs, against R's generalised Mantel-Haenszel test and mcnemar.test, and Cochran's equation."""

from itertools import combinations

import numpy as np
import pytest

from cxrobust.analysis.classical.cochran import cochran_q
from cxrobust.analysis.classical.mcnemar import mcnemar_clustered, mcnemar_exact

from . import oracle

REGIMES = ["first", "second", "third"]


def test_q_against_r(data, r):
    statistic, _, p_value = r["cochran"]
    found = cochran_q(data[REGIMES])
    assert (found.statistic, found.p_value) == pytest.approx((statistic, p_value), rel=1e-10)


def test_q_against_the_paper_in_loops():
    table = np.random.default_rng(0).integers(0, 2, (25, 5))
    assert cochran_q(table).statistic == pytest.approx(oracle.cochran_q(table.tolist()), rel=1e-12)


def test_q_of_two_regimes_is_mcnemar(data):
    two = data[["first", "third"]].to_numpy()
    found = cochran_q(two)
    expected = mcnemar_clustered(two[:, 0], two[:, 1], np.arange(len(two)))
    assert (found.statistic, found.p_value) == pytest.approx((expected.statistic, expected.p_value), rel=1e-10)


def test_q_ignores_order_and_agreement(data):
    table = data[REGIMES].to_numpy()
    expected = cochran_q(table).statistic
    agreed = np.vstack([table[::-1, [2, 0, 1]], np.ones((9, 3), dtype=int), np.zeros((4, 3), dtype=int)])
    assert cochran_q(agreed).statistic == pytest.approx(expected, rel=1e-12)


def test_pairs_against_r(data, r):
    found = [mcnemar_exact(data[one], data[other]).p_value for one, other in combinations(REGIMES, 2)]
    assert found == pytest.approx(r["pairwise_raw"], rel=1e-10)


def test_agreement_is_no_difference():
    found = cochran_q([[1, 1, 1], [0, 0, 0]])
    assert (found.statistic, found.p_value, found.note) == (0.0, 1.0, "the regimes agree on every image")


@pytest.mark.parametrize(
    ("outcomes", "message"),
    [
        ([1, 0, 1], "outcomes has shape"),
        ([[1], [0]], "outcomes has 1 regime, expected at least 2"),
        ([[1, 3], [0, 1]], "outcomes holds values other than 0 and 1"),
    ],
)
def test_wrong_input_is_refused(outcomes, message):
    with pytest.raises(ValueError, match=message):
        cochran_q(outcomes)
