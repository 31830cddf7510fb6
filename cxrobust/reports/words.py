"""How numbers, metrics, conditions and findings are written: AMA style, true minus signs, non-breaking spaces."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from cxrobust.conditions import parse_condition

MINUS = "−"
SPACE = "\N{NO-BREAK SPACE}"
MACRO = "macro"

REGIME_BEGINS, REGIME_ENDS = "\ue000", "\ue001"
"""Private-use characters that enclose a regime's name in a sentence; templates set it in its own face."""


@dataclass(frozen=True, kw_only=True, slots=True)
class MetricWords:
    """What a metric is called, and which way is better."""

    name: str
    """Inside a sentence: `mean confidence`."""
    title: str
    """Above a panel: `Confidence`."""
    better: Literal["higher", "lower", "neither"]


METRICS = {
    "auroc": MetricWords(name="AUROC", title="Discrimination", better="higher"),
    "accuracy": MetricWords(name="accuracy", title="Accuracy", better="higher"),
    "confidence": MetricWords(name="mean confidence", title="Confidence", better="neither"),
    "ece": MetricWords(name="ECE", title="Calibration error", better="lower"),
    "brier": MetricWords(name="Brier score", title="Brier score", better="lower"),
}

PERTURBATIONS = {
    "pgd": "PGD",
    "fgsm": "FGSM",
    "noise": "random noise",
    "gaussian-noise": "Gaussian noise",
    "blur": "Gaussian blur",
    "jpeg": "JPEG compression",
}


def metric_words(metric: str) -> MetricWords:
    """Return the words for a metric; one that is not known here keeps its name and has no better side."""
    name = metric.replace("_", " ")
    return METRICS.get(metric, MetricWords(name=name, title=capitalised(name), better="neither"))


def number(value: float, *, digits: int = 3, signed: bool = False) -> str:
    """Write a number with a true minus sign, and a plus where signs matter; what rounds to 0 has no sign.

    Examples
    --------
    >>> number(-0.0423), number(0.0423, signed=True), number(-0.0001)
    ('−0.042', '+0.042', '0.000')
    """
    text = f"{abs(value):.{digits}f}"
    if float(text) == 0:
        return text
    sign = MINUS if value < 0 else "+" if signed else ""
    return sign + text


def enough_digits(value: float, *, digits: int = 3) -> int:
    """Return how many decimals show a number that is not 0 as more than 0: `digits`, or up to three more."""
    return next(
        (d for d in range(digits, digits + 3) if round(abs(value), d) > 0), digits if value == 0 else digits + 3
    )


def interval(low: float, high: float, *, digits: int = 3, signed: bool = False) -> str:
    """Write an interval's ends.

    Examples
    --------
    >>> interval(-0.061, 0.012).replace("\N{NO-BREAK SPACE}", " ")
    '−0.061 to 0.012'
    """
    return f"{number(low, digits=digits, signed=signed)}{SPACE}to{SPACE}{number(high, digits=digits, signed=signed)}"


def p_number(p: float, *, alpha: float = 0.05) -> str:
    """Write a p-value: two decimals, three below 0.01 or where two would hide on which side of `alpha` it lies.

    Examples
    --------
    >>> [p_number(p) for p in (0.00004, 0.0042, 0.049, 0.0504, 0.21, 0.997)]
    ['<0.001', '0.004', '0.049', '0.050', '0.21', '>0.99']
    """
    if p < 0.001:
        return "<0.001"
    if p > 0.99:
        return ">0.99"
    digits = 3 if p < 0.01 else 2
    while digits < 6 and (round(p, digits) < alpha) != (p < alpha):
        digits += 1
    if digits == 2 and round(p, 2) == alpha:
        digits = 3
    return f"{p:.{digits}f}"


def p_value(p: float, *, alpha: float = 0.05, adjusted: bool = False) -> str:
    """Write a p-value for a sentence.

    Examples
    --------
    >>> p_value(0.00004, adjusted=True).replace("\N{NO-BREAK SPACE}", " ")
    'adjusted p < 0.001'
    """
    text = p_number(p, alpha=alpha)
    sign, digits = (text[0], text[1:]) if text[0] in "<>" else ("=", text)
    return f"{'adjusted ' if adjusted else ''}p{SPACE}{sign}{SPACE}{digits}"


