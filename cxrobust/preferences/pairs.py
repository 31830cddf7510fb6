"""From judged samples to pairs: the best report of each image against its worst."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from cxrobust.analysis.agreement import MISSING
from cxrobust.analysis.ratios import intervals_of, ratios
from cxrobust.analysis.resampling import patient_counts
from cxrobust.radiology_reports.findings import CUT, FAULTS, count_faults
from cxrobust.radiology_reports.findings import EMPTY as EMPTY_REPORT
from cxrobust.radiology_reports.judges import CHOICES, EMPTY, ROUNDING, Case, Judgement

ONE_TEXT = "all reports alike"
TIE = "no report better than another"
NOT_JUDGED = "fewer than two reports judged"
UNDECIDED = "comparisons without a decision"
FIRST_PLACE, SECOND_PLACE = "first place in both orders", "second place in both orders"


@dataclass(frozen=True, kw_only=True, slots=True)
class Sample:
    """One sampled report."""

    text: str
    log_probability: float
    """Mean log-probability of its tokens; NaN where unknown."""
    is_cut: bool = False
    """Whether it reached the largest number of tokens before its end."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Sampled:
    """The reports of one image."""

    image: str
    patient: str
    reference: str | None
    samples: tuple[Sample, ...]

    @property
    def places(self) -> tuple[int, ...]:
        """The samples that are judged: of equal texts the first, spaces aside, empty ones left out."""
        first: dict[str, int] = {}
        for place, sample in enumerate(self.samples):
            text = " ".join(sample.text.split())
            if text:
                first.setdefault(text, place)
        return tuple(first.values())

    @property
    def case(self) -> Case:
        """What a judge is shown; its texts are those of `places`."""
        reference = self.reference if self.reference is not None and self.reference.strip() else None
        return Case(image=self.image, reference=reference, texts=tuple(self.samples[p].text for p in self.places))

    @property
    def n_empty(self) -> int:
        """How many samples are empty."""
        return sum(not sample.text.strip() for sample in self.samples)


@dataclass(frozen=True, kw_only=True, slots=True)
class Pair:
    """The best of an image's reports against the worst."""

    image: str
    patient: str
    chosen: int
    """Number of the sample, from 0."""
    rejected: int
    chosen_text: str
    rejected_text: str
    chosen_grade: float
    rejected_grade: float

    @property
    def margin(self) -> float:
        """How much better the chosen report is; above 0."""
        return self.chosen_grade - self.rejected_grade


def choose(sampled: Sampled, judgement: Judgement, *, margin: float) -> Pair | str:
    """Return the best against the worst report of an image, or why there is no pair.

    Of equal grades the report that was sampled first counts, on both sides, so that no rule prefers a length. Reports
    without a grade are neither.

    Examples
    --------
    >>> three = tuple(Sample(text=text, log_probability=0.0) for text in ("a", "b", "c"))
    >>> one = Sampled(image="1", patient="p", reference="r", samples=three)
    >>> judged = Judgement(grades=(0.5, 0.9, 0.5), reasons=("", "", ""), decisions=())
    >>> choose(one, judged, margin=0.0).rejected, choose(one, judged, margin=0.5)
    (0, 'no report better than another')
    """
    places = sampled.places
    if len(places) < 2:
        return ONE_TEXT if places else EMPTY
    graded = {place: grade for grade, place in zip(judgement.grades, places, strict=True) if grade is not None}
    if len(graded) < 2:
        why = next((reason for reason in judgement.reasons if reason), "")
        return f"{NOT_JUDGED}: {why}" if why else NOT_JUDGED
    best, worst = max(graded.values()), min(graded.values())
    if not best - worst > margin + ROUNDING:
        return TIE
    chosen = next(place for place, grade in graded.items() if grade >= best - ROUNDING)
    rejected = next(place for place, grade in graded.items() if grade <= worst + ROUNDING)
    return Pair(
        image=sampled.image,
        patient=sampled.patient,
        chosen=chosen,
        rejected=rejected,
        chosen_text=sampled.samples[chosen].text,
        rejected_text=sampled.samples[rejected].text,
        chosen_grade=graded[chosen],
        rejected_grade=graded[rejected],
    )


def faults_in(sampled: Sequence[Sampled]) -> dict[str, int]:
    """Return how many sampled reports have each fault."""
    samples = [sample for one in sampled for sample in one.samples]
    found = {**count_faults(sample.text for sample in samples), CUT: sum(sample.is_cut for sample in samples)}
    return {fault: found[fault] for fault in FAULTS if found.get(fault)}


