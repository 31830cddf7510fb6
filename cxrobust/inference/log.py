"""How long each unit of a run took, from when to when, and on what: `log.jsonl`, which is read for the report alone."""

import json
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cxrobust.errors import DataError
from cxrobust.files import sha256_json
from cxrobust.inference.units import Unit
from cxrobust.inference.work import failure_of

LOG = "log.jsonl"
"""What each unit took, a line each; not needed to go on."""
SOFTWARE = ("distributions", "urls")
"""What a machine's description says of its software, listed once in the log."""
_listed: set[tuple[Path, str]] = set()
"""Folders whose log tells the software already, by hash."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Took:
    """When a task ended, in seconds since 1970 by the clock of the process that gave it out, and how long it took.

    Of a task of which nothing is told before its whole job ends, it is the clock of the process that did it.
    """

    ended: float
    whole: float
    share: float
    """Of one of its units."""


def log_unit(folder: Path, unit: Unit, machine: Mapping[str, Any], took: Took) -> None:
    """Add a line for a unit, and before the first one of a machine's software in this process one that lists it."""
    software = {name: machine[name] for name in SOFTWARE if name in machine}
    digest = sha256_json(software)
    lines = []
    if software and ((folder, digest) not in _listed or not (folder / LOG).exists()):
        lines.append({"software": digest, **software})
    described = {name: value for name, value in machine.items() if name not in software}
    said = {**described, "software": digest} if software else described
    times = {"seconds": round(took.share, 3), "from": round(took.ended - took.whole, 3), "to": round(took.ended, 3)}
    lines.append({"key": unit.key, **times, "machine": said})
    try:
        with (folder / LOG).open("a", encoding="utf-8") as file:
            file.write("".join(json.dumps(line) + "\n" for line in lines))
    except OSError as error:
        raise DataError(failure_of(error, folder / LOG).message) from error
    _listed.add((folder, digest))


def read_log(folder: Path, keys: set[str]) -> dict[str, Any]:
    """Return times and machines of the units in `keys`, as far as they were logged.

    `seconds` is the sum over units, which may have run at the same time; `wall_seconds` is how long at least one ran,
    and is missing where an earlier version logged some. `n_untimed` is how many were not logged, where some were not:
    a job that was lost had done them, or they came with the folder or its store.
    """
    seconds, machines = 0.0, []
    untimed = set(keys)
    spans: list[tuple[float, float]] | None = []
    software: dict[str, dict[str, Any]] = {}
    path = folder / LOG
    for line in path.read_text(encoding="utf-8", errors="replace").splitlines() if path.exists() else []:
        try:
            entry = json.loads(line)
        except ValueError:
            continue
        match entry:
            case {"software": str(digest), **rest}:
                software[digest] = {str(name): value for name, value in rest.items()}
            case {"key": str(key), "seconds": float(took), "machine": dict(machine)} if key in keys:
                seconds += took
                untimed.discard(key)
                span = (entry.get("from"), entry.get("to"))
                spans = None if spans is None or None in span else [*spans, span]
                if machine not in machines:
                    machines.append(machine)
    its = [software.get(str(one.pop("software", "")), {}) for one in machines]
    whole = [{**one, **of_it} for one, of_it in zip(machines, its, strict=True)]
    wall = {"wall_seconds": round(covered(spans), 1)} if spans else {}
    told = {"n_untimed": len(untimed)} if untimed else {}
    return {"seconds": round(seconds, 1), **wall, **told, "machines": whole}


def covered(spans: Iterable[tuple[float, float]]) -> float:
    """Return how long spans of time are together, what several cover counted once.

    Examples
    --------
    >>> covered([(0, 10), (5, 12), (20, 21)])
    13.0
    """
    total, until = 0.0, -math.inf
    for begun, ended in sorted(spans):
        total += max(0.0, ended - max(begun, until))
        until = max(until, ended)
    return total
