"""What models say of images, put together."""

import numpy as np

from cxrobust.inference.written import Reading, Written, in_places, not_usable


def reading(*names: str) -> Reading:
    return Reading(
        logits=np.array([[len(name), 1.0] for name in names], dtype=np.float32),
        written=Written(
            reports=names,
            log_probabilities=np.array([-float(len(name)) for name in names]),
            faults=tuple((name,) for name in names),
        ),
    )


def test_readings_of_images_that_can_and_cannot_be_used_stand_in_the_images_order() -> None:
    used, out = reading("a", "bbb", "ccccc"), not_usable(reading("dd", "eeee"), "broken")
    found = in_places([(np.array([0, 2, 4]), used), (np.array([1, 3]), out)])
    np.testing.assert_array_equal(found.logits[:, 0], [1, np.nan, 3, np.nan, 5])
    assert found.written is not None
    assert found.written.reports == ("a", "dd", "bbb", "eeee", "ccccc")
    assert found.written.log_probabilities.tolist() == [-1, -2, -3, -4, -5]
    assert found.written.faults == (("a",), ("dd",), ("bbb",), ("eeee",), ("ccccc",))
    assert found.unusable == {1: "broken", 3: "broken"}
    without_texts = in_places(
        [(np.array([1]), Reading(logits=used.logits[:1])), (np.array([0]), Reading(logits=out.logits[:1]))]
    )
    assert without_texts.written is None
    np.testing.assert_array_equal(without_texts.logits[:, 0], [np.nan, 1])
