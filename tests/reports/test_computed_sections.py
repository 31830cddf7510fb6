"""Flips, confidence, power, sensitivity and limits: what their sentences say, in both directions, and where they stand."""

import html
import itertools
import re
from dataclasses import replace
from pathlib import Path

import pytest

from cxrobust.analysis.metrics import metric as metric_registry
from cxrobust.reports.checklists import labels_from_reports
from cxrobust.reports.document import compose, fill, section_bodies
from cxrobust.reports.figures.style import WIDTH, look
from cxrobust.reports.limits import limits
from cxrobust.reports.sections import sections
from cxrobust.reports.sections.flips import ends_words, share_words
from cxrobust.reports.sections.participants import _boxes
from cxrobust.reports.sections.sensitivity import change, why_left_out
from cxrobust.reports.view import View
from cxrobust.reports.words import plain

from .made import CLEAN_ONLY, LARGE, SMALL, TYPICAL, Made, results

PRIMARY = "pgd(eps=1/255, steps=20)"
RAW = results(replace(TYPICAL, n_regimes=3, n_findings=2, one_class=False, few=False))


def view_of(made):
    return View.of(made, images=None)


def built(made, name):
    section, view = sections[name], view_of(made)
    assert section.needs(view)
    return section.build(view)


def said(made, name):
    return [plain(sentence) for sentence in built(made, name)["sentences"]]


def flip(share, *, key, n=None, difference=None):
    """One cell; the interval of its difference from the reference is as wide as 0.04."""
    (one,) = (c for c in RAW.flips[0].cells if (c.label, c.clean, c.perturbed) == key)
    return replace(
        one,
        share=share,
        n=round(1000 * (share or 0)) if n is None else n,
        ci_low=None if share is None else max(share - 0.02, 0),
        ci_high=None if share is None else share + 0.02,
        difference=difference,
        difference_low=None if difference is None else difference - 0.02,
        difference_high=None if difference is None else difference + 0.02,
    )


def matrix(regime, missed, alarms, *, against=(None, None), condition=PRIMARY):
    cells = [
        flip(missed, key=(1, 1, 0), difference=against[0]),
        flip(None if missed is None else 1 - missed, key=(1, 1, 1)),
        flip(alarms, key=(0, 0, 1), difference=against[1]),
        flip(None if alarms is None else 1 - alarms, key=(0, 0, 0)),
    ]
    return replace(RAW.flips[0], regime=regime, condition=condition, cells=tuple(cells))


def flipped(*others, noise=()):
    return replace(RAW, flips=(matrix("supervised", 0.2, 0.05), *others, *noise))


def test_flips_are_told_of_the_reference_with_counts_and_interval():
    sentences = said(flipped(), "flips")
    assert sentences[:2] == [
        "Under PGD, ε = 1/255, 20 steps, supervised missed 20.0% (200 of 1,000; 95% CI, 18.0% to 22.0%) of the findings "
        "that it had found on the clean images.",
        "It raised a false alarm for 5.0% (50 of 1,000; 95% CI, 3.0% to 7.0%) of the absent findings that it had rightly "
        "not marked.",
    ]


@pytest.mark.parametrize(
    ("against", "expected"),
    [
        (
            0.03,
            "Against supervised, the share newly missed was larger with lora (by 3.0 percentage points, 1.0 to 5.0); ",
        ),
        (
            -0.03,
            "Against supervised, the share newly missed was smaller with lora (by 3.0 percentage points, 1.0 to 5.0); ",
        ),
        (0.019, "Against supervised, no difference in the share newly missed could be shown with lora; "),
        (
            None,
            "Against supervised, the difference in the share newly missed is not estimable with linear-probe or lora.",
        ),
    ],
)
def test_a_share_is_larger_or_smaller_only_where_the_interval_leaves_out_0(against, expected):
    made = flipped(matrix("lora", 0.2, 0.05, against=(against, None)), matrix("linear-probe", None, None))
    (sentence,) = (one for one in said(made, "flips") if one.startswith("Against"))
    assert sentence.startswith(expected)
    if against is not None:
        assert sentence.endswith("is not estimable with linear-probe.")


def test_noise_of_the_same_size_is_told_where_there_is_some():
    noise = matrix("supervised", 0.01, 0.002, condition="noise(eps=1/255)")
    assert said(flipped(noise=(noise,)), "flips")[-1] == (
        "With random noise of the same size supervised newly missed 1.0% (0.0% to 3.0%) and raised a false alarm for "
        "0.2% (0.0% to 2.2%)."
    )
    assert not any("noise" in sentence for sentence in said(flipped(), "flips"))


def test_shares_too_small_for_their_decimals_are_not_0():
    assert [share_words(share) for share in (0.0, 0.0004, 0.0006, 0.123)] == ["0.0%", "<0.1%", "0.1%", "12.3%"]
    assert plain(ends_words(0.0, 0.0004)) == "0.0% to <0.1%"
    assert ends_words(None, 0.1) == ""


def shifted(**shifts):
    """Spreads under the primary condition with these shifts of wrong and of right decisions, ± 0.01."""

    def one(spread):
        wanted = shifts.get(spread.regime.replace("-", "_"))
        if spread.condition == "clean" or wanted is None:
            return replace(spread, shift=None, shift_low=None, shift_high=None)
        shift = wanted[spread.decisions == "right"]
        return replace(spread, shift=shift, shift_low=shift - 0.01, shift_high=shift + 0.01)

    return replace(RAW, confidence=tuple(one(spread) for spread in RAW.confidence))


