"""Simultaneous bands along a curve, the parts of a variance, and what makes an estimate not estimable."""

import itertools
from dataclasses import replace

import numpy as np
import pytest
from scipy import stats

from cxrobust.analysis import analyze
from cxrobust.analysis.bands import simultaneous_bands
from cxrobust.analysis.evaluating import evaluate
from cxrobust.analysis.intervals import Draws
from cxrobust.analysis.metrics import metric
from cxrobust.analysis.sample import Sample
from cxrobust.study.analysis import Subgroups

from .made import make_predictions, make_settings, same

CURVE = ("clean", "pgd(eps=1/255)", "pgd(eps=2/255)", "pgd(eps=4/255)", "noise(eps=4/255)")
MEMBERS = (("supervised", 0), ("lora", 0))


OF_TWO = np.sqrt(2)
"""How much wider a band of two patients without influence is, n/(n − 1) being 2 and Student's t normal."""


def draws(value, resampled, bounds=(-np.inf, np.inf)):
    value = np.atleast_1d(np.asarray(value, dtype=float))
    resampled = np.asarray(resampled, dtype=float).reshape(len(value), -1)
    return Draws(value=value, resampled=resampled, influences=np.zeros((len(value), 2)), bounds=bounds)


def widening(influences, q):
    """√(n/(n − 1)) t/q with the degrees of freedom that the influences' kurtosis gives, or few patients."""
    n, squares = len(influences), sum(u**2 for u in influences)
    moving, df = sum(u != 0 for u in influences), np.inf
    if squares > 0:
        df = 2 * n / (n * sum(u**4 for u in influences) / squares**2 - 1)
        df = min(df, moving - 1) if moving < 20 else df
    return np.sqrt(n / (n - 1)) * stats.t.isf(stats.norm.sf(q), df) / q


def band_by_loops(values, rows, level, *, recentred=False, influences=None):
    """Of one value along a curve: for each resample the largest distance in standard errors, then their quantile."""
    rows = np.array(rows, dtype=float)
    if recentred:
        rows = np.array([row - np.nanmean(row) + value for row, value in zip(rows, values, strict=True)])
    used = [b for b in range(rows.shape[1]) if all(np.isfinite(row[b]) for row in rows)]
    ses = [np.std([row[b] for b in used], ddof=1) for row in rows]
    largest = [
        max(abs(row[b] - value) / se for row, value, se in zip(rows, values, ses, strict=True) if se > 0) for b in used
    ]
    q = np.quantile(largest, level)
    wider = [OF_TWO] * len(values) if influences is None else [widening(u, q) for u in influences]
    halves = [q * se * by for se, by in zip(ses, wider, strict=True)]
    return [(value - half, value + half) for value, half in zip(values, halves, strict=True)]


@pytest.mark.parametrize("recentred", [False, True, [True, False, True]])
@pytest.mark.parametrize("level", [0.8, 0.95])
def test_bands_against_loops(level, recentred):
    rng = np.random.default_rng(1)
    values = rng.normal(size=(4, 3))
    rows = values[..., None] + rng.normal(0.1, [0.2, 1, 3, 0.5], size=(301, 3, 4)).T
    rows[1, 2, ::7] = np.nan
    found = simultaneous_bands([draws(v, r) for v, r in zip(values, rows, strict=True)], level, recentred=recentred)
    for v in range(3):
        expected = band_by_loops(values[:, v], rows[:, v], level, recentred=np.broadcast_to(recentred, 3)[v])
        np.testing.assert_allclose([point[v] for point in found], expected, atol=1e-12)


def test_a_band_holds_the_stated_share_of_resampled_curves_whole():
    """By construction, and each point alone holds more."""
    rng = np.random.default_rng(2)
    rows = rng.normal(size=(5, 2000)).cumsum(axis=0)
    found = simultaneous_bands([draws(0, row) for row in rows], 0.9)
    wide = OF_TWO * rows
    inside = np.array([(row >= p[0][0]) & (row <= p[0][1]) for row, p in zip(wide, found, strict=True)])
    assert inside.all(axis=0).mean() == pytest.approx(0.9, abs=1e-3)
    assert (inside.mean(axis=1) > 0.93).all()


