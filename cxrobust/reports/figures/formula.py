"""Formulas as SVG: LaTeX set by ziamath, whose outlines need no font."""

import re
from dataclasses import dataclass
from functools import cache
from threading import Lock
from typing import Any

import ziamath

_ziamath: Any = ziamath
_setting = Lock()
SIZE, INK = 16.0, "currentColor"
_EXTENT = re.compile(r'\b(width|height)="([\d.]+)"')


@dataclass(frozen=True, kw_only=True, slots=True)
class SetFormula:
    """A formula as an SVG element, in the colour of the text around it."""

    svg: str
    below: float
    """How far it reaches below the line of the text, in CSS pixels; 0 or less."""


def set_formula(latex: str, *, size: float, ink: str, display: bool) -> SetFormula:
    """Set a formula in a size in CSS pixels; `display` gives sums their limits above and below."""
    made, share = _set(latex, display), size / SIZE
    svg = _EXTENT.sub(lambda one: f'{one[1]}="{float(one[2]) * share:.3f}"', made.svg, count=2)
    return SetFormula(svg=svg.replace(INK, ink), below=made.below * share)


@cache
def _set(latex: str, display: bool) -> SetFormula:
    """Set a formula once for all media: setting it is slow, and scaling its outlines is not."""
    with _setting:
        before = _ziamath.config.svg2
        _ziamath.config.svg2 = False  # outlines in place, so that no id is shared between formulas
        try:
            made = _ziamath.Latex(latex, size=SIZE, color=INK, inline=not display)
            svg: str = made.svg()
        finally:
            _ziamath.config.svg2 = before
    return SetFormula(svg=svg, below=float(made.getyofst()))
