"""Families of tests and Holm's adjustment, against R-style hand arithmetic."""

from dataclasses import replace

import numpy as np
import pytest

from cxrobust.analysis import families
from cxrobust.analysis.families import PRIMARY, Families, family_of
from cxrobust.results import Estimate

from . import oracle


def made(p, **changes):
    base = Estimate(
        estimand="difference-in-differences",
        metric="auroc",
        regime="lora",
        reference="supervised",
        condition="pgd",
        finding="Mass",
        estimate=0.1,
        se=None,
        ci_low=None,
        ci_high=None,
        interval=None,
        p_value=p,
        p_adjusted=None,
        test=None if p is None else "permutation",
        family=None,
        n_images=10,
        n_patients=5,
        n_positive=4,
        n_positive_patients=3,
        note="",
    )
    return replace(base, **changes)


def adjust(rows, *, primary_condition, method="holm", declared=(), **given):
    wanted = Families(declared=tuple(declared), primary_condition=primary_condition, adjust=method)
    return families.adjust(rows, wanted, **given)


def test_holm_by_hand():
    """p.adjust(c(0.01, 0.04, 0.03, 0.005), "holm") in R: 0.03, 0.06, 0.06, 0.02."""
    found = adjust([made(p) for p in (0.01, 0.04, 0.03, 0.005)], primary_condition="noise")
    assert [e.p_adjusted for e in found] == pytest.approx([0.03, 0.06, 0.06, 0.02], abs=1e-15)
    assert {e.family for e in found} == {"difference-in-differences, auroc, lora, pgd, findings"}


@pytest.mark.parametrize("n", [1, 2, 9, 40])
def test_holm_against_plain_loops(n):
    p = (np.random.default_rng(n).random(n) ** 3).round(3).tolist()  # with ties
    found = adjust([made(one) for one in p], primary_condition=None)
    assert [e.p_adjusted for e in found] == pytest.approx(oracle.holm(p), abs=1e-15)


def test_families_do_not_mix():
    rows = [
        made(0.01),
        made(0.02, finding="Edema"),
        made(0.01, regime="dpo"),
        made(0.01, condition="noise"),
        made(0.01, metric="brier"),
        made(0.01, estimand="perturbed-clean", reference=None),
        made(None, finding="Hernia"),
        made(None, estimand="value", reference=None),
    ]
    found = adjust(rows, primary_condition="pgd")
    assert [e.p_adjusted for e in found] == [0.02, 0.02, 0.01, 0.01, 0.01, 0.01, None, None]
    assert [e.family is None for e in found] == [False] * 6 + [True] * 2
    assert [replace(e, family=None, p_adjusted=None) for e in found] == rows


def test_the_primary_family_joins_metrics_and_regimes():
    rows = [
        made(0.01, finding="macro", metric=metric, regime=regime)
        for metric in ("auroc", "ece")
        for regime in ("a", "b")
    ]
    other = made(0.03, finding="macro", condition="noise")
    *primary, alone = adjust([*rows, other], primary_condition="pgd")
    assert {e.family for e in primary} == {PRIMARY}
    assert {e.p_adjusted for e in primary} == {0.04}
    assert (alone.family, alone.p_adjusted) == ("difference-in-differences, auroc, macro", 0.03)


def test_the_primary_family_of_clean_images_alone_is_the_difference_of_regimes():
    row = made(0.2, finding="macro", estimand="regime-reference", condition="clean")
    assert family_of(row, primary_condition=None) == PRIMARY
    assert family_of(row, primary_condition="pgd") == "regime-reference, auroc, macro"


def test_a_value_has_no_family():
    assert Families(declared=(), primary_condition="pgd", adjust="holm").of(made(0.1, estimand="value")) is None


@pytest.mark.parametrize(
    ("method", "expected"),
    [
        ("hommel", [0.03, 0.04, 0.04, 0.02]),
        ("bonferroni", [0.04, 0.16, 0.12, 0.02]),
        ("benjamini-hochberg", [0.02, 0.04, 0.04, 0.02]),
        ("benjamini-yekutieli", [0.04166666666666667, 0.08333333333333333, 0.08333333333333333, 0.04166666666666667]),
        ("none", [0.01, 0.04, 0.03, 0.005]),
    ],
)
def test_methods_against_r(method, expected):
    """p.adjust(c(0.01, 0.04, 0.03, 0.005), method) in R; for `none` the p-values themselves."""
    found = adjust([made(p) for p in (0.01, 0.04, 0.03, 0.005)], primary_condition="noise", method=method)
    assert [e.p_adjusted for e in found] == pytest.approx(expected, abs=1e-15)
