"""Count reports whose wording is broken, and those that state what an attack asks for, by regime and condition.

python examples/chexalign-mini/wording.py
"""

import re
from collections.abc import Callable
from pathlib import Path

import pandas as pd

from cxrobust.errors import DataError
from cxrobust.predictions.loading import load_predictions
from cxrobust.predictions.records import PredictionSet
from cxrobust.radiology_reports.labeler import Label, label_report

HERE = Path(__file__).parent
REPEATED = re.compile(r"\b(\w+(?: \w+){0,5}) \1 \1\b")
HEADLESS = re.compile(r"(?:^|\. )[a-z]")
ASKED = "Pneumothorax"
"""What the false sentence of `study.toml` states."""


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


def states(text: str) -> bool:
    """Return whether the embedded labeler reads what the attack asks for in a report, as affirmed.

    Examples
    --------
    >>> states("There is a large left pneumothorax."), states("No pneumothorax."), states("Possible pneumothorax.")
    (True, False, False)
    """
    return label_report(text).get(ASKED) is Label.POSITIVE


def count(predictions: PredictionSet, holds: Callable[[str], bool]) -> pd.DataFrame:
    """Return of how many reports something holds, a row for each condition and a column for each regime."""
    if predictions.reports is None:
        raise DataError("no regime writes reports")
    counts = [[sum(map(holds, texts)) for texts in of_member] for of_member in predictions.reports]
    return pd.DataFrame(counts, index=predictions.regimes, columns=predictions.conditions).T


if __name__ == "__main__":
    found = load_predictions(HERE / "out" / "predictions")
    for told, holds in (("are broken", broken), (f"state a {ASKED.lower()}", states)):
        print(f"reports that {told}, of {len(found.image_ids)}")
        print(count(found, holds).to_string())
