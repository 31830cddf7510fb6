"""Texts in CSV that a spreadsheet would take for formulas: an apostrophe stands before them, and is taken off again."""

import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pandas as pd

_FIRST = frozenset("'=+-@\t\r")
_FORMULA = re.compile(r"'*[=+\-@\t\r]")
_GUARDED = re.compile(r"'+[=+\-@\t\r]")
_NUMBER = re.compile(r"[+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?", re.ASCII)


def guarded(text: str) -> str:
    """Return a text with an apostrophe before it where a spreadsheet would take it for a formula; `bare` undoes it.

    A number is none. A text that begins as a guarded one does gets one more apostrophe, so that nothing is lost.

    >>> [guarded(one) for one in ("=A", "-5", "- Edema.", "'=A", "5'")]
    ["'=A", '-5', "'- Edema.", "''=A", "5'"]
    """
    if text[:1] not in _FIRST:
        return text
    return f"'{text}" if _FORMULA.match(text) and not _NUMBER.fullmatch(text) else text


def bare(text: str) -> str:
    """Return a text without the apostrophe that guards it.

    >>> [bare(one) for one in ("'=A", "-5", "'- Edema.", "''=A", "'tis")]
    ['=A', '-5', '- Edema.', "'=A", "'tis"]
    """
    return text[1:] if _GUARDED.match(text) else text


def bare_cells(frame: "pd.DataFrame") -> "pd.DataFrame":
    """Return a table that was read from CSV with each text as `bare` gives it."""
    texts = {column: frame[column].astype(str) for column in frame.columns if frame[column].dtype.kind == "O"}
    changed = {
        column: frame[column].map(lambda one: bare(one) if isinstance(one, str) else one)
        for column, values in texts.items()
        if values.str.startswith("'").any()
    }
    return frame.assign(**changed) if changed else frame
