"""What corruptions do to an image."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
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


@dataclass(frozen=True, slots=True)
class Row:
    """One corruption: what it does, and the image at each severity."""

    said: str
    images: dict[str, Shown]


def _rows(view: View) -> dict[str, Row]:
    """Return the corruptions of which images are kept, by their names in words."""
    found: dict[str, Row] = {}
    if view.images is None:
        return found
    for one in view.results.examples:
        if one["kind"] == "corruption" and (shown := read_example(one, view.images)) is not None:
            parsed = parse_condition(one["condition"])
            severity = dict(parsed.parameters).get(parsed.strength_name or "", "")
            name = capitalised(PERTURBATIONS.get(parsed.name, parsed.name))
            row = found.setdefault(name, Row(one.get("description", ""), {}))
            row.images[f"severity{SPACE}{severity}"] = shown
    return found


@section("corrupted", order=79, title="What corruptions look like", needs=lambda view: bool(_rows(view)))
def corrupted(view: View) -> Mapping[str, Any]:
    """Return a page of images for every few corruptions, and what each severity stands for."""
    rows = list(_rows(view).items())
    image = next(iter(rows[0][1].images.values())).example["image"]
    small = len(rows) > MOST_ROWS
    draw, first = (small_corrupted_figure, MOST_SMALL - 1) if small else (corrupted_figure, MOST_ROWS)
    figures, said = [], []
    for place, some in enumerate(_parts(rows, first, MOST_SMALL if small else MOST_ROWS), start=1):
        names = ", ".join(name for name, _ in some)
        alt = f"One radiograph under {counted(len(some), 'corruption')}, each from mild to severe: {names}."
        clean = _clean(view, image) if place == 1 or not small else None
        drawing = draw(clean, {name: row.images for name, row in some})
        figures.append(Figure(key=f"corrupted-{place}", drawing=drawing, alt=alt))
        said.append([_said(name, row.said, at_each=not small) for name, row in some if row.said])
    return {"figures": tuple(figures), "said": said, "small": small}


def _parts(rows: Sequence[tuple[str, Row]], first: int, most: int) -> Iterator[Sequence[tuple[str, Row]]]:
    """Yield the rows of each figure: `first` of them, then `most` at a time."""
    yield rows[:first]
    for place in range(first, len(rows), most):
        yield rows[place : place + most]


def _said(name: str, text: str, *, at_each: bool) -> str:
    """Say what a corruption does, by name; `at_each` with the severities."""
    text = told_of(text if at_each else text.removesuffix(SEVERITIES))
    return text if name.lower() in text.lower() else f"{name}: {text}"


def _clean(view: View, image: str) -> Shown | None:
    for one in view.results.examples:
        if one["image"] == image and one["condition"] == CLEAN and view.images is not None:
            return read_example(one, view.images)
    return None
