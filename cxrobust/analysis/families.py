"""Families of tests: which p-values are adjusted together, and how."""

import gc
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from statsmodels.stats.multitest import multipletests

from cxrobust.analysis.choices import is_untestable
from cxrobust.analysis.permutation import max_t_p_values
from cxrobust.analysis.purposes import Purpose
from cxrobust.analysis.subgroups import column_of, interaction_text, is_comparison
from cxrobust.analysis.testing import FLIPS, SWAPS, UNTESTED
from cxrobust.conditions import CLEAN
from cxrobust.errors import StudyError
from cxrobust.results import ALL_REGIMES, ESTIMANDS, MACRO, MICRO, OVERALL, REPORT, WORST, Estimand, Estimate
from cxrobust.study.analysis import Adjustment, Family

PRIMARY = "primary"
METHODS: dict[Adjustment, str] = {
    "holm": "holm",
    "hommel": "hommel",
    "bonferroni": "bonferroni",
    "benjamini-hochberg": "fdr_bh",
    "benjamini-yekutieli": "fdr_by",
}
"""Names of the study file, and statsmodels' own."""
PERMUTATIONS = (*FLIPS.values(), *SWAPS.values())
INTERACTION = "interaction"
RAW: Estimand = "recalibrated-raw"

Place = tuple[str, str, str, str, str, str, str]
"""What declared families name of an estimate."""
Key = tuple[Place, str | None]


def place_of(estimate: Estimate) -> Place:
    """Return estimand, metric, regime, condition, finding, subgroup and recalibration."""
    return (
        estimate.estimand,
        estimate.metric,
        estimate.regime,
        estimate.condition,
        estimate.finding,
        estimate.subgroup,
        estimate.recalibration,
    )


def key_of(estimate: Estimate) -> Key:
    """Return what no two estimates of a study share: the same with the reference."""
    return place_of(estimate), estimate.reference


@dataclass(frozen=True, kw_only=True, slots=True)
class Families:
    """Which family an estimate's test belongs to, and how each is adjusted."""

    declared: tuple[Family, ...]
    primary_estimand: Estimand
    primary_condition: str | None
    adjust: Adjustment
    alpha: float
    """Level below which adjusted p-values count; of others it is asked whether more resamples might lower them."""
    in_pairs: Collection[str] = ()
    """Metrics of which all pairs of regimes are tested beside Cochran's Q."""

    def of(self, estimate: Estimate) -> str | None:
        """Name the family of an estimate's test: the first declared that it fits, else one of the usual."""
        if not is_hypothesis(estimate.estimand, estimate.subgroup) or is_untestable(
            estimate.metric, between_subgroups=is_comparison(estimate.subgroup)
        ):
            return None
        place = place_of(estimate)
        declared = next((one.name for one in self.declared if fits(one, place)), None)
        return declared or family_of(
            estimate,
            primary_estimand=self.primary_estimand,
            primary_condition=self.primary_condition,
            in_pairs=self.in_pairs,
        )

    def method(self, family: str) -> Adjustment:
        """Return how a family is adjusted."""
        own = next((one.adjust for one in self.declared if one.name == family), None)
        return own or self.adjust

    def wants_max_t(self, estimate: Estimate) -> bool:
        """Whether an estimate's p-value is adjusted by max-T, which needs its contributions."""
        if "max-t" not in {self.adjust, *(one.adjust for one in self.declared)}:
            return False
        family = self.of(estimate)
        return family is not None and self.method(family) == "max-t" and estimate.test in PERMUTATIONS


def is_hypothesis(estimand: str, subgroup: str) -> bool:
    """Whether 0 is one: of a value and the like only between subgroups."""
    return estimand not in UNTESTED or is_comparison(subgroup)


def fits(family: Family, place: Place) -> bool:
    """Whether a declared family names what an estimate is of."""
    wanted = (
        family.estimands,
        family.metrics,
        family.regimes,
        family.conditions,
        family.findings,
        family.subgroups,
        family.recalibrations,
    )
    return all(not some or value in some for some, value in zip(wanted, place, strict=True))


def family_of(
    estimate: Estimate,
    *,
    primary_estimand: Estimand,
    primary_condition: str | None,
    in_pairs: Collection[str] = (),
) -> str:
    """Name the usual family of an estimate's test.

    The primary family is the primary estimand of the macro averages under the primary condition, all metrics and
    regimes together, scores of whole reports among them. Other macro averages form one family for each estimand and
    metric, micro averages and worst findings others; single findings one for each estimand, metric, regime and
    condition. Subgroups and recalibrated predictions have families of their own. Where Cochran's Q compares all
    regimes, its tests form one family for each metric, and their pairs one for each condition and finding.
    """
    where = [part for part in (_variable(estimate.subgroup), _recalibrated(estimate.recalibration)) if part]
    if estimate.estimand == ALL_REGIMES:
        return ", ".join([estimate.estimand, estimate.metric, *where])
    is_pair = estimate.metric in in_pairs and estimate.estimand == "regime-reference"
    if is_pair and not is_comparison(estimate.subgroup) and estimate.finding not in {MACRO, WORST}:
        return ", ".join([estimate.estimand, estimate.metric, estimate.condition, estimate.finding, "pairs", *where])
    if estimate.finding in {MACRO, MICRO, WORST, REPORT}:
        is_primary = (estimate.estimand, estimate.condition) == (primary_estimand, primary_condition or str(CLEAN))
        if estimate.finding in OVERALL and is_primary and not where:
            return PRIMARY
        return ", ".join([estimate.estimand, estimate.metric, estimate.finding, *where])
    named = [estimate.estimand, estimate.metric, estimate.regime, estimate.condition, "findings"]
    return ", ".join([*named, *where])


