"""Whether the attack is as strong as it should be: what a sceptical reviewer asks of it, for every regime."""

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from cxrobust.conditions import parse_condition
from cxrobust.reports.parts import NOT_APPLICABLE, Cell, Column, Group, Table
from cxrobust.reports.sections import section
from cxrobust.reports.view import CLEAN, View
from cxrobust.reports.words import (
    condition_words,
    counted,
    is_against_text,
    listed,
    metric_words,
    number,
    parameter_words,
    regime,
)
from cxrobust.results import MACRO, REPORT

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


Found = dict[str, Measure | None]
"""What each check found of one model; None where it was not made."""


@section(
    "attack_checks",
    order=49,
    title="Checks of the attack",
    needs=lambda view: bool(view.results.attack_checks) or _left_unchecked(view),
    documents=("report", "appendix"),
)
def attack_checks(view: View) -> Mapping[str, Any]:
    """Return the table of checks, and in sentences which failed."""
    checks = view.results.attack_checks
    if not checks:
        return {"checks": None, "unchecked": unchecked(view)}
    judged = falling_metric(view, checks[0]["condition"])
    runs = runs_of(view, judged)
    numbers = {name: worst(of_regime) for name, of_regime in runs.items()}
    shown = [key for key in TITLES if any(found[key] is not None for found in numbers.values())]
    several = {name for name, of_regime in runs.items() if len(of_regime) > 1}
    change = change_of_text(checks[0]["condition"])
    return {
        "checks": _table(numbers, shown, change),
        "change": change,
        "attack": condition_words(checks[0]["condition"]),
        "n_images": counted(checks[0]["n_images"], "image"),
        "judged": "" if judged is None else falling_words(judged),
        "sentences": [
            *sentences(runs, shown, change),
            *(said for one in checks for said in without_shares(one, of_several=one["regime"] in several)),
            *unjudged(view, numbers, judged),
        ],
        "has_gaps": any(one is not None and one.lacks for found in numbers.values() for one in found.values()),
        "limits": LIMITS,
        "titles": {key: title for key, (title, _) in TITLES.items()},
        "shown": shown,
        "of_patch": checks[0]["condition"].startswith("patch("),
        "in_turns": bool(checks[0].get("in_turns")),
        "queries": checks[0].get("queries"),
        "reach": reach(checks[0]["unbounded"]) if "unbounded" in checks[0] else "",
        "unchecked": unchecked(view),
        "several_runs": bool(several),
    }


def runs_of(view: View, judged: str | None) -> dict[str, list[Found]]:
    """Return what was found of each regime's training runs.

    How the metric falls with strength is told of all runs of a regime together, and stands with the first.
    """
    found: dict[str, list[Found]] = {}
    for one in view.results.attack_checks:
        of_regime = found.setdefault(one["regime"], [])
        rise = None if judged is None or of_regime else largest_rise(view, one, judged)
        of_regime.append({**measures(one), "strengths": rise})
    return found


def worst(runs: Sequence[Found]) -> Found:
    """Return of each check the run that is farthest from passing; one without a number fails, so it is worst."""

    def farness(found: Measure) -> tuple[bool, float]:
        return (found.value is None, found.value or 0.0)

    made = {key: [found for run in runs if (found := run[key]) is not None] for key in runs[0]}
    return {key: max(found, key=farness, default=None) for key, found in made.items()}


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


def measures(check: Mapping[str, Any]) -> Found:
    """Return what each check measures of one model; None where it was not made.

    With the harm of an attack the mean rise of the loss from clean images: `noise`, `square` and `transfer` are the
    harm of these over the attack's own (of `transfer` the greatest), `longer` is by what share four times the steps
    harm more, `gradients` the share of images without a gradient, `unbounded` the share of images whose aimed finding stays right,
    or whose text keeps more than half of its probability a token (of one that is made likelier, gets less than twice).
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


def reach(condition: str) -> str:
    """Write strength and steps of the attack without a bound.

    Examples
    --------
    >>> reach("pgd(eps=1.0, target=Effusion, steps=80)").replace("\N{NO-BREAK SPACE}", " ")
    'ε = 1, 80 steps'
    """
    parsed = parse_condition(condition)
    named = {parsed.strength_name or "": f"{parsed.strength:g}", "steps": dict(parsed.parameters)["steps"]}
    return ", ".join(parameter_words(name, value) for name, value in named.items())


def without_shares(check: Mapping[str, Any], *, of_several: bool = False) -> list[str]:
    """Say which losses of one model are not finite, or that its attack does no harm, with all losses.

    A model that is of several runs is named with its run's number, from 1.
    """
    named = {words: check[key] for key, words in LOSSES.items()}
    named |= {f"those made on {regime(other)}": loss for other, loss in check["transferred"].items()}
    name = regime(check["regime"]) + (f" (run {check['replicate'] + 1})" if of_several else "")
    if lacking := [words for words, loss in named.items() if loss is None]:
        return [f"For {name}, the mean loss on {listed(lacking)} is not finite: a check that needs it fails."]
    if check["attacked"] > check["clean"]:
        return []
    told = listed([f"{number(loss)} on {words}" for words, loss in named.items()])
    return [f"The attack does no harm to {name}, of which others could be shares: the mean loss is {told}."]


def falling_metric(view: View, condition: str) -> str | None:
    """Return the metric that an attack must lower, and a stronger one more: accuracy where the study has it.

    Else the study's first metric, where it has a better side; none where the attack is not on what is right, since it
    hides or fabricates a finding whatever the label is, or is on a report.
    """
    if not _raises_loss(condition):
        return None
    sided = [one for one in view.metrics[:1] if view.better[one] is not None]
    return next((one for one in ("accuracy", *sided) if one in view.metrics), None)


def falling_words(metric: str) -> str:
    """Write that metric for the table's caption."""
    return "accuracy at the operating point" if metric == "accuracy" else metric_words(metric).name


