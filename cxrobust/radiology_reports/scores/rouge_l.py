"""ROUGE-L (Lin 2004, aclanthology.org/W04-1013): the longest run of words, gaps allowed, that both texts have."""

import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from cxrobust.errors import require
from cxrobust.radiology_reports.scores import Answers, Measure, Pairs, Scorer, mean_of, scorer

OF_WORDS = frozenset({"Ll", "Lu", "Lt", "Lm", "Lo", "Mn", "Mc", "Nd"})
"""Unicode's categories of letters, of the marks on them, and of decimal digits."""


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
        tokenizers: Any = require("rouge_score.tokenizers", group=self.extra)
        words = _Words(tokenizers.DefaultTokenizer(self.stemmer))
        counter = rouge.RougeScorer(["rougeL"], tokenizer=words)
        found = [
            counter.score(reference, candidate)["rougeL"].fmeasure
            for candidate, reference in zip(*pairs.texts, strict=True)
        ]
        return Answers(columns={"rouge_l": np.array(found, dtype=np.float64)})


@dataclass(frozen=True, slots=True)
class _Words:
    """Words in any alphabet; rouge-score itself reads a to z and digits alone, and nothing of other letters."""

    latin: Any

    def tokenize(self, text: str) -> list[str]:
        """Return the words of a text in small letters; those of a to z and digits as rouge-score's tokenizer does."""
        if text.isascii():
            return list(self.latin.tokenize(text))
        parted = "".join(one if unicodedata.category(one) in OF_WORDS else " " for one in text.lower())
        return [token for word in parted.split() for token in (self.latin.tokenize(word) if word.isascii() else [word])]
