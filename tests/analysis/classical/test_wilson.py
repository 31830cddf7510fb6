"""Wilson's interval, plain and clustered, against R's prop.test and survey's design effect, laws and simulation."""

import numpy as np
import pytest

from cxrobust.analysis.classical.wilson import effective_number, wilson_interval, wilson_interval_clustered


def bounds(interval):
    return [interval.low, interval.high]


def test_against_r(r):
    assert bounds(wilson_interval([1] * 8 + [0] * 2)) == pytest.approx(r["wilson_8_of_10"], rel=1e-9)
    assert bounds(wilson_interval([0] * 12)) == pytest.approx(r["wilson_0_of_12"], rel=1e-9, abs=1e-15)


def test_clustered_against_r_survey(data, r):
    assert effective_number(data["first"], data["patient"]) == pytest.approx(r["wilson_effective"], rel=1e-10)
    found = wilson_interval_clustered(data["first"], data["patient"])
    assert bounds(found) == pytest.approx(r["wilson_clustered"], rel=1e-9)
    assert found.note == f"effective number of images {r['wilson_effective']:.1f} of 99"


def test_one_image_a_patient_is_plain(data):
    plain, names = wilson_interval(data["first"]), np.arange(len(data)) + 5
    assert bounds(wilson_interval_clustered(data["first"], names)) == pytest.approx(bounds(plain), rel=1e-12)


def test_duplicates_within_patients_only_change_the_finite_factor(data):
    """The variance by patients is the same; that of independent images has n − 1 below, hence the factor."""
    n = len(data)
    once = effective_number(data["first"], data["patient"])
    twice = effective_number(np.tile(data["first"], 2), np.tile(data["patient"], 2))
    assert twice == pytest.approx(once * (2 * n / (2 * n - 1)) / (n / (n - 1)), rel=1e-12)


def test_patients_that_always_agree_count_about_once():
    outcomes = np.repeat([1, 1, 1, 0, 1, 0, 1, 1, 0, 1], 4)
    patients = np.repeat(np.arange(10), 4)
    assert effective_number(outcomes, patients) == pytest.approx(10 * (40 / 39) * (9 / 10), rel=1e-12)


def test_effective_number_stays_in_range():
    """Patients with a success and a failure each tell more than chance would; a large one could tell less than 1."""
    assert effective_number([1, 0] * 6, np.repeat(np.arange(6), 2)) == 12
    assert effective_number([1] * 9 + [0], [0] * 9 + [1]) >= 1
    assert effective_number([1, 0, 1], [4, 4, 4]) == 1


@pytest.mark.parametrize("outcome", [0, 1])
def test_outcomes_all_alike_take_the_number_of_patients(outcome):
    found = wilson_interval_clustered([outcome] * 12, np.repeat(np.arange(4), 3))
    expected = wilson_interval([outcome] * 4)
    assert bounds(found) == pytest.approx(bounds(expected), rel=1e-12, abs=1e-15)
    assert (found.low == 0) == (outcome == 0)
    assert (found.high == 1) == (outcome == 1)


def test_mirror(data):
    one = wilson_interval_clustered(data["first"], data["patient"], level=0.9)
    other = wilson_interval_clustered(1 - data["first"], data["patient"], level=0.9)
    assert bounds(one) == pytest.approx([1 - other.high, 1 - other.low], rel=1e-10)


def test_coverage_of_clustered_outcomes():
    rng = np.random.default_rng(7)
    patients = np.repeat(np.arange(50), 6)
    covered, n = np.zeros(2), 600
    for _ in range(n):
        outcomes = rng.random(300) < rng.beta(1.6, 0.4, 50)[patients]  # mean 0.8, intraclass correlation 1/3
        for k, found in enumerate([wilson_interval_clustered(outcomes, patients), wilson_interval(outcomes)]):
            covered[k] += found.low <= 0.8 <= found.high
    assert 0.92 < covered[0] / n < 0.98
    assert covered[1] / n < 0.85


def test_wrong_input_is_refused():
    with pytest.raises(ValueError, match="outcomes holds values other than 0 and 1"):
        wilson_interval([0, 0.5])
    with pytest.raises(ValueError, match="level is 1, expected"):
        wilson_interval([0, 1], level=1)
    with pytest.raises(ValueError, match="clusters has shape"):
        wilson_interval_clustered([0, 1], [0])
