import itertools
from dataclasses import replace
from pathlib import Path

import pytest

from cxrobust.inference.perturbations.torchattacks_balls import PGD
from cxrobust.reports import render
from cxrobust.reports.document import compose, section_bodies
from cxrobust.reports.sections.attack_checks import (
    FAIL,
    PASS,
    WARN,
    Measure,
    attack_checks,
    falling_metric,
    largest_rise,
    measures,
    sentences,
    unchecked,
    unjudged,
    verdict,
    without_shares,
)
from cxrobust.reports.view import View
from cxrobust.reports.words import plain as plain_words

from .made import TYPICAL, results
from .whole import CHECK as SOUND

CHECK = {
    **SOUND,
    "condition": "pgd(eps=1/255, steps=20)",
    "transferred": {"lora": 2.0, "adversarial": 1.5},
}


COMPARED = {"noise", "longer", "square", "transfer"}


def test_measures_are_shares_of_the_attacks_own_harm() -> None:
    found = measures({**CHECK, "regime": "supervised"})
    assert {key: one.value for key, one in found.items() if one is not None} == pytest.approx(
        {"gradients": 0.0, "noise": 0.1, "longer": 0.03, "square": 0.75, "transfer": 0.5, "unbounded": 0.0}
    )


@pytest.mark.parametrize("attacked", [0.999, 1.0])
def test_an_attack_without_harm_fails_each_check_that_compares_with_it(attacked: float) -> None:
    weak = {
        **CHECK,
        "regime": "a",
        "attacked": attacked,
        "noise": 1.2,
        "longer": 1.3,
        "square": 1.8,
        "transferred": {"lora": 1.9},
    }
    found = measures(weak)
    assert {key for key in found if verdict(key, found[key]) == FAIL} == COMPARED
    assert {one.lacks for one in found.values() if one is not None} == {"", "no share"}
    assert "Of 6\N{NO-BREAK SPACE}checks, 2 passed." in sentences({"a": [found]}, list(found))
    (said,) = without_shares(weak)
    assert said.startswith("The attack does no harm to ")
    assert all(
        number in said for number in ("1.000 on clean", f"{attacked:.3f} on attacked", "1.200", "1.300", "1.800")
    )
    assert "1.900 on those made on" in said


def test_a_loss_that_is_not_finite_fails_the_checks_that_need_it_by_name() -> None:
    assert without_shares({**CHECK, "regime": "a"}) == []
    for name, failing in (
        ("clean", COMPARED),
        ("attacked", COMPARED),
        ("noise", {"noise"}),
        ("longer", {"longer"}),
        ("square", {"square"}),
    ):
        check = {**CHECK, "regime": "a", name: None}
        found = measures(check)
        assert {key for key in found if verdict(key, found[key]) == FAIL} == failing
        (said,) = without_shares(check)
        assert "is not finite: a check that needs it fails" in said
    check = {**CHECK, "regime": "a", "transferred": {"lora": None, "adversarial": 1.5}}
    assert verdict("transfer", measures(check)["transfer"]) == FAIL
    assert "those made on" in without_shares(check)[0]


def test_what_was_not_made_has_no_verdict() -> None:
    found = measures({**CHECK, "regime": "a", "transferred": {}, "unbounded_wrong": None})
    assert found["transfer"] is found["unbounded"] is None


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
    ],
)
def test_verdicts(key: str, value: float, expected: str) -> None:
    assert verdict(key, Measure(value=value)) == expected
    assert verdict(key, None) == ""


def test_sentences_name_who_fails_and_what_that_means() -> None:
    runs = {
        "a": [{"noise": Measure(value=0.1), "square": Measure(value=1.5)}],
        "b": [{"noise": Measure(value=0.3), "square": Measure(value=0.5)}],
    }
    said = " ".join(sentences(runs, ["noise", "square"]))
    assert "Of 4\N{NO-BREAK SPACE}checks, 2 passed." in said
    assert "“No gradients used” fails for" in said
    assert "“Noise” warns for" in said
    assert "may be less robust" in said
    alone = sentences({"a": [{"noise": Measure(value=0.1)}]}, ["noise"])
    assert alone == ["Of 1\N{NO-BREAK SPACE}check, 1 passed."]


@pytest.mark.parametrize(("metric", "sign"), [("accuracy", 1), ("auroc", 1), ("brier", -1)])
def test_a_rise_from_one_strength_to_the_next_is_in_the_metrics_better_direction(metric: str, sign: int) -> None:
    view = View.of(results(TYPICAL), images=None)
    check = {**CHECK, "regime": "lora", "condition": view.primary}
    series = next(one for one in view.series if view.primary in one.conditions)
    values = [view.value(metric, "lora", condition).estimate for condition in ("clean", *series.conditions)]
    expected = max(max(sign * (after - before), 0) for before, after in itertools.pairwise(values))
    assert largest_rise(view, check, metric).value == pytest.approx(expected)