def test_decisions_are_surer_or_less_sure_only_where_the_interval_leaves_out_0():
    assert said(shifted(supervised=(0.03, 0.02), linear_probe=(0.05, 0.009), lora=(-0.02, -0.04)), "confidence") == [
        "Under PGD, ε = 1/255, 20 steps, wrong decisions were surer with supervised and linear-probe, by 0.030 "
        "(supervised) to 0.050 (linear-probe); wrong decisions were less sure with lora, by 0.020.",
        "Right decisions were surer with supervised, by 0.020; right decisions were less sure with lora, by 0.040; "
        "no shift of right decisions could be shown with linear-probe.",
    ]


def test_shifts_that_are_not_shown_or_not_estimable():
    assert said(shifted(supervised=(0.005, -0.005), linear_probe=(0.0, 0.0)), "confidence")[0] == (
        "Under PGD, ε = 1/255, 20 steps, no shift of wrong decisions could be shown with supervised or linear-probe; "
        "the shift of wrong decisions is not estimable with lora."
    )


def test_the_smallest_differences_are_told_and_what_was_not_shown():
    sizes = {("auroc", "linear-probe"): 0.02, ("auroc", "lora"): 0.04}
    power = tuple(replace(one, size=sizes.get((one.metric, one.regime), one.size)) for one in RAW.power)
    made = replace(RAW, power=power)
    first, open_ones = said(made, "power")
    assert first == (
        "In macro AUROC the smallest difference in change that it detects is 0.020 (linear-probe) to 0.040 (lora)."
    )
    assert [e.metric for e in RAW.estimates if e.family == "primary" and e.p_adjusted >= 0.05] == ["confidence"]
    assert open_ones.startswith("For 1 comparison (of mean confidence) no difference could be shown; ")
    all_shown = replace(
        made, estimates=tuple(replace(e, p_adjusted=0.001) if e.family == "primary" else e for e in made.estimates)
    )
    assert said(all_shown, "power")[1] == ""


def test_without_a_size_the_reason_stands_in_its_place():
    few = "signs of 3 patients have too few patterns to reach the level of 0.0125: p is at least 0.25"
    none = replace(RAW, power=tuple(replace(one, size=None, note=few) for one in RAW.power))
    text = words_of(bodies_of(none)["power"])
    assert text == f"No size can be given that a study like this one shows with a probability of 80%. S{few[1:]}."
    some = replace(RAW, power=(replace(RAW.power[0], size=None, note=few), *RAW.power[1:]))
    text = words_of(bodies_of(some)["power"])
    assert f"{few[1:]}." in text
    assert "a study like this one shows a true difference of the size in Table" in text


def words_of(body):
    return " ".join(plain(html.unescape(re.sub("<[^>]*>", "", body))).split())


def of_sensitivity(*, p):
    """Results whose every alternative has this p-value, and every primary comparison one of 0.001."""
    estimates = tuple(replace(e, p_adjusted=0.001) if e.family == "primary" else e for e in RAW.estimates)
    main = {(e.metric, e.regime): e.estimate for e in estimates if e.family == "primary"}
    others = tuple(
        replace(
            one,
            estimate=replace(one.estimate, p_adjusted=p, estimate=main[one.estimate.metric, one.estimate.regime]),
        )
        for one in RAW.sensitivity
    )
    return replace(RAW, estimates=estimates, sensitivity=others)


def test_a_conclusion_that_lasts_is_said_to_stay():
    made = of_sensitivity(p=0.04)
    assert plain(built(made, "sensitivity")["sentence"]) == (
        "Under 5 other choices, one at a time, the conclusion of each of 10 primary comparisons – whether a difference "
        "is shown, and which way – stays the same."
    )
    rows = [group.rows[0] for group in built(made, "sensitivity")["changes"].groups]
    assert {row[2].text for row in rows} == {"none"}


def test_conclusions_that_change_are_named():
    made = of_sensitivity(p=0.04)
    turned = [
        replace(one, estimate=replace(one.estimate, p_adjusted=0.06))
        if (one.choice, one.estimate.metric, one.estimate.regime) == ("10 equal-width bins", "ece", "lora")
        else one
        for one in made.sensitivity
    ]
    found = built(replace(made, sensitivity=tuple(turned)), "sensitivity")
    assert plain(found["sentence"]).endswith(
        "stays the same for 9 of 10 primary comparisons; it depends on the choice for ECE (lora)."
    )
    (row,) = found["changes"].groups[0].rows
    assert plain(row[2].text) == "shown → not shown: ECE (lora)"


def test_a_difference_shown_the_other_way_is_a_change():
    one = next(e for e in RAW.estimates if e.family == "primary")
    here, there = replace(one, estimate=0.1, p_adjusted=0.01), replace(one, estimate=-0.1, p_adjusted=0.01)
    assert change(here, here, alpha=0.05) == ""
    assert change(here, there, alpha=0.05) == "shown → shown the other way"
    assert change(here, replace(here, estimate=None, reason="one class only"), alpha=0.05) == ("shown → not estimable")
    assert change(replace(here, p_adjusted=0.5), replace(there, p_adjusted=0.5), alpha=0.05) == ""


def test_of_one_regime_on_clean_images_no_conclusion_can_change():
    made = results(SMALL)
    assert plain(built(made, "sensitivity")["sentence"]).startswith("Nothing is compared in this study")
    assert not sections["flips"].needs(view_of(made))
    assert not sections["power"].needs(view_of(made))
    assert built(made, "confidence")["sentences"] == []


