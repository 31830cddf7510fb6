"""Values of settings, as a table of a document has room for them."""

import json
import re
from collections.abc import Mapping
from typing import Any

from cxrobust.reports.words import shortened

MOST_TEXT = 160
"""Characters of a value that a table prints; all of it is in `results.json`."""
MOST_WORD = 16
"""Characters after which a word may be broken, so that it fits its column."""


def value_words(value: Any, *, most: int = MOST_TEXT) -> str:
    """Write a value for a reader: a hash by its beginning, a table as `name = lora; family = hf-classifier`."""
    if isinstance(value, Mapping):
        said = "; ".join(f"{name} = {value_words(one)}" for name, one in value.items() if one not in (None, "", [], {}))
        return shortened(said, most=most) or "empty"
    if isinstance(value, list | tuple):
        return shortened(", ".join(map(value_words, value)), most=most) or "none"
    if re.fullmatch("[0-9a-f]{64}", str(value)):
        return f"SHA-256 {value[:12]}…"
    return shortened(value if isinstance(value, str) else json.dumps(value), most=most)


def breakable(text: str) -> str:
    """Let a line break after marks within a word, and anywhere in a word that is long without any."""
    marked = re.sub(r"([._/=-])(?=\w)", "\\1\N{ZERO WIDTH SPACE}", text)
    return re.sub(rf"(\w{{{MOST_WORD}}})(?=\w)", "\\1\N{ZERO WIDTH SPACE}", marked)