def test_accuracy_is_what_a_stronger_attack_must_lower() -> None:
    made = results(TYPICAL)
    check = {**CHECK, "regime": "lora", "condition": made.primary_condition}
    later = next(one for one in View.of(made, images=None).series if check["condition"] in one.conditions).conditions[
        -1
    ]
    risen = tuple(
        replace(one, estimate=0.99)
        if (one.estimand, one.metric, one.regime, one.condition) == ("value", "accuracy", "lora", later)
        else one
        for one in made.estimates
    )
    view = View.of(replace(made, estimates=risen, attack_checks=(check,)), images=None)
    metric = falling_metric(view, check["condition"])
    assert metric == "accuracy" != view.metrics[0]
    assert verdict("strengths", largest_rise(view, check, metric)) == FAIL


def with_accuracy(values: dict[str, float], check: dict[str, object]) -> View:
    """A checked study in which one regime has this accuracy under these conditions."""
    made = results(TYPICAL)
    changed = tuple(
        replace(one, estimate=values[one.condition])
        if (one.estimand, one.metric, one.regime, one.finding) == ("value", "accuracy", "lora", "macro")
        and one.condition in values
        else one
        for one in made.estimates
    )
    return View.of(replace(made, estimates=changed, attack_checks=(check,)), images=None)


@pytest.mark.parametrize("n_strengths", [1, 4])
@pytest.mark.parametrize(("first", "rise", "expected"), [(0.99, 0.49, FAIL), (0.51, 0.01, WARN), (0.5, 0.0, PASS)])
def test_the_weakest_attack_must_not_help_against_clean_images(
    first: float, rise: float, expected: str, n_strengths: int
) -> None:
    made = results(TYPICAL)
    check = {**CHECK, "regime": "lora", "condition": made.primary_condition}
    (series,) = (one for one in View.of(made, images=None).series if made.primary_condition in one.conditions)
    of_attack = {name: first - 0.01 * place for place, name in enumerate(series.conditions)}
    view = with_accuracy({"clean": 0.5, **of_attack}, check)
    if n_strengths == 1:
        left = set(series.conditions) - {made.primary_condition}
        kept = tuple(one for one in made.conditions if one["name"] not in left)
        values = {"clean": 0.5, str(made.primary_condition): first}
        view = with_accuracy(values, check)
        view = View.of(replace(view.results, conditions=kept), images=None)
    found = largest_rise(view, check, "accuracy")
    assert found is not None
    assert found.value == pytest.approx(rise)
    assert verdict("strengths", found) == expected
    said = " ".join(attack_checks(view)["sentences"])
    assert ("“Stronger attack” fails" in said) == (expected == FAIL)
    assert "was not checked" not in said


@pytest.mark.parametrize("aim", ["target=Effusion, goal=hide", "target=Effusion, goal=fabricate", "target=report"])
def test_an_attack_that_is_not_on_what_is_right_need_not_lower_a_metric(aim: str) -> None:
    condition = f"pgd(eps=1/255, {aim}, steps=20)"
    made = results(TYPICAL)
    check = {**CHECK, "regime": "lora", "condition": condition}
    view = View.of(replace(made, attack_checks=(check,)), images=None)
    assert falling_metric(view, condition) is None
    found = attack_checks(view)
    assert "strengths" not in found["shown"]
    assert "does not aim at what is right" in " ".join(found["sentences"])


@pytest.mark.parametrize(
    ("aim", "change", "bound"),
    [
        ("text=reference", "halved", "above half that"),
        ("", "halved", "above half that"),
        ("text=Edema.", "doubled", "below twice that"),
        ("goal=fabricate", "doubled", "below twice that"),
        ("goal=hide, text=Edema.", "halved", "above half that"),
    ],
)
def test_without_a_bound_an_attack_on_reports_is_told_of_the_text(
    aim: str, change: str, bound: str, tmp_path: Path, drawn: Path
) -> None:
    """Halved where the attack's own class says that it makes the text less likely."""
    made = results(TYPICAL)
    condition = f"pgd(eps=1/255, target=report{', ' * bool(aim)}{aim}, steps=20)"
    attack = PGD(
        attack="pgd", eps=1 / 255, target="report", **dict(part.split("=") for part in aim.split(", ") if part)
    )
    assert attack.lowers_text == (change == "halved")
    failing = {**CHECK, "regime": "lora", "condition": condition, "unbounded_wrong": 0.5}
    found = attack_checks(View.of(replace(made, attack_checks=(failing,)), images=None))
    said = plain_words(" ".join(found["sentences"]))
    expected = f"It looks at the text, not at findings: the probability of one of its tokens has to be {change}."
    assert f"“Without a bound” fails for lora. {expected}" in said
    assert f"texts not {change}" in [column.under for column in found["checks"].columns]
    passing = {**failing, "unbounded_wrong": 1.0}
    assert "It looks at the text" not in " ".join(
        attack_checks(View.of(replace(made, attack_checks=(passing,)), images=None))["sentences"]
    )
    written = render(replace(made, attack_checks=(failing,)), formats=("html",), out=tmp_path, images=None, keep=drawn)
    text = next(one for one in written if one.name == "report.html").read_text(encoding="utf-8")
    assert bound in text
    assert "leaves that finding right" not in text


