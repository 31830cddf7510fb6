"""What a Table 1 says of images and patients, against counts by hand."""

from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd

from cxrobust.characteristics import characteristics


def of(columns: dict[str, list[Any]], patients: list[int]) -> Any:
    return SimpleNamespace(metadata=pd.DataFrame(columns), patients=np.array(patients))


def test_patients_are_described_by_their_first_image():
    made = of({"age": [40.0, 41.0, None, 60.0, 70.0], "sex": ["F", "F", "M", " ", "M"]}, [0, 0, 1, 2, 3])
    age, sex = characteristics(made, [])
    assert age["images"] == {"n_missing": 1, "quartiles": [40.75, 50.5, 62.5]}
    assert age["patients"] == {"n_missing": 1, "quartiles": [50.0, 60.0, 65.0]}
    assert sex["images"] == {"n_missing": 1, "levels": {"F": 2, "M": 2}}
    assert sex["patients"] == {"n_missing": 1, "levels": {"F": 1, "M": 2}}


def test_two_numbers_are_a_category_and_a_column_of_names_is_left_out():
    made = of({"site": [0, 1, 1], "operator": ["a", "b", "c"]}, [0, 1, 2])
    (site,) = characteristics(made, ["site"])
    assert site["images"]["levels"] == {"0": 1, "1": 2}
    many = of({"scanner": [f"number {k}" for k in range(13)]}, list(range(13)))
    assert characteristics(many, ["scanner"]) == []
    assert characteristics(many, []) == []


def test_words_that_say_nothing_are_missing():
    age, view = characteristics(
        of({"age": ["40", "NA", "60", "50"], "view": ["n/a", "AP", "null", "PA"]}, [0, 1, 2, 2]), []
    )
    assert age["images"] == {"n_missing": 1, "quartiles": [45.0, 50.0, 55.0]}
    assert view["images"] == {"n_missing": 2, "levels": {"AP": 1, "PA": 1}}
    assert view["patients"] == {"n_missing": 2, "levels": {"AP": 1}}


def test_a_column_without_any_value_is_missing_for_all():
    (age,) = characteristics(of({"age": [None, None]}, [0, 1]), [])
    assert age["images"] == {"n_missing": 2, "levels": {}}
