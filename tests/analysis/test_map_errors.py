"""What a map's own sampling error does, against refitting the map in every resample."""

import warnings
from dataclasses import replace

import numpy as np
import pytest
from scipy.optimize import minimize
from scipy.special import expit, logit
from sklearn.isotonic import IsotonicRegression
from sklearn.linear_model import LogisticRegression

from cxrobust.analysis import analyze
from cxrobust.analysis.evaluating import evaluate
from cxrobust.analysis.map_errors import MapErrors, columns, smooth_error, step_error
from cxrobust.analysis.metrics import metric
from cxrobust.analysis.points import resampled_se
from cxrobust.analysis.recalibrated import _errors
from cxrobust.analysis.recalibration import _deal, recalibrate
from cxrobust.analysis.sample import Sample

from .made import duplicated, make_cell, make_predictions, make_settings

SEED, RESAMPLES, FOLDS = 3, 100, 5
CONDITIONS = ("clean", "pgd(eps=4/255)")
METRICS = ("brier", "log-loss", "confidence", "calibration-intercept")
ONE_REGIME = (("supervised", 0),)


@pytest.fixture(scope="module")
def predictions():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # netcal's own modules warn when they are compiled
        pytest.importorskip("netcal.scaling", reason="netcal is not installed: pip install 'cxrobust[recalibration]'")
    return make_predictions(seed=5, n_patients=300, conditions=CONDITIONS, members=ONE_REGIME, missing=0.05)


@pytest.fixture(scope="module")
def validation():
    return make_predictions(seed=9, n_patients=150, conditions=("clean",), members=ONE_REGIME)


def images(seed=0, n_patients=60):
    """Sorted probabilities, labels and patients."""
    made = make_predictions(seed=seed, n_patients=n_patients, members=ONE_REGIME)
    order = np.argsort(made.probabilities[0, 0, :, 0], kind="stable")
    p = np.clip(made.probabilities[0, 0, order, 0], 0.02, 0.98)
    return p, made.labels[order, 0], made.patients[order]


def of_greatest_likelihood(method, p, y, weights):
    x = np.column_stack(columns(method, p))
    start = np.ones(x.shape[1]) * 0.5

    def loss(at):
        z = x @ at
        return -(weights * (y * z - np.logaddexp(0, z))).sum(), -x.T @ (weights * (y - expit(z)))

    return minimize(loss, start, jac=True, method="BFGS", options={"gtol": 1e-10}).x


@pytest.mark.parametrize("method", ["temperature", "platt", "beta"])
def test_influences_on_coefficients_against_refits_with_a_heavier_patient(method):
    p, y, patients = images()
    at = of_greatest_likelihood(method, p, y, np.ones(len(y)))
    found = smooth_error(method, p, y, patients, at=at, n_patients=60)
    assert found.coefficients == tuple(range(len(at)))
    for patient in (0, 17, 41):
        heavier = of_greatest_likelihood(method, p, y, 1 + 0.01 * (patients == patient))
        lighter = of_greatest_likelihood(method, p, y, 1 - 0.01 * (patients == patient))
        slope = (heavier - lighter) / 0.02
        np.testing.assert_allclose(found.influences[:, 0, patient] * found.steps[:, 0], slope, rtol=2e-3, atol=1e-5)


def test_a_slope_at_its_bound_stays_there():
    p, y, patients = images()
    at = np.array([0.0, *of_greatest_likelihood("platt", p, y, np.ones(len(y)))])
    assert smooth_error("beta", p, y, patients, at=at, n_patients=60).coefficients == (1, 2)


