"""What a figure says at its points: read by pointer or keys in the HTML report, and left out of every print."""

import re
from xml.etree import ElementTree

from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure as Canvas

from cxrobust.reports.sentences import digits_of
from cxrobust.reports.words import (
    SPACE,
    capitalised,
    condition_words,
    finding_words,
    interval,
    metric_words,
    number,
    percent,
    readable,
)
from cxrobust.results import MACRO, Estimate

RADIUS = 3.5
"""Of the ring around a point, in points."""
SLACK = 1.0
"""Points by which a mark on the frame may lie outside it."""
KINDS = {
    "perturbed-clean": "change of ",
    "regime-reference": "difference in ",
    "difference-in-differences": "difference in change of ",
}
"""What stands before a metric's name."""


class Told(Artist):
    """Words for a point of an axes, in data; it draws nothing and takes no room."""

    def __init__(self, x: float, y: float, words: str) -> None:
        super().__init__()
        self.x, self.y, self.words = x, y, words
        self.set_in_layout(False)

    def set_clip_path(self, *_: object, **__: object) -> None:
        """Clip nothing, for it draws nothing."""


def tell(axes: Axes, x: float, y: float, words: str) -> None:
    """Let a point of an axes say its value."""
    axes.add_artist(Told(x, y, words))


def tell_estimate(axes: Axes, x: float, y: float, estimate: Estimate, *, level: float) -> None:
    """Let a point of an axes say an estimate."""
    tell(axes, x, y, estimate_words(estimate, level=level))


def estimate_words(estimate: Estimate, *, level: float) -> str:
    """Return an estimate in words, at the precision of the tables.

    `lora · PGD, ε = 1/255, 20 steps · AUROC 0.659 (95% CI, 0.640 to 0.677)`; a finding is named, the macro average is
    not.
    """
    digits = digits_of(estimate)
    where = [readable(estimate.regime), capitalised(condition_words(estimate.condition))]
    if estimate.finding != MACRO:
        where.append(finding_words(estimate.finding))
    value = number(estimate.estimate or 0.0, digits=digits, signed=estimate.estimand != "value")
    what = capitalised(KINDS.get(estimate.estimand, "") + metric_words(estimate.metric).name)
    return " · ".join([*where, what + SPACE + value + ends_words(estimate.ci_low, estimate.ci_high, level, digits)])


def ends_words(low: float | None, high: float | None, level: float, digits: int = 3) -> str:
    """Return an interval in brackets, or nothing where there is none."""
    if low is None or high is None:
        return ""
    return f" ({percent(level)}{SPACE}CI, {interval(low, high, digits=digits)})"


def add_values(svg: ElementTree.Element, figure: Canvas) -> None:
    """Add a circle with a title for each point that says its value, unless it lies outside its axes."""
    height = figure.get_figheight() * 72
    found = [one for axes in figure.axes for one in axes.artists if isinstance(one, Told) and _is_inside(one)]
    if not found:
        return
    group = ElementTree.SubElement(svg, "g", {"class": "values"})
    for one in found:
        x, y = _place(one)
        circle = ElementTree.SubElement(
            group, "circle", {"cx": f"{x:.1f}", "cy": f"{height - y:.1f}", "r": f"{RADIUS}"}
        )
        ElementTree.SubElement(circle, "title").text = one.words


def _place(one: Told) -> tuple[float, float]:
    x, y = one.axes.transData.transform((one.x, one.y))  # type: ignore[union-attr]
    return float(x), float(y)


def _is_inside(one: Told) -> bool:
    x, y = _place(one)
    box = one.axes.get_window_extent()  # type: ignore[union-attr]
    return bool(box.x0 - SLACK <= x <= box.x1 + SLACK and box.y0 - SLACK <= y <= box.y1 + SLACK)


def without_values(svg: str) -> str:
    """Return a figure without what it says at its points: for print, and for files that are edited."""
    return re.sub(r'<g class="values">.*?</g>', "", svg, flags=re.DOTALL)
