"""Compression that loses something."""

import io
from typing import ClassVar, Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from cxrobust.inference.perturbations import perturbation
from cxrobust.inference.perturbations.corruption import Corruption


@perturbation("jpeg")
class Jpeg(Corruption):
    """JPEG compression of the 8-bit image."""

    corruption: Literal["jpeg"]
    values: ClassVar[tuple[float, ...]] = (75, 50, 30, 15, 7)
    said: ClassVar[str] = "JPEG at quality {values}"
    stated: ClassVar[str] = "quality {value}"

    def corrupt(self, image: NDArray[np.float32], rng: np.random.Generator) -> NDArray[np.float32]:
        """Encode at quality `value` and decode."""
        buffer = io.BytesIO()
        Image.fromarray(np.rint(image * 255).astype(np.uint8)).save(buffer, format="JPEG", quality=int(self.value))
        with Image.open(buffer) as decoded:
            return np.asarray(decoded, dtype=np.float32) / np.float32(255)
