"""Generated reports side by side: what is kept of them, what is marked, and that no text is code."""

import io
import re
from dataclasses import replace
from importlib.resources import files

import numpy as np
import pandas as pd
import pypdf
import pytest

from cxrobust.generated_reports import described, generated_reports
from cxrobust.predictions import PredictionSet
from cxrobust.reports.document import compose, section_bodies
from cxrobust.reports.figures.style import TWO_COLUMNS
from cxrobust.reports.limits import limits
from cxrobust.reports.pdf import to_pdf
from cxrobust.reports.sections.answer import MOST_METRICS
from cxrobust.reports.sections.corruptions import shown_metrics
from cxrobust.reports.sections.generated import MOST_WORDS, generated
from cxrobust.reports.sections.primary import primary
from cxrobust.reports.sections.robustness import panel_metrics, robustness
from cxrobust.reports.sentences import overview_sentence
from cxrobust.reports.view import View
from cxrobust.reports.words import condition_words, regime
from cxrobust.results import Confusion, Estimate, parse_results, results_text
from cxrobust.verification.recomputed import computed_differences

from .made import TYPICAL, metric_records, results

PRIMARY = "pgd(eps=1/255, steps=20)"
CLEAN_TEXT = "Small left pleural effusion. The heart is normal. No pneumothorax."
ATTACKED_TEXT = "The heart is normal. There is a large pneumothorax. No effusion."
REGIMES = ("supervised", "lora")
RAW = results(replace(TYPICAL, n_regimes=3, n_findings=2, one_class=False, few=False))


def made(**texts):
    """Predictions of two generators on four images of three patients, clean and attacked."""
    given = {(1, 1, 0): ATTACKED_TEXT, (0, 1, 0): CLEAN_TEXT, **texts}
    reports = np.full((3, 2, 4), CLEAN_TEXT, dtype=object)
    for cell, text in given.items():
        reports[cell] = text
    reports[2] = "a second training run"
    log_probabilities = np.full((3, 2, 4), -0.5)
    log_probabilities[1, 1, 0] = np.nan
    return PredictionSet(
        image_ids=("i0", "i1", "i2", "i3"),
        patient_ids=("p0", "p1", "p2"),
        patients=np.array([0, 1, 1, 2], np.int32),
        findings=("Effusion", "Pneumothorax"),
        labels=np.array([[1, 0], [0, 0], [1, 1], [0, 1]], np.int8),
        members=(("supervised", 0), ("lora", 0), ("lora", 1)),
        conditions=("clean", PRIMARY),
        probabilities=np.full((3, 2, 4, 2), 0.25),
        metadata=pd.DataFrame(index=range(4)),
        index={},
        references=("Moderate left effusion.", None, "Clear.", "Pneumothorax."),
        reports=reports,
        log_probabilities=log_probabilities,
    )


def kept_images(references):
    return [one["image"] for one in generated_reports(replace(made(), references=references), primary=PRIMARY, most=3)]


def test_images_with_a_reference_come_first_then_those_with_a_finding_one_of_each_patient():
    assert kept_images(None) == ["i0", "i3", "i1"]
    assert kept_images(("Clear.", "Clear.", None, None)) == ["i0", "i1", "i3"]
    assert kept_images((None, "Clear.", None, "Clear.")) == ["i3", "i1", "i0"]
    assert kept_images((" ", None, "Clear.", "Clear.")) == ["i2", "i3", "i0"]


def test_each_regime_and_condition_of_an_image_is_kept():
    found = generated_reports(replace(made(), references=("Effusion.", None, None, None)), primary=PRIMARY, most=3)
    assert [one["image"] for one in found] == ["i0", "i3", "i1"]
    assert [one["findings"] for one in found] == [["Effusion"], ["Pneumothorax"], []]
    assert found[2]["reference"] is None
    assert [(r["regime"], r["condition"]) for r in found[0]["reports"]] == [
        (name, condition) for name in REGIMES for condition in ("clean", PRIMARY)
    ]
    last = found[0]["reports"][3]
    assert (last["report"], last["words"], last["log_probability"]) == (ATTACKED_TEXT, 11, None)
    assert last["labels"] == {"Cardiomegaly": 0, "Pneumothorax": 1, "Pleural Effusion": 0}
    assert last["probabilities"] == {"Effusion": 0.25, "Pneumothorax": 0.25}


