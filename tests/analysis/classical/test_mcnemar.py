"""McNemar's tests, against R, published tables, the papers' formulas in loops, and simulation."""

import math

import numpy as np
import pandas as pd
import pytest

from cxrobust.analysis.classical.mcnemar import (
    discordant_pairs,
    mcnemar_clustered,
    mcnemar_exact,
    mcnemar_midp,
)

from . import oracle
from .conftest import REFERENCE


def pairs_of(b, c, *, both=3, neither=4):
    """Outcomes with b images on which only the first is true, and c on which only the second is."""
    first = np.repeat([1, 0, 1, 0], [b, c, both, neither])
    second = np.repeat([0, 1, 1, 0], [b, c, both, neither])
    return first, second


def clustered_null(rng, *, n_patients=60, n_images=5):
    """Equal success, but a patient's discordant images all fall the same way."""
    patients = np.repeat(np.arange(n_patients), n_images)
    favours = rng.integers(0, 2, n_patients)[patients].astype(bool)
    differs = rng.random(len(patients)) < 0.5
    first = rng.random(len(patients)) < 0.5
    return np.where(differs, favours, first), np.where(differs, ~favours, first), patients


def test_exact_and_midp_against_r(r):
    for i, (b, c) in enumerate(zip(r["mcnemar_b"], r["mcnemar_c"], strict=True)):
        first, second = pairs_of(b, c)
        assert discordant_pairs(first, second) == (b, c)
        assert mcnemar_exact(first, second).statistic == b
        assert mcnemar_exact(first, second).p_value == pytest.approx(r["mcnemar_exact_p"][i], rel=1e-9)
        assert mcnemar_midp(first, second).p_value == pytest.approx(r["mcnemar_midp"][i], rel=1e-9)


def test_exact_and_midp_against_hand_arithmetic():
    """Airway hyper-responsiveness in 21 children, Fagerland et al. 2013, supplement, table 1: b = 1, c = 7 of 8."""
    first, second = pairs_of(1, 7, both=1, neither=12)
    assert mcnemar_exact(first, second).p_value == pytest.approx(2 * (1 + 8) / 2**8, rel=1e-12)
    assert mcnemar_midp(first, second).p_value == pytest.approx((2 * (1 + 8) - 8) / 2**8, rel=1e-12)


def test_clustered_against_the_papers_in_loops(data):
    first, second, patients = (data[name].tolist() for name in ("first", "second", "patient"))
    by_patients = mcnemar_clustered(first, second, patients)
    assert by_patients.statistic == pytest.approx(oracle.durkalski(first, second, patients), rel=1e-12)
    assert by_patients.p_value == pytest.approx(oracle.normal_p(math.sqrt(by_patients.statistic)), rel=1e-9)
    by_images = mcnemar_clustered(first, second, patients, weighting="images")
    k = len(set(patients))
    expected = oracle.obuchowski_1998(first, second, patients) * k / (k - 1)
    assert by_images.statistic == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize(
    ("study", "mcnemar", "obuchowski", "durkalski", "yang"),
    [("psychiatry", 11.85, 7.19, 7.542, 8.43), ("glands", 4.5, 2.86, 2.32, 3.13)],
)
def test_clustered_against_durkalski_2003(study, mcnemar, obuchowski, durkalski, yang):
    """χ² that Durkalski et al. 2003 and Yang, Sun and Hardin 2010 publish of two data sets, at second hand.

    Patients of 29 psychiatrists (Donner and Petryshen 1989, doi:10.1016/0165-1781(89)90196-0) and glands of 21 patients
    on PET and SPECT (Obuchowski 1998). Data and values are from R's clust.bin.pair 0.1.2, not from the papers, so that
    table and page are not known: the data are its `psychiatry` and `thyroids`, its tests say which paper reports which
    value, and its help page of `thyroids` prints Obuchowski's as 2.8571, p 0.09097. That of Yang, Sun and Hardin has
    another variance than ours.
    """
    table = pd.read_csv(REFERENCE / "durkalski_2003.csv").query("study == @study")
    first, second, patients = [], [], []
    for patient, n, b, c in table[["cluster", "n", "first_only", "second_only"]].itertuples(index=False):
        first += [1] * b + [0] * (n - b)
        second += [0] * b + [1] * c + [0] * (n - b - c)
        patients += [patient] * n
    k = len(table)
    by_patients = mcnemar_clustered(first, second, patients)
    assert by_patients.statistic == pytest.approx(durkalski, abs=5e-3 if study == "glands" else 5e-4)
    by_images = mcnemar_clustered(first, second, patients, weighting="images").statistic * (k - 1) / k
    assert by_images == pytest.approx(obuchowski, abs=5e-3)
    if study == "glands":
        assert by_images == pytest.approx(2.8571, abs=5e-5)
        assert oracle.normal_p(math.sqrt(by_images)) == pytest.approx(0.09097, abs=5e-6)
    assert mcnemar_clustered(first, second, np.arange(len(first))).statistic == pytest.approx(mcnemar, abs=5e-3)
    assert oracle.yang_2010(first, second, patients) == pytest.approx(yang, abs=5e-3)