def test_a_curve_of_one_shape_has_the_band_of_one_point():
    """Points that move together need no wider band: it is the symmetric percentile-t interval of each."""
    row = np.random.default_rng(3).normal(size=400)
    found = simultaneous_bands([draws(1, 1 + row), draws(2, 2 + 5 * row)], 0.9)
    q = OF_TWO * np.quantile(np.abs(row), 0.9)
    assert found[0][0] == pytest.approx((1 - q, 1 + q), abs=1e-12)
    assert found[1][0] == pytest.approx((2 - 5 * q, 2 + 5 * q), abs=1e-12)


def test_points_that_do_not_spread():
    still, moving = [0.5] * 50, np.random.default_rng(4).normal(size=50)
    found = simultaneous_bands([draws(0.5, still), draws(0, moving)], 0.95)
    assert found[0][0] == (0.5, 0.5)
    assert found[1][0] == pytest.approx(band_by_loops([0], [moving], 0.95)[0], abs=1e-12)
    assert np.isnan(simultaneous_bands([draws(0.5, still), draws(0.5, still)], 0.95)).all()


def test_points_that_spread_by_rounding_alone_do_not_widen_a_band():
    """Of 50 images with a probability of 0.7: means differ in the last digit, by many of their standard errors."""
    rng = np.random.default_rng(8)
    weights = rng.multinomial(50, np.ones(50) / 50, size=400)
    rounded, moving = weights @ np.full(50, 0.7) / 50, weights @ rng.uniform(0.6, 0.9, 50) / 50
    assert 0 < np.std(rounded) < 1e-15
    value = np.full(50, 0.7).mean()
    found = simultaneous_bands([draws(0.75, moving), draws(value, rounded)], 0.95)
    assert found[0][0] == pytest.approx(band_by_loops([0.75], [moving], 0.95)[0], abs=1e-12)
    assert found[1][0] == pytest.approx((0.7, 0.7), abs=1e-12)
    assert np.isnan(simultaneous_bands([draws(value, rounded), draws(value, rounded)], 0.95)).all()


def test_a_curve_from_which_hardly_a_resample_differs_has_no_band():
    """One resample of 50, of every point: the quantile of the largest distance is 0, and so would the width be."""
    one, other = ([0.5 + off] * 49 + [0.9] for off in (0.0, 1e-16))
    assert np.quantile(np.abs(np.subtract(one, 0.5)), 0.95) == 0
    assert np.isnan(simultaneous_bands([draws(0.5, one), draws(0.5, other)], 0.95)).all()
    assert simultaneous_bands([draws(0.5, one), draws(0.5, other)], 0.99)[0][0][0] < 0.5


def test_too_few_resamples_that_define_all_points_give_no_band():
    one, other = [1.0, np.nan, 2.0], [np.nan, 1.0, 3.0]
    assert np.isnan(simultaneous_bands([draws(1, one), draws(1, other)], 0.95)).all()


@pytest.mark.parametrize(("most", "is_there"), [(0.39, False), (0.4, True), (1.0, True)])
def test_a_band_of_too_many_resamples_that_leave_some_point_undefined_is_none(most, is_there):
    """Each point lacks a fifth of the resamples, and together they lack two fifths."""
    rows = np.random.default_rng(7).normal(size=(2, 100))
    rows[0, :20] = rows[1, -20:] = np.nan
    found = simultaneous_bands([draws(0, row) for row in rows], 0.9, most_undefined=most)
    assert np.isfinite(found).all() == is_there
    if is_there:
        expected = band_by_loops([0, 0], rows, 0.9)
        np.testing.assert_allclose([point[0] for point in found], expected, atol=1e-12)


