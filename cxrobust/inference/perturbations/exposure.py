"""Wrong exposure, window and look-up table."""

from typing import ClassVar, Literal

import numpy as np
from numpy.typing import NDArray

from cxrobust.inference.perturbations import perturbation
from cxrobust.inference.perturbations.corruption import Corruption


@perturbation("exposure")
class Exposure(Corruption):
    """Too much or too little exposure that display did not correct: all pixels shifted alike, at random up or down."""

    corruption: Literal["exposure"]
    values: ClassVar[tuple[float, ...]] = (0.05, 0.1, 0.15, 0.2, 0.3)
    said: ClassVar[str] = "all pixels shifted up or down by {values} of the pixel range"
    stated: ClassVar[str] = "± {value}"

    def corrupt(self, image: NDArray[np.float32], rng: np.random.Generator) -> NDArray[np.float32]:
        """Shift every pixel by `value`, up or down."""
        return np.asarray(image + rng.choice([-1, 1]) * self.value, dtype=np.float32)


@perturbation("contrast")
class Contrast(Corruption):
    """Less contrast around the image's mean: too wide a window."""

    corruption: Literal["contrast"]
    values: ClassVar[tuple[float, ...]] = (0.8, 0.65, 0.5, 0.35, 0.2)
    said: ClassVar[str] = "contrast around the image's mean multiplied by {values}"
    stated: ClassVar[str] = "× {value}"

    def corrupt(self, image: NDArray[np.float32], rng: np.random.Generator) -> NDArray[np.float32]:
        """Multiply the distance of each pixel from the mean by `value`."""
        mean = image.mean()
        return np.asarray(mean + self.value * (image - mean), dtype=np.float32)


@perturbation("gamma")
class Gamma(Corruption):
    """Another look-up table: pixels to a power, or at random to its reciprocal."""

    corruption: Literal["gamma"]
    values: ClassVar[tuple[float, ...]] = (1.2, 1.5, 1.8, 2.2, 2.7)
    said: ClassVar[str] = "pixels raised to a power of {values} or its reciprocal"
    stated: ClassVar[str] = "γ {value}"

    def corrupt(self, image: NDArray[np.float32], rng: np.random.Generator) -> NDArray[np.float32]:
        """Raise pixels to `value` or 1 / `value`."""
        return np.asarray(image ** float(self.value ** rng.choice([-1, 1])), dtype=np.float32)
