"""Agreement of report and reference on CheXpert's 14 observations: F1 of what they affirm, from confusion counts.

`f1-14-micro` counts all observations of all reports together, `f1-14-macro` is the mean of each observation's F1, over
those that a reference affirms at all; `f1-5-…` are of the five that CheXpert's authors compare on. An observation is
affirmed where the labeler says so; `uncertain` says what a doubted one counts as.
"""

from collections.abc import Mapping, Sequence
from functools import lru_cache, partial
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import model_validator

from cxrobust.radiology_reports.labeler import Label, label_report, speaks_english
from cxrobust.radiology_reports.phrases import OBSERVATIONS
from cxrobust.radiology_reports.scores import Answers, Columns, Measure, OnDevice, Pairs, scorer
from cxrobust.study.sections import StudyPath

if TYPE_CHECKING:
    from cxrobust.radiology_reports.chexbert import Chexbert

FIVE = ("Cardiomegaly", "Edema", "Consolidation", "Atelectasis", "Pleural Effusion")
KINDS = ("tp", "fp", "fn", "tn")
"""Affirmed by both; by the report alone; by the reference alone; by neither."""
SHARED, AFFIRMING = "chexpert_positive_f1", "chexpert_affirming"


def slug(observation: str) -> str:
    """Return an observation as metrics and columns name it.

    >>> slug("Pleural Effusion")
    'pleural-effusion'
    """
    return observation.lower().replace(" ", "-")


def column(kind: str, observation: str) -> str:
    """Name the column of one kind of count of one observation."""
    return f"chexpert_{kind}_{slug(observation)}"


