"""Whether what a study file asks of the analysis fits: metrics with their intervals, tests and margins, sets, families.

What the data have to do with it is asked by `against_data.py`, and whether families can hold a test by `declared.py`.
"""

import json
from collections.abc import Sequence

from cxrobust.analysis.choices import WITH_A_MARGIN, fitting_intervals, fitting_tests, is_untestable, widest
from cxrobust.analysis.declared import Scope
from cxrobust.analysis.effects import OF_CONFIDENCE
from cxrobust.analysis.families import is_usual
from cxrobust.analysis.metrics import metric
from cxrobust.conditions import CLEAN, UNTIL_WRONG_AT, parse_condition
from cxrobust.errors import MisfitError, nearest, one_name, some
from cxrobust.predictions.pooling import Pool
from cxrobust.results import ESTIMANDS
from cxrobust.study.analysis import AnalysisSection, MetricSection


def check_metrics(settings: AnalysisSection, *, n_regimes: int) -> None:
    """Raise the first metric that there is none of, and what is chosen for one and does not fit it.

    Raises
    ------
    MisfitError
        In one sentence.
    """
    for name in settings.metrics:
        if name not in metric:
            raise MisfitError(metric.unknown(name), ("analysis", "metrics"))
    for name in settings.per_metric:
        if name not in settings.metrics:
            raise MisfitError(
                f"[analysis.{name}] is no metric of this study{nearest(name, settings.metrics)}: "
                f"its metrics are {', '.join(settings.metrics)}",
                ("analysis", name),
            )
    check_choices(settings)
    _check_unused_margins(settings)
    _check_cochran(settings, n_regimes)
    if settings.recalibrate and not any(metric[name].of_probabilities for name in settings.metrics):
        raise MisfitError(
            "recalibrate changes none of the metrics: add one that asks what probabilities are worth, such as ece",
            ("analysis", "recalibrate"),
        )


def check_choices(settings: AnalysisSection) -> None:
    """Raise the first interval or test that does not fit its metric, and what lacks a margin, or has too large a one.

    Raises
    ------
    MisfitError
        In one sentence.
    """
    for name in settings.metrics:
        chosen, own = settings.of(name), settings.per_metric.get(name, MetricSection())
        for key, fitting in (("interval", fitting_intervals(name)), ("test", fitting_tests(name))):
            value = getattr(chosen, key)
            if key == "test" and not fitting:
                if own.test:
                    raise MisfitError(
                        f"{name} fits no test, since {metric[name].untestable}: remove its test, {own.test!r}",
                        ("analysis", name, key),
                    )
                continue
            if value is not None and value not in fitting:
                keys = ("analysis", name, key) if getattr(own, key) else ("analysis", key)
                raise MisfitError(f"{key} {value!r} does not fit {name}: those that do are {', '.join(fitting)}", keys)
    for name in settings.metrics:
        _check_margin(settings, name)


def check_stop(settings: AnalysisSection, attack: str, stop: float, *, pool: Pool | None) -> None:
    """Raise what an attack tells nothing of that ends where decisions at `stop` are wrong.

    These are probabilities, decisions at other operating points, and decisions by the mean of a study's images, which
    images that are wrong by little may leave right. The largest of them is wrong of a negative study where one image
    is, of a positive one where all are, so that it loses nothing.

    Raises
    ------
    MisfitError
        In one sentence.
    """
    if settings.operating_point != stop:
        raise MisfitError(
            f"{attack} goes no further once decisions at {stop:g} are wrong, and decisions here are made otherwise: "
            f"write operating_point = {stop:g}, or leave {UNTIL_WRONG_AT} out",
            ("analysis", "operating_point"),
        )
    if pool == "mean":
        raise MisfitError(
            f"{attack} goes no further once decisions on an image are wrong, and decisions here are by the mean of a "
            f'study\'s images, which may still be right: write pool = "max", or leave pool or {UNTIL_WRONG_AT} out',
            ("data", "pool"),
        )
    for name in settings.metrics:
        if not metric[name].of_decisions or metric[name].of_confidence:
            raise MisfitError(
                f"{attack} goes no further once decisions are wrong, and {name} is of probabilities, which it does not "
                f"drive to their ends: keep metrics of decisions, or leave {UNTIL_WRONG_AT} out",
                ("analysis", "metrics"),
            )
    of_confidence = [name for name in settings.effect_sizes if name in OF_CONFIDENCE]
    if of_confidence:
        kept = [name for name in settings.effect_sizes if name not in OF_CONFIDENCE]
        raise MisfitError(
            f"{attack} goes no further once decisions are wrong, and {some(of_confidence)} "
            f"{'is' if len(of_confidence) == 1 else 'are'} of confidence: write effect_sizes = {json.dumps(kept)}, or "
            f"leave {UNTIL_WRONG_AT} out",
            ("analysis", "effect_sizes"),
        )


def check_groups(settings: AnalysisSection, scope: Scope) -> None:
    """Raise the first set of perturbations, or family of tests, that names what is not there, or cannot be adjusted.

    Raises
    ------
    MisfitError
        In one sentence.
    """
    _check_sets(settings, scope.conditions)
    _check_families(settings, scope)


