"""Whether the names in a study file fit one another, and its data: regimes, conditions, metrics, tests, families."""

import json
from typing import TYPE_CHECKING

from cxrobust.conditions import CLEAN, UNTIL_WRONG_AT, parse_condition
from cxrobust.errors import MisfitError, nearest, some
from cxrobust.study.analysis import AnalysisSection, MetricSection
from cxrobust.study.messages import Place, dotted

if TYPE_CHECKING:
    from cxrobust.inference.datasets import ImageTable
    from cxrobust.study import Study


VALIDATION = "validation"
"""The table within [data] that says what is different for validation images."""


def check_names(study: "Study", place: Place) -> None:
    """Raise the first thing in a study file that names nothing, or does not fit what it names.

    Raises
    ------
    StudyError
        In one sentence with the line.
    """
    names = [regime.name for regime in study.regimes]
    if study.study.reference not in names:
        raise place.error(
            ("study", "reference"),
            f"reference {study.study.reference!r} names no regime{nearest(study.study.reference, names)}: "
            f"the regimes are {', '.join(dict.fromkeys(names))}",
        )
    for index, name in enumerate(names):
        if not name.isprintable() or name != name.strip():
            raise place.error(
                ("regimes", index, "name"), f"regime name {name!r} is no plain text: write it without outer spaces"
            )
    _check_metrics(study, place)
    _check_validation(study, place)
    seen: set[tuple[str, int]] = set()
    for index, regime in enumerate(study.regimes):
        if (regime.name, regime.replicate) in seen:
            raise place.error(
                ("regimes", index, "name"),
                f"regime {regime.name!r} stands twice with replicate {regime.replicate}: "
                f"name it otherwise, or number its replicates",
            )
        seen.add((regime.name, regime.replicate))
    _check_folders(study, place)
    if study.analysis.primary_condition is not None:
        known = set(study.all_conditions) - {str(CLEAN)}
        wanted = study.analysis.primary_condition
        if wanted not in known:
            raise place.error(
                ("analysis", "primary_condition"),
                f"primary_condition {wanted!r} is no condition of this study{nearest(wanted, known)}: "
                f"its conditions are {', '.join(sorted(known)) or 'clean only'}",
            )


def check_data(study: "Study", table: "ImageTable") -> None:
    """Raise the first thing that the analysis of a study asks of its test images in vain.

    Raises
    ------
    StudyError
        In one sentence with the line.
    """
    from cxrobust.analysis.against_data import check_against_data

    _check_references(study, table)
    try:
        check_against_data(
            study.analysis,
            metadata=table.own_metadata,
            image_ids=table.ids,
            patients=table.patients,
            findings=table.findings,
            labels=table.labels,
            regimes=_regimes(study),
            conditions=study.all_conditions,
            reference=study.study.reference,
        )
    except MisfitError as error:
        raise study.error(error.keys, str(error)) from error


def _check_references(study: "Study", table: "ImageTable") -> None:
    """Scores against references need one at least."""
    from cxrobust.analysis.metrics import metric
    from cxrobust.radiology_reports.scores import needs_reference

    if any((text or "").strip() for text in table.references or ()):
        return
    for name in study.analysis.metrics:
        if metric[name].of_reports and needs_reference(name):
            raise study.error(
                ("analysis", "metrics"),
                f"{name} is scored against reference reports, and no image of the data has one: name their table by "
                f"references in [data], or leave {name} out",
            )


def _check_folders(study: "Study", place: Place) -> None:
    """Judges, and regimes whose reports may be sampled, need a folder each, which is none that the command has."""
    from cxrobust.inference.models import Regime
    from cxrobust.preferences import AGREEMENT, ANSWERS, CACHE, IMAGES, PEOPLE, REPORTS, UNITS, Preferences, slug

    if not isinstance(study.preferences, Preferences):
        return
    regimes = [
        ("regime", ("regimes", i, "name"), one.name)
        for i, one in enumerate(study.regimes)
        if isinstance(one, Regime) and one.writes_reports
    ]
    judges = [
        ("judge", ("preferences", "judges", i, "name"), one.name) for i, one in enumerate(study.preferences.judges)
    ]
    own = {("judge", one) for one in (UNITS, IMAGES, ANSWERS, CACHE, REPORTS, PEOPLE, AGREEMENT)}
    named: dict[tuple[str, str], str] = {}
    for what, keys, name in (*regimes, *judges):
        folder = (what, slug(name).casefold())  # some disks take names for one that differ in case alone
        if folder in own:
            raise place.error(
                keys, f"{what} {name!r} has the name of what else is written beside its folder: call it otherwise"
            )
        other = named.setdefault(folder, name)
        if other != name:
            raise place.error(
                keys, f"{what} {name!r} would be written into the folder of {what} {other!r}: call one otherwise"
            )


