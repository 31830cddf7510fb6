from dataclasses import replace

from cxrobust.reports.sections.robustness import control_of, least_eps_sentence
from cxrobust.reports.view import View
from cxrobust.results import NOT_REACHED, Estimate

from .made import TYPICAL, results


def test_the_least_eps_is_told_of_each_regime_with_its_interval() -> None:
    plain = results(TYPICAL)
    names = [one["name"] for one in plain.regimes]
    usual = {"metric": "robust-accuracy", "reference": None, "finding": "macro", "n_images": 9, "n_patients": 8}
    counts = {"n_positive": 4, "n_positive_patients": 3, "estimand": "half-margin", "condition": "least-eps(steps=4)"}
    first = Estimate(**usual, **counts, regime=names[0], estimate=2.25, ci_low=1.5, ci_high=5.0)
    view = View.of(replace(plain, estimates=(*plain.estimates, first)), images=None)
    series = replace(view.primary_series, name="least-eps(steps=4)")
    said = least_eps_sentence(view, series).replace("\N{NO-BREAK SPACE}", " ")
    assert said.startswith(
        "Half of the decisions that are right on clean images are turned at ε × 255 of 2.25 (95% CI, 1.5"
    )
    assert "more than was tried for" in said
    assert not least_eps_sentence(view, view.primary_series)
    others = {NOT_REACHED: "more than was tried for", "one class only": "an unknown size (one class only) for"}
    for why, words in others.items():
        second = Estimate(**usual, **counts, regime=names[1], reason=why)
        of_two = View.of(replace(plain, estimates=(*plain.estimates, first, second)), images=None)
        told = least_eps_sentence(of_two, series).split(names[1])[0]
        assert told.endswith(f"{words} \ue000")


def test_a_control_has_the_kind_of_strength_of_its_attack() -> None:
    view = View.of(results(TYPICAL), images=None)
    attack = view.primary_series
    noise = control_of(view, attack)
    assert noise is not None
    assert control_of(view, replace(attack, strength_name="side")) is None


def test_the_control_of_an_attack_is_the_noise_that_the_study_records_for_it() -> None:
    plain = results(TYPICAL)
    noise = [one["name"] for one in plain.conditions if one["kind"] == "noise"]
    for recorded in (noise[0], noise[-1], None):
        conditions = tuple(
            {**one, "control": recorded} if one["name"] == plain.primary_condition else one for one in plain.conditions
        )
        view = View.of(replace(plain, conditions=conditions), images=None)
        assert view.control == recorded
        assert view.primary_series is not None
        beside = control_of(view, view.primary_series)
        assert (beside is None) == (recorded is None)
        assert beside is None or recorded in beside.conditions


def test_the_control_of_an_attack_without_a_strength_is_the_noise_of_its_own_size() -> None:
    plain = results(TYPICAL)
    primary = plain.primary_condition
    renamed = {
        primary: "cw-l2(target=Mass, steps=100)",
        "noise(eps=1/255)": "cw-l2(target=Mass, as_noise=True, steps=100)",
        "noise(eps=2/255)": "deepfool(target=Mass, as_noise=True, steps=50)",
    }
    conditions = tuple(
        {**one, "name": renamed[one["name"]], "series": renamed[one["name"]], "strength_name": None, "strength": None}
        if one["name"] in renamed
        else one
        for one in plain.conditions
    )
    found = replace(plain, conditions=conditions, primary_condition=renamed[primary])
    view = View.of(found, images=None)
    assert view.control == renamed["noise(eps=1/255)"]
    assert view.primary_series is not None
    beside = control_of(view, view.primary_series)
    assert beside is not None
    assert beside.conditions == (renamed["noise(eps=1/255)"],)
    others = tuple(one for one in conditions if one["name"] != renamed["noise(eps=1/255)"])
    without = View.of(replace(found, conditions=others), images=None)
    assert without.control is None
    assert without.primary_series is not None
    assert control_of(without, without.primary_series) is None
