"""Loss of sharpness: blur, defocus, motion, and fewer pixels."""

from functools import lru_cache
from typing import ClassVar, Literal

import numpy as np
from numpy.typing import NDArray
from scipy import fft, ndimage, sparse

from cxrobust.inference.perturbations import perturbation
from cxrobust.inference.perturbations.corruption import Corruption

NARROW = 0.6
"""Pixels. The samples of a Gaussian of a smaller standard deviation are narrower than it, at 0.6 by 1 % and at 0.3 by
71 %: nothing would be left of the blur of small images."""


@perturbation("blur")
class Blur(Corruption):
    """Gaussian blur: scatter, or a coarse detector."""

    corruption: Literal["blur"]
    values: ClassVar[tuple[float, ...]] = (0.3, 0.6, 0.9, 1.3, 1.8)
    said: ClassVar[str] = "Gaussian blur, standard deviation {values} % of the image's side{pixels}"
    stated: ClassVar[str] = "{pixels} px"

    def corrupt(self, image: NDArray[np.float32], rng: np.random.Generator) -> NDArray[np.float32]:
        """Blur with a standard deviation of `value` per cent of the side."""
        sigma = self.value / 100 * image.shape[0]
        if sigma >= NARROW:
            return np.asarray(ndimage.gaussian_filter(image, sigma=sigma, mode="nearest"), dtype=np.float32)
        weights = np.array([sigma**2 / 2, 1 - sigma**2, sigma**2 / 2])
        down = ndimage.correlate1d(image, weights, axis=0, mode="nearest")
        return np.asarray(ndimage.correlate1d(down, weights, axis=1, mode="nearest"), dtype=np.float32)


@perturbation("defocus-blur")
class DefocusBlur(Corruption):
    """Mean over a disc: the shadow of a large focal spot."""

    corruption: Literal["defocus-blur"]
    values: ClassVar[tuple[float, ...]] = (0.4, 0.8, 1.2, 1.8, 2.5)
    said: ClassVar[str] = "mean over a disc of radius {values} % of the image's side{pixels}"
    stated: ClassVar[str] = "{pixels} px"

    def corrupt(self, image: NDArray[np.float32], rng: np.random.Generator) -> NDArray[np.float32]:
        """Average over a disc of radius `value` per cent of the side."""
        return _averaged(image, disc(self.value / 100 * image.shape[0]))


@perturbation("motion-blur")
class MotionBlur(Corruption):
    """Mean along a straight line of random direction: the patient moved."""

    corruption: Literal["motion-blur"]
    values: ClassVar[tuple[float, ...]] = (1, 2, 3, 4.5, 6)
    said: ClassVar[str] = (
        "mean along a line at an angle from 0 to 180 degrees, {values} % of the image's side{pixels} long"
    )
    stated: ClassVar[str] = "{pixels} px"

    def corrupt(self, image: NDArray[np.float32], rng: np.random.Generator) -> NDArray[np.float32]:
        """Average along a line of `value` per cent of the side."""
        return _averaged(image, segment(self.value / 100 * image.shape[0], angle=rng.uniform(0, np.pi)))


@perturbation("down-sampling")
class DownSampling(Corruption):
    """Fewer pixels, scaled up again: an image stored small."""

    corruption: Literal["down-sampling"]
    values: ClassVar[tuple[float, ...]] = (1.5, 2, 3, 4, 6)
    said: ClassVar[str] = "scaled down by {values} with averaging and up again bilinearly"
    stated: ClassVar[str] = "÷ {value}"

    def corrupt(self, image: NDArray[np.float32], rng: np.random.Generator) -> NDArray[np.float32]:
        """Scale down by `value`, as nearly as whole pixels allow, and up again."""
        down, across = (down_and_up(side, max(1, round(side / self.value))) for side in image.shape)
        return np.asarray((across @ (down @ image.astype(np.float64)).T).T, dtype=np.float32)


@lru_cache(maxsize=32)
def down_and_up(side: int, small: int) -> sparse.csr_array:
    """Return (side, side) weights by which `side` pixels become `small` averages and these `side` pixels again.

    An average counts a pixel by the part of it that it covers, and stands at the mean place of what it counts, so that
    straight ramps stay where they are whatever the factor is. Between two averages pixels are interpolated linearly;
    those beyond the first and the last are like it.
    """
    pixels, edges = np.arange(side), np.linspace(0, side, small + 1)
    covered = np.minimum(edges[1:, None], pixels + 1) - np.maximum(edges[:-1, None], pixels)
    averaging = covered.clip(0) * small / side
    places = averaging @ pixels
    interpolating = np.stack([np.interp(pixels, places, one) for one in np.eye(small)], axis=1)
    return sparse.csr_array(sparse.csr_array(interpolating) @ sparse.csr_array(averaging))


def disc(radius: float) -> NDArray[np.float64]:
    """Return weights of a disc of a radius in pixels that sum to 1."""
    steps = np.linspace(-radius, radius, 8 * int(np.ceil(radius)) + 33)
    rows, columns = (axis.ravel() for axis in np.meshgrid(steps, steps))
    inside = np.hypot(rows, columns) <= radius
    return _weights(rows[inside], columns[inside])


def segment(length: float, *, angle: float) -> NDArray[np.float64]:
    """Return weights of a line of a length in pixels through the middle that sum to 1."""
    at = np.linspace(-length / 2, length / 2, 16 * int(np.ceil(length)) + 17)
    return _weights(at * np.sin(angle), at * np.cos(angle))


def _weights(rows: NDArray[np.float64], columns: NDArray[np.float64]) -> NDArray[np.float64]:
    """Share each of some points around the middle among the four pixels next to it."""
    reach = int(np.ceil(max(np.abs(rows).max(), np.abs(columns).max()))) + 1
    weights = np.zeros((2 * reach + 1, 2 * reach + 1))
    top, left = np.floor(rows).astype(int), np.floor(columns).astype(int)
    for down in (0, 1):
        for right in (0, 1):
            share = (1 - np.abs(rows - top - down)) * (1 - np.abs(columns - left - right))
            np.add.at(weights, (top + down + reach, left + right + reach), share)
    return np.asarray(weights / weights.sum())


def _averaged(image: NDArray[np.float32], weights: NDArray[np.float64]) -> NDArray[np.float32]:
    """Convolve with (2 · reach + 1, 2 · reach + 1) weights by FFT in float64, the image's edges continued.

    Its time hardly grows with how many weights there are: 2,241 in a disc of 2.5 % of 1,024 pixels.
    """
    reach = len(weights) // 2
    around = np.pad(image.astype(np.float64), reach, mode="edge")
    sides = [fft.next_fast_len(side, real=True) for side in around.shape]
    whole = fft.irfft2(fft.rfft2(around, sides) * fft.rfft2(weights, sides), sides)
    inside = tuple(slice(2 * reach, 2 * reach + side) for side in image.shape)  # where no sum wraps around
    return np.asarray(whole[inside], dtype=np.float32)