def test_without_a_bound_an_attack_on_findings_is_told_of_the_finding() -> None:
    made = results(TYPICAL)
    failing = {**CHECK, "regime": "lora", "condition": made.primary_condition, "unbounded_wrong": 0.5}
    found = attack_checks(View.of(replace(made, attack_checks=(failing,)), images=None))
    assert not found["change"]
    assert "images left right" in [column.under for column in found["checks"].columns]
    assert "It looks at the text" not in " ".join(found["sentences"])


@pytest.mark.parametrize(
    ("unbounded", "said"),
    [
        ("pgd(eps=1.0, steps=80)", "ε = 1, 80 steps"),
        ("pgd-l2(eps=224.0, target=worst, steps=40)", "ε = 224, 40 steps"),
        ("patch(side=100, steps=12)", "100% of the side, 12 steps"),
    ],
)
def test_the_caption_tells_how_long_other_attacks_searched_and_how_far(unbounded: str, said: str) -> None:
    made = results(replace(TYPICAL, n_regimes=2, n_findings=2))
    check = {**CHECK, "regime": "lora", "condition": made.primary_condition, "unbounded": unbounded}
    view = View.of(replace(made, attack_checks=(check,)), images=None)
    told = section_bodies(compose(view))[0]["attack_checks"].replace("\N{NO-BREAK SPACE}", " ")
    assert "No gradients used, the Square attack, 64 queries an image, within the same distance." in told
    assert f"Without a bound, images of which an attack of any size ({said}) on one finding leaves" in told


def test_an_attack_on_one_finding_is_judged_by_that_finding() -> None:
    made = results(TYPICAL)
    other = "pgd(eps=1/255, target=Effusion, steps=20)"
    renamed = tuple({**one, "name": other} if one["name"] == made.primary_condition else one for one in made.conditions)
    estimates = tuple(
        replace(one, condition=other, estimate=0.95 if one.finding == "Effusion" else one.estimate)
        if (one.estimand, one.metric, one.condition) == ("value", "accuracy", made.primary_condition)
        else one
        for one in made.estimates
    )
    check = {**CHECK, "regime": "lora", "condition": other}
    one_strength = tuple(one for one in renamed if not one["name"].startswith("pgd") or one["name"] == other)
    view = View.of(replace(made, conditions=one_strength, estimates=estimates, attack_checks=(check,)), images=None)
    clean = view.value("accuracy", "lora", "clean", "Effusion")
    assert clean is not None
    assert clean.estimate is not None
    found = largest_rise(view, check, "accuracy")
    assert found is not None
    assert found.value == pytest.approx(0.95 - clean.estimate)


def several_runs() -> tuple[dict[str, object], ...]:
    """Checks of two runs of one regime, of which the second has no gradient and its attack does no harm."""
    condition = results(TYPICAL).primary_condition
    good = {**CHECK, "regime": "lora", "condition": condition}
    return good, {**good, "replicate": 1, "without_gradient": 1.0, "attacked": 0.5}


def test_every_training_run_is_counted_and_the_worst_is_shown() -> None:
    made = results(TYPICAL)
    found = attack_checks(View.of(replace(made, attack_checks=several_runs()), images=None))
    said = plain_words(" ".join(found["sentences"]))
    # of the first run 6 and the fall with strength, of the second 6: it fails all but that without a bound
    assert "Of 13 checks, 8 passed." in said
    assert "“No gradient” fails for lora (in 1 of 2 runs)." in said
    assert "The attack does no harm to lora (run 2)" in said
    (group,) = found["checks"].groups
    (row,) = group.rows
    cells = {key: (cell.text, cell.under) for key, cell in zip(found["shown"], row, strict=True)}
    assert cells["gradients"] == ("100.0%", FAIL)
    assert cells["noise"] == ("no share", FAIL)
    assert found["several_runs"]


def test_a_share_below_0_has_a_true_minus_sign() -> None:
    weaker = {**CHECK, "regime": "lora", "longer": 2.9}
    found = attack_checks(View.of(replace(results(TYPICAL), attack_checks=(weaker,)), images=None))
    (group,) = found["checks"].groups
    cells = dict(zip(found["shown"], group.rows[0], strict=True))
    assert cells["longer"].text == "−5.0%"


