"""What a cell of a table holds that says nothing, of labels as of metadata."""

from typing import Any

import pandas as pd

BLANK = ("", "nan", "na", "n/a", "null")
"""Without outer spaces and in small letters."""


def told(values: "pd.Series[Any]") -> "pd.Series[str]":
    """Return values as texts without outer spaces, and NA where they say nothing.

    Examples
    --------
    >>> told(pd.Series([" AP", "n/a", "", None, 40])).fillna("-").tolist()
    ['AP', '-', '-', '-', '40']
    """
    texts = values.astype("string").str.strip()
    return texts.mask(texts.str.casefold().isin(BLANK))
