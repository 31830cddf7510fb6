import re
from dataclasses import replace
from importlib.resources import files
from pathlib import Path

import pytest

from cxrobust.reports import render
from cxrobust.reports.sections import sections
from cxrobust.reports.sections.collateral import aimed, sentence
from cxrobust.reports.sections.transfer import _cell, harm_of_others
from cxrobust.reports.view import View
from cxrobust.reports.words import plain as plain_words
from cxrobust.results import Results

from .made import TYPICAL, WHOLE, results
from .test_attack_checks import CHECK

AIMED = "pgd(eps=1/255, target=Effusion, steps=20)"


def made() -> Results:
    """Results whose primary attack aims at Effusion, and whose models were sent one another's images."""
    plain = results(TYPICAL)
    before = plain.primary_condition
    assert before is not None

    def renamed(condition: str) -> str:
        return condition.replace("(eps=", "(eps=").replace(", steps", ", target=Effusion, steps")

    names = [one["name"] for one in plain.regimes]
    return replace(
        plain,
        primary_condition=renamed(before),
        conditions=tuple(
            {
                **one,
                "name": renamed(one["name"]),
                "series": renamed(one["series"]).replace("pgd(steps", "pgd(target=Effusion, steps"),
            }
            for one in plain.conditions
        ),
        estimates=tuple(
            replace(one, condition=renamed(one.condition)) if one.condition else one for one in plain.estimates
        ),
        attack_checks=tuple(
            {
                **CHECK,
                "regime": name,
                "condition": renamed(before),
                "transferred": {other: 1.0 + 0.3 * place for place, other in enumerate(names) if other != name},
            }
            for name in names
        ),
        **{
            field: tuple(replace(one, condition=renamed(one.condition)) for one in getattr(plain, field))
            for field in ("reliability", "confidence", "flips")
        },
    )


def test_harm_is_over_that_of_ones_own_images() -> None:
    assert harm_of_others({"clean": 1.0, "attacked": 3.0, "transferred": {"a": 2.0, "b": None}}) == {
        "a": 0.5,
        "b": None,
    }
    assert harm_of_others({"clean": 1.0, "attacked": 1.0, "transferred": {"a": 2.0}}) == {"a": None}


def test_the_ground_of_harms_that_are_told_apart_is_as_dark_as_they_are_large() -> None:
    shades = [_cell(False, share).shade for share in (-0.2, 0.04, 0.3, 0.71, 0.85, 0.99, 1.3)]
    assert shades == [0, 0, 3, 7, 8, 10, 10]
    style = (files("cxrobust") / "templates" / "report.css").read_text(encoding="utf-8")
    opacity = {
        int(k): float(a) for k, a in re.findall(r"\.shade-(\d+) \{ background: rgba\(128, 128, 128, (\.\d+)\)", style)
    }
    assert opacity == pytest.approx({k: 0.05 * k for k in range(1, 11)})


def test_attacks_that_aim_at_one_finding_are_found_by_their_condition() -> None:
    view = View.of(made(), images=None)
    assert set(aimed(view).values()) == {"Effusion"}
    assert aimed(View.of(results(TYPICAL), images=None)) == {}


def test_the_sentence_counts_other_findings_whose_interval_leaves_out_no_change() -> None:
    view = View.of(made(), images=None)
    (condition,) = aimed(view)
    said = sentence(view, view.metrics[0], condition, "Effusion")
    others = [finding["name"] for finding in view.findings if finding["name"] != "Effusion"]
    for name in view.regimes:
        changes = [view.change(view.metrics[0], name, condition, finding) for finding in others]
        apart = sum(
            one is not None and one.ci_low is not None and (one.ci_low > 0 or one.ci_high < 0) for one in changes
        )
        assert f"{apart} with \ue000{name}\ue001" in said
    assert said.startswith(
        f"The interval of the change leaves out 0 for this many of {len(others)}\N{NO-BREAK SPACE}other findings: "
    )


@pytest.mark.parametrize("with_them", [True, False])
def test_sections_stand_where_there_are_data(with_them: bool, tmp_path: Path, drawn: Path) -> None:
    found = made() if with_them else results(TYPICAL)
    written = render(found, formats=("html",), out=tmp_path, images=None, keep=drawn)
    text = next(path for path in written if path.name == "report.html").read_text(encoding="utf-8")
    assert ("Transfer between regimes" in text) == with_them
    assert ("Change of each finding under an attack on Effusion" in text) == with_them


