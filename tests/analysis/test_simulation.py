"""Level of the permutation test and coverage of intervals on simulated studies with clustered patients.

Latent scores are normal, so the true accuracies and AUROCs are known in closed form.
"""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from scipy.stats import norm

from cxrobust.analysis import analyze
from cxrobust.analysis.classical.delong import auroc_variance
from cxrobust.analysis.intervals import Draws, percentile
from cxrobust.analysis.metrics import metric
from cxrobust.analysis.permutation import sign_flip_p_values
from cxrobust.analysis.resampling import LANES, patient_counts
from cxrobust.study.analysis import Subgroups

from .made import make_cell, make_predictions, make_settings

N_PATIENTS = 60
SHARED = 0.6
"""Part of a score's variance that a patient's images share."""
CARRIED_BY_A_CLASS = sorted(name for name in metric if metric[name].carried_by != "images")
AUROC, ACCURACY = metric["auroc"], metric["accuracy"]


def draw_patients(rng):
    """Patients with 1 to 6 images; half of the patients have the finding, on all of their images."""
    patients = np.repeat(np.arange(N_PATIENTS), rng.integers(1, 7, N_PATIENTS))
    return patients, (patients % 2).astype(np.int8)


def draw_noise(rng, patients):
    """Standard normal, alike within a patient."""
    return np.sqrt(SHARED) * rng.normal(size=N_PATIENTS)[patients] + np.sqrt(1 - SHARED) * rng.normal(
        size=len(patients)
    )


def cell_of_auroc(rng, patients, y, auroc, common):
    """Scores whose true AUROC is `auroc`; half of their noise is common to all cells."""
    noise = np.sqrt(0.5) * common + np.sqrt(0.5) * draw_noise(rng, patients)
    return make_cell(norm.cdf(noise + y * np.sqrt(2) * norm.ppf(auroc)), y, patients, n_patients=N_PATIENTS)


def cell_of_accuracy(rng, patients, y, accuracy, common):
    """Probabilities whose true accuracy at 0.5 is `accuracy` in both classes."""
    noise = np.sqrt(0.5) * common + np.sqrt(0.5) * draw_noise(rng, patients)
    return make_cell(norm.cdf(noise + (2 * y - 1) * norm.ppf(accuracy)), y, patients, n_patients=N_PATIENTS)


def contrasts_of_one_study(rng, one, make, truth):
    """Contributions to the difference-in-differences and to regime − reference on clean images, (n_patients, 2)."""
    patients, y = draw_patients(rng)
    common = draw_noise(rng, patients)
    each = {cell: one.contributions(make(rng, patients, y, value, common)) for cell, value in truth.items()}
    interaction = each["lora", "pgd"] - each["lora", "clean"] - each["supervised", "pgd"] + each["supervised", "clean"]
    return np.column_stack([interaction, each["lora", "clean"] - each["supervised", "clean"]])


@pytest.mark.parametrize(("one", "make"), [(ACCURACY, cell_of_accuracy), (AUROC, cell_of_auroc)])
def test_level_without_interaction_although_regimes_differ(one, make):
    """Both regimes lose 0.10 and differ by 0.12 on clean images: the interaction is rejected in 5 % of 1,000 studies.

    The binomial standard error is 0.7 %, so 5 ± 2.4 % is 3.5 of them either way; sums of right and wrong decisions
    have many ties, which all count against the null, so that 4 % is expected of the accuracy. The difference on clean
    images, which a test of equal regimes would take up, is found in most studies.
    """
    truth = {
        ("supervised", "clean"): 0.88,
        ("supervised", "pgd"): 0.78,
        ("lora", "clean"): 0.76,
        ("lora", "pgd"): 0.66,
    }
    rng = np.random.default_rng(20)
    studies = np.concatenate([contrasts_of_one_study(rng, one, make, truth) for _ in range(1000)], axis=1)
    p = sign_flip_p_values(studies, n_draws=399, rng=rng)
    low = 0.018 if one is ACCURACY else 0.026
    assert low < np.mean(p[0::2] <= 0.05) < 0.074
    assert np.mean(p[1::2] <= 0.05) > 0.5
    assert p.min() >= 1 / 400


@pytest.mark.parametrize(("one", "make"), [(ACCURACY, cell_of_accuracy), (AUROC, cell_of_auroc)])
def test_power_against_an_interaction(one, make):
    """One regime loses 0.02, the other 0.30: found in most of 200 studies."""
    truth = {
        ("supervised", "clean"): 0.88,
        ("supervised", "pgd"): 0.58,
        ("lora", "clean"): 0.88,
        ("lora", "pgd"): 0.86,
    }
    rng = np.random.default_rng(21)
    studies = np.concatenate([contrasts_of_one_study(rng, one, make, truth) for _ in range(200)], axis=1)
    assert np.mean(sign_flip_p_values(studies[:, 0::2], n_draws=399, rng=rng) <= 0.05) > 0.8


