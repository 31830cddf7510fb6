"""What was planned before the run, and what was changed, added or left out since."""

from collections.abc import Mapping, Sequence
from typing import Any

from cxrobust.reports.parts import NOT_APPLICABLE, Cell, Column, Group, Table
from cxrobust.reports.sections import section
from cxrobust.reports.settings_in_words import breakable, value_words
from cxrobust.reports.view import View
from cxrobust.reports.words import (
    condition_words,
    count,
    counted,
    finding_words,
    listed,
    metric_words,
    readable,
    regime,
)

KINDS = (("changed", "Changed"), ("added", "Added"), ("left out", "Left out"))
ESTIMANDS = {
    "value": "value",
    "perturbed-clean": "perturbed − clean difference",
    "regime-reference": "regime − reference difference",
    "difference-in-differences": "difference-in-differences",
}
AGAINST_REFERENCE = ("regime-reference", "difference-in-differences")


def registered(view: View) -> Mapping[str, Any] | None:
    """Return what the results hold of the registered plan; None where none was registered."""
    found: Mapping[str, Any] | None = view.results.provenance.get("registration")
    return found


@section(
    "registration",
    order=95,
    documents=("report", "appendix"),
    title="Deviations from the registered plan",
    needs=lambda view: registered(view) is not None,
)
def registration(view: View) -> Mapping[str, Any]:
    """Return when the plan was registered, what it asked for, and every deviation."""
    plan = registered(view)
    assert plan is not None  # noqa: S101  the section's `needs` asks
    return {
        "date": date_words(plan["date"]),
        "file": readable(plan["file"]),
        "sha256": readable(plan["sha256"]),
        "predictions": predictions_sentence(plan["predictions"]),
        "versions": _versions(plan, view),
        "primary": primary_sentence(plan["plan"]),
        "counts": counts_sentence(plan["estimates"]),
        "unknown": _unknown(plan["inputs"]["unknown"]),
        "deviations": _table(plan["deviations"]) if plan["deviations"] else None,
    }


def date_words(date: str) -> str:
    """Write a date of a registration: `2026-11-28, 06:46:16 UTC`."""
    day, _, time = date.partition("T")
    return readable(f"{day}, {time.removesuffix('Z')} UTC")


def predictions_sentence(found: Mapping[str, Any]) -> str:
    """Say which predictions were made after the registration, as far as their files show it."""
    after, other = found["after"], found["other"]
    said = []
    if after and not other:
        said.append(
            "Every file of predictions made here carries the hash of the registration, and was therefore made after it."
        )
    elif after:
        said.append(
            f"Of {counted(after + other, 'file')} of predictions made here {count(after)} carry the hash of the "
            f"registration, and were therefore made after it; {count(other)} do not, and were made before it or where it "
            "was not at hand."
        )
    elif other:
        said.append(
            "No file of predictions carries the hash of the registration: they were made before it, or where it was not at hand."
        )
    known = [name for name in found["elsewhere"] if name in found["registered"]]
    others = [name for name in found["elsewhere"] if name not in found["registered"]]
    if known:
        said.append(
            f"The predictions of {_regimes(known)} were made elsewhere, before the registration, which holds the hashes of their tables."
        )
    if others:
        said.append(f"The predictions of {_regimes(others)} were made elsewhere; when is not known here.")
    return " ".join(said)


def primary_sentence(plan: Mapping[str, Any]) -> str:
    """Say which comparison was registered as the primary one."""
    primary, reference = plan["primary"], plan["study"]["reference"]
    what = ESTIMANDS.get(primary["estimand"], readable(primary["estimand"]))
    metrics = listed([metric_words(name).name for name in plan["analysis"]["metrics"]])
    under = f" under {condition_words(primary['condition'])}" if primary["condition"] else " on clean images"
    against = f", with {regime(reference)} as reference" if primary["estimand"] in AGAINST_REFERENCE else ""
    return f"The primary comparison of the plan is the {what} of {finding_words(primary['finding'])}s{under}{against}, for {metrics}."


def counts_sentence(found: Mapping[str, Any]) -> str:
    """Say how many estimates were planned and how many were added, and by what."""
    planned, added = found["planned"], found["added"]
    n_added = sum(added.values())
    if not n_added:
        return f"{'The only estimate is' if planned == 1 else f'All {count(planned)} estimates are'} of metrics, regimes, conditions, findings and subgroups of the plan."
    whose = listed([f"{_added(what)} ({count(n)})" for what, n in added.items()])
    verb = "is" if n_added == 1 else "are"
    return (
        f"Of {counted(planned + n_added, 'estimate')} {count(planned)} {'is' if planned == 1 else 'are'} of what the plan asks for; "
        f"{count(n_added)} {verb} not, and {'was' if n_added == 1 else 'were'} added: {whose}."
    )


def _added(what: str) -> str:
    kind, _, name = what.partition(" ")
    words = {
        "metric": lambda: metric_words(name).name,
        "condition": lambda: condition_words(name),
        "regime": lambda: regime(name),
    }
    return f"{kind} {words[kind]()}" if kind in words else readable(what)


def _versions(plan: Mapping[str, Any], view: View) -> str:
    before = plan["cxrobust"]
    now = (view.results.provenance.get("analysis", {}).get("versions") or {}).get("cxrobust", before)
    return "" if now == before else readable(f"It was registered with cxrobust {before} and analysed with {now}.")


def _unknown(names: Sequence[str]) -> str:
    if not names:
        return ""
    whose = listed(["the data" if name == "data" else regime(name) for name in names])
    return (
        f"The files of {whose} were not there to be read when the plan was registered; their hashes are not part of it."
    )


def _regimes(names: Sequence[str]) -> str:
    return listed([regime(name) for name in names])


def _table(found: Sequence[Mapping[str, Any]]) -> Table:
    groups = (
        Group(
            head=title,
            rows=tuple(
                (Cell(text=_key(one["key"])), _value(one, "planned"), _value(one, "run"))
                for one in found
                if one["kind"] == kind
            ),
        )
        for kind, title in KINDS
    )
    return Table(
        key="deviations",
        columns=(
            Column(title="Deviation", left=True),
            Column(title="Of", left=True),
            Column(title="Planned", left=True),
            Column(title="As run", left=True),
        ),
        groups=tuple(group for group in groups if group.rows),
        dense=True,
    )


def _key(key: str) -> str:
    return breakable(readable(key.removeprefix("study.")))


def _value(one: Mapping[str, Any], side: str) -> Cell:
    value = one[side]
    if (one["kind"], side) in {("added", "planned"), ("left out", "run")}:
        return NOT_APPLICABLE
    return Cell(text="none", look="quiet") if value is None else Cell(text=breakable(value_words(value)))
