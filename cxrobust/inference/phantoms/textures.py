"""Textures that are made once for each size and looked up: vessel trees and tiles of band-limited noise."""

from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from cxrobust.inference.phantoms.geometry import Array, F, Table

N_TREES = 8
ANGLES, RADII = 384, 96
INNER, OUTER = 0.02, 0.50
"""Radii, in image widths, between which a tree grows from its hilum."""
_SPAN = float(np.log(OUTER / INNER))
_TILE = 512


@lru_cache(maxsize=8)
def vessel_trees(size: int) -> Array:
    """Return trees of vessels, (N_TREES, RADII, ANGLES), to be read at `polar_index`."""
    return np.stack([_grow(np.random.default_rng((1867, tree)), 1.0 / size) for tree in range(N_TREES)])


def polar_index(out: Array, fall: Array) -> NDArray[np.int64]:
    """Return where points, lateral of the hilum and below it, lie in a flattened tree.

    Rows run outward in the logarithm of the radius; columns go round in the diamond angle, which needs no arctangent.
    """
    row = np.log(out * out + fall * fall + F(1e-8))
    row *= F(0.5 * RADII / _SPAN)
    row -= F(np.log(INNER) * RADII / _SPAN)
    diamond = out / (np.abs(out) + np.abs(fall) + F(1e-8))
    np.copysign(F(1) - diamond, fall, out=diamond)
    diamond += F(2)
    diamond *= F(ANGLES / 4)
    index: NDArray[np.int64] = row.clip(0, RADII - 1).astype(np.int64) * ANGLES
    index += diamond.clip(0, ANGLES - 1).astype(np.int64)
    return index


@lru_cache(maxsize=32)
def noise_tile(size: int, low: float, high: float) -> Array:
    """Return a periodic tile (size, size) of unit-variance noise between `low` and `high` cycles an image width.

    Every size shows the same noise: the same waves, without those too fine for its pixels.
    """
    rng = np.random.default_rng((1895, round(low * 16), round(high * 16)))
    down, across = np.fft.fftfreq(_TILE, 1 / _TILE)[:, None], np.arange(_TILE // 2 + 1)[None, :]
    cycles = np.hypot(down, across)
    waves = rng.standard_normal(cycles.shape) + 1j * rng.standard_normal(cycles.shape)
    waves *= np.exp(-((cycles / high) ** 2)) * (1 - np.exp(-((cycles / low) ** 2))) / np.maximum(cycles, 1)
    scale = 1 / np.fft.irfft2(waves, (_TILE, _TILE)).std()
    keep = min(size, _TILE) // 2
    kept = np.zeros((size, size // 2 + 1), np.complex128)
    kept[:keep, :keep], kept[-keep:, :keep] = waves[:keep, :keep], waves[-keep:, :keep]
    tile: Array = (np.fft.irfft2(kept, (size, size)) * (size / _TILE) ** 2 * scale).astype(F)
    return tile


def _grow(rng: np.random.Generator, pixel: float) -> Array:
    heading = np.concatenate([rng.normal(1.15, 0.35, 5), rng.normal(-1.05, 0.35, 4), rng.uniform(-0.7, 0.7, 3)])
    width = rng.uniform(0.009, 0.016, heading.size)
    drift = np.zeros_like(heading)
    rows = np.zeros((RADII, ANGLES), F)
    for row in range(RADII):
        radius = INNER * np.exp(_SPAN * row / RADII)
        drift = 0.85 * drift + 0.010 * rng.standard_normal(heading.size)
        heading = heading + drift
        width = width * 0.991
        rows[row] = _crossings(heading, width, radius, pixel)
        forks = rng.random(heading.size) < 0.036
        spread = rng.uniform(0.015, 0.045, heading.size) * rng.choice([-1.0, 1.0], heading.size)
        heading = np.concatenate([heading, heading[forks]])
        drift = np.concatenate([np.where(forks, drift + spread, drift), drift[forks] - spread[forks]])
        width = np.concatenate([np.where(forks, 0.85 * width, width), 0.8 * width[forks]])
    return rows


def _angles() -> Array:
    """Angle from the lateral direction, downwards positive, of each column of a tree."""
    diamond = (np.arange(ANGLES) + 0.5) * (4 / ANGLES) - 2
    out = 1 - np.abs(diamond)
    angles: Array = (np.arctan2(np.copysign(1 - np.abs(out), diamond), out) % (2 * np.pi)).astype(F)
    return angles


_ANGLES = _angles()


def _crossings(heading: Table, width: Table, radius: float, pixel: float) -> Array:
    """Thickness of the vessels that cross a circle about the hilum; thin ones fade where pixels are wide."""
    soft = np.hypot(0.42 * width, 0.45 * pixel)
    away = np.abs(_ANGLES[:, None] - (heading % (2 * np.pi)).astype(F))
    away = np.minimum(away, F(2 * np.pi) - away)
    away *= (radius / soft).astype(F)
    peak = width * (0.42 * width / soft) / 0.014 * min(1.0, (radius / 0.05) ** 0.7)
    section: Array = np.exp(F(-0.5) * away * away) @ peak.astype(F)
    return section
