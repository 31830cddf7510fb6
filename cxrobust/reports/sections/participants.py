"""Who and what was studied: the flow of images with counts, and a Table 1 in tableone's conventions."""

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from cxrobust.reports.figures.flow import Box, Left, flow_figure
from cxrobust.reports.parts import EMPTY, Cell, Column, Figure, Group, Table
from cxrobust.reports.sections import section
from cxrobust.reports.sources import names_all_patients
from cxrobust.reports.view import View
from cxrobust.reports.words import MINUS, capitalised, compact, count, counted, finding_words, listed, readable

UNITS = {"age": ", years"}
MOST_LISTED = 100
"""Images of a split that were left out and are named; left-out.csv has all."""


@section("participants", order=22, title="Images and patients", documents=("report", "appendix"))
def participants(view: View) -> Mapping[str, Any]:
    """Return the flow of images, and the table of their characteristics by split."""
    boxes = _boxes(view)
    return {
        "name": readable(view.results.data["name"]),
        "flow": Figure(key="flow", drawing=flow_figure(boxes), alt=_alt(boxes)),
        "table_one": Table(key="table-one", columns=_columns(view), groups=tuple(_groups(view)), dense=True),
        "has_characteristics": any(split.get("characteristics") for _, split in _splits(view)),
        "knows_patients": names_all_patients(view),
        "size": view.results.data.get("size"),
        "skipped": _skipped(view),
        "contradictory": _contradictory(view),
        "listed": _listed(view),
    }


def _splits(view: View) -> list[tuple[str, Mapping[str, Any]]]:
    data = view.results.data
    return [("Test", data), *([("Validation", data["validation"])] if "validation" in data else [])]


def _boxes(view: View) -> tuple[Box, ...]:
    """Return the boxes of the flow from the source to what was analysed."""
    data = view.results.data
    name = readable(data["name"])
    left = {why: n for why, n in (data.get("exclusions") or {}).items() if n}
    total = data["n_images"] + sum(left.values())
    regimes, conditions = len(view.regimes), len(view.conditions)
    runs = sum(int(one.get("replicates", 1)) for one in view.results.regimes)
    labelled = [finding["n_labelled"] for finding in view.findings]
    each = (
        count(min(labelled)) if min(labelled) == max(labelled) else f"{count(min(labelled))} to {count(max(labelled))}"
    )
    boxes = [
        Box(lines=(name, counted(total, "image")), left=_left(left)),
        Box(
            lines=(
                "Test images" if "validation" in data else "Images studied",
                f"{counted(data['n_images'], 'image')}{_whose(view, data)}",
                f"labelled for {counted(len(view.findings), 'finding')}: {each} images each"
                if len(view.findings) > 1
                else f"labelled for {finding_words(view.findings[0]['name'])}: {each} images",
            ),
            beside=_validation(view, data.get("validation")),
        ),
        Box(
            lines=(
                "Predicted",
                f"{counted(regimes, 'regime')}{f' ({runs} training runs)' if runs > regimes else ''} × "
                f"{counted(conditions, 'condition')} × {counted(data['n_images'], 'image')}",
            )
        ),
        Box(
            lines=(
                "Analysed",
                f"{counted(data['n_images'], 'image')}{_whose(view, data)} in each cell",
            )
        ),
    ]
    return tuple(boxes)


def _left(exclusions: Mapping[str, int]) -> Left | None:
    if not exclusions:
        return None
    reasons = tuple(f"{count(n)} {readable(why)}" for why, n in exclusions.items())
    return Left(title=f"Left out: {counted(sum(exclusions.values()), 'image')}", reasons=reasons)


def _skipped(view: View) -> str:
    """Say how many images were left out one by one, whose ids stand in no document; empty where there are none."""
    n = sum(split.get("n_skipped", 0) for _, split in _splits(view))
    return counted(n, "image") if n else ""