def test_levels_of_isotonic_regression_are_scikit_learns_and_move_with_their_images():
    p, y, patients = images(n_patients=200)
    found = step_error(p, y, patients, n_patients=200)
    fitted = IsotonicRegression().fit_transform(p, y)
    part = found.part(p)
    assert len(np.unique(part)) == found.steps.shape[1] == len(np.unique(np.round(fitted, 12)))
    for block in np.unique(part):
        inside = part == block
        assert np.ptp(fitted[inside]) < 1e-12
        gaps = np.bincount(patients[inside], weights=(y - fitted)[inside], minlength=200) / inside.sum()
        step = found.steps[0, block]
        np.testing.assert_allclose(found.influences[0, block] * step, gaps * (step > 0), atol=1e-12)
    half = found.moved(0, p, fitted, sign=1) - fitted
    np.testing.assert_allclose(half, found.steps[0, part], atol=1e-12)
    assert found.steps.max() > 0


@pytest.mark.parametrize("method", ["platt", "isotonic"])
@pytest.mark.parametrize("tied", [False, True])
def test_influences_on_ace_against_its_value_when_a_part_moves_a_little(method, tied):
    """As images move, equal-mass bins go with them: neither how many each has nor whether ties hold it changes."""
    p, y, patients = images(n_patients=300)
    p = np.round(p, 1) if tied else p + np.linspace(0, 1e-6, len(p))
    if method == "isotonic":
        error, mapped = step_error(p, y, patients, n_patients=300), IsotonicRegression().fit_transform(p, y)
    else:
        at = of_greatest_likelihood("platt", p, y, np.ones(len(y)))
        error = smooth_error("platt", p, y, patients, at=at, n_patients=300)
        mapped = expit(np.column_stack(columns("platt", p)) @ at)
    seen = np.random.default_rng(2).random(len(y)) < 0.3  # not what it was fitted to, of which gaps are 0
    cell = make_cell(mapped, seen, patients, n_patients=300)
    errors = MapErrors(of={(0, 0): error}, counts=np.ones((1, 300, 64), np.uint8), is_own=True)
    raw = replace(cell, probabilities=p)
    found = errors.contributions(metric["ace"], [cell], [raw], member=0, findings=[0])
    expected, little = np.zeros(300), 1e-7
    for at_pass, steps in enumerate(error.steps):
        up, down = (error.moved(at_pass, p, mapped, sign=sign) for sign in (1, -1))
        for part in range(len(steps)):
            step = np.where(error.part(p) == part, (up - down) / 2, 0)
            sides = (replace(cell, probabilities=mapped + little * sign * step) for sign in (1, -1))
            above, below = (metric["ace"].value(side) for side in sides)
            expected += (above - below) / (2 * little) * error.influences[at_pass, part]
    np.testing.assert_allclose(found, expected, atol=1e-6 * np.abs(expected).max())
    assert np.linalg.norm(found) > 1e-3


def fit(method, p, y):
    if method == "isotonic":
        return IsotonicRegression(out_of_bounds="clip").fit(p, y).predict
    z = logit(np.clip(p, 1e-12, 1 - 1e-12))
    model = LogisticRegression(C=1e10, max_iter=1000, tol=1e-8).fit(z[:, None], y)
    return lambda q: model.predict_proba(logit(np.clip(q, 1e-12, 1 - 1e-12))[:, None])[:, 1]


def refitted(predictions, sample, method, validation):
    """Return each metric in each resample, (n_conditions, 2 findings and both pooled, n), with maps fitted to it."""
    fold = _deal(predictions.patient_ids, folds=FOLDS, seed=SEED)[predictions.patients]
    rng = np.random.default_rng(0)
    found = {name: np.empty((2, 3, RESAMPLES)) for name in METRICS}
    for b in range(RESAMPLES):
        rows = duplicated(sample.counts, predictions.patients, b)
        raw, labels, folds = predictions.probabilities[:, :, rows], predictions.labels[rows], fold[rows]
        mapped = raw.copy()
        if validation is not None:
            drawn = np.concatenate([np.flatnonzero(validation.patients == i) for i in rng.integers(0, 150, 150)])
        for k in range(2):
            if validation is not None:
                one = fit(method, validation.probabilities[0, 0, drawn, k], validation.labels[drawn, k])
                mapped[0, :, :, k] = [one(p) for p in raw[0, :, :, k]]
                continue
            for f in range(FOLDS):
                others = (folds != f) & (labels[:, k] >= 0)
                one = fit(method, raw[0, 0, others, k], labels[others, k])
                mapped[0, :, folds == f, k] = np.transpose([one(p) for p in raw[0, :, folds == f, k].T])
        again = replace(predictions, patients=predictions.patients[rows], labels=labels, probabilities=mapped)
        drawn_sample = replace(sample, predictions=again, kept=np.ones(len(rows), bool), _columns={})
        for name in METRICS:
            for c, k in np.ndindex(2, 3):
                found[name][c, k, b] = metric[name].value(drawn_sample.cell(member=0, condition=c, finding=k))
    return found


