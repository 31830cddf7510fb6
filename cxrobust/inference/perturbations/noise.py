"""Random noise of the same size as an attack: the control that tells an attack from mere disturbance."""

from typing import TYPE_CHECKING, ClassVar, Literal

import numpy as np
from pydantic import Field

from cxrobust.inference.perturbations import Batch, Perturbation, perturbation
from cxrobust.study.sections import Epsilon

if TYPE_CHECKING:
    import torch

AFTER_THE_ATTACK = 1
"""Beside an image's seed, by which an attack draws, what noise of the attack's size is drawn by."""


@perturbation("noise")
class Noise(Perturbation):
    """Every pixel moved by +eps or -eps at random, then clipped to [0, 1].

    Random signs, not uniform noise: they have the maximum and Euclidean norm of an attack that uses its whole ball.
    """

    strength: ClassVar[str] = "eps"
    usual: ClassVar[str] = '["0.5/255", "1/255", "2/255", "4/255"]'
    kind: ClassVar[Literal["attack", "noise", "corruption"]] = "noise"

    attack: Literal["noise"]
    eps: Epsilon

    @property
    def name(self) -> str:
        """The registered name."""
        return "noise"

    def describe(self) -> str:
        """Say in a clause what is done."""
        return "every pixel moved by +ε or −ε at random, the control for an attack of equal size"

    def perturb(self, batch: Batch, model: "torch.nn.Module") -> "torch.Tensor":
        """Return the images with random signs of size `eps` added."""
        import torch

        shape = tuple(batch.images.shape[1:])
        signs = [np.random.default_rng(seed).integers(0, 2, shape, dtype=np.int8) * 2 - 1 for seed in batch.seeds]
        step = torch.from_numpy(np.stack(signs)).to(batch.images)
        noisy: torch.Tensor = (batch.images + self.eps * step).clamp(0, 1)
        return noisy


@perturbation("noise-l2")
class EuclideanNoise(Perturbation):
    """A step of length eps in a random direction, then clipped to [0, 1]."""

    strength: ClassVar[str] = "eps"
    usual: ClassVar[str] = "[0.25, 0.5, 1.0, 2.0]"
    kind: ClassVar[Literal["attack", "noise", "corruption"]] = "noise"

    attack: Literal["noise-l2"]
    eps: float = Field(gt=0, allow_inf_nan=False)

    @property
    def name(self) -> str:
        """The registered name."""
        return "noise-l2"

    def describe(self) -> str:
        """Say in a clause what is done."""
        return "a step of length ε in a random direction, the control for an attack of equal Euclidean size"

    def perturb(self, batch: Batch, model: "torch.nn.Module") -> "torch.Tensor":
        """Return the images moved by `eps` in a direction of their own."""
        import torch

        shape = tuple(batch.images.shape[1:])
        steps = np.stack([np.random.default_rng(seed).standard_normal(shape) for seed in batch.seeds])
        steps *= self.eps / np.linalg.norm(steps.reshape(len(steps), -1), axis=1).reshape(-1, 1, 1, 1)
        noisy: torch.Tensor = (batch.images + torch.from_numpy(steps).to(batch.images)).clamp(0, 1)
        return noisy


def moved_at_random(batch: Batch, perturbed: "torch.Tensor") -> "torch.Tensor":
    """Return the images of a batch, each changed as much as in `perturbed`, but at random places with random signs.

    The change has the same size in every norm, as long as it stays in [0, 1]: a pixel that would leave it goes the
    other way, and is clipped where it would leave it that way too, as only a change of more than 0.5 can.
    """
    import torch

    clean = batch.images.flatten(1)
    change = (perturbed.flatten(1) - clean).cpu().numpy()
    for row, seed in zip(change, batch.seeds, strict=True):
        rng = np.random.default_rng((seed, AFTER_THE_ATTACK))
        row[:] = rng.permutation(row) * (rng.integers(0, 2, len(row), dtype=np.int8) * 2 - 1)
    step = torch.from_numpy(change).to(clean)
    leaves = (clean + step < 0) | (clean + step > 1)
    moved: torch.Tensor = torch.where(leaves, clean - step, clean + step).clamp(0, 1)
    return moved.reshape(batch.images.shape)
