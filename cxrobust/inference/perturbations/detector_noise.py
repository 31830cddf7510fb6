"""Noise of a low dose: of the detector's electronics, and of few X-ray quanta."""

from typing import ClassVar, Literal

import numpy as np
from numpy.typing import NDArray

from cxrobust.inference.perturbations import perturbation
from cxrobust.inference.perturbations.corruption import Corruption


@perturbation("gaussian-noise")
class GaussianNoise(Corruption):
    """Independent Gaussian noise: quantum and electronic noise of a low-dose exposure."""

    corruption: Literal["gaussian-noise"]
    values: ClassVar[tuple[float, ...]] = (0.02, 0.04, 0.06, 0.09, 0.12)
    said: ClassVar[str] = "independent Gaussian noise, standard deviation {values} of the pixel range"
    stated: ClassVar[str] = "σ {value}"

    def corrupt(self, image: NDArray[np.float32], rng: np.random.Generator) -> NDArray[np.float32]:
        """Add noise of standard deviation `value`, in pixels of [0, 1]."""
        return np.asarray(image + self.value * rng.standard_normal(image.shape, dtype=np.float32), dtype=np.float32)


@perturbation("poisson-noise")
class PoissonNoise(Corruption):
    """Counting noise: each pixel is a number of quanta, which are the fewer the darker it is."""

    corruption: Literal["poisson-noise"]
    values: ClassVar[tuple[float, ...]] = (2000, 800, 400, 200, 100)
    said: ClassVar[str] = "counting noise of {values} quanta in a pixel of full brightness"
    stated: ClassVar[str] = "{value} quanta"

    def corrupt(self, image: NDArray[np.float32], rng: np.random.Generator) -> NDArray[np.float32]:
        """Draw the quanta of each pixel, `value` times its brightness on average."""
        return np.asarray(rng.poisson(np.clip(image, 0, 1) * self.value) / self.value, dtype=np.float32)
