"""What images that were made to mislead one regime's model do to the others."""

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from cxrobust.conditions import Condition, parse_condition
from cxrobust.reports.parts import EMPTY, Cell, Column, Group, Table, estimate_cell, even_parts, metric_digits
from cxrobust.reports.sections import section
from cxrobust.reports.sections.attack_checks import aimed_finding
from cxrobust.reports.sections.collateral import is_apart
from cxrobust.reports.sentences import metric_name
from cxrobust.reports.units import intervals_of_estimates
from cxrobust.reports.view import CLEAN, View
from cxrobust.reports.words import (
    SPACE,
    capitalised,
    condition_words,
    count,
    counted,
    finding_words,
    interval,
    listed,
    metric_words,
    number,
    percent,
    regime,
)
from cxrobust.results import MACRO, REPORT, Estimate

SHADES = 10
MOST_COLUMNS = 6
"""Models whose images one table has room for."""
MOST_ESTIMATED = 5
"""Such models beside the clean images, with intervals."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Transferred:
    """One attack of the study at one strength, whose images were made on single models and read by every regime."""

    attack: str
    """The condition without the model."""
    sources: Mapping[str, str]
    """The regimes that images were made on, each with the condition of these images."""
    own: str | None
    """The condition of images made on each reading regime's own model; None where the study has none."""

    def condition_of(self, read: str, made: str) -> str:
        """Return the condition of images made on one regime: read by that one itself, of its own if the study has them."""
        return self.own if read == made and self.own is not None else self.sources[made]


def _is_checked(view: View) -> bool:
    return len({one["regime"] for one in view.results.attack_checks if one["transferred"]}) > 1


def _has_transfer(view: View) -> bool:
    return _is_checked(view) or bool(transferred(view))


@section(
    "transfer",
    order=50,
    title="Transfer between regimes",
    needs=_has_transfer,
    documents=("report", "appendix"),
)
def transfer(view: View) -> Mapping[str, Any]:
    """Return the matrix of harm from the checks, and those of estimates, by who images were made on and who reads them."""
    found = transferred(view)
    return {
        **(_of_checks(view) if _is_checked(view) else {"matrices": ()}),
        "tables": [
            tuple(
                _estimates_table(view, one, some, key=f"transfer-estimates-{place}" + (f"-{part}" if part > 1 else ""))
                for part, some in enumerate(even_parts(tuple(one.sources), MOST_ESTIMATED), start=1)
            )
            for place, one in enumerate(found, start=1)
        ],
        "attacks": [
            {
                "condition": condition_words(one.attack),
                "metric": metric_words(_metric(view, one)).name,
                "of": capitalised(_of(view, one)),
                "sentence": sentence(view, one),
                "has_own": one.own is not None,
                "has_column": _has_column(view, one),
            }
            for one in found
        ],
        "intervals": intervals_of_estimates(view),
        "has_replicates": view.has_replicates,
    }


def _of_checks(view: View) -> dict[str, Any]:
    checks: dict[str, list[Mapping[str, Any]]] = {}
    for one in view.results.attack_checks:
        checks.setdefault(one["regime"], []).append(one)
    shares = {name: mean_of_runs([harm_of_others(one) for one in runs]) for name, runs in checks.items()}
    first = view.results.attack_checks[0]
    known = [(share, made, read) for read, row in shares.items() for made, share in row.items() if share is not None]
    most = max(known, default=None)
    return {
        "matrices": tuple(
            _table(list(checks), some, shares, key="transfer-table" + (f"-{place}" if place > 1 else ""))
            for place, some in enumerate(even_parts(list(checks), MOST_COLUMNS), start=1)
        ),
        "several_runs": any(len(runs) > 1 for runs in checks.values()),
        "attack": condition_words(first["condition"]),
        "n_images": count(first["n_images"]),
        "most": None
        if most is None or most[0] <= 0
        else f"Most harm is done by images made on {regime(most[1])} to {regime(most[2])}: "
        f"{number(most[0], digits=2)}{SPACE}times that of its own images.",
        "immune": _listed([read for read, row in shares.items() if any(row.values()) and _most(row) <= 0.05]),
    }


