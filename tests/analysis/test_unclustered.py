"""Image-level standard errors."""

import math

import numpy as np
import pytest

from cxrobust.analysis.unclustered import delong_se

from . import oracle
from .made import make_cell, random_cell


@pytest.mark.parametrize("levels", [None, 6, 1])
def test_delong_se_against_all_pairs(levels):
    cell = random_cell(np.random.default_rng(1), levels=levels)
    expected = math.sqrt(oracle.delong_variance(cell.probabilities.tolist(), cell.labels.tolist()))
    assert delong_se(cell) == pytest.approx(expected, abs=1e-12)


def test_delong_se_by_hand():
    """Placements of 0.4 and 0.8: 1/2 and 1; of 0.1 and 0.6: 1 and 1/2; each has variance 1/8."""
    assert delong_se(make_cell([0.1, 0.4, 0.6, 0.8], [0, 1, 0, 1])) == pytest.approx(math.sqrt(1 / 8))


def test_one_image_of_a_class_has_no_standard_error():
    assert math.isnan(delong_se(make_cell([0.1, 0.4, 0.6], [0, 1, 0])))


def test_patients_do_not_matter():
    cell = random_cell(np.random.default_rng(2))
    alone = make_cell(cell.probabilities, cell.labels)
    assert delong_se(cell) == delong_se(alone)
