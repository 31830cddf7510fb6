"""How sure a generator is of its report: the mean log-probability of a token, as the generator gave it."""

from collections.abc import Mapping
from typing import ClassVar

import numpy as np

from cxrobust.radiology_reports.scores import Answers, Measure, Pairs, Scorer, mean_of, scorer


@scorer("log-probability")
class LogProbability(Scorer):
    """The mean log-probability of a report's tokens."""

    measures: ClassVar[Mapping[str, Measure]] = {
        "log-probability": mean_of(
            "log_probability",
            "Mean log-probability of a token of a report, in nats; neither way is better.",
            better=None,
            bounds=(-np.inf, 0.0),
        )
    }
    needs_reference = False

    def compare(self, pairs: Pairs) -> Answers:
        """Return what the generator gave with each report."""
        given = pairs.log_probabilities
        found = np.full(len(pairs.ids), np.nan) if given is None else np.asarray(given, dtype=np.float64)
        unknown = {int(i): "no log-probability" for i in np.flatnonzero(np.isnan(found))}
        return Answers(columns={"log_probability": found}, reasons=unknown)
