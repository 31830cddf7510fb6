"""Whether a model can write the texts that attacks are made by, before any unit is done: as short, and in its words."""

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
    """Refuse a text that is attacked and has more tokens than a report of the attacked model, or words it lacks.

    Tokenizers alone are loaded, those of the models that units are to be made with.

    Raises
    ------
    StudyError
        Naming the images whose reference is too long, and by how many words it could be left out; or those whose
        reference has words that the tokenizer lacks, which the attack would see as another text.
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
    read = regime.read_texts(texts, fold=fold)
    lengths = [length for length, _ in read]
    if not texts or max(lengths) <= most:
        return _unknown(one, regime, texts, [row for row, (_, is_known) in enumerate(read) if not is_known], table)
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


def _unknown(
    one: Attack, regime: ReportGenerator, texts: Sequence[str], rows: Sequence[int], table: ImageTable
) -> str | None:
    if not rows:
        return None
    beginning = f"attack {one.name!r} of regime {regime.name!r}"
    if one.text != REFERENCE:
        return f"{beginning}: its text has words that the tokenizer lacks (“{one.text[:60]}…”): write it in others"
    return (
        f"{beginning}: the reference of {counted(len(rows), 'image')} has words that the tokenizer lacks "
        f"({some(table.ids[row] for row in rows)}; “{texts[rows[0]][:60]}…”): leave them out by list in [data]"
    )
