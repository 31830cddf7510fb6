"""Ordinal effect sizes: how often a value of one sample exceeds one of another."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from cxrobust.analysis.classical.clusters import finite


@dataclass(frozen=True, kw_only=True, slots=True)
class Dominance:
    """Of all comparisons of a value of `first` with one of `second`, how many go which way."""

    n_greater: int
    """In which the value of `first` is the greater."""
    n_equal: int
    n_less: int

    @property
    def n_comparisons(self) -> int:
        """All comparisons."""
        return self.n_greater + self.n_equal + self.n_less

    @property
    def superiority(self) -> float:
        """Probability that `first` exceeds `second`, ties counting half; in [0, 1]; 0.5 means neither tends to."""
        return (self.n_greater + self.n_equal / 2) / self.n_comparisons

    @property
    def delta(self) -> float:
        """Cliff's delta, 2 × superiority − 1: the share greater less the share less; in [−1, 1]; 0 means neither."""
        return (self.n_greater - self.n_less) / self.n_comparisons


def dominance(first: ArrayLike, second: ArrayLike) -> Dominance:
    """Every value of `first` against every value of `second`: Cliff's delta, and the probability of superiority.

    Cliff 1993 (doi:10.1037/0033-2909.114.3.494); Vargha and Delaney 2000 (doi:10.3102/10769986025002101) call the
    superiority A. It is Mann and Whitney's U over the number of comparisons. By sorting, in O(n log n).

    Parameters
    ----------
    first, second
        (n_first,) and (n_second,) finite.

    Raises
    ------
    ValueError
        When a sample is empty, not one-dimensional, or holds values that are not finite.

    Examples
    --------
    >>> found = dominance([3, 4, 5], [1, 3])
    >>> round(found.delta, 4), round(found.superiority, 4)
    (0.8333, 0.9167)
    """
    one, other = finite(first, name="first"), np.sort(finite(second, name="second"))
    n_greater = int(np.searchsorted(other, one, "left").sum())
    n_not_less = int(np.searchsorted(other, one, "right").sum())
    n_less = len(one) * len(other) - n_not_less
    return Dominance(n_greater=n_greater, n_equal=n_not_less - n_greater, n_less=n_less)


def dominance_paired(first: ArrayLike, second: ArrayLike) -> Dominance:
    """Every value of `first` against its own partner in `second`, as two regimes on the same image.

    The delta is Cliff's within-pair dominance d_w, the share of pairs in which `first` is greater less that in which it
    is less.

    Parameters
    ----------
    first, second
        (n_pairs,) finite, in the same order.

    Raises
    ------
    ValueError
        When the lengths differ, or a sample is empty, not one-dimensional, or holds values that are not finite.

    Examples
    --------
    >>> dominance_paired([3, 4, 5], [1, 4, 6]).superiority
    0.5
    """
    one, other = finite(first, name="first"), finite(second, name="second")
    if one.shape != other.shape:
        raise ValueError(f"first has {len(one)} values and second {len(other)}, expected pairs")
    n_greater, n_less = int((one > other).sum()), int((one < other).sum())
    return Dominance(n_greater=n_greater, n_equal=len(one) - n_greater - n_less, n_less=n_less)