@pytest.mark.parametrize("name", CARRIED_BY_A_CLASS)
@pytest.mark.parametrize("rare", [0, 1])
def test_level_where_few_patients_have_one_of_the_classes(name, rare):
    """Of two regimes of one law: no more than 5 % of 400 studies, up to 3.5 binomial standard errors of 1.1 %.

    Four of 60 patients are of the rare class. Flipping influences, whose mean in each class is 0, would reject a third.
    """
    rng = np.random.default_rng(24)
    each = []
    for _ in range(400):
        patients, _ = draw_patients(rng)
        y = np.where(patients < 4, rare, 1 - rare)
        common = draw_noise(rng, patients)
        cells = [cell_of_auroc(rng, patients, y, 0.8, common) for _ in range(2)]
        if all(metric[name].undefined(cell) is None for cell in cells):
            each.append(metric[name].contributions(cells[0]) - metric[name].contributions(cells[1]))
    assert len(each) > 300
    p = sign_flip_p_values(np.column_stack(each), n_draws=399, rng=rng)
    assert np.mean(p <= 0.05) < 0.09


def test_level_where_few_patients_have_most_images_of_the_larger_class():
    """Three of 63 patients have 40 positive images each, the others a negative one: patients and not images are few."""
    rng = np.random.default_rng(25)
    patients = np.concatenate([np.repeat(np.arange(3), 40), np.arange(3, 63)])
    y = (patients < 3).astype(np.int8)
    each = []
    for _ in range(400):
        common = rng.normal(size=63)[patients]
        cells = [make_cell(norm.cdf(common + rng.normal(size=63)[patients] + y), y, patients) for _ in range(2)]
        each.append(AUROC.contributions(cells[0]) - AUROC.contributions(cells[1]))
    assert np.mean(sign_flip_p_values(np.column_stack(each), n_draws=399, rng=rng) <= 0.05) < 0.09


@pytest.mark.parametrize("name", ["auroc", "sensitivity"])
def test_level_of_gaps_where_few_patients_of_a_subgroup_are_positive(name):
    """Of two regimes of one law; four of 64 women are positive, and 30 of 60 men: 5 % up to chance, in 60 studies.

    Were both subgroups to carry a gap, a fifth or more would be rejected.
    """
    labels = np.repeat([1, 0, 1, 0], [4, 60, 30, 30]).astype(np.int8)
    sex = np.repeat(["F", "M"], [64, 60])
    made = make_predictions(n_patients=124, most_images=1, findings=("Mass",))
    settings = make_settings(metrics=(name,), resamples=199, operating_point=0.5, subgroups=(Subgroups(column="sex"),))
    p_values = []
    for study in range(60):
        rng = np.random.default_rng([26, study])
        evidence = rng.normal(size=124) + rng.normal(size=(2, 3, 124)) + 2 * labels - 1
        drawn = replace(
            made,
            labels=labels[:, None],
            probabilities=norm.cdf(evidence)[..., None],
            metadata=pd.DataFrame({"sex": sex}),
        )
        found = analyze(drawn, settings, reference="supervised", seed=study).estimates
        p_values += [e.p_value for e in found if ": M" in e.subgroup or ": F" in e.subgroup if e.p_value is not None]
    assert len(p_values) > 500
    assert np.mean(np.array(p_values) <= 0.05) < 0.08


def test_level_of_calibration_error_between_equal_regimes():
    """No more than 5 % of 400 studies, up to 3.5 binomial standard errors of 1.1 %; absolute gaps make it rarer."""
    truth = {(regime, c): v for regime in ("supervised", "lora") for c, v in (("clean", 0.88), ("pgd", 0.78))}
    rng = np.random.default_rng(23)
    studies = [contrasts_of_one_study(rng, metric["ece"], cell_of_auroc, truth)[:, 0] for _ in range(400)]
    p = sign_flip_p_values(np.column_stack(studies), n_draws=399, rng=rng)
    assert np.mean(p <= 0.05) < 0.09


def test_coverage_of_patient_and_image_intervals():
    """A true AUROC of 0.8 lies in the patient bootstrap's 95 % interval about as often as it should, in DeLong's not.

    Over 800 studies the binomial standard error is 0.8 %, and 3.5 of them are 2.8 %. Percentile intervals between
    quantiles of a few hundred resamples are short by about 1 %, so 91 % to 97.8 % is asked for. The image-level
    interval holds the truth in about 75 % of studies.
    """
    rng = np.random.default_rng(22)
    held_by_patient, held_by_image = [], []
    for _ in range(800):
        patients, y = draw_patients(rng)
        cell = cell_of_auroc(rng, patients, y, 0.8, draw_noise(rng, patients))
        counts = patient_counts(N_PATIENTS, n_resamples=6 * LANES, rng=rng)
        draws = AUROC.resample([cell], counts)
        (interval,) = percentile(Draws(value=np.zeros(1), resampled=draws, influences=np.zeros((1, 2))), 0.95)
        held_by_patient.append(interval.low <= 0.8 <= interval.high)
        by_image = auroc_variance(cell.labels, cell.probabilities).standard_error
        held_by_image.append(abs(AUROC.value(cell) - 0.8) <= norm.ppf(0.975) * by_image)
    assert 0.91 < np.mean(held_by_patient) < 0.978
    assert 0.69 < np.mean(held_by_image) < 0.81
