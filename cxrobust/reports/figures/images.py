"""Images: a sheet of test images, and images before and after a perturbation."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure as Canvas
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError

from cxrobust.files import sha256_file
from cxrobust.reports.figures.layout import H_PAD, SPACE, W_PAD, rooms
from cxrobust.reports.figures.style import QUIET, canvas, drawn, is_narrow
from cxrobust.reports.words import finding_words, listed, number, shortened

Pixels = NDArray[np.float64]
"""(height, width) in [0, 1]."""

MOST_PIXELS = 480
"""Longest side at which an image is printed: about 300 to the inch."""
SHEET_COLUMNS, NARROW_COLUMNS = 6, 3
PAIR_COLUMNS = 6
"""Columns that the width of a page is divided into, used or not."""
MOST_SIDE = 29.0
"""Largest side of a picture in mm, so that a sheet and the corruptions stand on one page."""
HEADS = 10.3
"""Room in points for the names above pairs, beside that between places and their pictures."""
FACTORS = (1, 2, 5, 10, 20, 50, 100, 200)


@dataclass(frozen=True, kw_only=True, slots=True)
class Shown:
    """An example image that was read."""

    example: Mapping[str, Any]
    pixels: Pixels


@dataclass(frozen=True, kw_only=True, slots=True)
class Pair:
    """One image, clean and as one regime's perturbation left it."""

    regime: str
    clean: Shown
    perturbed: Shown


def read_example(example: Mapping[str, Any], folder: Path) -> Shown | None:
    """Read an example image of 8 or 16 bits; None when it is missing, unreadable or not the one that was recorded."""
    path = folder / example["file"]
    try:
        if sha256_file(path) != example["sha256"]:
            return None
        with Image.open(path) as image:
            values = np.asarray(image, dtype=np.float64) / (65535 if image.mode.startswith("I") else 255)
    except (OSError, UnidentifiedImageError):
        return None
    return Shown(example=example, pixels=_reduced(values if values.ndim == 2 else values[..., :3].mean(axis=2)))


