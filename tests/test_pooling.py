"""Images of a study pooled into one row: by hand, in every cell, and counted."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from cxrobust.errors import DataError
from cxrobust.predictions import PredictionSet
from cxrobust.predictions.pooling import REASON, pool_studies


def predictions(**changes):
    """Two regimes, two conditions, five images of three studies of two patients, two findings."""
    rng = np.random.default_rng(3)
    made = PredictionSet(
        image_ids=("i0", "i1", "i2", "i3", "i4"),
        patient_ids=("p0", "p1"),
        patients=np.array([0, 1, 0, 0, 0], dtype=np.int32),
        findings=("Edema", "Mass"),
        labels=np.array([[1, 0], [0, -1], [1, 0], [0, 0], [1, 0]], dtype=np.int8),
        members=(("a", 0), ("b", 0)),
        conditions=("clean", "fgsm(eps=1/255)"),
        probabilities=rng.random((2, 2, 5, 2)),
        metadata=pd.DataFrame(
            {
                "study_id": ["s7", "s2", "s7", "s9", "s7"],
                "view": ["AP", "PA", "AP", "AP", "PA"],
                "age": [70.0, 50.0, 70.0, 71.0, 70.0],
            }
        ),
        index={"data": {"exclusions": {"without labels": 3}}},
    )
    return replace(made, **changes)


@pytest.mark.parametrize(("by", "function"), [("mean", np.mean), ("max", np.max)])
def test_probabilities_against_a_loop_over_studies(by, function):
    source = predictions()
    pooled = pool_studies(source, column="study_id", by=by)
    assert pooled.image_ids == ("s7", "s2", "s9")
    assert [pooled.patient_ids[k] for k in pooled.patients] == ["p0", "p1", "p0"]
    assert pooled.labels.tolist() == [[1, 0], [0, -1], [0, 0]]
    for place, rows in enumerate(([0, 2, 4], [1], [3])):
        np.testing.assert_allclose(
            pooled.probabilities[:, :, place], function(source.probabilities[:, :, rows], axis=2), rtol=1e-15
        )
    assert pooled.index["data"]["exclusions"] == {"without labels": 3, REASON: 2}
    assert source.index["data"]["exclusions"] == {"without labels": 3}


def test_a_study_with_an_image_whose_report_tells_nothing_is_counted():
    unread = {("a", 0, "clean"): {"empty": np.array([False, True, True, False, True])}}
    pooled = pool_studies(predictions(unread=unread), column="study_id", by="max")
    assert {cell: {why: one.tolist() for why, one in own.items()} for cell, own in pooled.unread.items()} == {
        ("a", 0, "clean"): {"empty": [True, True, False]}
    }


def test_metadata_stay_where_the_images_of_a_study_agree():
    metadata = pool_studies(predictions(), column="study_id", by="mean").metadata
    assert list(metadata["age"]) == [70, 50, 71]
    assert metadata["view"].isna().tolist() == [True, False, False]
    assert list(metadata["view"])[1:] == ["PA", "AP"]


def test_a_mean_of_ones_is_no_more_than_one():
    ones = pool_studies(predictions(probabilities=np.full((2, 2, 5, 2), 1 - 1e-17)), column="study_id", by="mean")
    assert (ones.probabilities == 1).all()


def test_images_that_differ_within_a_study_and_a_missing_column_are_named():
    labels = predictions().labels.copy()
    labels[4, 1] = 1
    with pytest.raises(DataError, match=r"image 'i4' of study_id s7 differs .* in its labels"):
        pool_studies(predictions(labels=labels), column="study_id", by="mean")
    with pytest.raises(DataError, match=r"image 'i2' of study_id s7 differs .* in its patients"):
        pool_studies(predictions(patients=np.array([0, 1, 1, 0, 0])), column="study_id", by="mean")
    with pytest.raises(DataError, match="cannot be pooled by visit, which their metadata lack"):
        pool_studies(predictions(), column="visit", by="mean")


def test_a_study_has_the_first_reference_of_its_images_and_no_report():
    reports = np.full((2, 2, 5), "Mass.", dtype=object)
    made = predictions(references=(None, "b", "a", None, "c"), reports=reports, log_probabilities=np.zeros((2, 2, 5)))
    pooled = pool_studies(made, column="study_id", by="mean")
    assert pooled.references == ("a", "b", None)
    blank = replace(made, references=(" ", "b", "a", " ", "c"))
    assert pool_studies(blank, column="study_id", by="mean").references == ("a", "b", " ")
    assert pooled.reports is None
    assert pooled.log_probabilities is None