def _contradictory(view: View) -> tuple[str, ...]:
    """Say how many images are kept whose labels contradict one another, a sentence for each kind and split."""
    splits = _splits(view)
    told = []
    for name, data in splits:
        whole = f"{name.lower()} images" if len(splits) > 1 else "images"
        pooled = ", before those of a study were pooled," if data.get("pooled") else ""
        for what, n in data.get("contradictory", {}).items():
            are = "is kept as it is" if n == 1 else "are kept as they are"
            told.append(f"Of the {whole}{pooled} {count(n)} {readable(what)} {are} labelled.")
    return tuple(told)


def _listed(view: View) -> Table | None:
    """Return the table of images that were left out, where the study wants documents to name them."""
    columns = (
        Column(title="Image", left=True),
        *(Column(title=title, left=True) for title in ("Split", "Left out", "What was found")),
    )
    groups = tuple(
        Group(
            head=readable(one["image"]),
            rows=((Cell(text=split), Cell(text=one["reason"]), Cell(text=readable(one["detail"]), look="note")),),
        )
        for split, data in _splits(view)
        for one in data.get("skipped", ())[:MOST_LISTED]
    )
    return Table(key="skipped-images", columns=columns, groups=groups, dense=True) if groups else None


def _whose(view: View, data: Mapping[str, Any]) -> str:
    return f" of {counted(data['n_patients'], 'patient')}" if names_all_patients(view) else ""


def _validation(view: View, data: Mapping[str, Any] | None) -> tuple[str, ...]:
    if data is None:
        return ()
    return (
        "Validation images",
        f"{count(data['n_images'])}{_whose(view, data)}",
        "clean" if view.fixed_operating_point is not None else "clean, for operating points",
    )


def _alt(boxes: Sequence[Box]) -> str:
    said = []
    for box in boxes:
        said.append(", ".join(box.lines))
        if box.left is not None:
            said.append(f"{box.left.title} ({listed(box.left.reasons)})")
        if box.beside:
            said.append(f"beside them {', '.join(box.beside)}")
    return f"Flow of images: {'; then '.join(said)}."


def _columns(view: View) -> tuple[Column, ...]:
    splits = _splits(view)
    titles = []
    for place, (name, _) in enumerate(splits):
        before = f"{name} " if len(splits) > 1 else ""
        titles += [
            Column(title=capitalised(f"{before}images".lower()), under="n (%)", apart=place > 0),
            *(
                [Column(title=capitalised(f"{before}patients".lower()), under="n (%)")]
                if names_all_patients(view)
                else []
            ),
            Column(title="Missing", under="images", alone=capitalised(f"{before}missing".lower())),
        ]
    return (Column(title="Characteristic", left=True), Column(title="Measure or level", left=True), *titles)


def _groups(view: View) -> Iterator[Group]:
    splits = [split for _, split in _splits(view)]
    known = names_all_patients(view)
    yield Group(head="All", rows=((EMPTY, *_flat([_all(split) for split in splits], known)),))
    if known:
        yield Group(
            head="Images a patient",
            rows=((Cell(text="median (range)"), *_flat([_per_patient(split) for split in splits], known)),),
        )
    for column in dict.fromkeys(one["column"] for split in splits for one in split.get("characteristics") or ()):
        yield from _characteristic(column, [_of(split, column) for split in splits], splits, known)
    yield Group(
        head="Positive for", rows=tuple(_finding_row(finding["name"], splits, known) for finding in view.findings)
    )


def _flat(parts: Sequence[tuple[Cell, Cell, Cell]], known: bool) -> tuple[Cell, ...]:
    """Return the cells of all splits, those of patients where the data name them."""
    return tuple(cell for part in parts for place, cell in enumerate(part) if known or place != 1)


def _all(split: Mapping[str, Any]) -> tuple[Cell, Cell, Cell]:
    return Cell(text=count(split["n_images"])), Cell(text=count(split["n_patients"])), EMPTY


def _per_patient(split: Mapping[str, Any]) -> tuple[Cell, Cell, Cell]:
    if "images_per_patient" not in split:
        return EMPTY, EMPTY, EMPTY
    low, middle, high = split["images_per_patient"]
    return EMPTY, Cell(text=f"{compact(middle)} ({compact(low)} to {compact(high)})", alone=True), EMPTY


