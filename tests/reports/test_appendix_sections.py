"""The appendix's tables: every setting with its default, what is known of models, the flow and Table 1."""

import re
from dataclasses import replace
from typing import Any

import pytest

from cxrobust.reports.document import compose, section_bodies
from cxrobust.reports.parts import Table
from cxrobust.reports.sections import sections
from cxrobust.reports.view import View
from cxrobust.reports.words import interval, number, strength_words
from cxrobust.reports.words import plain as plain_words

from .made import LARGE, TYPICAL, results

BASE = results(TYPICAL)


def built(name: str, made: Any = BASE) -> Any:
    return sections[name].build(View.of(made, images=None))


def rows(table: Table) -> dict[tuple[str, str], tuple[str, ...]]:
    return {
        (group.head, row[0].text): tuple(cell.text for cell in row[1:]) for group in table.groups for row in group.rows
    }


def test_a_setting_stands_with_its_value_and_what_it_would_be_otherwise():
    analysis = {**BASE.study["analysis"], "resamples": 500, "most_undefined": 0.2, "test": "permutation"}
    made = replace(BASE, study={**BASE.study, "analysis": analysis}, study_text="[analysis]\nresamples = 500\n")
    found = rows(built("settings", made)["settings"])
    assert found["[analysis]", "resamples"] == ("500", "10000")
    assert found["[analysis]", "most_undefined"] == ("0.2", "default")
    assert found["[study]", "seed"] == ("2026", "")
    assert found["[data]", "size"] == ("224", "default")
    broken = replace(made, study_text="not [ TOML")
    assert rows(built("settings", broken)["settings"])["[analysis]", "resamples"] == ("500", "10000")


@pytest.mark.parametrize(("said", "default"), [("", "default"), ("attach_predictions = true", "not set")])
def test_a_setting_that_follows_from_others_is_a_default_unless_the_file_sets_it(said: str, default: str):
    report = {**BASE.study["report"], "attach_predictions": True}
    made = replace(BASE, study={**BASE.study, "report": report}, study_text=f"[report]\n{said}\n")
    assert rows(built("settings", made)["settings"])["[report]", "attach_predictions"] == ("yes", default)


def test_settings_of_scores_stand_among_the_settings():
    scores = {"bertscore": {"model": "bert", "layer": 9}}
    made = replace(BASE, study={**BASE.study, "scores": scores}, study_text='[scores.bertscore]\nmodel = "bert"\n')
    found = rows(built("settings", made)["settings"])
    assert found["[scores]", "bertscore.model"] == ("bert", "")
    assert found["[scores]", "bertscore.layer"] == ("9", "default")


def test_what_is_not_known_of_a_model_is_said():
    found = rows(built("models")["models"])
    head = built("models")["models"].groups[0].head
    assert found[head, "Parameters"] == ("not known",)
    assert found[head, "Tuned"] == ("not known",)


def test_what_training_json_says_is_told():
    said = {"tuned": "all weights", "network": "a small one", "epochs": 4, "learning_rate": 1e-4, "start": "the probe"}
    made = replace(BASE, regimes=({**BASE.regimes[0], "training": said}, *BASE.regimes[1:]))
    table = built("models", made)["models"]
    found = rows(table)
    head = table.groups[0].head
    assert found[head, "Network"] == ("a small one",)
    assert found[head, "Tuned"] == ("all weights",)
    told = found[head, "Training"][0].replace("\N{NO-BREAK SPACE}", " ")
    assert told == "epochs = 4; learning rate = 0.0001; start = the probe"


