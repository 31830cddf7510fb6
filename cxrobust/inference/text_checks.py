"""Whether the texts that attacks are made by are as short as a model's reports may be, before any unit is done."""

from collections.abc import Sequence

from cxrobust.errors import counted, some
from cxrobust.inference.datasets import ImageTable
from cxrobust.inference.models import Regime
from cxrobust.inference.models.generator import ReportGenerator
from cxrobust.inference.perturbations.attack import CLEAN_REPORT, REFERENCE, REPORT, Attack
from cxrobust.inference.unit_checks import source_of
from cxrobust.inference.units import Unit
from cxrobust.study import Study


def check_texts(study: Study, table: ImageTable, units: Sequence[Unit]) -> None:
    """Refuse a text that is attacked and has more tokens than a report of the attacked model may have.

    Tokenizers alone are loaded, those of the models that units are to be made with.

    Raises
    ------
    StudyError
        Naming the images whose reference is too long, and by how many words it could be left out.
    """
    models = [regime for regime in study.regimes if isinstance(regime, Regime)]
    seen: set[tuple[str, int, str | None, str]] = set()
    for unit in units:
        one = unit.perturbation
        if not isinstance(one, Attack) or one.target != REPORT or one.text == CLEAN_REPORT:
            continue
        regime, fold = (unit.regime, unit.fold) if one.made_on is None else (source_of(one, models), None)
        key = (regime.name, regime.replicate, fold, one.text)
        if key in seen or not isinstance(regime, ReportGenerator):
            continue
        seen.add(key)
        found = _problem(one, regime, fold, table)
        if found is not None:
            raise study.error(("perturbations",), found)


def _problem(one: Attack, regime: ReportGenerator, fold: str | None, table: ImageTable) -> str | None:
    most = regime.max_new_tokens
    is_reference = one.text == REFERENCE
    texts = [text or "" for text in table.references or ()] if is_reference else [one.text]
    lengths = regime.count_tokens(texts, fold=fold)
    if not texts or max(lengths) <= most:
        return None
    beginning = f"attack {one.name!r} of regime {regime.name!r}, whose reports have at most {most:,} tokens"
    if not is_reference:
        return (
            f"{beginning} (max_new_tokens): its text has {lengths[0]:,} (“{one.text[:60]}…”): raise max_new_tokens, "
            f"or give a shorter text"
        )
    rows = [row for row, length in enumerate(lengths) if length > most]
    words = min(len(texts[row].split()) for row in rows) - 1
    leaving = f", or leave them out by longest_reference = {words} (words) in [data]" if words else ""
    return (
        f"{beginning} (max_new_tokens): the reference of {counted(len(rows), 'image')} has more "
        f"({some(table.ids[row] for row in rows)}; up to {max(lengths):,}): raise max_new_tokens{leaving}"
    )
