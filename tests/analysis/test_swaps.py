"""Swap test of measures of sums: against enumeration by hand, sign flips where both are the same, and its own laws."""

from dataclasses import replace
from itertools import product

import numpy as np
import pytest

from cxrobust.analysis import analyze
from cxrobust.analysis.contrasts import contrasts_of
from cxrobust.analysis.evaluating import evaluate
from cxrobust.analysis.metrics import metric
from cxrobust.analysis.metrics.decisions import BalancedAccuracy
from cxrobust.analysis.permutation import sign_flip_p_values
from cxrobust.analysis.sample import Sample
from cxrobust.analysis.swaps import swap_p_value
from cxrobust.analysis.testing import run_tests
from cxrobust.radiology_reports.scores import measured
from cxrobust.study.analysis import AnalysisSection

from .made import make_predictions, make_settings

F1, BLEU = metric["f1-14-micro"], metric["bleu"]


def _p(one, other, finish=F1.finish, combine=lambda values: values[0], n_draws=10_000, seed=0):
    return swap_p_value(one, other, finish=finish, combine=combine, n_draws=n_draws, rng=np.random.default_rng(seed))


def _counts(rng, n_patients, n_parts=1):
    """True positives, false alarms, misses and reports of each patient; the first has as many as all others."""
    found = rng.integers(0, 6, (n_patients, n_parts, 4)).astype(float)
    found[0] *= n_patients
    found[..., 3] = 1
    return found


def _f1_of_side(sums):
    """F1 of all, and how much it moves with each patient, by hand: (2 tp_i − F (2 tp_i + fp_i + fn_i)) / Σ (…)."""
    tp, size = 2 * sums[:, 0], 2 * sums[:, 0] + sums[:, 1] + sums[:, 2]
    value = tp.sum() / size.sum()
    return value, (tp - value * size) / size.sum()


def _enumerated(one, other, weights):
    """The p-value of Σ weights · F1 over all swaps, each patient's rows really exchanged."""

    def studentised(swapped):
        here, there = one.copy(), other.copy()
        here[swapped], there[swapped] = other[swapped], one[swapped]
        difference, parts = 0.0, np.zeros(len(one))
        for sign, side in ((1, here), (-1, there)):
            for part, weight in enumerate(weights):
                value, moves = _f1_of_side(side[:, part])
                difference += sign * weight * value
                parts += sign * weight * moves
        return abs(difference) / np.sqrt((parts**2).sum())

    patterns = [np.array(pattern, dtype=bool) for pattern in product([False, True], repeat=len(one))]
    observed = studentised(patterns[0])
    return np.mean([studentised(pattern) >= observed * (1 - 1e-9) for pattern in patterns])


@pytest.mark.parametrize("weights", [[1.0], [1.0, -1.0], [0.25, 0.5, 0.25]])
def test_p_values_against_enumeration(weights):
    rng = np.random.default_rng(4)
    for _ in range(8):
        one, other = (_counts(rng, 6, len(weights)) for _ in range(2))
        found = _p(one, other, combine=lambda values: np.array(weights) @ values)
        assert found == _enumerated(one, other, weights)


def test_few_whose_sides_differ_among_many_against_enumeration():
    """Swaps of all others change nothing: every swap of these few beside any of the others, of which here are two."""
    rng = np.random.default_rng(8)
    one, other = _counts(rng, 7), _counts(rng, 7)
    other[[1, 4]] = one[[1, 4]]
    expected = _enumerated(one, other, [1.0])
    assert _p(one, other, n_draws=32) == expected  # of 2^7 swaps
    assert _p(one, other, n_draws=31) != expected


def test_drawn_p_values_against_exact_ones():
    rng = np.random.default_rng(5)
    one, other = _counts(rng, 12), _counts(rng, 12)
    exact = _p(one, other, n_draws=4096)
    assert _p(one, other, n_draws=4000) == pytest.approx(exact, abs=4 * np.sqrt(exact * (1 - exact) / 4000))


