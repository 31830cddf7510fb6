"""Textures that are made once and looked up: vessel trees in polar coordinates and tiles of band-limited noise."""

from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

N_TREES = 8
ANGLES = 384
RADII = 96
INNER, OUTER = 0.02, 0.48
"""Radii, in image widths, between which a tree grows from its hilum."""
_SPAN = float(np.log(OUTER / INNER))
TILE = 512

Array = NDArray[np.float32]


@lru_cache(maxsize=8)
def vessel_trees(size: int) -> Array:
    """Return trees of vessels, (N_TREES, RADII, ANGLES): rows run outward in the logarithm of the radius."""
    return np.stack([_grow(np.random.default_rng((1867, tree)), 1.0 / size) for tree in range(N_TREES)])


def polar_index(x: Array, y: Array, turn: float) -> NDArray[np.intp]:
    """Return where (x, y) from a hilum lie in a tree that is turned by a share `turn` of a full circle."""
    radius = np.log((x * x + y * y) * np.float32(INNER**-2) + np.float32(1e-6))
    row = np.clip(radius * np.float32(0.5 * RADII / _SPAN), 0, RADII - 1).astype(np.int32)
    column = ((np.arctan2(y, x) * np.float32(0.5 / np.pi) + np.float32(turn + 1)) * np.float32(ANGLES)).astype(np.int32)
    index: NDArray[np.intp] = row * ANGLES + column % ANGLES
    return index


@lru_cache(maxsize=16)
def noise_tile(size: int, low: float, high: float) -> Array:
    """Return a periodic tile (size, size) of unit-variance noise between `low` and `high` cycles an image width.

    Every size shows the same noise: the same waves, without those too fine for its pixels.
    """
    half = TILE // 2
    rng = np.random.default_rng((1895, round(low * 16), round(high * 16)))
    waves = rng.standard_normal((TILE, half + 1)) + 1j * rng.standard_normal((TILE, half + 1))
    down, across = np.fft.fftfreq(TILE, 1 / TILE)[:, None], np.arange(half + 1)[None, :]
    cycles = np.hypot(down, across)
    waves *= np.exp(-((cycles / high) ** 2)) * (1 - np.exp(-((cycles / low) ** 2))) / np.maximum(cycles, 1)
    full = np.fft.irfft2(waves, (TILE, TILE))
    scale = 1 / full.std()
    keep = min(size, TILE) // 2
    kept = np.where((np.abs(down) < keep) & (across < keep), waves, 0)
    tile: Array = (np.fft.irfft2(_resize(kept, size), (size, size)) * (size / TILE) ** 2 * scale).astype(np.float32)
    return tile


def _resize(waves: NDArray[np.complex128], size: int) -> NDArray[np.complex128]:
    resized = np.zeros((size, size // 2 + 1), np.complex128)
    keep = min(size, TILE) // 2
    columns = min(keep, resized.shape[1])
    resized[:keep, :columns] = waves[:keep, :columns]
    resized[-keep:, :columns] = waves[-keep:, :columns]
    return resized


def _grow(rng: np.random.Generator, pixel: float) -> Array:
    angle = np.arange(ANGLES) * (2 * np.pi / ANGLES)
    heading = rng.random(13) * 2 * np.pi
    width = rng.uniform(0.010, 0.017, heading.size)
    drift = np.zeros_like(heading)
    rows = np.zeros((RADII, ANGLES))
    for row in range(RADII):
        radius = INNER * np.exp(_SPAN * row / RADII)
        drift = 0.85 * drift + 0.010 * rng.standard_normal(heading.size)
        heading = heading + drift
        width = width * 0.986
        rows[row] = _cross_section(angle, heading, width, radius, pixel)
        forks = rng.random(heading.size) < 0.030
        spread = rng.uniform(0.015, 0.045, heading.size) * rng.choice([-1.0, 1.0], heading.size)
        heading = np.concatenate([heading, heading[forks]])
        drift = np.concatenate([np.where(forks, drift + spread, drift), drift[forks] - spread[forks]])
        width = np.concatenate([np.where(forks, 0.82 * width, width), 0.75 * width[forks]])
    return rows.astype(np.float32)


def _cross_section(
    angle: NDArray[np.float64],
    heading: NDArray[np.float64],
    width: NDArray[np.float64],
    radius: float,
    pixel: float,
) -> NDArray[np.float64]:
    """Sum the vessels that cross a circle; thin ones fade where pixels are wide."""
    soft = np.hypot(0.5 * width, 0.45 * pixel)
    across = (angle[:, None] - heading + np.pi) % (2 * np.pi) - np.pi
    height = width * (0.5 * width / soft) / 0.012
    section: NDArray[np.float64] = (height * np.exp(-0.5 * (across * radius / soft) ** 2)).sum(axis=1)
    return section
