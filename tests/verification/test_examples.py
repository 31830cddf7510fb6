"""What is said of example images is held against the predictions, run by run and to the last digit."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from cxrobust.predictions import UnitPredictions, write_unit
from cxrobust.verification.examples import differing_examples

PROBABILITIES = {("a", 0, "clean"): 0.3, ("a", 1, "clean"): 0.4, ("a", 0, "blur(severity=1)"): 0.1 + 0.2}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Predictions of two training runs on images `one` (Effusion) and `two`."""
    units = []
    for place, ((regime, replicate, condition), p) in enumerate(PROBABILITIES.items()):
        write_unit(
            UnitPredictions(
                regime=regime,
                replicate=replicate,
                condition=condition,
                key="k",
                image_ids=("one", "two"),
                patients=("p", "q"),
                findings=("Effusion", "Mass"),
                labels=np.array([[1, 0], [-1, 0]], dtype=np.int8),
                probabilities=np.array([[p, 0.7], [0.5, 0.6]]),
                logits=None,
            ),
            tmp_path / f"{place}.parquet",
        )
        units.append({"file": f"{place}.parquet", "regime": regime, "replicate": replicate, "condition": condition})
    (tmp_path / "index.json").write_text(json.dumps({"units": units[::-1]}))
    return tmp_path


def example(p: float | None = 0.3, **changed: Any) -> Mapping[str, Any]:
    return {
        "image": "one",
        "regime": "a",
        "condition": "clean",
        "findings": ["Effusion"],
        "probabilities": {} if p is None else {"Effusion": p, "Mass": 0.7},
        **changed,
    }


SHEET = example(None, regime=None)


@pytest.mark.parametrize(
    "examples",
    [
        [SHEET],
        [example(None, regime=None, condition="contrast(severity=1)")],
        [example(), example(0.1 + 0.2, condition="blur(severity=1)"), example(0.4)],
        [example(image="two", findings=[], probabilities={"Effusion": 0.5, "Mass": 0.6})],
    ],
    ids=["sheet", "corruption", "runs", "missing-label"],
)
def test_copies_agree(examples: list[Mapping[str, Any]], folder: Path) -> None:
    assert differing_examples(examples, folder) == ()


@pytest.mark.parametrize(
    ("examples", "said"),
    [
        ([example(0.3000000001)], "image one, a, clean, Effusion: probability 0.3000000001, the predictions hold 0.3"),
        ([example(0.4), example(0.3)], "Effusion: probability 0.4, the predictions hold 0.3"),
        ([example(None)], "Mass: probability none, the predictions hold 0.7"),
        ([example(0.3, regime=None)], "Effusion: probability 0.3, the predictions hold none"),
        ([example(findings=["Mass"])], "findings: Mass, the predictions hold Effusion"),
        ([example(image="three")], "image three, a, clean: the predictions hold no such image"),
        ([example(condition="pgd(eps=1/255)")], "the predictions hold no such image"),
        ([example(), example(0.4), example()], "the predictions hold it no more often"),
        ([example(image=["one"], probabilities=1, findings=None)], "the predictions hold no such image"),
    ],
)
def test_what_differs_is_named(examples: list[Mapping[str, Any]], said: str, folder: Path) -> None:
    assert any(said in one for one in differing_examples(examples, folder))