def test_bands_end_where_the_quantity_does():
    rows = np.random.default_rng(5).normal(0.9, 0.2, size=(2, 200))
    found = simultaneous_bands([draws(0.9, row, bounds=(0.0, 1.0)) for row in rows], 0.95)
    assert [point[0][1] for point in found] == [1.0, 1.0]


# --------------------------------------------------------------- of a study


@pytest.fixture(scope="module")
def predictions():
    return make_predictions(seed=6, n_patients=30, conditions=CURVE, members=MEMBERS, findings=("Mass", "Edema"))


@pytest.mark.parametrize("name", ["accuracy", "ece", "ece-debiased"])
def test_bands_of_a_study_against_loops(predictions, name):
    """One band for the three strengths of a curve; none for clean images and for what is no curve.

    Of the ECE, not of the debiased one, and of the worst finding, whose interval is recentred too, resampled values are
    recentred.
    """
    settings = make_settings(metrics=(name,), level=0.9)
    values = evaluate({name: metric[name]}, [Sample.draw(predictions, settings, seed=2)])[name]
    found = {
        (e.estimand, e.regime, e.condition, e.finding): e
        for e in analyze(predictions, settings, reference="supervised", seed=2).estimates
    }
    for place, finding in enumerate(("Mass", "Edema", "micro", "worst", "macro")):
        for estimand, clean, base in (
            ("value", 0, 0),
            ("perturbed-clean", 1, 0),
            ("regime-reference", 0, 1),
            ("difference-in-differences", 1, 1),
        ):

            def of(array, c, place=place, clean=clean, base=base):
                one = array[1, c, place] - clean * array[1, 0, place]
                return one - base * (array[0, c, place] - clean * array[0, 0, place])

            estimates = [of(values.value, c) for c in (1, 2, 3)]
            rows = [of(values.resampled, c) for c in (1, 2, 3)]
            influences = [of(values.influences, c) for c in (1, 2, 3)]
            recentred = name == "ece" or finding == "worst"
            expected = band_by_loops(estimates, rows, 0.9, recentred=recentred, influences=influences)
            if estimand == "value":
                expected = np.clip(expected, 0, 1)
            for condition, ends in zip(CURVE[1:4], expected, strict=True):
                e = found[estimand, "lora", condition, finding]
                assert (e.band_low, e.band_high) == pytest.approx(tuple(ends), abs=1e-12), e
            assert found[estimand, "lora", CURVE[4], finding].band_low is None
    assert {e.band_low for key, e in found.items() if key[2] in {"clean", "pgd"}} == {None}
    assert {e.band_low for key, e in found.items() if key[0].startswith(("relative", "half"))} == {None}


def test_bands_of_different_metrics_and_findings_do_not_mix(predictions):
    alone = replace(
        predictions,
        findings=("Mass",),
        labels=predictions.labels[:, :1],
        probabilities=predictions.probabilities[..., :1],
    )

    def run(one, metrics):
        found = analyze(one, make_settings(metrics=metrics), reference="supervised", seed=2).estimates
        return {(e.estimand, e.regime, e.condition): e for e in found if (e.metric, e.finding) == ("brier", "Mass")}

    other = run(alone, ("brier",))
    for key, e in run(predictions, ("accuracy", "brier")).items():
        assert same(e.band_low, other[key].band_low)
        assert same(e.band_high, other[key].band_high)


# ------------------------------------------------------- parts of a variance

SHIFTS = {"supervised": (0.0,), "lora": (-0.04, 0.01, 0.06), "dpo": (0.05, -0.05)}


