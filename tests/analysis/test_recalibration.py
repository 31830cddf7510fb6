"""Recalibration against SciPy, statsmodels, scikit-learn and netcal itself, and the laws of fitting on clean images."""

import random
import subprocess
import sys
import warnings
from dataclasses import dataclass, fields, replace

import numpy as np
import pytest
import statsmodels.api as sm
from scipy.optimize import isotonic_regression, minimize_scalar
from scipy.special import expit, logit
from sklearn.isotonic import IsotonicRegression

from cxrobust.analysis import recalibration
from cxrobust.analysis.recalibration import recalibrate
from cxrobust.predictions import PredictionSet

from .made import make_predictions, with_images, with_labels

METHODS = ("temperature", "platt", "isotonic", "beta")
LOGISTIC = ("temperature", "platt", "beta")
EPS = np.finfo(float).eps


@pytest.fixture(scope="module", autouse=True)
def _netcal():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # netcal's own modules warn when they are compiled
        pytest.importorskip("netcal.scaling", reason="netcal is not installed: pip install 'cxrobust[recalibration]'")


@dataclass(frozen=True, kw_only=True, slots=True)
class Validated(PredictionSet):
    """Predictions with clean predictions on other images."""

    validation: PredictionSet | None = None


def validated(predictions, validation):
    own = {f.name: getattr(predictions, f.name) for f in fields(predictions) if f.name != "validation"}
    return Validated(**own, validation=validation)


def made(seed=0, **changes):
    """150 patients, several images each, with ties."""
    return make_predictions(seed=seed, n_patients=150, **changes)


def features(method, p):
    p = np.clip(p, EPS, 1 - EPS)
    return {
        "temperature": lambda: np.column_stack([logit(p)]),
        "platt": lambda: np.column_stack([logit(p), np.ones_like(p)]),
        "beta": lambda: np.column_stack([np.log(p), -np.log1p(-p), np.ones_like(p)]),
    }[method]()


def log_likelihood(z, y):
    return float(-np.logaddexp(0, np.where(y == 1, -z, z)).sum())


def by_glm(method, p, y, without=()):
    """Coefficients of greatest likelihood, those `without` being 0."""
    x = features(method, p)
    kept = [i for i in range(x.shape[1]) if i not in without]
    whole = np.zeros(x.shape[1])
    whole[kept] = sm.GLM(y, x[:, kept], family=sm.families.Binomial()).fit(tol=1e-14).params
    return whole


def on_validation(method, *, seed=0, **changes):
    """Fit on validation images; return what was fitted on, what was mapped, and the outcome."""
    validation = made(seed=seed, conditions=("clean",), **changes)
    study = made(seed=seed + 1)
    return validation, study, recalibrate(validated(study, validation), method, seed=5)


def each_fit(validation, outcome):
    """One fit, its clean validation probabilities and labels, and its places."""
    for fit in outcome.fits:
        m, k = validation.members.index((fit.regime, fit.replicate)), validation.findings.index(fit.finding)
        labelled = validation.labels[:, k] >= 0
        yield fit, validation.probabilities[m, 0, labelled, k], validation.labels[labelled, k], m, k


# Oracles


def test_temperature_against_scipy():
    validation, study, outcome = on_validation("temperature", missing=0.1)
    assert outcome.fitted_on == "clean validation images"
    for fit, p, y, m, k in each_fit(validation, outcome):
        z = features("temperature", p)[:, 0]
        best = minimize_scalar(lambda t, z=z, y=y: -log_likelihood(z / t, y), bounds=(0.05, 20), method="bounded").x
        assert fit.parameters["temperature"] == pytest.approx(best, rel=1e-3)
        mapped = expit(logit(np.clip(study.probabilities[m, :, :, k], EPS, 1 - EPS)) / fit.parameters["temperature"])
        np.testing.assert_allclose(outcome.probabilities[m, :, :, k], mapped, rtol=0, atol=1e-12)


def test_platt_against_statsmodels():
    validation, study, outcome = on_validation("platt", missing=0.1)
    for fit, p, y, m, k in each_fit(validation, outcome):
        best = by_glm("platt", p, y)
        assert [fit.parameters["slope"], fit.parameters["intercept"]] == pytest.approx(best, rel=1e-2, abs=1e-3)
        z = features("platt", study.probabilities[m, 1, :, k]) @ best
        np.testing.assert_allclose(outcome.probabilities[m, 1, :, k], expit(z), rtol=0, atol=1e-3)


