"""Smooth calibration error, against its definition on unbinned images, hand arithmetic and laws of diffusion."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cxrobust.analysis.metrics import metric
from cxrobust.analysis.metrics.ece_smooth import N_POINTS, bandwidth, heat_kernel
from cxrobust.analysis.resampling import LANES, patient_counts

from .made import make_cell, odd_cells, random_cell

SMOOTH = metric["ece-smooth"]
TOLERANCE = 1e-3
"""How far the grid may move the value from the definition's on unbinned images."""


def reflected(t, p, sigma):
    """Gaussian density of p + σ·noise at t, reflected at 0 and 1: a sum over the images of p in both mirrors."""
    density = 0.0
    for k in range(-math.ceil(3 * sigma), math.ceil(3 * sigma) + 1):
        for image in (2 * k + p, 2 * k - p):
            density = density + np.exp(-(((t - image) / sigma) ** 2) / 2)
    return density / (sigma * math.sqrt(2 * math.pi))


def error_at(sigma, p, y):
    """∫ |Σ K_σ(t, p_i) (y_i − p_i)| dt / n by the midpoint rule, with steps of at most σ/8."""
    n_steps = max(1000, math.ceil(8 / sigma))
    t = (np.arange(n_steps) + 0.5) / n_steps
    places, which = np.unique(p, return_inverse=True)  # images at the same place are smoothed together
    residuals = np.bincount(which, weights=y - p)
    smoothed = sum(r * reflected(t, place, sigma) for place, r in zip(places, residuals, strict=True))
    return float(np.abs(smoothed).mean() / len(p))


def assert_near_the_definition(cell):
    """smECE_σ falls as σ grows, so it crosses σ between two bandwidths that it is above and below."""
    p, y, found = cell.probabilities, cell.labels, SMOOTH.value(cell)
    if found > 2 * TOLERANCE:
        assert error_at(found - TOLERANCE, p, y) >= found - TOLERANCE
    assert error_at(found + TOLERANCE, p, y) <= found + TOLERANCE + 1e-12


scores = st.one_of(st.floats(0, 1), st.sampled_from([0.0, 0.1, 0.5, 1.0]), st.floats(0, 0.05))
images = st.lists(st.tuples(scores, st.integers(0, 1)), min_size=1, max_size=40)


@given(images)
@settings(max_examples=60)
def test_value_against_the_definition(images):
    assert_near_the_definition(make_cell(*zip(*images, strict=True)))


@pytest.mark.parametrize(("name", "cell"), list(odd_cells()), ids=[name for name, _ in odd_cells()])
def test_odd_cells_against_the_definition(name, cell):
    assert_near_the_definition(cell)


@pytest.mark.parametrize("prevalence", [0.01, 0.1, 0.5])
def test_many_images_against_the_definition(prevalence):
    rng = np.random.default_rng(1)
    p = rng.beta(2 * prevalence, 2 * (1 - prevalence), 2000).round(3)
    assert_near_the_definition(make_cell(p, rng.random(2000) < 0.8 * p))


def test_images_far_apart_by_hand():
    """The kernels of 0.2 and 0.9 hardly meet: (|1 − 4 × 0.2| + |1 − 0.9|) / 5."""
    assert SMOOTH.value(make_cell([0.2] * 4 + [0.9], [0, 0, 1, 0, 1])) == pytest.approx(0.3 / 5, abs=1e-9)


@pytest.mark.parametrize("p", [0.0, 0.003, 0.35, 0.5, 1.0])
def test_images_at_one_place_by_hand(p):
    """Nothing is lost in smoothing, whatever the bandwidth: |mean of y − p|."""
    assert SMOOTH.value(make_cell([p] * 4, [1, 0, 0, 1])) == pytest.approx(abs(0.5 - p), abs=1e-12)


def test_certain_and_right_is_0_and_certain_and_wrong_is_1():
    assert SMOOTH.value(make_cell([0.0, 1.0, 1.0], [0, 1, 1])) == 0
    assert SMOOTH.value(make_cell([1.0, 1.0, 1.0], [0, 0, 0])) == pytest.approx(1, abs=1e-12)


def test_edges_between_neighbours_decide_nothing():
    """Scores that straddle an edge of 15 equal-width bins: the ECE halves when they move across it."""
    y = [1, 0] * 10
    across, together = make_cell([0.3999, 0.4001] * 10, y), make_cell([0.4001, 0.4001] * 10, y)
    assert metric["ece"].value(across) > 4 * metric["ece"].value(together)
    assert SMOOTH.value(across) == pytest.approx(SMOOTH.value(together), abs=2e-4)


def test_the_value_is_its_bandwidth_and_the_only_one():
    residuals = np.random.default_rng(3).normal(size=N_POINTS)
    sigma = bandwidth(residuals, 150)
    assert np.abs(residuals @ heat_kernel(sigma)).sum() / 150 == pytest.approx(sigma, abs=1e-12)
    errors = [np.abs(residuals @ heat_kernel(width)).sum() for width in np.linspace(0, 1, 101)]
    assert (np.diff(errors) < 1e-12).all()


