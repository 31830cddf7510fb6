"""Attacks beside the primary one."""

from collections.abc import Mapping
from typing import Any

from cxrobust.reports.figures.curves import interval_marks, multiples_figure
from cxrobust.reports.parts import Figure
from cxrobust.reports.sections import section
from cxrobust.reports.sections.corruptions import shown_metrics, split
from cxrobust.reports.sentences import averaged, metric_name
from cxrobust.reports.units import intervals_of_estimates
from cxrobust.reports.view import Series, View
from cxrobust.reports.words import condition_words, listed


def _others(view: View) -> tuple[Series, ...]:
    return tuple(one for one in view.of_kind("attack", "elsewhere") if one != view.primary_series)


@section("attacks", order=65, title="Other attacks", needs=lambda view: bool(_others(view)))
def attacks(view: View) -> Mapping[str, Any]:
    """Return small multiples of every further attack."""
    metrics, many = shown_metrics(view), _others(view)
    figures = []
    for place, some in enumerate(split(many)):
        alt = f"{listed([metric_name(view, m) for m in metrics])} against strength for {listed([condition_words(s.name) for s in some])}."
        figures.append(
            Figure(key=f"attacks-{place + 1}", drawing=multiples_figure(view, some, metrics=metrics), alt=alt)
        )
    return {
        "figures": tuple(figures),
        "marks": interval_marks(many),
        "joins": any(one.is_one for one in many),
        "intervals": intervals_of_estimates(view),
        "averaged": averaged(view, metrics),
    }
