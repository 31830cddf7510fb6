"""What the report says of a result that is shown, not shown, within a margin or not estimable, in both directions."""

import re
from dataclasses import replace

import pytest

from cxrobust.reports.sentences import (
    change_sentence,
    comparison_sentence,
    digits_of,
    findings_sentence,
    judge,
    overview_sentence,
    reason,
    under,
)
from cxrobust.reports.view import View
from cxrobust.results import Estimate, MetricRecord

from .made import Made, only, results

PRIMARY = "pgd(eps=1/255, steps=20)"
RAW = results(Made(n_regimes=2, n_findings=2, n_severities=0, one_class=False, few=False))
OTHER = "linear-probe"


def estimate(
    estimand, value, p, *, regime=OTHER, metric="auroc", finding="macro", test="permutation", margin=None, patients=30
):
    counts = {"n_images": 100, "n_patients": 50, "n_positive": 40, "n_positive_patients": patients}
    reference = "supervised" if estimand == "difference-in-differences" else None
    condition = "clean" if estimand == "clean" else PRIMARY
    where = {"metric": metric, "regime": regime, "reference": reference, "condition": condition, "finding": finding}
    estimand = "value" if estimand == "clean" else estimand
    if value is None:
        return Estimate(estimand=estimand, **where, **counts, reason="one class only")
    return Estimate(
        estimand=estimand, **where, **counts, estimate=value, ci_low=value - 0.02, ci_high=value + 0.02, p_value=p,
        p_adjusted=p, test=None if p is None else test, margin=margin,
    )  # fmt: skip


def view(*estimates):
    return View.of(only(RAW, estimates=estimates), images=None)


def words(sentence):
    return re.sub("[\ue000\ue001]", "", sentence).replace("\N{NO-BREAK SPACE}", " ")


def changed(value, p, **given):
    """A study in which one regime's AUROC went from 0.8 by `value`."""
    after = None if value is None else 0.8 + value
    clean, perturbed = (estimate(e, v, None) for e, v in (("clean", 0.8), ("value", after)))
    return view(clean, perturbed, estimate("perturbed-clean", value, p, **given))


TOST = {"test": "tost", "margin": 0.05}
NONINFERIORITY = {"test": "noninferiority", "margin": 0.05}


@pytest.mark.parametrize(
    ("value", "p", "given", "expected"),
    [
        (-0.1, 0.0001, {}, "Macro AUROC of linear-probe fell from 0.800 to 0.700 "
         "(change −0.100; 95% CI, −0.120 to −0.080; adjusted p < 0.001)."),
        (0.1, 0.012, {}, "Macro AUROC of linear-probe rose from 0.800 to 0.900 "
         "(change +0.100; 95% CI, 0.080 to 0.120; adjusted p = 0.01)."),
        (-0.01, 0.3, {}, "For the macro AUROC of linear-probe no change could be shown "
         "(−0.010; 95% CI, −0.030 to 0.010; adjusted p = 0.30)."),
        (0.01, 0.3, {}, "For the macro AUROC of linear-probe no change could be shown "
         "(+0.010; 95% CI, −0.010 to 0.030; adjusted p = 0.30)."),
        (None, None, {}, "Macro AUROC of linear-probe is not estimable (one class only)."),
        (-0.01, 0.003, TOST, "For the macro AUROC of linear-probe a change of the margin of 0.05 or more could be ruled "
         "out (−0.010; 95% CI, −0.030 to 0.010; adjusted p = 0.003)."),
        (0.04, 0.3, TOST, "For the macro AUROC of linear-probe a change of the margin of 0.05 or more could not be "
         "ruled out (+0.040; 95% CI, 0.020 to 0.060; adjusted p = 0.30)."),
        (0.01, 0.003, TOST, "For the macro AUROC of linear-probe a change of the margin of 0.05 or more could be ruled "
         "out (+0.010; 95% CI, −0.010 to 0.030; adjusted p = 0.003)."),
        (-0.04, 0.3, TOST, "For the macro AUROC of linear-probe a change of the margin of 0.05 or more could not be "
         "ruled out (−0.040; 95% CI, −0.060 to −0.020; adjusted p = 0.30)."),
        (-0.01, 0.003, NONINFERIORITY, "The macro AUROC of linear-probe was not worse by the margin of 0.05 or more "
         "(−0.010; 95% CI, −0.030 to 0.010; adjusted p = 0.003)."),
        (0.01, 0.3, NONINFERIORITY, "For the macro AUROC of linear-probe a loss of the margin of 0.05 or more could "
         "not be ruled out (+0.010; 95% CI, −0.010 to 0.030; adjusted p = 0.30)."),
        (0.01, 0.003, NONINFERIORITY, "The macro AUROC of linear-probe was not worse by the margin of 0.05 or more "
         "(+0.010; 95% CI, −0.010 to 0.030; adjusted p = 0.003)."),
        (-0.04, 0.3, NONINFERIORITY, "For the macro AUROC of linear-probe a loss of the margin of 0.05 or more could "
         "not be ruled out (−0.040; 95% CI, −0.060 to −0.020; adjusted p = 0.30)."),
    ],
)  # fmt: skip
def test_a_change_is_worded_as_its_test_allows(value, p, given, expected):
    assert words(change_sentence(changed(value, p, **given), "auroc", OTHER)) == expected


