"""The question and the answer, before everything else."""

from collections.abc import Mapping
from typing import Any

from cxrobust.reports.limits import data_limits, decisions_limit, training_limit
from cxrobust.reports.sections import section
from cxrobust.reports.sentences import (
    change_sentence,
    comparison_sentence,
    judge,
    metric_name,
    nowhere_sentence,
    outcome,
    under,
    value_sentence,
)
from cxrobust.reports.units import counted_images, unit
from cxrobust.reports.view import Series, View
from cxrobust.reports.words import condition_words, counted, listed, regime, strength_words

MOST_METRICS = 4
MOST_NUMBERED = 2
"""With so many other regimes, every metric's sentences carry numbers; with more, only the first metric's."""


@section("answer", order=10, title="")
def answer(view: View) -> Mapping[str, Any]:
    """Return the question, the design, the answer as sentences, what it shows and what it does not."""
    metrics = view.with_score(view.metrics[:MOST_METRICS])
    few = len(view.others) <= MOST_NUMBERED
    n_leading = 2 if few and view.primary is None else 1
    return {
        "question": question(view),
        "design": design_sentence(view),
        "lead": [
            _sentences(view, metric, numbers=True, opening=under(view.primary) if view.primary and not k else "")
            for k, metric in enumerate(metrics[:n_leading])
        ],
        "further": [_sentences(view, metric, numbers=few) for metric in metrics[n_leading:]],
        "shows": _shows(view, metrics[0]),
        "shows_not": _shows_not(view),
    }


def question(view: View) -> str:
    """Return the study's question, or one written from its regimes."""
    own = view.results.study["study"].get("question")
    if own:
        return str(own)
    others, reference = listed([regime(name) for name in view.others]), regime(view.reference)
    what = "accuracy and confidence" if view.of_findings else "generated reports"
    if not view.others:
        return f"How do {what} of {reference} on perturbed images compare with those on the originals?"
    if view.primary is None:
        return f"How do {others} compare with {reference} on the same images?"
    return (
        f"What does fine-tuning by {others} instead of {reference} do to robustness: how do {what} on perturbed images "
        f"compare with those on the originals?"
    )


def design_sentence(view: View) -> str:
    """Say in one sentence what is compared with what, on how many images and under how many conditions."""
    reference, others = regime(view.reference), counted(len(view.others), "other regime")
    perturbed = len(view.conditions) - 1
    what = {
        "difference-in-differences": f"Difference-in-differences: the change from clean to perturbed images of {others}, "
        f"less that of {reference}",
        "regime-reference": f"Difference between {'each of ' if len(view.others) > 1 else ''}{others} and {reference}",
        "perturbed-clean": f"Change of {reference} from clean to perturbed images",
        "value": f"One regime, {reference}, without a comparison",
    }[view.comparison]
    under = (
        f", clean and under {counted(perturbed, 'perturbed condition')}, {condition_words(view.primary)} the primary one"
        if view.primary
        else ", clean images alone"
    )
    same = "" if view.comparison == "value" else "the same "
    return f"{what}, on {same}{counted_images(view)}{under}."


def _sentences(view: View, metric: str, *, numbers: bool, opening: str = "") -> str:
    nowhere = nowhere_sentence(view, metric, opening=opening) if view.others else ""
    if nowhere:
        return nowhere
    own = (
        change_sentence(view, metric, view.reference, numbers=numbers, opening=opening)
        if view.primary
        else value_sentence(view, metric, view.reference, numbers=numbers)
    )
    return f"{own} {comparison_sentence(view, metric, numbers=numbers)}".rstrip()


def _shows(view: View, metric: str) -> list[str]:
    paired = "" if view.comparison == "value" else "every difference is taken on the same images, and "
    said = [f"what {_subject(view)} with {counted_images(view)}: {paired}{unit(view)}."]
    series = view.primary_series
    steady = _steady(view, metric, series) if series else []
    if steady and series is not None:
        first, last = (strength_words(series.conditions[place]) for place in (0, -1))
        said.append(
            f"estimates of the difference in {metric_name(view, metric)} that have the same sign at every strength from "
            f"{first} to {last}, for {listed([regime(name) for name in steady])}."
        )
    return said


def _subject(view: View) -> str:
    """Say who does what the study shows: checkpoints, or regimes where each has several training runs."""
    if all(one.get("replicates", 1) > 1 for one in view.results.regimes):
        return f"{'these regimes' if view.others else 'this regime'}, by the training runs studied, {'do' if view.others else 'does'}"
    return "these checkpoints do" if view.others else "this checkpoint does"


def _steady(view: View, metric: str, series: Series) -> list[str]:
    """Return the regimes whose difference is shown at the primary strength and has one sign at every strength."""
    if view.comparison != "difference-in-differences" or len(series.conditions) < 2:
        return []
    steady = []
    for name in view.others:
        estimates = [view.contrast(metric, name, condition=condition) for condition in series.conditions]
        signs = {None if e is None or not e.estimate else e.estimate > 0 for e in estimates}
        if len(signs) == 1 and None not in signs and judge(view.contrast(metric, name), alpha=view.alpha) == "shown":
            steady.append(name)
    return steady


def _shows_not(view: View) -> list[str]:
    found = (decisions_limit(view), training_limit(view), *data_limits(view))
    said = [limit.short for limit in found if limit is not None and limit.short]
    kinds = {outcome(view, metric, name).kind for metric in view.metrics for name in view.others}
    if "not shown" in kinds:
        alike = "equally robust" if view.primary else "alike"
        said.append(f"that regimes for which no difference could be shown are {alike}.")
    if view.of_kind("attack"):
        said.append("what stronger or other attacks would do.")
    return said