def test_documents_say_what_is_shown_of_several_runs(tmp_path: Path, drawn: Path) -> None:
    made = results(TYPICAL)
    names = [one["name"] for one in made.regimes]
    one_run = tuple(
        {**CHECK, "regime": name, "condition": made.primary_condition, "transferred": dict.fromkeys(names, 2.0)}
        for name in names
    )
    for checks, there in ((one_run, False), ((*one_run, {**one_run[1], "replicate": 1}), True)):
        written = render(replace(made, attack_checks=checks), formats=("html",), out=tmp_path, images=None, keep=drawn)
        for text in (path.read_text(encoding="utf-8") for path in written):
            assert ("each check shows the run that is farthest from passing" in text) == there
            assert ("the mean over the runs of the regime that reads" in text) == there


def test_the_worst_run_is_told_whatever_its_place() -> None:
    good, bad = several_runs()
    bad_first = {**bad, "replicate": 0}, {**good, "replicate": 1}
    made = results(TYPICAL)
    tables = [
        attack_checks(View.of(replace(made, attack_checks=checks), images=None))["checks"]
        for checks in ((good, bad), bad_first)
    ]
    assert tables[0] == tables[1]
    alone = attack_checks(View.of(replace(made, attack_checks=(good,)), images=None))
    assert not alone["several_runs"]
    assert "run" not in plain_words(" ".join(alone["sentences"]))


def with_metrics(*metrics: str, conditions: int = 4) -> View:
    """A checked study that has these metrics, and the attack at so many strengths."""
    made = results(TYPICAL)
    settings = {**made.study, "analysis": {**made.study["analysis"], "metrics": list(metrics)}}
    check = {**CHECK, "regime": "lora", "condition": made.primary_condition}
    attack = [one for one in made.conditions if one["name"].startswith("pgd") and one["name"] != made.primary_condition]
    left = {one["name"] for one in attack[conditions - 1 :]}
    kept = tuple(one for one in made.conditions if one["name"] not in left)
    return View.of(replace(made, study=settings, conditions=kept, attack_checks=(check,)), images=None)


def test_where_rises_were_not_judged_by_accuracy_or_at_all_is_said() -> None:
    def said(view: View) -> str:
        (check,) = view.results.attack_checks
        metric = falling_metric(view, check["condition"])
        rise = None if metric is None else largest_rise(view, check, metric)
        return " ".join(unjudged(view, {"lora": {"strengths": rise}}, metric))

    assert said(with_metrics("auroc", "accuracy")) == ""
    assert "judged by AUROC, since accuracy is not among" in said(with_metrics("auroc", "confidence"))
    assert "accuracy is not among the study’s metrics, and of its first" in said(with_metrics("confidence", "auroc"))
    assert said(with_metrics("accuracy", conditions=1)) == ""


def test_both_sections_stand_in_report_and_appendix_where_there_are_checks(tmp_path: Path, drawn: Path) -> None:
    made = results(TYPICAL)
    names = [one["name"] for one in made.regimes]
    checks = tuple(
        {**CHECK, "regime": name, "condition": made.primary_condition, "transferred": dict.fromkeys(names, 2.0)}
        for name in names
    )
    with_checks = replace(made, attack_checks=checks)
    for found, there in ((with_checks, True), (made, False)):
        written = {path.name: path for path in render(found, formats=("html",), out=tmp_path, images=None, keep=drawn)}
        for name in ("report.html", "appendix.html"):
            text = written[name].read_text(encoding="utf-8")
            assert ('id="attack_checks"' in text) == there
            assert ('id="transfer"' in text) == there
            assert ("by how much the accuracy at the operating point recovers at most" in text) == there


def test_regimes_that_were_not_checked_are_named_with_the_reason(tmp_path: Path, drawn: Path) -> None:
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
    path = next(
        one
        for one in render(alone, formats=("html",), out=tmp_path, images=None, keep=drawn)
        if one.name == "report.html"
    )
    assert "no attack of the study takes steps within a distance" in path.read_text(encoding="utf-8")


def test_the_report_prints_that_an_attack_without_harm_fails(tmp_path: Path, drawn: Path) -> None:
    made = results(TYPICAL)
    checks = tuple(
        {**CHECK, "regime": one["name"], "condition": made.primary_condition, "attacked": 0.9} for one in made.regimes
    )
    written = render(replace(made, attack_checks=checks), formats=("html",), out=tmp_path, images=None, keep=drawn)
    text = next(one for one in written if one.name == "report.html").read_text(encoding="utf-8")
    assert "The attack does no harm to" in text
    assert "No share, the attack does no harm" in text
    assert ">no share<" in text
