"""Another position of the patient on the detector: turned, shifted, or cut off."""

from typing import ClassVar, Final, Literal

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from cxrobust.inference.perturbations import perturbation
from cxrobust.inference.perturbations.corruption import Corruption

BLACK_OUTSIDE: Final = "grid-constant"
"""scipy's name for black pixels all around, with which those at the border mix; its "constant" makes a pixel black
that lies outside in the least part."""


@perturbation("rotation")
class Rotation(Corruption):
    """Turned around the middle, at random to the left or right; what lay outside the detector is black."""

    corruption: Literal["rotation"]
    values: ClassVar[tuple[float, ...]] = (2, 5, 10, 15, 20)
    said: ClassVar[str] = "turned by {values} degrees to the left or right"
    stated: ClassVar[str] = "{value}°"

    def corrupt(self, image: NDArray[np.float32], rng: np.random.Generator) -> NDArray[np.float32]:
        """Turn by `value` degrees."""
        angle = float(rng.choice([-1, 1]) * self.value)
        turned = ndimage.rotate(image, angle, reshape=False, order=1, mode=BLACK_OUTSIDE, cval=0.0)
        return np.asarray(turned, dtype=np.float32)


@perturbation("translation")
class Translation(Corruption):
    """Shifted in a random direction; what lay outside the detector is black."""

    corruption: Literal["translation"]
    values: ClassVar[tuple[float, ...]] = (2, 4, 8, 12, 16)
    said: ClassVar[str] = "shifted in a random direction by {values} % of the image's side{pixels}"
    stated: ClassVar[str] = "{pixels} px"

    def corrupt(self, image: NDArray[np.float32], rng: np.random.Generator) -> NDArray[np.float32]:
        """Shift by `value` per cent of the side."""
        angle, length = rng.uniform(0, 2 * np.pi), self.value / 100 * image.shape[0]
        way = (length * np.sin(angle), length * np.cos(angle))
        return np.asarray(ndimage.shift(image, way, order=1, mode=BLACK_OUTSIDE, cval=0.0), dtype=np.float32)


@perturbation("cropping")
class Cropping(Corruption):
    """Cut off at a random place and scaled to the whole size: collimated too closely."""

    corruption: Literal["cropping"]
    values: ClassVar[tuple[float, ...]] = (3, 6, 10, 15, 20)
    said: ClassVar[str] = "cut off by {values} % of the image's side{pixels}, at a random place, and scaled up again"
    stated: ClassVar[str] = "{pixels} px"

    def corrupt(self, image: NDArray[np.float32], rng: np.random.Generator) -> NDArray[np.float32]:
        """Keep all but `value` per cent of each side."""
        share = 1 - self.value / 100
        top, left = (rng.uniform(0, (1 - share) * (side - 1)) for side in image.shape)
        rows, columns = (start + share * np.arange(side) for start, side in zip((top, left), image.shape, strict=True))
        grid = np.meshgrid(rows, columns, indexing="ij")
        return np.asarray(ndimage.map_coordinates(image, grid, order=1, mode="nearest"), dtype=np.float32)
