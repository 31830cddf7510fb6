"""Intervals against R's boot on the very resamples that boot drew, and adjusted p-values against p.adjust.

reference/make.R made the values; no R is needed here.
"""

import json
import math
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy.stats import norm

from cxrobust.analysis import intervals
from cxrobust.analysis.families import Families, adjust
from cxrobust.analysis.intervals import INTERVALS, Draws, linearised_se
from cxrobust.analysis.metrics import metric
from cxrobust.analysis.resampling import LANES

from .made import make_cell
from .test_families import made

HERE = Path(__file__).parent
QUANTITIES = ("brier", "auroc", "difference")
METHODS = ("percentile", "basic", "bca", "studentized")
LEVELS = (0.9, 0.95)
ADJUSTMENTS = {
    "holm": "holm",
    "hommel": "hommel",
    "bonferroni": "bonferroni",
    "benjamini-hochberg": "BH",
    "benjamini-yekutieli": "BY",
}


@pytest.fixture(scope="module")
def r():
    """R's value of each quantity."""
    return json.loads((HERE / "reference" / "values.json").read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def draws():
    """Brier score of `a`, AUROC of `b` and AUROC of `a` less that of `b`, resampled as boot did."""
    images = pd.read_csv(HERE / "classical" / "reference" / "inputs.csv")
    a, b = (make_cell(images[name], images["label"], images["patient"]) for name in "ab")
    lines = (HERE / "reference" / "counts.txt").read_text(encoding="utf-8").split()
    drawn = np.array([[int(digit) for digit in line] for line in lines])
    counts = np.zeros((-(-len(drawn) // LANES), a.n_patients, LANES), dtype=np.uint8)
    for resample, row in enumerate(drawn):
        counts[resample // LANES, :, resample % LANES] = row
    brier, first, second = (_of(name, cell, counts) for name, cell in (("brier", a), ("auroc", a), ("auroc", b)))
    difference = tuple(x - y for x, y in zip(first, second, strict=True))
    found = {}
    for name, (value, resampled, u) in zip(QUANTITIES, (brier, second, difference), strict=True):
        n = len(u)
        ses = np.sqrt(n / (n - 1) * (drawn @ u**2 - (drawn @ u) ** 2 / n))
        found[name] = Draws(
            value=np.array([value]),
            resampled=resampled[None, : len(drawn)],
            influences=u[None],
            resampled_se=ses[None],
        )
    return found


def _of(name, cell, counts):
    """Value, resampled values and patients' influences."""
    one = metric[name]
    value = one.value(cell)
    return value, one.resample([cell], counts)[0], one.contributions(cell) - value * one.share(cell)


def boot_quantile(values, probabilities, axis=None):
    """Quantiles as boot has them: order statistic k at k / (R + 1), between two of them linear in normal quantiles.

    Davison and Hinkley 1997, equation 5.8 (doi:10.1017/CBO9780511802843).
    """
    if axis == 1:
        return np.stack([boot_quantile(row, probabilities) for row in values], axis=1)
    ordered, n = np.sort(values), len(values)
    found = []
    for p in np.atleast_1d(probabilities):
        rank = round((n + 1) * p, 9)
        k = math.floor(rank)
        assert 1 <= k < n
        at, after = norm.ppf(k / (n + 1)), norm.ppf((k + 1) / (n + 1))
        share = (norm.ppf(p) - at) / (after - at) if rank > k else 0
        found.append(ordered[k - 1] + share * (ordered[k] - ordered[k - 1]))
    return np.array(found) if np.ndim(probabilities) else found[0]


def boot_tails(rows, low, high):
    """What `tail_quantiles` returns, with boot's quantiles."""
    lows, highs = (
        np.array([boot_quantile(row, p) for row, p in zip(rows, shares, strict=True)]) for shares in (low, high)
    )
    return rows.std(axis=1, ddof=1), lows, highs


def ends(r, quantity, method, level):
    i = 2 * LEVELS.index(level)
    return r[f"{quantity}_{method}"][i : i + 2]


@pytest.mark.parametrize("quantity", QUANTITIES)
def test_values_and_influences_against_boot(draws, r, quantity):
    """Boot's influences are difference quotients with a step of 1e-6 / 30: right to some 1e-7 of the largest."""
    found = draws[quantity]
    assert found.value[0] == pytest.approx(r[f"{quantity}_value"], rel=1e-12)
    influence = np.array(r[f"{quantity}_influence"])
    assert found.influences[0] == pytest.approx(influence, abs=1e-6 * np.abs(influence).max())
    assert linearised_se(found.influences)[0] == pytest.approx(linearised_se(influence), rel=1e-6)


@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("quantity", QUANTITIES)
def test_intervals_against_boot_with_its_interpolation(draws, r, monkeypatch, quantity, method, level):
    """With boot's quantiles in place of NumPy's, the intervals are boot's; bca and studentised ones also hold boot's
    influences, which are right to 1e-6.
    """
    monkeypatch.setattr(intervals.np, "quantile", boot_quantile)
    monkeypatch.setattr(intervals, "tail_quantiles", boot_tails)
    (found,) = INTERVALS[method](draws[quantity], level)
    tolerance = 1e-12 if method in {"percentile", "basic"} else 1e-6 * r[f"{quantity}_bootstrap_se"]
    assert (found.low, found.high) == pytest.approx(ends(r, quantity, method, level), rel=0, abs=tolerance)
    assert found.se == pytest.approx(r[f"{quantity}_bootstrap_se"], rel=1e-10)


@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize("quantity", QUANTITIES)
def test_percentile_is_one_gap_from_boot_at_most(draws, r, quantity, level):
    """NumPy has quantile p of R values at rank 1 + (R − 1) p, boot at (R + 1) p, here a whole k: 1 − 2p ranks apart."""
    (found,) = INTERVALS["percentile"](draws[quantity], level)
    ordered = np.sort(draws[quantity].resampled[0])
    k = round((len(ordered) + 1) * (1 - level) / 2)
    low, high = ends(r, quantity, "percentile", level)
    assert (low, high) == pytest.approx((ordered[k - 1], ordered[-k]), rel=1e-12)
    assert ordered[k - 1] <= found.low <= ordered[k]
    assert ordered[-k - 1] <= found.high <= ordered[-k]


@pytest.mark.parametrize("family", ["four", "ties", "edges", "one", "many"])
@pytest.mark.parametrize("method", ADJUSTMENTS)
def test_adjusted_p_values_against_r(r, family, method):
    p_values, expected = (
        np.atleast_1d(r[name]) for name in (f"p_{family}", f"adjusted_{family}_{ADJUSTMENTS[method]}")
    )
    families = Families(
        declared=(), primary_estimand="regime-reference", primary_condition=None, adjust=method, alpha=0.05
    )
    found = adjust([made(float(p)) for p in p_values], families)
    assert [e.p_adjusted for e in found] == pytest.approx(expected.tolist(), rel=1e-12)
