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
    inner: Array = np.matmul(waves.T, np.matmul(image, waves))
    coarse: Array = np.matmul(waves, np.matmul(inner, waves.T))
    return coarse


def _mark(chest: Chest, image: Array) -> None:
    """Lay a lead letter L at the patient's left shoulder, in place."""
    marker = chest.visit.exposure.marker
    if marker is None:
        return
    for left, top, right, bottom in ((-0.012, -0.02, -0.004, 0.02), (-0.012, 0.012, 0.013, 0.02)):
        rows, down = _cover(chest.size, marker[1] + top, marker[1] + bottom)
        columns, across = _cover(chest.size, marker[0] + left, marker[0] + right)
        window = image[rows, columns]
        window += down[:, None] * across * (F(0.97) - window)


def _cover(size: int, low: float, high: float) -> tuple[slice, Array]:
    """Return the pixels between two positions, and the share of each that lies there."""
    first, last = int(low * size), min(size, int(np.ceil(high * size)))
    edges = np.minimum(np.maximum(np.arange(first, last + 1), low * size), high * size)
    return slice(first, last), (edges[1:] - edges[:-1]).astype(F)


def _collimate(chest: Chest, image: Array) -> None:
    """Blacken what lies outside the field, in place."""
    left, right, top, bottom = chest.visit.exposure.collimation
    for first, last, lines in ((left, right, image.T), (top, bottom, image)):
        if first or last:
            field, share = _cover(chest.size, first, 1 - last)
            lines[field] *= share[:, None]
            lines[: field.start] = 0
            lines[field.stop :] = 0