def test_none_is_kept_where_a_study_keeps_no_examples_or_no_regime_writes():
    assert generated_reports(made(), primary=PRIMARY, most=0) == ()
    assert generated_reports(replace(made(), reports=None), primary=PRIMARY, most=3) == ()
    mixed = made()
    mixed.reports[0] = None  # a classifier beside a generator
    found = generated_reports(mixed, primary=None, most=1)
    assert [(r["regime"], r["condition"]) for r in found[0]["reports"]] == [("lora", "clean")]


@pytest.mark.parametrize(("text", "why"), [("", "empty"), (" \n", "empty"), ("Unauffälliger Befund.", "not English")])
def test_a_report_that_cannot_be_read_has_no_labels_and_says_why(text, why):
    found = described(text)
    assert (found["labels"], found["unread"]) == ({}, why)


def of_study(**texts):
    return replace(RAW, generated_reports=generated_reports(made(**texts), primary=PRIMARY, most=3))


def plain(text):
    return tuple(fact.replace("\N{NO-BREAK SPACE}", " ") for fact in text.facts)


def rows(study_results):
    """Of each regime of the first image: sentences that are marked, and facts, clean and attacked."""
    built = generated(View.of(study_results, images=None))
    return {
        re.sub("[\ue000\ue001]", "", row.regime): [
            ([sentence for sentence, changed in text.sentences if changed], plain(text))
            for text in (row.clean, row.perturbed)
        ]
        for row in built["images"][0].rows
    }


@pytest.mark.parametrize("above", range(100, 250, 10))
def test_reports_part_between_regimes_and_never_from_their_heading(above):
    body = section_bodies(compose(View.of(of_study(), images=None), "report"))[0]["generated"]
    style = (files("cxrobust") / "templates" / "report.css").read_text(encoding="utf-8")
    page = "@page { size: A4; margin: 20mm } section > p, .scroll:not(.written) { display: none }"
    html = f'<html lang="en"><title>t</title><style>{style} {page}</style><div style="height: {above}mm">'
    content = to_pdf(f"{html}</div><section>{body}</section>")
    texts = [one.extract_text() for one in pypdf.PdfReader(io.BytesIO(content)).pages]
    assert len(texts) in {1, 2}
    for heading in re.findall(r"<h3>(Image i\d)", body):
        (after,) = (text.partition(heading)[2] for text in texts if heading in text)
        assert "Clean image" in after
        assert "supervised" in after
    rows = [re.findall(r"^(?:supervised|lora|linear-probe)\b", text, re.M) for text in texts]
    assert sum(map(len, rows)) == body.count('<th scope="row">')
    assert all("Clean image" in text for text, found in zip(texts, rows, strict=True) if found)


def test_the_section_says_which_images_are_shown():
    (said,) = re.findall(r"Shown is one image.*?finding\.", spaced(str(bodies_of(of_study())["generated"])))
    assert said == (
        "Shown is one image of each patient, the first with a reference or else the first; patients follow in the order "
        "of the data, those with a reference before the others, and among these those whose image is labelled with a finding."
    )


def test_results_keep_reports_and_read_back_the_same(tmp_path):
    study_results = of_study()
    assert parse_results(results_text(study_results), path=tmp_path) == study_results


def test_a_report_that_the_predictions_do_not_hold_is_found():
    study_results = of_study()
    first, *rest = study_results.generated_reports
    forged = replace(study_results, generated_reports=({**first, "reference": described("Clear lungs.")}, *rest))
    assert not computed_differences(study_results, study_results, tolerance=0.0)
    found = {one.field for one in computed_differences(forged, study_results, tolerance=0.0)}
    assert "[1].reference.report" in found
    assert not computed_differences(replace(study_results, generated_reports=()), study_results, tolerance=0.0)


