"""Corruptions that radiographs meet on their way: noise, blur, contrast and compression, in five severities."""

import io
from abc import abstractmethod
from typing import TYPE_CHECKING, Annotated, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from pydantic import Field
from scipy import ndimage

from cxrobust.inference.perturbations import Batch, Perturbation, perturbation

if TYPE_CHECKING:
    import torch

Severity = Annotated[int, Field(ge=1, le=5)]


class _Corruption(Perturbation):
    """A change of one image that knows no model."""

    strength: ClassVar[str] = "severity"
    kind: ClassVar[Literal["attack", "noise", "corruption"]] = "corruption"
    values: ClassVar[tuple[float, ...]]
    """The physical parameter at severities 1 to 5."""

    severity: Severity

    @abstractmethod
    def corrupt(self, image: NDArray[np.float32], rng: np.random.Generator) -> NDArray[np.float32]:
        """Return the corrupted image: (size, size) in [0, 1] before clipping."""

    @property
    def value(self) -> float:
        """The physical parameter at this severity."""
        return self.values[self.severity - 1]

    def perturb(self, batch: Batch, model: "torch.nn.Module") -> "torch.Tensor":
        """Return the corrupted images."""
        import torch

        clean = batch.images[:, 0].cpu().numpy()
        changed = [
            np.clip(self.corrupt(image, np.random.default_rng(seed)), 0, 1).astype(np.float32)
            for image, seed in zip(clean, batch.seeds, strict=True)
        ]
        return torch.from_numpy(np.stack(changed)[:, None]).to(batch.images)

    def _levels(self) -> str:
        return ", ".join(f"{value:g}" for value in self.values)


@perturbation("gaussian-noise")
class GaussianNoise(_Corruption):
    """Independent Gaussian noise: quantum and electronic noise of a low-dose exposure."""

    corruption: Literal["gaussian-noise"]
    values: ClassVar[tuple[float, ...]] = (0.02, 0.04, 0.06, 0.09, 0.12)

    @property
    def name(self) -> str:
        """The registered name."""
        return "gaussian-noise"

    def describe(self) -> str:
        """Say in a clause what is done."""
        return (
            f"independent Gaussian noise, standard deviation {self._levels()} of the pixel range at severities 1 to 5"
        )

    def corrupt(self, image: NDArray[np.float32], rng: np.random.Generator) -> NDArray[np.float32]:
        """Add noise of standard deviation `value`, in pixels of [0, 1]."""
        return np.asarray(image + self.value * rng.standard_normal(image.shape, dtype=np.float32), dtype=np.float32)


@perturbation("blur")
class Blur(_Corruption):
    """Gaussian blur: defocus, motion of the patient, or a coarse detector."""

    corruption: Literal["blur"]
    values: ClassVar[tuple[float, ...]] = (0.3, 0.6, 0.9, 1.3, 1.8)

    @property
    def name(self) -> str:
        """The registered name."""
        return "blur"

    def describe(self) -> str:
        """Say in a clause what is done."""
        return f"Gaussian blur, standard deviation {self._levels()} % of the image's side at severities 1 to 5"

    def corrupt(self, image: NDArray[np.float32], rng: np.random.Generator) -> NDArray[np.float32]:
        """Blur with a standard deviation of `value` per cent of the side."""
        sigma = self.value / 100 * image.shape[0]
        return np.asarray(ndimage.gaussian_filter(image, sigma=sigma, mode="nearest"), dtype=np.float32)


@perturbation("contrast")
class Contrast(_Corruption):
    """Less contrast around the image's mean: wrong exposure or window."""

    corruption: Literal["contrast"]
    values: ClassVar[tuple[float, ...]] = (0.8, 0.65, 0.5, 0.35, 0.2)

    @property
    def name(self) -> str:
        """The registered name."""
        return "contrast"

    def describe(self) -> str:
        """Say in a clause what is done."""
        return f"contrast around the image's mean multiplied by {self._levels()} at severities 1 to 5"

    def corrupt(self, image: NDArray[np.float32], rng: np.random.Generator) -> NDArray[np.float32]:
        """Multiply the distance of each pixel from the mean by `value`."""
        mean = image.mean()
        return np.asarray(mean + self.value * (image - mean), dtype=np.float32)


@perturbation("jpeg")
class Jpeg(_Corruption):
    """JPEG compression of the 8-bit image."""

    corruption: Literal["jpeg"]
    values: ClassVar[tuple[float, ...]] = (75, 50, 30, 15, 7)

    @property
    def name(self) -> str:
        """The registered name."""
        return "jpeg"

    def describe(self) -> str:
        """Say in a clause what is done."""
        return f"JPEG at quality {self._levels()} at severities 1 to 5"

    def corrupt(self, image: NDArray[np.float32], rng: np.random.Generator) -> NDArray[np.float32]:
        """Encode at quality `value` and decode."""
        buffer = io.BytesIO()
        Image.fromarray(np.rint(image * 255).astype(np.uint8)).save(buffer, format="JPEG", quality=int(self.value))
        with Image.open(buffer) as decoded:
            return np.asarray(decoded, dtype=np.float32) / np.float32(255)