@pytest.mark.parametrize("sigma", [0.03, 0.1, 0.4, 1.0])
def test_heat_against_the_reflected_gaussian(sigma):
    t = (np.arange(N_POINTS) + 0.5) / N_POINTS
    gaussian = reflected(t[:, None], t[None], sigma) / N_POINTS
    apart = np.abs(heat_kernel(sigma) - gaussian).sum(axis=0).max()
    assert apart < 0.5 / (N_POINTS * sigma) ** 2


def test_heat_is_kept_and_never_negative():
    for sigma in (0.0, 0.001, 0.01, 0.3):
        kernel = heat_kernel(sigma)
        np.testing.assert_allclose(kernel.sum(axis=0), 1, atol=1e-12)
        assert kernel.min() > -1e-12
        np.testing.assert_allclose(heat_kernel(math.sqrt(2) * sigma), kernel @ kernel, atol=1e-12)
    np.testing.assert_allclose(heat_kernel(0), np.eye(N_POINTS), atol=1e-12)


def test_the_residual_of_each_image_stays_in_place_on_average():
    cell = make_cell([0.0, 0.001, 0.3, 0.5, 0.777, 0.999, 1.0], [1, 0, 1, 0, 0, 1, 0])
    table = SMOOTH.sums(cell)  # each image is of another patient
    t = (np.arange(N_POINTS) + 0.5) / N_POINTS
    np.testing.assert_allclose(table[:, :N_POINTS].sum(axis=1), cell.labels - cell.probabilities, atol=1e-15)
    inside = slice(2, 5)  # the others are nearer to 0 or 1 than half a step
    centres = table[inside, :N_POINTS] @ t / table[inside, :N_POINTS].sum(axis=1)
    np.testing.assert_allclose(centres, cell.probabilities[inside], atol=1e-12)


def test_resamples_against_sums_at_the_bandwidth_of_the_sample():
    """Each cell keeps its own bandwidth, in company; nobody drawn is NaN."""
    rng = np.random.default_rng(5)
    cells = [random_cell(rng, levels=levels) for levels in (None, 10, 3)]
    counts = patient_counts(12, n_resamples=LANES, rng=rng)
    counts[0, :, -1] = 0
    together = SMOOTH.resample(cells, counts)
    assert np.isnan(together[:, -1]).all()
    for cell, found in zip(cells, together, strict=True):
        kernel = heat_kernel(SMOOTH.value(cell))
        for lane in range(LANES - 1):
            *residuals, _, images = counts[0, :, lane].astype(float) @ SMOOTH.sums(cell)
            assert found[lane] == pytest.approx(np.abs(kernel @ residuals).sum() / images, abs=1e-9)


@pytest.mark.parametrize("width", [0.0, 1e-4, 0.02, 0.3, 1.0])
@pytest.mark.parametrize("n", [1, 63, 64, 65, 200])
def test_smoothing_against_a_product_of_matrices(width, n):
    """Sums of any number of resamples, at once; residuals that a point is out of reach of are left out."""
    rng = np.random.default_rng(n)
    residuals = rng.normal(size=(n, N_POINTS))
    sums = np.column_stack([residuals, np.full(n, width * 7), np.full(n, 7)])
    expected = np.abs(residuals @ heat_kernel(width)).sum(axis=1) / 7
    np.testing.assert_allclose(SMOOTH.finish(sums), expected, rtol=0, atol=1e-13)


def test_sums_of_several_bandwidths_are_smoothed_each_at_its_own():
    rng = np.random.default_rng(8)
    sums = np.column_stack([rng.normal(size=(6, N_POINTS)), np.tile([0.0, 0.05, 0.4], 2) * 3, np.full(6, 3)])
    np.testing.assert_array_equal(SMOOTH.finish(sums), [SMOOTH.finish(row) for row in sums])


def test_contributions_by_hand():
    """Far apart, each place has its own sign: 0.2 is too high for 0, 0, 1, 0; 0.9 too low for 1; by patient, over 5."""
    cell = make_cell([0.2] * 4 + [0.9], [0, 0, 1, 0, 1], [0, 0, 0, 1, 2])
    np.testing.assert_allclose(SMOOTH.contributions(cell), [0.4 / 5, -0.2 / 5, 0.1 / 5], atol=1e-9)


def test_undefined_says_why():
    assert SMOOTH.undefined(make_cell([], [], [], n_patients=2)) == "no labelled image"
    assert SMOOTH.undefined(make_cell([0.3], [1])) is None


def test_nih_findings_against_the_definition(nih_predictions):
    """22,433 images; the rarest finding, and one whose bandwidth is half a step of the grid."""
    for finding in ("Hernia", "Pleural_Thickening"):
        k = nih_predictions.findings.index(finding)
        p = nih_predictions.probabilities[2, 0, :, k].round(3)  # few places, so that the plain sum takes a second
        assert_near_the_definition(make_cell(p, nih_predictions.labels[:, k]))
