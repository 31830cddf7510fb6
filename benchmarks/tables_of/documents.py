"""The table of the time that documents take."""

from collections.abc import Iterable, Mapping
from typing import Any

from tables_of.form import seconds, table, times


def report(result: Mapping[str, Any]) -> Iterable[str]:
    studies = result["studies"]
    yield table(
        (
            *("study", "seconds", "aim", "peak memory", "CPU seconds", "CPU seconds of the bare PDF", "ratio"),
            *("seconds again, nothing changed", "CPU seconds again"),
        ),
        (
            (
                (f"`{one['name']}`: " if "/" in one["name"] else "")
                + f"{one['regimes']} regimes × {one['conditions']} conditions × {one['findings']} findings",
                seconds(one["seconds"]),
                f"{one['aim_seconds']} s, {'met' if one['seconds'] < one['aim_seconds'] else 'missed'}",
                f"{one['peak_gib']:.1f} GiB",
                seconds(one["cpu_seconds"]),
                seconds(one["bare_cpu_seconds"]),
                times(one["ratio"]),
                *(
                    seconds(one[name]) if name in one else "not measured"
                    for name in ("warm_seconds", "warm_cpu_seconds")
                ),
            )
            for one in studies
        ),
    )
    busy = [one for one in studies if one["load"] > 2 * one["cores_used"]]
    if busy:
        loads = " and ".join(f"{one['load']:.0f}" for one in busy)
        yield (
            f"Other programs ran on the same {busy[0]['cores_used']} cores (load average {loads}), so the seconds are "
            "more than an idle machine needs; CPU seconds, of all processes together, are little touched by that."
        )
