"""ROUGE-L (Lin 2004, aclanthology.org/W04-1013): the longest run of words, gaps allowed, that both texts have."""

from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np

from cxrobust.errors import require
from cxrobust.radiology_reports.scores import Answers, Measure, Pairs, Scorer, mean_of, scorer


@scorer("rouge-l")
class RougeL(Scorer):
    """The longest common subsequence of words, by rouge-score."""

    measures: ClassVar[Mapping[str, Measure]] = {
        "rouge-l": mean_of("rouge_l", "Mean F of the longest common run of words, gaps allowed; in [0, 1].")
    }
    distributions = ("rouge-score",)
    packages = ("rouge_score",)

    stemmer: bool = False
    """Whether words are compared without their endings."""

    def compare(self, pairs: Pairs) -> Answers:
        """Return each pair's F."""
        rouge: Any = require("rouge_score.rouge_scorer", group=self.extra)
        counter = rouge.RougeScorer(["rougeL"], use_stemmer=self.stemmer)
        found = [
            counter.score(reference, candidate)["rougeL"].fmeasure
            for candidate, reference in zip(*pairs.texts, strict=True)
        ]
        return Answers(columns={"rouge_l": np.array(found, dtype=np.float64)})
