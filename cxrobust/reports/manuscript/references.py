"""The works cited as BibTeX."""

import re
from collections.abc import Iterable

from cxrobust.reports.bibliography import Citations
from cxrobust.reports.manuscript.latex import escape

VERBATIM = frozenset({"doi", "url", "eprint"})
"""Fields that styles print by commands of their own, which want them as they are."""


def references_bib(citations: Citations, keys: Iterable[str]) -> str:
    """Return the entries of some works, in the order of their keys."""
    return "\n".join(_entry(citations, key) for key in sorted(set(keys)))


def _entry(citations: Citations, key: str) -> str:
    work = citations.known(key)
    lines = [f"  {name} = {{{_value(name, text)}}}" for name, text in work.fields.items()]
    return f"@{work.kind}{{{key},\n" + ",\n".join(lines) + "\n}\n"


def _value(name: str, text: str) -> str:
    if name in VERBATIM:
        return re.sub(r"[{}\\%\s]", "", text)
    return f"{{{escape(text)}}}" if name in {"title", "note"} else escape(text)
