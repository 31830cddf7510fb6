"""BLEU (Papineni et al. 2002, doi:10.3115/1073083.1073135): how many runs of words a report shares with its reference.

Counted by sacrebleu (Post 2018, doi:10.18653/v1/W18-6319) for each report, and put together from the sums as sacrebleu
does for a corpus, so that a resample of patients is a corpus of its own.
"""

from collections.abc import Mapping
from functools import partial
from typing import Any, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray

from cxrobust.errors import require
from cxrobust.radiology_reports.scores import Answers, Columns, Measure, Pairs, Scorer, scorer

ORDERS = (1, 2, 3, 4)
LENGTHS = ("bleu_candidate_length", "bleu_reference_length")
CORRECT, TOTAL = ([f"bleu_{kind}_{n}" for n in ORDERS] for kind in ("correct", "total"))
COLUMNS = (*LENGTHS, *CORRECT, *TOTAL)


def corpus_bleu(sums: NDArray[np.float64], *, order: int = 4) -> NDArray[np.float64]:
    """Return BLEU of corpora in [0, 1] from their sums (..., 11): the lengths, shared and all runs of 1 to 4 words.

    The geometric mean of the shares of runs that the reference has, times exp(1 − r/c) where the candidate's length c
    falls short of the reference's r. A share of 0 is taken for half, a quarter, ... of one run (`exp` of sacrebleu).
    """
    candidate, reference = sums[..., 0], sums[..., 1]
    correct, total = sums[..., 2 : 2 + order], sums[..., 2 + len(ORDERS) : 2 + len(ORDERS) + order]
    nothing = (correct.real == 0).all(axis=-1) | (total.real == 0).any(axis=-1)
    with np.errstate(invalid="ignore", divide="ignore"):
        is_none = correct.real == 0
        smoothed = np.where(is_none, 0.5 ** np.cumsum(is_none, axis=-1), correct)
        precision = np.exp(np.log(smoothed / total).sum(axis=-1) / order)
        short = np.where(candidate.real < reference.real, np.exp(1 - reference / candidate), 1.0)
        return np.asarray(np.where(nothing, 0.0, precision * short))


def _of(columns: Columns) -> NDArray[np.float64]:
    return np.column_stack([columns[name] for name in COLUMNS])


def _measure(order: int) -> Measure:
    return Measure(
        says=f"BLEU-{order} of the reports as one corpus; in [0, 1], not in per cent.",
        needs=COLUMNS,
        of=_of,
        finish=partial(corpus_bleu, order=order),
        length=LENGTHS[0],
    )


@scorer("bleu")
class Bleu(Scorer):
    """Runs of one to four words that report and reference share, by sacrebleu."""

    measures: ClassVar[Mapping[str, Measure]] = {"bleu": _measure(4), **{f"bleu-{n}": _measure(n) for n in ORDERS[:3]}}
    distributions = ("sacrebleu",)
    packages = ("sacrebleu",)

    tokenize: Literal["13a", "intl", "none"] = "13a"
    lowercase: bool = False

    def compare(self, pairs: Pairs) -> Answers:
        """Count each pair's runs."""
        metrics: Any = require("sacrebleu.metrics", group=self.extra)
        counter = metrics.BLEU(tokenize=self.tokenize, lowercase=self.lowercase, effective_order=True)
        rows = np.zeros((len(pairs.ids), len(COLUMNS)))
        for row, candidate, reference in zip(rows, *pairs.texts, strict=True):
            one = counter.sentence_score(candidate, [reference])
            row[:] = [one.sys_len, one.ref_len, *one.counts, *one.totals]
        return Answers(columns=dict(zip(COLUMNS, rows.T, strict=True)))