def test_a_lesion_on_the_other_side_is_no_change_which_is_said():
    before, now = described("Large right pleural effusion."), described("Small left pleural effusion.")
    assert before["labels"] == now["labels"]
    assert "are of findings and their certainty alone, not of side, place or size" in bodies_of(of_study())["generated"]


def test_sentences_of_changed_findings_are_marked_and_named():
    found = rows(of_study())
    (_, clean), (none, same) = found["supervised"]
    assert clean == ("10 words", "mean token probability 0.61", "p(Effusion) 0.25", "the same findings")
    assert none == []
    assert same[-1] == "no finding changed"
    (lost, _), (marked, attacked) = found["lora"]
    assert lost == ["Small left pleural effusion."]
    assert marked == ["There is a large pneumothorax.", "No effusion."]
    assert attacked == (
        "11 words",
        "p(Effusion) 0.25",
        "not in the clean report: Pneumothorax",
        "only in the clean report: Pleural Effusion",
    )


def test_doubt_is_another_certainty_and_what_cannot_be_read_is_not_compared():
    _, (marked, facts) = rows(replace_text("Possible pleural effusion."))["lora"]
    assert marked == ["Possible pleural effusion."]
    assert facts[-1] == "other certainty than the clean report: Pleural Effusion"
    _, (marked, facts) = rows(replace_text("Unauffälliger Befund."))["lora"]
    assert (marked, facts[-1]) == ([], "not labelled, being not English")


def test_a_clean_sentence_is_marked_as_lost_where_the_attacked_report_no_longer_states_it():
    study_results = replace_text("The heart is normal.")  # says nothing of the effusion
    body = bodies_of(study_results)["generated"]
    assert body.count('<mark class="lost">Small left pleural effusion.</mark>') == 1
    assert "Marked and underlined in a clean report are sentences" in body
    unread = bodies_of(replace_text("Unauffälliger Befund."))["generated"]
    assert 'class="lost"' not in unread


NINE = (
    "f1-14-micro", "words", "f1-14-macro", "f1-5-micro", "f1-5-macro", "f1-positive", "bleu", "rouge-l",
    "length-controlled-rouge-l",
)  # fmt: skip


def test_every_score_of_a_study_stands_in_the_table_and_its_text_and_the_length_last():
    scored = with_scores(RAW, *NINE)
    built = generated(View.of(scored, images=None))
    titles = [
        "Micro F1-14", "Macro F1-14", "Micro F1-5", "Macro F1-5", "Positive F1", "BLEU", "ROUGE-L",
        "ROUGE-L, length controlled", "Words of a report",
    ]  # fmt: skip
    assert [group.head for group in built["scores"].groups] == titles
    assert [[len(row) for row in group.rows] for group in built["scores"].groups] == [[4, 4]] * 9
    body = bodies_of(scored)["generated"]
    assert all(f">{title}<" in body for title in titles)
    for said in ("micro F1-14", "positive F1", "BLEU", "ROUGE-L", "length-controlled ROUGE-L", "number of words"):
        assert said in body[: body.index("<table")]


def test_length_stands_beside_scores_whether_or_not_it_is_asked_for():
    regimes = tuple({**one, "mean_words": {"clean": 54.25, PRIMARY: 140.5}} for one in RAW.regimes)
    scored = replace(with_scores(RAW, "rouge-l"), regimes=regimes)
    table = generated(View.of(scored, images=None))["scores"]
    assert [one.title for one in table.columns][:2] == ["Score", "Regime"]
    assert [group.head for group in table.groups] == ["ROUGE-L", "Words of a report, mean of all"]
    assert [cell.text for cell in table.groups[1].rows[0][1:]] == ["54.2", "–", "140.5"]
    asked = generated(View.of(replace(with_scores(RAW, "words", "bleu"), regimes=regimes), images=None))["scores"]
    assert [group.head for group in asked.groups] == ["BLEU", "Words of a report"]
    assert asked.groups[-1].rows[0][-1].under  # its interval