@pytest.mark.parametrize("name", sorted({*metric_registry} - {""}))
def test_the_sensitivity_section_says_why_it_leaves_a_metric_out(name):
    one = metric_registry[name]
    said = why_left_out(name)
    assert said.startswith("whose variance patients’ influences misstate") == bool(one.caution)
    assert (said == "which is of the labels alone") == one.of_labels
    assert (said == "which no test fits") == bool(one.untestable)


def test_metrics_that_no_other_choice_was_tried_for_are_named():
    other = {"accuracy": "coverage-at-risk-2", "confidence": "coverage-at-risk-5", "brier": "mce"}
    made = replace(
        analysed(RAW, metrics=[other.get(name, name) for name in RAW.study["analysis"]["metrics"]]),
        estimates=tuple(replace(e, metric=other.get(e.metric, e.metric)) for e in RAW.estimates),
        sensitivity=tuple(one for one in RAW.sensitivity if one.estimate.metric not in other),
    )
    assert "of 4 primary comparisons" in plain(built(made, "sensitivity")["sentence"])
    assert built(made, "sensitivity")["left_out"] == (
        "Left out of these analyses: coverage at 2% risk and coverage at 5% risk, whose variance patients’ influences "
        "misstate, so that Student’s t does not fit; MCE, which no test fits."
    )
    assert built(RAW, "sensitivity")["left_out"] == ""


@pytest.mark.parametrize(
    ("metrics", "opening"),
    [
        (("auroc", "accuracy", "confidence", "ece", "brier"), "That images as independent give narrower intervals is "),
        (("auroc", "ece"), "That images as independent give narrower intervals for 4 of 10 estimates is "),
        ((), ""),
    ],
)
def test_intervals_of_images_as_independent_are_called_narrower_where_they_are(metrics, opening):
    main = {(e.metric, e.regime): e for e in RAW.estimates if e.family == "primary"}

    def as_wide_as(one, share):
        middle, half = one.estimate, (one.ci_high - one.ci_low) / 2
        return replace(one, ci_low=middle - half * share, ci_high=middle + half * share)

    others = tuple(
        replace(
            one,
            estimate=as_wide_as(
                main[one.estimate.metric, one.estimate.regime], 0.9 if one.estimate.metric in metrics else 1.1
            ),
        )
        if one.kind == "unit"
        else one
        for one in RAW.sensitivity
    )
    told = plain(built(replace(RAW, sensitivity=others), "sensitivity")["narrower"])
    assert told == (f"{opening}no gain: images of one patient resemble one another." if opening else "")


def of_one_condition(made):
    """The results of the clean images and the primary condition alone."""
    kept = {"clean", PRIMARY}
    several = {"estimates", "reliability", "confidence", "flips"}
    return replace(
        made,
        conditions=tuple(one for one in made.conditions if one["name"] in kept),
        **{name: tuple(one for one in getattr(made, name) if one.condition in kept) for name in several},
    )


def bodies_of(made):
    return section_bodies(compose(view_of(made)))[0]


def in_words(body):
    """A section's body as it is read, without its tables."""
    body = re.sub(r"<table.*?</table>|<svg.*?</svg>", "", body, flags=re.DOTALL)
    return re.sub(r"\s+", " ", html.unescape(plain(re.sub(r"<[^>]+>|\xad", "", body)))).strip()


@pytest.fixture(scope="module")
def of_one_and_several():
    return bodies_of(ONE), bodies_of(RAW)


ONE = of_one_condition(results(Made(n_regimes=1, n_findings=1, n_severities=0, one_class=False, few=False)))


@pytest.mark.parametrize(
    ("name", "of_one", "of_several"),
    [
        ("answer", "what this checkpoint does with", "what these checkpoints do with"),
        ("answer", "one run of supervised was studied", "one run of each regime was studied"),
        ("design", "The regime (Table 1) predicted every image, as it is and under the perturbation (", "Every regime"),
        ("robustness", "Figure 2 shows the estimates.", "Figure 2 shows every strength."),
        ("robustness", "AUROC fell by 0.127. Accuracy fell", "with all 3 regimes. "),
        ("flips", "Figure 3 shows these errors, Table", "Figure 3 shows these errors for every regime, Table"),
        ("flips", "Points, shares of decisions; lines", "Points, shares of decisions, all findings pooled; lines"),
        ("calibration", "equal-width bins; bars", "equal-width bins, all findings pooled; bars"),
        ("confidence", "of max(p, 1 − p); above", "of max(p, 1 − p), all findings pooled; above"),
        ("clustering", "error of the clean AUROC is 1.33 times the one", ", and the larger for 6 of 6 pairs of regime"),
        ("methods", "the changes, perturbed − clean, of the", "the difference-in-differences of the macro averages"),
        ("methods", "all metrics together (primary)", "all metrics and regimes together (primary)"),
        ("limitations", "What is said is about this checkpoint;", "What is said is about these checkpoints;"),
    ],
)
def test_one_regime_condition_and_finding_are_not_told_as_several(name, of_one, of_several, of_one_and_several):
    one, several = (in_words(bodies[name]) for bodies in of_one_and_several)
    assert of_one in one
    assert of_several not in one
    assert of_several in several


