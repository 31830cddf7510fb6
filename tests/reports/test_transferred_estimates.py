"""The matrices of attacks that the study makes on one regime for all: which strength, which numbers, what is said."""

import csv
import re
from dataclasses import replace
from pathlib import Path

import pytest

from cxrobust import pipeline
from cxrobust.reports.manuscript.tables import csv_of
from cxrobust.reports.sections import sections, transfer
from cxrobust.reports.sections.transfer import sentence, transferred
from cxrobust.reports.view import View
from cxrobust.reports.words import plain
from cxrobust.results import Results
from cxrobust.study import read_study
from cxrobust.verification import verify

from ..inference.tiny import write_study
from .made import TYPICAL, results

PLAIN = replace(TYPICAL, n_regimes=3)
WEAKER, PRIMARY, STRONGEST = (f"pgd(eps={eps}/255, steps=20)" for eps in ("0.5", "1", "4"))


def made_on(attack: str, source: str) -> str:
    return attack.replace(", steps", f", made_on={source}, steps")


def with_transferred(*made: tuple[str, str], without: tuple[str, ...] = ()) -> Results:
    """Results that also hold attacks made on a source: by what is read there half the harm, and none by the last regime."""
    found = results(PLAIN)
    conditions = [one for one in found.conditions if one["name"] not in without]
    estimates = [one for one in found.estimates if one.condition not in without]
    for attack, source in made:
        name = made_on(attack, source)
        template = next(one for one in found.conditions if one["name"] == attack)
        conditions.append({**template, "name": name, "series": f"pgd(made_on={source}, steps=20)"})
        for one in found.estimates:
            if one.condition == attack and one.estimand in {"value", "perturbed-clean"} and one.estimate is not None:
                share = 1.0 if one.regime == source else 0.0 if one.regime == PLAIN.regimes[-1] else 0.5
                value = one.estimate * share if one.estimand == "perturbed-clean" else one.estimate
                estimates.append(
                    replace(one, condition=name, estimate=value, ci_low=value - 0.01, ci_high=value + 0.01)
                )
    return replace(found, conditions=tuple(conditions), estimates=tuple(estimates))


def test_the_strength_is_that_of_most_sources_then_the_primary_then_the_greatest() -> None:
    def chosen(*made: tuple[str, str]) -> list[str]:
        return [one.attack for one in transferred(View.of(with_transferred(*made), images=None))]

    assert chosen() == []
    assert chosen((WEAKER, "lora"), (STRONGEST, "lora")) == [STRONGEST]
    assert chosen((WEAKER, "lora"), (PRIMARY, "lora"), (STRONGEST, "lora")) == [PRIMARY]
    assert chosen((WEAKER, "lora"), (WEAKER, "supervised"), (PRIMARY, "lora")) == [WEAKER]
    assert chosen((WEAKER, "no-regime")) == []


@pytest.mark.parametrize("with_own", [True, False])
def test_every_cell_is_the_estimate_of_who_reads_and_whose_images(with_own: bool) -> None:
    every = [(STRONGEST, name) for name in PLAIN.regimes]
    view = View.of(with_transferred(*every, without=() if with_own else (STRONGEST,)), images=None)
    ((table,),) = sections["transfer"].build(view)["tables"]
    rows = list(csv.DictReader(csv_of(table).splitlines()))
    assert [row["Quantity"] for row in rows] == ["AUROC", "change"] * 3
    for k, read in enumerate(PLAIN.regimes):
        for made in PLAIN.regimes:
            own = read == made and with_own
            condition = STRONGEST if own else made_on(STRONGEST, made)
            for row, estimand in ((rows[2 * k], "value"), (rows[2 * k + 1], "perturbed-clean")):
                (expected,) = view.results.find(
                    estimand=estimand, metric="auroc", regime=read, condition=condition, finding="macro"
                )
                got = [float(row[name]) for name in (made, f"{made}, 95% CI, low", f"{made}, 95% CI, high")]
                wanted = [expected.estimate, expected.ci_low, expected.ci_high]
                assert got == pytest.approx(wanted, abs=0.0006), (read, made, estimand)
        (clean,) = view.results.find(estimand="value", metric="auroc", regime=read, condition="clean", finding="macro")
        assert float(rows[2 * k]["Clean"]) == pytest.approx(clean.estimate, abs=0.0006)
    assert "Itself" not in {column.title for column in table.columns}