def best_beta(p, y):
    """Where a slope of the free fit is negative, the fit without it (Kull et al. 2017), and which that is."""
    best = by_glm("beta", p, y)
    without = tuple(np.flatnonzero(best[:2] < 0).tolist())
    return (by_glm("beta", p, y, without=without) if without else best), without


def test_beta_against_statsmodels():
    validation, study, outcome = on_validation("beta", missing=0.1)
    for fit, p, y, m, k in each_fit(validation, outcome):
        best, _ = best_beta(p, y)
        found = np.array([fit.parameters[name] for name in "abc"])
        gap = log_likelihood(features("beta", p) @ best, y) - log_likelihood(features("beta", p) @ found, y)
        assert -1e-8 < gap <= recalibration.TOLERATED + 1e-8
        z = features("beta", study.probabilities[m, 2, :, k]) @ found
        np.testing.assert_allclose(outcome.probabilities[m, 2, :, k], expit(z), rtol=0, atol=1e-12)


@pytest.mark.parametrize(("a", "b", "zero"), [(-0.4, 1.5, (0,)), (1.5, -0.4, (1,))])
def test_beta_with_a_slope_at_its_bound_against_statsmodels(a, b, zero):
    rng = np.random.default_rng(2)
    p = rng.beta(0.7, 0.7, 3000)
    y = (rng.random(3000) < expit(a * np.log(p) - b * np.log1p(-p) - 0.5 * (b < 0) + 0.5 * (a < 0))).astype(int)
    best, without = best_beta(p, y)
    assert without == zero
    validation = one_cell(p, y)
    (fit,) = recalibrate(validated(validation, validation), "beta", seed=1).fits
    assert list(fit.parameters.values()) == pytest.approx(best, abs=1e-2)
    assert list(fit.parameters.values())[zero[0]] == 0


def test_isotonic_against_sklearn_and_scipy():
    validation, study, outcome = on_validation("isotonic", missing=0.1)
    for _, p, y, m, k in each_fit(validation, outcome):
        new = study.probabilities[m, :, :, k]
        sklearn = IsotonicRegression(out_of_bounds="clip").fit(p, y).predict(new.ravel()).reshape(new.shape)
        np.testing.assert_allclose(outcome.probabilities[m, :, :, k], sklearn, rtol=0, atol=1e-12)
        values, place, n = np.unique(p, return_inverse=True, return_counts=True)
        steps = isotonic_regression(np.bincount(place, y) / n, weights=n).x
        np.testing.assert_allclose(outcome.probabilities[m, :, :, k], np.interp(new, values, steps), rtol=0, atol=1e-12)


@pytest.mark.parametrize("method", METHODS)
def test_maps_against_netcal_called_directly(method):
    validation, study, outcome = on_validation(method)
    module, name = recalibration._NETCAL[method]
    for fit, p, y, m, k in each_fit(validation, outcome):
        model = getattr(sys.modules[module], name)()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # netcal calls what pyro has deprecated
            model.fit(p, y.astype(int))
        assert fit.shortfall <= recalibration.TOLERATED
        direct = model.transform(study.probabilities[m, 1, :, k])
        np.testing.assert_allclose(outcome.probabilities[m, 1, :, k], direct, rtol=0, atol=1e-4)


@pytest.mark.parametrize("method", LOGISTIC)
def test_probabilities_of_0_and_1_count_as_nearest_to_them_against_statsmodels(method):
    """Also where the label says otherwise, so that the log-odds of ±36 weigh heavily."""
    validation, study = made(conditions=("clean",)), made(seed=1, decimals=1)
    probabilities = validation.probabilities.copy()
    for k in range(2):
        positive, negative = (np.flatnonzero(validation.labels[:, k] == y) for y in (1, 0))
        probabilities[:, :, [positive[0], *negative[:3]], k] = 0
        probabilities[:, :, [negative[-1], *positive[-3:]], k] = 1
    validation = replace(validation, probabilities=probabilities)
    assert {0.0, 1.0} <= set(study.probabilities.ravel())
    outcome = recalibrate(validated(study, validation), method, seed=5)
    for fit, p, y, m, k in each_fit(validation, outcome):
        best = best_beta(p, y)[0] if method == "beta" else by_glm(method, p, y)
        found = list(fit.parameters.values())
        found = np.array([1 / found[0]] if method == "temperature" else found)
        gap = log_likelihood(features(method, p) @ best, y) - log_likelihood(features(method, p) @ found, y)
        assert -1e-8 < gap <= recalibration.TOLERATED + 1e-8
        z = features(method, study.probabilities[m, 1, :, k]) @ found
        np.testing.assert_allclose(outcome.probabilities[m, 1, :, k], expit(z), rtol=0, atol=1e-12)
    assert len(outcome.fits) == 4