def counts_of(
    sampled: Sequence[Sampled], judgements: Sequence[Judgement], found: Sequence[Pair | str]
) -> dict[str, int]:
    """Return how many images, reports and pairs there are, and why images have no pair, each reason by name."""
    reasons = Counter(one for one in found if isinstance(one, str))
    unjudged = Counter(why for judgement in judgements for why in judgement.reasons if why)
    undecided = Counter(one.why for judgement in judgements for one in judgement.decisions if one.choice is None)
    references = count_faults(one.reference for one in sampled if one.reference is not None)
    paired = [(one.samples, pair) for one, pair in zip(sampled, found, strict=True) if isinstance(pair, Pair)]
    cut = {
        "chosen": sum(samples[pair.chosen].is_cut for samples, pair in paired),
        "rejected": sum(samples[pair.rejected].is_cut for samples, pair in paired),
    }
    return {
        "images": len(sampled),
        "reports": sum(len(one.samples) for one in sampled),
        "reports, empty": sum(one.n_empty for one in sampled),
        **{f"reports, {fault}": n for fault, n in faults_in(sampled).items() if fault != EMPTY_REPORT},
        **{f"reports, {CUT} and {side}": n for side, n in cut.items() if n},
        "reports, of equal ones the others": sum(len(o.samples) - o.n_empty - len(o.places) for o in sampled),
        "references missing": sum(one.reference is None for one in sampled),
        **{f"references, {fault}": n for fault, n in references.items()},
        **{f"reports without a grade, {why}": n for why, n in sorted(unjudged.items())},
        **{f"{UNDECIDED}, {why}": n for why, n in sorted(undecided.items())},
        "pairs": sum(isinstance(one, Pair) for one in found),
        **{f"images without a pair, {why}": n for why, n in sorted(reasons.items())},
    }


def margins_of(pairs: Sequence[Pair]) -> dict[str, float | int | None]:
    """Return how large margins are, and whether chosen reports are longer: preference tuning learns that as well."""
    if not pairs:
        return {}
    margins = np.array([pair.margin for pair in pairs])
    words = np.array([[len(text.split()) for text in (pair.chosen_text, pair.rejected_text)] for pair in pairs])
    low, median, high = (float(one) for one in np.quantile(margins, (0.25, 0.5, 0.75)))
    return {
        "mean": float(margins.mean()),
        "smallest": float(margins.min()),
        "lower quartile": low,
        "median": median,
        "upper quartile": high,
        "largest": float(margins.max()),
        "mean grade, chosen": float(np.mean([pair.chosen_grade for pair in pairs])),
        "mean grade, rejected": float(np.mean([pair.rejected_grade for pair in pairs])),
        "mean words, chosen": float(words[:, 0].mean()),
        "mean words, rejected": float(words[:, 1].mean()),
        "pairs whose chosen report has more words": int((words[:, 0] > words[:, 1]).sum()),
        "pairs whose chosen report has fewer words": int((words[:, 0] < words[:, 1]).sum()),
    }


def position_bias(
    sampled: Sequence[Sampled], judgements: Sequence[Judgement], *, n_resamples: int, seed: int
) -> dict[str, float | int | None] | None:
    """Return how often a judge that was asked in both orders preferred a place; None of one that was not.

    `bias` is the share of pairs whose report won in the first place both times, less the share of those won in the
    second place both times; in [−1, 1], 0 for a judge that looks at the reports alone. Its interval draws patients.
    """
    asked = [
        (one.patient, decision.orders)
        for one, judgement in zip(sampled, judgements, strict=True)
        for decision in judgement.decisions
        if decision.orders is not None
    ]
    if not asked:
        return None
    patients = {name: i for i, name in enumerate(dict.fromkeys(name for name, _ in asked))}
    first, second, same = (np.zeros((len(patients), 1)) for _ in range(3))
    wholes = np.zeros((len(patients), 1))
    for name, orders in asked:
        at = patients[name]
        wholes[at] += 1
        first[at] += orders == ("first", "second")
        second[at] += orders == ("second", "first")
        same[at] += orders[0] == orders[1]
    counts = patient_counts(len(patients), n_resamples=n_resamples, rng=np.random.default_rng(seed))
    draws = ratios([first - second], [wholes], counts=counts, n_resamples=n_resamples).draws
    (interval,) = intervals_of(draws, 0.95, most_undefined=0.2)
    known = np.isfinite(interval.low) and interval.low < interval.high
    n = len(asked)
    return {
        "comparisons": n,
        "same report in both orders, or a tie in both": int(same.sum()),
        FIRST_PLACE: int(first.sum()),
        SECOND_PLACE: int(second.sum()),
        "tie in one order alone": n - int(same.sum() + first.sum() + second.sum()),
        "bias": float(draws.value[0]),
        "bias, low": interval.low if known else None,
        "bias, high": interval.high if known else None,
    }


def told_of_position(position: Mapping[str, float | int | None]) -> list[str]:
    """Say how many comparisons the place of a report decided; nothing where it decided none.

    >>> told_of_position({"comparisons": 9, FIRST_PLACE: 4, SECOND_PLACE: 0})
    ['4 of 9 comparisons won by a place in both orders, 4 by the first']
    """
    first, second = position[FIRST_PLACE] or 0, position[SECOND_PLACE] or 0
    if not first + second:
        return []
    n = position["comparisons"]
    return [f"{first + second:,} of {n:,} comparisons won by a place in both orders, {first:,} by the first"]


def ratings_of(judgements: Iterable[Judgement]) -> list[int]:
    """Return what was decided on each comparison as a category of `CHOICES`, or `MISSING`."""
    return [
        MISSING if one.choice is None else CHOICES.index(one.choice)
        for judgement in judgements
        for one in judgement.decisions
    ]
