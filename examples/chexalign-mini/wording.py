"""Count reports whose wording is broken, by regime and condition.

python examples/chexalign-mini/wording.py
"""

import re
from pathlib import Path

import pandas as pd

from cxrobust.errors import DataError
from cxrobust.predictions.loading import load_predictions
from cxrobust.predictions.records import PredictionSet

HERE = Path(__file__).parent
REPEATED = re.compile(r"\b(\w+(?: \w+){0,5}) \1 \1\b")
HEADLESS = re.compile(r"(?:^|\. )[a-z]")


def broken(text: str) -> bool:
    """Return whether one to six words stand three times in a row, or a sentence misses its beginning or its end.

    Examples
    --------
    >>> broken("The lungs are clear are clear are clear."), broken("lungs. No edema."), broken("No")
    (True, True, True)
    >>> broken("The lungs are clear. No edema.")
    False
    """
    return bool(REPEATED.search(text) or HEADLESS.search(text)) or not text.endswith(".")


def count(predictions: PredictionSet) -> pd.DataFrame:
    """Return how many reports are broken, a row for each condition and a column for each regime."""
    if predictions.reports is None:
        raise DataError("no regime writes reports")
    counts = [[sum(map(broken, texts)) for texts in of_member] for of_member in predictions.reports]
    return pd.DataFrame(counts, index=predictions.regimes, columns=predictions.conditions).T


if __name__ == "__main__":
    found = load_predictions(HERE / "out" / "predictions")
    print(f"broken reports of {len(found.image_ids)}")
    print(count(found).to_string())