@pytest.fixture(scope="module")
def runs():
    """Every run's confidence is the reference's plus a number that is the same on all images."""
    rng = np.random.default_rng(7)
    patients = np.repeat(np.arange(40), 3)
    base = 0.7 + rng.normal(0, 0.05, 40)[patients] + rng.normal(0, 0.02, 120)
    members = [(name, i) for name, shifts in SHIFTS.items() for i in range(len(shifts))]
    made = make_predictions(n_patients=40, most_images=1, members=members, conditions=CURVE[:2], findings=("Mass",))
    made = replace(
        made,
        image_ids=tuple(map(str, range(120))),
        patients=patients.astype(np.int32),
        labels=rng.integers(0, 2, (120, 1)).astype(np.int8),
        metadata=made.metadata.reindex(range(120)).assign(view=np.tile(["PA", "PA", "AP"], 40)),
    )
    shifts = np.array([shift for one in SHIFTS.values() for shift in one])
    probabilities = base + shifts[:, None, None] * np.array([1.0, 0.5])[:, None]  # half of it where perturbed
    return replace(made, probabilities=probabilities[..., None])


@pytest.fixture(scope="module")
def split(runs):
    settings = make_settings(
        metrics=("confidence",), resamples=4000, subgroups=(Subgroups(column="view"),), operating_point=0.5
    )
    found = analyze(runs, settings, reference="supervised", seed=3).estimates
    return {(e.subgroup, e.estimand, e.regime, e.condition): e for e in found if e.finding == "macro"}


def spread_of_runs(name, factor=1.0):
    """Standard error of a mean of independent training runs."""
    shifts = factor * np.array(SHIFTS[name])
    return float(np.std(shifts, ddof=1) / np.sqrt(len(shifts))) if len(shifts) > 1 else 0.0


def linearised(runs, factor=1.0):
    """Patient-level standard error of the mean confidence of one run; shifts move all images alike."""
    p = runs.probabilities[0, 0, :, 0]
    u = np.bincount(runs.patients, weights=p - p.mean()) / len(p)
    return float(np.sqrt((u**2).sum() * 40 / 39)) * factor


@pytest.mark.parametrize(
    ("estimand", "regime", "condition", "of_patients", "factor"),
    [
        ("value", "lora", CURVE[0], 1, 1),
        ("value", "lora", CURVE[1], 1, 0.5),
        ("value", "dpo", CURVE[0], 1, 1),
        ("perturbed-clean", "lora", CURVE[1], 0, -0.5),
        ("regime-reference", "dpo", CURVE[0], 0, 1),
        ("difference-in-differences", "lora", CURVE[1], 0, -0.5),
    ],
)
def test_the_parts_of_a_variance_where_they_are_known(runs, split, estimand, regime, condition, of_patients, factor):
    """Resampled, patients' and training's variances add up; 4,000 resamples know a standard error to 4 × 1.2 %."""
    e = split["", estimand, regime, condition]
    assert e.se_patients == pytest.approx(linearised(runs, of_patients), abs=1e-12)
    assert e.se_training == pytest.approx(spread_of_runs(regime, factor), abs=1e-12)
    assert e.se == pytest.approx(np.hypot(e.se_patients, e.se_training), rel=0.05)


@pytest.mark.parametrize(("estimand", "regime"), [("relative", "lora"), ("relative-difference", "dpo")])
def test_the_parts_of_a_ratios_variance_against_the_delta_method(runs, split, estimand, regime):
    """Of v(perturbed) / v(clean) = (b + s/2) / (b + s), b moving with patients and s with training; b alone of one run.

    The reference's ratio is 1, whatever its patients are.
    """
    base, shift = runs.probabilities[0, 0].mean(), np.mean(SHIFTS[regime])
    clean, ratio = base + shift, (base + shift / 2) / (base + shift)
    e = split["", estimand, regime, CURVE[1]]
    assert e.estimate == pytest.approx(ratio - (estimand != "relative"), abs=1e-12)
    assert e.se_patients == pytest.approx(linearised(runs) * (1 - ratio) / clean, abs=1e-12)
    assert e.se_training == pytest.approx(spread_of_runs(regime) * (ratio - 0.5) / clean, abs=1e-12)
    assert e.se == pytest.approx(np.hypot(e.se_patients, e.se_training), rel=0.06)


