"""Estimates after recalibration, against plain loops on the recalibrated probabilities.

The maps are held fixed here; `test_map_errors.py` holds what their own errors add to refits.
"""

import warnings
from dataclasses import replace

import numpy as np
import pytest

from cxrobust.analysis import analyze, recalibrated
from cxrobust.analysis.map_errors import MapErrors
from cxrobust.analysis.recalibration import recalibrate
from cxrobust.analysis.sample import Sample
from cxrobust.study.analysis import MetricSection

from . import oracle
from .made import make_predictions, make_settings, same, weights_of, with_labels

CONDITIONS, FINDINGS, REGIMES = ("clean", "pgd(eps=4/255)"), ("Effusion", "Mass"), ("supervised", "lora")
SEED, RESAMPLES = 11, 100
METRICS = ("auroc", "accuracy", "brier", "ece")


@pytest.fixture(scope="module")
def predictions():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # netcal's own modules warn when they are compiled
        pytest.importorskip("netcal.scaling", reason="netcal is not installed: pip install 'cxrobust[recalibration]'")
    return make_predictions(seed=5, n_patients=60, most_images=3, conditions=CONDITIONS)


def settings(**changes):
    given = {"metrics": METRICS, "resamples": RESAMPLES, "recalibrate": ("platt",), "interval": "percentile"}
    given["per_metric"] = {"ece": MetricSection(interval="percentile-recentred")}
    return make_settings(**{**given, **changes})


@pytest.fixture(scope="module")
def mapped(predictions):
    return recalibrate(predictions, "platt", seed=SEED)


@pytest.fixture(scope="module")
def analysis(predictions):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(recalibrated, "_errors", lambda _, sample: MapErrors(of={}, counts=sample.counts, is_own=True))
        return analyze(predictions, settings(), reference="supervised", seed=SEED).estimates


@pytest.fixture(scope="module")
def table(predictions, mapped):
    """Value and resampled values by which probabilities, metric, regime, condition and finding; by loops."""
    counts, found = Sample.draw(predictions, settings(), seed=SEED).counts, {}
    weights = [weights_of(counts, predictions.patients, b) for b in range(RESAMPLES)]
    for which, probabilities in (("raw", predictions.probabilities), ("platt", mapped.probabilities)):
        for r, c in np.ndindex(2, 2):
            for metric, one in (("brier", oracle.brier), ("ece", oracle.ece)):
                at = which, metric, REGIMES[r], CONDITIONS[c]
                for k, finding in enumerate(FINDINGS):
                    p, y = probabilities[r, c, :, k].tolist(), predictions.labels[:, k].tolist()
                    found[*at, finding] = np.array([one(p, y), *(one(p, y, w) for w in weights)])
                found[*at, "macro"] = np.mean([found[*at, finding] for finding in FINDINGS], axis=0)
    return found


def interval(e, numbers):
    """Percentile interval; of a calibration error shifted to the estimate, but not past a 0 that it held."""
    shift = numbers[0] - numbers[1:].mean() if e.metric == "ece" else 0
    low, high = np.quantile(numbers[1:], [0.025, 0.975])
    low, high = (min(low + shift, 0), max(high + shift, 0)) if low <= 0 <= high else (low + shift, high + shift)
    return (max(low, 0.0), min(high, 1.0)) if e.estimand == "value" else (low, high)


def test_recalibrated_less_raw_against_plain_loops(analysis, table):
    checked = 0
    for e in analysis:
        if e.estimand == "recalibrated-raw" and e.finding in {*FINDINGS, "macro"}:
            at = e.metric, e.regime, e.condition, e.finding
            numbers = table["platt", *at] - table["raw", *at]
            assert same(e.estimate, numbers[0]), e
            assert same(e.ci_low, interval(e, numbers)[0]), e
            assert same(e.ci_high, interval(e, numbers)[1]), e
            assert same(e.se, numbers[1:].std(ddof=1)), e
            assert e.p_value is not None
            assert e.reference is None
            checked += 1
    assert checked == 2 * 4 * 3


def test_every_recalibrated_estimate_against_plain_loops(analysis, table):
    checked = 0
    for e in analysis:
        if not e.recalibration or e.estimand == "recalibrated-raw" or e.finding not in {*FINDINGS, "macro"}:
            continue

        def of(regime, condition, e=e):
            return table["platt", e.metric, regime, condition, e.finding]

        numbers = of(e.regime, e.condition)
        if e.estimand in {"perturbed-clean", "difference-in-differences"}:
            numbers = numbers - of(e.regime, "clean")
        if e.estimand in {"regime-reference", "difference-in-differences"}:
            numbers = numbers - of("supervised", e.condition)
        if e.estimand == "difference-in-differences":
            numbers = numbers + of("supervised", "clean")
        assert same(e.estimate, numbers[0]), e
        assert same(e.ci_low, interval(e, numbers)[0]), e
        assert same(e.ci_high, interval(e, numbers)[1]), e
        checked += 1
    assert checked == 2 * 3 * (4 + 2 + 2 + 1)