@pytest.mark.parametrize("method", LOGISTIC)
def test_the_maximum_against_statsmodels_where_netcal_is_not_trusted(method, monkeypatch):
    monkeypatch.setattr(recalibration, "TOLERATED", -1.0)
    validation, _, outcome = on_validation(method)
    for fit, p, y, _, _ in each_fit(validation, outcome):
        best = best_beta(p, y)[0] if method == "beta" else by_glm(method, p, y)
        found = list(fit.parameters.values())
        assert ([1 / found[0]] if method == "temperature" else found) == pytest.approx(best, abs=1e-6)


def test_beta_of_a_rare_finding_against_statsmodels_where_netcal_stops_early():
    """Small probabilities alone leave −log(1 − p) nearly flat: netcal's optimiser ends before its coefficient does."""
    rng = np.random.default_rng(1)
    p = expit(rng.normal(-6, 1, 8000))
    p = p[p < 0.3]
    y = (rng.random(len(p)) < expit(0.8 * np.log(p) - 20 * np.log1p(-p) - 0.5)).astype(np.int8)
    validation = one_cell(p, y)
    (fit,) = recalibrate(validated(validation, validation), "beta", seed=1).fits
    assert fit.shortfall > 10 * recalibration.TOLERATED
    assert list(fit.parameters.values()) == pytest.approx(by_glm("beta", p, y), rel=1e-4)


def test_beta_on_nih_against_statsmodels(nih_predictions):
    """netcal 1.4.0 falls 3.3 nats short for Hernia, whose slope b is 35 and not 1.4, and 0.2 for Pneumonia."""
    keep = [nih_predictions.findings.index(f) for f in ("Hernia", "Pneumonia")]
    validation = replace(
        nih_predictions,
        findings=("Hernia", "Pneumonia"),
        labels=nih_predictions.labels[:, keep],
        members=nih_predictions.members[:1],
        probabilities=nih_predictions.probabilities[:1][..., keep],
    )
    outcome = recalibrate(validated(validation, validation), "beta", seed=1)
    for fit, p, y, _, _ in each_fit(validation, outcome):
        assert 0.1 < fit.shortfall < 5
        assert list(fit.parameters.values()) == pytest.approx(by_glm("beta", p, y), rel=1e-3)


# Laws


def one_cell(p, y, patients=None):
    """One regime, condition and finding."""
    n = len(p)
    patients = np.arange(n) if patients is None else patients
    predictions = make_predictions(n_patients=n, most_images=1, findings=("Mass",), members=(("a", 0),))
    return replace(
        predictions,
        conditions=("clean",),
        labels=np.asarray(y, dtype=np.int8)[:, None],
        patients=np.asarray(patients, dtype=np.int32),
        probabilities=np.asarray(p, dtype=np.float64)[None, None, :, None],
    )


@pytest.fixture(scope="module")
def folds():
    """Images of each fold, (5, n_images), found as those that a patient's labels do not reach."""
    predictions = made(findings=("Mass",))
    before = recalibrate(predictions, "platt", seed=3)
    found = np.zeros((0, len(predictions.image_ids)), dtype=bool)
    while not found.any(axis=0).all():
        own = predictions.patients == predictions.patients[np.argmin(found.any(axis=0))]
        changed = with_labels(predictions, "Mass", lambda y, own=own: np.where(own, 1 - y, y))
        same = (recalibrate(changed, "platt", seed=3).probabilities == before.probabilities).all(axis=(0, 1, 3))
        found = np.vstack([found, ~np.isin(predictions.patients, predictions.patients[~same])])
        assert found[-1][own].all()
    return found