@pytest.mark.parametrize(
    ("value", "p", "given", "expected"),
    [
        (-0.1, 0.0001, {}, "Under PGD, ε = 1/255, 20 steps, macro AUROC fell by 0.100 with linear-probe; "
         "the change is not estimable with supervised."),
        (0.1, 0.0001, {}, "Under PGD, ε = 1/255, 20 steps, macro AUROC rose by 0.100 with linear-probe; "
         "the change is not estimable with supervised."),
        (0.1, 0.9, {}, "Under PGD, ε = 1/255, 20 steps, for macro AUROC no change could be shown with linear-probe; "
         "the change is not estimable with supervised."),
        (0.01, 0.01, TOST, "Under PGD, ε = 1/255, 20 steps, for macro AUROC a change of the margin of 0.05 or more "
         "could be ruled out with linear-probe; the change is not estimable with supervised."),
        (-0.01, 0.2, NONINFERIORITY, "Under PGD, ε = 1/255, 20 steps, for macro AUROC a loss of the margin of 0.05 or "
         "more could not be ruled out with linear-probe; the change is not estimable with supervised."),
    ],
)  # fmt: skip
def test_an_overview_is_worded_as_its_tests_allow(value, p, given, expected):
    seen = changed(value, p, **given)
    assert words(overview_sentence(seen, "auroc", PRIMARY, opening=under(PRIMARY))) == expected


def compared(value, p, *, changes=(-0.2, -0.1), **given):
    """A study in which the reference and the other regime changed by so much, and this is the difference."""
    both = [
        estimate("perturbed-clean", change, 0.0001, regime=regime, metric=given.get("metric", "auroc"))
        for regime, change in zip(("supervised", OTHER), changes, strict=True)
    ]
    return view(*both, estimate("difference-in-differences", value, p, **given))


@pytest.mark.parametrize(
    ("seen", "expected"),
    [
        (compared(0.1, 0.0001), "Compared with that, linear-probe lost 0.100 less (95% CI, 0.080 to 0.120; adjusted p < 0.001)."),
        (compared(-0.1, 0.0001, changes=(-0.1, -0.2)), "Compared with that, linear-probe lost 0.100 more "
         "(95% CI, 0.080 to 0.120; adjusted p < 0.001)."),
        (compared(0.3, 0.0001, changes=(-0.1, 0.2)), "Compared with that, the change of linear-probe was 0.300 higher "
         "(95% CI, 0.280 to 0.320; adjusted p < 0.001)."),
        (compared(0.1, 0.2), "Compared with that, for linear-probe no difference could be shown "
         "(+0.100; 95% CI, 0.080 to 0.120; adjusted p = 0.20)."),
        (compared(0.01, 0.02, **TOST), "Compared with that, for linear-probe a difference of the margin of 0.05 or more "
         "could be ruled out (+0.010; 95% CI, −0.010 to 0.030; adjusted p = 0.02)."),
        (compared(-0.01, 0.02, **TOST), "Compared with that, for linear-probe a difference of the margin of 0.05 or more "
         "could be ruled out (−0.010; 95% CI, −0.030 to 0.010; adjusted p = 0.02)."),
        (compared(0.04, 0.2, **TOST), "Compared with that, for linear-probe a difference of the margin of 0.05 or more "
         "could not be ruled out (+0.040; 95% CI, 0.020 to 0.060; adjusted p = 0.20)."),
        (compared(-0.04, 0.2, **TOST), "Compared with that, for linear-probe a difference of the margin of 0.05 or more "
         "could not be ruled out (−0.040; 95% CI, −0.060 to −0.020; adjusted p = 0.20)."),
        (compared(-0.04, 0.2, **NONINFERIORITY), "Compared with that, for linear-probe a loss of the margin of 0.05 or "
         "more could not be ruled out (−0.040; 95% CI, −0.060 to −0.020; adjusted p = 0.20)."),
        (compared(-0.01, 0.02, **NONINFERIORITY), "Compared with that, linear-probe was not worse by the margin of 0.05 "
         "or more (−0.010; 95% CI, −0.030 to 0.010; adjusted p = 0.02)."),
        (compared(None, None), "Compared with that, macro AUROC of linear-probe is not estimable (one class only)."),
    ],
)  # fmt: skip
def test_a_comparison_is_worded_as_its_test_allows(seen, expected):
    assert words(comparison_sentence(seen, "auroc")) == expected


