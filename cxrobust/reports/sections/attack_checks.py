"""Whether the attack is as strong as it should be: what a sceptical reviewer asks of it, for every regime."""

import itertools
from collections.abc import Mapping, Sequence
from typing import Any

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
    numbers = {one["regime"]: {**measures(one), "strengths": largest_rise(view, one)} for one in checks}
    shown = [key for key in TITLES if any(found[key] is not None for found in numbers.values())]
    return {
        "checks": _table(numbers, shown),
        "attack": condition_words(checks[0]["condition"]),
        "n_images": counted(checks[0]["n_images"], "image"),
        "metric": view.metrics[0],
        "sentences": sentences(numbers, shown),
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


def measures(check: Mapping[str, Any]) -> dict[str, float | None]:
    """Return what each check measures of one model; None where it was not made or has no finite number.

    With the harm of an attack the mean rise of the loss from clean images: `noise`, `square` and `transfer` are the
    harm of these over the attack's own (of `transfer` the greatest), `longer` is by what share four times the steps
    harm more, `gradients` the share of images without a gradient, `unbounded` the share of images whose aimed finding stays right.
    """
    clean, attacked = check["clean"], check["attacked"]
    harm = None if clean is None or attacked is None or attacked <= clean else attacked - clean

    def over(loss: float | None) -> float | None:
        return None if harm is None or loss is None or clean is None else (loss - clean) / harm

    longer, wrong = over(check["longer"]), check["unbounded_wrong"]
    transferred = [share for loss in check["transferred"].values() if (share := over(loss)) is not None]
    return {
        "gradients": check["without_gradient"],
        "noise": over(check["noise"]),
        "longer": None if longer is None else longer - 1,
        "square": over(check["square"]),
        "transfer": max(transferred, default=None),
        "unbounded": None if wrong is None else 1 - wrong,
    }


def largest_rise(view: View, check: Mapping[str, Any]) -> float | None:
    """Return by how much the first metric rises at most from one strength of the attack to the next; None for one."""
    series = next((one for one in view.series if check["condition"] in one.conditions), None)
    if series is None or len(series.conditions) < 2:
        return None
    values = [view.value(view.metrics[0], check["regime"], condition) for condition in series.conditions]
    points = [one.estimate for one in values if one is not None and one.estimate is not None]
    better = {"higher": 1, "lower": -1}.get(metric_words(view.metrics[0]).better)
    if better is None:
        return None
    rises = [better * (after - before) for before, after in itertools.pairwise(points)]
    return max((max(rise, 0.0) for rise in rises), default=None)


def verdict(key: str, value: float | None) -> str:
    """Return whether a check passes, warns or fails; empty where it was not made."""
    if value is None:
        return ""
    passes, warns = LIMITS[key]
    rounded = round(value, 6)
    return PASS if rounded <= passes else WARN if rounded <= warns else FAIL


def sentences(numbers: Mapping[str, Mapping[str, float | None]], shown: Sequence[str]) -> list[str]:
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


def _table(numbers: Mapping[str, Mapping[str, float | None]], shown: Sequence[str]) -> Table:
    columns = (
        Column(title="Regime", left=True),
        *(Column(title=TITLES[key][0], under=TITLES[key][1], within="result") for key in shown),
    )
    groups = tuple(
        Group(head=regime(name), rows=(tuple(_cell(key, found[key]) for key in shown),))
        for name, found in numbers.items()
    )
    return Table(key="attack-checks", columns=columns, groups=groups)


def _cell(key: str, value: float | None) -> Cell:
    if value is None:
        return NOT_APPLICABLE
    text = f"{100 * value:.1f}%" if key in SHARES else number(value, digits=3 if key == "strengths" else 2)
    found = verdict(key, value)
    return Cell(text=text, under=found, look="" if found == PASS else "key")
