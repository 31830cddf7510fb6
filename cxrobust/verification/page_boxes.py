"""Where things are on a page: boxes in millimetres, and the matrices by which a page moves what it draws."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

MM = 25.4 / 72
"""How long one of a page's own units is."""

Matrix = tuple[float, float, float, float, float, float]
Point = tuple[float, float]
IDENTITY: Matrix = (1, 0, 0, 1, 0, 0)


@dataclass(frozen=True, slots=True)
class Box:
    """An extent on a page, in mm from its left and top edges."""

    left: float
    top: float
    right: float
    bottom: float

    @property
    def is_empty(self) -> bool:
        """Whether nothing is in it."""
        return self.left >= self.right or self.top >= self.bottom

    def within(self, other: "Box") -> "Box":
        """Return what both share."""
        return Box(
            max(self.left, other.left),
            max(self.top, other.top),
            min(self.right, other.right),
            min(self.bottom, other.bottom),
        )

    def wider(self, by: float) -> "Box":
        """Return it with a rim."""
        return Box(self.left - by, self.top - by, self.right + by, self.bottom + by)


EVERYWHERE = Box(-1e9, -1e9, 1e9, 1e9)
NOWHERE = Box(0, 0, 0, 0)


def box_of(points: list[Point], height: float) -> Box:
    """Return the extent of points given in the page's own units."""
    if not points:
        return NOWHERE
    across, up = [x for x, _ in points], [y for _, y in points]
    return Box(min(across) * MM, (height - max(up)) * MM, max(across) * MM, (height - min(up)) * MM)


def through(point: Point, matrix: Matrix) -> Point:
    """Return where a matrix moves a point."""
    a, b, c, d, e, f = matrix
    x, y = point
    return a * x + c * y + e, b * x + d * y + f


def matrix_of(operands: Iterable[Any]) -> Matrix:
    """Return the matrix that six operands of a PDF's operator are."""
    a, b, c, d, e, f = (float(one) for one in operands)
    return (a, b, c, d, e, f)


def times(first: Matrix, then: Matrix) -> Matrix:
    """Return the matrix that moves as `first` does, and on as `then` does."""
    a, b, c, d, e, f = first
    g, h, i, j, k, m = then
    return (a * g + b * i, a * h + b * j, c * g + d * i, c * h + d * j, e * g + f * i + k, e * h + f * j + m)