def test_a_score_has_as_many_decimals_in_every_table_and_words_of_a_report_two():
    scored = with_scores(RAW, "bleu", "rouge-l", "words")
    narrow = tuple(
        replace(one, ci_low=0.4370, ci_high=0.4380) if one.metric == "rouge-l" else one for one in scored.estimates
    )
    view = View.of(replace(scored, estimates=narrow), images=None)
    table, main = generated(view)["scores"], primary(view)["primary"]
    assert [group.rows[0][1].text for group in table.groups] == ["0.438", "0.4375", "0.44"]
    of_reports = {"BLEU": "BLEU", "ROUGE-L": "ROUGE-L", "Words of a report": "Number of words"}
    seen = 0
    for group in table.groups:
        (same,) = (one for one in main.groups if one.head == of_reports[group.head])
        values = {row[0].text: [(cell.text, cell.under) for cell in (row[1], row[2])] for row in same.rows}
        for name, *cells in group.rows:
            assert [(cells[0].text, cells[0].under), (cells[-1].text, cells[-1].under)] == values[name.text]
            seen += 1
    assert seen == 6
    words = [
        re.findall(r"\d+\.(\d+)", f"{cell.text} {cell.under}") for row in main.groups[-1].rows for cell in row[1:5]
    ]
    assert {len(decimals) for found in words for decimals in found} == {2}


def test_sentences_tell_a_number_of_words_with_two_decimals_at_most():
    scored = View.of(with_scores(RAW, "words", alone=True, estimate=-0.0312345), images=None)
    said = overview_sentence(scored, "words", PRIMARY)
    assert re.findall(r"\d+\.\d+", said) == ["0.03", "0.03"]
    told = re.findall(r"\d+\.\d+", bodies_of(scored.results)["answer"].split("umber of words", 1)[1])
    assert {"0.03", "0.20", "0.60"} <= set(told)
    assert "0.031" not in told


def replace_text(text):
    predictions = made()
    predictions.reports[1, 1, 0] = text
    return replace(RAW, generated_reports=generated_reports(predictions, primary=PRIMARY, most=3))


def test_a_long_report_is_cut_and_its_words_are_counted():
    built = generated(View.of(replace_text("Effusion is seen here. " * 1250), images=None))
    text = built["images"][0].rows[1].perturbed
    assert text.is_cut
    assert sum(len(sentence.split()) for sentence, _ in text.sentences) <= MOST_WORDS
    assert plain(text)[0] == "5,000 words"
    endless = generated(View.of(replace_text("effusion " * 500), images=None))["images"][0].rows[1].perturbed
    assert len(endless.sentences[0][0].split()) == MOST_WORDS
    assert endless.is_cut
    whole = generated(View.of(replace_text("effusion " * MOST_WORDS), images=None))["images"][0].rows[1].perturbed
    assert not whole.is_cut


def with_scores(study_results, *names, alone=False, estimate=0.4375):
    """The results with scores of reports as further metrics, or as the only ones; all values alike."""
    score = {
        "reference": None, "finding": "report", "n_images": 4, "n_patients": 3, "n_positive": 0, "n_positive_patients": 0,
        "ci_low": 0.2, "ci_high": 0.6,
    }  # fmt: skip
    scores = [
        Estimate(**score, estimand="value", metric=metric, regime=name, condition=condition, estimate=estimate)
        for metric in names
        for name in ("supervised", "lora")
        for condition in ("clean", PRIMARY)
    ]
    changes = [
        replace(one, estimand="perturbed-clean", p_value=0.01, p_adjusted=0.01, note=f"{one.metric} has a note")
        for one in scores
        if one.condition == PRIMARY
    ]
    changes += [
        replace(one, estimand="difference-in-differences", reference="supervised")
        for one in changes
        if one.regime == "lora"
    ]
    analysis = study_results.study["analysis"]
    study = {
        **study_results.study,
        "analysis": {**analysis, "metrics": [*([] if alone else analysis["metrics"]), *names]},
    }
    kept = () if alone else study_results.estimates
    power = () if alone else study_results.power
    sensitivity = () if alone else study_results.sensitivity
    return replace(
        study_results,
        study=study,
        metrics=metric_records(*study["analysis"]["metrics"]),
        estimates=(*kept, *scores, *changes),
        power=power,
        sensitivity=sensitivity,
    )


