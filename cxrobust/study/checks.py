"""Whether the names in a study file fit one another, and its data: regimes, conditions, metrics, tests, families."""

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from cxrobust.conditions import CLEAN, UNTIL_WRONG_AT
from cxrobust.errors import MisfitError, nearest, one_name
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
    _check_analysis(study, place)
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
                f"its conditions are {', '.join(map(one_name, sorted(known))) or 'clean only'}",
            )


def check_data(study: "Study", table: "ImageTable") -> None:
    """Raise the first thing that the analysis of a study asks of its test images, or of their studies, in vain.

    Raises
    ------
    DataError
        When images of one study, which are to be pooled, differ in a label or their patient.
    StudyError
        In one sentence with the line.
    """
    from cxrobust.analysis.against_data import check_against_data

    _check_references(study, table)
    rows = _as_analysed(table)
    try:
        check_against_data(
            study.analysis,
            metadata=rows.own_metadata,
            image_ids=rows.ids,
            patients=rows.patients,
            findings=rows.findings,
            labels=rows.labels,
            regimes=_regimes(study),
            conditions=study.all_conditions,
            reference=study.study.reference,
        )
    except MisfitError as error:
        raise study.error(error.keys, str(error)) from error


def _as_analysed(table: "ImageTable") -> "ImageTable":
    """Return the table with a row for each study where images of a study are pooled, as `pool_studies` joins them."""
    from cxrobust.inference.datasets import STUDY_ID
    from cxrobust.predictions.pooling import join_studies

    if table.pooled is None:
        return table
    studies = join_studies(
        table.metadata,
        column=STUDY_ID,
        image_ids=table.ids,
        patients=np.asarray(table.patients),
        labels=table.labels,
    )
    return replace(
        table, ids=studies.ids, patients=studies.patients.tolist(), labels=studies.labels, metadata=studies.metadata
    )


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


def _check_analysis(study: "Study", place: Place) -> None:
    from cxrobust.analysis.asked import check_groups, check_metrics, check_stop
    from cxrobust.analysis.declared import Scope, check_declared
    from cxrobust.scoring import scorers_of

    settings = study.analysis
    scope = Scope(regimes=_regimes(study), conditions=study.all_conditions, reference=study.study.reference)
    stopping = next((one for one in study.perturbations if one.condition.is_of_decisions), None)
    try:
        check_metrics(settings, n_regimes=len(scope.regimes))
        if stopping is not None:
            check_stop(settings, str(stopping.condition), vars(stopping)[UNTIL_WRONG_AT], pool=study.data.pooling)
        if scorers_of(study, place) and not any(getattr(one, "writes_reports", True) for one in study.regimes):
            raise place.error(
                ("analysis", "metrics"),
                'metrics are of reports, and no regime has family = "generator": leave them out',
            )
        check_groups(settings, scope)
        _check_repeated(study, place)
        check_declared(settings, scope)
    except MisfitError as error:
        raise place.error(error.keys, str(error)) from None


def _check_repeated(study: "Study", place: Place) -> None:
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


def _regimes(study: "Study") -> tuple[str, ...]:
    return tuple(dict.fromkeys(regime.name for regime in study.regimes))