def test_each_patient_is_in_one_of_five_folds_with_all_its_images(folds):
    patients = made(findings=("Mass",)).patients
    assert len(folds) == 5
    np.testing.assert_array_equal(folds.sum(axis=0), 1)
    assert [len(np.unique(patients[fold])) for fold in folds] == [30] * 5


@pytest.mark.parametrize("method", METHODS)
def test_labels_of_a_fold_do_not_reach_its_own_images(method, folds):
    predictions = made(findings=("Mass",))
    before = recalibrate(predictions, method, seed=3)
    assert before.fitted_on == "clean images of other patients, 5 folds by patient"
    assert [fit.fold for fit in before.fits] == [0, 1, 2, 3, 4] * 2
    for fold in folds:
        changed = with_labels(predictions, "Mass", lambda y, fold=fold: np.where(fold, 1 - y, y))
        after = recalibrate(changed, method, seed=3)
        np.testing.assert_array_equal(after.probabilities[:, :, fold], before.probabilities[:, :, fold])
        assert (after.probabilities[:, :, ~fold] != before.probabilities[:, :, ~fold]).mean() > 0.5


@pytest.mark.parametrize("method", METHODS)
def test_perturbed_images_get_the_map_fitted_on_clean_ones(method):
    predictions = made()
    probabilities = predictions.probabilities.copy()
    probabilities[:, 1] = probabilities[:, 0]
    probabilities[:, 2] = 1 - probabilities[:, 2]
    before = recalibrate(predictions, method, seed=3)
    after = recalibrate(replace(predictions, probabilities=probabilities), method, seed=3)
    np.testing.assert_array_equal(after.probabilities[:, 0], before.probabilities[:, 0])
    np.testing.assert_array_equal(after.probabilities[:, 1], after.probabilities[:, 0])
    assert after.fits == before.fits


@pytest.mark.parametrize("method", METHODS)
def test_order_of_images_and_of_patients_changes_nothing(method):
    predictions = made(missing=0.1)
    order = np.random.default_rng(8).permutation(len(predictions.image_ids))
    shuffled = with_images(predictions, order)
    renumber = np.random.default_rng(9).permutation(150)
    names = np.empty(150, dtype=object)
    names[renumber] = predictions.patient_ids
    shuffled = replace(
        shuffled, patients=renumber[shuffled.patients].astype(np.int32), patient_ids=tuple(map(str, names))
    )
    before, after = recalibrate(predictions, method, seed=3), recalibrate(shuffled, method, seed=3)
    np.testing.assert_array_equal(after.probabilities, before.probabilities[:, :, order])
    assert after.fits == before.fits


@pytest.mark.parametrize("method", METHODS)
def test_maps_never_reverse_two_images_of_a_fold_and_stay_in_0_1(method):
    validation, study, outcome = on_validation(method)
    assert outcome.probabilities.shape == study.probabilities.shape
    assert (outcome.probabilities >= 0).all()
    assert (outcome.probabilities <= 1).all()
    assert not (outcome.probabilities == study.probabilities).all()
    for m in range(2):
        for k in range(2):
            order = np.argsort(study.probabilities[m, :, :, k].ravel())
            assert (np.diff(outcome.probabilities[m, :, :, k].ravel()[order]) >= -1e-12).all()
    assert len(outcome.fits) == len(validation.members) * len(validation.findings)


@pytest.mark.parametrize("method", METHODS)
def test_missing_labels_are_not_fitted_on_and_their_images_are_mapped(method):
    predictions = made()
    gone = np.random.default_rng(2).random(len(predictions.image_ids)) < 0.3
    without = with_labels(predictions, "Mass", lambda y: np.where(gone, -1, y))
    outcome = recalibrate(without, method, seed=3)
    assert sum(fit.n_images for fit in outcome.fits if fit.finding == "Mass") == 2 * 4 * (~gone).sum()
    k = predictions.findings.index("Mass")
    assert (outcome.probabilities[0, 0, gone, k] != predictions.probabilities[0, 0, gone, k]).mean() > 0.8
    other = recalibrate(replace(without, probabilities=moved(without, gone, k)), method, seed=3)
    assert [f.parameters for f in other.fits] == [f.parameters for f in outcome.fits]
    np.testing.assert_array_equal(other.probabilities[:, :, ~gone], outcome.probabilities[:, :, ~gone])


def moved(predictions, images, k):
    """Probabilities with those of some images replaced."""
    probabilities = predictions.probabilities.copy()
    probabilities[:, :, images, k] = 0.5
    return probabilities