def bodies_of(study_results):
    bodies, _ = section_bodies(compose(View.of(study_results, images=None), "report"))
    return {name: spaced(str(text)) for name, text in bodies.items()}


def test_scores_of_reports_do_not_stand_among_findings():
    plain_bodies, bodies = bodies_of(RAW), bodies_of(with_scores(RAW, "f1-14-micro", "bleu", "words"))
    assert bodies["by_finding"] == plain_bodies["by_finding"]
    assert "BLEU" in bodies["primary"]
    assert "Left out of these analyses: scores of generated reports." in bodies["sensitivity"]
    assert "eft out of these" not in plain_bodies["sensitivity"]
    scored = with_scores(RAW, "bleu")
    analysis = {**scored.study["analysis"], "metrics": ["bleu", *RAW.study["analysis"]["metrics"]]}
    first = bodies_of(replace(scored, study={**scored.study, "analysis": analysis}))
    assert first["by_finding"] == plain_bodies["by_finding"]


def test_no_score_of_reports_is_called_a_macro_average():
    bodies = bodies_of(with_scores(RAW, "bleu", "f1-14-micro", "words", alone=True))
    assert not {"by_finding", "collateral"} & bodies.keys()
    text = " ".join(bodies.values())
    assert not re.search(r"macro (BLEU|micro|number|average)|none of 0 findings|averages? over", text, re.IGNORECASE)
    assert "BLEU of" in bodies["answer"]
    assert "how do generated reports on perturbed images compare" in text
    mixed = bodies_of(with_scores(RAW, "bleu"))
    assert "macro average over 2 findings, scores of reports apart" in mixed["primary"]
    assert "macro AUROC of" in mixed["answer"]
    assert "BLEU" in mixed["answer"]


def test_the_answer_tells_the_first_score_of_reports_however_late_the_study_names_it():
    several = with_scores(RAW, "bleu", "f1-14-micro")
    assert len(RAW.study["analysis"]["metrics"]) >= MOST_METRICS
    bodies = bodies_of(several)
    assert "BLEU" in bodies["answer"]
    assert "F1-14" not in bodies["answer"]


def test_figures_against_strength_show_the_first_score_of_reports():
    several = View.of(with_scores(RAW, "bleu", "f1-14-micro"), images=None)
    plain_view = View.of(RAW, images=None)
    for chosen in (panel_metrics, shown_metrics):
        assert chosen(several) == (*chosen(plain_view), "bleu")
    alone = View.of(with_scores(RAW, "bleu", "words", alone=True), images=None)
    assert panel_metrics(alone) == shown_metrics(alone) == ("bleu", "words")
    figure = robustness(several)["curves"].drawing.canvas(TWO_COLUMNS)
    panel = next(axes for axes in figure.axes if "BLEU" in axes.get_ylabel())
    heights = {round(float(y), 4) for line in panel.get_lines() for y in np.atleast_1d(line.get_ydata())}
    assert 0.4375 in heights


def test_notes_name_the_metrics_that_they_are_of():
    assert "BLEU: bleu has a note." in bodies_of(with_scores(RAW, "bleu"))["primary"]
    assert " Bleu has a note." in bodies_of(with_scores(RAW, "bleu", alone=True))["primary"]


def test_a_metric_without_any_score_is_one_sentence():
    nothing = {
        "estimate": None,
        "ci_low": None,
        "ci_high": None,
        "reason": "no report is scored",
        "note": "not estimable: no report is scored; 4 left out",
    }
    scored = with_scores(RAW, "bleu", alone=True)
    estimates = tuple(replace(one, **nothing) for one in scored.estimates if one.regime == "supervised")
    said = bodies_of(replace(scored, estimates=estimates))["answer"]
    assert "BLEU is not estimable for any regime (no report is scored)." in said
    assert said.count("not estimable") == 1


