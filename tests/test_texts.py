"""Many texts in one array are the sequence that a tuple of them is."""

import numpy as np
import pandas as pd
import pytest

from cxrobust.texts import Texts

RNG = np.random.default_rng(1)
MANY = tuple(f"{number:x}-é" for number in RNG.integers(0, 5000, 10_000))
ODD = ("", "name that is no UTF-8 \udc80", "\ud800", "日本", "a\0b")


@pytest.mark.parametrize("texts", [(), ODD, MANY], ids=["none", "odd", "many"])
def test_texts_against_a_tuple(texts: tuple[str, ...]) -> None:
    kept = Texts(one for one in texts)
    assert kept == texts
    assert (len(kept), hash(kept), tuple(kept), tuple(reversed(kept))) == (len(texts), hash(texts), texts, texts[::-1])
    assert kept[1:-1] == texts[1:-1]
    assert [kept[row] for row in range(-len(texts), len(texts))] == [*texts, *texts]
    assert kept != (*texts, "one more")
    if texts:
        assert (kept[np.intp(2)], kept.index(texts[2]), texts[2] in kept) == (texts[2], texts.index(texts[2]), True)
        assert kept != (*texts[:-1], "another")


@pytest.mark.parametrize("dtype", ["str", object])
def test_texts_of_a_column_and_back(dtype: object) -> None:
    column = pd.concat([pd.Series(MANY[:7], dtype=dtype), pd.Series(MANY[7:], dtype=dtype)])
    assert Texts(column) == MANY
    assert Texts(column[column.str.startswith("1")]) == tuple(one for one in MANY if one.startswith("1"))
    assert Texts(MANY).series().tolist() == list(MANY)


def test_repeated_texts_against_counting() -> None:
    counts = pd.Series(MANY).value_counts()
    assert len(counts) < len(MANY)
    assert sorted(Texts(MANY).repeated) == sorted(counts.index[counts > 1])
    assert Texts(dict.fromkeys(MANY)).repeated == ()


def test_texts_are_no_single_text() -> None:
    assert Texts(["a", "b"]) != "ab"
    assert Texts(["a", "b"]) == ["a", "b"]