def by_differences(value, at, along, step=1e-6):
    """Derivative of a value at a point along a direction."""
    return (value(at + step * along) - value(at - step * along)) / (2 * step)


def half_lost(v, strengths=(0.0, 1.0, 2.0)):
    """Where straight lines between values first fall to half of the first, chance being 0."""
    j = next(j for j in range(1, len(v)) if v[j] <= v[0] / 2)
    return strengths[j - 1] + (v[j - 1] - v[0] / 2) / (v[j - 1] - v[j]) * (strengths[j] - strengths[j - 1])


@pytest.mark.parametrize(("estimand", "value"), [("half-margin", half_lost), ("relative", lambda v: v[-1] / v[0])])
def test_the_parts_of_variance_of_forms_against_derivatives_of_plain_functions(estimand, value):
    """Right on clean images and weaker strengths: a mean over images, so that every derivative is by hand."""
    members = [("supervised", 0), *(("lora", i) for i in range(3))]
    made = make_predictions(
        seed=3, n_patients=50, members=members, conditions=CURVE[:3], findings=("Mass",), decimals=6
    )
    rng, positive = np.random.default_rng(5), made.labels[:, 0] == 1
    shares = np.array([[0.9, 0.7, 0.3], [0.95, 0.9, 0.7], [0.9, 0.6, 0.2], [0.8, 0.3, 0.1]])  # of each run and strength
    right = rng.random((4, 3, len(positive))) < shares[..., None]
    made = replace(made, probabilities=np.where(right == positive, 0.9, 0.1)[..., None])
    settings = make_settings(metrics=("robust-accuracy",), resamples=3000, operating_point=0.5)
    found = analyze(made, settings, reference="supervised", seed=3).estimates
    [e] = [one for one in found if (one.estimand, one.regime, one.finding) == (estimand, "lora", "Mass")
           and one.condition in {CURVE[2], "pgd"}]  # fmt: skip

    scores = np.logical_and.accumulate(right, axis=1)[1:].astype(float)  # (3 runs, 3 strengths, n_images)
    v, n = scores.mean(axis=2), len(positive)
    influences = np.stack(
        [(scores[:, :, made.patients == i] - v[..., None]).sum(axis=2) / n for i in range(50)], axis=-1
    )
    at = v.mean(axis=0)
    moves = np.array([[by_differences(value, at, of[:, i]) for i in range(50)] for of in influences])
    deviations = np.array([by_differences(value, at, of - at) for of in v])
    own = moves - moves.mean(axis=0)
    left = (deviations**2).sum() - (own**2).sum() * 50 / 49
    assert left > 0
    assert e.estimate == pytest.approx(value(at), abs=1e-12)
    assert e.se_patients == pytest.approx(np.sqrt((moves.mean(axis=0) ** 2).sum() * 50 / 49), rel=1e-6)
    assert e.se_training == pytest.approx(np.sqrt(left / 6), rel=1e-6)
    assert e.se == pytest.approx(np.hypot(e.se_patients, e.se_training), rel=0.1)


def test_the_interval_t_holds_both_parts_of_a_variance(runs):
    """Estimate ± t·√(patients² + training²), t at the degrees of freedom of the patients' influences and of 3 runs."""
    settings = make_settings(metrics=("confidence",), interval="t", operating_point=0.5)
    found = analyze(runs, settings, reference="supervised", seed=3).estimates
    [e] = [one for one in found if (one.estimand, one.regime, one.condition) == ("value", "lora", "clean")
           and (one.metric, one.finding) == ("confidence", "macro")]  # fmt: skip
    p = runs.probabilities[0, 0, :, 0]
    u = np.bincount(runs.patients, weights=p - p.mean())
    df = 2 * 40 / (40 * (u**4).sum() / (u**2).sum() ** 2 - 1)
    of_patients, of_training = linearised(runs) ** 2, spread_of_runs("lora") ** 2
    both = (of_patients + of_training) ** 2 / (of_patients**2 / df + of_training**2 / 2)
    half = stats.t.ppf(0.975, both) * np.sqrt(of_patients + of_training)
    assert (e.ci_low, e.ci_high) == pytest.approx((e.estimate - half, e.estimate + half), abs=1e-12)