def transferred(losses: dict[str, dict[str, float | None]]) -> Results:
    """Results whose models lost 1 on clean images, 2 on their own attacked ones and so much on those of others."""
    plain = results(TYPICAL)
    checks = tuple(
        {**CHECK, "regime": name, "clean": 1.0, "attacked": 2.0, "transferred": row} for name, row in losses.items()
    )
    return replace(plain, attack_checks=checks)


@pytest.mark.parametrize(
    ("losses", "most", "immune"),
    [
        (
            {"supervised": {"lora": 1.25}, "lora": {"supervised": 1.8}},
            "Most harm is done by images made on supervised to lora: 0.80 times that of its own images.",
            "",
        ),
        (
            {"supervised": {"lora": 2.5}, "lora": {"supervised": 1.04}},
            "Most harm is done by images made on lora to supervised: 1.50 times that of its own images.",
            "lora",
        ),
        (
            {"supervised": {"lora": None}, "lora": {"supervised": 0.9}},
            "",  # what helps a model does it no harm
            "lora",
        ),
    ],
)
def test_transfer_is_told_by_its_greatest_harm_and_by_whom_it_spares(
    losses: dict[str, dict[str, float | None]], most: str, immune: str
) -> None:
    values = sections["transfer"].build(View.of(transferred(losses), images=None))
    assert plain_words(values["most"] or "") == most
    assert plain_words(values["immune"]) == immune


def test_transfer_is_the_mean_over_the_runs_that_read() -> None:
    first = transferred({"supervised": {"lora": 1.2}, "lora": {"supervised": 1.4}})
    second = {**first.attack_checks[0], "replicate": 1, "transferred": {"lora": 1.8}}
    found = replace(first, attack_checks=(*first.attack_checks, second))
    values = sections["transfer"].build(View.of(found, images=None))
    assert (
        plain_words(values["most"])
        == "Most harm is done by images made on lora to supervised: 0.50 times that of its own images."
    )
    assert values["several_runs"]
    lost = {**second, "transferred": {"lora": None}}
    values = sections["transfer"].build(
        View.of(replace(first, attack_checks=(*first.attack_checks, lost)), images=None)
    )
    assert "supervised to lora: 0.40" in plain_words(values["most"])
    assert not sections["transfer"].build(View.of(first, images=None))["several_runs"]


def test_the_mean_of_the_others_stands_in_the_table_where_there_is_one(tmp_path: Path, drawn: Path) -> None:
    plain = made()
    view = View.of(plain, images=None)
    mean = replace(
        next(
            one
            for one in plain.estimates
            if (one.estimand, one.metric, one.finding) == ("perturbed-clean", view.metrics[0], "macro")
            and one.condition in aimed(view)
        ),
        finding="others",
    )
    for found, there in ((replace(plain, estimates=(*plain.estimates, mean)), True), (plain, False)):
        written = {path.name: path for path in render(found, formats=("html",), out=tmp_path, images=None, keep=drawn)}
        assert ("mean of the others" in written["report.html"].read_text(encoding="utf-8").lower()) == there


def test_twelve_regimes_stand_in_several_tables_none_left_out() -> None:
    view = View.of(results(replace(WHOLE, n_findings=3)), images=None)
    matrices = sections["transfer"].build(view)["matrices"]
    pairs = [
        (plain_words(group.head), plain_words(column.title), cell.text)
        for table in matrices
        for group in table.groups
        for column, cell in zip(table.columns[1:], group.rows[0], strict=True)
    ]
    checks = {one["regime"]: harm_of_others(one) for one in view.results.attack_checks}
    expected = {
        (read, made): "1" if read == made else f"{checks[read][made]:.2f}" for read in checks for made in checks
    }
    assert len(pairs) == len(expected) == 144
    assert {(read, made): text for read, made, text in pairs} == expected
    (parts,) = sections["collateral"].build(view)["tables"]
    heads = [plain_words(column.title) for table in parts for column in table.columns[1:]]
    assert heads == list(view.regimes)
    assert {table.n_rows for table in parts} == {3}
