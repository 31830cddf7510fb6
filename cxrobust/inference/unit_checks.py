"""Whether a study's perturbations, regimes and images fit one another, before any unit is done."""

from collections.abc import Sequence

from cxrobust.errors import StudyError, counted, nearest, some
from cxrobust.inference.datasets import ImageTable
from cxrobust.inference.elsewhere import Elsewhere
from cxrobust.inference.models import Regime
from cxrobust.inference.perturbations import Perturbation
from cxrobust.inference.perturbations.attack import EACH, REFERENCE, REPORT, WORST, Attack
from cxrobust.inference.perturbations.patch import NoisePatch, Patch, pixels_of
from cxrobust.study import Study


def check_conditions(study: Study, elsewhere: Sequence[Elsewhere], has_models: bool) -> None:
    """Refuse regimes whose predictions are not of the same conditions, and perturbations that no model can see.

    Raises
    ------
    StudyError
        In one sentence.
    """
    expected = tuple(str(c) for c in study.conditions) if has_models else elsewhere[0].own_conditions
    for regime in elsewhere:
        for condition in expected:
            if condition not in regime.own_conditions:
                raise StudyError(
                    f"{study.path}: regime {regime.name!r} has no predictions for {condition!r}: "
                    f"every regime needs every condition"
                )
        for condition in regime.own_conditions:
            if condition not in expected:
                raise StudyError(
                    f"{study.path}: regime {regime.name!r} alone has predictions for {condition!r}: "
                    f"every regime needs every condition"
                )
    if study.perturbations and not has_models:
        raise StudyError(
            f"{study.path}: [[perturbations]] need a regime with a model: "
            f"every regime's predictions were made elsewhere"
        )


def check_targets(study: Study, table: ImageTable) -> None:
    """Refuse a perturbation that aims at a finding or a report which there is none of, naming its line.

    Raises
    ------
    StudyError
        In one sentence.
    """
    for one in study.perturbations:
        try:
            one.check(table.findings)
            _check_reports(study, one, table)
        except StudyError as error:
            raise study.error(("perturbations",), str(error)) from error


def check_sides(study: Study) -> None:
    """Refuse patches of less than half a pixel, and two of one series that are as large in pixels.

    Raises
    ------
    StudyError
        In one sentence, naming their line.
    """
    size, known = study.data.size, dict[tuple[str, int], int]()
    for one in study.perturbations:
        if not isinstance(one, Patch | NoisePatch):
            continue
        pixels = pixels_of(one.side, size)
        other = known.setdefault((one.condition.series, pixels), one.side)
        if not pixels:
            wrong = f"side = {one.side} is {one.side * size / 100:.2g} pixels of {size}: write a larger side"
        elif other != one.side:
            sides = f"{min(other, one.side)} and {max(other, one.side)}"
            wrong = f"sides {sides} are both {counted(pixels, 'pixel')} of {size}: leave one out"
        else:
            continue
        raise study.error(("perturbations",), f"attack {one.name!r}: {wrong}, or raise size in [data]")


def _check_reports(study: Study, one: Perturbation, table: ImageTable) -> None:
    """Refuse an attack on reports where a model writes none, and one on each finding where a model writes one report.

    Raises
    ------
    StudyError
        In one sentence.
    """
    if not isinstance(one, Attack):
        return
    models = [regime for regime in study.regimes if isinstance(regime, Regime)]
    if one.made_on is not None:
        models = [source_of(one, models)]
    silent = [regime.name for regime in models if not regime.writes_reports]
    if one.target == REPORT and silent:
        raise StudyError(
            f'attack {one.name!r} aims at reports (target = "{REPORT}"), and regime {silent[0]!r} writes none: aim at '
            f"findings, or compare generators alone"
        )
    writing = [regime.name for regime in models if regime.writes_reports]
    if one.target == EACH and writing:
        raise StudyError(
            f'attack {one.name!r} makes an image for each finding (target = "{EACH}"), and regime {writing[0]!r} '
            f'writes one report for all: write target = "all", "{WORST}", "{REPORT}" or a finding'
        )
    if one.target == REPORT and one.text == REFERENCE:
        given = table.references or (None,) * len(table.ids)
        missing = [image for image, text in zip(table.ids, given, strict=True) if not (text or "").strip()]
        if missing:
            raise StudyError(
                f'attack {one.name!r} asks for references (text = "{REFERENCE}"), and there is none for '
                f"{counted(len(missing), 'image')} ({some(missing)}): give references in [data], and "
                f'missing_references = "exclude"'
            )


def source_of(one: Attack, models: Sequence[Regime]) -> Regime:
    """Return the regime on whose model an attack is made.

    Raises
    ------
    StudyError
        When there is none of that name, or it has a model for each fold.
    """
    names = [regime.name for regime in models]
    found = next((regime for regime in models if regime.name == one.made_on), None)
    if found is None:
        raise StudyError(
            f"attack {one.name!r}: made_on = {one.made_on!r} is no regime with a model"
            f"{nearest(one.made_on or '', names)}: they are {', '.join(names)}"
        )
    if found.cross_fit is not None:
        raise StudyError(
            f"attack {one.name!r}: made_on = {one.made_on!r} has a model for each fold: name another regime"
        )
    return found
