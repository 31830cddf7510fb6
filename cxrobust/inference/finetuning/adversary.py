"""Adversarial training: learn from the worst image near each one (Madry et al. 2018, arXiv:1706.06083)."""

import copy
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from cxrobust.inference.finetuning.examples import LabelledImages
from cxrobust.inference.finetuning.training import Training, device_of, finished, fit, masked_bce
from cxrobust.progress import Reporter, silent


@dataclass(frozen=True, kw_only=True, slots=True)
class Adversary:
    """Projected gradient descent in the maximum norm, from a random start."""

    eps: float
    """Pixels of [0, 1]."""
    steps: int = 3
    step_size: float | None = None
    """Pixels moved in a step; 2.5 eps / steps when None."""


def adversarial(
    model: nn.Module,
    examples: LabelledImages,
    training: Training,
    *,
    adversary: Adversary,
    report: Reporter = silent,
) -> nn.Module:
    """Return a copy whose every weight is fitted to the labels on images attacked at each step.

    The attack sees the model in eval mode, so batch statistics are those of the images that are learned from.
    """
    tuned = copy.deepcopy(model)
    device = device_of(tuned)

    def loss(rows: Tensor, generator: torch.Generator) -> Tensor:
        batch = examples.take(rows)
        labels = batch.labels.to(device)
        images = attack(tuned.eval(), batch.images.to(device), labels, adversary, generator=generator)
        return masked_bce(tuned.train()(images), labels)

    fit(
        tuned,
        loss,
        training,
        n_images=len(examples),
        parameters=list(tuned.parameters()),
        stage="adversarial",
        report=report,
    )
    return finished(tuned)


def attack(
    model: nn.Module, images: Tensor, labels: Tensor, adversary: Adversary, *, generator: torch.Generator
) -> Tensor:
    """Return images that raise the mean cross-entropy of all labelled findings.

    Parameters
    ----------
    images
        (n, 1, size, size) in [0, 1].
    labels
        (n, n_findings): 1, 0, or -1 where missing.

    Returns
    -------
    Tensor
        Each within `eps` of its original in every pixel, and within [0, 1].
    """
    eps = adversary.eps
    step = 2.5 * eps / adversary.steps if adversary.step_size is None else adversary.step_size
    start = torch.rand(images.shape, generator=generator).to(images) * 2 - 1
    moved = (images + eps * start).clamp(0, 1)
    for _ in range(adversary.steps):
        moved.requires_grad_(True)
        (gradient,) = torch.autograd.grad(masked_bce(model(moved).double(), labels), moved)
        moved = moved.detach() + step * gradient.sign()
        moved = torch.minimum(torch.maximum(moved, images - eps), images + eps).clamp(0, 1)
    return moved