def test_a_mean_of_one_report_a_patient_against_sign_flips():
    """The difference is then Σ d / n, and its standard error falls as it grows, so that both order swaps alike."""
    rng = np.random.default_rng(6)
    one, other = (np.stack([rng.normal(size=9), np.ones(9)], axis=-1)[:, None] for _ in range(2))
    flips = sign_flip_p_values((one - other)[:, 0, :1], n_draws=512, rng=rng)
    assert _p(one, other, finish=lambda sums: sums[..., 0] / sums[..., 1], n_draws=512) == flips


def _bleu_sums(rng, n_patients, part):
    """Lengths, shared and all word runs of reports, of which the first patient's has a part of all words."""
    words = rng.integers(20, 60, n_patients)
    words[0] = part / (1 - part) * words[1:].sum()
    totals = [words - n for n in range(4)]
    shared = [rng.binomial(total, share) for total, share in zip(totals, (0.7, 0.5, 0.3, 0.2), strict=True)]
    return np.stack([words, np.full(n_patients, 30), *shared, *totals, np.ones(n_patients)], axis=-1)[:, None].astype(
        float
    )


@pytest.mark.parametrize("part", [0.1, 0.3, 0.6])
def test_no_more_than_alpha_of_all_swaps_of_a_study_reject(part):
    """Whatever the study, at every level: that is what exact means, also where one report has most of the words."""
    rng = np.random.default_rng(7)
    one, other = _bleu_sums(rng, 6, part), _bleu_sums(rng, 6, part)
    found = []
    for pattern in product([False, True], repeat=6):
        here, there = one.copy(), other.copy()
        swapped = np.array(pattern)
        here[swapped], there[swapped] = other[swapped], one[swapped]
        found.append(_p(here, there, finish=BLEU.finish))
    found = np.array(found)
    for alpha in np.unique(found):
        assert np.mean(found <= alpha) <= alpha
    assert found.min() == 2 / 64


def test_a_score_of_0_on_one_side_is_found_and_a_swap_that_is_undefined_counts_against_rejecting():
    rng = np.random.default_rng(9)
    good = _bleu_sums(rng, 30, 0.05)
    bad = good.copy()
    bad[..., 2:6] = 0
    assert BLEU.finish(bad.sum(axis=(0, 1))) == 0
    assert _p(good, bad, finish=BLEU.finish, n_draws=999) == 1 / 1000
    right, silent = np.array([[[5.0, 0, 0, 1]], [[0, 0, 0, 1]]]), np.array([[[0.0, 0, 0, 1]], [[0, 1, 0, 1]]])
    assert _p(right, silent) == 1  # swapping the second leaves one side with nothing to be right about
    assert _p(good, good, finish=BLEU.finish) == 1