@pytest.mark.parametrize(
    ("made", "of_finding", "of_averages"),
    [
        (CLEAN_ONLY, "Difference in AUROC to the reference, clean images.", "Difference in macro averages to the reference"),
        (replace(TYPICAL, n_regimes=2), "Difference-in-differences of AUROC under", "Difference-in-differences of macro averages"),
        (replace(TYPICAL, n_regimes=1), "Change in AUROC, perturbed − clean under", "Change in macro averages, perturbed − clean"),
    ],
)  # fmt: skip
def test_captions_name_what_is_compared_in_words(made, of_finding, of_averages):
    made = results(made)
    assert of_finding in in_words(bodies_of(made)["by_finding"])
    (first, *_), *_ = built(made, "by_finding")["forests"]
    assert first.alt.startswith(of_finding.partition(" AUROC")[0])
    body = bodies_of(made)["sensitivity"]
    captions = [re.sub(r"<[^>]+>", "", one) for one in re.findall("<(?:fig)?caption>(.*?)</(?:fig)?caption>", body)]
    assert len(captions) >= 2
    assert all(of_averages in html.unescape(plain(one)) for one in captions)


def test_where_no_change_of_the_one_regime_is_shown_the_sentence_ends_there():
    made = replace(ONE, estimates=tuple(replace(e, p_adjusted=0.3) for e in ONE.estimates))
    assert "steps, for ECE no change could be shown. Figure 4 shows observed" in in_words(
        bodies_of(made)["calibration"]
    )


@pytest.mark.parametrize(
    ("ratios", "factor", "larger"),
    [
        ((0.9,), "0.90", ""),
        ((1.071, 1.073), "1.07", "2 of 2 pairs of regime and finding"),
        ((0.9, 1.2, 1.3), "0.90 to 1.30", "2 of 3 pairs of regime and finding"),
    ],
)
def test_ratios_of_standard_errors_are_told_as_a_range_where_they_are_one(ratios, factor, larger):
    one = RAW.unclustered[0]
    made = replace(RAW, unclustered=tuple(replace(one, se_patient=ratio, se_image=1.0) for ratio in ratios))
    found = built(made, "clustering")
    assert (found["factor"], found["larger"]) == (factor, larger)


def test_standard_errors_of_regimes_with_one_training_run_alone_are_told_as_such():
    """Of three regimes two have several runs, so that no range over regimes stands beside the third's."""
    name = RAW.unclustered[-1].regime
    runs = tuple({**one, "replicates": 1 if one["name"] == name else 2} for one in RAW.regimes)
    alone = replace(RAW, regimes=runs, unclustered=tuple(one for one in RAW.unclustered if one.regime == name))
    table = built(alone, "clustering")["clustering"]
    assert {1 + len(row) for group in table.groups for row in group.rows} == {len(table.columns)}
    assert len(built(RAW, "clustering")["clustering"].columns) == len(table.columns) + 1
    said = "image level, DeLong’s method, which is of one model: regimes of several training runs are not counted here."
    assert said in bodies_of(alone)["clustering"]
    assert "of one model" not in bodies_of(RAW)["clustering"]


def test_many_regimes_stand_in_several_figures():
    made = results(LARGE)
    found = built(made, "sensitivity")
    assert len({figure.key for figure in found["figures"]}) == 3
    shown = [figure.drawing.options["regimes"] for figure in found["figures"]]
    assert [len(some) for some in shown] == [4, 4, 3]
    assert tuple(itertools.chain.from_iterable(shown)) == view_of(made).compared


def test_metrics_of_one_attack_beside_the_primary_one_stand_side_by_side_and_the_caption_names_it():
    """Of two its metrics stand below one another, since each attack has a column."""
    (one,), (several,) = (
        built(made, name)["figures"] for made, name in ((LARGE_MADE, "attacks"), (RAW, "corruptions"))
    )
    with look():
        beside, below = (figure.drawing.canvas(WIDTH).axes for figure in (one, several))
    assert len({round(axes.get_position().y0, 3) for axes in beside}) == 1
    assert len({round(axes.get_position().y0, 3) for axes in below}) == 3
    assert [axes.get_ylabel() for axes in beside] == ["Macro AUROC", "Macro accuracy", "Mean confidence"]
    said = {name: in_words(bodies_of(LARGE_MADE)[name]) for name in ("attacks", "corruptions")}
    assert "Other attacks. FGSM. Points, estimates" in said["attacks"]
    assert "one vertical axis a row" not in said["attacks"]
    assert "Performance under corruptions. Points, estimates" in said["corruptions"]
    assert "one vertical axis a row" in said["corruptions"]


def titles(made):
    return {limit.title for limit in limits(view_of(made))}


def with_data(made, *, kind="nih-chestxray14", **data):
    study = {**made.study, "data": {**made.study["data"], "kind": kind}}
    return replace(made, study=study, data={**made.data, **data})


def from_kind(kind, made=None, **settings):
    """The same of data of this kind, with no more said of them than these settings."""
    made = made or RAW
    return replace(made, study={**made.study, "data": {"kind": kind, **settings}})


def pooled(*members, name="NIH ChestX-ray14 and PadChest"):
    made = from_kind("pooled", members={f"set{k}": one for k, one in enumerate(members)})
    return replace(made, data={**made.data, "name": name})


def analysed(made, **settings):
    return replace(made, study={**made.study, "analysis": {**made.study["analysis"], **settings}})


def at_point(made, point):
    return replace(made, study={**made.study, "analysis": {**made.study["analysis"], "operating_point": point}})


