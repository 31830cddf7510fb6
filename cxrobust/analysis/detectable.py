"""The smallest difference that the present study detects in its primary comparisons."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence

from cxrobust.analysis.families import Families
from cxrobust.analysis.metrics import metric
from cxrobust.analysis.notes import OF_THE_RUNS_AT_HAND
from cxrobust.analysis.power import Goal, plan
from cxrobust.analysis.testing import WITH_THE_UNIT_OF_THE_METRIC
from cxrobust.results import Detectable, Estimate
from cxrobust.study.analysis import AnalysisSection

POWER = 0.8
GOALS: dict[str, Goal] = {"tost": "equivalence", "noninferiority": "non-inferiority"}
PLANNED_FOR_THESE_RUNS = "of these training runs, as the test is: the standard error is of patients alone"
OF_IMAGES_ALONE = "the standard error takes images for independent"


def is_of_positives(name: str) -> bool:
    """Whether positive patients alone contribute to a metric, as to a share of them; else negative ones move it too."""
    return metric[name].is_share and metric[name].carried_by == "positives"


def smallest_detectable(
    primary: Sequence[Estimate],
    adjusted: Sequence[Estimate],
    *,
    families: Families,
    settings: AnalysisSection,
) -> tuple[Detectable, ...]:
    """Smallest difference, or margin, that each primary comparison shows with a power of 0.8; see `power.plan`.

    Parameters
    ----------
    primary
        The primary comparisons, their p-values adjusted; those without a test are left out.
    adjusted
        All estimates of the study, among which their families are counted.
    """
    sizes = Counter(one.family for one in adjusted)
    found = []
    for one in primary:
        if one.test is None:
            continue
        goal, _ = goal_of(one, settings)
        planned = plan(
            se_of_test(one, goal),
            n_patients=one.n_patients,
            n_images=one.n_images,
            n_positive_patients=one.n_positive_patients,
            goal=goal,
            alpha=settings.alpha,
            comparisons=comparisons(one, sizes, families),
            power=POWER,
            test=one.test,
            n_draws=settings.resamples,
            by_positives=is_of_positives(one.metric),
        )
        notes = (planned.note, *limits_of_se(one, goal))
        found.append(
            Detectable(
                metric=one.metric,
                regime=one.regime,
                reference=one.reference,
                goal=planned.goal,
                size=planned.detectable,
                se=planned.se,
                alpha=planned.alpha,
                comparisons=planned.comparisons,
                power=planned.power,
                note="; ".join(filter(None, notes)),
            )
        )
    return tuple(found)


def goal_of(estimate: Estimate, settings: AnalysisSection) -> tuple[Goal, float | None]:
    """Return what the study's test of an estimate is to show, and the margin where it is held against one."""
    chosen = settings.of(estimate.metric)
    if chosen.test not in GOALS or estimate.estimand not in WITH_THE_UNIT_OF_THE_METRIC:
        return "difference", None
    return GOALS[chosen.test], chosen.margin


def comparisons(estimate: Estimate, sizes: Mapping[str | None, int], families: Families) -> int:
    """Return how many tests are adjusted together with this one, of how many each family holds."""
    if estimate.family is None or families.method(estimate.family) == "none":
        return 1
    return sizes[estimate.family]


def se_of_test(estimate: Estimate, goal: Goal) -> float | None:
    """Return the standard error that a test has to do with.

    It is of patients alone, though the interval's holds training, and linearised where a margin is tested.
    """
    holds_training = estimate.se_training is not None and estimate.interval not in OF_THE_RUNS_AT_HAND
    is_linearised = _is_linearised(estimate, goal) or (holds_training and estimate.se is not None)
    return estimate.se_patients if is_linearised else estimate.se


def limits_of_se(estimate: Estimate, goal: Goal) -> Iterator[str]:
    """Say what a plan's standard error leaves out: training, of regimes with several runs, and patients."""
    if estimate.se_training is not None:
        yield PLANNED_FOR_THESE_RUNS
    if estimate.interval == "delong" and not _is_linearised(estimate, goal):
        yield OF_IMAGES_ALONE


def _is_linearised(estimate: Estimate, goal: Goal) -> bool:
    """Whether a plan takes the linearised standard error of patients, as tests against a margin do."""
    return goal != "difference" and estimate.se_patients is not None
