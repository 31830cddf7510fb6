"""Selective prediction: what the most confident images are worth when a reader takes over the others.

A model that abstains below some confidence answers for a share of images, its coverage, and is wrong on a share of
those, its risk (Geifman and El-Yaniv 2017, arXiv:1705.08500). Confidence is max(p, 1 − p) and the decision is
[p ≥ threshold], at the operating point that was chosen on clean images. A confidence is reached by all images that have
it, so tied images enter together.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from cxrobust.analysis.cells import Cell
from cxrobust.analysis.jackknife import jackknife_contributions
from cxrobust.analysis.metrics import Usual, metric
from cxrobust.analysis.metrics.confidence import confidence
from cxrobust.analysis.ranks import (
    HeadShares,
    coverage_without_each,
    resample_ranked,
    resampled_coverage,
    resampled_mean_share,
)
from cxrobust.analysis.resampling import Counts
from cxrobust.results import Better
from cxrobust.study.analysis import IntervalName


class AURC(Usual):
    """Area under the risk-coverage curve; in [0, 1]; lower is better; the error rate if confidence says nothing.

    Mean over images of the share of wrong decisions among images that are at least as confident (Geifman et al. 2019,
    arXiv:1805.08206).
    """

    better: ClassVar[Better] = "lower"
    of_decisions: ClassVar[bool] = True
    of_confidence: ClassVar[bool] = True
    of_risk_and_coverage: ClassVar[bool] = True

    def value(self, cell: Cell) -> float:
        """Return the area of the sample."""
        return risks(cell).value()

    def resample(self, cells: Sequence[Cell], counts: Counts) -> NDArray[np.float64]:
        """Return the area of each resample, (n_cells, n_lanes); NaN where a resample has no labelled image."""
        return resample_ranked(resampled_mean_share, _arrays, cells, counts)

    def contributions(self, cell: Cell) -> NDArray[np.float64]:
        """Return each patient's influence plus its part of the images times the value; sums to the value.

        With n images in all, n_g of them in a group g of tied confidence, and E_g wrong among the N_g that are at least
        as confident, an image of group h that is wrong (e = 1, else 0) has

            [E_h/N_h + Σ_{g ≥ h} n_g (e − E_g/N_g) / N_g] / n.
        """
        return cell.by_patient(risks(cell).contributions())


@dataclass(frozen=True, slots=True)
class CoverageAtRisk(Usual):
    """Largest share of images whose decisions are wrong in at most a stated share; in [0, 1]; 0 if none is.

    Images are taken from the most confident on. The value jumps where the risk only just exceeds what is allowed: it is
    not a smooth function of the sample, so the jackknife behind its contributions misstates its variance, by a factor
    of four on one finding of NIH ChestX-ray14 (Efron 1982, doi:10.1137/1.9781611970319, chapter 3). Its interval takes
    the larger of the standard errors of jackknife and resamples, and the bias of resamples off: where the true coverage
    is near 0, chance alone lets a few images pass. Its p-value is of the jackknife, and is no more than a hint.
    """

    interval: ClassVar[IntervalName] = "t-corrected"

    caution: ClassVar[str] = "p is a hint: the metric is no smooth function of the sample"

    of_decisions: ClassVar[bool] = True
    of_confidence: ClassVar[bool] = True
    of_risk_and_coverage: ClassVar[bool] = True
    risk: Fraction
    """The greatest share of wrong decisions, in (0, 1); exact, since 0.05 as a binary fraction misses 1 in 20."""

    def value(self, cell: Cell) -> float:
        """Return the coverage of the sample."""
        _, n_images, n_wrong = risks(cell).cumulative()
        few = n_wrong * self.risk.denominator <= n_images * self.risk.numerator
        return float(n_images[few].max(initial=0) / n_images[-1])

    def resample(self, cells: Sequence[Cell], counts: Counts) -> NDArray[np.float64]:
        """Return the coverage of each resample, (n_cells, n_lanes); NaN where a resample has no labelled image."""
        return resample_ranked(resampled_coverage, self._arrays, cells, counts)

    def contributions(self, cell: Cell) -> NDArray[np.float64]:
        """Return each patient's jackknife influence plus its part of the images times the value; sums to the value."""
        patients, wrong, last_of_ties, gains = self._arrays(cell)
        without = coverage_without_each(patients, wrong, last_of_ties, gains, cell.n_patients)
        return jackknife_contributions(self.value(cell), without, self.share(cell))

    def _arrays(self, cell: Cell) -> tuple[Any, ...]:
        gains = np.array([self.risk.numerator, self.risk.numerator - self.risk.denominator])
        images_of_one = np.bincount(cell.patients).max(initial=0)
        most = self.risk.denominator * int(images_of_one) * cell.n_patients
        return *_arrays(cell), gains.astype(np.int32 if most < 2**31 else np.int64)


@metric.beginning("coverage-at-risk-", rest="percentage")
def coverage_at_risk(percent: str) -> CoverageAtRisk:
    """Return the metric for a risk in per cent, written as short as can be and with three decimals at most: `2.5`.

    Raises
    ------
    ValueError
        When that is no number between 0 and 100, or is written otherwise.
    """
    if re.fullmatch(r"(0|[1-9]\d?)(\.\d{0,2}[1-9])?", percent) is None or percent == "0":
        raise ValueError(
            f"behind coverage-at-risk- stands a percentage above 0 and below 100, as short as it can be written and "
            f"with three decimals at most, such as 5 or 2.5, and not {percent!r}"
        )
    return CoverageAtRisk(Fraction(percent) / 100)


def risks(cell: Cell) -> HeadShares:
    """Rank images by confidence; hits are the wrong ones."""
    return cell.once("ranked by confidence", _sorted)


def _sorted(cell: Cell) -> HeadShares:
    wrong = cell.decisions != cell.is_positive
    return HeadShares.sort(confidence(cell.probabilities), selected=np.ones(len(wrong), dtype=np.bool_), hit=wrong)


def _arrays(cell: Cell) -> tuple[NDArray[Any], ...]:
    patients, _, wrong, last_of_ties = risks(cell).arrays(cell.patients)
    return patients, wrong, last_of_ties


metric("aurc")(AURC())
metric("coverage-at-risk-5")(coverage_at_risk("5"))
