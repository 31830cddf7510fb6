"""What corruptions do to an image."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from cxrobust.conditions import parse_condition
from cxrobust.reports.figures.images import Shown, corrupted_figure, read_example, small_corrupted_figure
from cxrobust.reports.parts import Figure
from cxrobust.reports.sections import section
from cxrobust.reports.view import CLEAN, View
from cxrobust.reports.words import PERTURBATIONS, SPACE, capitalised, counted, told_of

MOST_ROWS = 6
"""Corruptions that a page has room for, a row each; more stand smaller, two in a row."""
SEVERITIES = " at severities 1 to 5"
MOST_SMALL = 8
"""Those that half a page has room for then, of which the clean image takes one place in the first figure; a higher
figure might leave as much of the page before it blank."""


Row = tuple[str, dict[str, Shown]]
"""A corruption, in words, and the image at each severity."""


def _rows(view: View) -> dict[str, dict[str, Shown]]:
    """Return by corruption, in words, the image at each severity."""
    found: dict[str, dict[str, Shown]] = {}
    if view.images is None:
        return found
    for one in view.results.examples:
        if one["kind"] == "corruption" and (shown := read_example(one, view.images)) is not None:
            parsed = parse_condition(one["condition"])
            severity = dict(parsed.parameters).get(parsed.strength_name or "", "")
            name = capitalised(PERTURBATIONS.get(parsed.name, parsed.name))
            found.setdefault(name, {})[f"severity{SPACE}{severity}"] = shown
    return found


@section("corrupted", order=79, title="What corruptions look like", needs=lambda view: bool(_rows(view)))
def corrupted(view: View) -> Mapping[str, Any]:
    """Return a page of images for every few corruptions, and what each severity stands for."""
    rows = list(_rows(view).items())
    image = next(iter(rows[0][1].values())).example["image"]
    small = len(rows) > MOST_ROWS
    draw, first = (small_corrupted_figure, MOST_SMALL - 1) if small else (corrupted_figure, MOST_ROWS)
    figures = []
    for place, some in enumerate(_parts(rows, first, MOST_SMALL if small else MOST_ROWS), start=1):
        alt = f"One radiograph under {counted(len(some), 'corruption')}, each from mild to severe: {', '.join(some)}."
        clean = _clean(view, image) if place == 1 or not small else None
        figures.append(Figure(key=f"corrupted-{place}", drawing=draw(clean, some), alt=alt))
    return {"figures": tuple(figures), "said": _said(view, at_each=not small), "small": small}


def _parts(rows: Sequence[Row], first: int, most: int) -> Iterator[dict[str, dict[str, Shown]]]:
    """Yield the rows of each figure: `first` of them, then `most` at a time."""
    yield dict(rows[:first])
    for place in range(first, len(rows), most):
        yield dict(rows[place : place + most])


def _said(view: View, *, at_each: bool) -> list[str]:
    """Say what each corruption does, those first of which something is predicted; `at_each` with the severities."""
    of_conditions = [one["description"] for one in view.results.conditions if one["kind"] == "corruption"]
    shown = [one.get("description", "") for one in view.results.examples if one["kind"] == "corruption"]
    told = [text if at_each else text.removesuffix(SEVERITIES) for text in dict.fromkeys((*of_conditions, *shown))]
    return [told_of(text) for text in told if text]


def _clean(view: View, image: str) -> Shown | None:
    for one in view.results.examples:
        if one["image"] == image and one["condition"] == CLEAN and view.images is not None:
            return read_example(one, view.images)
    return None