def _check_validation(study: "Study", place: Place) -> None:
    """Validation images need predictions of every regime, and must not be the test images."""
    from cxrobust.inference.elsewhere import Elsewhere

    elsewhere = [(index, one) for index, one in enumerate(study.regimes) if isinstance(one, Elsewhere)]
    for index, regime in elsewhere:
        if study.validation is not None and regime.validation is None:
            raise place.error(
                ("regimes", index),
                f"regime {regime.name!r} has no predictions on the images of [data.validation]: "
                f'name their table, validation = "file.csv"',
            )
        if study.validation is None and regime.validation is not None:
            raise place.error(
                ("regimes", index, "validation"),
                f"regime {regime.name!r} has predictions on validation images, and [data.validation] is missing: "
                f"add it; it may be empty where [data] holds for them too",
            )
    if not elsewhere and study.validation == study.data:
        raise place.error(
            ("data", VALIDATION),
            "[data.validation] says nothing else than [data], so its images would be the test images: "
            "name their split, their list or their label file",
        )


def _check_metrics(study: "Study", place: Place) -> None:
    from cxrobust.analysis.metrics import metric
    from cxrobust.scoring import scorers_of

    for name in study.analysis.metrics:
        if name not in metric:
            raise place.error(("analysis", "metrics"), metric.unknown(name))
    _check_choices(study.analysis, place, n_regimes=len(_regimes(study)))
    if study.analysis.recalibrate and not any(metric[name].of_probabilities for name in study.analysis.metrics):
        raise place.error(
            ("analysis", "recalibrate"),
            "recalibrate changes none of the metrics: add one that asks what probabilities are worth, such as ece",
        )
    _check_stops(study, place)
    if scorers_of(study, place) and not any(getattr(one, "writes_reports", True) for one in study.regimes):
        raise place.error(
            ("analysis", "metrics"), 'metrics are of reports, and no regime has family = "generator": leave them out'
        )
    _check_sets(study, place)
    _check_families(study, place)
    for keys, values in (
        (("analysis", "recalibrate"), study.analysis.recalibrate),
        (("analysis", "effect_sizes"), study.analysis.effect_sizes),
        (("analysis", "subgroups"), tuple(one.column for one in study.analysis.subgroups)),
        (("analysis", "families"), tuple(one.name for one in study.analysis.families)),
        (("analysis", "metrics"), study.analysis.metrics),
        (("report", "formats"), study.report.formats),
    ):
        if len(set(values)) < len(values):
            twice = next(value for value in values if values.count(value) > 1)
            raise place.error(keys, f"{twice!r} stands twice in {dotted(keys)}: keep one")
    _check_declared(study, place)


def _regimes(study: "Study") -> tuple[str, ...]:
    return tuple(dict.fromkeys(regime.name for regime in study.regimes))