def test_what_is_known_of_an_adapter_is_told():
    known = {
        "architecture": "ViT",
        "n_parameters": 168135,
        "n_adapter_parameters": 6599,
        "adapter": {"peft_type": "LORA", "r": 8, "modules_to_save": ["classifier"]},
        "source": "hub",
        "commit": "abc",
        "settings": [{"model": "a/b", "revision": "main"}],
    }
    made = replace(BASE, regimes=({**BASE.regimes[0], **known}, *BASE.regimes[1:]))
    table = built("models", made)["models"]
    found = rows(table)
    head = table.groups[0].head
    assert found[head, "Parameters"] == ("168,135, and 6,599 in the adapter",)
    assert found[head, "Tuned"] == ("the adapter and classifier",)
    assert found[head, "Source"] == ("a/b, hub, revision main, commit abc",)


def test_spellings_that_count_are_told_with_the_space_that_they_begin_with():
    answers = {"yes": ["Yes", " yes"], "no": [" No"]}
    made = replace(BASE, regimes=({**BASE.regimes[0], "answers": answers}, *BASE.regimes[1:]))
    table = built("models", made)["models"]
    found = rows(table)
    assert found[table.groups[0].head, "Tokens that count"] == ("yes: “Yes”, “ yes”; no: “ No”",)
    assert (table.groups[1].head, "Tokens that count") not in found


@pytest.mark.parametrize(
    ("texts", "form", "told"),
    [
        (
            ["USER: <image>\nIs there {finding}?"],
            "template",
            "“USER: <image>\\nIs there {finding}?”, in the form of the processor’s chat template",
        ),
        (["<image>a", "<image>b"], "study", "“<image>a”; “<image>b”, in the form that the study file gives"),
        (
            ["<image>a"],
            "none",
            "“<image>a”, the image and then the text alone, since the processor has no chat template",
        ),
    ],
)
def test_the_text_that_a_model_is_given_with_the_image_is_quoted(texts, form, told):
    asked = {"texts": texts, "form": form}
    made = replace(BASE, regimes=({**BASE.regimes[0], "asked": asked}, *BASE.regimes[1:]))
    table = built("models", made)["models"]
    found = rows(table)
    assert found[table.groups[0].head, "Text with the image"] == (told,)
    assert (table.groups[1].head, "Text with the image") not in found


def test_resolution_within_the_graph_is_told_beside_that_of_the_perturbation():
    told = []
    for resolution in ([518, 518], [224, 224]):
        made = replace(BASE, regimes=({**BASE.regimes[0], "resolution": resolution}, *BASE.regimes[1:]))
        table = built("models", made)["models"]
        told += rows(table)[table.groups[0].head, "Resolution"]
    inside = "518 × 518 pixels, resized within the graph from 224 × 224, at which images are perturbed"
    assert told == [inside, "224 × 224 pixels"]


def test_a_normalisation_that_no_file_tells_is_named_in_the_models_table():
    assumed = "image_mean and image_std 0.5, since preprocessor_config.json is missing"
    made = replace(BASE, regimes=({**BASE.regimes[0], "assumed_normalisation": assumed}, *BASE.regimes[1:]))
    table = built("models", made)["models"]
    found = rows(table)
    assert found[table.groups[0].head, "Normalisation"] == (assumed,)
    assert (table.groups[1].head, "Normalisation") not in found


def test_every_parameter_of_a_perturbation_is_told_and_defaults_are_marked():
    parameters = {
        "eps": {"value": "1/255", "given": True},
        "steps": {"value": "20", "given": True},
        "random_start": {"value": "True", "given": False},
        "step_size": {"value": None, "given": False},
        "rungs": {"value": "", "given": True},
        "control": {"value": "True", "given": False},
    }
    changed = tuple(
        {**one, "parameters": parameters} if one["name"].startswith("pgd") else one for one in BASE.conditions
    )
    found = built("perturbations", replace(BASE, conditions=changed))
    (pgd,) = (row for group in found["perturbations"].groups for row in group.rows if row[0].text == "attack")
    assert pgd[3].text.replace("\N{NO-BREAK SPACE}", " ") == "steps = 20, random start = yes*"
    assert found["has_defaults"]