def test_the_interval_t_of_an_area_and_of_a_ratio_holds_training_against_resamples(runs):
    """As resamples of patients and of runs spread; 4,000 of them know a standard error to 4 × 1.2 %."""
    by_method = {}
    for interval in ("t", "percentile"):
        settings = make_settings(metrics=("confidence",), interval=interval, resamples=4000, operating_point=0.5)
        found = analyze(runs, settings, reference="supervised", seed=3).estimates
        by_method[interval] = {
            (e.estimand, e.regime, e.condition): e.se
            for e in found
            if e.finding == "macro" and e.estimand in {"area", "area-difference", "relative"} and e.se
        }
    assert by_method["t"].keys() == by_method["percentile"].keys()
    assert {estimand for estimand, _, _ in by_method["t"]} >= {"relative"}
    for key, se in by_method["t"].items():
        assert se == pytest.approx(by_method["percentile"][key], rel=0.05, abs=1e-12), key


def test_one_run_each_has_no_parts(runs, split):
    e = split["", "value", "supervised", CURVE[0]]
    assert (e.se_patients, e.se_training) == (None, None)


def test_an_interaction_of_several_training_runs_is_of_these(split):
    """It has a p-value of patients alone, and no interval."""
    for regime in ("lora", "supervised"):
        e = split["view: interaction", "value", regime, CURVE[1]]
        assert e.p_value is not None
        assert e.note.endswith("; p is of these training runs") == (regime == "lora")


def test_subgroups_share_their_training_runs(runs, split):
    """What a run adds to all images, it adds to both subgroups: none of it is left in their difference."""
    for estimand in ("value", "regime-reference", "perturbed-clean"):
        e = split["view: PA − AP", estimand, "lora", CURVE[1]]
        assert e.se_training == pytest.approx(0, abs=1e-12)
        alone = split["view=PA", estimand, "lora", CURVE[1]]
        assert alone.se_training > 0.01
        assert e.se == pytest.approx(e.se_patients, rel=0.05, abs=1e-12)


def test_regimes_of_as_many_runs_draw_theirs_apart_against_all_draws():
    """Two regimes whose three runs are off by the same: against all 3⁶ draws, their mean stretched to a mean's spread.

    Patients make nothing of the difference, and one draw for both regimes would leave nothing of training either.
    """
    off, level, members = (-0.05, 0.0, 0.05), 0.86, [(name, i) for name in ("supervised", "lora") for i in range(3)]
    made = make_predictions(n_patients=20, most_images=1, members=members, conditions=CURVE[:3], findings=("Mass",))
    base = 0.7 + np.random.default_rng(3).uniform(-0.1, 0.1, (20, 1))
    made = replace(made, probabilities=np.tile(base + np.reshape(off * 2, (6, 1, 1, 1)), (1, 3, 1, 1)))
    settings = make_settings(
        metrics=("confidence",), interval="percentile", level=level, resamples=1000, operating_point=0.5
    )
    found = [
        e
        for e in analyze(made, settings, reference="supervised", seed=3).estimates
        if (e.estimand, e.finding, e.condition[:3]) == ("regime-reference", "Mass", "pgd") and e.band_low is not None
    ]
    drawn = np.array(list(itertools.product(off, repeat=6)))
    drawn = (drawn[:, :3].mean(axis=1) - drawn[:, 3:].mean(axis=1)) * np.sqrt(np.var(off, ddof=1) / np.var(off))
    end, all_within = (np.quantile(x, q) for x, q in ((drawn, (1 + level) / 2), (np.abs(drawn), level)))
    assert len(found) == 2
    for e in found:
        assert e.se_training == pytest.approx(drawn.std(), abs=1e-12)
        assert e.se == pytest.approx(drawn.std(), rel=0.06)  # 1,000 resamples know it to 2.2 %
        assert (e.ci_low, e.ci_high) == pytest.approx((-end, end), abs=1e-9)
        q = all_within / e.se
        wider = np.sqrt(20 / 19) * stats.t.isf(stats.norm.sf(q), 4) / q  # Welch's, of three runs and three as unlike
        assert (e.band_low, e.band_high) == pytest.approx((-all_within * wider, all_within * wider), abs=1e-9)


