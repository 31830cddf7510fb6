"""Signed-rank tests, against R, Rosner, Glynn and Lee's equations in loops, laws and simulation."""

import math

import numpy as np
import pytest
from scipy.stats import wilcoxon

from cxrobust.analysis.classical.wilcoxon import signed_rank, signed_rank_clustered

from . import oracle


def clustered_null(rng, *, n_patients=50, most_images=6):
    patients = np.repeat(np.arange(n_patients), rng.integers(1, most_images + 1, n_patients))
    return 0.8 * rng.normal(size=n_patients)[patients] + 0.6 * rng.normal(size=len(patients)), patients


def test_exact_against_r(r):
    found = signed_rank(r["signed_exact_values"])
    assert [found.statistic, found.p_value] == pytest.approx(r["signed_exact"], rel=1e-12)
    assert found.note == "exact over 14 differences other than 0, so p is at least 0.0001221"


def test_normal_with_ties_and_zeros_against_r(data, r):
    found = signed_rank(data["shift"])
    assert [found.statistic, found.p_value] == pytest.approx(r["signed_normal"], rel=1e-10)
    assert found.note == f"{r['signed_n_zero']} differences of 0 dropped"


def test_paired_against_r(data, r):
    first, second = ((100 * data[name]).round() for name in "ab")
    found = signed_rank(first - second)
    assert [found.statistic, found.p_value] == pytest.approx(r["signed_paired"], rel=1e-10)


def test_clustered_against_r_analysis_of_variance(data, r):
    """The correlation and the variance are of R's anova and var, from Rosner, Glynn and Lee's equations."""
    assert r["signed_rho"] > 0.3
    found = signed_rank_clustered(data["shift"], data["patient"])
    assert found.statistic == pytest.approx(r["signed_clustered_z"], rel=1e-10)
    assert found.p_value == pytest.approx(oracle.normal_p(r["signed_clustered_z"]), rel=1e-9)
    assert found.note == f"{r['signed_n_zero']} differences of 0 dropped"


@pytest.mark.parametrize("seed", range(6))
def test_clustered_against_the_paper_in_loops(seed):
    differences, patients = clustered_null(np.random.default_rng(seed), n_patients=7 + 4 * seed)
    differences = np.round(differences + 0.2, 1)
    expected = oracle.rosner_glynn_lee(differences.tolist(), patients.tolist())
    assert signed_rank_clustered(differences, patients).statistic == pytest.approx(expected, rel=1e-10)


def test_clustered_against_clusrank(data, r):
    """What R's clusrank 1.0-1 computed of these differences: its large-sample branch, run in R 4.2.2.

    The numbers stand here alone. reference/make.R, which makes all others, does not load clusrank, and no file says
    how they were called for, so nothing here makes them again. What can be made again agrees with them: `values.json`
    has the second statistic from the paper's formula in base R, and loops give both. No published example of the
    paper's test was found with its data: clusrank's own (Jiang et al. 2020, doi:10.18637/jss.v096.i06) are of data
    that come with the package alone.
    """
    found = signed_rank_clustered((100 * data["a"]).round() - (100 * data["b"]).round(), data["patient"])
    assert found.statistic == pytest.approx(2.26526279714560, rel=1e-12)
    assert found.p_value == pytest.approx(0.0234965575776437, rel=1e-12)
    found = signed_rank_clustered(data["shift"], data["patient"])
    assert found.statistic == pytest.approx(2.59414883306923, rel=1e-12)
    assert r["signed_clustered_z"] == pytest.approx(2.59414883306923, rel=1e-12)
    for differences, theirs in (
        ((100 * data["a"]).round() - (100 * data["b"]).round(), 2.26526279714560),
        (data["shift"], 2.59414883306923),
    ):
        in_loops = oracle.rosner_glynn_lee(differences.tolist(), data["patient"].tolist())
        assert in_loops == pytest.approx(theirs, rel=1e-12)


