"""Attacks beside the primary one."""

from collections.abc import Mapping
from typing import Any

from cxrobust.reports.figures.curves import interval_marks
from cxrobust.reports.sections import section
from cxrobust.reports.sections.corruptions import named_alone, series_figure, shown_metrics, split
from cxrobust.reports.sentences import averaged
from cxrobust.reports.units import intervals_of_estimates
from cxrobust.reports.view import Series, View


def _others(view: View) -> tuple[Series, ...]:
    return tuple(one for one in view.of_kind("attack", "elsewhere") if one != view.primary_series)


@section("attacks", order=65, title="Other attacks", needs=lambda view: bool(_others(view)))
def attacks(view: View) -> Mapping[str, Any]:
    """Return small multiples of every further attack."""
    many = _others(view)
    parts = split(many)
    return {
        "figures": tuple(
            series_figure(view, some, key=f"attacks-{place}", strength="strength")
            for place, some in enumerate(parts, start=1)
        ),
        "alone": named_alone(parts),
        "marks": interval_marks(many),
        "joins": any(one.is_one for one in many),
        "intervals": intervals_of_estimates(view),
        "averaged": averaged(view, shown_metrics(view)),
    }
