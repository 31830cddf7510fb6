"""What the metadata say of images and patients: the rows of a Table 1."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from cxrobust.blanks import told
from cxrobust.predictions import PredictionSet

USUAL = ("age", "sex", "view")
"""Columns that data sets bring under these names."""
MOST_LEVELS = 12
"""Distinct values up to which a column is a category."""


def characteristics(predictions: PredictionSet, columns: Sequence[str]) -> list[dict[str, Any]]:
    """Summarise age, sex and view, and the columns of the study's subgroups, as far as the metadata have them.

    Returns
    -------
    list of dict
        `column`, and `images` and `patients` with a summary each; that of patients is of each one's first image. A
        summary of numbers has `n_missing` and `quartiles` (None where all are missing), one of categories `n_missing`
        and `levels` {value: count}.
    """
    metadata = predictions.metadata
    wanted = [name for name in dict.fromkeys((*USUAL, *columns)) if name in metadata]
    first = np.unique(predictions.patients, return_index=True)[1]
    found = []
    for name in wanted:
        values = metadata[name].reset_index(drop=True)
        is_number, is_category = _is_number(values), _present(values).nunique() <= MOST_LEVELS
        if is_number or is_category:
            summary = _of_numbers if is_number else _of_categories
            found.append({"column": name, "images": summary(values), "patients": summary(values.iloc[first])})
    return found


def _present(values: "pd.Series[Any]") -> "pd.Series[str]":
    return told(values).dropna()


def _is_number(values: "pd.Series[Any]") -> bool:
    """Whether a column holds numbers; two distinct ones are a category, as sex may be 0 and 1."""
    present = _present(values)
    return present.nunique() > 2 and bool(pd.to_numeric(present, errors="coerce").notna().all())


def _of_numbers(values: "pd.Series[Any]") -> dict[str, Any]:
    numbers = pd.to_numeric(_present(values)).to_numpy(dtype=np.float64)
    quartiles = [float(q) for q in np.quantile(numbers, (0.25, 0.5, 0.75))] if len(numbers) else None
    return {"n_missing": len(values) - len(numbers), "quartiles": quartiles}


def _of_categories(values: "pd.Series[Any]") -> dict[str, Any]:
    present = _present(values)
    counts = present.value_counts()
    levels = {str(level): int(counts[level]) for level in sorted(counts.index, key=str)}
    return {"n_missing": len(values) - len(present), "levels": levels}
