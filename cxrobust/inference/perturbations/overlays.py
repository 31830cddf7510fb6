"""What lies over the chest: markers and text of the technician, tubes and wires of the patient."""

from collections.abc import Sequence
from typing import ClassVar, Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from cxrobust.inference.perturbations import perturbation
from cxrobust.inference.perturbations.corruption import Corruption

MARKERS = ("L", "R", "PORTABLE", "AP", "SUPINE", "ERECT", "07:45", "SEMI-UPRIGHT", "ICU 3", "90 kV")
Box = tuple[float, float, float, float]
"""Left, top, right, bottom."""
TEXT = (4.0, 8.0)
"""Least and greatest size of the font, in per cent of the image's side; so are the widths that follow."""
TUBE = (1.2, 2.2)
WIRE = 0.5
ELECTRODE = 3.6
"""Across."""
FINER = 4
"""Lines are drawn so many times larger and averaged, so that they have smooth edges."""


@perturbation("markers")
class Markers(Corruption):
    """Lead letters and burnt-in text along the borders."""

    corruption: Literal["markers"]
    values: ClassVar[tuple[float, ...]] = (1, 2, 3, 4, 6)
    lengths: ClassVar[tuple[float, ...]] = TEXT
    said: ClassVar[str] = (
        "{values} bright markers or pieces of text along the borders, in letters of "
        f"{TEXT[0]:g} to {TEXT[1]:g} % of the image's side{{pixels}}"
    )
    stated: ClassVar[str] = "{value} written"

    def corrupt(self, image: NDArray[np.float32], rng: np.random.Generator) -> NDArray[np.float32]:
        """Write `value` texts at random places near the border, letters at the sides too, apart where there is room."""
        height, width = image.shape
        layer = Image.new("L", (width * FINER, height * FINER), 0)
        pen, taken = ImageDraw.Draw(layer), list[Box]()
        for text in map(str, rng.choice(MARKERS, size=int(self.value), replace=False)):
            font = ImageFont.load_default(size=FINER * height * rng.uniform(*TEXT) / 100)
            left, top, right, bottom = pen.textbbox((0, 0), text, font=font)
            box = _place(layer.size, (right - left, bottom - top), taken, is_letter=len(text) == 1, rng=rng)
            pen.text((box[0] - left, box[1] - top), text, fill=255, font=font)
            taken.append(box)
        return _laid_over(image, layer, brightness=float(rng.uniform(0.85, 1.0)), opacity=0.95)


@perturbation("tubes-and-wires")
class TubesAndWires(Corruption):
    """Curved tubes with a radio-opaque line, and thin wires that end in an electrode."""

    corruption: Literal["tubes-and-wires"]
    values: ClassVar[tuple[float, ...]] = (1, 2, 3, 5, 8)
    lengths: ClassVar[tuple[float, ...]] = (*TUBE, WIRE, ELECTRODE)
    said: ClassVar[str] = (
        f"{{values}} drawn tubes, {TUBE[0]:g} to {TUBE[1]:g} % of the image's side wide, or wires, {WIRE:g} % wide "
        f"with an electrode of {ELECTRODE:g} % across, over the chest{{pixels}}"
    )
    stated: ClassVar[str] = "{value} drawn"

    def corrupt(self, image: NDArray[np.float32], rng: np.random.Generator) -> NDArray[np.float32]:
        """Draw `value` tubes or wires, each at random."""
        for _ in range(int(self.value)):
            image = _tube(image, rng) if rng.random() < 0.5 else _wire(image, rng)
        return image


def _place(
    whole: tuple[int, int],
    size: tuple[float, float],
    taken: Sequence[Box],
    *,
    is_letter: bool,
    rng: np.random.Generator,
) -> Box:
    """Return where a text of a size stands; the last of 20 tries where each meets another text."""
    for _ in range(20):
        edge, along = rng.uniform(0.01, 0.12), rng.uniform(0.02, 0.98)
        across = 1 - edge if rng.random() < 0.5 else edge
        x, y = (across, along) if is_letter and rng.random() < 0.5 else (along, across)
        left, top = x * (whole[0] - size[0]), y * (whole[1] - size[1])
        box = (left, top, left + size[0], top + size[1])
        if not any(box[0] < r and left_ < box[2] and box[1] < b and t < box[3] for left_, t, r, b in taken):
            break
    return box


def _tube(image: NDArray[np.float32], rng: np.random.Generator) -> NDArray[np.float32]:
    """Lay a tube from the upper or a side border to somewhere in the middle over the image."""
    start = np.array([rng.uniform(0.3, 0.7), 0.0]) if rng.random() < 0.6 else np.array([rng.choice([0.0, 1.0]), 0.3])
    path = _curve(start, np.array([rng.uniform(0.35, 0.65), rng.uniform(0.4, 0.75)]), rng)
    width = rng.uniform(*TUBE) / 100
    wall = _drawn(image.shape, path, width)
    line = _drawn(image.shape, path + np.array([width / 3, 0]), width / 5)
    return _laid_over(_laid_over(image, wall, brightness=0.9, opacity=0.25), line, brightness=1.0, opacity=0.6)


def _wire(image: NDArray[np.float32], rng: np.random.Generator) -> NDArray[np.float32]:
    """Lay a wire from a border to an electrode over the image."""
    side = rng.choice([0.0, 1.0])
    end = np.array([rng.uniform(0.15, 0.85), rng.uniform(0.15, 0.8)])
    layer = _drawn(image.shape, _curve(np.array([side, rng.uniform(0.2, 1.0)]), end, rng), WIRE / 100)
    pen, radius = ImageDraw.Draw(layer), ELECTRODE / 200 * layer.height
    x, y = end[0] * layer.width, end[1] * layer.height
    pen.ellipse((x - radius, y - radius, x + radius, y + radius), fill=255)
    return _laid_over(image, layer, brightness=1.0, opacity=0.7)


def _curve(start: NDArray[np.float64], end: NDArray[np.float64], rng: np.random.Generator) -> NDArray[np.float64]:
    """Return points of a cubic Bézier curve between two, (80, 2) as shares of the sides."""
    first, second = (start + share * (end - start) + rng.normal(0, 0.08, 2) for share in (1 / 3, 2 / 3))
    t = np.linspace(0, 1, 80)[:, None]
    return np.asarray((1 - t) ** 3 * start + 3 * (1 - t) ** 2 * t * first + 3 * (1 - t) * t**2 * second + t**3 * end)


def _drawn(shape: tuple[int, ...], path: NDArray[np.float64], width: float) -> Image.Image:
    layer = Image.new("L", (shape[1] * FINER, shape[0] * FINER), 0)
    points = [(float(x * layer.width), float(y * layer.height)) for x, y in path]
    ImageDraw.Draw(layer).line(points, fill=255, width=max(1, round(width * layer.height)), joint="curve")
    return layer


def _laid_over(
    image: NDArray[np.float32], layer: Image.Image, *, brightness: float, opacity: float
) -> NDArray[np.float32]:
    """Return the image with the drawn layer over it; where an image is brighter than what is drawn it stays."""
    small = layer.resize((image.shape[1], image.shape[0]), Image.Resampling.BOX)
    share = opacity * np.asarray(small, dtype=np.float32) / 255
    return np.asarray(np.maximum(image, (1 - share) * image + share * brightness), dtype=np.float32)
