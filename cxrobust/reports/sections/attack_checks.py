"""Whether the attack is as strong as it should be: what a sceptical reviewer asks of it, for every regime."""

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from cxrobust.reports.parts import NOT_APPLICABLE, Cell, Column, Group, Table
from cxrobust.reports.sections import section
from cxrobust.reports.view import View
from cxrobust.reports.words import condition_words, counted, listed, metric_words, number, regime

PASS, WARN, FAIL = "pass", "warn", "fail"
LIMITS = {
    "gradients": (0.0, 0.05),
    "noise": (0.25, 0.5),
    "longer": (0.05, 0.2),
    "square": (1.0, 1.05),
    "transfer": (1.0, 1.05),
    "unbounded": (0.01, 0.1),
    "strengths": (0.0, 0.02),
}
"""A check passes up to the first number, warns up to the second, and fails beyond."""
TITLES = {
    "gradients": ("No gradient", "images"),
    "noise": ("Noise", "÷ attack"),
    "longer": ("Four times the steps", "more harm"),
    "square": ("No gradients used", "÷ attack"),
    "transfer": ("Made on others", "÷ attack, most"),
    "unbounded": ("Without a bound", "images left right"),
    "strengths": ("Stronger attack", "largest rise"),
}
ELSEWHERE = "elsewhere"
SHARES = ("gradients", "longer", "unbounded")
LOSSES = {
    "clean": "clean images",
    "attacked": "attacked ones",
    "noise": "those with noise",
    "longer": "those attacked with four times the steps",
    "square": "those attacked without gradients",
}
NO_SHARE, NOT_FINITE = "no share", "not finite"


@dataclass(frozen=True, kw_only=True, slots=True)
class Measure:
    """What a check found of one model: a number, or why it has none; then it fails."""

    value: float | None = None
    lacks: str = ""


@section(
    "attack_checks",
    order=49,
    title="Checks of the attack",
    needs=lambda view: bool(view.results.attack_checks) or _left_unchecked(view),
    documents=("report", "appendix"),
)
def attack_checks(view: View) -> Mapping[str, Any]:
    """Return the table of checks, and in sentences which failed."""
    checks = [one for one in view.results.attack_checks if one["replicate"] == 0]
    if not checks:
        return {"checks": None, "unchecked": unchecked(view)}
    judged = falling_metric(view)
    numbers = {
        one["regime"]: {**measures(one), "strengths": None if judged is None else largest_rise(view, one, judged)}
        for one in checks
    }
    shown = [key for key in TITLES if any(found[key] is not None for found in numbers.values())]
    return {
        "checks": _table(numbers, shown),
        "attack": condition_words(checks[0]["condition"]),
        "n_images": counted(checks[0]["n_images"], "image"),
        "judged": "" if judged is None else falling_words(judged),
        "sentences": [
            *sentences(numbers, shown),
            *itertools.chain.from_iterable(map(without_shares, checks)),
            *unjudged(view, numbers, judged),
        ],
        "has_gaps": any(one is not None and one.lacks for found in numbers.values() for one in found.values()),
        "limits": LIMITS,
        "titles": {key: title for key, (title, _) in TITLES.items()},
        "shown": shown,
        "of_patch": checks[0]["condition"].startswith("patch("),
        "in_turns": bool(checks[0].get("in_turns")),
        "unchecked": unchecked(view),
    }


def unchecked(view: View) -> str:
    """Say which regimes were not checked, and why; empty where all were."""
    checked = {one["regime"] for one in view.results.attack_checks}
    left = {one["name"]: one for one in view.results.regimes if one["name"] not in checked}
    elsewhere = [name for name, one in left.items() if one.get("family") == ELSEWHERE]
    here = [name for name in left if name not in elsewhere]
    reasons = {
        "none of the images that attacks are checked on is of its folds": here if checked else [],
        "no attack of the study takes steps within a distance or a patch": [] if checked else here,
        "predictions made elsewhere bring no model": elsewhere,
    }
    said = [f"{listed([regime(name) for name in names])} ({why})" for why, names in reasons.items() if names]
    return f"Not checked: {'; '.join(said)}." if said else ""


def _left_unchecked(view: View) -> bool:
    """Whether nothing could be checked, though attacks were made here and checks asked for."""
    wanted = view.results.study["report"].get("attack_checks", 0) > 0
    here = any(one.get("family") != ELSEWHERE for one in view.results.regimes)
    return wanted and here and bool(view.of_kind("attack"))


def measures(check: Mapping[str, Any]) -> dict[str, Measure | None]:
    """Return what each check measures of one model; None where it was not made.

    With the harm of an attack the mean rise of the loss from clean images: `noise`, `square` and `transfer` are the
    harm of these over the attack's own (of `transfer` the greatest), `longer` is by what share four times the steps
    harm more, `gradients` the share of images without a gradient, `unbounded` the share of images whose aimed finding stays right.
    Where the attack itself does no harm, or a loss is not finite, these four have no share.
    """
    gradients, wrong = check["without_gradient"], check["unbounded_wrong"]
    longer = _over(check, [check["longer"]])
    return {
        "gradients": None if gradients is None else Measure(value=gradients),
        "noise": _over(check, [check["noise"]]),
        "longer": longer if longer.value is None else Measure(value=longer.value - 1),
        "square": _over(check, [check["square"]]),
        "transfer": _over(check, list(check["transferred"].values())) if check["transferred"] else None,
        "unbounded": None if wrong is None else Measure(value=1 - wrong),
    }


