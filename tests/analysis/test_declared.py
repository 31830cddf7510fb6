"""Declared families: what can hold a test, against the estimates of a whole analysis that has no families."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from cxrobust.analysis import analyze
from cxrobust.analysis.declared import Scope, check_declared
from cxrobust.errors import MisfitError
from cxrobust.study.analysis import Family, Subgroups

from .made import make_predictions, make_settings

FINDINGS, CONDITIONS = ("Effusion", "Mass"), ("clean", "pgd(eps=1/255)", "pgd(eps=2/255)", "blur(severity=1)")
METRICS = ("auroc", "ece", "confidence", "robust-accuracy", "matthews")
SUBGROUPS = (Subgroups(column="sex"), Subgroups(column="view", findings=True))
SETS = {"both": CONDITIONS[1:3]}
UNTESTED = {"value", "area", "relative", "half-margin"}


@pytest.fixture(scope="module")
def predictions():
    made = make_predictions(seed=2, n_patients=60, conditions=CONDITIONS)
    sex, view = np.where(made.patients < 31, "F", "M"), np.where(made.patients < 32, "PA", "AP")
    return replace(made, metadata=pd.DataFrame({"sex": sex, "view": view}))


def settings(*families, **changes):
    given = {"metrics": METRICS, "subgroups": SUBGROUPS, "sets": SETS, "families": families, "effect_sizes": ()}
    return make_settings(**(given | changes))


@pytest.fixture(scope="module")
def tests(predictions):
    """What is tested, by the seven columns that families name."""
    found = analyze(predictions, settings(), reference="supervised", seed=1).estimates
    return {
        (e.estimand, e.metric, e.regime, e.condition, e.finding, e.subgroup, e.recalibration)
        for e in found
        if (e.estimand not in UNTESTED or ": " in e.subgroup) and not (e.metric == "ece" and ": " in e.subgroup)
    }


def scope(predictions, **changes):
    given = {"regimes": predictions.regimes, "conditions": predictions.conditions, "reference": "supervised"}
    return Scope(**(given | changes))


def fitting(tests, family):
    keys = ("estimands", "metrics", "regimes", "conditions", "findings", "subgroups", "recalibrations")
    lists = [getattr(family, key) for key in keys]
    return {one for one in tests if all(not some or value in some for some, value in zip(lists, one, strict=True))}


def problem(*args):
    try:
        check_declared(*args)
    except MisfitError as error:
        return str(error)
    return ""


def test_any_family_against_the_estimates_of_a_whole_analysis(predictions, tests):
    """Of one or two values a key, any or none of which an estimate may have; and of a second that may be left out."""
    texts = ("", "sex=F", "sex=M", "sex: M − F", "sex: interaction", "view=PA", "view: AP − PA", "view: interaction")
    there = scope(predictions, findings=(*FINDINGS, "micro", "worst", "macro"), subgroups=texts)
    values = [sorted({one[i] for one in tests}) for i in range(7)]
    values[0] += [*UNTESTED, "recalibrated-raw"]
    rng, seen = np.random.default_rng(0), {"": 0, "names no test": 0, "left without": 0}

    def some(key):
        n = rng.choice([0, 1, 2], p=[0.3, 0.5, 0.2])
        return tuple(str(one) for one in rng.choice(values[key], min(n, len(values[key])), replace=False))

    for _ in range(400):
        names = {
            key: some(i)
            for i, key in enumerate(("estimands", "metrics", "regimes", "conditions", "findings", "subgroups"))
        }
        first, second = Family(name="f", **names), Family(name="g", **(names | {"findings": some(4)}))
        mine, other = fitting(tests, first), fitting(tests, second)
        expected = "" if mine else "'f' names no test"
        if mine and not other:
            expected = "'g' names no test"
        elif mine and not other - mine:
            expected = "'g' is left without a test, since all that it names belongs to 'f' before it"
        said = problem(settings(first, second), there)
        assert bool(said) == bool(expected), (names, said)
        assert expected in said
        seen[next(word for word in ("left without", "names no test", "") if word in said)] += 1
    assert min(seen.values()) > 15


def test_a_third_family_may_be_left_without_a_test_by_two(predictions):
    one, two, both = (
        Family(name=name, metrics=some) for name, some in (("f", ("ece",)), ("g", ("auroc",)), ("h", ("auroc", "ece")))
    )
    said = "family 'h' is left without a test, since all that it names belongs to 'g' and 'f' before it: put it first"
    assert problem(settings(one, two, both), scope(predictions)).startswith(said)
    assert problem(settings(both, one), scope(predictions)).startswith("family 'f' is left without a test")
    assert not problem(settings(one, both.model_copy(update={"findings": ("worst",)})), scope(predictions))


def test_before_the_data_are_seen_any_finding_and_subgroup_may_be_there(predictions):
    for family in (
        Family(name="f", findings=("Hernia",)),
        Family(name="f", subgroups=("sex=X",)),
        Family(name="f", findings=("Hernia",), subgroups=("view=X",)),
        Family(name="f", estimands=("value",), subgroups=()),
    ):
        assert not problem(settings(family), scope(predictions))
    every = Family(name="f", findings=("macro", "micro", "worst"))
    assert not problem(settings(every, Family(name="g", findings=())), scope(predictions))


@pytest.mark.parametrize(
    "family",
    [
        Family(name="f", estimands=("half-margin-difference",), metrics=("ece",)),
        Family(name="f", metrics=("confidence",), findings=("worst",)),
        Family(name="f", estimands=("relative-difference",), metrics=("matthews",)),
        Family(name="f", metrics=("ece",), conditions=("both",)),
        Family(name="f", estimands=("half-margin-difference",), metrics=("auroc",), findings=("worst",)),
        Family(name="f", findings=("Mass",), subgroups=("sex=F",)),
        Family(name="f", conditions=("both",), subgroups=("view=PA",)),
    ],
    ids=lambda one: repr(one.model_dump(exclude_defaults=True)),
)
def test_a_family_that_no_metric_gives_a_test_is_told_before_the_data_are_seen(predictions, family):
    said = problem(settings(family), scope(predictions))
    assert said.startswith("family 'f' names no test: its estimands have none with its metrics, regimes, conditions, ")


def test_max_t_refuses_interactions_in_a_declared_family_before_anything_is_estimated(predictions):
    every = Family(name="f", subgroups=(), metrics=("auroc",), adjust="max-t")
    said = "family 'f' is adjusted by max-t, which is of single contrasts, and 'sex: interaction' is a test of several"
    assert problem(settings(every), scope(predictions)).startswith(said)
    others = every.model_copy(update={"subgroups": ("", "sex=F", "sex: M − F")})
    assert not problem(settings(others), scope(predictions))
    taken = Family(name="g", subgroups=("sex: interaction", "view: interaction"))
    assert not problem(settings(taken, every), scope(predictions))
    assert problem(settings(every.model_copy(update={"adjust": None}), adjust="max-t"), scope(predictions))
    found = analyze(predictions, settings(others), reference="supervised", seed=1).estimates
    assert {e.subgroup for e in found if e.family == "f"} == set(others.subgroups)