def attacked_by(made, *names):
    """The same with conditions of these attacks alone."""
    kept = [c for c in made.conditions if c["kind"] == "clean" or c["name"].split("(")[0] in names]
    return replace(made, conditions=tuple(kept))


LARGE_MADE = results(replace(LARGE, n_regimes=2, n_findings=2))
CLEAN = results(CLEAN_ONLY)
TRAINED = replace(RAW, regimes=tuple({**one, "replicates": 2} for one in RAW.regimes))
FEW = results(replace(TYPICAL, n_regimes=2, n_findings=3))


@pytest.mark.parametrize(
    ("title", "where", "elsewhere"),
    [
        ("One training run.", RAW, TRAINED),
        ("Few positives.", FEW, RAW),
        ("Not estimable.", FEW, RAW),
        ("Labels from reports.", with_data(RAW), with_data(RAW, kind="folder")),
        ("Labels from reports.", from_kind("openi"), from_kind("nih-chestxray14", labeler="google2019")),
        ("Labels from reports.", from_kind("padchest"), from_kind("vindr-cxr")),
        ("Labels from reports.", from_kind("mimic-cxr-jpg", labeler="radiologist"), from_kind("siim-pneumothorax")),
        ("Labels from reports.", from_kind("chexpert", split="train"), from_kind("chexpert", split="test")),
        ("Labels from reports.", pooled({"kind": "openi"}, {"kind": "folder"}), pooled({"kind": "folder"})),
        ("Phantoms are not patients.", with_data(RAW, kind="phantoms"), RAW),
        ("Phantoms are not patients.", pooled({"kind": "phantoms"}, {"kind": "openi"}), pooled({"kind": "openi"})),
        ("Attacks bound robustness from one side.", RAW, CLEAN),
        ("A single attack.", RAW, LARGE_MADE),
        ("A single attack.", attacked_by(LARGE_MADE, "fgsm"), CLEAN),
        ("Attacked at the study’s size.", with_data(RAW, size=224), with_data(RAW, size=1024)),
        ("Attacked at the study’s size.", with_data(RAW, size=224), with_data(RAW, kind="folder", size=224)),
        ("Attacked at the study’s size.", with_data(RAW, size=224), with_data(CLEAN, size=224)),
        ("Attacked at the study’s size.", from_kind("chexpert"), from_kind("medmnist")),
        ("Attacked at the study’s size.", pooled({"kind": "openi"}, {"kind": "folder"}), pooled({"kind": "phantoms"})),
        ("Thresholds from the same images.", RAW, at_point(RAW, 0.5)),
        ("Thresholds from the same images.", at_point(RAW, {"sensitivity": 0.9}), with_data(RAW, validation={})),
        ("Thresholds from the same images.", analysed(RAW, metrics=["auroc", "ece"]), replace(RAW, thresholds=())),
        ("Thresholds held fixed.", with_data(RAW, validation={}), RAW),
        ("One test set.", with_data(RAW), with_data(RAW, kind="phantoms")),
        ("Few test sets.", pooled({"kind": "openi"}, {"kind": "folder"}), pooled({"kind": "openi"})),
        ("One test set.", pooled({"kind": "openi"}), pooled({"kind": "openi"}, {"kind": "folder"})),
        ("Patients not known.", with_data(RAW, patients_known="none", images_per_patient=[1, 1, 1]), RAW),
        ("Patients not known.", with_data(RAW, patients_known="some"), with_data(RAW)),
        ("Small images.", with_data(RAW, size=64), with_data(RAW, size=224)),
        ("Small images.", with_data(RAW, size=64), with_data(RAW, size=None)),
    ],
)  # fmt: skip
def test_a_limit_is_told_where_it_holds_and_only_there(title, where, elsewhere):
    assert title in titles(where)
    assert title not in titles(elsewhere)


def test_a_study_of_one_regime_without_a_test_is_told_of_no_comparison_and_no_p_value():
    alone = results(SMALL)
    untested = with_data(replace(alone, estimates=tuple(e for e in alone.estimates if e.p_value is None)))
    told = {one.title: one.text for one in limits(view_of(untested))}
    assert told["Intervals stand alone."] == "Each interval covers its own estimate at 95%, not all of them together."
    assert "How the regime does at other hospitals" in told["One test set."]
    assert told["Labels from reports."].endswith("which may lower apparent performance.")
    assert built(untested, "answer")["shows"][0].endswith(
        "every interval of the main analysis counts patients, not images."
    )
    several = {one.title: one.text for one in limits(view_of(with_data(RAW)))}
    assert (
        "only p-values are adjusted for their number. A difference that could not" in several["Intervals stand alone."]
    )
    assert "How regimes compare at other hospitals" in several["One test set."]


def test_no_sign_flips_of_few_positives_reject_so_often_that_the_limitations_would_have_to_say_it():
    lines = (Path(__file__).parents[2] / "docs" / "coverage.md").read_text(encoding="utf-8").splitlines()
    told = [line.partition("; more for ")[2] for line in lines if line.startswith("- Sign flips reject true nulls")]
    assert len(told) == 2
    assert all(float(share) < 10 for one in told for share in re.findall(r"` (\d+\.\d)", one))
    (said,) = (one.text for one in limits(view_of(FEW)) if one.title == "Few positives.")
    assert said.endswith(
        "may hold their level badly, and those of some metrics do; these findings are drawn with open marks."
    )