@pytest.mark.parametrize("method", METHODS)
def test_validation_images_are_found_by_the_names_of_model_and_finding(method):
    validation = made(conditions=("clean",))
    reordered = replace(
        validation,
        members=validation.members[::-1],
        findings=validation.findings[::-1],
        labels=validation.labels[:, ::-1],
        probabilities=validation.probabilities[::-1, ..., ::-1],
    )
    study = made(seed=1)
    one = recalibrate(validated(study, validation), method, seed=1)
    other = recalibrate(validated(study, reordered), method, seed=2)
    np.testing.assert_array_equal(one.probabilities, other.probabilities)
    assert all(fit.fold is None for fit in one.fits)
    without = recalibrate(validated(study, None), method, seed=1)
    np.testing.assert_array_equal(without.probabilities, recalibrate(study, method, seed=1).probabilities)


@pytest.mark.parametrize("method", METHODS)
def test_same_seed_same_bits_and_nothing_global_changes(method, capfd):
    import pyro
    import torch

    predictions = made(members=(("a", 0),))
    torch.set_num_threads(2)
    pyro.get_param_store()["kept"] = torch.ones(1)
    states = np.random.get_state()[1].copy(), torch.get_rng_state().clone(), random.getstate()  # noqa: NPY002
    one = recalibrate(predictions, method, seed=3)
    assert torch.get_num_threads() == 2
    assert "kept" in pyro.get_param_store()
    pyro.clear_param_store()
    np.testing.assert_array_equal(np.random.get_state()[1], states[0])  # noqa: NPY002
    assert torch.equal(torch.get_rng_state(), states[1])
    assert random.getstate() == states[2]
    torch.set_num_threads(1)
    np.random.seed(99)  # noqa: NPY002
    two = recalibrate(predictions, method, seed=3)
    assert one.probabilities.tobytes() == two.probabilities.tobytes()
    assert one.fits == two.fits
    assert recalibrate(predictions, method, seed=4).probabilities.tobytes() != one.probabilities.tobytes()
    assert capfd.readouterr() == ("", "")


# What cannot be fitted


@pytest.mark.parametrize("method", METHODS)
def test_one_class_is_left_as_it_was_with_the_reason(method):
    predictions = with_labels(made(missing=0.2), "Mass", lambda y: np.where(y == 1, 0, y))
    outcome = recalibrate(predictions, method, seed=3)
    assert [(u.regime, u.finding, u.reason) for u in outcome.unchanged] == [
        ("supervised", "Mass", "one class only"),
        ("lora", "Mass", "one class only"),
    ]
    k = predictions.findings.index("Mass")
    np.testing.assert_array_equal(outcome.probabilities[..., k], predictions.probabilities[..., k])
    assert {fit.finding for fit in outcome.fits} == {"Effusion"}


def test_a_finding_whose_labels_are_all_missing_says_so():
    outcome = recalibrate(with_labels(made(), "Mass", lambda y: np.full_like(y, -1)), "platt", seed=3)
    assert {u.reason for u in outcome.unchanged} == {"no labelled image"}


def test_of_one_patient_nobody_else_is_there_to_fit_on():
    """All ten images are labelled, and none is of another patient."""
    outcome = recalibrate(one_cell(np.linspace(0.1, 0.9, 10), np.arange(10) % 2, np.zeros(10, int)), "platt", seed=3)
    (unchanged,) = outcome.unchanged
    assert unchanged.reason == "no labelled image of another patient"


def test_few_positive_patients_are_too_few_however_many_images_they_have():
    rng = np.random.default_rng(1)
    patients = np.concatenate([np.repeat(np.arange(9), 10), np.arange(9, 300)])
    y = (patients < 9).astype(int)
    outcome = recalibrate(one_cell(rng.random(len(y)), y, patients), "isotonic", seed=3)
    (unchanged,) = outcome.unchanged
    assert unchanged.reason == "fewer than 10 patients with a positive image"
    assert outcome.fits == ()


def test_one_fold_that_cannot_be_fitted_leaves_all_of_them_as_they_were():
    """10 positive patients fall into several folds, so that some fit has fewer than 10."""
    rng = np.random.default_rng(1)
    y = (np.arange(200) < 10).astype(int)
    predictions = one_cell(rng.random(200), y)
    outcome = recalibrate(predictions, "platt", seed=3)
    assert [u.reason for u in outcome.unchanged] == ["fewer than 10 patients with a positive image"]
    np.testing.assert_array_equal(outcome.probabilities, predictions.probabilities)