@pytest.mark.parametrize(("better", "verb"), [("higher", "lost"), ("lower", "fell by"), (None, "fell by")])
def test_a_metric_of_another_package_is_worded_by_its_own_side(better, verb):
    seen = compared(0.1, 0.0001, metric="theirs").results
    study = {**seen.study, "analysis": {**seen.study["analysis"], "metrics": ["theirs"]}}
    theirs = only(seen, study=study, metrics=(MetricRecord(name="theirs", better=better),))
    assert f" {verb} 0.100 less " in words(comparison_sentence(View.of(theirs, images=None), "theirs"))


CLEAN_RAW = results(Made(n_regimes=2, n_findings=2, perturbed=False, one_class=False, few=False))


def between(value, p, *, metric="auroc", **given):
    """A study without perturbations in which the regimes differ by so much."""
    found = replace(
        estimate("clean", value, p, metric=metric, **given), estimand="regime-reference", reference="supervised"
    )
    return View.of(only(CLEAN_RAW, estimates=(found,)), images=None)


@pytest.mark.parametrize(
    ("seen", "metric", "expected"),
    [
        (compared(0.1, 0.0001, changes=(0.1, 0.2)), "auroc", "Compared with that, linear-probe gained 0.100 more (95% CI, 0.080 to 0.120; adjusted p < 0.001)."),
        (compared(-0.1, 0.0001, changes=(0.2, 0.1)), "auroc", "Compared with that, linear-probe gained 0.100 less (95% CI, 0.080 to 0.120; adjusted p < 0.001)."),
        (compared(-0.3, 0.0001, changes=(0.2, -0.1)), "auroc", "Compared with that, the change of linear-probe was 0.300 lower (95% CI, 0.280 to 0.320; adjusted p < 0.001)."),
        (compared(0.1, 0.0001, changes=(0.1, 0.2), metric="ece"), "ece", "Compared with that, the ECE of linear-probe rose by 0.100 more (95% CI, 0.080 to 0.120; adjusted p < 0.001)."),
        (compared(0.1, 0.0001, changes=(-0.2, -0.1), metric="ece"), "ece", "Compared with that, the ECE of linear-probe fell by 0.100 less (95% CI, 0.080 to 0.120; adjusted p < 0.001)."),
        (between(0.1, 0.0001), "auroc", "That of linear-probe was 0.100 higher (95% CI, 0.080 to 0.120; adjusted p < 0.001)."),
        (between(-0.1, 0.0001), "auroc", "That of linear-probe was 0.100 lower (95% CI, 0.080 to 0.120; adjusted p < 0.001)."),
        (between(0.01, 0.02, **TOST), "auroc", "For linear-probe a difference of the margin of 0.05 or more could be ruled out (+0.010; 95% CI, −0.010 to 0.030; adjusted p = 0.02)."),
        (between(-0.01, 0.02, **TOST), "auroc", "For linear-probe a difference of the margin of 0.05 or more could be ruled out (−0.010; 95% CI, −0.030 to 0.010; adjusted p = 0.02)."),
        (between(0.04, 0.2, **TOST), "auroc", "For linear-probe a difference of the margin of 0.05 or more could not be ruled out (+0.040; 95% CI, 0.020 to 0.060; adjusted p = 0.20)."),
        (between(-0.04, 0.2, **TOST), "auroc", "For linear-probe a difference of the margin of 0.05 or more could not be ruled out (−0.040; 95% CI, −0.060 to −0.020; adjusted p = 0.20)."),
        (between(-0.1, 0.2), "auroc", "For linear-probe no difference could be shown (−0.100; 95% CI, −0.120 to −0.080; adjusted p = 0.20)."),
    ],
)  # fmt: skip
def test_a_comparison_goes_the_way_that_its_estimates_go(seen, metric, expected):
    assert words(comparison_sentence(seen, metric)) == expected


