"""Reports of generators kept for the documents: a few images, each regime's report clean and under the attack."""

import math
import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from cxrobust.conditions import CLEAN
from cxrobust.radiology_reports.findings import why_unread
from cxrobust.radiology_reports.labeler import Label, label_report

if TYPE_CHECKING:
    from cxrobust.predictions import PredictionSet  # loads what reads tables

_SENTENCE_ENDS = re.compile(r"(?<=[.!?])\s+|\n\s*\n")


def generated_reports(predictions: "PredictionSet", *, primary: str | None, most: int) -> tuple[dict[str, Any], ...]:
    """Return what each regime's first training run wrote of up to `most` images, clean and under `primary`.

    Of each patient it is the first image that has a reference, or else the first; images with a reference come first,
    and of these the ones on which any finding is labelled present. Each entry has
    `image`, `findings` (labelled present), `reference` (None where it is missing) and `reports`: of each regime and
    condition `regime`, `condition`, `log_probability` (mean, of a token) and `probabilities`, and of texts
    `described`'s fields.
    """
    if predictions.reports is None or most < 1:
        return ()
    conditions = [name for name in (str(CLEAN), primary) if name in predictions.conditions]
    members = [
        (row, regime)
        for row, (regime, _) in enumerate(predictions.members)
        if regime not in {name for name, _ in predictions.members[:row]}
    ]
    return tuple(
        {
            "image": predictions.image_ids[at],
            "findings": [predictions.findings[k] for k in np.flatnonzero(predictions.labels[at] == 1)],
            "reference": _reference(predictions, at),
            "reports": [
                _entry(predictions, row, predictions.conditions.index(name), at, regime=regime)
                for row, regime in members
                for name in dict.fromkeys(conditions)
                if predictions.reports[row, predictions.conditions.index(name), at] is not None
            ],
        }
        for at in _images(predictions, most=most)
    )


def described(text: str) -> dict[str, Any]:
    """Return a text's words, CheXpert labels by the embedded labeler, and sentences with what each speaks of.

    Examples
    --------
    >>> found = described("Small effusion. Bones are normal.")
    >>> found["labels"], found["sentences"][0]
    ({'Pleural Effusion': 1}, ['Small effusion.', ['Pleural Effusion']])
    """
    unread = why_unread(text)
    parts = [part.strip() for part in _SENTENCE_ENDS.split(text) if part.strip()]
    return {
        "report": text,
        "words": len(text.split()),
        "unread": unread or "",
        "labels": {} if unread else _labels(text),
        "sentences": [
            [part, [name for name in _labels(part) if not unread and name != "No Finding"]] for part in parts
        ],
    }


def _labels(text: str) -> dict[str, int]:
    return {name: int(label) for name, label in label_report(text).items()}


def stated(labels: Mapping[str, int]) -> dict[str, int]:
    """Return what a report affirms or doubts, without `No Finding`; what it denies or leaves unsaid is not stated."""
    return {name: label for name, label in labels.items() if label != Label.NEGATIVE and name != "No Finding"}


def _images(predictions: "PredictionSet", *, most: int) -> list[int]:
    """Return one image of each patient, those with a reference first, then those with a finding, as many as wanted."""
    references = predictions.references or (None,) * len(predictions.patients)
    lacking = [not (text and text.strip()) for text in references]
    first: dict[int, int] = {}
    for at in sorted(range(len(lacking)), key=lambda at: (lacking[at], at)):
        first.setdefault(int(predictions.patients[at]), at)
    positive = (predictions.labels == 1).any(axis=1)
    return sorted(first.values(), key=lambda at: (lacking[at], not positive[at], at))[:most]


def _reference(predictions: "PredictionSet", at: int) -> dict[str, Any] | None:
    reference = None if predictions.references is None else predictions.references[at]
    return described(reference) if reference and reference.strip() else None


def _entry(predictions: "PredictionSet", row: int, column: int, at: int, *, regime: str) -> dict[str, Any]:
    log_probability = math.nan
    if predictions.log_probabilities is not None:
        log_probability = float(predictions.log_probabilities[row, column, at])
    reports = predictions.reports
    text = "" if reports is None else str(reports[row, column, at])
    values = predictions.probabilities[row, column, at]
    return {
        "regime": regime,
        "condition": predictions.conditions[column],
        "log_probability": None if math.isnan(log_probability) else log_probability,
        "probabilities": dict(zip(predictions.findings, map(float, values), strict=True)),
        **described(text),
    }
