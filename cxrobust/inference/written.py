"""What a generator wrote of images, and what it says of a study's findings; torch is not needed to hold it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from cxrobust.radiology_reports.findings import UNREAD_ODDS, Doubted, decided, stated

SURE = -1e-12
"""The largest mean log-probability: with one of 0, the log-odds of a finding would be infinite."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Written:
    """The reports of some images."""

    reports: tuple[str, ...]
    log_probabilities: NDArray[np.float64]
    """(n_images,) mean log-probability of a token of each report, its end included."""
    faults: tuple[tuple[str, ...], ...]
    """What is wrong with each report: `empty`, `not English`, `cut off`, `very long`; or `with samples …` any of these,
    where confidence is told by samples."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Reading:
    """What a model says of some images."""

    logits: NDArray[np.float32]
    """(n_images, n_findings) log-odds."""
    written: Written | None = None
    """None for a model that writes no reports."""
    unusable: Mapping[int, str] = field(default_factory=dict)
    """Why images cannot be used, by their place; their log-odds are NaN."""


def joined(parts: Sequence[Reading]) -> Reading:
    """Return the readings of several batches as one."""
    logits = np.concatenate([part.logits for part in parts])
    written = [part.written for part in parts if part.written is not None]
    firsts = np.cumsum([0, *(len(part.logits) for part in parts)]).tolist()
    unusable = {
        first + place: why for first, part in zip(firsts, parts, strict=False) for place, why in part.unusable.items()
    }
    if not written:
        return Reading(logits=logits, unusable=unusable)
    return Reading(
        logits=logits,
        unusable=unusable,
        written=Written(
            reports=tuple(report for part in written for report in part.reports),
            log_probabilities=np.concatenate([part.log_probabilities for part in written]),
            faults=tuple(faults for part in written for faults in part.faults),
        ),
    )


def in_places(parts: Sequence[tuple[NDArray[np.intp], Reading]]) -> Reading:
    """Return the readings of images at these places, which together are 0, 1, …, n − 1, as one in their order."""
    whole = joined([reading for _, reading in parts])
    places = np.concatenate([place for place, _ in parts])
    order, written = np.argsort(places), whole.written
    return Reading(
        logits=whole.logits[order],
        written=None
        if written is None
        else Written(
            reports=tuple(written.reports[before] for before in order),
            log_probabilities=written.log_probabilities[order],
            faults=tuple(written.faults[before] for before in order),
        ),
        unusable={int(places[before]): why for before, why in whole.unusable.items()},
    )


def not_usable(reading: Reading, why: str) -> Reading:
    """Return the reading of images that cannot be used after all."""
    return replace(
        reading, logits=np.full_like(reading.logits, np.nan), unusable=dict.fromkeys(range(len(reading.logits)), why)
    )


def log_odds_by_tokens(
    reports: Sequence[str], log_probabilities: NDArray[np.float64], observations: Sequence[str], *, doubted: Doubted
) -> NDArray[np.float64]:
    """Return log-odds (n, k) from what reports state and how probable their tokens are.

    With c = exp(mean log-probability of a token) a finding has p = (1 + c) / 2 where it is stated and (1 − c) / 2 where
    not, so that the decision at 0.5 is the report's own and confidence rises with c; what is half stated has 0.5. A
    report that is empty or not English affirms nothing and tells nothing: p is just under 0.5, whatever c is.

    Examples
    --------
    >>> odds = log_odds_by_tokens(["Effusion."], np.log([0.5]), ["Pleural Effusion", "Edema"], doubted="ones")
    >>> odds.round(4).tolist()
    [[1.0986, -1.0986]]
    """
    mean = np.minimum(log_probabilities, SURE)
    size = np.log1p(np.exp(mean)) - np.log(-np.expm1(mean))
    states = np.array([stated(report, observations, doubted=doubted) for report in reports])
    states = states.reshape(len(reports), len(observations))
    return decided((2 * states - 1) * size[:, None], states, unread=UNREAD_ODDS)


def log_odds_by_agreement(
    samples: Sequence[Sequence[str]], observations: Sequence[str], *, doubted: Doubted
) -> NDArray[np.float64]:
    """Return log-odds (n, k) from how many of each image's sampled reports state a finding.

    p = (count + 0.5) / (n_samples + 1), the mean of Jeffreys' posterior: never 0 or 1, which a few samples cannot tell,
    and 0.5 exactly where they are divided. A sample that is empty or not English counts half; where all are, p is just
    under 0.5.

    Examples
    --------
    >>> log_odds_by_agreement([["Edema.", "Edema.", "Clear."]], ["Edema"], doubted="ones").round(4).tolist()
    [[0.5108]]
    """
    states = [np.array([stated(one, observations, doubted=doubted) for one in own]) for own in samples]
    counts = np.array([np.nan_to_num(own, nan=0.5).sum(axis=0) for own in states])
    sizes = np.array([len(own) for own in samples])[:, None]
    unread = np.array([np.isnan(own).all(axis=0) for own in states])
    return np.where(unread, UNREAD_ODDS, np.log(counts + 0.5) - np.log(sizes - counts + 0.5))