@pytest.mark.parametrize(("value", "verb"), [(-0.1, "fell"), (0.1, "rose")])
def test_a_change_of_a_metric_that_is_better_low_goes_the_way_of_its_numbers(value, verb):
    ends = [estimate(kind, one, None, metric="ece") for kind, one in (("clean", 0.3), ("value", 0.3 + value))]
    seen = view(*ends, estimate("perturbed-clean", value, 0.0001, metric="ece"))
    said = words(change_sentence(seen, "ece", OTHER, numbers=False))
    assert said == f"Macro ECE of linear-probe {verb} from 0.300 to {0.3 + value:.3f}."


@pytest.mark.parametrize(
    ("p_values", "given", "expected"),
    [
        ((0.001, 0.4), {}, "With linear-probe a difference could be shown for 1 of 2 findings, positive."),
        ((0.2, 0.4), {}, "With linear-probe a difference could be shown for none of 2 findings."),
        ((None, None), {}, "With linear-probe the difference was not tested for any finding."),
        ((0.001, 0.4), TOST, "With linear-probe a difference of the margin of 0.05 or more could be ruled out for 1 of 2 findings."),
    ],
)  # fmt: skip
def test_findings_are_counted_as_their_tests_allow(p_values, given, expected):
    rows = [
        estimate("difference-in-differences", 0.01, p, finding=finding, **given)
        for finding, p in zip(("Effusion", "Infiltration"), p_values, strict=True)
    ]
    assert words(findings_sentence(view(*rows), "auroc", OTHER)) == expected


@pytest.mark.parametrize(
    ("p_values", "patients", "given", "expected"),
    [
        ((0.001, 0.4, 0.4), (19, 30, 30), {}, "1 of 3 findings, positive; it has fewer than 20 positive patients."),
        ((0.001, 0.4, 0.4), (20, 19, 30), {}, "1 of 3 findings, positive."),
        ((0.001, 0.001, 0.001), (30, 19, 20), {}, "3 of 3 findings, always positive; 1 of these has fewer than 20 positive patients."),
        ((0.001, 0.001, 0.001), (3, 19, 20), {}, "3 of 3 findings, always positive; 2 of these have fewer than 20 positive patients."),
        ((0.001, 0.001, 0.4), (3, 19, 20), {}, "2 of 3 findings, always positive; each has fewer than 20 positive patients."),
        ((0.001, 0.001, 0.4), (30, 19, 3), TOST, "ruled out for 2 of 3 findings; 1 of these has fewer than 20 positive patients."),
        ((0.4, 0.4, 0.4), (3, 19, 3), TOST, "ruled out for 0 of 3 findings."),
    ],
)  # fmt: skip
def test_of_findings_that_are_shown_those_of_few_positives_are_counted(p_values, patients, given, expected):
    three = results(Made(n_regimes=2, n_findings=3, n_severities=0, one_class=False, few=False))
    rows = [
        estimate("difference-in-differences", 0.01, p, finding=finding["name"], patients=n, **given)
        for finding, p, n in zip(View.of(three, images=None).findings, p_values, patients, strict=True)
    ]
    seen = View.of(only(three, estimates=rows), images=None)
    assert words(findings_sentence(seen, "auroc", OTHER)).endswith(expected)


def test_p_at_the_level_is_not_shown():
    assert judge(estimate("perturbed-clean", -0.1, 0.05), alpha=0.05) == "not shown"
    assert judge(estimate("perturbed-clean", -0.1, 0.0499), alpha=0.05) == "shown"


def test_a_reason_is_told_as_it_is_and_its_lack_too():
    one = estimate("perturbed-clean", None, None)
    assert reason(one) == "one class only"
    assert reason(replace(one, note="not estimable: two; three")) == "one class only"
    assert [reason(None), reason(replace(one, reason=None))] == ["no estimate in the results"] * 2


@pytest.mark.parametrize(
    ("p", "expected"),
    [
        (0.004, "Compared with that, linear-probe, lora, adversarial, and preference lost 0.050 to 0.080 less "
         "(95% CIs within 0.030 to 0.100; adjusted p ≤ 0.004)."),
        (0.4, "Compared with that, for linear-probe, lora, adversarial, and preference no difference could be shown "
         "(estimates +0.050 to +0.080; 95% CIs within 0.030 to 0.100; adjusted p ≥ 0.40)."),
        (0.0242, "Compared with that, linear-probe, lora, adversarial, and preference lost 0.050 to 0.080 less "
         "(95% CIs within 0.030 to 0.100; adjusted p ≤ 0.03)."),
        (0.2061, "Compared with that, for linear-probe, lora, adversarial, and preference no difference could be shown "
         "(estimates +0.050 to +0.080; 95% CIs within 0.030 to 0.100; adjusted p ≥ 0.20)."),
    ],
)  # fmt: skip
def test_regimes_told_together_keep_what_holds_their_intervals(p, expected):
    raw = results(Made(n_regimes=5, n_findings=2, n_severities=0, one_class=False, few=False))
    others = View.of(raw, images=None).others
    found = [estimate("perturbed-clean", -0.2, 0.0001, regime=name) for name in ("supervised", *others)]
    found += [estimate("difference-in-differences", 0.05 + 0.01 * k, p, regime=name) for k, name in enumerate(others)]
    seen = View.of(only(raw, estimates=tuple(found)), images=None)
    assert words(comparison_sentence(seen, "auroc")) == expected


