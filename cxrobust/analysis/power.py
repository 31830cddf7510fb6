"""How many patients a study needs, and how small a difference it can detect, from a pilot's standard error.

The patient is the sampling unit, so a standard error se from n patients is se·√(n/n') from n'. The formulas take
estimates to be normal (Lachin 1981, doi:10.1016/0197-2456(81)90001-5; Chow, Shao, Wang and Lokhnygina 2017,
doi:10.1201/9781315183084); `simulate_power` does without that and flips the signs of resampled patients. Power at the
estimated difference itself says no more than its p-value (Hoenig and Heisey 2001, doi:10.1198/000313001300339897): the
difference has to come from outside the data.
"""

import math
from dataclasses import dataclass
from fractions import Fraction
from itertools import count
from typing import Literal, TypeAlias, get_args

import numpy as np
from numpy.typing import NDArray
from scipy.stats import norm

from cxrobust.analysis.intervals import ROUNDING
from cxrobust.analysis.permutation import sign_flip_p_values
from cxrobust.analysis.testing import FLIPS, SWAPS
from cxrobust.errors import counted
from cxrobust.results import FEW_PATIENTS

Goal: TypeAlias = Literal["difference", "non-inferiority", "equivalence"]
"""What a study is to show: that two differ; that one is no worse, or that none differs, by a margin."""
GOALS: tuple[Goal, ...] = get_args(Goal)