def test_the_flow_adds_up_and_table_1_counts_patients_of_their_own():
    found = built("participants")
    alt = found["flow"].alt.replace("\N{NO-BREAK SPACE}", " ")
    assert "22,745 images" in alt  # 22,433 and 312 lateral views
    assert "Left out: 312 images (312 lateral view)" in alt
    assert "6 regimes × 13 conditions × 22,433 images" in alt
    table = rows(found["table_one"])
    assert table["Positive for", "Effusion"] == ("2,756 (12.3)", "860 (13.9)", "0")


def test_images_that_contradict_themselves_are_told_by_split():
    what = "labelled No Finding beside a finding"
    one = {**BASE.data, "contradictory": {what: 1200}}
    assert built("participants")["contradictory"] == ()
    (told,) = built("participants", replace(BASE, data=one))["contradictory"]
    assert told.replace("\N{NO-BREAK SPACE}", " ") == f"Of the images 1,200 {what} are kept as they are labelled."
    both = {
        **one,
        "validation": {**BASE.data, "contradictory": {what: 1}, "pooled": {"column": "study_id", "by": "max"}},
    }
    test, validation = built("participants", replace(BASE, data=both))["contradictory"]
    assert test.startswith("Of the test images 1,200")
    assert validation.endswith(
        "before those of a study were pooled, 1 labelled No Finding beside a finding is kept as it is labelled."
    )


def test_age_and_sex_stand_for_images_and_for_patients():
    data = {
        **BASE.data,
        "characteristics": [
            {"column": "age", "images": {"n_missing": 3, "quartiles": [40.0, 50.0, 60.5]}, "patients": {"n_missing": 1, "quartiles": None}},
            {"column": "dose", "images": {"n_missing": 0, "quartiles": [24260.0, 37470.4, 48600.0]}, "patients": {"n_missing": 0, "quartiles": [-1.5, 0.0, 1e5]}},
            {"column": "snr", "images": {"n_missing": 0, "quartiles": [0.0123, 0.02, 0.5]}, "patients": {"n_missing": 0, "quartiles": [0.0, 0.0, 0.0]}},
            {"column": "sex", "images": {"n_missing": 433, "levels": {"F": 11000, "M": 11000}}, "patients": {"n_missing": 187, "levels": {"F": 3000}}},
        ],
    }  # fmt: skip
    table = rows(built("participants", replace(BASE, data=data))["table_one"])
    assert table["Age, years", "median (quartiles)"] == ("50.0 (40.0 to 60.5)", "", "3")
    assert table["Dose", "median (quartiles)"] == ("37,470 (24,260 to 48,600)", "0 (−2 to 100,000)", "0")
    assert table["Snr", "median (quartiles)"] == ("0.020 (0.012 to 0.500)", "0.000 (0.000 to 0.000)", "0")
    assert table["Sex", "F"] == ("11,000 (50.0)", "3,000 (50.0)", "433")
    assert table["Sex", "M"] == ("11,000 (50.0)", "0 (0.0)", "")
    split = rows(built("participants", replace(BASE, data={**data, "validation": BASE.data}))["table_one"])
    assert len(split["Sex", "F"]) == 6


def test_tables_of_conditions_name_the_tests_of_their_metric():
    by_metric = tuple(
        replace(e, test="delong-clustered") if e.test and e.metric == "auroc" else e for e in BASE.estimates
    )
    found = built("conditions", replace(BASE, estimates=by_metric))
    tests = dict(zip(found["metrics"], found["tests"], strict=True))
    assert tests["Macro AUROC"] == "DeLong’s test by patient"
    assert tests["Macro accuracy"] == "sign-flip permutation test by patient"
    text = section_bodies(compose(View.of(BASE, images=None)))[0]["conditions"]
    assert text.count("p-values: sign-flip permutation test by patient.</") == len(found["tables"])


