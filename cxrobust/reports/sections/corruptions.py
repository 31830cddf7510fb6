"""Corruptions: small multiples against severity."""

from collections.abc import Mapping, Sequence
from typing import Any

from cxrobust.reports.figures.curves import interval_marks, multiples_figure, strength_figure
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


def series_figure(view: View, some: Sequence[Series], *, key: str, strength: str) -> Figure:
    """Return the figure of series that stand together: a column for each, or of one alone its metrics side by side."""
    metrics = shown_metrics(view)
    drawing = (
        strength_figure(view, some[0], metrics=metrics, control=None)
        if len(some) == 1
        else multiples_figure(view, some, metrics=metrics)
    )
    alt = (
        f"{listed([metric_name(view, m) for m in metrics])} against {strength} for "
        f"{listed([condition_words(s.name) for s in some])}."
    )
    return Figure(key=key, drawing=drawing, alt=alt)


def named_alone(parts: Sequence[Sequence[Series]]) -> list[str]:
    """Return for each figure the name of the series that has it alone; else nothing, since each column bears its name."""
    return [condition_words(some[0].name) if len(some) == 1 else "" for some in parts]


def multiples(view: View, many: Sequence[Series], *, key: str, strength: str) -> dict[str, Any]:
    """Return what a section of small multiples of series holds."""
    parts = split(many)
    return {
        "figures": tuple(
            series_figure(view, some, key=f"{key}-{place}", strength=strength)
            for place, some in enumerate(parts, start=1)
        ),
        "alone": named_alone(parts),
        "marks": interval_marks(many),
        "joins": any(one.is_one for one in many),
        "intervals": intervals_of_estimates(view),
        "averaged": averaged(view, shown_metrics(view)),
    }


@section("corruptions", order=70, title="Corruptions", needs=lambda view: bool(view.of_kind("corruption")))
def corruptions(view: View) -> Mapping[str, Any]:
    """Return small multiples of every corruption."""
    return multiples(view, view.of_kind("corruption"), key="corruptions", strength="severity")
