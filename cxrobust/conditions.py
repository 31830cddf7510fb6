"""Conditions: `clean`, or one perturbation at one strength, written `pgd(eps=4/255, steps=20)`.

The text is the identity: in file names' hashes, in tables, in tests and in the report. Predictions made elsewhere name
their conditions in the same form; a name without parentheses stands for itself.
"""

import math
import re
from dataclasses import dataclass

STRENGTHS = ("eps", "severity", "side")
"""The parameters that say how strong a perturbation is; at most one of them stands in a condition."""
UNTIL_WRONG_AT = "until_wrong_at"
"""The parameter of an attack that goes no further once decisions at this probability are wrong."""
AS_NOISE = "as_noise"
"""The parameter of random noise that has the size of what an attack without a strength does to each image."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Condition:
    """What was done to the images of a cell."""

    name: str
    """`clean`, or the perturbation's registered name."""
    parameters: tuple[tuple[str, str], ...] = ()
    """Parameter names and values as written, in order."""

    def __str__(self) -> str:
        if not self.parameters:
            return self.name
        return f"{self.name}({', '.join(f'{key}={value}' for key, value in self.parameters)})"

    @property
    def strength_name(self) -> str | None:
        """`eps`, `severity` or `side`; None when the condition has no strength."""
        return next((key for key, _ in self.parameters if key in STRENGTHS), None)

    @property
    def strength(self) -> float | None:
        """Size of the perturbation (`eps` in pixels of [0, 1]; `severity` 1 to 5; `side` in %), or None."""
        name = self.strength_name
        return None if name is None else parse_number(dict(self.parameters)[name])

    @property
    def is_of_decisions(self) -> bool:
        """Whether its images were attacked until decisions were wrong, so that it holds for decisions alone."""
        return UNTIL_WRONG_AT in dict(self.parameters)

    @property
    def noise_of(self) -> "Condition | None":
        """The attack without a strength whose change of each image is the size of this noise; None of others."""
        rest = tuple((key, value) for key, value in self.parameters if key != AS_NOISE)
        return None if rest == self.parameters else Condition(name=self.name, parameters=rest)

    @property
    def series(self) -> str:
        """The condition without its strength: what is one curve in a figure."""
        rest = tuple((key, value) for key, value in self.parameters if key not in STRENGTHS)
        return str(Condition(name=self.name, parameters=rest))


CLEAN = Condition(name="clean")
_COMMA_OUTSIDE_QUOTES = r',(?=(?:[^"]*"[^"]*")*[^"]*$)'


def parse_condition(text: str) -> Condition:
    """Read a condition from its text.

    Raises
    ------
    ValueError
        When the text is neither a plain name nor `name(key=value, …)`.

    Examples
    --------
    >>> parse_condition("pgd(eps=4/255, steps=20)").strength * 255
    4.0
    >>> parse_condition("pgd(eps=4/255, steps=20)").series
    'pgd(steps=20)'
    >>> parse_condition('pgd(target="Mass, any")').parameters
    (('target', '"Mass, any"'),)
    """
    match = re.fullmatch(r"\s*([^\s()=,][^()=,]*?)\s*(?:\((.*)\))?\s*", text)
    if match is None:
        raise ValueError(f"{text!r} is not a condition: write a name, or name(key=value, ...)")
    name, inside = match.groups()
    pairs = []
    for part in re.split(_COMMA_OUTSIDE_QUOTES, inside or ""):
        if not part.strip():
            continue
        key, equals, value = (piece.strip() for piece in part.partition("="))
        if not (key and equals and value):
            raise ValueError(f"{text!r} is not a condition: {part.strip()!r} is not key=value")
        pairs.append((key, value))
    keys = [key for key, _ in pairs]
    if len(set(keys)) < len(keys) or len(set(STRENGTHS) & set(keys)) > 1:
        raise ValueError(f"{text!r} is not a condition: each parameter may stand once, and one of {STRENGTHS} at most")
    condition = Condition(name=name, parameters=tuple(pairs))
    if not _has_plain_strength(condition):
        raise ValueError(f"{text!r} is not a condition: its strength is not a size such as 4/255 or 0.01")
    return condition


def parse_number(text: str) -> float:
    """Read `4/255`, `0.5/255` or `0.01`.

    Examples
    --------
    >>> parse_number("0.5/255") == 0.5 / 255
    True
    """
    top, slash, bottom = text.partition("/")
    if not slash:
        return float(text)
    return float(top) / float(bottom)


def format_value(value: object) -> str:
    """Write a parameter's value so that `parse_condition` reads it back: text with commas or brackets in quotes.

    Examples
    --------
    >>> format_value(4 / 255), format_value(20), format_value("Mass"), format_value("Mass, any")
    ('4/255', '20', 'Mass', '"Mass, any"')
    """
    if isinstance(value, float):
        return format_eps(value)
    text = ", ".join(map(format_value, value)) if isinstance(value, tuple) else str(value)
    return f'"{text.replace(chr(34), chr(39))}"' if re.search(r'[,="()]', text) else text


def format_eps(eps: float) -> str:
    """Write a size in pixels of [0, 1] as it is where that is short, else as a multiple of 1/255 of few decimals.

    Examples
    --------
    >>> format_eps(4 / 255), format_eps(0.5 / 255), format_eps(0.01)
    ('4/255', '0.5/255', '0.01')
    """
    steps = round(eps * 255, 4)
    if len(repr(eps)) > len("0.0000") and steps > 0 and abs(steps / 255 - eps) < 1e-12:
        return f"{steps:.10g}/255"
    return repr(eps)


def _has_plain_strength(condition: Condition) -> bool:
    try:
        strength = condition.strength
    except (ValueError, ZeroDivisionError):
        return False
    return strength is None or (math.isfinite(strength) and strength >= 0)