def is_usual(name: str) -> bool:
    """Whether a usual family may have this name: the primary one, or one that begins with an estimand and a comma."""
    return name == PRIMARY or any(name.startswith(f"{estimand}, ") for estimand in ESTIMANDS)


def _variable(subgroup: str) -> str:
    """Return what subgroups are of, and whether these are single ones, comparisons or all together.

    No column holds a colon before a space, so that none has the name of another's comparisons, or of a recalibration.

    >>> _variable("sex=F"), _variable("sex: M − F"), _variable("sex: interaction")
    ('sex', 'sex: compared', 'sex: interaction')
    """
    column = column_of(subgroup)
    if not is_comparison(subgroup):
        return column
    return subgroup if subgroup == interaction_text(column) else f"{column}: compared"


def _recalibrated(method: str) -> str:
    return f"recalibrated: {method}" if method else ""


def adjust(
    estimates: Sequence[Estimate],
    families: Families,
    *,
    contributions: Mapping[Key, NDArray[np.float64]] | None = None,
    n_draws: int = 10_000,
    seed: int = 0,
) -> tuple[Estimate, ...]:
    """Name each estimate's family and adjust its p-value within it.

    Holm 1979 (jstor.org/stable/4615733), Hommel 1988 (doi:10.1093/biomet/75.2.383) and Bonferroni bound the chance of
    any false positive; Benjamini and Hochberg 1995 (doi:10.1111/j.2517-6161.1995.tb02031.x) the expected share of false
    ones among positives; Benjamini and Yekutieli 2001 (doi:10.1214/aos/1013699998) the same under any dependence;
    max-T (Westfall and Young 1993, ISBN 978-0-471-55761-6) bounds the chance of any false positive with the
    dependence that the data show. Tests of interaction are each of several contrasts: Holm's stands in for max-T in
    their usual families. `none` leaves p-values as they are.

    Parameters
    ----------
    contributions
        (n_patients,) of each estimate in a family that max-T adjusts.
    n_draws, seed
        Of max-T's sign flips.

    Raises
    ------
    StudyError
        When max-T is asked for where a test flips no signs, or those of several contrasts together.
    """
    named = [None if one.p_value is None else families.of(one) for one in estimates]
    members: dict[str, list[int]] = {}
    for index, name in enumerate(named):
        if name is not None:
            members.setdefault(name, []).append(index)
    declared = {one.name for one in families.declared}
    adjusted: list[float | None] = [one.p_adjusted for one in estimates]
    notes = [one.note for one in estimates]
    with _quick_collections():  # nothing that lives on is made in here
        for family, indices in members.items():
            method = families.method(family)
            if method == "max-t" and family not in declared and all(estimates[i].test == INTERACTION for i in indices):
                method = "holm"
            p_values = np.array([estimates[i].p_value for i in indices])
            if method == "max-t":
                found = _max_t(family, [estimates[i] for i in indices], contributions or {}, n_draws, seed)
            else:
                found = p_values if method == "none" else multipletests(p_values, method=METHODS[method])[1]
            for i, p in zip(indices, found, strict=True):
                adjusted[i] = float(p)
                if p >= families.alpha and _is_least(estimates[i], n_draws):
                    few = f"least p-value of {n_draws:,} sign patterns: more resamples might lower its adjusted one"
                    notes[i] = "; ".join(filter(None, (notes[i], few)))
    return tuple(
        one if (name, p) == (one.family, one.p_adjusted) else replace(one, family=name, p_adjusted=p, note=note)
        for one, name, p, note in zip(estimates, named, adjusted, notes, strict=True)
    )


def _is_least(estimate: Estimate, n_draws: int) -> bool:
    """Whether no sign pattern that was drawn was as extreme as the sample."""
    is_drawn = estimate.test in {FLIPS[False], SWAPS[False], INTERACTION}
    return is_drawn and estimate.p_value is not None and estimate.p_value * (n_draws + 1) < 1.5


def _max_t(
    family: str,
    members: Sequence[Estimate],
    contributions: Mapping[Key, NDArray[np.float64]],
    n_draws: int,
    seed: int,
) -> NDArray[np.float64]:
    other = next((one for one in members if one.test not in PERMUTATIONS), None)
    if other is not None:
        raise StudyError(
            f"family {family!r}: max-t adjusts sign-flip tests, and its {other.metric} is tested by {other.test}: "
            f'set test = "permutation", or adjust = "holm"'
        )
    each = [contributions[key_of(one)] for one in members]
    longest = max(map(len, each))  # of recalibrated predictions with patients of validation, whom others lack
    columns = np.stack([np.pad(one, (0, longest - len(one))) for one in each], axis=1)
    found = max_t_p_values(columns, n_draws=n_draws, rng=Purpose.PERMUTATIONS.generator(seed))
    return np.maximum(found, [one.p_value or 0.0 for one in members])


@contextmanager
def _quick_collections() -> Iterator[None]:
    """Spare what is alive from garbage collection: statsmodels' `multipletests` collects at each call."""
    gc.freeze()
    try:
        yield
    finally:
        gc.unfreeze()