# -------------------------------------------------------------- not estimable


@pytest.mark.parametrize(("most", "is_there"), [(0.15, False), (0.5, True)])
def test_a_study_has_no_band_where_strengths_are_undefined_in_too_many_resamples_together(most, is_there):
    """Images of two of 9 patients are called positive at one strength, of two others at the other.

    Each PPV lacks (7/9)^9 = 10 % of resamples, and one or the other 20 %.
    """
    made = make_predictions(seed=1, n_patients=9, most_images=1, findings=("Mass",), conditions=CURVE[:3])
    made = replace(made, labels=np.array([[1, 0] * 4 + [1]], dtype=np.int8).T)
    p = np.full_like(made.probabilities, 0.1)
    p[:, 0, :4], p[:, 1, :2], p[:, 2, 2:4] = 0.9, 0.9, 0.9
    settings = make_settings(metrics=("ppv",), resamples=500, operating_point=0.5, most_undefined=most)
    found = analyze(replace(made, probabilities=p), settings, reference="supervised", seed=4).estimates
    some = [e for e in found if (e.estimand, e.finding) == ("value", "Mass") and e.condition in CURVE[1:3]]
    assert len(some) == 2 * len({e.regime for e in some}) > 0
    for e in some:
        assert e.ci_low is not None
        assert (e.band_low is not None) == is_there


@pytest.fixture(scope="module")
def rare():
    """One patient of 9 is positive: 35 % of resamples draw none, and some draw no other."""
    made = make_predictions(seed=1, n_patients=9, most_images=1, findings=("Mass",), conditions=CURVE[:2])
    return replace(made, labels=np.array([[1], *[[0]] * 8], dtype=np.int8))


