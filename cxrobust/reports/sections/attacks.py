"""Attacks beside the primary one."""

from collections.abc import Mapping
from typing import Any

from cxrobust.reports.sections import section
from cxrobust.reports.sections.corruptions import multiples
from cxrobust.reports.view import Series, View


def _others(view: View) -> tuple[Series, ...]:
    return tuple(one for one in view.of_kind("attack", "elsewhere") if one != view.primary_series)


@section("attacks", order=65, title="Other attacks", needs=lambda view: bool(_others(view)))
def attacks(view: View) -> Mapping[str, Any]:
    """Return small multiples of every further attack."""
    return multiples(view, _others(view), key="attacks", strength="strength")
