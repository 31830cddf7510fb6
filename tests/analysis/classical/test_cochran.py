"""Cochran's Q and its pairs, against R's generalised Mantel-Haenszel test and p.adjust, and Cochran's equation."""

import math

import numpy as np
import pytest

from cxrobust.analysis.classical.cochran import cochran_q, pairwise_mcnemar
from cxrobust.analysis.classical.mcnemar import mcnemar_clustered

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
    found = pairwise_mcnemar(data[REGIMES])
    assert [(pair.first, pair.second) for pair in found] == [(0, 1), (0, 2), (1, 2)]
    assert [pair.test.p_value for pair in found] == pytest.approx(r["pairwise_raw"], rel=1e-10)
    assert [pair.p_adjusted for pair in found] == pytest.approx(r["pairwise_holm"], rel=1e-10)


@pytest.mark.parametrize("weighting", ["patients", "images"])
def test_clustered_pairs_are_the_clustered_test(data, weighting):
    found = pairwise_mcnemar(data[REGIMES], data["patient"], weighting=weighting)
    raw = []
    for pair in found:
        one, other = data[REGIMES[pair.first]], data[REGIMES[pair.second]]
        assert pair.test == mcnemar_clustered(one, other, data["patient"], weighting=weighting)
        raw.append(pair.test.p_value)
    smallest = int(np.argmin(raw))
    assert found[smallest].p_adjusted == pytest.approx(min(1, 3 * raw[smallest]), rel=1e-12)


def test_pairs_that_are_not_estimable_do_not_count():
    """Of three clustered tests one has no discordant image: the other two are adjusted as two."""
    table = np.array([[1, 1, 0]] * 5 + [[0, 0, 1]])
    found = pairwise_mcnemar(table, np.arange(6))
    assert math.isnan(found[0].p_adjusted)
    assert found[0].test.note
    assert found[1].p_adjusted == pytest.approx(2 * found[1].test.p_value, rel=1e-12)
    everywhere = pairwise_mcnemar(np.ones((4, 2)), np.arange(4))
    assert math.isnan(everywhere[0].p_adjusted)


def test_agreement_has_no_q():
    found = cochran_q([[1, 1, 1], [0, 0, 0]])
    assert (math.isnan(found.p_value), found.note) == (True, "the regimes agree on every image")


@pytest.mark.parametrize(
    ("outcomes", "message"),
    [
        ([1, 0, 1], "outcomes has shape"),
        ([[1], [0]], "outcomes has 1 regime, expected at least 2"),
        ([[1, 3], [0, 1]], "outcomes holds values other than 0 and 1"),
    ],
)
def test_wrong_input_is_refused(outcomes, message):
    for function in (cochran_q, pairwise_mcnemar):
        with pytest.raises(ValueError, match=message):
            function(outcomes)