def test_the_documents_hold_reports_as_text_and_a_table_of_scores():
    study_results = with_scores(replace_text("<script>alert(1)</script> A large pneumothorax."), "rouge-l")
    *others, last = study_results.generated_reports
    study_results = replace(study_results, generated_reports=(*others, {**last, "reference": None}))
    bodies, _ = section_bodies(compose(View.of(study_results, images=None), "report"))
    text = str(bodies["generated"])
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in text
    assert "<script>" not in text
    assert "<mark>There is" not in text
    assert "There is none." in text
    table = text[text.index('id="report-scores"') :]
    assert table[: table.index("</table>")].count("0.438") == 4
    bodies, _ = section_bodies(compose(View.of(replace(study_results, generated_reports=()), images=None), "report"))
    assert "No report is shown" in bodies["generated"]
    assert 'id="report-scores"' in bodies["generated"]


def test_faults_of_reports_and_references_are_limits_with_their_counts():
    regimes = [dict(one) for one in RAW.regimes]
    regimes[0] |= {"n_reports": 12, "report_faults": {"cut off": 10, "empty": 1}}
    regimes[1] |= {"n_reports": 12, "report_faults": {"cut off": 2, "very long": 1, "with samples empty": 3}}
    data = {**RAW.data, "references": {"n": 11, "faults": {"missing": 3, "not English": 1}}}
    found = {
        one.title: spaced(one.text)
        for one in limits(View.of(replace(RAW, regimes=tuple(regimes), data=data), images=None))
    }
    said = found["Reports that say nothing."]
    names = [regime(one["name"]) for one in regimes[:2]]
    assert f"1 of 12 of {names[0]} were empty; 10 of 12 of {names[0]} and 2 of 12 of {names[1]} were cut off" in said
    assert f"; 1 of 12 of {names[1]} were longer than 1,000 words" in said
    assert f"; 3 of 12 of {names[1]} had samples that were empty. A report" in said
    assert said.endswith("one that states no finding counts half.")
    assert "3 have none and 1 have one that is not in English" in found["Images without a reference."]
    without = {one.title for one in limits(View.of(RAW, images=None))}
    assert not without & {"Reports that say nothing.", "Images without a reference."}


def test_confidences_that_differ_in_kind_or_are_missing_are_limits():
    def told(*regimes):
        changed = (
            *({**one, **more} for one, more in zip(RAW.regimes, regimes, strict=False)),
            *RAW.regimes[len(regimes) :],
        )
        found = limits(View.of(replace(RAW, regimes=changed), images=None))
        return {one.title: spaced(one.text) for one in found}

    def generator(confidence):
        return {"family": "generator", "n_reports": 12, "settings": [{"confidence": confidence}]}

    kinds, without = "Confidence of several kinds.", "Decisions without confidence."
    first, second = (regime(one["name"]) for one in RAW.regimes[:2])
    said = told(generator("questions"), generator("agreement"))
    assert f"from answers to questions in {first} and from the agreement of sampled reports in {second}." in said[kinds]
    assert without not in said
    assert kinds not in told(generator("questions"), generator("questions"))
    elsewhere = {"family": "elsewhere", "n_reports": 12, "settings": [{}], "decides_only": True}
    said = told(generator("statements"), elsewhere)
    assert f"and from tables made elsewhere in {second}." in said[kinds]
    assert f"Nothing tells how sure {second} is" in said[without]


def spaced(text):
    return text.replace("\N{NO-BREAK SPACE}", " ").replace("\N{NARROW NO-BREAK SPACE}", " ")


