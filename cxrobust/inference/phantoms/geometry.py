"""The chest's own frame on a pixel grid, and outlines as tables along it.

`t` runs down the chest: 0 at the apex of the lungs, 1 at the costophrenic angles. `a` is the distance from the
midline in image widths. An outline is a table over `t` or `a`, right side first and left side second, so that one
look-up draws both.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray
from scipy.interpolate import CubicSpline

from cxrobust.inference.phantoms.patients import Visit

Array = NDArray[np.float32]
Table = NDArray[np.float64]
F = np.float32

ROWS, COLUMNS = 1024, 512
TOP, BOTTOM = -0.35, 1.55
REACH = 0.8
T_AXIS: Table = np.linspace(TOP, BOTTOM, ROWS)
A_AXIS: Table = np.linspace(0, REACH, COLUMNS)


@dataclass(frozen=True, kw_only=True, slots=True)
class Chest:
    """A visit on its pixel grid; every array is (size, size)."""

    visit: Visit
    size: int
    pixel: float
    x: Array
    """Signed distance from the spine, the patient's left positive."""
    a: Array
    t: Array
    left: NDArray[np.bool_]
    row: NDArray[np.int64]
    """Index of `t` in a table of one side."""
    side_row: NDArray[np.int64]
    column: NDArray[np.int64]
    height: float
    """From t = 0 to t = 1, in image widths."""
    wall: Array
    """Half-width of the thoracic cage at each pixel's `t`."""
    u: Array
    """`a` as a share of `wall`."""

    def along(self, right: Table, left: Table | None = None) -> Array:
        """Look up a table over `t`, of the pixel's own side."""
        return look_up(right, self.row) if left is None else look_up(np.concatenate([right, left]), self.side_row)

    def across(self, right: Table, left: Table) -> Array:
        """Look up a table over `a`, of the pixel's own side."""
        return look_up(np.concatenate([right, left]), self.column)

    def rows(self, t_from: float, t_to: float) -> slice:
        """Return the rows of pixels that hold every `t` between two, whatever the patient's tilt."""
        pose = self.visit.pose
        cos, sin = np.cos(pose.turn), abs(np.sin(pose.turn))
        apex = self.visit.patient.anatomy.apex_height - 0.45
        tilt = (0.5 + abs(pose.shift[0])) * sin
        low = ((t_from * self.height + apex) * pose.scale - tilt) / cos + 0.45 + pose.shift[1]
        high = ((t_to * self.height + apex) * pose.scale + tilt) / cos + 0.45 + pose.shift[1]
        return _span(low, high, self.size)

    def columns(self, x_from: float, x_to: float) -> slice:
        """Return the columns of pixels that hold every `x` between two, whatever the patient's tilt and curve."""
        pose = self.visit.pose
        tilt = 0.6 * abs(np.sin(pose.turn)) + abs(self.visit.patient.anatomy.scoliosis)
        low = (x_from - tilt) * pose.scale + 0.5 + pose.shift[0]
        high = (x_to + tilt) * pose.scale + 0.5 + pose.shift[0]
        return _span(low, high, self.size)


def look_up(table: Table, index: NDArray[np.int64]) -> Array:
    """Read a table; the clip is never reached, it only spares a check."""
    return table.astype(F).take(index, mode="clip")


def _span(low: float, high: float, size: int) -> slice:
    return slice(max(0, int(low * size) - 1), max(0, int(high * size) + 2))


def stand(visit: Visit, size: int) -> Chest:
    """Place a visit's chest on a grid of `size` × `size` pixels."""
    anatomy, pose = visit.patient.anatomy, visit.pose
    across, down = _grid(size)
    cos, sin = F(np.cos(pose.turn) / pose.scale), F(np.sin(pose.turn) / pose.scale)
    across = across - F(pose.shift[0])
    down = down - F(0.45 + pose.shift[1])
    height = anatomy.lung_height + 0.022 * pose.inspiration
    t = (down * cos - across * sin + F(0.45 - anatomy.apex_height)) * F(1 / height)
    row = row_of(t)
    curve = anatomy.scoliosis * np.sin(np.pi * (1.6 * T_AXIS - 0.2))
    x = across * cos + down * sin
    x -= curve.astype(F).take(row, mode="clip")
    left = x > 0
    a: Array = np.abs(x)
    column = np.minimum(a * F((COLUMNS - 1) / REACH), F(COLUMNS - 1)).astype(np.int64)
    wall = (anatomy.chest_half_width * WALL).astype(F).take(row, mode="clip")
    return Chest(
        visit=visit,
        size=size,
        pixel=1 / size,
        x=x,
        a=a,
        t=t,
        left=left,
        row=row,
        side_row=row + left * np.int64(ROWS),
        column=column + left * np.int64(COLUMNS),
        height=height,
        wall=wall,
        u=a / wall,
    )


def row_of(t: Array) -> NDArray[np.int64]:
    """Return the index of each `t` in a table along the chest."""
    place = t - F(TOP)
    place *= F((ROWS - 1) / (BOTTOM - TOP))
    np.maximum(place, F(0), out=place)
    np.minimum(place, F(ROWS - 1), out=place)
    return place.astype(np.int64)


APEX = 0.36
"""Half-width of the thoracic cage at the apex, as a share of its greatest."""


def wall(t: Table) -> Table:
    """Half-width of the thoracic cage at `t`, as a share of its greatest."""
    s = np.clip(t, 0.0, 1.0)
    share: Table = APEX + (1 - APEX) * (1 - (1 - s) ** 2.2) ** 0.62
    return share


WALL = wall(T_AXIS)


def spline(knots: tuple[float, ...], values: Sequence[float]) -> Table:
    """Return a table over `t` that runs smoothly through values at fixed knots."""
    table: Table = _basis(knots) @ np.asarray(values)
    return table


def ramp(distance: Array, soft: float) -> Array:
    """Return a smooth edge: 0 below `-soft`, 1 above `soft`."""
    s = distance * F(0.5 / soft)
    s += F(0.5)
    np.maximum(s, F(0), out=s)
    np.minimum(s, F(1), out=s)
    smooth: Array = F(3) - (s + s)
    smooth *= s
    smooth *= s
    return smooth


def bump(distance: Array, sd: float) -> Array:
    """Return a Gaussian of height 1."""
    square = distance * distance
    square *= F(-0.5 / sd**2)
    height: Array = np.exp(square, out=square)
    return height


def ridge(distance: Array, sd: float, pixel: float) -> Array:
    """Return a thin line: Gaussian across, of the same area whatever the pixel."""
    soft = float(np.hypot(sd, 0.4 * pixel))
    line = bump(distance, soft)
    line *= F(sd / soft)
    return line


def vault(square: Array) -> Array:
    """Return the thickness of a round body, 1 at its centre: sqrt(1 − r²) from `square` = r²."""
    inside = F(1) - square
    np.maximum(inside, F(0), out=inside)
    thickness: Array = np.sqrt(inside, out=inside)
    return thickness


@lru_cache(maxsize=8)
def _grid(size: int) -> tuple[Array, Array]:
    centres = ((np.arange(size) + 0.5) / size).astype(F)
    return centres[None, :] - F(0.5), centres[:, None]


@lru_cache(maxsize=8)
def _basis(knots: tuple[float, ...]) -> Table:
    at = np.clip(T_AXIS, knots[0], knots[-1])
    basis: Table = CubicSpline(knots, np.eye(len(knots)), bc_type="natural")(at)
    return basis