def _over(check: Mapping[str, Any], losses: Sequence[float | None]) -> Measure:
    """Return the greatest harm of some losses over the attack's own."""
    clean, attacked = check["clean"], check["attacked"]
    known = [one for one in losses if one is not None]
    if clean is None or attacked is None or len(known) < len(losses):
        return Measure(lacks=NOT_FINITE)
    return Measure(lacks=NO_SHARE) if attacked <= clean else Measure(value=(max(known) - clean) / (attacked - clean))


def without_shares(check: Mapping[str, Any]) -> list[str]:
    """Say which losses of one model are not finite, or that its attack does no harm, with all losses."""
    named = {words: check[key] for key, words in LOSSES.items()}
    named |= {f"those made on {regime(other)}": loss for other, loss in check["transferred"].items()}
    name = regime(check["regime"])
    if lacking := [words for words, loss in named.items() if loss is None]:
        return [f"For {name}, the mean loss on {listed(lacking)} is not finite: a check that needs it fails."]
    if check["attacked"] > check["clean"]:
        return []
    told = listed([f"{number(loss)} on {words}" for words, loss in named.items()])
    return [f"The attack does no harm to {name}, of which others could be shares: the mean loss is {told}."]


def falling_metric(view: View) -> str | None:
    """Return the metric that stronger attacks must lower: accuracy where the study has it, else its first with a side."""
    sided = [one for one in view.metrics[:1] if metric_words(one).better in {"higher", "lower"}]
    return next((one for one in ("accuracy", *sided) if one in view.metrics), None)


def falling_words(metric: str) -> str:
    """Write that metric for the table's caption."""
    return "accuracy at the operating point" if metric == "accuracy" else metric_words(metric).name


def largest_rise(view: View, check: Mapping[str, Any], metric: str) -> Measure | None:
    """Return by how much a metric gets better at most from one strength of the attack to the next; None for one."""
    values = [view.value(metric, check["regime"], condition) for condition in _strengths(view, check["condition"])]
    points = [one.estimate for one in values if one is not None and one.estimate is not None]
    better = 1 if metric_words(metric).better == "higher" else -1
    rises = [max(better * (after - before), 0.0) for before, after in itertools.pairwise(points)]
    return Measure(value=max(rises)) if rises else None


def _strengths(view: View, condition: str) -> tuple[str, ...]:
    """Return the conditions of an attack that differ in strength alone."""
    return next((one.conditions for one in view.series if condition in one.conditions), ())


def unjudged(view: View, numbers: Mapping[str, Mapping[str, Measure | None]], judged: str | None) -> list[str]:
    """Say where it was not checked that a stronger attack does more harm, or not by accuracy, and why."""
    title = f"“{TITLES['strengths'][0]}”"
    condition = view.results.attack_checks[0]["condition"]
    if len(_strengths(view, condition)) < 2:
        return [f"{title} was not checked: the study has this attack at one strength alone."]
    if judged is None:
        first = metric_words(view.metrics[0]).name
        return [
            f"{title} was not checked: accuracy is not among the study’s metrics, and of its first, {first}, no side is better."
        ]
    names = [regime(name) for name, found in numbers.items() if found["strengths"] is None]
    said = [f"{title} was not checked for {listed(names)}: {falling_words(judged)} is not estimable there."]
    by = [f"{title} is judged by {falling_words(judged)}, since accuracy is not among the study’s metrics."]
    return [*(said if names else []), *(by if judged != "accuracy" and len(names) < len(numbers) else [])]


def verdict(key: str, found: Measure | None) -> str:
    """Return whether a check passes, warns or fails; empty where it was not made."""
    if found is None:
        return ""
    if found.value is None:
        return FAIL
    passes, warns = LIMITS[key]
    rounded = round(found.value, 6)
    return PASS if rounded <= passes else WARN if rounded <= warns else FAIL


def sentences(numbers: Mapping[str, Mapping[str, Measure | None]], shown: Sequence[str]) -> list[str]:
    """Say how many checks passed, and which regimes warn or fail in which."""
    verdicts = {(name, key): verdict(key, found[key]) for name, found in numbers.items() for key in shown}
    made = [one for one in verdicts.values() if one]
    said = [f"Of {counted(len(made), 'check')}, {sum(one == PASS for one in made)} passed."]
    for kind, verb in ((FAIL, "fails"), (WARN, "warns")):
        for key in shown:
            names = [regime(name) for name in numbers if verdicts[name, key] == kind]
            if names:
                said.append(f"“{TITLES[key][0]}” {verb} for {listed(names)}.")
    if FAIL in made:
        said.append("Where a check fails, the model may be less robust than the numbers here say.")
    return said


def _table(numbers: Mapping[str, Mapping[str, Measure | None]], shown: Sequence[str]) -> Table:
    columns = (
        Column(title="Regime", left=True),
        *(Column(title=TITLES[key][0], under=TITLES[key][1], within="result") for key in shown),
    )
    groups = tuple(
        Group(head=regime(name), rows=(tuple(_cell(key, found[key]) for key in shown),))
        for name, found in numbers.items()
    )
    return Table(key="attack-checks", columns=columns, groups=groups)


def _cell(key: str, found: Measure | None) -> Cell:
    if found is None:
        return NOT_APPLICABLE
    judged = verdict(key, found)
    look: Literal["", "key"] = "" if judged == PASS else "key"
    if found.value is None:
        return Cell(text=found.lacks, under=judged, look=look)
    value, digits = found.value, 3 if key == "strengths" else 2
    text = f"{100 * value:.1f}%" if key in SHARES else number(value, digits=digits)
    return Cell(text=text, under=judged, look=look)