def transferred(view: View) -> list[Transferred]:
    """Return the attacks whose images were made on one regime for all, each at the strength that most were made at.

    Of several such strengths that of the primary condition, else the greatest.
    """
    made: dict[str, dict[Condition, dict[str, str]]] = {}
    for name, condition in view.conditions.items():
        source, attack = _split(name) if condition["kind"] == "attack" else ("", None)
        if attack is not None and source in view.regimes:
            made.setdefault(attack.series, {}).setdefault(attack, {})[source] = name

    def rank(attack: Condition, sources: Mapping[str, str]) -> tuple[int, bool, float]:
        return (len(sources), view.primary in {str(attack), *sources.values()}, attack.strength or 0.0)

    chosen = [max(of_series.items(), key=lambda one: rank(*one)) for of_series in made.values()]
    return [
        Transferred(
            attack=str(attack),
            sources={name: sources[name] for name in view.regimes if name in sources},
            own=str(attack) if str(attack) in view.conditions else None,
        )
        for attack, sources in chosen
    ]


def _split(condition: str) -> tuple[str, Condition | None]:
    """Return the regime that a condition's images were made on, and the condition without it; none where none is named."""
    parsed = parse_condition(condition)
    source = dict(parsed.parameters).get("made_on", "").strip('"')
    rest = tuple((key, value) for key, value in parsed.parameters if key != "made_on")
    return source, Condition(name=parsed.name, parameters=rest) if source else None


def sentence(view: View, one: Transferred) -> str:
    """Say for how many readings by another model the interval of the change leaves out 0, and which is the largest."""
    metric = _metric(view, one)
    read = {
        (name, made): _change(view, one, name, made)
        for name, made in itertools.product(view.regimes, one.sources)
        if name != made
    }
    apart = {pair: found for pair, found in read.items() if found is not None and is_apart(found)}
    if not read:
        return "No other regime reads them."
    below = sum((found.estimate or 0) < 0 for found in apart.values())
    said = (
        f"Of {counted(len(read), 'reading')} by a model other than the one that images were made on, the interval of the "
        f"change in {metric_name(view, metric)} lies below 0 in {below or 'none'} and above 0 in "
        f"{len(apart) - below or 'none'}."
    )
    if not apart:
        return said
    (name, made), most = max(apart.items(), key=lambda item: abs(item[1].estimate or 0))
    digits = metric_digits(view, metric, among=[most])
    low, high = most.ci_low or 0.0, most.ci_high or 0.0
    return (
        f"{said} The largest of these estimates is {number(most.estimate or 0, digits=digits, signed=True)} "
        f"({percent(view.level)}{SPACE}CI, {interval(low, high, digits=digits)}), of {regime(name)} on images made on "
        f"{regime(made)}."
    )


def _metric(view: View, one: Transferred) -> str:
    """Return the study's first metric, of an attack on reports its first score of reports where it has one."""
    on_reports = dict(parse_condition(one.attack).parameters).get("target") == REPORT
    return view.with_score(view.metrics[:1])[-1] if on_reports else view.metrics[0]


def _finding(view: View, one: Transferred) -> str:
    return MACRO if view.is_of_reports(_metric(view, one)) else aimed_finding(view, one.attack)


def _of(view: View, one: Transferred) -> str:
    """Say what the metric is of: the finding aimed at, or the average; empty where there is one finding or a report."""
    finding = _finding(view, one)
    if view.is_of_reports(_metric(view, one)) or (finding == MACRO and len(view.findings) < 2):
        return ""
    return finding_words(finding)


def _change(view: View, one: Transferred, read: str, made: str) -> Estimate | None:
    return view.change(_metric(view, one), read, one.condition_of(read, made), _finding(view, one))


def _has_column(view: View, one: Transferred) -> bool:
    """Whether what each regime reads of its own has a column, since not every regime has one as a source."""
    return one.own is not None and len(one.sources) < len(view.regimes)


