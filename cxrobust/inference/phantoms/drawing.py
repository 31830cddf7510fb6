"""From a visit to pixels: projected thicknesses of air, tissue and bone, then scatter, noise and the tone curve."""

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray
from scipy.interpolate import CubicSpline
from scipy.ndimage import gaussian_filter, gaussian_filter1d

from cxrobust.inference.phantoms.patients import FINDINGS, Visit
from cxrobust.inference.phantoms.textures import N_TREES, noise_tile, polar_index, vessel_trees

Array = NDArray[np.float32]
F = np.float32

ROWS = 1024
TOP, BOTTOM = -0.35, 1.55
"""Span of the tables along the chest's own axis `t`: 0 at the apex of the lungs, 1 at the costophrenic angle."""
COLUMNS = 512
REACH = 0.8
"""Span of the tables across: distance from the midline in image widths."""
T_AXIS = np.linspace(TOP, BOTTOM, ROWS)
A_AXIS = np.linspace(0, REACH, COLUMNS)

ATELECTASIS, CARDIOMEGALY, CONSOLIDATION, EDEMA, EFFUSION, NODULE, PNEUMOTHORAX = range(len(FINDINGS))


def draw(visit: Visit, size: int) -> Array:
    """Return a visit's image, shape (size, size) float32 in [0, 1]; bright is dense, the background is black.

    Drawn in unit coordinates, so two sizes show the same image but for the detector's noise.
    """
    chest = _chest(visit, size)
    thickness = _soft_tissue(chest)
    thickness += _lungs(chest)
    _bones(chest, thickness)
    _lines(chest, thickness)
    return _develop(chest, thickness)


@dataclass(frozen=True, kw_only=True, slots=True)
class _Chest:
    """A visit on its pixel grid: coordinates in the patient's frame and the tables' indices."""

    visit: Visit
    size: int
    pixel: float
    x: Array
    """Signed distance from the spine, the patient's left positive."""
    a: Array
    t: Array
    left: NDArray[np.bool_]
    row: NDArray[np.intp]
    """Index of `t` in tables along the chest; the second half of a table is the left side."""
    column: NDArray[np.intp]
    apex: float
    height: float
    width: float


@lru_cache(maxsize=8)
def _grid(size: int) -> tuple[Array, Array]:
    centres = ((np.arange(size) + 0.5) / size).astype(F)
    return centres[None, :] - F(0.5), centres[:, None]


def _chest(visit: Visit, size: int) -> _Chest:
    anatomy, pose = visit.patient.anatomy, visit.pose
    across, down = _grid(size)
    cos, sin = np.cos(pose.turn) / pose.scale, np.sin(pose.turn) / pose.scale
    x = (across - F(pose.shift[0])) * F(cos) + (down - F(0.45 + pose.shift[1])) * F(sin)
    y = (down - F(0.45 + pose.shift[1])) * F(cos) - (across - F(pose.shift[0])) * F(sin) + F(0.45)
    height = anatomy.lung_height + 0.022 * pose.inspiration
    apex = anatomy.apex_height
    t = (y - F(apex)) * F(1 / height)
    row = np.clip((t - F(TOP)) * F((ROWS - 1) / (BOTTOM - TOP)), 0, ROWS - 1).astype(np.int32)
    curve = anatomy.scoliosis * np.sin(np.pi * (1.6 * T_AXIS - 0.2))
    x = x - curve.astype(F)[row]
    left = x > 0
    a = np.abs(x)
    column = np.minimum(a * F((COLUMNS - 1) / REACH), COLUMNS - 1).astype(np.int32)
    return _Chest(
        visit=visit, size=size, pixel=1 / size, x=x, a=a, t=t, left=left, row=row + ROWS * left,
        column=column + COLUMNS * left, apex=apex, height=height, width=anatomy.chest_half_width,
    )


def _both(right: NDArray[np.float64], left: NDArray[np.float64]) -> Array:
    return np.concatenate([right, left]).astype(F)


@lru_cache(maxsize=4)
def _basis(knots: tuple[float, ...]) -> NDArray[np.float64]:
    at = np.clip(T_AXIS, knots[0], knots[-1])
    basis: NDArray[np.float64] = CubicSpline(knots, np.eye(len(knots)), bc_type="natural")(at)
    return basis


def _spline(knots: tuple[float, ...], values: list[float]) -> NDArray[np.float64]:
    through: NDArray[np.float64] = _basis(knots) @ np.array(values)
    return through


def _wall(t: NDArray[np.float64]) -> NDArray[np.float64]:
    """Half-width of the thoracic cage at `t`, as a share of its greatest."""
    s = np.clip(t, 0.0, 1.0)
    wall: NDArray[np.float64] = 0.36 + 0.64 * (1 - (1 - s) ** 2.2) ** 0.62
    return wall


_WALL = _wall(T_AXIS)
_MEDIAL = 0.36 - 0.22 * np.sqrt(1 - (1 - np.clip(T_AXIS / 0.16, 0, 1)) ** 2)
_BODY = (-0.35, -0.13, -0.05, 0.04, 0.16, 0.34, 0.48, 0.62, 1.0, 1.55)


def _soft_tissue(chest: _Chest) -> Array:
    """Body without its lungs: the trunk, breasts, and the air of the stomach and trachea."""
    patient = chest.visit.patient
    anatomy = patient.anatomy
    stout = patient.habitus
    trunk = chest.width * (1.20 + 0.05 * stout)
    neck = 0.105 + 0.01 * stout
    sh = anatomy.shoulder
    half = _spline(_BODY, [neck, neck, 0.22 + sh, 0.44 + sh, 0.56, 0.56, 0.5 * (trunk + 0.56), trunk, trunk, trunk + 0.02])
    depth = _spline(_BODY, [0.55, 0.55, 0.55, 0.55, 0.7, 0.9, 1.0, 1.04, 1.1, 1.12]) * (1 + 0.07 * stout)
    ratio = chest.a / half.astype(F)[chest.row % ROWS]
    body = np.sqrt(np.maximum(1 - ratio * ratio, 0)) * depth.astype(F)[chest.row % ROWS]
    return body


def _lungs(chest: _Chest) -> Array:
    return -_air(chest)


def _air(chest: _Chest) -> Array:
    wall = (chest.width * _WALL).astype(F)[chest.row % ROWS]
    u = chest.a / wall
    inner = F(0.72) * np.sqrt(np.maximum(1 - u * u, 0))
    return inner


def _bones(chest: _Chest, thickness: Array) -> None:
    pass


def _lines(chest: _Chest, thickness: Array) -> None:
    pass


def _develop(chest: _Chest, thickness: Array) -> Array:
    e = chest.visit.exposure
    s = e.scatter
    z = -np.log(F(1 - s) * np.exp(F(-2.4) * thickness) + F(0.35 * s))
    z = np.maximum(z, 0)
    z = (z * F(np.exp(-e.level) / 1.75)) ** F(1.4 * e.contrast)
    return np.tanh(z)