def test_an_analysed_study_against_enumeration():
    """Of 7 patients, two regimes of two training runs each, and one trained three times, whose signs are flipped."""
    members = (("sft", 0), ("sft", 1), ("dpo", 0), ("dpo", 1), ("kto", 0), ("kto", 1), ("kto", 2))
    made = make_predictions(n_patients=7, members=members)
    rng = np.random.default_rng(10)
    shape = made.probabilities.shape[:3]
    names = measured("f1-pleural-effusion")[1].needs
    scores = {name: rng.integers(0, 3, shape).astype(float) for name in names}
    heavy = np.flatnonzero(made.patients == 0)[0]
    for values in scores.values():
        values[..., heavy] *= 9
    reports = np.full(shape, "Clear.", dtype=object)
    settings = AnalysisSection(
        metrics=("f1-pleural-effusion",), resamples=200, effect_sizes=(), sensitivity_analyses=False
    )
    found = analyze(replace(made, scores=scores, reports=reports), settings, reference="sft", seed=1).estimates
    by = {(e.estimand, e.regime, e.condition): e for e in found}
    attack = made.conditions[1]

    def sums(regime, condition):
        each = []
        for m, (name, _) in enumerate(members):
            if name == regime:
                columns = [np.bincount(made.patients, scores[name][m, condition], minlength=7) for name in names]
                each.append(np.stack(columns, axis=-1))
        return np.stack(each, axis=1)

    def check(one, other, weights, estimate):
        assert estimate.test == "permutation (swaps, exact)"
        assert "exact over 128 swaps of patients, so p is at least 0.01562" in estimate.note
        assert estimate.p_value == _enumerated(one, other, weights)

    half = [0.5, 0.5]
    check(sums("dpo", 1), sums("sft", 1), half, by["regime-reference", "dpo", attack])
    check(sums("dpo", 1), sums("dpo", 0), half, by["perturbed-clean", "dpo", attack])
    sides = [np.concatenate([sums(regime, 1), sums(regime, 0)], axis=1) for regime in ("dpo", "sft")]
    check(*sides, [0.5, 0.5, -0.5, -0.5], by["difference-in-differences", "dpo", attack])
    assert by["regime-reference", "kto", attack].test == "permutation (exact)"
    assert by["perturbed-clean", "kto", attack].test == "permutation (swaps, exact)"


class Swapped(BalancedAccuracy):
    """A metric with a value of guessing whose sums are swapped, as one of another package may be."""

    swapped = True
    summed = ""


def test_half_margins_of_a_swapped_metric_against_enumeration():
    """Each place's own value of guessing is taken; a swap without a half-margin counts against rejecting."""
    conditions = ("clean", "pgd(eps=1/255)", "pgd(eps=2/255)")
    made = make_predictions(seed=1, n_patients=7, findings=("Mass",), conditions=conditions)
    rng, y = np.random.default_rng(9), made.labels[:, 0]
    for condition, signal in enumerate((0.9, 0.5, 0.1)):
        noise = rng.normal(0, 0.2, (2, len(y)))
        made.probabilities[:, condition, :, 0] = np.clip(0.5 + 0.6 * signal * (y - 0.5) + noise, 0, 1)
    sample = Sample.draw(made, make_settings(resamples=200, operating_point=0.5), seed=1)
    one = Swapped()
    values = evaluate({"swapped": one}, [sample])["swapped"]
    found = contrasts_of(one, made.regimes, conditions, reference="supervised", sets=(), chances=values.chances)
    (contrast,) = (each for each in found if each.estimand == "half-margin-difference")
    [[tested, of_mean]] = run_tests("permutation", one, values, [contrast], margin=None)
    sums = [[one.sums(sample.cell(member=m, condition=c, finding=0)) for c in range(3)] for m in (1, 0)]

    def half(side, weights):
        with np.errstate(invalid="ignore", divide="ignore"):
            curve = [one.finish(weights @ table) for table in side]
        wanted = (curve[0] + 0.5) / 2
        if not curve[0] > 0.5:
            return np.nan
        for j in (1, 2):
            if curve[j] <= wanted:
                return j - 1 + (curve[j - 1] - wanted) / (curve[j - 1] - curve[j])
        return np.nan

    def studentised(pattern):
        sides = [
            [np.where(np.array(pattern)[:, None], b, a) for a, b in zip(*pair, strict=True)]
            for pair in (sums, sums[::-1])
        ]

        def difference(weights):
            return half(sides[0], weights) - half(sides[1], weights)

        steps = 1e-6 * np.eye(7)
        parts = [(difference(1 + step) - difference(1 - step)) / 2e-6 for step in steps]
        return abs(difference(np.ones(7))) / np.linalg.norm(parts)

    drawn = [studentised(pattern) for pattern in product([False, True], repeat=7)]
    assert 0 < np.isnan(drawn).mean() < 0.9
    assert tested.p_value == np.mean([not one < drawn[0] * (1 - 1e-6) for one in drawn])
    assert tested == of_mean
    assert tested.name == "permutation (swaps, exact)"
