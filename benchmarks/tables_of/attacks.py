"""Tables of attacks and corruptions beside other packages'."""

import math
from collections.abc import Iterable, Mapping, Sequence
from statistics import stdev
from typing import Any

from tables_of.form import seconds, table, times

OURS = "cxrobust"
FASTER = 3
"""How many times as fast as PGD runs the search for the least ε should be."""


def attacks(result: Mapping[str, Any]) -> Iterable[str]:
    versions, rows = result["made_with"]["versions"], result["rows"]
    seeds = [len(one["rights"]) for one in rows if "rights" in one]
    yield (
        f"{result['n_images']} images of {result['size']} pixels; attacks of ε = {result['eps']:g}/255 on "
        f"{result['finding']}, of which {result['clean']['one']:.1%} of clean images are right, or on each of "
        f"{len(result['findings'])} findings ({result['clean']['all']:.1%}). *Over-confident*: the same model, logits "
        f"times {result['confident']:g}, which changes no decision."
        + (
            f" Of what draws at random the mean of {max(seeds)} seeds stands there ± its standard error."
            if seeds
            else ""
        )
    )
    yield table(
        ("attack", "on", "", "right under attack", "length of the change", "seconds", "cxrobust is faster by"),
        (
            (
                one["attack"], one["on"], f"{one['package']} ({versions[one['package']]})",
                share_right(one), length(one) if "length" in one else "", seconds(one["seconds"]),
                times(one["ratio"]),
            )
            for one in rows
        ),
    )  # fmt: skip
    yield strength(rows)
    yield corruptions(result["corruptions"], versions)
    yield from least_eps(result["search"], finding=result["finding"])


def corruptions(rows: Sequence[Mapping[str, Any]], versions: Mapping[str, str]) -> str:
    """Return the table of corruptions."""
    return table(
        (
            "corruption",
            "",
            "right under it",
            "pixels moved by (RMS, 1/255)",
            "from ours (RMS, 1/255)",
            "seconds",
            "cxrobust is faster by",
        ),
        (
            (
                one["corruption"],
                f"{one['package']} ({versions[one['package']]})",
                f"{one['right']:.1%}",
                f"{one['moved']:.2f}",
                "" if one["apart"] is None else f"{one['apart']:.2f}",
                seconds(one["seconds"]),
                times(one["ratio"]),
            )
            for one in rows
        ),
    )


def least_eps(search: Mapping[str, Any], *, finding: str) -> Iterable[str]:
    """Return a sentence and a table on the search for the least ε."""
    yield (
        f"The least ε on {finding}, one search, against a PGD run of bare torchattacks at each ε: "
        f"{seconds(search['seconds'])} ({seconds(search['seconds_until_wrong'])} until wrong) against "
        f"{seconds(search['seconds_pgd'])}, faster by {times(search['ratio'])} "
        f"({times(search['seconds_pgd'] / search['seconds_until_wrong'])} until wrong). The aim is {FASTER} ×: "
        f"{'met' if search['ratio'] >= FASTER else 'missed'}."
    )
    yield table(
        ("right at ε × 255 =", *(f"{eps:g}" for eps in search["eps"])),
        (
            ("`least-eps`", *(f"{right:.1%}" for right in search["search"])),
            ("the same until wrong", *(f"{right:.1%}" for right in search["until_wrong"])),
            ("PGD at each ε", *(f"{right:.1%}" for right in search["pgd"])),
        ),
    )


def share_right(row: Mapping[str, Any]) -> str:
    """Say which share is right; of several seeds the mean ± its standard error."""
    mean, error = share_and_error(row)
    return f"{mean:.1%}" + (f" ± {100 * error:.1f}" if "rights" in row else "")


def share_and_error(row: Mapping[str, Any]) -> tuple[float, float]:
    """Return the share that is right, and the standard error that the seeds leave it, 0 where nothing is drawn."""
    rights = row.get("rights", ())
    return row["right"], stdev(rights) / math.sqrt(len(rights)) if rights else 0.0


def strength(rows: Sequence[Mapping[str, Any]]) -> str:
    """Say where a peer leaves fewer right than we do, by more than the seeds explain."""
    ours = {(one["attack"], one["on"]): share_and_error(one) for one in rows if one["package"] == OURS}
    compared, stronger = 0, []
    for one in rows:
        if one["package"] == OURS:
            continue
        (mean, error), (own, own_error) = share_and_error(one), ours[one["attack"], one["on"]]
        compared += 1
        if own - mean > 1e-9 + 2 * math.hypot(error, own_error):
            stronger.append(f"{one['package']}'s {one['attack']} on {one['on']}")
    said = f"missed against {'; '.join(stronger)}" if stronger else "met"
    return (
        f"The aim is that no other leaves a lower share right, by more than two standard errors of what draws at "
        f"random. Of {compared} comparisons: {said}."
    )


def length(row: Mapping[str, Any]) -> str:
    return "most not flipped" if row["length"] is None else f"{row['length']:.3f}"