@pytest.mark.parametrize(
    ("made", "expected"),
    [
        (from_kind("nih-chestxray14"), "The labels were extracted from radiology reports by software"),
        (from_kind("mimic-cxr-jpg", labeler="radiologist"), "The labels were taken from radiology reports by people"),
        (from_kind("padchest", labeler="all"), "reports, some by people and the others by software"),
        (pooled({"kind": "nih-chestxray14"}, {"kind": "vindr-cxr"}), "The labels of set0 were extracted"),
        (pooled({"kind": "nih-chestxray14"}, {"kind": "openi"}), "equally. The labels of set1 were taken"),
    ],
)  # fmt: skip
def test_labels_are_said_to_come_whence_they_do(made, expected):
    (text,) = (limit.text for limit in limits(view_of(made)) if limit.title == "Labels from reports.")
    assert expected in text


@pytest.mark.parametrize(
    ("made", "is_of_reports"),
    [
        (from_kind("mimic-cxr-jpg"), True),
        (from_kind("padchest"), True),
        (pooled({"kind": "openi"}, {"kind": "folder"}), True),
        (from_kind("nih-chestxray14", labeler="google2019"), False),
        (from_kind("chexpert", split="valid"), False),
    ],
)  # fmt: skip
def test_a_checklist_and_the_limits_agree_on_labels_from_reports(made, is_of_reports):
    assert labels_from_reports(view_of(made)) is is_of_reports
    assert ("Labels from reports." in titles(made)) is is_of_reports


OF_PATIENTS = "every interval and test of the main analysis counts patients, not images"
TAKEN_FOR_INDEPENDENT = "some intervals or tests take images for independent"
NO_PATIENTS = "where the data name no patients, each image counts as a patient"


@pytest.mark.parametrize(
    ("made", "expected"),
    [
        (RAW, OF_PATIENTS),
        (analysed(RAW, test="mcnemar-clustered", interval="delong-clustered"), OF_PATIENTS),
        (analysed(RAW, test="wilcoxon"), TAKEN_FOR_INDEPENDENT),
        (analysed(RAW, interval="delong"), TAKEN_FOR_INDEPENDENT),
        (analysed(RAW, per_metric={"accuracy": {"test": "cochran-q"}}), TAKEN_FOR_INDEPENDENT),
        (replace(RAW, estimates=(*RAW.estimates[:-1], replace(RAW.estimates[-1], test="mcnemar"))), TAKEN_FOR_INDEPENDENT),
        (with_data(RAW, patients_known="none"), NO_PATIENTS),
        (with_data(RAW, patients_known="some"), NO_PATIENTS),
    ],
)  # fmt: skip
def test_intervals_are_said_to_count_patients_only_where_they_do(made, expected):
    first = built(made, "answer")["shows"][0]
    assert first.endswith(f"{expected}.")
    assert ("6,187" in plain(first)) is (expected != NO_PATIENTS)
    assert built(made, "clustering")["unit"].lower() == expected
    for name in ("robustness", "corruptions"):
        assert (built(made, name)["intervals"] == "patient-level intervals") is (expected == OF_PATIENTS)


UNKNOWN = with_data(RAW, patients_known="none", images_per_patient=[1, 1.0, 1], n_patients=RAW.data["n_images"])


@pytest.mark.parametrize("kind", ["report", "appendix"])
def test_no_document_claims_patients_that_the_data_do_not_name(kind):
    """Each image is its own patient then, and a reader must not take an interval for one that counts patients."""
    bodies, _ = section_bodies(compose(view_of(UNKNOWN), kind))
    body = "".join(bodies.values())
    assert "patient-level" not in body
    assert "by patient" not in body
    assert not re.search(r"[\d,]+\s(?:</b>)?(?:of [\d,]+\s)?patients\b", body)
    assert "so that each image counts as a patient" in body


@pytest.mark.parametrize("name", ["calibration", "flips", "confidence"])
def test_diagrams_are_from_resamples_of_patients_whatever_test_a_study_chose(name):
    assert built(analysed(RAW, test="wilcoxon"), name)["intervals"] == "patient-level intervals"
    assert built(UNKNOWN, name)["intervals"] == "intervals"


def test_a_pool_in_which_some_images_have_patients_keeps_its_tests_by_patient():
    pool = with_data(RAW, patients_known="some")
    assert built(pool, "calibration")["intervals"] == "intervals"
    assert "by patient" in built(pool, "primary")["tests"]
    assert built(pool, "methods")["without_patients"] == "some"


@pytest.mark.parametrize(("made", "expected"), [(RAW, "patient-level intervals"), (UNKNOWN, "intervals")])
def test_captions_of_curves_name_no_bootstrap(made, expected):
    html = fill(compose(view_of(made)), medium="html", paper="A4")
    marked = {
        figure: re.findall(rf"{figure}[^<]*<[^<]*?; (bands|bars), 95%\s([^;.]*)[;.]", html)
        for figure in ("Performance against the strength", "Performance under corruptions")
    }
    assert list(marked.values()) == [[("bands", expected)], [("bars", expected)]]  # corruptions have one severity


def test_one_sign_at_every_strength_is_told_of_estimates_and_only_where_it_holds():
    def with_sign(place, sign):
        conditions = view_of(RAW).primary_series.conditions
        estimates = tuple(
            replace(e, estimate=(sign if e.condition == conditions[place] else -1) * 0.1, p_adjusted=0.001)
            if (e.estimand, e.metric) == ("difference-in-differences", "auroc") and e.condition in conditions
            else e
            for e in RAW.estimates
        )
        return [plain(one) for one in built(replace(RAW, estimates=estimates), "answer")["shows"][1:]]

    (same,) = with_sign(-1, -1)
    assert same.startswith("estimates of the difference in macro AUROC that have the same sign at every strength from ")
    assert same.endswith(", for linear-probe and lora.")
    assert with_sign(-1, 1) == []