@pytest.mark.parametrize(
    ("method", "p", "reason"),
    [
        ("temperature", lambda y, u: 0.6 * y + 0.4 * u, "a threshold separates the classes"),
        ("platt", lambda y, u: 0.1 * y + 0.1 * u, "a threshold separates the classes"),
        ("beta", lambda y, u: 0.1 * y + 0.1 * u, "a threshold separates the classes"),
        *((method, lambda y, u: 0.9 - 0.4 * y - 0.4 * u, "no increasing map fits better") for method in METHODS),
        *((method, lambda y, u: 0.6 * u + 0.3 * (1 - y), "no increasing map fits better") for method in LOGISTIC[1:]),
        ("platt", lambda y, u: 0.3 + 0 * u, "fewer than 2 distinct probabilities"),
        ("beta", lambda y, u: 0.3 + 0.3 * (u > 0.5), "fewer than 3 distinct probabilities"),
        ("isotonic", lambda y, u: 0.3 + 0 * u, "no increasing map fits better"),
    ],
)
def test_what_has_no_increasing_finite_fit_is_left_as_it_was(method, p, reason):
    rng = np.random.default_rng(6)
    y = rng.integers(0, 2, 200)
    predictions = one_cell(p(y, rng.random(200)), y)
    outcome = recalibrate(predictions, method, seed=3)
    assert [u.reason.startswith(reason) for u in outcome.unchanged] == [True]
    np.testing.assert_array_equal(outcome.probabilities, predictions.probabilities)


def test_separated_classes_are_two_steps_of_isotonic_regression():
    y = np.arange(100) % 2
    outcome = recalibrate(one_cell(0.1 + 0.5 * y, y), "isotonic", seed=3)
    np.testing.assert_array_equal(outcome.probabilities[0, 0, :, 0], y)


@pytest.mark.parametrize("method", LOGISTIC)
def test_no_maximum_is_said_not_to_converge(method, monkeypatch):
    monkeypatch.setattr(recalibration, "MOST_STEPS", 1)
    monkeypatch.setattr(recalibration, "_most_likely", recalibration._newton)
    outcome = recalibrate(made(), method, seed=3)
    assert {u.reason for u in outcome.unchanged} == {"did not converge"}


def test_more_folds_than_patients_are_as_many_as_there_are_patients():
    rng = np.random.default_rng(7)
    y = np.arange(40) % 2
    outcome = recalibrate(one_cell(0.3 * y + 0.7 * rng.random(40), y), "platt", seed=3, folds=60)
    assert len(outcome.fits) == 40
    assert {fit.n_images for fit in outcome.fits} == {39}


@pytest.mark.parametrize(("method", "folds"), [("spline", 5), ("platt", 1)])
def test_an_unknown_method_or_one_fold_is_refused(method, folds):
    with pytest.raises(ValueError, match=r"method 'spline' is not one of temperature|folds = 1: give 2 or more"):
        recalibrate(made(), method, seed=1, folds=folds)


WITHOUT = """
import sys
class Absent:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in {"torch", "netcal", "pyro"}:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)
sys.meta_path.insert(0, Absent())
import numpy as np, pandas as pd
from cxrobust.analysis.recalibration import recalibrate
from cxrobust.errors import MissingGroupError
from cxrobust.predictions import PredictionSet
try:
    recalibrate(PredictionSet(image_ids=("i",), patient_ids=("p",), patients=np.zeros(1, np.int32), findings=("f",),
        labels=np.ones((1, 1), np.int8), members=(("a", 0),), conditions=("clean",),
        probabilities=np.full((1, 1, 1, 1), 0.5), metadata=pd.DataFrame(), index={}), "platt", seed=1)
except MissingGroupError as error:
    print(error)
"""


def test_without_netcal_one_sentence_names_the_command():
    done = subprocess.run([sys.executable, "-c", WITHOUT], capture_output=True, text=True, check=False, timeout=120)
    assert done.stdout.strip() == (
        "this step needs netcal, which is not installed: run pip install 'cxrobust[recalibration]', "
        "or '.[recalibration]' in a clone"
    ), done.stderr