def _of(split: Mapping[str, Any], column: str) -> Mapping[str, Any] | None:
    return next((one for one in split.get("characteristics") or () if one["column"] == column), None)


def _characteristic(
    column: str,
    found: Sequence[Mapping[str, Any] | None],
    splits: Sequence[Mapping[str, Any]],
    known: bool,
) -> Iterator[Group]:
    head = capitalised(readable(column.replace("_", " "))) + UNITS.get(column, "")
    if any(one is not None and "quartiles" in one["images"] for one in found):
        digits = _digits([value for one in found if one is not None for value in _quartiles(one)])
        cells = _flat([_numbers(one, digits) for one in found], known)
        yield Group(head=head, rows=((Cell(text="median (quartiles)"), *cells),))
        return
    levels = dict.fromkeys(level for one in found if one is not None for level in one["images"]["levels"])
    rows = []
    for place, level in enumerate(levels):
        cells = _flat(
            [_level(one, split, level, first=place == 0) for one, split in zip(found, splits, strict=True)], known
        )
        rows.append((Cell(text=readable(level)), *cells))
    if rows:
        yield Group(head=head, rows=tuple(rows))


def _quartiles(one: Mapping[str, Any]) -> list[float]:
    """Return the quartiles of images and of patients, without those that there are none of."""
    return [value for whose in ("images", "patients") for value in one[whose].get("quartiles") or ()]


def _digits(values: Sequence[float]) -> int:
    """Return the decimals that all values of a row have: none for whole ones, else so many that the largest has 3 digits."""
    largest = max(map(abs, values), default=0.0)
    most = max(0, 2 - math.floor(math.log10(largest))) if largest else 0
    return next(k for k in range(most + 1) if all(round(value, k) == round(value, most) for value in values))


def _number(value: float, digits: int) -> str:
    return f"{round(value, digits) + 0.0:,.{digits}f}".replace("-", MINUS)


def _numbers(one: Mapping[str, Any] | None, digits: int) -> tuple[Cell, Cell, Cell]:
    if one is None:
        return EMPTY, EMPTY, EMPTY

    def said(summary: Mapping[str, Any]) -> Cell:
        if summary.get("quartiles") is None:
            return EMPTY
        low, middle, high = (_number(value, digits) for value in summary["quartiles"])
        return Cell(text=f"{middle} ({low} to {high})", alone=True)

    return said(one["images"]), said(one["patients"]), Cell(text=count(one["images"]["n_missing"]))


def _level(
    one: Mapping[str, Any] | None, split: Mapping[str, Any], level: str, *, first: bool
) -> tuple[Cell, Cell, Cell]:
    if one is None or "levels" not in one["images"]:
        return EMPTY, EMPTY, EMPTY
    cells = []
    for unit, total in (("images", split["n_images"]), ("patients", split["n_patients"])):
        n = one[unit]["levels"].get(level, 0)
        cells.append(_share(n, total - one[unit]["n_missing"]))
    return cells[0], cells[1], Cell(text=count(one["images"]["n_missing"])) if first else EMPTY


def _finding_row(name: str, splits: Sequence[Mapping[str, Any]], known: bool) -> tuple[Cell, ...]:
    found = [next((one for one in split["findings"] if one["name"] == name), None) for split in splits]
    cells = [_finding(one, split) for one, split in zip(found, splits, strict=True)]
    return Cell(text=finding_words(name)), *_flat(cells, known)


def _finding(one: Mapping[str, Any] | None, split: Mapping[str, Any]) -> tuple[Cell, Cell, Cell]:
    if one is None:
        return EMPTY, EMPTY, EMPTY
    patients = one.get("n_labelled_patients", split["n_patients"])
    return (
        _share(one["n_positive"], one["n_labelled"]),
        _share(one["n_positive_patients"], patients),
        Cell(text=count(split["n_images"] - one["n_labelled"])),
    )


def _share(part: int, whole: int) -> Cell:
    return Cell(text=f"{count(part)} ({100 * part / whole:.1f})" if whole else count(part))