def test_conditions_say_the_text_that_is_attacked():
    said = spaced(condition_words('pgd(eps=4/255, target=report, text="Mass, large.")'))
    assert said == "PGD, ε = 4/255, towards the text “Mass, large.”"
    said = spaced(condition_words("pgd(eps=4/255, target=report, text=reference, steps=5)"))
    assert said == "PGD, ε = 4/255, against the reference report, 5 steps"
    assert spaced(condition_words("fgsm(eps=1/255, target=report)")) == "FGSM, ε = 1/255, against the clean report"
    raised = condition_words("fgsm(eps=1/255, target=report, goal=fabricate, text=reference)")
    assert raised.endswith(", towards the reference report")


def confused(regime, condition, finding, *counts):
    kinds = ("both", "report_alone", "reference_alone", "neither", "left_out")
    return Confusion(regime=regime, condition=condition, finding=finding, **dict(zip(kinds, counts, strict=True)))


def test_a_table_counts_what_reports_and_references_affirm():
    counted = (
        confused("supervised", "clean", "Edema", 1200, 2, 3, 4, 1),
        confused("supervised", "clean", "Fracture", 0, 0, 0, 9, 1),
        confused("supervised", PRIMARY, "Edema", 1, 6, 8, 4, 1),
        confused("supervised", PRIMARY, "Fracture", 0, 0, 0, 9, 1),
        confused("lora", "clean", "Edema", 11, 12, 13, 14, 2),
        confused("lora", "clean", "Fracture", 0, 0, 0, 18, 2),
        confused("lora", PRIMARY, "Edema", 0, 0, 0, 0, 10),
        confused("lora", PRIMARY, "Fracture", 0, 0, 0, 18, 2),
    )
    study_results = replace(with_scores(RAW, "f1-14-micro"), confusion=counted)
    assert parse_results(results_text(study_results), path=None) == study_results
    table = generated(View.of(study_results, images=None))["confusion"]
    heads = ["TP", "FP", "FN", "TN", "Left out"]
    assert [(one.title, one.under) for one in table.columns[2:]] == [
        (head, where) for where in ("clean", "perturbed") for head in heads
    ]
    assert [[cell.text for cell in row] for group in table.groups for row in group.rows] == [
        ["Edema", "1,200", "2", "3", "4", "1", "1", "6", "8", "4", "1"],
        ["Edema", "11", "12", "13", "14", "2", "0", "0", "0", "0", "10"],
    ]
    body = bodies_of(study_results)["generated"]
    assert "No report and no reference affirms Fracture." in body
    assert 'id="report-confusion"' in body
    plain = bodies_of(with_scores(RAW, "f1-14-micro"))["generated"]
    assert "report-confusion" not in plain

    forged = replace(study_results, confusion=(replace(counted[0], both=1201), *counted[1:]))
    found = {
        (one.part, one.what, one.field, one.old, one.new)
        for one in computed_differences(forged, study_results, tolerance=0.0)
    }
    assert ("confusion", "supervised, clean, Edema", "both", 1201, 1200) in found


def test_of_clean_images_alone_a_table_counts_once():
    alone = results(replace(TYPICAL, n_regimes=2, perturbed=False, one_class=False, few=False))
    counted = (confused(alone.regimes[0]["name"], "clean", "Edema", 1, 2, 3, 4, 0),)
    table = generated(View.of(replace(alone, confusion=counted), images=None))["confusion"]
    assert [one.under for one in table.columns[2:]] == ["clean"] * 5
    assert len(table.groups) == 1


def test_the_first_page_says_that_bare_decisions_are_held_against_probabilities():
    from cxrobust.reports.sections.answer import answer

    second = regime(RAW.regimes[1]["name"])
    changed = (RAW.regimes[0], {**RAW.regimes[1], "decides_only": True}, *RAW.regimes[2:])
    said = [spaced(one) for one in answer(View.of(replace(RAW, regimes=changed), images=None))["shows_not"]]
    assert said[0].startswith(f"what sets {second} apart from the others in AUROC, confidence or calibration")
    assert not any("bare decisions" in one for one in answer(View.of(RAW, images=None))["shows_not"])