def undefined_share(rare, seed):
    counts = Sample.draw(rare, make_settings(resamples=500), seed=seed).counts
    drawn = [counts[b // 64, 0, b % 64] for b in range(500)]
    return np.mean([n in {0, 9} for n in drawn])


@pytest.mark.parametrize("most", [0.0, 0.2, 0.5, 1.0])
def test_most_undefined_against_the_counts_of_the_one_patient(rare, most):
    share = undefined_share(rare, 4)
    assert 0.25 < share < 0.45
    settings = make_settings(metrics=("auroc", "brier"), resamples=500, most_undefined=most)
    for e in analyze(rare, settings, reference="supervised", seed=4).estimates:
        if e.estimand.startswith("relative"):
            continue  # also undefined where an AUROC is 0
        if e.metric == "brier":
            assert "not defined" not in e.note
            assert e.estimate is not None
        elif share > most:
            assert (e.estimate, e.se, e.ci_low, e.ci_high, e.interval) == (None,) * 5
            assert (e.p_value, e.p_adjusted, e.test, e.family) == (None,) * 4
            assert e.reason == f"not defined in {share:.1%} of resamples"
            assert e.note.startswith(f"not estimable: {e.reason}")
        else:
            assert (e.estimate is None, e.reason) == (False, None)
            assert e.ci_low is not None
            assert f"not defined in {share:.2%} of resamples, which are left out" in e.note


def test_half_of_the_margin_that_is_lost_in_some_resamples_only():
    """Where it is not, the strength is beyond the greatest: an open interval, and a share that the note says."""
    made = make_predictions(seed=6, n_patients=40, conditions=CURVE[:4], members=MEMBERS, findings=("Mass",))
    settings = make_settings(metrics=("auroc",), resamples=400, interval="percentile")
    sample = Sample.draw(made, settings, seed=2)
    values = evaluate({"auroc": metric["auroc"]}, [sample])["auroc"]
    found = analyze(made, settings, reference="supervised", seed=2).estimates
    checked = 0
    for e in found:
        if e.estimand == "half-margin" and e.finding == "Mass":
            r = made.regimes.index(e.regime)
            drawn = [half_by_hand(values.resampled[r, :, 0, b]) for b in range(400)]
            expected = half_by_hand(values.value[r, :, 0])
            if not np.isfinite(expected):
                assert e.estimate is None
                assert e.note.startswith("not estimable: ")
                continue
            assert e.estimate == pytest.approx(expected, abs=1e-9)
            known = np.array([one for one in drawn if not np.isnan(one)])
            beyond = np.isinf(drawn).mean()
            method = "inverted_cdf" if beyond else "linear"
            low, high = np.quantile(known, [(1 - 0.95) / 2, (1 + 0.95) / 2], method=method)
            assert same(e.ci_low, low, 1e-9)
            assert same(e.ci_high, high if np.isfinite(high) else None, 1e-9)
            is_open = ": the upper end of the interval is open" if np.isinf(high) else ""
            assert e.note.split("; ").count(f"beyond the greatest strength in {beyond:.2%} of resamples{is_open}") == (
                beyond > 0
            )
            checked += 1
    assert checked


@pytest.mark.parametrize(
    ("seed", "level", "ends"),
    [
        (10, 0.95, ": both ends of the interval are open"),
        (10, 0.8, ": the lower end of the interval is open"),
        (7, 0.6, ": the upper end of the interval is open"),
        (10, 0.6, ""),
    ],
)
def test_a_difference_of_half_margins_says_which_ends_stand_open(seed, level, ends):
    """In a resample the half-margin of the regime, or of its reference, may be infinite: the difference is ∞ or −∞."""
    made = make_predictions(seed=seed, n_patients=30, conditions=CURVE[:4], members=MEMBERS, findings=("Mass",))
    settings = make_settings(
        metrics=("auroc",), resamples=400, level=level, sensitivity_analyses=False, interval="percentile"
    )
    values = evaluate({"auroc": metric["auroc"]}, [Sample.draw(made, settings, seed=2)])["auroc"]
    of_reference, own = (np.array([half_by_hand(values.resampled[r, :, 0, b]) for b in range(400)]) for r in (0, 1))
    with np.errstate(invalid="ignore"):
        drawn = own - of_reference
    tails = [(1 - level) / 2, (1 + level) / 2]
    expected = np.quantile(drawn[~np.isnan(drawn)], tails, method="inverted_cdf")
    estimates = analyze(made, settings, reference="supervised", seed=2).estimates
    (e,) = [e for e in estimates if (e.estimand, e.finding) == ("half-margin-difference", "Mass")]
    for end, by_hand in zip((e.ci_low, e.ci_high), expected, strict=True):
        assert same(end, by_hand if np.isfinite(by_hand) else None, 1e-9)
    assert (e.estimate is None, e.p_value is None) == (False, False)
    beyond = f"beyond the greatest strength in {np.isinf(drawn).mean():.2%} of resamples"
    assert e.note.split("; ").count(f"{beyond}{ends}") == 1


def half_by_hand(curve):
    """First strength, of 0, 1, 2 and 4, at which half of the margin over 0.5 is lost; by straight lines."""
    if np.isnan(curve).any() or curve[0] <= 0.5:
        return np.nan
    half, steps = (curve[0] + 0.5) / 2, (0, 1, 2, 4)
    for j in range(1, 4):
        if curve[j] <= half:
            return steps[j - 1] + (curve[j - 1] - half) / (curve[j - 1] - curve[j]) * (steps[j] - steps[j - 1])
    return np.inf
