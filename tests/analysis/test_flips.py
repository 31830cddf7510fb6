"""Flip matrices against plain loops, and where nothing flips against Wilson's interval by hand."""

from dataclasses import replace

import numpy as np
import pytest

from cxrobust.analysis import analyze
from cxrobust.analysis.flips import CELLS, flip_matrices, tally
from cxrobust.analysis.resampling import patient_counts

from .made import make_cell, make_predictions, make_settings, one_run, weights_of


def cell_of(seed, n_patients, n):
    rng = np.random.default_rng(seed)
    patients = np.append(np.arange(n_patients), np.random.default_rng(0).integers(0, n_patients, n - n_patients))
    labels = np.random.default_rng(1).integers(0, 2, n)
    return make_cell(rng.random(n), labels, patients, threshold=0.4, clean=rng.random(n))


def matrices(cells, counts, *, n_resamples, level=0.9):
    tallies = [
        tally([cell], regime=name, counts=counts, drawn_runs=one_run(n_resamples)) for name, cell in cells.items()
    ]
    first = next(iter(cells))
    return flip_matrices(tallies, condition="pgd", reference=first, level=level, most_undefined=0.2)


def kinds(cell):
    """Label, clean decision and perturbed decision of each image."""
    return list(
        zip(
            cell.labels.tolist(),
            [int(p >= 0.4) for p in cell.clean],
            [int(p >= 0.4) for p in cell.probabilities],
            strict=True,
        )
    )


def share(found, wanted, weights):
    row = sum(int(w) for kind, w in zip(found, weights, strict=True) if kind[:2] == wanted[:2])
    return sum(int(w) for kind, w in zip(found, weights, strict=True) if kind == wanted) / row


def test_counts_and_shares_against_plain_loops():
    cell = cell_of(3, 12, 90)
    counts = patient_counts(12, n_resamples=100, rng=np.random.default_rng(1))
    [one] = matrices({"a": cell}, counts, n_resamples=100)
    found = kinds(cell)
    assert [(c.label, c.clean, c.perturbed) for c in one.cells] == list(CELLS)
    for c, wanted in zip(one.cells, CELLS, strict=True):
        at = [i for i, kind in enumerate(found) if kind == wanted]
        assert (c.n, c.n_patients) == (len(at), len({int(cell.patients[i]) for i in at}))
        assert c.share == pytest.approx(share(found, wanted, np.ones(90)), abs=1e-12)
        assert (c.interval, c.difference) == ("expanded", None)
        assert c.ci_low < c.share < c.ci_high
    assert sum(c.n for c in one.cells) == 90


def test_of_many_patients_intervals_are_those_of_plain_resamples():
    """With many patients expanded intervals are percentile intervals."""
    n = 4000
    cells = {"a": cell_of(3, n, n), "b": cell_of(4, n, n)}
    counts = patient_counts(n, n_resamples=128, rng=np.random.default_rng(1))
    base, other = matrices(cells, counts, n_resamples=128)
    weights = [weights_of(counts, cells["a"].patients, r) for r in range(128)]
    for k in (1, 6):
        of_a, of_b = (np.array([share(found, CELLS[k], w) for w in weights]) for found in map(kinds, cells.values()))
        assert (base.cells[k].ci_low, base.cells[k].ci_high) == pytest.approx(
            tuple(np.quantile(of_a, [0.05, 0.95])), abs=5e-4
        )
        ends = tuple(np.quantile(of_b - of_a, [0.05, 0.95]))
        assert other.cells[k].difference == pytest.approx(other.cells[k].share - base.cells[k].share, abs=1e-12)
        assert (other.cells[k].difference_low, other.cells[k].difference_high) == pytest.approx(ends, abs=1e-3)


def test_where_nothing_flips_the_interval_is_wilsons_of_the_patients():
    p = [0.9, 0.8, 0.7, 0.6, 0.1, 0.2]
    cell = make_cell(p, [1, 1, 1, 1, 0, 0], [0, 0, 1, 2, 3, 4], clean=p)
    counts = patient_counts(5, n_resamples=100, rng=np.random.default_rng(1))
    [one] = matrices({"a": cell}, counts, n_resamples=100, level=0.95)
    newly_missed = one.cells[CELLS.index((1, 1, 0))]
    z = 1.959963984540054
    assert (newly_missed.n, newly_missed.share, newly_missed.interval) == (0, 0.0, "wilson")
    assert newly_missed.ci_low == 0
    assert newly_missed.ci_high == pytest.approx(z**2 / (3 + z**2))  # 0 of 3 patients
    missed_before = one.cells[CELLS.index((1, 0, 0))]
    assert (missed_before.n, missed_before.share, missed_before.ci_low, missed_before.interval) == (0, None, None, None)


def test_noise_is_that_which_is_recorded_for_the_attack():
    conditions = ("clean", "noise(eps=0.5)", "pgd-l2(eps=0.5)", "noise-l2(eps=0.5)")
    attack, settings = conditions[2], make_settings(metrics=("flip-rate",), primary_condition=conditions[2])
    for recorded in (conditions[3], None):
        index = {"conditions": [{"name": attack, "control": recorded}]}
        predictions = replace(make_predictions(seed=2, conditions=conditions), index=index)
        found = analyze(predictions, settings, reference="supervised", seed=1)
        assert {one.condition for one in found.flips} == {attack, recorded} - {None}


@pytest.mark.parametrize(
    ("attack", "noise", "other"),
    [
        ("pgd(eps=4/255)", "noise(eps=4/255)", "noise(eps=2/255)"),
        ("cw-l2(target=Mass, steps=9)", "cw-l2(target=Mass, as_noise=True, steps=9)", "noise(eps=2/255)"),
        ("cw-l2(target=Mass, steps=9)", "cw-l2(target=Mass, as_noise=True, steps=9)", "cw-l2(as_noise=True, steps=9)"),
    ],
)
def test_a_study_has_matrices_of_the_attack_and_of_noise_of_its_size_that_agree_with_its_metrics(attack, noise, other):
    predictions = make_predictions(seed=2, missing=0.2, conditions=("clean", other, attack, noise))
    settings = make_settings(metrics=("flip-rate",), primary_condition=attack)
    found = analyze(predictions, settings, reference="supervised", seed=1)
    assert [(one.regime, one.condition) for one in found.flips] == [
        (regime, condition) for condition in (attack, noise) for regime in predictions.regimes
    ]
    for one in found.flips:
        flipped = sum(c.n for c in one.cells if c.clean != c.perturbed) / sum(c.n for c in one.cells)
        (rate,) = (
            e.estimate
            for e in found.estimates
            if (e.estimand, e.regime, e.condition, e.finding) == ("value", one.regime, one.condition, "micro")
        )
        assert flipped == pytest.approx(rate, abs=1e-12)


def test_clean_images_alone_have_no_flips():
    predictions = make_predictions(conditions=("clean",))
    assert analyze(predictions, make_settings(), reference="supervised", seed=1).flips == ()