def _check_sets(settings: AnalysisSection, conditions: Sequence[str]) -> None:
    known = [name for name in conditions if name != str(CLEAN)]
    for name, members in settings.sets.items():
        if "robust-accuracy" not in settings.metrics:
            raise MisfitError(
                'sets are for "robust-accuracy", which is none of the metrics: add it to metrics', ("analysis", "sets")
            )
        if not name.strip():
            raise MisfitError(f"set {name!r} has no name: give it one", ("analysis", "sets", name))
        if name in (*known, str(CLEAN)):
            raise MisfitError(
                f"set {name!r} has the name of a condition: call it otherwise", ("analysis", "sets", name)
            )
        for one in members:
            if one not in known:
                raise MisfitError(
                    f"set {name!r} holds {one!r}, which is no perturbation of this study{nearest(one, known)}: "
                    f"its perturbations are {', '.join(map(one_name, known)) or 'none'}",
                    ("analysis", "sets", name),
                )


def _check_families(settings: AnalysisSection, scope: Scope) -> None:
    """Names that the study file tells; which findings and subgroups there are, the data tell later."""
    series = (parse_condition(name).series for name in scope.conditions)
    known: dict[str, Sequence[str]] = {
        "estimands": ESTIMANDS,
        "metrics": settings.metrics,
        "regimes": scope.regimes,
        "conditions": tuple(dict.fromkeys((*scope.conditions, *series, *settings.sets))),
        "recalibrations": ("", *settings.recalibrate),
    }
    for index, family in enumerate(settings.families):
        if is_usual(family.name):  # the two would be adjusted as one
            raise MisfitError(
                f"family {family.name!r} has the name of a usual family: call it otherwise",
                ("analysis", "families", index, "name"),
            )
        for key, names in known.items():
            for name in getattr(family, key):
                if name not in names:
                    raise MisfitError(
                        f"family {family.name!r} names no estimate: {name!r} is none of the {key}"
                        f"{nearest(name, names)}: known are {', '.join(map(one_name, filter(None, names))) or 'none'}",
                        ("analysis", "families", index, key),
                    )
        if (family.adjust or settings.adjust) == "max-t":
            for name in family.metrics or settings.metrics:
                test = settings.of(name).test
                if test != "permutation" and not is_untestable(name):
                    raise MisfitError(
                        f"family {family.name!r} is adjusted by max-t, which needs sign flips, and {name} is tested by "
                        f'{test}: set its test = "permutation", or adjust = "holm"',
                        ("analysis", "families", index, "adjust"),
                    )
    if settings.adjust == "max-t":
        for name in settings.metrics:
            if settings.of(name).test != "permutation" and not is_untestable(name):
                raise MisfitError(
                    f"max-t needs sign flips, and {name} is tested by {settings.of(name).test}: set its "
                    f'test = "permutation", or adjust = "holm"',
                    ("analysis", "adjust"),
                )


def _check_cochran(settings: AnalysisSection, n_regimes: int) -> None:
    """Cochran's Q compares all regimes, so it needs two."""
    for name in settings.metrics if n_regimes < 2 else ():
        if settings.of(name).test == "cochran-q":
            own = settings.per_metric.get(name, MetricSection()).test
            raise MisfitError(
                "test 'cochran-q' compares regimes, and this study has one: choose another test, or add a regime",
                ("analysis", name, "test") if own else ("analysis", "test"),
            )


def _is_against_margin(settings: AnalysisSection, name: str) -> bool:
    """Whether a metric's test holds its differences against a margin."""
    return settings.of(name).test in WITH_A_MARGIN and not is_untestable(name)


def _check_margin(settings: AnalysisSection, name: str) -> None:
    """A test against a margin needs one that a difference of the metric can reach."""
    if not _is_against_margin(settings, name):
        return
    chosen, own = settings.of(name), settings.per_metric.get(name, MetricSection())
    if chosen.margin is None:
        raise MisfitError(
            f"test {chosen.test!r} needs the largest difference that does not matter: set margin",
            ("analysis", name, "test") if own.test else ("analysis", "test"),
        )
    if chosen.margin >= widest(name):
        raise MisfitError(
            f"margin {chosen.margin:g} is as large as two values of {name} can differ ({widest(name):g}), so that "
            f"any difference would be smaller: write the largest difference that does not matter",
            ("analysis", name, "margin") if own.margin is not None else ("analysis", "margin"),
        )


def _check_unused_margins(settings: AnalysisSection) -> None:
    """Ask for a test against each margin."""
    own = {name: settings.per_metric.get(name, MetricSection()) for name in settings.metrics}
    tested = [name for name in settings.metrics if _is_against_margin(settings, name)]
    only = f"margin is used by {' and '.join(WITH_A_MARGIN)} only, and"
    for name in settings.metrics:
        if name not in tested and own[name].margin is not None:
            raise MisfitError(
                f"{only} {name} fits no test: remove margin"
                if is_untestable(name)
                else f"{only} {name} is tested by {settings.of(name).test}: set its test, or remove margin",
                ("analysis", name, "margin"),
            )
    if settings.margin is not None and not tested:
        fits_none = all(is_untestable(name) for name in settings.metrics)
        raise MisfitError(
            f"{only} no test fits {' or '.join(settings.metrics)}: remove margin"
            if fits_none
            else f'{only} no metric is tested by them: set test = "tost" or "noninferiority", or remove margin',
            ("analysis", "margin"),
        )
    if settings.margin is not None and all(own[name].margin is not None for name in tested):
        raise MisfitError(f"{only} every metric that they test has its own: remove it here", ("analysis", "margin"))
