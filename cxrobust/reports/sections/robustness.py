"""The main figure: every regime's metrics against the strength of the primary perturbation."""

from collections.abc import Mapping
from typing import Any

from cxrobust.conditions import parse_condition
from cxrobust.reports.figures.curves import interval_marks, strength_figure
from cxrobust.reports.parts import Figure
from cxrobust.reports.sections import perturbed, section
from cxrobust.reports.sentences import averaged, metric_name, overview_sentence, reason, under
from cxrobust.reports.units import intervals_of_estimates
from cxrobust.reports.view import Series, View
from cxrobust.reports.words import condition_words, counted, interval, listed, number, percent, regime
from cxrobust.results import NOT_REACHED, Estimate

SHOWN = ("auroc", "accuracy", "confidence", "ece")
MOST_PANELS = 4


def panel_metrics(view: View) -> tuple[str, ...]:
    """Return the metrics of the main figure: the usual four of those that the study has, else its first ones.

    A score of reports stands beside them where the study has some.
    """
    usual = tuple(metric for metric in SHOWN if metric in view.metrics)
    return view.with_score(usual if len(usual) > 1 else view.metrics[:MOST_PANELS])


def control_of(view: View, series: Series) -> Series | None:
    """Return the noise series that goes beside an attack, where they share a strength or it has the attack's own size."""
    if series.kind == "noise":
        return None
    noise = view.of_kind("noise")
    own = [view.conditions[name] for name in series.conditions]
    if any("control" in one for one in own):
        wanted = {one.get("control") for one in own}
        return next((one for one in noise if wanted & set(one.conditions)), None)
    if series.strength_name is None:
        return next((one for one in noise if str(parse_condition(one.name).noise_of) == series.name), None)
    alike = (one for one in noise if one.strength_name == series.strength_name)
    return next((one for one in alike if set(one.strengths) & set(series.strengths)), None)


def least_eps_sentence(view: View, series: Series) -> str:
    """Say at which ε half of the decisions are turned, where a search for the least ε tells it; else empty."""
    names = {name: view.get("half-margin", "robust-accuracy", name, series.name) for name in view.regimes}
    if series.name.partition("(")[0] != "least-eps" or not any(names.values()):
        return ""
    said = [f"{_size(view, one)} for {regime(name)}" for name, one in names.items()]
    average = ", macro average over findings" if len(view.findings) > 1 else ""
    return f"Half of the decisions that are right on clean images are turned at ε × 255 of {listed(said)}{average}."


def _size(view: View, one: Estimate | None) -> str:
    if one is None or one.estimate is None:
        return "more than was tried" if one is None or one.reason == NOT_REACHED else f"an unknown size ({reason(one)})"
    if one.ci_low is None or one.ci_high is None:
        return number(one.estimate, digits=2)
    return f"{number(one.estimate, digits=2)} ({percent(view.level)} CI, {interval(one.ci_low, one.ci_high, digits=2)})"


@section("robustness", order=40, title="Performance under perturbation", needs=perturbed)
def robustness(view: View) -> Mapping[str, Any]:
    """Return the main figure and what it shows in sentences."""
    series = view.primary_series
    if series is None or view.primary is None:
        raise ValueError("the primary condition belongs to no series")
    metrics = panel_metrics(view)
    control = control_of(view, series)
    alt = (
        f"In {counted(len(metrics), 'panel')}, {listed([metric_name(view, metric) for metric in metrics])} of "
        f"{counted(len(view.regimes), 'regime')} on clean images and under {condition_words(series.name)}{'' if series.is_one else ' of growing strength'}."
    )
    drawing = strength_figure(view, series, metrics=metrics, control=control)
    return {
        "curves": Figure(key="curves", drawing=drawing, alt=alt),
        "series": condition_words(series.name),
        "marks": interval_marks([series]),
        "joins": series.is_one,
        "overview": [
            overview_sentence(view, metric, view.primary, opening="" if k else under(view.primary))
            for k, metric in enumerate(metrics)
        ],
        "control": overview_sentence(view, metrics[0], view.control, opening="With random noise of the same size,")
        if view.control
        else "",
        "least_eps": least_eps_sentence(view, series),
        "has_control": control is not None,
        "metrics": metrics,
        "averaged": averaged(view, metrics),
        "intervals": intervals_of_estimates(view),
    }
