"""Formulas as SVG: LaTeX set by ziamath, whose outlines need no font."""

from dataclasses import dataclass
from functools import cache
from threading import Lock
from typing import Any

import ziamath

_ziamath: Any = ziamath
_setting = Lock()


@dataclass(frozen=True, kw_only=True, slots=True)
class SetFormula:
    """A formula as an SVG element, in the colour of the text around it."""

    svg: str
    below: float
    """How far it reaches below the line of the text, in CSS pixels; 0 or less."""


@cache
def set_formula(latex: str, *, size: float, ink: str, display: bool) -> SetFormula:
    """Set a formula in a size in CSS pixels; `display` gives sums their limits above and below."""
    with _setting:
        before = _ziamath.config.svg2
        _ziamath.config.svg2 = False  # outlines in place, so that no id is shared between formulas
        try:
            made = _ziamath.Latex(latex, size=size, color=ink, inline=not display)
            svg: str = made.svg()
        finally:
            _ziamath.config.svg2 = before
    return SetFormula(svg=svg, below=float(made.getyofst()))
