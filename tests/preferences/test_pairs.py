"""The best report against the worst: ties, equal texts, what was not judged, and the bias of places."""

import numpy as np
import pytest
from scipy.stats import norm, t

from cxrobust.analysis.resampling import patient_counts
from cxrobust.preferences import slug
from cxrobust.preferences.pairs import (
    NOT_JUDGED,
    ONE_TEXT,
    TIE,
    Pair,
    Sample,
    Sampled,
    choose,
    counts_of,
    faults_in,
    margins_of,
    position_bias,
    told_of_position,
)
from cxrobust.radiology_reports.judges import EMPTY, Decision, Judgement


def sampled(*texts, image="i", patient="p", reference="Effusion."):
    samples = tuple(Sample(text=text, log_probability=-1.0) for text in texts)
    return Sampled(image=image, patient=patient, reference=reference, samples=samples)


def graded(*grades):
    reasons = tuple("" if grade is not None else "a report that is not English" for grade in grades)
    return Judgement(grades=grades, reasons=reasons, decisions=())


def test_equal_texts_are_judged_once_and_empty_ones_never():
    one = sampled("No effusion.", "", "No  effusion.\n", "Effusion.", "  ")
    assert one.places == (0, 3)
    assert one.case.texts == ("No effusion.", "Effusion.")
    assert one.n_empty == 2
    assert sampled("a", "b", reference=" ").case.reference is None


def test_of_equal_grades_the_first_sampled_counts_on_both_sides():
    found = choose(sampled("a", "b", "c", "d"), graded(0.2, 0.9, 0.9, 0.2), margin=0.0)
    assert (found.chosen, found.rejected) == (1, 0)
    assert found.margin == pytest.approx(0.7)


@pytest.mark.parametrize("grades", [(0.6, 0.4), (0.8, 0.6), (0.3, 0.1), (1.0, 0.8)])
def test_rounding_makes_no_pair(grades):
    assert choose(sampled("a", "b"), graded(*grades), margin=0.2) == TIE
    assert choose(sampled("a", "b"), graded(*grades), margin=0.1999).chosen == 0


def test_grades_that_rounding_alone_parts_are_equal():
    thrice = sum([0.1] * 3)  # more than 0.3 in binary
    found = choose(sampled("a", "b", "c", "d"), graded(0.3, thrice, thrice - 0.3, 0.0), margin=0.0)
    assert (found.chosen, found.rejected) == (0, 2)


def test_sample_numbers_are_those_of_all_samples():
    found = choose(sampled("", "a", "a", "b"), graded(0.0, 1.0), margin=0.0)
    assert (found.chosen, found.rejected, found.chosen_text) == (3, 1, "b")


@pytest.mark.parametrize(
    ("one", "judgement", "why"),
    [
        (sampled("a", "a "), graded(1.0), ONE_TEXT),
        (sampled("", " "), graded(), EMPTY),
        (sampled("a", "b"), graded(0.5, 0.5), TIE),
        (sampled("a", "b"), graded(0.5, 0.6), TIE),
        (sampled("a", "b", "c"), graded(0.5, None, None), f"{NOT_JUDGED}: a report that is not English"),
    ],
)
def test_why_an_image_has_no_pair(one, judgement, why):
    assert choose(one, judgement, margin=0.1) == why


def test_counts_add_up_and_name_every_reason():
    some = [
        sampled("a", "b", "b", "", image="1"),
        sampled("a", "a", image="2"),
        sampled("a", "b", image="3", reference=None),
    ]
    judged = [graded(0.0, 1.0), graded(0.3), graded(None, None)]
    found = [choose(one, judgement, margin=0.0) for one, judgement in zip(some, judged, strict=True)]
    counts = counts_of(some, judged, found)
    assert counts == {
        "images": 3,
        "reports": 8,
        "reports, empty": 1,
        "reports, not English": 7,
        "reports, of equal ones the others": 2,
        "references missing": 1,
        "reports without a grade, a report that is not English": 2,
        "pairs": 1,
        f"images without a pair, {ONE_TEXT}": 1,
        f"images without a pair, {NOT_JUDGED}: a report that is not English": 1,
    }


def test_an_empty_reference_is_counted_apart_from_a_missing_one():
    some = [sampled("a", "b", image=name, reference=one) for name, one in (("1", None), ("2", " "), ("3", ""))]
    found = counts_of(some, [graded(None, None)] * 3, [NOT_JUDGED] * 3)
    assert (found["references missing"], found["references, empty"]) == (1, 2)


