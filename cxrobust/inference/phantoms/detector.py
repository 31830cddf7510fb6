"""From projected thickness to a displayed image: scatter, blur, quantum noise, tone curve, border and marker."""

from functools import lru_cache

import numpy as np
from scipy.ndimage import gaussian_filter

from cxrobust.inference.phantoms.geometry import Array, Chest, F
from cxrobust.inference.phantoms.patients import Exposure

_ATTENUATION = 2.4


def develop(chest: Chest, thickness: Array) -> Array:
    """Return the displayed image, (size, size) float32 in [0, 1]."""
    exposure, size = chest.visit.exposure, chest.size
    if exposure.blur * size > 0.3:
        thickness = gaussian_filter(thickness, exposure.blur * size, truncate=2.5, mode="nearest")
    signal = np.exp(F(-_ATTENUATION) * thickness)
    signal *= F(1 - exposure.scatter)
    signal += F(0.35 * exposure.scatter)
    logarithm = np.log(signal)
    signal = _noise(chest) / np.sqrt(signal)
    signal -= logarithm
    image = _tone(signal, exposure)
    if exposure.enhancement:
        image += F(exposure.enhancement) * (image - _coarse(image))
    _mark(chest, image)
    _collimate(chest, image)
    return image.clip(0, 1, out=image)


def _noise(chest: Chest) -> Array:
    visit = chest.visit
    rng = np.random.default_rng((*visit.patient.stream, 2, visit.number, chest.size))
    sd = visit.exposure.noise * (chest.size / 256) * 0.45
    return F(sd) * rng.standard_normal((chest.size, chest.size), dtype=F)


def _tone(signal: Array, exposure: Exposure) -> Array:
    """Grey from log attenuation: a toe, a straight part and a shoulder."""
    tone = np.maximum(signal, F(1e-4))
    tone *= F(np.exp(-exposure.level) / 1.82)
    np.log(tone, out=tone)
    tone *= F(1.35 * exposure.contrast)
    np.exp(tone, out=tone)
    grey: Array = np.tanh(tone, out=tone)
    return grey


@lru_cache(maxsize=8)
def _waves(size: int) -> Array:
    phase = np.pi * (np.arange(size) + 0.5) / size
    waves: Array = (np.cos(np.arange(7) * phase[:, None]) * np.sqrt(2 / size)).astype(F)
    waves[:, 0] = np.sqrt(1 / size)
    return waves


def _coarse(image: Array) -> Array:
    waves = _waves(len(image))
    coarse: Array = waves @ (waves.T @ image @ waves) @ waves.T
    return coarse


def _mark(chest: Chest, image: Array) -> None:
    """Lay a lead letter L at the patient's left shoulder, in place."""
    marker = chest.visit.exposure.marker
    if marker is None:
        return
    for left, top, right, bottom in ((-0.012, -0.02, -0.004, 0.02), (-0.012, 0.012, 0.013, 0.02)):
        down = _cover(chest.size, marker[1] + top, marker[1] + bottom)
        across = _cover(chest.size, marker[0] + left, marker[0] + right)
        window = np.ix_(down.nonzero()[0], across.nonzero()[0])
        ink = down[window[0]] * across[window[1]]
        image[window] += ink * (F(0.97) - image[window])


def _cover(size: int, low: float, high: float) -> Array:
    """Share of each pixel that lies between two positions."""
    edges = np.arange(size + 1) / size
    covered: Array = (np.diff(np.clip(edges, low, high)) * size).astype(F)
    return covered


def _collimate(chest: Chest, image: Array) -> None:
    left, right, top, bottom = chest.visit.exposure.collimation
    if left or right:
        image *= _cover(chest.size, left, 1 - right)[None, :]
    if top or bottom:
        image *= _cover(chest.size, top, 1 - bottom)[:, None]
