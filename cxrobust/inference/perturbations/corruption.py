"""What corruptions share: changes that radiographs meet on their way, in five severities, which know no model."""

from abc import abstractmethod
from typing import TYPE_CHECKING, Annotated, ClassVar, Literal, get_args

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from cxrobust.inference.perturbations import Batch, Perturbation

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
    """What is done, in a clause, with {values} where the physical parameter stands."""

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
        return f"{self.said.format(values=', '.join(f'{value:g}' for value in self.values))} at severities 1 to 5"

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