def _check_stops(study: "Study", place: Place) -> None:
    """Attacks that end where decisions are wrong tell nothing of probabilities, nor of other operating points."""
    from cxrobust.analysis.effects import OF_CONFIDENCE
    from cxrobust.analysis.metrics import metric

    found = next((one for one in study.perturbations if one.condition.is_of_decisions), None)
    if found is None:
        return
    attack, stop, analysis = str(found.condition), vars(found)[UNTIL_WRONG_AT], study.analysis
    if analysis.operating_point != stop:
        raise place.error(
            ("analysis", "operating_point"),
            f"{attack} goes no further once decisions at {stop:g} are wrong, and decisions here are made otherwise: "
            f"write operating_point = {stop:g}, or leave {UNTIL_WRONG_AT} out",
        )
    for name in analysis.metrics:
        if not metric[name].of_decisions or metric[name].of_confidence:
            raise place.error(
                ("analysis", "metrics"),
                f"{attack} goes no further once decisions are wrong, and {name} is of probabilities, which it does not "
                f"drive to their ends: keep metrics of decisions, or leave {UNTIL_WRONG_AT} out",
            )
    of_confidence = [name for name in analysis.effect_sizes if name in OF_CONFIDENCE]
    if of_confidence:
        kept = [name for name in analysis.effect_sizes if name not in OF_CONFIDENCE]
        raise place.error(
            ("analysis", "effect_sizes"),
            f"{attack} goes no further once decisions are wrong, and {some(of_confidence)} "
            f"{'is' if len(of_confidence) == 1 else 'are'} of confidence: write effect_sizes = {json.dumps(kept)}, or "
            f"leave {UNTIL_WRONG_AT} out",
        )


def _check_sets(study: "Study", place: Place) -> None:
    known = [name for name in study.all_conditions if name != str(CLEAN)]
    for name, members in study.analysis.sets.items():
        if "robust-accuracy" not in study.analysis.metrics:
            raise place.error(
                ("analysis", "sets"), 'sets are for "robust-accuracy", which is none of the metrics: add it to metrics'
            )
        if not name.strip():
            raise place.error(("analysis", "sets", name), f"set {name!r} has no name: give it one")
        if name in (*known, str(CLEAN)):
            raise place.error(
                ("analysis", "sets", name), f"set {name!r} has the name of a condition: call it otherwise"
            )
        for one in members:
            if one not in known:
                raise place.error(
                    ("analysis", "sets", name),
                    f"set {name!r} holds {one!r}, which is no perturbation of this study{nearest(one, known)}: "
                    f"its perturbations are {', '.join(known) or 'none'}",
                )


def _check_families(study: "Study", place: Place) -> None:
    """Names that the study file tells; which findings and subgroups there are, the data tell later."""
    from cxrobust.analysis.choices import is_untestable
    from cxrobust.analysis.families import is_usual
    from cxrobust.results import ESTIMANDS

    conditions = study.all_conditions
    series = (parse_condition(name).series for name in conditions)
    known: dict[str, tuple[str, ...]] = {
        "estimands": ESTIMANDS,
        "metrics": study.analysis.metrics,
        "regimes": _regimes(study),
        "conditions": tuple(dict.fromkeys((*conditions, *series, *study.analysis.sets))),
        "recalibrations": ("", *study.analysis.recalibrate),
    }
    for index, family in enumerate(study.analysis.families):
        if is_usual(family.name):  # the two would be adjusted as one
            raise place.error(
                ("analysis", "families", index, "name"),
                f"family {family.name!r} has the name of a usual family: call it otherwise",
            )
        for key, names in known.items():
            for name in getattr(family, key):
                if name not in names:
                    raise place.error(
                        ("analysis", "families", index, key),
                        f"family {family.name!r} names no estimate: {name!r} is none of the {key}"
                        f"{nearest(name, names)}: known are {', '.join(filter(None, names)) or 'none'}",
                    )
        if (family.adjust or study.analysis.adjust) == "max-t":
            for name in family.metrics or study.analysis.metrics:
                test = study.analysis.of(name).test
                if test != "permutation" and not is_untestable(name):
                    raise place.error(
                        ("analysis", "families", index, "adjust"),
                        f"family {family.name!r} is adjusted by max-t, which needs sign flips, and {name} is tested by "
                        f'{test}: set its test = "permutation", or adjust = "holm"',
                    )
    if study.analysis.adjust == "max-t":
        for name in study.analysis.metrics:
            if study.analysis.of(name).test != "permutation" and not is_untestable(name):
                raise place.error(
                    ("analysis", "adjust"),
                    f"max-t needs sign flips, and {name} is tested by {study.analysis.of(name).test}: set its "
                    f'test = "permutation", or adjust = "holm"',
                )