def test_clustered_without_correlation_weighs_images_alike():
    """ρ is cut at 0, and then z = ΣS / √ΣS_i+², as where all patients have as many images."""
    differences = np.array([0.5, -0.4, 0.6, 0.9, -0.8, 0.1, -0.2, 0.3])
    patients = np.array([0, 0, 1, 1, 1, 1, 2, 2])
    signed = np.sign(differences) * np.array([5, 4, 6, 8, 7, 1, 2, 3])
    sums = np.bincount(patients, weights=signed)
    found = signed_rank_clustered(differences, patients)
    assert found.statistic == pytest.approx(sums.sum() / math.sqrt((sums**2).sum()), rel=1e-12)
    assert found.statistic == pytest.approx(oracle.rosner_glynn_lee(differences.tolist(), patients.tolist()), rel=1e-12)


def test_clustered_of_equal_sizes_against_hand_arithmetic():
    """Ranks 4, 3 | −1, 5 | 2, −6: sums 7, 4, −4, hence 7 / √(49 + 16 + 16)."""
    found = signed_rank_clustered([0.4, 0.3, -0.1, 0.5, 0.2, -0.6], [0, 0, 1, 1, 2, 2])
    assert found.statistic == pytest.approx(7 / 9, rel=1e-12)


def test_clustered_with_one_image_a_patient_against_scipy(data):
    differences = data["shift"].to_numpy()
    found = signed_rank_clustered(differences, np.arange(len(differences)) * 7 + 3)
    expected = wilcoxon(differences[differences != 0], method="asymptotic", correction=False)
    assert found.p_value == pytest.approx(expected.pvalue, rel=1e-10)


def test_sign_order_and_scale():
    differences, patients = clustered_null(np.random.default_rng(9))
    expected = signed_rank_clustered(differences, patients).statistic
    order = np.random.default_rng(0).permutation(len(patients))
    assert signed_rank_clustered(-differences, patients).statistic == pytest.approx(-expected, rel=1e-10)
    assert signed_rank_clustered(5 * differences**3, patients).statistic == pytest.approx(expected, rel=1e-10)
    moved = signed_rank_clustered(differences[order], -patients[order])
    assert moved.statistic == pytest.approx(expected, rel=1e-10)


def test_duplicates_within_patients_change_little():
    """Not nothing: midranks 2r − 1/2 are not proportional to r, and the correlation is estimated anew."""
    differences, patients = clustered_null(np.random.default_rng(10))
    differences += 0.5
    once = signed_rank_clustered(differences, patients).statistic
    again = signed_rank_clustered(np.tile(differences, 2), np.tile(patients, 2)).statistic
    assert once > 1.5
    assert again == pytest.approx(once, abs=0.15)
    plain = [signed_rank(np.tile(differences, k)).p_value for k in (1, 4)]
    assert plain[1] < plain[0] / 3


def test_rejections_under_a_clustered_null():
    rng = np.random.default_rng(4)
    rejected = np.zeros(2)
    for _ in range(800):
        differences, patients = clustered_null(rng)
        rejected += [
            signed_rank_clustered(differences, patients).p_value < 0.05,
            signed_rank(differences).p_value < 0.05,
        ]
    clustered, plain = rejected / 800
    assert 0.03 < clustered < 0.07
    assert plain > 0.2


@pytest.mark.parametrize(
    ("differences", "clusters", "note"),
    [
        ([0.1, 0.2, 0.0], [0, 1, 2], "fewer than 3 patients have a difference other than 0"),
        ([0.1, -0.1] * 3, [0, 0, 1, 1, 2, 2], "the signed ranks of every patient cancel"),
    ],
)
def test_not_estimable_is_said(differences, clusters, note):
    found = signed_rank_clustered(differences, clusters)
    assert math.isnan(found.statistic)
    assert math.isnan(found.p_value)
    assert found.note == note


def test_all_alike_is_estimable():
    """Every signed rank is then the same, and so ρ is 0 / 0, taken as 0."""
    found = signed_rank_clustered([0.1] * 6, [0, 1, 1, 2, 2, 2])
    assert found.statistic == pytest.approx(6 / math.sqrt(1 + 4 + 9), rel=1e-12)


def test_all_zero_is_no_difference():
    for found in (signed_rank([0.0, 0.0]), signed_rank_clustered([0.0, 0.0], [0, 1])):
        assert (found.statistic, found.p_value, found.note) == (0.0, 1.0, "all differences are 0")
