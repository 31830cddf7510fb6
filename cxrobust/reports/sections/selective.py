"""Selective prediction: how often decisions are wrong when the least confident are left to a reader."""

from collections.abc import Mapping
from typing import Any

from cxrobust.reports.figures.selective import risk_coverage_figure
from cxrobust.reports.parts import Figure
from cxrobust.reports.sections import section
from cxrobust.reports.sentences import overview_sentence, under
from cxrobust.reports.units import intervals_of_diagrams
from cxrobust.reports.view import View
from cxrobust.reports.words import condition_words, counted, listed


@section("selective", order=62, title="Selective prediction", needs=lambda view: bool(view.results.risk_coverage))
def selective(view: View) -> Mapping[str, Any]:
    """Return the risk-coverage curves, clean and under the primary condition."""
    conditions = view.clean_and_primary
    alt = (
        f"Risk-coverage curves of {counted(len(view.regimes), 'regime')}, "
        f"{listed([condition_words(condition) for condition in conditions])}: share of wrong decisions against the share of images answered."
    )
    metrics = [name for name in view.metrics if name == "aurc" or name.startswith("coverage-at-risk-")]
    said = [
        overview_sentence(view, metric, view.primary, opening="" if k else under(view.primary))
        for k, metric in enumerate(metrics)
        if view.primary
    ]
    return {
        "curves": Figure(key="risk-coverage", drawing=risk_coverage_figure(view, conditions=conditions), alt=alt),
        "primary": condition_words(view.primary) if view.primary else None,
        "overview": said,
        "intervals": intervals_of_diagrams(view),
        "has_others": len({one.finding for one in view.results.risk_coverage}) > 2,
        "several_runs": view.has_replicates,
    }
