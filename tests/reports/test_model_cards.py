"""Model cards: metadata that the Hub's own reader takes, with the results' numbers, and hostile names as text."""

import json
import re
from dataclasses import replace
from pathlib import Path

import pytest
import yaml

from cxrobust.reports.model_cards import file_names, model_card, write_model_cards
from cxrobust.reports.view import View

from .made import CLEAN_ONLY, Made, results

MADE = results(Made(n_regimes=3, n_findings=2, n_severities=1, one_class=False, few=False))


def eval_results(card):
    hub = pytest.importorskip("huggingface_hub")
    return {(one.dataset_config, one.metric_type): one for one in hub.ModelCard(card).data.eval_results}


def test_the_hub_reads_every_estimate_of_a_card() -> None:
    found = eval_results(model_card(View.of(MADE, images=None), "lora"))
    values = MADE.find(estimand="value", regime="lora", finding="macro")
    assert len(found) == len(values) > 20
    for estimate in values:
        one = found[estimate.condition, estimate.metric]
        assert one.metric_value == estimate.estimate
        assert one.metric_args["ci_low"] == estimate.ci_low
        assert one.metric_args["ci_high"] == estimate.ci_high
        low, high = re.search(r"95% CI, (\S+) to ([\d.]+)", one.metric_name.replace("−", "-")).groups()
        assert float(low) == pytest.approx(estimate.ci_low, abs=0.0005)
        assert float(high) == pytest.approx(estimate.ci_high, abs=0.0005)
        assert one.dataset_name == MADE.data["name"]


def test_a_card_says_how_its_regime_compares_and_no_more() -> None:
    view = View.of(MADE, images=None)
    card = model_card(view, "lora")
    assert "Compared with that, lora lost" in card
    assert "linear-probe lost" not in card
    assert "One training run." in card
    assert "Compared with that" not in model_card(view, "supervised")


@pytest.mark.parametrize(
    ("data", "split"),
    [
        ({"kind": "chexpert", "split": "valid"}, "valid"),
        ({"kind": "nih-chestxray14", "labeler": "nih", "split": None}, None),
        ({"kind": "nih-chestxray14", "labeler": "google2019", "split": None}, "test"),
        ({"kind": "nih-chestxray14", "labeler": "google2019", "split": None, "list": "mine.txt"}, None),
        ({"kind": "folder", "split": "test", "split_column": None}, None),
        ({"kind": "folder", "split": "test", "split_column": "fold"}, "test"),
        ({"kind": "pooled", "members": {"a": {"kind": "openi"}}}, None),
        ({}, None),
    ],
)
def test_a_card_names_the_split_only_where_the_data_settings_do(data: dict[str, object], split: str | None) -> None:
    view = View.of(replace(MADE, study={**MADE.study, "data": data}), images=None)
    assert {one.dataset_split for one in eval_results(model_card(view, "lora")).values()} == {split}


def test_a_card_of_data_without_patients_counts_none() -> None:
    view = View.of(replace(MADE, data={**MADE.data, "patients_known": "none"}), images=None)
    card = model_card(view, "lora")
    assert re.search(r"on 22,433\simages of NIH", card)
    assert "intervals. Where the data name no patients, each image counts as a patient." in card
    assert "n_patients" not in card
    usual = model_card(View.of(MADE, images=None), "lora")
    assert re.search(r"on 22,433\simages of 6,187\spatients of NIH", usual)
    assert '"n_patients": 6187' in usual


def test_a_study_of_clean_images_has_cards_too(tmp_path: Path) -> None:
    made = results(CLEAN_ONLY)
    folder = write_model_cards(View.of(made, images=None), tmp_path)
    assert {path.name for path in folder.iterdir()} == {"supervised.md", "linear-probe.md", "lora.md"}
    found = eval_results((folder / "lora.md").read_text(encoding="utf-8"))
    assert {condition for condition, _ in found} == {"clean"}


@pytest.mark.parametrize(
    "name", ['a: "b" # c', "--- \n---", "| <script> `x` **y**", "نموذج", "{{ 7 * 7 }}", "- x", "\x00\x07"]
)
def test_a_hostile_name_stays_text(name: str) -> None:
    content = json.dumps(MADE.study, ensure_ascii=False).replace("supervised", "base")
    regimes = tuple({**one, "name": name if one["name"] == "lora" else one["name"]} for one in MADE.regimes)
    estimates = tuple(replace(e, regime=name) if e.regime == "lora" else e for e in MADE.estimates)
    assert "base" in content
    view = View.of(replace(MADE, regimes=regimes, estimates=estimates), images=None)
    card = model_card(view, name)
    assert len(eval_results(card)) > 20
    assert "<script>" not in card.split("---\n", 2)[2].replace(r"\<script\>", "")
    assert "49" not in card.split("\n# ", 1)[1].splitlines()[0]


def test_files_of_names_that_look_alike_differ() -> None:
    assert len(set(file_names(("a b", "A-B", "a_b", "α", "β")).values())) == 5


def test_a_number_so_small_that_it_has_an_exponent_is_still_a_number() -> None:
    small = tuple(
        replace(one, estimate=5e-05, ci_low=1e-05) if (one.metric, one.estimand) == ("ece", "value") else one
        for one in MADE.estimates
    )
    card = model_card(View.of(replace(MADE, estimates=small), images=None), "lora")
    head = yaml.safe_load(card.split("---")[1])
    (ece,) = (one for one in head["model-index"][0]["results"][0]["metrics"] if one["type"] == "ece")
    assert (ece["value"], ece["args"]["ci_low"], ece["args"]["level"]) == (5e-05, 1e-05, 0.95)


def test_a_generator_of_reports_has_another_task_than_a_classifier() -> None:
    first, *others = MADE.regimes
    made = replace(MADE, regimes=({**first, "family": "generator"}, *others))
    for one, task in ((first, "image-to-text"), (others[0], "image-classification")):
        head = yaml.safe_load(model_card(View.of(made, images=None), one["name"]).split("---")[1])
        assert head["pipeline_tag"] == task
        assert {result["task"]["type"] for result in head["model-index"][0]["results"]} == {task}