def test_diagrams_of_one_of_several_training_runs_say_so():
    for name in ("calibration", "confidence", "flips"):
        assert built(TRAINED, name)["several_runs"]
        assert not built(RAW, name)["several_runs"]


@pytest.mark.parametrize(
    ("made", "expected"),
    [
        (replace(TYPICAL, n_regimes=3), "Difference-in-differences: the change from clean to perturbed images of 2 other "
         "regimes, less that of supervised, on the same 22,433 images of 6,187 patients, clean and under 12 perturbed "
         "conditions, PGD, ε = 1/255, 20 steps the primary one."),
        (CLEAN_ONLY, "Difference between each of 2 other regimes and supervised, on the same 22,433 images of 6,187 "
         "patients, clean images alone."),
        (replace(TYPICAL, n_regimes=1), "Change of supervised from clean to perturbed images, on the same 22,433 images of "
         "6,187 patients, clean and under 12 perturbed conditions, PGD, ε = 1/255, 20 steps the primary one."),
        (SMALL, "One regime, supervised, without a comparison, on 22,433 images of 6,187 patients, clean images alone."),
    ],
)  # fmt: skip
def test_the_summary_tells_the_design(made, expected):
    assert plain(built(results(made), "answer")["design"]) == expected


@pytest.mark.parametrize(
    ("resamples", "adjust", "p", "adjusted"),
    [(10_000, "holm", "1/10,001", "0.002"), (999, "bonferroni", "1/1,000", "0.03"), (10_000, "max-t", "1/10,001", "")],
)
def test_the_methods_tell_the_least_p_value_that_the_draws_allow(resamples, adjust, p, adjusted):
    one = results(TYPICAL)
    n_primary = sum(e.family == "primary" and e.p_value is not None for e in one.estimates)
    assert n_primary == 25
    analysis = {**one.study["analysis"], "resamples": resamples, "adjust": adjust}
    seen = View.of(replace(one, study={**one.study, "analysis": analysis}), images=None)
    values = sections["methods"].build(seen)
    assert (values["least_p"], values["least_adjusted"]) == (p, adjusted)
    text = plain(re.sub("<[^>]*>", "", section_bodies(compose(seen))[0]["methods"]))
    assert f"So many draws give no p-value below {p}" in text
    assert (f"({adjusted} in the primary one)" in text) == bool(adjusted)


def test_no_line_ends_between_a_p_value_and_its_sign():
    html = fill(compose(view_of(results(TYPICAL))), medium="pdf", paper="A4")
    assert len(re.findall(r"\bp(?:&nbsp;|\N{NO-BREAK SPACE})&lt;", html)) >= 3
    assert re.findall(r"\bp (?:&lt;|&gt;|[=<>≤≥])|(?:\bp.)(?:&lt;|&gt;|[=<>≤≥]) \d", html) == []


def test_of_many_regimes_a_sentence_counts_instead_of_naming():
    sentence = built(results(LARGE), "sensitivity")["sentence"]
    assert "AUROC (11 of 11 regimes)" in sentence


def test_every_sentence_of_the_sections_ends_and_no_mark_is_left_open():
    for made in (RAW, results(LARGE), CLEAN):
        for name in ("flips", "confidence", "power", "sensitivity"):
            if sections[name].needs(view_of(made)):
                found = built(made, name)
                for sentence in (*found.get("sentences", ()), found.get("sentence", "")):
                    assert re.fullmatch(r"(?s)|.*\.", sentence)
                    assert sentence.count("\ue000") == sentence.count("\ue001")


@pytest.mark.parametrize(
    "made", [RAW, FEW, LARGE_MADE, CLEAN, results(SMALL)], ids=["raw", "few", "large", "clean", "small"]
)
def test_no_sentence_begins_with_a_numeral(made):
    bodies, _ = section_bodies(compose(view_of(made)))
    texts = [
        re.sub(r"<[^>]+>", "", one).replace("&nbsp;", " ")
        for body in bodies.values()
        for one in re.findall(r"<(?:p|figcaption|caption)\b[^>]*>(.*?)</(?:p|figcaption|caption)>", str(body), re.S)
    ]
    alts = [item.alt for item in compose(view_of(made)).items if hasattr(item, "alt")]
    assert len(texts) > 20
    assert [one for one in (*texts, *alts) if re.search(r"(^|[.!?]\s+)\d[\d,.]*\s+[a-z]{3}", one.strip())] == []


@pytest.mark.parametrize(
    ("attack", "checked", "expected"),
    [
        ("pgd", False, "such as those that use no gradient or that search for the smallest perturbation, were not tried."),
        ("square", False, "such as those that follow the gradient or that search for the smallest perturbation, were not tried."),
        ("deepfool", False, "such as those that use no gradient, were not tried."),
        ("pgd", True, "were not tried on more than the few images of the checks."),
    ],
)  # fmt: skip
def test_a_single_attack_names_no_kind_as_missing_that_it_is_of(attack, checked, expected):
    conditions = tuple(
        {**one, "series": one["series"].replace("pgd", attack)} if one["kind"] == "attack" else one
        for one in RAW.conditions
    )
    checks = ({"regime": "lora"},) if checked else ()
    seen = view_of(replace(RAW, conditions=conditions, attack_checks=checks))
    (one,) = (limit for limit in limits(seen) if limit.title == "A single attack.")
    assert one.text.endswith(expected)


