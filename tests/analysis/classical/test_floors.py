"""What exact and approximate tests say of few that differ, against every outcome that there can be."""

import itertools

import numpy as np
import pytest

from cxrobust.analysis.classical.delong import contrast_test
from cxrobust.analysis.classical.mcnemar import mcnemar_clustered, mcnemar_exact, mcnemar_midp
from cxrobust.analysis.classical.wilcoxon import signed_rank, signed_rank_clustered


def told(note):
    """The floor in a note."""
    return float(note.rsplit("so p is at least ", 1)[1])


@pytest.mark.parametrize("n", range(1, 9))
@pytest.mark.parametrize("test", [mcnemar_exact, mcnemar_midp])
def test_the_floor_of_mcnemar_against_every_split(test, n):
    """Of n discordant images and two on which both are right."""
    found = []
    for b in range(n + 1):
        first = np.array([1] * b + [0] * (n - b) + [1, 1])
        found.append(test(first, np.append(1 - first[:n], [1, 1])))
    (floor,) = {told(one.note) for one in found}
    assert floor == pytest.approx(min(one.p_value for one in found), rel=1e-3)
    assert f"over {n} discordant image{'s' if n > 1 else ''}, " in found[0].note


@pytest.mark.parametrize("n", range(1, 9))
def test_the_floor_of_signed_ranks_against_every_sign(n):
    found = [
        signed_rank([*np.multiply(signs, np.arange(1, n + 1)), 0]) for signs in itertools.product((-1, 1), repeat=n)
    ]
    (floor,) = {told(one.note) for one in found}
    assert floor == pytest.approx(min(one.p_value for one in found), rel=1e-3)
    assert found[0].note.startswith("1 difference of 0 dropped; exact over ")


@pytest.mark.parametrize(("n", "has_floor"), [(14, True), (15, False), (200, False)])
def test_a_floor_below_any_use_is_not_told(n, has_floor):
    assert ("so p is at least" in mcnemar_exact([1] * n, [0] * n).note) == has_floor
    assert ("so p is at least" in signed_rank(np.arange(1, n + 1)).note) == has_floor


@pytest.mark.parametrize(("n", "is_few"), [(4, True), (19, True), (20, False)])
def test_patients_that_differ_are_counted(n, is_few):
    """Two images of each, and ten patients who do not differ."""
    patients, differs = np.repeat(np.arange(n + 10), 2), np.repeat(np.arange(n + 10) < n, 2)
    first = np.arange(len(patients)) // 2 % 3 > 0
    rng = np.random.default_rng(1)
    for one in (
        mcnemar_clustered(first, np.where(differs, ~first, first), patients),
        signed_rank_clustered(np.where(differs, rng.normal(size=len(patients)), 0), patients),
    ):
        assert (f"normal approximation with {n} patients" in one.note) == is_few
    scores, labels = rng.normal(size=(2, 2 * n)), np.arange(2 * n) % 3 == 0
    assert ("normal approximation with" in contrast_test(labels, scores, [1, -1], patients[: 2 * n]).note) == is_few
    assert "normal approximation" not in contrast_test(labels, scores, [1, -1]).note
