"""Whether declared families of tests can hold any, which is told before anything is estimated."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from cxrobust.analysis.cells import Cell
from cxrobust.analysis.choices import is_untestable
from cxrobust.analysis.contrasts import contrasts, contrasts_of
from cxrobust.analysis.counts import AVERAGES
from cxrobust.analysis.families import INTERACTION, RAW, Place, fits, is_hypothesis
from cxrobust.analysis.metrics import Metric, metric
from cxrobust.analysis.recalibrated import ESTIMANDS as OF_RECALIBRATIONS
from cxrobust.analysis.subgroups import ESTIMANDS as OF_SUBGROUPS
from cxrobust.analysis.subgroups import interaction_text, is_comparison
from cxrobust.analysis.testing import COCHRAN, OF_OUTCOMES, by_definition
from cxrobust.errors import MisfitError
from cxrobust.results import ALL_REGIMES, MACRO, REPORT, WORST
from cxrobust.study.analysis import AnalysisSection, Family

OTHER = "\0"
"""Stands for a finding that no family names."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Scope:
    """What a study compares, as far as it is known."""

    regimes: Sequence[str]
    conditions: Sequence[str]
    """`clean` first, without sets."""
    reference: str
    findings: Sequence[str] = ()
    """With averages; before the data are seen none, and any finding may be there."""
    subgroups: Sequence[str] = ()
    """Texts of the column, all images included; before the data are seen none, and any subgroup may be there."""


def check_declared(settings: AnalysisSection, scope: Scope) -> None:
    """Raise the first declared family that has no test, or one that it cannot adjust.

    Raises
    ------
    MisfitError
        In one sentence: when no estimate that is tested has a family's keys, when earlier families have all that do, or
        when max-T would have to adjust a test of interaction.
    """
    for index, family in enumerate(settings.families):
        keys, takers, is_left = ("analysis", "families", index), dict[str, None](), True
        for one in _tests_of(family, settings, scope):
            taker = next((before.name for before in settings.families[:index] if fits(before, one)), None)
            if taker is not None:
                takers[taker] = None
                continue
            is_left = False
            if (family.adjust or settings.adjust) != "max-t":
                break
            subgroup = one[5]
            if subgroup.endswith(f": {INTERACTION}"):
                raise MisfitError(
                    f"family {family.name!r} is adjusted by max-t, which is of single contrasts, and {subgroup!r} is a "
                    f'test of several: name other subgroups, or set adjust = "holm"',
                    keys,
                )
        if is_left and not takers:
            raise MisfitError(
                f"family {family.name!r} names no test: its estimands have none with its metrics, regimes, conditions, "
                f"findings, subgroups and recalibrations: correct these, or remove it",
                keys,
            )
        if is_left:
            raise MisfitError(
                f"family {family.name!r} is left without a test, since all that it names belongs to "
                f"{' and '.join(map(repr, takers))} before it: put it first, or remove it",
                keys,
            )


def _tests_of(family: Family, settings: AnalysisSection, scope: Scope) -> Iterator[Place]:
    """Yield the places of all tests that a family names, whichever family they belong to."""
    named = [name for one in settings.families for name in one.findings]
    findings = scope.findings or dict.fromkeys((*AVERAGES, *named, REPORT, OTHER))
    subgroups = scope.subgroups or ("", *(interaction_text(one.column) for one in settings.subgroups))
    for name in settings.metrics:
        for subgroup in family.subgroups or subgroups:
            if is_untestable(name, between_subgroups=is_comparison(subgroup)):
                continue
            for recalibration in family.recalibrations or ("", *settings.recalibrate):
                cells = tuple(_cells(metric[name], settings, scope, subgroup, recalibration))
                if settings.of(name).test == COCHRAN and not is_comparison(subgroup):
                    under = dict.fromkeys(
                        condition for estimand, _, condition in cells if estimand in OF_OUTCOMES[COCHRAN]
                    )
                    cells = (*cells, *((ALL_REGIMES, "", condition) for condition in under))
                for estimand, regime, condition in cells:
                    for finding in findings:
                        place = (estimand, name, regime, condition, finding, subgroup, recalibration)
                        if fits(family, place) and _has_place(metric[name], settings, estimand, finding, subgroup):
                            yield place


def _cells(
    one: Metric, settings: AnalysisSection, scope: Scope, subgroup: str, recalibration: str
) -> Iterator[tuple[str, str, str]]:
    """Yield estimand, regime and condition of each contrast of a metric that is tested."""
    if (subgroup and recalibration) or (recalibration and not one.of_probabilities):
        return
    if subgroup or recalibration:
        made = OF_SUBGROUPS if subgroup else OF_RECALIBRATIONS
        listed = contrasts(scope.regimes, scope.conditions, reference=scope.reference)
    else:
        made = ()
        listed = contrasts_of(
            one,
            scope.regimes,
            scope.conditions,
            reference=scope.reference,
            sets=tuple(settings.sets),
            chances=np.zeros(1) if _may_be_guessed(one) else np.full(1, np.nan),
        )
    for contrast in listed:
        is_tested = is_hypothesis(contrast.estimand, subgroup) and not by_definition(one, contrast)
        if is_tested and (not made or contrast.estimand in made):
            yield contrast.estimand, contrast.regime, contrast.condition
    if recalibration and not one.of_labels:
        yield from ((RAW, regime, condition) for regime in scope.regimes for condition in scope.conditions)


def _has_place(one: Metric, settings: AnalysisSection, estimand: str, finding: str, subgroup: str) -> bool:
    """Whether a contrast is estimated of a finding, or an average over them."""
    if one.of_reports or finding == REPORT:
        return one.of_reports and finding == REPORT
    if estimand == ALL_REGIMES and finding in {MACRO, WORST}:
        return False
    if finding == WORST:
        return one.better is not None and not estimand.startswith("half-margin")
    if not subgroup or finding in AVERAGES:
        return True
    of_column = (by for by in settings.subgroups if subgroup.startswith((f"{by.column}=", f"{by.column}: ")))
    return any(by.findings for by in of_column)


def _may_be_guessed(one: Metric) -> bool:
    """Whether a metric has a value of guessing, asked of two images."""
    p = np.array([0.25, 0.75])
    labels, patients = np.array([0, 1], dtype=np.int8), np.array([0, 1], dtype=np.int32)
    cell = Cell(labels=labels, probabilities=p, patients=patients, n_patients=2, threshold=0.5, clean=p, weaker=(p,))
    return one.chance(cell) is not None