def _reduced(pixels: Pixels) -> Pixels:
    """Average whole blocks of pixels until the longest side is no more than `MOST_PIXELS`."""
    block = math.ceil(max(pixels.shape) / MOST_PIXELS)
    if block == 1:
        return pixels
    height, width = (side // block for side in pixels.shape)
    blocks = pixels[: height * block, : width * block].reshape(height, block, width, block)
    return np.asarray(blocks.mean(axis=(1, 3)), dtype=np.float64)


def whole_names(names: Sequence[str], *, most: int) -> str:
    """Return names for a line of so many letters: as many as fit whole, and how many more there are.

    >>> whole_names(["Effusion", "Infiltration", "Pneumothorax"], most=26)
    'Effusion and 2 more'
    """
    for n in range(len(names), 0, -1):
        rest = len(names) - n
        said = listed(names) if not rest else f"{', '.join(names[:n])} and {rest} more"
        if len(said) <= most:
            return said
    return shortened(names[0], most=most if len(names) == 1 else most - 8) + (
        f" and {len(names) - 1} more" if names[1:] else ""
    )


@drawn
def sheet_figure(width: float, images: Sequence[Shown]) -> Canvas:
    """Draw test images side by side, each with its findings."""
    most = NARROW_COLUMNS if is_narrow(width) else SHEET_COLUMNS
    columns = min(most, len(images))
    rows = math.ceil(len(images) / columns)
    side = min(width / most, MOST_SIDE)
    figure = canvas(side * columns, rows * (side + 3.5) + 3)
    grid = places(figure, rows, columns, top=3 * 72 / 25.4)  # room for the first row's notes
    for place, one in zip(grid.flat, images, strict=False):
        names = [finding_words(finding) for finding in one.example["findings"]] or ["no finding"]
        _note(show(place, one.pixels), whole_names(names, most=26))
    return figure


@drawn
def corrupted_figure(width: float, clean: Shown | None, rows: Mapping[str, Mapping[str, Shown]]) -> Canvas:
    """Draw one image a row for each corruption: as it is, then at each severity.

    Parameters
    ----------
    rows
        By the corruption's name, then by severity as written.
    """
    severities = sorted({severity for row in rows.values() for severity in row})
    first = int(clean is not None)
    columns = first + len(severities)
    side = min(width / max(columns, PAIR_COLUMNS), MOST_SIDE)
    figure = canvas(side * columns, len(rows) * (side + 4) + 3)
    for line, (name, row) in zip(places(figure, len(rows), columns), rows.items(), strict=True):
        shown = [clean] * first + [row.get(severity) for severity in severities]
        filled = [show(place, one.pixels) if one else place for place, one in zip(line, shown, strict=True)]
        _note(filled[0], shortened(name))
        for place, severity in zip(filled[first:], severities, strict=True):
            if severity in row:
                stated = row[severity].example.get("stated")
                told = f"{severity}: {stated}" if stated else severity
                _note(place, told if first or place is not filled[0] else f"{shortened(name)}, {severity}")
    return figure


@drawn
def small_corrupted_figure(width: float, clean: Shown | None, rows: Mapping[str, Mapping[str, Shown]]) -> Canvas:
    """Draw one image for each corruption, at each severity, two corruptions in a row, after the image as it is.

    Parameters
    ----------
    rows
        By the corruption's name, then by severity as written.
    """
    severities = sorted({severity for row in rows.values() for severity in row})
    blocks: list[tuple[str, list[Shown | None]]] = [] if clean is None else [("As it is", [clean])]
    blocks += [(name, [row.get(severity) for severity in severities]) for name, row in rows.items()]
    lines, columns = math.ceil(len(blocks) / 2), 2 * len(severities) + 1
    side, narrow = min(width / columns, MOST_SIDE), is_narrow(width)
    figure = canvas(side * columns, lines * (side + 6.5) + 2)
    grid = places(figure, lines, columns)
    for at, (name, images) in enumerate(blocks):
        first = (at % 2) * (len(severities) + 1)
        line = [
            show(place, shown.pixels, low=True) if shown is not None else place  # below the name and the value
            for place, shown in zip(grid[at // 2, first:], images, strict=False)
        ]
        _write(line[0], shortened(name), above=3 if narrow else 9, weight="semibold")
        for place, shown in zip(line, images, strict=True):
            if shown is not None:
                _note(place, "" if narrow else str(shown.example.get("stated") or ""), size=5.5)
    return figure


@drawn
def pairs_figure(width: float, rows: Sequence[Sequence[Pair]]) -> Canvas:
    """Draw one image a row: clean, then for each regime the perturbed image and the magnified difference."""
    columns = 1 + 2 * max(len(row) for row in rows)
    narrow = is_narrow(width)
    side = min(width / (columns if narrow else max(columns, PAIR_COLUMNS)), MOST_SIDE)
    size, most = (5.0, 15) if narrow else (6.5, 24)
    figure = canvas(side * columns, len(rows) * (side + 4) + 4)
    grid = places(figure, len(rows), columns, heads=HEADS)
    factor = magnification([pair for row in rows for pair in row])
    for at, (line, row) in enumerate(zip(grid, rows, strict=True)):
        clean = row[0].clean
        filled = show(line[0], clean.pixels)
        named = _first_finding(clean)
        _note(filled, shortened(finding_words(named), most=most) if named else "no finding", size=size)
        heads = [(filled, "Clean")]
        for place, pair in enumerate(row):
            filled = show(line[1 + 2 * place], pair.perturbed.pixels)
            _note(filled, _probabilities(pair, named), size=size)
            heads.append((filled, shortened(pair.regime)))
            magnified = np.clip(0.5 + factor * (pair.perturbed.pixels - pair.clean.pixels), 0, 1)
            _note(show(line[2 + 2 * place], magnified), f"difference × {factor}", size=size)
        for filled, head in heads if at == 0 else ():
            _write(filled, head, above=10, weight="semibold")
    return figure


def magnification(pairs: Sequence[Pair]) -> int:
    """Return the factor, of a few round ones, at which the largest difference about fills the grey scale.

    Examples
    --------
    >>> magnification([])
    1
    """
    largest = max((float(np.abs(pair.perturbed.pixels - pair.clean.pixels).max()) for pair in pairs), default=1.0)
    return next((factor for factor in reversed(FACTORS) if factor * largest <= 0.51), 1)


def _first_finding(shown: Shown) -> str | None:
    return next(iter(shown.example["findings"]), None)


def _probabilities(pair: Pair, finding: str | None) -> str:
    before = pair.clean.example["probabilities"].get(finding)
    after = pair.perturbed.example["probabilities"].get(finding)
    if before is None or after is None:
        return "perturbed"
    return f"p {number(before, digits=2)} → {number(after, digits=2)}"


@dataclass(frozen=True, kw_only=True, slots=True)
class Place:
    """Where a picture stands, in points from the lower left of its figure.

    All pictures stand in one axes: matplotlib takes longer for an axes than for a picture.
    """

    axes: Axes
    left: float
    bottom: float
    width: float
    height: float

    @property
    def top(self) -> float:
        """Its upper side."""
        return self.bottom + self.height


def places(figure: Canvas, rows: int, columns: int, *, top: float = 0.0, heads: float = 0.0) -> Any:
    """Return an array (rows, columns) of places for pictures; `heads` is room above the first row, within the layout."""
    width, height = (72 * float(side) for side in figure.get_size_inches())
    axes = figure.add_axes((0, 0, 1, 1), xlim=(0, width), ylim=(0, height))
    axes.set_axis_off()
    none, above = np.zeros(columns), np.array([heads, *[0.0] * (rows - 1)])
    across = rooms(width, none, none, outer=W_PAD, inner=max(W_PAD, SPACE / 2 / columns * width))
    down = rooms(height - top, above, np.zeros(rows), outer=H_PAD, inner=max(H_PAD, SPACE / 2 / rows * height))
    found = [
        [Place(axes=axes, left=x, bottom=height - top - y - high, width=wide, height=high) for x, wide in across]
        for y, high in down
    ]
    return np.array(found, dtype=object)


def show(place: Place, pixels: Pixels, *, low: bool = False) -> Place:
    """Show an image as large as a place lets it be, in its middle, or if `low` at its foot; return where it stands."""
    height, width = pixels.shape
    scale = min(place.width / width, place.height / height)
    filled = Place(
        axes=place.axes,
        left=place.left + (place.width - scale * width) / 2,
        bottom=place.bottom + (0 if low else (place.height - scale * height) / 2),
        width=scale * width,
        height=scale * height,
    )
    place.axes.imshow(
        np.rint(pixels * 255).astype(np.uint8),
        cmap="gray",
        vmin=0,
        vmax=255,
        interpolation="none",
        aspect="auto",
        extent=(filled.left, filled.left + filled.width, filled.bottom, filled.top),
    )
    return filled


def _note(place: Place, text: str, *, size: float = 6.5) -> None:
    """Write what an image shows above it."""
    _write(place, text, above=0.015 * place.height, fontsize=size, va="bottom", color=QUIET)


def _write(place: Place, text: str, *, above: float, **options: Any) -> None:
    place.axes.text(place.left, place.top + above, text, **options)