def test_regimes_that_are_not_estimable_for_other_reasons_are_told_apart():
    raw = results(Made(n_regimes=5, n_findings=2, n_severities=0, one_class=False, few=False))
    others = View.of(raw, images=None).others
    found = [estimate("perturbed-clean", -0.2, 0.0001, regime=name) for name in ("supervised", *others)]
    reasons = ["no positive image", "no positive image", "one class only", "no positive image"]
    found += [
        replace(estimate("difference-in-differences", None, None, regime=name), reason=why)
        for name, why in zip(others, reasons, strict=True)
    ]
    seen = View.of(only(raw, estimates=tuple(found)), images=None)
    assert words(comparison_sentence(seen, "auroc")) == (
        "Compared with that, macro AUROC of linear-probe, lora, and preference is not estimable (no positive image); "
        "macro AUROC of adversarial is not estimable (one class only)."
    )


def test_intervals_of_regimes_that_lost_more_are_told_with_the_sign_of_what_was_lost():
    raw = results(Made(n_regimes=5, n_findings=2, n_severities=0, one_class=False, few=False))
    others = View.of(raw, images=None).others
    found = [estimate("perturbed-clean", -0.2, 0.0001, regime=name) for name in ("supervised", *others)]
    found += [
        estimate("difference-in-differences", -0.05 - 0.01 * k, 0.004, regime=name) for k, name in enumerate(others)
    ]
    seen = View.of(only(raw, estimates=tuple(found)), images=None)
    assert "lost 0.050 to 0.080 more (95% CIs within 0.030 to 0.100;" in words(comparison_sentence(seen, "auroc"))


@pytest.mark.parametrize(
    ("sign", "p", "expected"),
    [
        (
            1,
            0.004,
            "could be ruled out (estimates 0.000 to +0.030; 95% CIs within −0.020 to 0.050; adjusted p ≤ 0.004).",
        ),
        (
            -1,
            0.004,
            "could be ruled out (estimates −0.030 to 0.000; 95% CIs within −0.050 to 0.020; adjusted p ≤ 0.004).",
        ),
        (
            1,
            0.4,
            "could not be ruled out (estimates 0.000 to +0.030; 95% CIs within −0.020 to 0.050; adjusted p ≥ 0.40).",
        ),
        (
            -1,
            0.4,
            "could not be ruled out (estimates −0.030 to 0.000; 95% CIs within −0.050 to 0.020; adjusted p ≥ 0.40).",
        ),
    ],
)
def test_equivalence_of_regimes_told_together_keeps_what_holds_their_intervals(sign, p, expected):
    raw = results(Made(n_regimes=5, n_findings=2, n_severities=0, one_class=False, few=False))
    others = View.of(raw, images=None).others
    found = [estimate("perturbed-clean", -0.2, 0.0001, regime=name) for name in ("supervised", *others)]
    found += [
        estimate("difference-in-differences", sign * 0.01 * k, p, regime=name, **TOST) for k, name in enumerate(others)
    ]
    seen = View.of(only(raw, estimates=tuple(found)), images=None)
    names = "linear-probe, lora, adversarial, and preference"
    said = f"Compared with that, for {names} a difference of the margin of 0.05 or more {expected}"
    assert words(comparison_sentence(seen, "auroc")) == said


@pytest.mark.parametrize(
    ("low", "high", "p", "digits"),
    [
        (-0.0028, -0.0004, 0.01, 4),
        (0.00004, 0.0032, 0.04, 5),
        (-0.0028, 0.0004, 0.2, 3),
        (0.0004, 0.0028, None, 3),
        (0.004, 0.02, 0.01, 3),
    ],
)
def test_an_interval_that_leaves_0_out_is_not_printed_as_if_it_held_it(low, high, p, digits):
    one = replace(estimate("perturbed-clean", (low + high) / 2, p), ci_low=low, ci_high=high)
    assert digits_of(one) == digits