def _estimates_table(view: View, one: Transferred, shown: Sequence[str], *, key: str) -> Table:
    metric, finding = _metric(view, one), _finding(view, one)
    conditions = {
        name: (
            *([one.own or CLEAN] if _has_column(view, one) else []),
            *(one.condition_of(name, made) for made in shown),
        )
        for name in view.regimes
    }
    values = {
        name: [view.value(metric, name, condition, finding) for condition in (CLEAN, *row)]
        for name, row in conditions.items()
    }
    changes = {
        name: [view.change(metric, name, condition, finding) for condition in row] for name, row in conditions.items()
    }
    digits = metric_digits(view, metric, among=itertools.chain.from_iterable(changes.values()))
    named = capitalised(metric_words(metric).name)

    def group(name: str) -> Group:
        changed = (
            estimate_cell(found, signed=True, digits=digits, look="key" if is_apart(found) else "")
            for found in changes[name]
        )
        return Group(
            head=regime(name),
            rows=(
                (Cell(text=named), *(estimate_cell(found, digits=digits) for found in values[name])),
                (Cell(text="change"), EMPTY, *changed),
            ),
        )

    heads = ["Clean", *(["Itself"] if _has_column(view, one) else []), *map(regime, shown)]
    columns = (
        Column(title="Read by", left=True),
        Column(title="Quantity", left=True),
        *(Column(title=head, under=f"{percent(view.level)} CI") for head in heads),
    )
    return Table(key=key, columns=columns, groups=tuple(map(group, view.regimes)), dense=True, even=True)


def harm_of_others(check: Mapping[str, Any]) -> dict[str, float | None]:
    """Return the harm of images made on each other model over that of those made on this one; None where it has none.

    Harm is the mean rise of the loss from clean images.

    Examples
    --------
    >>> harm_of_others({"clean": 1.0, "attacked": 3.0, "transferred": {"lora": 2.0}})
    {'lora': 0.5}
    """
    clean, attacked = check["clean"], check["attacked"]
    if clean is None or attacked is None or attacked <= clean:
        return dict.fromkeys(check["transferred"])
    return {
        other: None if loss is None else (loss - clean) / (attacked - clean)
        for other, loss in check["transferred"].items()
    }


def mean_of_runs(rows: Sequence[Mapping[str, float | None]]) -> dict[str, float | None]:
    """Return the mean over a regime's training runs of what was made on each other; None where a run has no share.

    Examples
    --------
    >>> mean_of_runs([{"lora": 0.5, "full": 0.1}, {"lora": 1.0, "full": None}])
    {'lora': 0.75, 'full': None}
    """
    shares = {other: [row[other] for row in rows] for other in rows[0]}
    known = {other: [one for one in of_runs if one is not None] for other, of_runs in shares.items()}
    return {
        other: sum(known[other]) / len(of_runs) if len(known[other]) == len(of_runs) else None
        for other, of_runs in shares.items()
    }


def _most(row: Mapping[str, float | None]) -> float:
    return max(share for share in row.values() if share is not None)


def _listed(names: list[str]) -> str:
    return listed([regime(name) for name in names]) if names else ""


def _table(
    names: Sequence[str], made_on: Sequence[str], shares: Mapping[str, Mapping[str, float | None]], *, key: str
) -> Table:
    columns = (Column(title="Read by", left=True), *(Column(title=regime(name)) for name in made_on))
    groups = tuple(
        Group(head=regime(read), rows=(tuple(_cell(made == read, shares[read].get(made)) for made in made_on),))
        for read in names
    )
    return Table(key=key, columns=columns, groups=groups, even=True)


def _cell(is_own: bool, share: float | None) -> Cell:
    if is_own:
        return Cell(text="1", look="quiet")
    if share is None:
        return Cell(text="–", look="quiet")
    return Cell(text=number(share, digits=2), shade=min(SHADES, max(0, round(SHADES * share))))