def _check_declared(study: "Study", place: Place) -> None:
    """Nothing but the study file is needed to see that a family contradicts itself, or earlier ones have it all."""
    from cxrobust.analysis.declared import Scope, check_declared

    scope = Scope(regimes=_regimes(study), conditions=study.all_conditions, reference=study.study.reference)
    try:
        check_declared(study.analysis, scope)
    except MisfitError as error:
        raise place.error(error.keys, str(error)) from None


def _check_choices(analysis: AnalysisSection, place: Place, *, n_regimes: int) -> None:
    """Every interval and test must fit its metric."""
    from cxrobust.analysis.choices import fitting_intervals, fitting_tests
    from cxrobust.analysis.metrics import metric

    for name in analysis.per_metric:
        if name not in analysis.metrics:
            raise place.error(
                ("analysis", name),
                f"[analysis.{name}] is no metric of this study{nearest(name, analysis.metrics)}: "
                f"its metrics are {', '.join(analysis.metrics)}",
            )
    for name in analysis.metrics:
        chosen, own = analysis.of(name), analysis.per_metric.get(name, MetricSection())
        for key, fitting in (("interval", fitting_intervals(name)), ("test", fitting_tests(name))):
            value = getattr(chosen, key)
            if key == "test" and not fitting:
                if own.test:
                    raise place.error(
                        ("analysis", name, key),
                        f"{name} fits no test, since {metric[name].untestable}: remove its test, {own.test!r}",
                    )
                continue
            if value is not None and value not in fitting:
                keys = ("analysis", name, key) if getattr(own, key) else ("analysis", key)
                raise place.error(keys, f"{key} {value!r} does not fit {name}: those that do are {', '.join(fitting)}")
    _check_margins(analysis, place)
    _check_cochran(analysis, place, n_regimes)


def _check_cochran(analysis: AnalysisSection, place: Place, n_regimes: int) -> None:
    """Cochran's Q compares all regimes, so it needs two."""
    for name in analysis.metrics if n_regimes < 2 else ():
        if analysis.of(name).test == "cochran-q":
            own = analysis.per_metric.get(name, MetricSection()).test
            raise place.error(
                ("analysis", name, "test") if own else ("analysis", "test"),
                "test 'cochran-q' compares regimes, and this study has one: choose another test, or add a regime",
            )


def _check_margins(analysis: AnalysisSection, place: Place) -> None:
    """A test against a margin needs one, and a margin needs such a test."""
    from cxrobust.analysis.choices import WITH_A_MARGIN, is_untestable, widest

    own = {name: analysis.per_metric.get(name, MetricSection()) for name in analysis.metrics}
    testable = [name for name in analysis.metrics if not is_untestable(name)]
    tested = [name for name in testable if analysis.of(name).test in WITH_A_MARGIN]
    only = f"margin is used by {' and '.join(WITH_A_MARGIN)} only, and"
    for name in analysis.metrics:
        chosen = analysis.of(name)
        if name in tested and chosen.margin is None:
            keys = ("analysis", name, "test") if own[name].test else ("analysis", "test")
            raise place.error(
                keys, f"test {chosen.test!r} needs the largest difference that does not matter: set margin"
            )
        if name in tested and chosen.margin is not None and chosen.margin >= widest(name):
            keys = ("analysis", name, "margin") if own[name].margin is not None else ("analysis", "margin")
            raise place.error(
                keys,
                f"margin {chosen.margin:g} is as large as two values of {name} can differ ({widest(name):g}), so that "
                f"any difference would be smaller: write the largest difference that does not matter",
            )
        if name not in tested and own[name].margin is not None:
            raise place.error(
                ("analysis", name, "margin"),
                f"{only} {name} is tested by {chosen.test}: set its test, or remove margin"
                if name in testable
                else f"{only} {name} fits no test: remove margin",
            )
    if analysis.margin is not None and not tested:
        raise place.error(
            ("analysis", "margin"),
            f'{only} no metric is tested by them: set test = "tost" or "noninferiority", or remove margin',
        )
    if analysis.margin is not None and all(own[name].margin is not None for name in tested):
        raise place.error(("analysis", "margin"), f"{only} every metric that they test has its own: remove it here")
