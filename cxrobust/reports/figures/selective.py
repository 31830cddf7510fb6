"""Risk-coverage curves: the share of wrong decisions among the most confident, for every share that is answered."""

from collections.abc import Sequence
from string import ascii_lowercase

from matplotlib.figure import Figure as Canvas
from matplotlib.ticker import PercentFormatter

from cxrobust.reports.figures.labels import Label, Legend, label_line_ends, part
from cxrobust.reports.figures.style import canvas, drawn, is_narrow, marks
from cxrobust.reports.figures.told_points import ends_words, tell
from cxrobust.reports.view import CLEAN, View
from cxrobust.reports.words import capitalised, condition_words, number, percent, readable, shortened
from cxrobust.results import MACRO, MICRO, RiskPoint


@drawn
def risk_coverage_figure(width: float, view: View, *, conditions: Sequence[str]) -> Canvas:
    """Draw a panel for each condition with one curve and band for each regime; the panels share their axes."""
    drawn_as = marks(view.regimes, reference=view.reference)
    legend = Legend.of(drawn_as, width=width) if is_narrow(width) else None
    figure = canvas(width, 66 if legend is None else 50 + legend.height)
    panels = figure.subplots(1, len(conditions), squeeze=False, sharey=True)[0]
    place = MICRO if any(one.finding == MICRO for one in view.results.risk_coverage) else MACRO
    curves = {(one.regime, one.condition): one.points for one in view.results.risk_coverage if one.finding == place}
    labels: list[Label] = []
    for letter, axes, condition in zip(ascii_lowercase, panels, conditions, strict=False):
        ends = []
        for regime in view.regimes:
            points, mark = curves.get((regime, condition), ()), drawn_as[regime]
            if points:
                coverage, risk = [one.coverage for one in points], [one.risk for one in points]
                axes.fill_between(*_band(points), color=mark.colour, alpha=0.13, linewidth=0)
                axes.plot(
                    coverage,
                    risk,
                    color=mark.colour,
                    marker=mark.marker,
                    linestyle=mark.dashes,
                    markevery=4,
                    markersize=2.4,
                )
                for one in points:
                    tell(axes, one.coverage, one.risk, _words(regime, condition, one, view.level))
                ends.append((coverage[-1], risk[-1], regime, mark))
        name = "Clean" if condition == CLEAN else shortened(capitalised(condition_words(condition).split(", ")[0]))
        axes.set_title(f"{letter}  {name}")
        axes.set_xlabel("Coverage: share of images answered" if legend is None else "Share of images answered")
        axes.set_xlim(0, 1.02)
        axes.xaxis.set_major_formatter(PercentFormatter(1, decimals=0))
        labels += label_line_ends(axes, ends) if legend is None else []
    panels[0].set_ylabel("Risk: share of wrong decisions")
    panels[0].yaxis.set_major_formatter(PercentFormatter(1, decimals=0))
    panels[0].set_ylim(bottom=0)
    if legend is None:
        part(figure, labels)
    else:
        legend.draw(figure)
    return figure


def _words(regime: str, condition: str, point: RiskPoint, level: float) -> str:
    """Return a point in words: `lora · Clean · 80% answered · Risk 0.052 (95% CI, 0.048 to 0.056)`."""
    risk = number(point.risk) + ends_words(point.ci_low, point.ci_high, level)
    answered = percent(round(point.coverage, 4))
    return f"{readable(regime)} · {capitalised(condition_words(condition))} · {answered} answered · Risk {risk}"


def _band(points: Sequence[RiskPoint]) -> tuple[list[float], list[float], list[float]]:
    """Return coverages and the ends of their intervals, where there are any."""
    found = [(p.coverage, p.ci_low, p.ci_high) for p in points if p.ci_low is not None and p.ci_high is not None]
    return [at for at, _, _ in found], [low for _, low, _ in found], [high for _, _, high in found]