def f1(sums: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return 2 tp / (2 tp + fp + fn) of counts (..., 3 or more): tp, fp, fn; NaN where nothing is affirmed."""
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.asarray(2 * sums[..., 0] / (2 * sums[..., 0] + sums[..., 1] + sums[..., 2]))


def mean_f1(sums: NDArray[np.float64], *, n: int) -> NDArray[np.float64]:
    """Return the mean F1 of the observations that a reference affirms; counts (..., 3 n + 1) are all tp, fp, then fn.

    Which observations are averaged depends on the references alone, so that two regimes are averaged over the same.
    """
    tp, fp, fn = sums[..., :n], sums[..., n : 2 * n], sums[..., 2 * n : 3 * n]
    counts = (tp + fn).real > 0
    with np.errstate(invalid="ignore", divide="ignore"):
        each = np.where(counts, 2 * tp / np.where(counts, 2 * tp + fp + fn, 1.0), 0.0)
        return np.asarray(each.sum(axis=-1) / counts.sum(axis=-1))


def _counts(columns: Columns, observations: Sequence[str]) -> NDArray[np.float64]:
    """Return (n_reports, 3 n_observations): all tp, all fp, all fn."""
    return np.column_stack([columns[column(kind, name)] for kind in KINDS[:3] for name in observations])


def _pooled(columns: Columns, observations: Sequence[str]) -> NDArray[np.float64]:
    """Return (n_reports, 3): tp, fp, fn of the observations together."""
    return np.column_stack([sum(columns[column(kind, name)] for name in observations) for kind in KINDS[:3]])


def _needs(observations: Sequence[str]) -> tuple[str, ...]:
    return tuple(column(kind, name) for kind in KINDS[:3] for name in observations)


NOTHING = "no report and no reference affirms one"


def _micro(observations: Sequence[str], says: str) -> Measure:
    return Measure(
        says=says,
        needs=_needs(observations),
        of=partial(_pooled, observations=observations),
        finish=f1,
        undefined=NOTHING,
    )


def _macro(observations: Sequence[str], says: str) -> Measure:
    return Measure(
        says=says,
        needs=_needs(observations),
        of=partial(_counts, observations=observations),
        finish=partial(mean_f1, n=len(observations)),
        undefined="no reference affirms one",
    )


def _per_report(sums: NDArray[np.float64]) -> NDArray[np.float64]:
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.asarray(sums[..., 0] / sums[..., 1])


POSITIVE = Measure(
    says="Mean F1 of the observations that each report and its reference affirm, over reports of which one does.",
    needs=(SHARED, AFFIRMING),
    of=lambda columns: np.column_stack([columns[SHARED], columns[AFFIRMING]]),
    finish=_per_report,
    undefined=NOTHING,
)


@scorer("chexpert")
class Chexpert(OnDevice):
    """Confusion of CheXpert's observations, by the embedded labeler or by CheXbert."""

    measures: ClassVar[Mapping[str, Measure]] = {
        "f1-14-micro": _micro(OBSERVATIONS, "F1 of CheXpert's 14 observations, counted together; in [0, 1]."),
        "f1-14-macro": _macro(OBSERVATIONS, "Mean F1 of CheXpert's 14 observations; in [0, 1]."),
        "f1-5-micro": _micro(FIVE, "F1 of CheXpert's five main observations, counted together; in [0, 1]."),
        "f1-5-macro": _macro(FIVE, "Mean F1 of CheXpert's five main observations; in [0, 1]."),
        "f1-positive": POSITIVE,
        **{f"f1-{slug(name)}": _micro([name], f"F1 of {name} in reports; in [0, 1].") for name in OBSERVATIONS},
    }

    modules = tuple(f"cxrobust.radiology_reports.{name}" for name in ("labeler", "phrases", "chexbert"))

    labeler: Literal["rules", "chexbert"] = "rules"
    checkpoint: StudyPath | None = None
    """Of `chexbert`: its published checkpoint, `chexbert.pth`."""
    tokenizer: StudyPath | None = None
    """Of `chexbert`: a folder with the vocabulary of `bert-base-uncased`."""
    uncertain: Literal["negative", "positive", "missing"] = "negative"
    """What a doubted observation counts as; `missing` leaves it out of a report's counts where either text doubts."""

    @model_validator(mode="after")
    def _fitting(self) -> "Chexpert":
        files = (self.checkpoint, self.tokenizer)
        if self.labeler == "chexbert" and None in files:
            raise ValueError("chexbert needs checkpoint and tokenizer")
        if self.labeler == "rules" and files != (None, None):
            raise ValueError('checkpoint and tokenizer are of use with labeler = "chexbert" alone')
        return self

    def compare(self, pairs: Pairs) -> Answers:
        """Compare what each report and its reference affirm; one that the rules cannot read is not scored."""
        candidates, references = pairs.texts
        reasons: dict[int, str] = {}
        remarks: dict[int, str] = {}
        if self.labeler == "chexbert":
            assert self.checkpoint is not None and self.tokenizer is not None  # noqa: PT018, S101  validated
            labels = _load(self.checkpoint, self.tokenizer, self.torch_device, self.batch)
            found, wanted = labels.label(candidates), labels.label(references)
            cut = [i for i, both in enumerate(pairs.texts_in_pairs) if any(map(labels.is_cut, both))]
            remarks = dict.fromkeys(cut, f"text beyond {labels.longest} tokens not read")
        else:
            found, wanted = ([label_report(text) for text in texts] for texts in (candidates, references))
            for i, (candidate, reference) in enumerate(pairs.texts_in_pairs):
                if not speaks_english(reference):
                    reasons[i] = "reference not English"
                elif candidate.strip() and not speaks_english(candidate):
                    reasons[i] = "report not English"
        rows = [confusion(one, other, uncertain=self.uncertain) for one, other in zip(found, wanted, strict=True)]
        names = (*(column(kind, name) for name in OBSERVATIONS for kind in KINDS), SHARED, AFFIRMING)
        return Answers(
            columns={name: np.array([row[name] for row in rows], dtype=np.float64) for name in names},
            reasons=reasons,
            remarks=remarks,
        )


@lru_cache(maxsize=1)
def _load(checkpoint: Path, tokenizer: Path, device: str, batch: int) -> "Chexbert":
    from cxrobust.radiology_reports.chexbert import Chexbert

    return Chexbert(checkpoint, tokenizer, device=device, batch=batch)


def confusion(
    candidate: Mapping[str, Label], reference: Mapping[str, Label], *, uncertain: str = "negative"
) -> dict[str, float]:
    """Return the columns of one report: of each observation which of four it is, and the F1 of those affirmed.

    >>> told = {"Edema": Label.POSITIVE, "Pneumothorax": Label.UNCERTAIN}
    >>> found = confusion(told, {"Edema": Label.POSITIVE, "Pneumothorax": Label.POSITIVE})
    >>> found["chexpert_tp_edema"], found["chexpert_fn_pneumothorax"], round(found["chexpert_positive_f1"], 3)
    (1.0, 1.0, 0.667)
    """
    counted = {column(kind, name): 0.0 for name in OBSERVATIONS for kind in KINDS}
    for name in OBSERVATIONS:
        told = candidate.get(name), reference.get(name)
        if uncertain == "missing" and Label.UNCERTAIN in told:
            continue
        affirmed = [label is Label.POSITIVE or (uncertain == "positive" and label is Label.UNCERTAIN) for label in told]
        kind = {(True, True): "tp", (True, False): "fp", (False, True): "fn", (False, False): "tn"}
        counted[column(kind[affirmed[0], affirmed[1]], name)] = 1.0
    tp, fp, fn = (sum(counted[column(kind, name)] for name in OBSERVATIONS[1:]) for kind in KINDS[:3])
    n = 2 * tp + fp + fn
    return {**counted, SHARED: 2 * tp / n if n else 0.0, AFFIRMING: float(n > 0)}
