"""Every estimand and metric has one formula, which can be set, with words for those who hear it."""

import re

import pytest

from cxrobust.analysis.metrics import metric
from cxrobust.radiology_reports.scores import scorer
from cxrobust.reports.figures.formula import set_formula
from cxrobust.reports.formulas import BINS, ESTIMANDS, METRICS, NOTATION, OF_REPORTS, metric_formula
from cxrobust.reports.words import METRICS as WORDS
from cxrobust.results import ESTIMANDS as KNOWN

ALL = {**ESTIMANDS, **METRICS, **OF_REPORTS, **{one.latex: one for one in (*NOTATION, *BINS)}}


def test_nothing_that_results_hold_is_without_a_formula():
    assert set(ESTIMANDS) == set(KNOWN)
    assert set(WORDS) <= set(METRICS)
    for name in metric:
        assert metric_formula(name) is not None, name
    assert metric_formula("coverage-at-risk-2.5") is not None
    for key in scorer:
        for name in scorer[key].measures:
            assert metric_formula(name) is not None, name
    assert metric_formula("length-controlled-green").latex != metric_formula("green").latex
    assert metric_formula("of_another_package") is None


@pytest.mark.parametrize("name", ALL)
def test_a_formula_is_set_at_a_size_that_fits_a_page(name: str):
    one = ALL[name]
    made = set_formula(one.latex, size=12.4, ink="black", display=True)
    width, height = (float(re.search(rf'\b{side}="([\d.]+)"', made.svg)[1]) for side in ("width", "height"))
    assert 2 < width < 420
    assert 5 < height < 60  # stretched fences once made it taller than a page
    assert -30 < made.below <= 0
    assert "<text" not in made.svg
    assert one.said


def test_no_two_formulas_share_an_id():
    made = [set_formula(METRICS[name].latex, size=12.4, ink="black", display=True).svg for name in ("ece", "brier")]
    assert not any("id=" in svg for svg in made)
