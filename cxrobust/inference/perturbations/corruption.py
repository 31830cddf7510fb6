"""What corruptions share: changes that radiographs meet on their way, in five severities, which know no model."""

from abc import abstractmethod
from typing import TYPE_CHECKING, Annotated, ClassVar, Literal, get_args

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from cxrobust.inference.perturbations import Batch, Perturbation, perturbation

if TYPE_CHECKING:
    import torch

Severity = Annotated[int, Field(ge=1, le=5)]


class Corruption(Perturbation):
    """A change of one image that knows no model."""

    strength: ClassVar[str] = "severity"
    usual: ClassVar[str] = "[1, 2, 3, 4, 5]"
    kind: ClassVar[Literal["attack", "noise", "corruption"]] = "corruption"
    values: ClassVar[tuple[float, ...]]
    """The physical parameter at severities 1 to 5."""
    said: ClassVar[str]
    """What is done, in a clause, with {values} where the physical parameter stands, and {pixels} behind the image's
    side where it is in per cent of that."""
    lengths: ClassVar[tuple[float, ...]] = ()
    """What {pixels} stands for, in per cent of the image's side; the physical parameter where there are none."""
    stated: ClassVar[str] = "{value}"
    """The physical parameter at one severity, in a few letters: {value}, or {pixels} where it is in per cent of the
    image's side."""

    severity: Severity

    @abstractmethod
    def corrupt(self, image: NDArray[np.float32], rng: np.random.Generator) -> NDArray[np.float32]:
        """Return the corrupted image: (size, size) in [0, 1] before clipping."""

    @property
    def name(self) -> str:
        """The registered name."""
        (found,) = get_args(type(self).model_fields["corruption"].annotation)
        return str(found)

    def describe(self) -> str:
        """Say in a clause what is done."""
        return self._described(pixels="")

    def describe_at(self, side: int) -> str:
        """Say the same of images of `side` pixels, in pixels too what is in per cent of it."""
        pixels = ", ".join(_pixels(value, side) for value in self.lengths or self.values)
        return self._described(pixels=f" ({pixels} pixels of {side})")

    def state(self, side: int) -> str:
        """Write the physical parameter at this severity, of images of `side` pixels, in a few letters."""
        return self.stated.format(value=f"{self.value:g}", pixels=_pixels(self.value, side))

    def _described(self, *, pixels: str) -> str:
        values = ", ".join(f"{value:g}" for value in self.values)
        return f"{self.said.format(values=values, pixels=pixels)} at severities 1 to 5"

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


def _pixels(value: float, side: int) -> str:
    """Write a percentage of the side in pixels."""
    return f"{value / 100 * side:.3g}"


def every_corruption() -> tuple[Corruption, ...]:
    """Return all registered corruptions that need no more than a severity, at each of the five."""
    kinds = [(name, kind) for name in perturbation if issubclass(kind := perturbation[name], Corruption)]
    return tuple(
        kind.model_validate({"corruption": name, "severity": severity})
        for name, kind in kinds
        if {key for key, field in kind.model_fields.items() if field.is_required()} == {"corruption", "severity"}
        for severity in range(1, 6)
    )