def test_reports_that_were_cut_off_are_counted_and_where_they_stand_in_pairs():
    def one(image, *cuts):
        samples = tuple(Sample(text=f"Clear {i}.", log_probability=-1.0, is_cut=cut) for i, cut in enumerate(cuts))
        return Sampled(image=image, patient="p", reference="Effusion.", samples=samples)

    some = [one("1", True, False), one("2", True, True), one("3", False, True, False)]
    judged = [graded(1.0, 0.0), graded(0.0, 1.0), graded(0.0, 0.5, 1.0)]
    found = [choose(each, judgement, margin=0.0) for each, judgement in zip(some, judged, strict=True)]
    counts = counts_of(some, judged, found)
    assert (counts["reports"], counts["reports, cut off"]) == (7, 4)
    assert (counts["reports, cut off and chosen"], counts["reports, cut off and rejected"]) == (2, 1)
    assert faults_in(some) == {"cut off": 4}


def test_margins_say_whether_chosen_reports_are_longer():
    pairs = [
        Pair(image="1", patient="p", chosen=0, rejected=1, chosen_text=chosen, rejected_text=rejected,
             chosen_grade=grade, rejected_grade=0.0)
        for chosen, rejected, grade in (("a b c", "a", 0.5), ("a", "a b", 0.25), ("a b", "b a", 0.75))
    ]  # fmt: skip
    found = margins_of(pairs)
    assert (found["mean"], found["median"]) == (0.5, 0.5)
    assert found["mean words, chosen"] == 2
    assert found["mean words, rejected"] == pytest.approx(5 / 3)
    assert found["pairs whose chosen report has more words"] == 1
    assert found["pairs whose chosen report has fewer words"] == 1
    assert margins_of([]) == {}


def looped(wins, asked, *, n_resamples, seed):
    """The ends of the interval by a plain loop over resamples of patients, each a list of places.

    Hesterberg 2015: the tails of n patients are Φ(√(n/(n − 1)) t), t at 2n/(κ − 1) degrees of freedom of Satterthwaite,
    κ being the kurtosis of what each patient has beyond its share; of fewer than 20 no more than these less 1.
    """
    n = len(wins)
    counts = patient_counts(n, n_resamples=n_resamples, rng=np.random.default_rng(seed))
    biases = []
    for block in counts:
        for lane in block.T:
            drawn = [i for i in range(n) for _ in range(lane[i])]
            biases.append(sum(wins[i] for i in drawn) / sum(asked[i] for i in drawn))
    beyond = [won - sum(wins) / sum(asked) * n_asked for won, n_asked in zip(wins, asked, strict=True)]
    kurtosis = n * sum(one**4 for one in beyond) / sum(one**2 for one in beyond) ** 2
    tail = norm.cdf(np.sqrt(n / (n - 1)) * t.ppf(0.025, min(2 * n / (kurtosis - 1), n - 1)))
    return np.quantile(biases, [tail, 1 - tail])


def test_position_bias_counts_places_and_draws_patients():
    def judged(orders):
        return Judgement(
            grades=(1.0, 0.0), reasons=("", ""), decisions=(Decision(first=0, second=1, choice="tie", orders=orders),)
        )

    kinds = [("first", "second")] * 6 + [("second", "first")] * 2 + [("first", "first")] * 10 + [("tie", "first")] * 2
    some = [sampled("a", "b", image=str(i), patient=str(i // 3)) for i in range(len(kinds))]
    found = position_bias(some, [judged(one) for one in kinds], n_resamples=640, seed=1)
    assert found["comparisons"] == 20
    assert found["first place in both orders"] == 6
    assert found["second place in both orders"] == 2
    assert found["same report in both orders, or a tie in both"] == 10
    assert found["tie in one order alone"] == 2
    assert told_of_position(found) == ["8 of 20 comparisons won by a place in both orders, 6 by the first"]
    assert found["bias"] == pytest.approx(0.2)
    assert (found["bias, low"], found["bias, high"]) == pytest.approx(
        looped([3, 3, -2, 0, 0, 0, 0], [3, 3, 3, 3, 3, 3, 2], n_resamples=640, seed=1)
    )
    assert position_bias(some[:1], [graded(1.0, 0.0)], n_resamples=64, seed=1) is None


def test_names_become_folders():
    assert slug("dpo / human (noise=0.2)") == "dpo-human-noise-0.2"
    assert slug("../..") == "unnamed"
