"""Records that the classical methods return."""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np


@dataclass(frozen=True, kw_only=True, slots=True)
class TestResult:
    """Outcome of one hypothesis test."""

    __test__: ClassVar[bool] = False  # pytest collects classes whose name begins with Test

    name: str
    """Method, as a report names it."""
    statistic: float
    """What each function says; NaN where not estimable."""
    p_value: float
    """In [0, 1]; NaN where not estimable."""
    note: str = ""
    """Why it is not estimable, or what was left out; empty when there is nothing to say."""


def no_test(name: str, *, note: str) -> TestResult:
    """Return a test that is not estimable, with the reason."""
    return TestResult(name=name, statistic=np.nan, p_value=np.nan, note=note)


def no_difference(name: str, *, note: str) -> TestResult:
    """Return the test of two that do not differ anywhere: the statistic is 0 and the p-value 1."""
    return TestResult(name=name, statistic=0.0, p_value=1.0, note=note)