def count(n: int) -> str:
    """Write a count: `22,433`."""
    return f"{n:,}"


def counted(n: int, one: str, many: str | None = None) -> str:
    """Write a count with its noun.

    Examples
    --------
    >>> counted(1, "image").replace("\N{NO-BREAK SPACE}", " "), counted(22433, "image").replace("\N{NO-BREAK SPACE}", " ")
    ('1 image', '22,433 images')
    """
    return f"{count(n)}{SPACE}{one if n == 1 else many or one + 's'}"


def percent(share: float) -> str:
    """Write a share of 1 as a percentage without needless decimals: `95%`."""
    return f"{100 * share:.6g}%"


def compact(value: float) -> str:
    """Write a number as short as it goes: `2`, `2.5`."""
    return f"{value:.4g}".replace("-", MINUS)


def listed(items: Sequence[str], *, joint: str = "and") -> str:
    """Join names for a sentence.

    Examples
    --------
    >>> listed(["a"]), listed(["a", "b"]), listed(["a", "b", "c"])
    ('a', 'a and b', 'a, b, and c')
    """
    if len(items) < 3:
        return f" {joint} ".join(items)
    return f"{', '.join(items[:-1])}, {joint} {items[-1]}"


def capitalised(text: str) -> str:
    """Return the text with its first letter as a capital; the rest stays."""
    return text[:1].upper() + text[1:]


def regime(name: str) -> str:
    """Return a regime's name, marked so that templates set it in its own face."""
    return f"{REGIME_BEGINS}{readable(name)}{REGIME_ENDS}"


def plain(text: str) -> str:
    """Return a sentence without the marks of regimes' names and with common spaces."""
    return text.replace(REGIME_BEGINS, "").replace(REGIME_ENDS, "").replace(SPACE, " ")


def readable(text: str) -> str:
    """Return text without characters that no document may hold (controls, surrogates, our own marks)."""
    return re.sub(
        r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f\ud800-\udfff\ue000\ue001\ufffe\uffff]", "\N{REPLACEMENT CHARACTER}", text
    )


def shortened(name: str, *, most: int = 24) -> str:
    """Return a name that fits a figure: the middle of a long one becomes an ellipsis."""
    name = readable(name)
    return name if len(name) <= most else f"{name[: most - 9]}…{name[-8:]}"


def finding_words(finding: str) -> str:
    """Write a finding's name: underscores become spaces, and `macro` is the macro average."""
    return "macro average" if finding == MACRO else readable(finding.replace("_", " "))


def condition_words(condition: str) -> str:
    """Write a condition for a sentence.

    Examples
    --------
    >>> condition_words("pgd(eps=4/255, steps=20)").replace("\N{NO-BREAK SPACE}", " ")
    'PGD, ε = 4/255, 20 steps'
    >>> condition_words("gaussian-noise(severity=3)").replace("\N{NO-BREAK SPACE}", " ")
    'Gaussian noise, severity 3'
    """
    try:
        parsed = parse_condition(condition)
    except ValueError:
        return readable(condition)
    name = PERTURBATIONS.get(parsed.name, readable(parsed.name))
    return ", ".join([name, *(parameter_words(key, value) for key, value in parsed.parameters)])


def strength_words(condition: str) -> str:
    """Write a condition's strength alone; empty where it has none.

    Examples
    --------
    >>> strength_words("pgd(eps=4/255, steps=20)").replace("\N{NO-BREAK SPACE}", " ")
    'ε = 4/255'
    """
    parsed = parse_condition(condition)
    return next((parameter_words(key, value) for key, value in parsed.parameters if key == parsed.strength_name), "")


def parameter_words(key: str, value: str) -> str:
    """Write one parameter of a condition: `ε = 4/255`, `20 steps`, `severity 3`."""
    value = readable(value)
    known = {
        "eps": f"ε{SPACE}={SPACE}{value}",
        "severity": f"severity{SPACE}{value}",
        "steps": f"{value}{SPACE}step{'' if value == '1' else 's'}",
        "target": f"aimed at {finding_words(value)}",
    }
    return known.get(key, f"{readable(key.replace('_', ' '))}{SPACE}={SPACE}{value}")