def test_the_methods_tell_of_perturbations_only_what_was_done():
    def told(made):
        text = section_bodies(compose(view_of(made)))[0]["methods"]
        return text[text.index("<h3>Perturbations") : text.index("<h3>What is not")]

    made = results(TYPICAL)
    corrupted = tuple(one for one in made.conditions if one["kind"] in {"clean", "corruption"})
    alone = told(replace(made, conditions=corrupted, primary_condition=corrupted[1]["name"]))
    every = told(made)
    for words in ("ε is in pixels", "Gradients were taken through the whole model"):
        assert words in every
        assert words not in alone
    from_elsewhere = tuple({**one, "family": "elsewhere"} for one in made.regimes)
    kinds = tuple({**one, "kind": "elsewhere"} if one["kind"] != "clean" else one for one in made.conditions)
    elsewhere = told(replace(made, regimes=from_elsewhere, conditions=kinds))
    assert "Gradients" not in elsewhere
    assert "depends on the study’s seed" not in elsewhere
    assert "How images were perturbed whose predictions were made elsewhere is not known here." in elsewhere


def test_percentiles_are_ordinals_at_every_level():
    seen = view_of(analysed(results(TYPICAL), level=0.98))
    assert "from the 1st to the 99th percentile of" in section_bodies(compose(seen))[0]["methods"]


def test_thresholds_are_said_to_be_of_the_images_they_were_chosen_on():
    from_validation = section_bodies(compose(view_of(with_data(RAW, validation=RAW.data))))[0]["reproducibility"]
    assert "sensitivity + specificity on the clean validation images" in from_validation
    assert (
        "sensitivity + specificity on the clean images" in section_bodies(compose(view_of(RAW)))[0]["reproducibility"]
    )


def test_readers_are_told_what_the_pdf_carries_and_the_commands_that_check_it():
    seen = view_of(results(CLEAN_ONLY))
    for kind, medium, opening in (
        ("report", "pdf", "This PDF carries"),
        ("appendix", "pdf", "This PDF carries"),
        ("appendix", "html", "As a PDF, this document carries"),
    ):
        text = in_words(fill(compose(seen, kind), medium=medium, paper="A4"))
        assert f"{opening} what it was made from, as attachments: the study file" in text
        assert f"cxrobust verify {kind}.pdf holds the attachments against these hashes" in text
    stages = [line for _, line in sections["reproducibility"].build(seen)["stages"]]
    assert stages[-3:] == ["cxrobust verify out/report.pdf", "cxrobust bundle out", "cxrobust reproduce out/bundle"]


def test_the_commit_stands_beside_the_version_that_ran():
    analysis = {"python": "3.12.1", "versions": {"cxrobust": "0.1.0", "numpy": "2.3.0"}, "commit": "abc123"}
    told = [
        sections["reproducibility"].build(view_of(replace(RAW, provenance={**RAW.provenance, "analysis": one})))
        for one in (analysis, {**analysis, "commit": None})
    ]
    assert [plain(one["analysis"]["versions"]) for one in told] == [
        "Python 3.12.1, cxrobust 0.1.0 (commit abc123), numpy 2.3.0",
        "Python 3.12.1, cxrobust 0.1.0, numpy 2.3.0",
    ]


def test_one_other_regime_is_not_told_as_several():
    design = sections["answer"].build(view_of(results(replace(CLEAN_ONLY, n_regimes=2))))["design"]
    assert design.startswith("Difference between 1\N{NO-BREAK SPACE}other regime and ")


def test_a_level_divided_by_many_comparisons_has_no_exponent():
    many = tuple(replace(one, alpha=0.01 / 106, comparisons=106) for one in RAW.power)
    assert built(replace(RAW, power=many), "power")["levels"] == "0.000094"


@pytest.mark.parametrize(("point", "flow"), [(0.5, "clean"), ("youden", "clean, for operating points")])
def test_images_are_said_to_give_operating_points_only_where_the_study_fixes_none(point: object, flow: str):
    made = results(SMALL)
    study = {**made.study, "analysis": {**made.study["analysis"], "operating_point": point}}
    data = {**made.data, "validation": made.data}
    view = View.of(replace(made, study=study, data=data), images=None)
    boxes = _boxes(view)
    assert [box.beside[-1] for box in boxes if box.beside] == [flow]
    assert (view.fixed_operating_point is None) == (point == "youden")


@pytest.mark.parametrize(("made", "expected"), [(Made(n_regimes=1, perturbed=False), False), (CLEAN_ONLY, True)])
def test_differences_are_named_on_the_first_page_only_where_there_are_some(made: Made, expected: bool):
    said = " ".join(built(results(made), "answer")["shows"])
    assert ("every difference is taken on the same images" in said) is expected
    assert "patient" in said


@pytest.mark.parametrize(("made", "has_averages"), [(TYPICAL, True), (SMALL, False)])
def test_the_methods_say_what_averages_have_of_a_finding_that_a_resample_does_not_define(made, has_averages):
    said = "averages over findings have the sample’s value in it"
    assert (said in section_bodies(compose(view_of(results(made))))[0]["methods"]) == has_averages
