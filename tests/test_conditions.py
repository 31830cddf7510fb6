"""Conditions: what is written reads back, and what is no condition is refused."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cxrobust.conditions import CLEAN, Condition, format_eps, format_value, parse_condition, parse_number

plain = st.text("abcdefgh-_.", min_size=1, max_size=8)
values = st.text(
    st.characters(codec="ascii", exclude_characters='"', exclude_categories=["Cc"]), min_size=1, max_size=8
)


@given(st.floats(min_value=1e-7, max_value=1))
def test_a_written_size_reads_back(eps: float) -> None:
    assert parse_number(format_eps(eps)) == pytest.approx(eps, abs=1e-12)


@pytest.mark.parametrize(
    ("eps", "text"), [(16 / 255, "16/255"), (0.25 / 255, "0.25/255"), (123.4567 / 255, "123.4567/255")]
)
def test_sizes_are_written_as_papers_write_them(eps: float, text: str) -> None:
    assert format_eps(eps) == text


@given(plain, st.dictionaries(plain, values.filter(lambda text: text == text.strip()), max_size=3))
def test_a_written_condition_reads_back(name: str, parameters: dict[str, str]) -> None:
    written = Condition(name=name, parameters=tuple((key, format_value(value)) for key, value in parameters.items()))
    assert parse_condition(str(written)) == written


def test_spaces_are_no_part_of_a_condition() -> None:
    assert str(parse_condition(" pgd( eps = 4/255,steps=20 ) ")) == "pgd(eps=4/255, steps=20)"
    assert parse_condition("clean()") == CLEAN
    assert parse_condition("low dose").strength is None


def test_the_strength_is_what_a_series_leaves_out() -> None:
    one = parse_condition('pgd(eps=4/255, target="Mass, any", steps=20)')
    assert one.strength == pytest.approx(4 / 255)
    assert one.series == 'pgd(target="Mass, any", steps=20)'
    assert parse_condition("blur(severity=3)").strength == 3


@pytest.mark.parametrize(
    "text",
    ["", " ", "((", "a(b)", "a(b=)", "a(=1)", "a(eps=1", "a(eps=1/0)", "a(eps=x)", "a(eps=nan)", "a(eps=inf)",
     "a(eps=-1)", "a(eps=1/255, eps=2/255)", "a(eps=1/255, severity=2)"],
)  # fmt: skip
def test_what_is_no_condition_is_refused_with_its_text(text: str) -> None:
    with pytest.raises(ValueError, match="is not a condition") as caught:
        parse_condition(text)
    assert repr(text) in str(caught.value)


@given(st.text(max_size=30))
def test_any_text_is_a_condition_or_refused(text: str) -> None:
    try:
        read = parse_condition(text)
    except ValueError as error:
        assert "is not a condition" in str(error)  # noqa: PT017  hypothesis tries both ways
    else:
        assert parse_condition(str(read)) == read
