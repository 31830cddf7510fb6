"""Inputs and R's values: reference/make.R made both."""

import json
from pathlib import Path

import pandas as pd
import pytest

REFERENCE = Path(__file__).parent / "reference"


@pytest.fixture(scope="session")
def data():
    """99 images of 30 patients: labels, four scores, three binary outcomes, and differences with ties and zeros."""
    return pd.read_csv(REFERENCE / "inputs.csv")


@pytest.fixture(scope="session")
def r():
    """R's value of each quantity."""
    return json.loads((REFERENCE / "values.json").read_text(encoding="utf-8"))
