"""Reliability diagrams, clean and under the primary condition."""

from collections.abc import Mapping
from typing import Any

from cxrobust.reports.figures.calibration import FEW, SHARE, reliability_figure
from cxrobust.reports.parts import Figure
from cxrobust.reports.sections import section
from cxrobust.reports.sentences import overview_sentence, under
from cxrobust.reports.units import intervals_of_diagrams
from cxrobust.reports.view import View
from cxrobust.reports.words import condition_words, counted, listed, percent


@section("calibration", order=60, title="Calibration", needs=lambda view: bool(view.results.reliability))
def calibration(view: View) -> Mapping[str, Any]:
    """Return the reliability diagrams."""
    conditions = view.clean_and_primary
    alt = (
        f"Reliability diagrams of {counted(len(view.regimes), 'regime')}, "
        f"{listed([condition_words(condition) for condition in conditions])}: observed fraction against predicted probability."
    )
    said = (
        overview_sentence(view, "ece", view.primary, opening=under(view.primary))
        if view.primary and "ece" in view.metrics
        else ""
    )
    return {
        "reliability": Figure(key="reliability", drawing=reliability_figure(view, conditions=conditions), alt=alt),
        "n_bins": len(view.results.reliability[0].bins),
        "share": percent(SHARE),
        "few": FEW if any(0 < b.n < FEW for one in view.results.reliability for b in one.bins) else None,
        "primary": condition_words(view.primary) if view.primary else None,
        "overview": said,
        "intervals": intervals_of_diagrams(view),
        "several_runs": view.has_replicates,
    }
