"""Corruptions: small multiples against severity."""

from collections.abc import Mapping, Sequence
from typing import Any

from cxrobust.reports.figures.curves import interval_marks, multiples_figure
from cxrobust.reports.parts import Figure
from cxrobust.reports.sections import section
from cxrobust.reports.sentences import averaged, metric_name
from cxrobust.reports.units import intervals_of_estimates
from cxrobust.reports.view import Series, View
from cxrobust.reports.words import condition_words, listed

SHOWN = ("auroc", "accuracy", "confidence")
MOST_COLUMNS = 4


def shown_metrics(view: View) -> tuple[str, ...]:
    """Return the metrics of small multiples: discrimination, accuracy and confidence, or the study's first two.

    A score of reports stands beside them where the study has some.
    """
    return view.with_score(tuple(metric for metric in SHOWN if metric in view.metrics) or view.metrics[:2])


def split(many: Sequence[Series]) -> list[tuple[Series, ...]]:
    """Return series in as few and as even rows as fit the width."""
    rows = -(-len(many) // MOST_COLUMNS)
    size = -(-len(many) // rows)
    return [tuple(many[first : first + size]) for first in range(0, len(many), size)]


@section("corruptions", order=70, title="Corruptions", needs=lambda view: bool(view.of_kind("corruption")))
def corruptions(view: View) -> Mapping[str, Any]:
    """Return small multiples of every corruption."""
    metrics = shown_metrics(view)
    figures, many = [], view.of_kind("corruption")
    for place, some in enumerate(split(many)):
        alt = f"{listed([metric_name(view, m) for m in metrics])} against severity for {listed([condition_words(s.name) for s in some])}."
        figures.append(
            Figure(key=f"corruptions-{place + 1}", drawing=multiples_figure(view, some, metrics=metrics), alt=alt)
        )
    return {
        "figures": tuple(figures),
        "marks": interval_marks(many),
        "joins": any(one.is_one for one in many),
        "intervals": intervals_of_estimates(view),
        "averaged": averaged(view, metrics),
    }