NO_PLAN = "no plan: the pilot's standard error is 0 or not estimable"
BY_PATTERNS = (*FLIPS.values(), *SWAPS.values())
"""Tests over patients' sign patterns or swaps."""
OF_ROOT = ("mcnemar-clustered", "mcnemar-durkalski", "wilcoxon-clustered")
"""Tests whose z is a sum over patients by the root of the sum of squares."""
BY_DELONG = ("delong", "delong-clustered")
CLAIMS = {"non-inferiority": "noninferiority", "equivalence": "tost"}
"""By which test each is claimed."""
AT_ONCE = 2**22
"""Simulated contributions held in memory together."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Power:
    """What a pilot says about one contrast's test; None where the pilot has no spread or no size was stated."""

    goal: Goal
    size: float | None
    """The difference to be detected, or the margin of non-inferiority or equivalence; above 0, in the metric's units.

    The true difference is taken to be this for `difference`, and 0 for the others.
    """
    alpha: float
    """Level of the test, in (0, 1), already divided by the comparisons; two-sided for `difference`, else one-sided."""
    comparisons: int
    """Tests among which the level was divided (Bonferroni)."""
    power: float
    """Wanted probability that the test rejects, in (0, 1)."""
    se: float | None
    """The pilot's patient-level standard error of the contrast."""
    n_patients: int
    """The pilot's patients."""
    detectable: float | None
    """The smallest size that as many patients as the pilot's have the wanted power for; None where no data of so many
    reach the level."""
    achieved: float | None
    """Power that as many patients as the pilot's have for `size`, in [0, 1]; None as `detectable` is."""
    patients_needed: int | None
    """Patients that have the wanted power for `size`, rounded up, and no fewer than can reach the level, than 2, and,
    by DeLong's tests, than have 2 positive ones among them; None where no number of them can."""
    images_needed: int | None
    """Images expected of so many patients, at the pilot's images per patient; rounded."""
    positive_patients_expected: int | None
    """Patients with a positive image expected among so many, at the pilot's share; rounded."""
    note: str
    """Why nothing can be planned, why a test of so few, or with so few resamples, cannot reject, and that few patients,
    or few positive ones, are needed; else empty."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Simulated:
    """Share of simulated studies whose sign-flip test rejects."""

    difference: float
    """True difference of the simulated studies."""
    n_patients: int
    """Patients of each simulated study."""
    n_simulations: int
    power: float
    """Share of rejections, in [0, 1]."""
    error: float
    """Monte Carlo standard error of that share, √(p(1 − p)/N) at p = (rejections + 1)/(N + 2), so never 0."""


def plan(
    se: float | None,
    *,
    n_patients: int,
    n_images: int,
    n_positive_patients: int,
    goal: Goal = "difference",
    size: float | None = None,
    alpha: float = 0.05,
    comparisons: int = 1,
    power: float = 0.8,
    test: str = FLIPS[False],
    n_draws: int = 10_000,
    by_positives: bool = False,
) -> Power:
    """Plan one test from a pilot's standard error: smallest detectable size, power of the pilot, patients needed.

    Parameters
    ----------
    se
        Patient-level standard error of the pilot's contrast, in the metric's units; None where not estimable.
    n_patients, n_images, n_positive_patients
        The pilot's.
    goal
        `difference` needs a two-sided test of 0, `non-inferiority` a one-sided one, `equivalence` two one-sided ones.
    size
        The difference, or the margin; its sign does not matter. When None, only the smallest detectable one is planned.
    alpha
        Level of all comparisons together.
    comparisons
        By how many tests the level is divided; Holm's adjustment needs no more patients than this (Bonferroni).
    power
        Wanted probability of a rejection.
    test
        By which a `difference` is tested, as results name it: some cannot reach a level with few patients, or images.
    n_draws
        Sign patterns, or swaps, of a test that draws them.
    by_positives
        Whether positive patients alone contribute, as to a sensitivity, so that no other's sign makes a pattern.

    Raises
    ------
    ValueError
        When `size` is 0 or not finite, not 0 < `alpha` < `power` < 1, or `comparisons` below 1.

    Examples
    --------
    >>> found = plan(0.01, n_patients=400, n_images=1000, n_positive_patients=100, size=0.02)
    >>> round(found.detectable, 4), round(found.achieved, 3), found.patients_needed, found.images_needed
    (0.028, 0.516, 785, 1962)
    """
    _check(size=size, alpha=alpha, comparisons=comparisons, power=power)
    level, size = alpha / comparisons, None if size is None else abs(size)
    detectable, achieved, needed = _from_pilot(se, n_patients, size, goal=goal, alpha=level, power=power)
    note = NO_PLAN if detectable is None else ""
    if detectable is not None and goal == "difference":
        of_positives = by_positives and n_positive_patients > 0 and test in FLIPS.values()
        reach = _Reach(
            test=test,
            n_draws=n_draws,
            images_per_patient=n_images / n_patients,
            contributing=Fraction(n_positive_patients if of_positives else n_patients, n_patients),
            level=level,
        )
        if note := reach.why_not(n_patients):
            detectable = achieved = None
        needed = None if needed is None else reach.fewest(needed)
    if needed is not None:
        by_delong = goal == "difference" and test in BY_DELONG
        needed = max(needed, _fewest(n_patients, n_positive_patients if by_delong else 0))
    return Power(
        goal=goal,
        size=size,
        alpha=level,
        comparisons=comparisons,
        power=power,
        se=se,
        n_patients=n_patients,
        detectable=detectable,
        achieved=achieved,
        patients_needed=needed,
        images_needed=_expected(needed, n_images, n_patients),
        positive_patients_expected=_expected(needed, n_positive_patients, n_patients),
        note="; ".join(filter(None, (note, _on_few(goal, needed, n_positive_patients, n_patients)))),
    )


def least_p(test: str, *, n_patients: int, n_images: int, n_draws: int) -> float:
    """Smallest p-value that a two-sided test can give, whatever the data; in [0, 1], and 0 where it can be any.

    2^(1 − n) of signs, swaps and exact tests, of which `n_draws` random patterns give 1/(`n_draws` + 1) at least, and
    2^−n of the mid-p. The clustered tests divide a sum over patients by the root of its squares: √n at most.

    Parameters
    ----------
    test
        As results name it.
    n_patients, n_images
        With a label, or of sign flips the patients who contribute; patients and images that differ are no more.
    n_draws
        Sign patterns, or swaps, of a test that draws them.

    Examples
    --------
    >>> least_p("permutation", n_patients=5, n_images=40, n_draws=10_000)
    0.0625
    >>> round(least_p("mcnemar-clustered", n_patients=4, n_images=40, n_draws=10_000), 4)
    0.0455
    """
    if test in BY_PATTERNS:
        return max(2.0 ** (1 - n_patients), 1 / (n_draws + 1))
    if test in OF_ROOT:
        return float(2 * norm.sf(math.sqrt(n_patients)))
    return {"mcnemar": 2.0, "wilcoxon": 2.0, "mcnemar-midp": 1.0}.get(test, 0.0) * 2.0**-n_images


def detectable_size(se: float, *, goal: Goal = "difference", alpha: float = 0.05, power: float = 0.8) -> float:
    """Smallest difference, or margin, that a test has the wanted power for; above 0, in the units of `se`.

    (z_{1−α/2} + z_power)·se for a difference, (z_{1−α} + z_power)·se for non-inferiority, and
    (z_{1−α} + z_{(1+power)/2})·se for equivalence, the true difference being 0 in the last two (Julious 2004,
    doi:10.1002/sim.1783).

    Examples
    --------
    >>> round(detectable_size(0.01), 5), round(detectable_size(0.01, goal="equivalence"), 5)
    (0.02802, 0.02926)
    """
    return _standard_errors(goal, alpha, power) * se


def patients_needed(
    se: float, n_patients: int, size: float, *, goal: Goal = "difference", alpha: float = 0.05, power: float = 0.8
) -> int:
    """Patients with whom a test has the wanted power for a difference, or margin, of `size`; at least 1.

    n·(detectable size/size)², rounded up, the detectable size being that of the standard error `se` from n patients.

    Examples
    --------
    >>> patients_needed(0.01, 400, 0.02)
    785
    """
    needed = n_patients * (detectable_size(se, goal=goal, alpha=alpha, power=power) / size) ** 2
    return max(1, math.ceil(needed * (1 - 1e-12)))  # what is whole up to rounding is whole


def achieved_power(se: float, size: float, *, goal: Goal = "difference", alpha: float = 0.05) -> float:
    """Probability that a test rejects, in [0, 1], given the standard error that its patients have.

    Φ(δ/se − z_{1−α/2}) + Φ(−δ/se − z_{1−α/2}) for a true difference δ, Φ(M/se − z_{1−α}) for non-inferiority by a
    margin M and max(0, 2 Φ(M/se − z_{1−α}) − 1) for equivalence, the true difference being 0.

    Parameters
    ----------
    se
        Standard error of the contrast; from n' patients it is that of n times √(n/n').
    size
        The true difference, or the margin, above 0.

    Examples
    --------
    >>> round(achieved_power(0.01, detectable_size(0.01)), 4)
    0.8
    """
    ratio = size / se
    if goal == "difference":
        z = norm.isf(alpha / 2)
        return float(norm.cdf(ratio - z) + norm.cdf(-ratio - z))
    reached = float(norm.cdf(ratio - norm.isf(alpha)))
    return reached if goal == "non-inferiority" else max(0.0, 2 * reached - 1)


def simulate_power(
    influences: NDArray[np.float64],
    shares: NDArray[np.float64],
    *,
    difference: float,
    n_patients: int,
    n_simulations: int,
    alpha: float = 0.05,
    n_draws: int = 999,
    rng: np.random.Generator,
) -> Simulated:
    """Share of simulated studies whose sign-flip test rejects the null that a contrast is 0.

    Each study draws patients from the pilot's with replacement. To every patient's influence their share of
    `difference` is added, and both are scaled by the ratio of the numbers of patients, so that a study's expected
    contrast is `difference`. At 0 the share of studies is the test's level.

    Parameters
    ----------
    influences
        (n_pilot_patients,): how much each patient moves the contrast; they sum to 0.
    shares
        (n_pilot_patients,): each patient's part of the images that carry the contrast; they sum to 1.
    n_patients
        Patients of each simulated study.
    n_draws
        Sign patterns of each test, shared by the studies drawn together; their sums are all but independent, since
        each study draws its own patients.

    Examples
    --------
    >>> pilot = np.random.default_rng(0).normal(size=100) / 100
    >>> influences, shares = pilot - pilot.mean(), np.full(100, 1 / 100)
    >>> found = simulate_power(
    ...     influences, shares, difference=0.3, n_patients=88, n_simulations=200, rng=np.random.default_rng(1)
    ... )
    >>> abs(found.power - 0.8) < 4 * found.error
    True
    """
    n_pilot = len(influences)
    shifted = (influences + difference * shares) * (n_pilot / n_patients)
    hits, step = 0, max(1, AT_ONCE // n_patients)
    for first in range(0, n_simulations, step):
        drawn = shifted[rng.integers(0, n_pilot, (n_patients, min(step, n_simulations - first)))]
        hits += int((sign_flip_p_values(drawn, n_draws=n_draws, rng=rng) < alpha).sum())
    p = (hits + 1) / (n_simulations + 2)
    return Simulated(
        difference=difference,
        n_patients=n_patients,
        n_simulations=n_simulations,
        power=hits / n_simulations,
        error=math.sqrt(p * (1 - p) / n_simulations),
    )


def draws_for(alpha: float, *, most: int) -> int:
    """Sign patterns with which a test of this level is all but as strong as with all: 50 of them at least beyond it.

    One less than a multiple of 1,000, so that p-values are multiples of a thousandth or finer; no more than `most`.

    Examples
    --------
    >>> draws_for(0.05, most=10_000), draws_for(0.002, most=10_000)
    (999, 10000)
    """
    return min(most, 1000 * math.ceil(50 / alpha / 1000) - 1)


@dataclass(frozen=True, kw_only=True, slots=True)
class _Reach:
    """Whether a test of a difference can reach a level, by the number of patients."""

    test: str
    n_draws: int
    images_per_patient: float
    contributing: Fraction
    """Share of the patients who contribute, in (0, 1]: below 1 where these are the positive ones alone."""
    level: float

    @property
    def is_out_for_any(self) -> bool:
        """Whether no number of patients reaches the level, since too few patterns are drawn."""
        return self.test in BY_PATTERNS and 1 / (self.n_draws + 1) >= self.level

    def fewest(self, n_patients: int) -> int | None:
        """Return the fewest patients, so many or more, of whom some data reach the level; None where none do."""
        if self.is_out_for_any:
            return None
        with_so_many = (math.ceil(n / self.contributing) for n in count(1))
        return max(n_patients, next(n for n in with_so_many if not self.why_not(n)))

    def why_not(self, n_patients: int) -> str:
        """Say that no data of so many patients reach the level; empty where some do."""
        n_images, n_contributing = round(n_patients * self.images_per_patient), int(n_patients * self.contributing)
        least = least_p(self.test, n_patients=n_contributing, n_images=n_images, n_draws=self.n_draws)
        if least < self.level:
            return ""
        said = f"reach the level of {self.level:.3g}"
        if self.test not in BY_PATTERNS:
            of = counted(n_patients, "patient") if self.test in OF_ROOT else counted(n_images, "image")
            return f"{self.test} of {of} cannot {said}: p is at least {least:.3g}"
        what, least = "swaps" if self.test in SWAPS.values() else "signs", 2.0 ** (1 - n_contributing)
        of = counted(n_contributing, "patient" if self.contributing == 1 else "positive patient")
        few = f"{what} of {of} have too few patterns to {said}: p is at least {least:.3g}"
        drawn = f"{self.n_draws:,} draws of {what} are too few to {said}: ask for more resamples"
        return "; ".join(([few] if least >= self.level else []) + ([drawn] if self.is_out_for_any else []))


def _from_pilot(
    se: float | None, n_patients: int, size: float | None, *, goal: Goal, alpha: float, power: float
) -> tuple[float | None, float | None, int | None]:
    """Detectable size, achieved power and patients needed; None where the pilot has no spread or there is no size."""
    if se is None or not math.isfinite(se) or se <= ROUNDING:
        return None, None, None
    detectable = detectable_size(se, goal=goal, alpha=alpha, power=power)
    if size is None:
        return detectable, None, None
    achieved = achieved_power(se, size, goal=goal, alpha=alpha)
    return detectable, achieved, patients_needed(se, n_patients, size, goal=goal, alpha=alpha, power=power)


def _fewest(n_patients: int, n_positive_patients: int) -> int:
    """Fewest patients of whom a standard error can be had: 2, and as many as have 2 positive ones among them, if any.

    Examples
    --------
    >>> _fewest(100, 0), _fewest(100, 9)
    (2, 23)
    """
    return max(2, -(-2 * n_patients // n_positive_patients)) if n_positive_patients else 2


def _on_few(goal: Goal, needed: int | None, n_positive_patients: int, n_patients: int) -> str:
    """Say that few patients are needed, or few positive ones expected among them, and what that does to the plan."""
    if needed is None:
        return ""
    if needed < FEW_PATIENTS:
        said = f"fewer than {FEW_PATIENTS} patients needed"
    elif 0 < needed * n_positive_patients < FEW_PATIENTS * n_patients:
        said = f"fewer than {FEW_PATIENTS} positive patients expected among those needed"
    else:
        return ""
    so = "power may be less than the formula says" if goal == "difference" else f"{CLAIMS[goal]} claims too often"
    return f"{said}: with so few, {so}"


def _expected(needed: int | None, n: int, n_patients: int) -> int | None:
    """How many there are expected to be among the patients needed, at the pilot's `n` of `n_patients`."""
    return None if needed is None else round(needed * n / n_patients)


def _standard_errors(goal: Goal, alpha: float, power: float) -> float:
    """How many standard errors a size must have."""
    if goal == "difference":
        return float(norm.isf(alpha / 2) + norm.ppf(power))
    return float(norm.isf(alpha) + norm.ppf(power if goal == "non-inferiority" else (1 + power) / 2))


def _check(*, size: float | None, alpha: float, comparisons: int, power: float) -> None:
    if size is not None and not (math.isfinite(size) and size != 0):
        raise ValueError(f"size is {size}, expected a finite number other than 0")
    if not 0 < alpha < 1:
        raise ValueError(f"alpha is {alpha}, expected a number between 0 and 1")
    if not alpha < power < 1:
        raise ValueError(f"power is {power}, expected a number between alpha, {alpha}, and 1")
    if comparisons < 1:
        raise ValueError(f"comparisons is {comparisons}, expected a whole number of at least 1")
