"""How tables and their numbers are written: Markdown rows, seconds, ratios, and what a file was made with."""

from collections.abc import Iterable, Mapping, Sequence
from statistics import median
from typing import Any


def made_with(result: Mapping[str, Any]) -> str:
    made = result["made_with"]
    versions = ", ".join(f"{name} {number}" for name, number in made["versions"].items())
    return f"Measured on {made['processor']}, {made['system']}, with Python {made['python']}, {versions}."


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = (head, ["---"] * len(head), *rows)
    return "\n".join("| " + " | ".join(cell.replace("|", r"\|") for cell in line) + " |" for line in lines)


def seconds(value: float | None) -> str:
    if value is None:
        return "not measured"
    if value < 0.1:
        return f"{value * 1e3:.2g} ms"
    return f"{value:,.0f} s" if value >= 100 else f"{value:.3g} s"


def times(value: float | None) -> str:
    return "" if value is None else f"{value:,.0f} ×" if value >= 10 else f"{value:.1f} ×"


def spread(values: Sequence[float]) -> str:
    return f"{median(values):.2f} ({min(values):.2f} to {max(values):.2f})"