def test_the_test_of_recalibrated_less_raw_flips_each_patients_difference(analysis, predictions, mapped):
    """Brier score of one finding: the sum over a patient's images of the change of the squared error."""
    for e in analysis:
        if (e.estimand, e.metric, e.finding) == ("recalibrated-raw", "brier", "Mass"):
            r, c = REGIMES.index(e.regime), CONDITIONS.index(e.condition)
            squares = [
                (p[r, c, :, 1] - predictions.labels[:, 1]) ** 2
                for p in (mapped.probabilities, predictions.probabilities)
            ]
            parts = np.bincount(predictions.patients, weights=squares[0] - squares[1]) / len(predictions.patients)
            other = oracle.sign_flip_monte_carlo(parts, draws=4000, seed=1)
            assert (
                abs(e.p_value - other) < 4 * np.sqrt(other * (1 - other) * (1 / RESAMPLES + 1 / 4000)) + 2 / RESAMPLES
            )


def test_only_metrics_of_probabilities_are_recalibrated(analysis):
    """AUROC and decisions at an operating point ask for an order."""
    assert {e.metric for e in analysis if e.recalibration} == {"brier", "ece"}
    assert {e.recalibration for e in analysis} == {"", "platt"}
    assert {e.estimand for e in analysis if e.recalibration} == {
        "value", "perturbed-clean", "regime-reference", "difference-in-differences", "recalibrated-raw"
    }  # fmt: skip


def test_notes_say_what_maps_were_fitted_on(analysis):
    others = "clean images of other patients, 5 folds by patient"
    assert {e.fitted_on for e in analysis if e.recalibration} == {others}
    assert {e.fitted_on for e in analysis if not e.recalibration} == {None}
    assert all(f"fitted on {others}" in e.note for e in analysis if e.recalibration)


def test_recalibrated_estimates_have_families_of_their_own(analysis):
    families = {e.family for e in analysis if e.recalibration and e.family is not None}
    assert families
    assert all(family.endswith(", recalibrated: platt") for family in families)
    assert not families & {e.family for e in analysis if not e.recalibration}


def test_raw_estimates_are_those_of_a_study_without_recalibration(analysis, predictions):
    without = analyze(predictions, settings(recalibrate=()), reference="supervised", seed=SEED).estimates
    assert [e for e in analysis if not e.recalibration] == list(without)


def test_no_metric_of_probabilities_means_no_map(predictions, monkeypatch):
    monkeypatch.setattr("cxrobust.analysis.recalibrated.recalibrate", lambda *_, **__: pytest.fail("a map was fitted"))
    found = analyze(predictions, settings(metrics=("auroc", "accuracy")), reference="supervised", seed=1).estimates
    assert not [e for e in found if e.recalibration]


NUMBERS = ("estimate", "se", "ci_low", "ci_high", "interval", "band_low", "band_high", "p_value", "p_adjusted", "test")


def few_positive(predictions):
    """Labels of which nine patients have a positive image, which are too few."""
    few = np.zeros(len(predictions.patients), dtype=np.int8)
    few[np.unique(predictions.patients, return_index=True)[1][:9]] = 1
    return few


def test_where_nothing_was_fitted_no_effect_of_recalibration_is_estimable(predictions):
    few = few_positive(predictions)
    rare = replace(predictions, labels=np.column_stack([few, few]))
    found = analyze(rare, settings(metrics=("brier",)), reference="supervised", seed=SEED).estimates
    checked = 0
    for e in found:
        if e.estimand == "recalibrated-raw":
            assert [getattr(e, name) for name in NUMBERS] == [None] * len(NUMBERS)
            assert e.family is None
            assert e.reason == "nothing was fitted (fewer than 10 patients with a positive image)"
            assert (e.fitted_on, e.note) == (None, f"not estimable: {e.reason}")
            checked += 1
        elif e.recalibration and e.estimand == "value":
            raw = next(
                one
                for one in found
                if (one.recalibration, one.estimand, one.regime, one.condition, one.finding)
                == ("", "value", e.regime, e.condition, e.finding)
            )
            assert (e.estimate, e.ci_low, e.ci_high) == (raw.estimate, raw.ci_low, raw.ci_high)
            assert "not recalibrated: fewer than 10 patients with a positive image" in e.note
            assert e.fitted_on is None
    assert checked == 2 * 2 * 5


