"""Records that the classical methods return."""

import sys
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


LEAST_P = sys.float_info.min
"""The smallest p-value that is told: 2.2e-308, past which floating point has fewer digits, and then none."""


LEAST_FLOOR = 1e-4
"""The smallest p-value that is said to be a test's floor: about that of 10,000 random sign patterns."""
FEW_TO_APPROXIMATE = 20
"""Units that differ, below which a normal approximation is noted."""


def never_0(p_value: float) -> float:
    """Return a p-value, or the smallest one where it is below; NaN stays.

    >>> never_0(0.0)
    2.2250738585072014e-308
    """
    return max(p_value, LEAST_P)


def floor_note(n: int, what: str, *, halved: int = 1) -> str:
    """Say below which p-value a test over the signs of `n` cannot fall: 2^(`halved` − n), of which one is exact.

    Empty where that is less than 0.0001, which is small enough for any use.

    >>> floor_note(5, "exact over 5 discordant images")
    'exact over 5 discordant images, so p is at least 0.0625'
    """
    least = 2.0 ** min(halved - n, 0)
    return f"{what}, so p is at least {least:.4g}" if least >= LEAST_FLOOR else ""


def approximation_note(n: int, unit: str = "patient") -> str:
    """Say that a normal approximation rests on few units that differ; empty where they are some, or none.

    >>> approximation_note(7), approximation_note(20)
    ('normal approximation with 7 patients', '')
    """
    return f"normal approximation with {n} {unit}{'s' if n > 1 else ''}" if 0 < n < FEW_TO_APPROXIMATE else ""


def student_note(n: int, df: float) -> str:
    """Say that a p-value is of Student's t, of few patients who contribute; empty where they are some, or none.

    >>> student_note(3, 2.0), student_note(20, 17.5)
    ("Student's t with 2 degrees of freedom, of 3 patients", '')
    """
    if not 0 < n < FEW_TO_APPROXIMATE:
        return ""
    return f"Student's t with {df:.3g} degree{'s' if df > 1 else ''} of freedom, of {n} patient{'s' if n > 1 else ''}"


def no_test(name: str, *, note: str) -> TestResult:
    """Return a test that is not estimable, with the reason."""
    return TestResult(name=name, statistic=np.nan, p_value=np.nan, note=note)


def no_difference(name: str, *, note: str) -> TestResult:
    """Return the test of two that do not differ anywhere: the statistic is 0 and the p-value 1."""
    return TestResult(name=name, statistic=0.0, p_value=1.0, note=note)