def _raises_loss(condition: str) -> bool:
    given = dict(parse_condition(condition).parameters)
    return given.get("goal", "raise-loss") == "raise-loss" and given.get("target") != REPORT


def change_of_text(condition: str) -> str:
    """Return what an attack without a bound must do to its text's probability: `halved`, `doubled`; else empty.

    Examples
    --------
    >>> change_of_text("pgd(eps=1/255, target=report)"), change_of_text("pgd(eps=1/255, target=Edema)")
    ('halved', '')
    """
    given = dict(parse_condition(condition).parameters)
    return "" if given.get("target") != REPORT else "halved" if is_against_text(given) else "doubled"


def aimed_finding(view: View, condition: str) -> str:
    """Return the finding that an attack aims at alone, else the average over all."""
    target = dict(parse_condition(condition).parameters).get("target", "").strip('"')
    return target if target in {finding["name"] for finding in view.findings} else MACRO


def left_of(view: View, metric: str, name: str, condition: str, finding: str) -> float | None:
    """Return a metric of a regime under a condition, with its sign turned where less is better; None without one."""
    found = view.value(metric, name, condition, finding)
    if found is None or found.estimate is None:
        return None
    return found.estimate if view.better[metric] == "higher" else -found.estimate


def largest_rise(view: View, check: Mapping[str, Any], metric: str) -> Measure | None:
    """Return by how much a metric gets better at most from clean images, or one strength of the attack, to the next.

    None where fewer than two of them have an estimate.
    """
    attack, name = check["condition"], check["regime"]
    finding = aimed_finding(view, attack)
    values = [left_of(view, metric, name, one, finding) for one in (CLEAN, *_strengths(view, attack))]
    points = [one for one in values if one is not None]
    rises = [max(after - before, 0.0) for before, after in itertools.pairwise(points)]
    return Measure(value=max(rises)) if rises else None


def _strengths(view: View, condition: str) -> tuple[str, ...]:
    """Return the conditions of an attack that differ in strength alone."""
    return next((one.conditions for one in view.series if condition in one.conditions), ())


def unjudged(view: View, numbers: Mapping[str, Found], judged: str | None) -> list[str]:
    """Say where it was not checked that a stronger attack does more harm, or not by accuracy, and why."""
    title = f"“{TITLES['strengths'][0]}”"
    if not _raises_loss(view.results.attack_checks[0]["condition"]):
        return [f"{title} was not checked: the attack does not aim at what is right, so no metric must fall."]
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


def sentences(runs: Mapping[str, Sequence[Found]], shown: Sequence[str], change: str = "") -> list[str]:
    """Say how many checks of all runs passed, and which regimes warn or fail in which, in how many of their runs.

    Where the attack is on reports, also what `change` the attack without a bound should have made to the text.
    """
    verdicts = {
        (name, key): [judged for run in of_regime if (judged := verdict(key, run[key]))]
        for name, of_regime in runs.items()
        for key in shown
    }
    made = [one for of_regime in verdicts.values() for one in of_regime]
    said = [f"Of {counted(len(made), 'check')}, {sum(one == PASS for one in made)} passed."]
    for kind, verb in ((FAIL, "fails"), (WARN, "warns")):
        for key in shown:
            names = [_in_runs(name, kind, verdicts[name, key]) for name in runs if kind in verdicts[name, key]]
            if names:
                said.append(f"“{TITLES[key][0]}” {verb} for {listed(names)}.")
                if key == "unbounded" and change:
                    said.append(
                        f"It looks at the text, not at findings: the probability of one of its tokens has to be {change}."
                    )
    if FAIL in made:
        said.append("Where a check fails, the model may be less robust than the numbers here say.")
    return said


def _in_runs(name: str, kind: str, verdicts: Sequence[str]) -> str:
    of_several = f" (in {verdicts.count(kind)} of {len(verdicts)} runs)" if len(verdicts) > 1 else ""
    return f"{regime(name)}{of_several}"


def _table(numbers: Mapping[str, Found], shown: Sequence[str], change: str) -> Table:
    under = {key: below for key, (_, below) in TITLES.items()}
    if change:
        under["unbounded"] = f"texts not {change}"
    columns = (
        Column(title="Regime", left=True),
        *(Column(title=TITLES[key][0], under=under[key], within="result") for key in shown),
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
    text = f"{number(100 * value, digits=1)}%" if key in SHARES else number(value, digits=digits)
    return Cell(text=text, under=judged, look=look)
