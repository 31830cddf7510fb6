"""What images that were made to mislead one regime's model do to the others."""

from collections.abc import Mapping, Sequence
from typing import Any

from cxrobust.reports.parts import Cell, Column, Group, Table
from cxrobust.reports.sections import section
from cxrobust.reports.view import View
from cxrobust.reports.words import SPACE, condition_words, count, listed, number, regime

SHADES = 10
MOST_COLUMNS = 7
"""Models whose images a page has room for; the harm of the others stands in results.json."""


def _has_transfer(view: View) -> bool:
    return len({one["regime"] for one in view.results.attack_checks if one["transferred"]}) > 1


@section(
    "transfer",
    order=50,
    title="Transfer between regimes",
    needs=_has_transfer,
    documents=("report", "appendix"),
)
def transfer(view: View) -> Mapping[str, Any]:
    """Return the matrix of harm, over that of a model's own images, by who they were made on and who reads them."""
    checks: dict[str, list[Mapping[str, Any]]] = {}
    for one in view.results.attack_checks:
        checks.setdefault(one["regime"], []).append(one)
    shares = {name: mean_of_runs([harm_of_others(one) for one in runs]) for name, runs in checks.items()}
    first = view.results.attack_checks[0]
    known = [(share, made, read) for read, row in shares.items() for made, share in row.items() if share is not None]
    most = max(known, default=None)
    return {
        "matrix": _table(list(checks), shares),
        "is_cut": len(checks) > MOST_COLUMNS,
        "several_runs": any(len(runs) > 1 for runs in checks.values()),
        "attack": condition_words(first["condition"]),
        "n_images": count(first["n_images"]),
        "most": None
        if most is None or most[0] <= 0
        else f"Most harm is done by images made on {regime(most[1])} to {regime(most[2])}: "
        f"{number(most[0], digits=2)}{SPACE}times that of its own images.",
        "immune": _listed([read for read, row in shares.items() if any(row.values()) and _most(row) <= 0.05]),
    }


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


def _table(names: list[str], shares: Mapping[str, Mapping[str, float | None]]) -> Table:
    made_on = names[:MOST_COLUMNS]
    columns = (Column(title="Read by", left=True), *(Column(title=regime(name)) for name in made_on))
    groups = tuple(
        Group(head=regime(read), rows=(tuple(_cell(made == read, shares[read].get(made)) for made in made_on),))
        for read in names
    )
    return Table(key="transfer-table", columns=columns, groups=groups)


def _cell(is_own: bool, share: float | None) -> Cell:
    if is_own:
        return Cell(text="1", look="quiet")
    if share is None:
        return Cell(text="–", look="quiet")
    return Cell(text=number(share, digits=2), shade=min(SHADES, max(0, round(SHADES * share))))