@pytest.mark.parametrize("weighting", ["patients", "images"])
def test_clustered_with_one_image_a_patient_against_r(r, weighting):
    for i, (b, c) in enumerate(zip(r["mcnemar_b"], r["mcnemar_c"], strict=True)):
        first, second = pairs_of(b, c)
        found = mcnemar_clustered(first, second, np.arange(len(first)), weighting=weighting)
        assert found.statistic == pytest.approx(r["mcnemar_chi2"][i], rel=1e-12)
        assert found.p_value == pytest.approx(r["mcnemar_chi2_p"][i], rel=1e-9)


@pytest.mark.parametrize("weighting", ["patients", "images"])
def test_clustered_ignores_order_names_and_duplicates(data, weighting):
    first, second, patients = (data[name].to_numpy() for name in ("first", "second", "patient"))
    expected = mcnemar_clustered(first, second, patients, weighting=weighting).statistic
    order = np.random.default_rng(0).permutation(len(first))
    moved = mcnemar_clustered(first[order], second[order], 1000 - 3 * patients[order], weighting=weighting)
    twice = mcnemar_clustered(np.tile(first, 2), np.tile(second, 2), np.tile(patients, 2), weighting=weighting)
    turned = mcnemar_clustered(second, first, patients, weighting=weighting)
    for found in (moved, twice, turned):
        assert found.statistic == pytest.approx(expected, rel=1e-12)
    naive = [mcnemar_exact(np.tile(first, k), np.tile(second, k)).p_value for k in (1, 4)]
    assert naive[1] < naive[0] / 3  # the plain test takes copies for evidence


def test_rejections_under_a_clustered_null():
    """With patients whose images all fall the same way, the clustered tests keep 5 %, and the exact one does not."""
    rng = np.random.default_rng(1)
    rejected = np.zeros(3)
    for _ in range(800):
        first, second, patients = clustered_null(rng)
        rejected += [
            mcnemar_clustered(first, second, patients).p_value < 0.05,
            mcnemar_clustered(first, second, patients, weighting="images").p_value < 0.05,
            mcnemar_exact(first, second).p_value < 0.05,
        ]
    by_patients, by_images, exact = rejected / 800
    assert 0.03 < by_patients < 0.07
    assert 0.03 < by_images < 0.07
    assert exact > 0.2


def test_nothing_discordant_is_said():
    first = np.array([1, 0, 1, 0])
    for test in (mcnemar_exact, mcnemar_midp):
        found = test(first, first)
        assert (found.p_value, found.note) == (1.0, "the outcomes agree on every image")
    clustered = mcnemar_clustered(first, first, [0, 0, 1, 1])
    assert clustered.p_value == 1
    assert clustered.note


@pytest.mark.parametrize(
    ("first", "second", "clusters", "message"),
    [
        ([1, 0], [1], [0, 1], "first has 2 images and second 1"),
        ([1, 2], [1, 0], [0, 1], "first holds values other than 0 and 1"),
        ([], [], [], "first has shape"),
        ([1, 0], [[1, 0]], [0, 1], "second has shape"),
        ([1, 0], [0, 1], [0], "clusters has shape"),
    ],
)
def test_wrong_input_is_refused(first, second, clusters, message):
    with pytest.raises(ValueError, match=message):
        mcnemar_clustered(first, second, clusters)


def test_unknown_weighting_is_refused():
    with pytest.raises(ValueError, match="weighting is 'patient', expected 'patients' or 'images'"):
        mcnemar_clustered([1, 0], [0, 1], [0, 1], weighting="patient")
