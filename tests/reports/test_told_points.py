"""What figures say at their points: where the marks stand, in the words of the tables, and not in print."""

import re
from dataclasses import replace

from matplotlib.figure import Figure as Canvas

from cxrobust.reports.figures.style import DARK, canvas, drawn, marks, themed
from cxrobust.reports.figures.told_points import estimate_words, tell
from cxrobust.results import Estimate

from .made import REGIMES, SMALL, results


@drawn
def two_points(width: float) -> Canvas:
    figure = canvas(width, 50)
    axes = figure.subplots()
    axes.plot([0, 1, 2], [3, 1, 9], marker="o", color="#0072B2", linestyle="none", clip_on=False)
    axes.set(xlim=(-0.5, 1.5), ylim=(0, 5))
    for x, y, words in ((0, 3, "first <b>"), (1, 1, "second & third"), (2, 9, "outside")):
        tell(axes, x, y, words)
    return figure


def test_values_stand_on_the_marks_that_are_drawn_and_only_within_the_axes() -> None:
    svg = two_points().telling_svg()
    drawn_at = [(float(x), float(y)) for x, y in re.findall(r'<use [^>]*\bx="([\d.]+)" y="([\d.-]+)"', svg)]
    said = re.findall(r'<circle cx="([\d.]+)" cy="([\d.]+)" r="[\d.]+"><title>([^<]*)</title>', svg)
    assert [words for _, _, words in said] == ["first &lt;b&gt;", "second &amp; third"]
    for x, y, _ in said:
        assert any(abs(float(x) - a) < 0.06 and abs(float(y) - b) < 0.06 for a, b in drawn_at)


def test_print_and_files_hold_no_values_and_nothing_else_changes() -> None:
    telling, plain = two_points().telling_svg(), two_points().svg()
    assert "<title>" not in plain
    assert 'class="values"' not in plain
    assert telling.startswith(plain.removesuffix("</svg>"))


def test_words_name_what_is_estimated_and_round_as_tables_do() -> None:
    one: Estimate = next(e for e in results(SMALL).estimates if e.estimand == "value" and e.finding == "macro")
    one = replace(one, metric="auroc", estimate=0.84649, ci_low=0.8312, ci_high=0.8601)
    words = estimate_words(one, level=0.95).replace("\N{NO-BREAK SPACE}", " ")
    assert words == "supervised · Clean · AUROC 0.846 (95% CI, 0.831 to 0.860)"
    change = replace(one, estimand="perturbed-clean", finding="Pleural_Thickening", estimate=-0.02, ci_low=None)
    words = estimate_words(change, level=0.9).replace("\N{NO-BREAK SPACE}", " ")
    assert words == "supervised · Clean · Pleural Thickening · Change of AUROC −0.020"


def test_each_colour_of_a_regime_has_another_on_a_dark_page_that_can_be_read() -> None:
    for mark in marks(REGIMES, reference="supervised").values():
        for colour in (mark.colour, mark.ink):
            assert contrast(DARK[colour.upper()], DARK["#FFFFFF"]) > 4.5
    dark = [DARK[mark.colour.upper()] for mark in marks(REGIMES, reference="supervised").values()]
    assert len(set(dark)) == len(dark)


def contrast(one: str, other: str) -> float:
    """WCAG 2.2's ratio of relative luminances."""
    light, dark = sorted((luminance(one), luminance(other)), reverse=True)
    return (light + 0.05) / (dark + 0.05)


def luminance(colour: str) -> float:
    shares = [int(colour[k : k + 2], 16) / 255 for k in (1, 3, 5)]
    linear = [s / 12.92 if s <= 0.04045 else ((s + 0.055) / 1.055) ** 2.4 for s in shares]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def test_only_known_colours_of_styles_follow_the_look() -> None:
    svg = '<path style="fill: #0072b2; stroke: #123456"/><text>fill: none #0072b2</text>'
    assert themed(svg) == svg.replace("fill: #0072b2;", "fill: var(--x0072B2, #0072b2);")