def test_where_few_are_sources_a_column_holds_what_each_regime_reads_of_its_own() -> None:
    view = View.of(with_transferred((STRONGEST, "lora")), images=None)
    ((table,),) = sections["transfer"].build(view)["tables"]
    assert [plain(column.title) for column in table.columns] == ["Read by", "Quantity", "Clean", "Itself", "lora"]
    by_itself = [group.rows[1][2].text for group in table.groups]
    of_lora = [group.rows[1][3].text for group in table.groups]
    assert by_itself[2] == of_lora[2]
    assert by_itself[0] != of_lora[0]
    alone = View.of(with_transferred((STRONGEST, "lora"), without=(STRONGEST,)), images=None)
    ((table,),) = sections["transfer"].build(alone)["tables"]
    assert [plain(column.title) for column in table.columns][2:] == ["Clean", "lora"]


def test_sources_that_one_table_has_no_room_for_stand_in_another(monkeypatch: pytest.MonkeyPatch) -> None:
    view = View.of(with_transferred(*((STRONGEST, name) for name in PLAIN.regimes)), images=None)
    ((whole,),) = sections["transfer"].build(view)["tables"]
    monkeypatch.setattr(transfer, "MOST_ESTIMATED", 2)
    ((first, second),) = sections["transfer"].build(view)["tables"]
    assert (first.key, second.key) == ("transfer-estimates-1", "transfer-estimates-1-2")
    for place, group in enumerate(whole.groups):
        for row, cells in enumerate(group.rows):
            parts = [one.groups[place].rows[row] for one in (first, second)]
            assert parts[0] + parts[1][2:] == cells  # each with the quantity and the clean images


def test_the_sentence_counts_readings_by_other_models_alone() -> None:
    view = View.of(with_transferred(*((STRONGEST, name) for name in PLAIN.regimes)), images=None)
    (found,) = transferred(view)
    changes = {
        (read, made): view.change("auroc", read, made_on(STRONGEST, made)).estimate
        for read in PLAIN.regimes
        for made in PLAIN.regimes
        if read != made
    }
    (read, made), most = min(changes.items(), key=lambda item: item[1])
    said = plain(sentence(view, found)).replace("\N{NO-BREAK SPACE}", " ")
    assert said.startswith(
        "Of 6 readings by a model other than the one that images were made on, the interval of the change in macro "
        "AUROC lies below 0 in 4 and above 0 in none. The largest of these estimates is −"
    )
    assert (
        f"−{-most:.3f} (95% CI, −{-most + 0.01:.3f} to −{-most - 0.01:.3f}), of {read} on images made on {made}."
        in said
    )


def test_nothing_is_said_to_be_largest_where_no_interval_leaves_out_none() -> None:
    view = View.of(with_transferred((WEAKER, "lora")), images=None)
    (found,) = transferred(view)
    flat = replace(
        view.results,
        estimates=tuple(
            replace(one, ci_low=-1.0, ci_high=1.0) if "made_on" in one.condition else one
            for one in view.results.estimates
        ),
    )
    said = sentence(View.of(flat, images=None), found)
    assert said.endswith("lies below 0 in none and above 0 in none.")


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A study of two small networks whose images are also made on the second for both, analysed."""
    pytest.importorskip("torch")
    folder = tmp_path_factory.mktemp("transfer")
    path = write_study(folder, n_images=24)
    text = path.read_text()
    own = text[text.index("[[perturbations]]") : text.index("[analysis]")]
    pgd = '[[perturbations]]\nattack = "pgd"\neps = ["8/255"]\nsteps = 3\ncontrol = false\n'
    text = text.replace(own, f'{pgd}{pgd}made_on = "b"\n')
    text = text.replace("resamples = 200", 'resamples = 100\nmetrics = ["accuracy"]\nsensitivity_analyses = false')
    path.write_text(text.replace("example_images = 1", 'example_images = 0\nformats = ["pdf", "html"]'))
    pipeline.run(read_study(path), folder / "out")
    return folder / "out"


def test_a_study_prints_its_transferred_attacks_and_they_are_verified(run: Path) -> None:
    html = (run / "report.html").read_text(encoding="utf-8")
    section = html[html.index('id="transfer"') :]
    assert "on images made on other models." in section
    text = re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", section))
    assert (
        "Columns, the model that the images were made on; where a regime reads its own, and under “Itself”, the model that reads."
        in text
    )
    verdict = verify(run / "report.pdf", predictions=[run / "predictions"])
    assert verdict.agrees, verdict.text()
