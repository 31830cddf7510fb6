"""Reports that tell nothing: their counts beside estimates against loops over images."""

from dataclasses import replace

import numpy as np
import pytest

from cxrobust.analysis import analyze
from cxrobust.study.analysis import AnalysisSection, Subgroups

from .made import CONDITIONS, make_predictions

CLEAN, PGD, NOISE = CONDITIONS
MEMBERS = (("supervised", 0), ("lora", 0), ("lora", 1))
UNREAD = ((("lora", 0, PGD), "empty", 0.2), (("lora", 0, PGD), "not English", 0.1), (("lora", 1, PGD), "empty", 0.3))
METRICS = ("accuracy", "flip-rate", "robust-accuracy", "brier", "brier-uncertainty")


@pytest.fixture(scope="module")
def predictions():
    """Two runs of a regime whose reports partly tell nothing under one attack; both faults may be of one image."""
    rng = np.random.default_rng(8)
    made = make_predictions(n_patients=60, members=MEMBERS, missing=0.2)
    n = len(made.image_ids)
    unread = {}
    for cell, fault, share in UNREAD:
        unread.setdefault(cell, {})[fault] = rng.random(n) < share
    metadata = made.metadata.assign(sex=np.where(made.patients % 3 == 0, "F", "M"))
    return replace(made, unread=unread, metadata=metadata)


@pytest.fixture(scope="module")
def found(predictions):
    settings = AnalysisSection(
        metrics=METRICS,
        operating_point=0.5,
        resamples=200,
        sensitivity_analyses=False,
        effect_sizes=("risk-difference", "superiority"),
        recalibrate=("platt",),
        subgroups=(Subgroups(column="sex"),),
        sets={"every": (PGD, NOISE)},
    )
    return analyze(predictions, settings, reference="supervised", seed=4).estimates


def counted(predictions, finding, kept):
    """Say what a note holds of the attacked reports of `lora`, image by image."""
    labels = predictions.labels if finding == "macro" else predictions.labels[:, [predictions.findings.index(finding)]]
    counts = {"all": 0, "any": 0, "empty": 0, "not English": 0}
    for run in (0, 1):
        faults = predictions.unread["lora", run, PGD]
        for i in range(len(predictions.image_ids)):
            if kept[i] and (labels[i] >= 0).any():
                of_image = [fault for fault, images in faults.items() if images[i]]
                counts["all"] += 1
                counts["any"] += bool(of_image)
                for fault in of_image:
                    counts[fault] += 1
    why = f"{counts['empty']} empty, {counts['not English']} not English"
    return f"lora, {PGD} ({counts['any']} of {counts['all']}: {why})"


def test_counts_against_a_loop_over_images(predictions, found):
    everyone = np.ones(len(predictions.image_ids), dtype=bool)
    sex = predictions.metadata["sex"].to_numpy()
    for finding in (*predictions.findings, "macro"):
        texts = {
            "": counted(predictions, finding, everyone),
            **{f"sex={one}": counted(predictions, finding, sex == one) for one in "FM"},
        }
        assert len(set(texts.values())) == 3
        for one in found:
            wanted = (finding, "lora", PGD, "accuracy")
            if (one.finding, one.regime, one.condition, one.metric) == wanted and one.subgroup in texts:
                assert f"reports that tell nothing in {texts[one.subgroup]}" in one.note
        gaps = [one for one in found if one.subgroup.startswith("sex: F − M") and one.finding == "macro"]
        attacked = [one for one in gaps if (one.regime, one.condition, one.metric) == ("lora", PGD, "accuracy")]
        assert attacked
        assert all(counted(predictions, "macro", sex == who) in one.note for one in attacked for who in "FM")


def test_estimates_of_other_cells_say_nothing_of_them(found):
    told = {(one.metric, one.condition) for one in found if "tell nothing" in one.note}
    every = ("accuracy", "brier", "flip-rate", "robust-accuracy")
    assert {(name, PGD) for name in every} <= told
    assert {condition for _, condition in told} == {PGD, "every"}
    assert {name for name, condition in told if condition == "every"} == {"robust-accuracy"}
    assert {one.regime for one in found if "tell nothing" in one.note} == {"lora"}
    assert not [one for one in found if one.metric == "brier-uncertainty" and "tell nothing" in one.note]
    resting = [one for one in found if (one.regime, one.condition) == ("lora", PGD) and one.estimate is not None]
    silent = {one.metric for one in resting if "tell nothing" not in one.note}
    assert silent == {"brier-uncertainty"}
    assert {one.recalibration for one in resting} == {"", "platt"}
    assert {one.metric for one in resting} >= {"accuracy-risk-difference", "confidence-superiority"}
    tests = [one for one in found if one.subgroup == "sex: interaction" and one.p_value is not None]
    tests = [one for one in tests if (one.regime, one.condition, one.metric) == ("lora", PGD, "accuracy")]
    assert tests
    assert all("tell nothing" in one.note for one in tests)


def test_metrics_of_changes_rest_on_clean_images_too(predictions):
    unread = {("lora", run, CLEAN): {"with samples empty": np.arange(len(predictions.image_ids)) < 2} for run in (0, 1)}
    settings = AnalysisSection(
        metrics=("flip-rate", "accuracy"), resamples=200, sensitivity_analyses=False, effect_sizes=()
    )
    clean = analyze(replace(predictions, unread=unread), settings, reference="supervised", seed=4).estimates
    told = {
        (one.metric, one.condition) for one in clean if "with samples empty" in one.note and one.estimand == "value"
    }
    assert told == {("accuracy", CLEAN), *(("flip-rate", condition) for condition in CONDITIONS)}
