import itertools
from dataclasses import replace
from pathlib import Path

import pytest

from cxrobust.reports import render
from cxrobust.reports.sections.attack_checks import (
    FAIL,
    PASS,
    WARN,
    largest_rise,
    measures,
    sentences,
    unchecked,
    verdict,
)
from cxrobust.reports.view import View

from .made import TYPICAL, results

CHECK = {
    "replicate": 0,
    "condition": "pgd(eps=1/255, steps=20)",
    "n_images": 32,
    "clean": 1.0,
    "attacked": 3.0,
    "noise": 1.2,
    "longer": 3.06,
    "square": 2.5,
    "unbounded_wrong": 1.0,
    "without_gradient": 0.0,
    "transferred": {"lora": 2.0, "adversarial": 1.5},
}


def test_measures_are_shares_of_the_attacks_own_harm() -> None:
    assert measures({**CHECK, "regime": "supervised"}) == pytest.approx(
        {"gradients": 0.0, "noise": 0.1, "longer": 0.03, "square": 0.75, "transfer": 0.5, "unbounded": 0.0}
    )


def test_an_attack_without_harm_has_no_shares_of_it() -> None:
    found = measures({**CHECK, "regime": "a", "attacked": 0.9})
    assert found["noise"] is found["square"] is found["transfer"] is found["longer"] is None
    assert measures({**CHECK, "regime": "a", "noise": None})["noise"] is None


@pytest.mark.parametrize(
    ("key", "value", "expected"),
    [
        ("noise", 0.25, PASS),
        ("noise", 0.26, WARN),
        ("noise", 0.51, FAIL),
        ("longer", -0.01, PASS),
        ("longer", 0.3, FAIL),
        ("square", 1.02, WARN),
        ("gradients", 0.01, WARN),
        ("unbounded", 0.2, FAIL),
        ("transfer", None, ""),
    ],
)
def test_verdicts(key: str, value: float | None, expected: str) -> None:
    assert verdict(key, value) == expected


def test_sentences_name_who_fails_and_what_that_means() -> None:
    numbers = {"a": {"noise": 0.1, "square": 1.5}, "b": {"noise": 0.3, "square": 0.5}}
    said = " ".join(sentences(numbers, ["noise", "square"]))
    assert "Of 4\N{NO-BREAK SPACE}checks, 2 passed." in said
    assert "“No gradients used” fails for" in said
    assert "“Noise” warns for" in said
    assert "may be less robust" in said
    alone = sentences({"a": {"noise": 0.1}}, ["noise"])
    assert alone == ["Of 1\N{NO-BREAK SPACE}check, 1 passed."]


def test_a_rise_from_one_strength_to_the_next_is_in_the_metrics_better_direction() -> None:
    view = View.of(results(TYPICAL), images=None)
    check = {**CHECK, "regime": "lora", "condition": view.primary}
    series = next(one for one in view.series if view.primary in one.conditions)
    values = [view.value(view.metrics[0], "lora", condition).estimate for condition in series.conditions]
    expected = max(max(after - before, 0) for before, after in itertools.pairwise(values))
    assert largest_rise(view, check) == pytest.approx(expected)


def test_both_sections_stand_in_report_and_appendix_where_there_are_checks(tmp_path: Path) -> None:
    made = results(TYPICAL)
    names = [one["name"] for one in made.regimes]
    checks = tuple(
        {**CHECK, "regime": name, "condition": made.primary_condition, "transferred": dict.fromkeys(names, 2.0)}
        for name in names
    )
    with_checks = replace(made, attack_checks=checks)
    for found, there in ((with_checks, True), (made, False)):
        written = {path.name: path for path in render(found, formats=("html",), out=tmp_path, images=None)}
        for name in ("report.html", "appendix.html"):
            text = written[name].read_text(encoding="utf-8")
            assert ('id="attack_checks"' in text) == there
            assert ('id="transfer"' in text) == there


def test_regimes_that_were_not_checked_are_named_with_the_reason(tmp_path: Path) -> None:
    made = results(TYPICAL)
    first, second, *rest = made.regimes
    regimes = (
        {**first, "settings": [{"cross_fit": "fold"}]},
        {**second, "family": "elsewhere"},
        *rest,
    )
    checks = tuple({**CHECK, "regime": one["name"], "condition": made.primary_condition} for one in rest)
    said = unchecked(View.of(replace(made, regimes=regimes, attack_checks=checks), images=None))
    assert said.startswith("Not checked: ")
    assert "(none of the images that attacks are checked on is of its folds); " in said
    assert said.endswith("(predictions made elsewhere bring no model).")
    study = {**made.study, "report": {**made.study["report"], "attack_checks": 32}}
    alone = replace(made, regimes=(regimes[0], *rest), attack_checks=(), study=study)
    path = next(one for one in render(alone, formats=("html",), out=tmp_path, images=None) if one.name == "report.html")
    assert "no attack of the study takes steps within a distance" in path.read_text(encoding="utf-8")
