"""Two results side by side: every changed field is named, and nothing else."""

from dataclasses import fields, replace

import pytest

from cxrobust.differences import ABSENT, COMPUTED, PRESENT, Difference, differences, name_of, setting_differences
from cxrobust.results import Alternative, Results

from .reports.made import SMALL, TYPICAL, results


def changed_estimate(one: Results, place: int, **changed: object) -> Results:
    estimates = list(one.estimates)
    estimates[place] = replace(estimates[place], **changed)  # type: ignore[arg-type]
    return replace(one, estimates=tuple(estimates))


def test_the_same_results_do_not_differ() -> None:
    assert differences(results(TYPICAL), results(TYPICAL)) == ()
    assert setting_differences(results(TYPICAL), results(TYPICAL)) == ()


def test_one_changed_field_of_one_estimate_is_named_with_both_values() -> None:
    old = results(TYPICAL)
    before = old.estimates[100].ci_low
    assert before is not None
    found = differences(old, changed_estimate(old, 100, ci_low=before + 1e-9))
    assert found == (
        Difference(part="estimates", what=name_of(old.estimates[100]), field="ci_low", old=before, new=before + 1e-9),
    )
    assert found[0].size == pytest.approx(1e-9, rel=1e-6)


def test_a_tolerance_passes_rounding_of_numbers_alone() -> None:
    old = results(SMALL)
    value = old.estimates[0].estimate
    assert value is not None
    near = changed_estimate(old, 0, estimate=value + 1e-12)
    assert len(differences(old, near)) == 1
    assert differences(old, near, tolerance=1e-9) == ()
    counted = changed_estimate(old, 0, n_images=old.estimates[0].n_images + 1, note="another")
    assert [one.field for one in differences(old, counted, tolerance=10.0)] == ["n_images", "note"]


def test_a_number_that_is_not_estimable_any_more_differs_whatever_the_tolerance() -> None:
    old = results(SMALL)
    (found,) = differences(old, changed_estimate(old, 0, estimate=None), tolerance=10.0)
    assert (found.new, found.size) == (None, None)
    assert str(found).endswith("now none")


def test_what_only_one_holds_is_said_so() -> None:
    old = results(TYPICAL)
    fewer = replace(old, estimates=old.estimates[1:], thresholds=old.thresholds[:-1])
    first, second = differences(old, fewer)
    assert (first.what, first.old, first.new) == (name_of(old.estimates[0]), PRESENT, ABSENT)
    assert second.part == "thresholds"
    assert str(differences(fewer, old)[0]).endswith("only in the new")


def test_diagrams_and_counts_are_compared_to_the_bin() -> None:
    old = results(TYPICAL)
    diagram = old.reliability[3]
    bins = (replace(diagram.bins[0], n=diagram.bins[0].n + 1), *diagram.bins[1:])
    reliability = (*old.reliability[:3], replace(diagram, bins=bins), *old.reliability[4:])
    (found,) = differences(old, replace(old, reliability=reliability))
    assert (found.what, found.field) == (f"{diagram.regime}, {diagram.condition}", "bins[1].n")
    findings = [{**one, "n_positive": one["n_positive"] + 1} for one in old.data["findings"][:1]]
    (count,) = differences(old, replace(old, data={**old.data, "findings": findings + old.data["findings"][1:]}))
    assert count.field == f"findings.{findings[0]['name']}.n_positive"


def test_settings_are_named_by_their_keys_and_regimes_by_their_names() -> None:
    old = results(TYPICAL)
    study = {**old.study, "analysis": {**old.study["analysis"], "level": 0.9, "metrics": ["auroc"]}}
    regimes = ({**old.regimes[0], "fingerprint": {"a.safetensors": "0" * 64}}, *old.regimes[2:])
    found = {(one.part, one.field): one for one in setting_differences(old, replace(old, study=study, regimes=regimes))}
    name = old.regimes[0]["name"]
    assert found["study", "analysis.level"].old == 0.95
    assert found["study", "analysis.metrics"].new == ["auroc"]
    assert found["regimes", old.regimes[1]["name"]].new == ABSENT
    assert {field for part, field in found if part == "regimes"} == {
        f"{name}.fingerprint.{name}.safetensors",
        f"{name}.fingerprint.a.safetensors",
        old.regimes[1]["name"],
    }


def test_every_field_that_an_analysis_computes_is_compared() -> None:
    of_predict = {"examples", "attack_checks", "generated_reports"}
    of_study = {"study", "study_text", "data", "regimes", "conditions", "primary_condition", "metrics", "provenance"}
    described = of_study | of_predict
    assert {field.name for field in fields(Results)} == described | set(COMPUTED)


def test_a_record_within_a_record_is_compared_too() -> None:
    old = results(SMALL)
    one = Alternative(kind="bins", choice="10 equal-width bins", estimate=old.estimates[0])
    other = replace(one, estimate=replace(one.estimate, ci_low=0.5))
    (found,) = differences(replace(old, sensitivity=(one,)), replace(old, sensitivity=(other,)))
    assert (found.field, found.new) == ("estimate.ci_low", 0.5)
    assert found.what.startswith("bins, 10 equal-width bins: ")