def test_one_finding_that_was_not_fitted_leaves_the_others_and_the_averages(predictions, analysis):
    """The macro average then holds the finding's difference of 0, and its note names the finding."""
    rare = replace(predictions, labels=np.column_stack([few_positive(predictions), predictions.labels[:, 1]]))
    for e in analyze(rare, settings(metrics=("brier",)), reference="supervised", seed=SEED).estimates:
        if e.estimand == "recalibrated-raw":
            assert (e.p_value is None) == (e.finding == "Effusion")
            assert ("nothing was fitted" in e.note) == (e.finding == "Effusion")
            if e.finding == "macro":
                alone = next(
                    one
                    for one in analysis
                    if (one.estimand, one.metric, one.regime, one.condition, one.finding)
                    == ("recalibrated-raw", "brier", e.regime, e.condition, "Mass")
                )
                assert same(e.estimate, alone.estimate / 2)
                assert f"unchanged for {e.regime}, Effusion (fewer" in e.note


def test_a_regime_with_one_fitted_training_run_has_an_effect(predictions):
    """The second run's probabilities are the labels' wrong way round, so that no increasing map fits them."""
    runs = (("supervised", 0), ("lora", 0), ("lora", 1))
    p = predictions.probabilities
    turned = np.stack([p[0], p[1], np.where(predictions.labels == 1, p[1] * 0.3, 0.7 + p[1] * 0.3)])
    made = replace(predictions, members=runs, probabilities=turned)
    unchanged = {(one.regime, one.replicate) for one in recalibrate(made, "platt", seed=SEED).unchanged}
    assert unchanged == {("lora", 1)}
    found = analyze(made, settings(metrics=("brier",)), reference="supervised", seed=SEED).estimates
    assert all(e.p_value is not None for e in found if e.estimand == "recalibrated-raw")


def test_a_finding_that_no_training_run_has_a_map_of_is_named_once(predictions):
    runs = (("supervised", 0), ("supervised", 1), ("lora", 0))
    made = replace(predictions, members=runs, probabilities=predictions.probabilities[[0, 1, 1]])
    rare = replace(made, labels=np.column_stack([few_positive(made), made.labels[:, 1]]))
    why = "fewer than 10 patients with a positive image"
    found = analyze(rare, settings(metrics=("brier",)), reference="supervised", seed=SEED).estimates
    notes = {e: e.note for e in found if e.recalibration and e.finding == "macro"}
    assert notes
    both = f"; unchanged for lora, Effusion ({why}), supervised, Effusion ({why});"
    of_one = [f"; unchanged for {regime}, Effusion ({why});" for regime in ("supervised", "lora")]
    for e, note in notes.items():
        assert (both if e.reference else of_one[e.regime == "lora"]) in note + ";"


def test_rows_say_which_maps_they_have_and_which_findings_of_theirs_have_none(predictions):
    """Of three findings one has no label on validation images, and one has one class there; every row by hand."""
    names = ("Effusion", "Mass", "Edema")
    kinds = {"findings": names, "conditions": CONDITIONS[:2], "decimals": 6}
    study = make_predictions(seed=1, n_patients=60, **kinds)
    held_out = make_predictions(seed=9, n_patients=50, **{**kinds, "conditions": ("clean",)})
    held_out = with_labels(with_labels(held_out, "Mass", lambda y: np.full_like(y, -1)), "Edema", np.zeros_like)
    made = replace(study, validation=replace(held_out, patient_ids=tuple(f"v{i}" for i in range(50))))
    rows = analyze(made, settings(metrics=("brier",)), reference="supervised", seed=1).estimates
    why = {"Mass": "no labelled image", "Edema": "one class only"}
    fitted, seen = "fitted on clean validation images", set()
    for e in rows:
        first, *_ = e.note.split("; fewer")[0].split("; worst:")
        if not e.recalibration:
            assert e.fitted_on is None
        elif e.finding in why:
            assert e.fitted_on is None
            if e.estimand == "recalibrated-raw":
                assert (e.estimate, e.reason) == (None, f"nothing was fitted ({why[e.finding]})")
            else:
                assert first.startswith(f"not recalibrated: {why[e.finding]}")
                [raw] = (
                    one
                    for one in rows
                    if not one.recalibration
                    and (one.estimand, one.regime, one.condition, one.finding)
                    == (e.estimand, e.regime, e.condition, e.finding)
                )
                assert e.estimate == raw.estimate
        else:
            assert e.fitted_on == "clean validation images"
            regimes = [e.regime] if e.reference is None else [e.regime, e.reference]
            named = [f"{regime}, {finding} ({said})" for regime in regimes for finding, said in why.items()]
            assert first.startswith(
                fitted if e.finding == "Effusion" else f"{fitted}; unchanged for {', '.join(named)}"
            )
            assert ("unchanged" in e.note) == (e.finding != "Effusion")
        seen.add((e.estimand, e.finding, e.recalibration))
    assert {("recalibrated-raw", one, "platt") for one in (*names, "micro", "macro", "worst")} < seen