@pytest.mark.parametrize(
    ("method", "on_validation", "names", "within"),
    [
        ("platt", False, METRICS, 0.06),
        ("platt", True, METRICS, 0.25),  # two sets of draws of other patients
        ("isotonic", False, ("brier", "confidence"), 0.15),
    ],
)
def test_resamples_against_refitting_in_each(predictions, validation, method, on_validation, names, within):
    of = replace(predictions, validation=validation) if on_validation else predictions
    sample = Sample.draw(of, make_settings(metrics=METRICS, resamples=RESAMPLES), seed=SEED)
    outcome = recalibrate(of, method, seed=SEED)
    samples, errors = [sample, sample.saying(outcome.probabilities)], _errors(outcome, sample)
    expected = refitted(of, sample, method, validation if on_validation else None)
    for name in names:
        values = evaluate({name: metric[name]}, samples, errors=errors)[name]
        held = evaluate({name: metric[name]}, samples)[name]
        np.testing.assert_array_equal(values.value, held.value)
        np.testing.assert_array_equal(values.resampled[0], held.resampled[0])
        np.testing.assert_allclose(values.influences[:, :, :3].sum(axis=-1), 0, atol=1e-9)
        if on_validation:  # patients of validation are others, and stand behind those of the study
            assert values.influences.shape[-1] == 300 + 150
            np.testing.assert_array_equal(values.influences[1, ..., :300], held.influences[1])
        for c, k in np.ndindex(2, 3):
            if name == "calibration-intercept" and c == 0:
                continue  # 0 whatever the sample, where the map is fitted to the same images
            drawn, other = values.resampled[1, c, k], expected[name][c, k]
            assert drawn.std() == pytest.approx(other.std(), rel=within), (name, c, k)
            linear = np.sqrt((values.influences[1, c, k] ** 2).sum())
            assert linear == pytest.approx(drawn.std(), rel=0.25)
            if not on_validation:
                assert np.corrcoef(drawn, other)[0, 1] > (0.98 if method == "platt" else 0.85)
        if name == "confidence":  # what was left out: three quarters of the standard error
            assert held.resampled[1, 0, 2].std() < 0.5 * expected[name][0, 2].std()


def test_studentised_intervals_and_tests_hold_the_error_of_a_map_of_validation_images(predictions, validation):
    of = replace(predictions, validation=validation)
    settings = make_settings(metrics=("confidence",), resamples=200, recalibrate=("platt",))
    for interval in ("studentized", "t", "expanded"):
        changed = settings.model_copy(update={"interval": interval})
        found = [e for e in analyze(of, changed, reference="supervised", seed=1).estimates if e.recalibration]
        values = {e.finding: e for e in found if e.estimand == "value" and e.condition == "clean"}
        raw = [e for e in found if e.estimand == "recalibrated-raw" and e.finding == "micro"]
        assert values["micro"].se > 0.012  # 0.004 if the map is taken as given
        assert values["micro"].ci_high - values["micro"].ci_low > 3.5 * values["micro"].se
        assert all(0 < e.p_value <= 1 for e in raw)
    sample = Sample.draw(of, settings, seed=1)
    influences = np.concatenate([np.zeros((1, 300)), np.full((1, 150), 0.1)], axis=1)
    np.testing.assert_allclose(resampled_se(influences, sample), 0.1 * np.sqrt(150))