@pytest.mark.parametrize("made", [TYPICAL, LARGE], ids=["typical", "large"])
def test_tables_of_conditions_show_the_interval_of_every_change_and_difference(made):
    one = results(made)
    view = View.of(one, images=None)
    found = built("conditions", one)
    assert not found["is_cut"]
    shown = {}
    for table, metric in zip(found["tables"], found["metrics"], strict=True):
        heads = [plain_words(column.title) for column in table.columns[2:]]
        assert heads[0] == "supervised, change"
        assert [row[0].text for group in table.groups for row in group.rows] == [
            strength_words(name) for series in view.series for name in series.conditions
        ]
        conditions = iter([name for series in view.series for name in series.conditions])
        for row in (row for group in table.groups for row in group.rows):
            condition = next(conditions)
            for head, cell in zip(heads, row[1:], strict=True):
                shown[metric, head, condition] = (cell.text, cell.under)
    assert len(shown) == len(view.metrics) * len(view.regimes) * (len(view.conditions) - 1)
    contrast = view.contrast("ece", view.others[-1], condition="jpeg(severity=1)")
    digits = len(shown["Macro ECE", view.others[-1], "jpeg(severity=1)"][0].partition(".")[2])
    told = (
        number(contrast.estimate, signed=True, digits=digits),
        interval(contrast.ci_low, contrast.ci_high, digits=digits),
    )
    assert shown["Macro ECE", view.others[-1], "jpeg(severity=1)"] == told
    assert digits >= 3
    assert all(re.fullmatch(r"−?\d\.\d+\sto\s−?\d\.\d+", under) for _, under in shown.values())


def test_longer_intervals_leave_room_for_fewer_regimes_in_a_table_of_conditions():
    one = results(LARGE)
    small = tuple(
        replace(e, estimate=e.estimate / 50, ci_low=e.ci_low / 50, ci_high=e.ci_high / 50)
        if e.metric == "ece" and e.ci_low is not None
        else e
        for e in one.estimates
    )
    large = tuple(
        replace(e, estimate=e.estimate * 1e6, ci_low=e.ci_low * 1e6, ci_high=e.ci_high * 1e6)
        if e.metric == "ece" and e.ci_low is not None
        else e
        for e in one.estimates
    )
    n_tables = [
        built("conditions", replace(one, estimates=some))["metrics"].count("Macro ECE")
        for some in (one.estimates, small, large)
    ]
    assert n_tables[0] == 3
    assert n_tables == sorted(n_tables)
    assert n_tables[-1] > 3


def test_tables_of_conditions_end_where_they_would_fill_many_pages():
    one = results(replace(LARGE, n_severities=5))
    found = built("conditions", one)
    assert found["is_cut"]
    assert 300 < sum(table.n_rows for table in found["tables"]) <= 400
    assert len(set(found["metrics"])) < 5


def test_each_test_of_the_primary_table_has_its_own_footnote():
    changed = tuple(
        replace(e, test="mcnemar-clustered", interval="wilson") if e.test and e.metric == "accuracy" else e
        for e in BASE.estimates
    )
    one, two = built("primary"), built("primary", replace(BASE, estimates=changed))
    assert one["test_notes"] == []
    assert one["primary"].columns[-1].note == "b"
    assert [letter for letter, _ in two["test_notes"]] == ["b", "c"]
    assert two["primary"].columns[-1].note == ""
    notes = {group.head: {row[-1].note for row in group.rows} - {""} for group in two["primary"].groups}
    assert notes["Accuracy"] == {"b"}
    assert notes["AUROC"] == {"c"}
    resampled = "percentile, from patient-level resamples"
    assert one["intervals"] == resampled
    others = "AUROC, mean confidence, ECE, and Brier score"
    assert two["intervals"] == f"{resampled} ({others}); Wilson’s, at the effective number of images (accuracy)"
    assert one["sides"] == "AUROC and accuracy: higher is better; ECE and Brier score: lower is better."
