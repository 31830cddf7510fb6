"""The length of reports in words, which training on preferences is known to drive up (CheXalign, arXiv 2410.07025)."""

from collections.abc import Mapping
from typing import ClassVar

import numpy as np

from cxrobust.radiology_reports.scores import CANDIDATE_WORDS as CANDIDATE
from cxrobust.radiology_reports.scores import REFERENCE_WORDS as REFERENCE
from cxrobust.radiology_reports.scores import Answers, Measure, Pairs, Scorer, mean_of, scorer


@scorer("words")
class Words(Scorer):
    """Words of report and reference, parted by spaces."""

    measures: ClassVar[Mapping[str, Measure]] = {
        "words": mean_of(CANDIDATE, "Mean words of a report; neither way is better.", better=None, bounds=(0, np.inf)),
        "verbosity": Measure(
            says="Words of all reports over words of all references; neither way is better.",
            needs=(CANDIDATE, REFERENCE),
            of=lambda columns: np.column_stack([columns[CANDIDATE], columns[REFERENCE]]),
            finish=lambda sums: sums[..., 0] / sums[..., 1],
            better=None,
            bounds=(0.0, np.inf),
            undefined="the references have no word",
        ),
    }
    needs_reference = False

    def compare(self, pairs: Pairs) -> Answers:
        """Count words; those of a reference that is missing or empty are NaN."""
        counted = {
            CANDIDATE: [len((text or "").split()) for text in pairs.candidates],
            REFERENCE: [len((text or "").split()) or np.nan for text in pairs.references],
        }
        return Answers(columns={name: np.array(one, dtype=np.float64) for name, one in counted.items()})
