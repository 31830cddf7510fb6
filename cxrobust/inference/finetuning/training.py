"""The loop that every regime shares: AdamW, a warm-up and a cosine, minibatches in an order that the seed gives."""

import math
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from cxrobust.errors import DataError
from cxrobust.progress import Reporter, silent

WARM_UP = 0.1
"""Share of all steps in which the learning rate rises."""
LARGEST_GRADIENT = 1.0
"""Norm to which a step's gradient is clipped."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Training:
    """How long and how fast a model learns."""

    epochs: int
    learning_rate: float
    """The highest, after warm-up."""
    batch: int = 64
    weight_decay: float = 0.01
    seed: int = 0
    """Gives the order of images, dropout, and whatever else a regime draws."""


def masked_bce(logits: Tensor, labels: Tensor) -> Tensor:
    """Mean binary cross-entropy over the findings that are labelled; 0 where none is.

    Parameters
    ----------
    logits
        (n, n_findings).
    labels
        (n, n_findings): 1, 0, or -1 where missing.

    Examples
    --------
    >>> round(float(masked_bce(torch.zeros(1, 2), torch.tensor([[1, -1]]))), 4)
    0.6931
    """
    known = labels >= 0
    losses = F.binary_cross_entropy_with_logits(logits, labels.clamp(min=0).to(logits.dtype), reduction="none")
    return (losses * known).sum() / known.sum().clamp(min=1)


def fit(
    model: nn.Module,
    loss: Callable[[Tensor, torch.Generator], Tensor],
    training: Training,
    *,
    n_images: int,
    parameters: Iterable[nn.Parameter],
    stage: str = "training",
    report: Reporter = silent,
) -> None:
    """Minimise a loss over minibatches, in place; modes of the model (train or eval) are the caller's affair.

    Parameters
    ----------
    loss
        Maps the rows of a minibatch, and the generator to draw from, to a scalar.
    parameters
        What is changed.

    Raises
    ------
    DataError
        When the loss stops being a finite number.
    """
    learned = [parameter.requires_grad_(True) for parameter in parameters]
    generator = torch.Generator().manual_seed(training.seed)
    optimizer = torch.optim.AdamW(learned, lr=training.learning_rate, weight_decay=training.weight_decay)
    n_steps = training.epochs * math.ceil(n_images / training.batch)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: _rate(step, n_steps))
    with seeded(training.seed, model), torch.enable_grad():
        for step, rows in enumerate(_minibatches(n_images, training, generator), start=1):
            optimizer.zero_grad(set_to_none=True)
            value = loss(rows, generator)
            if not torch.isfinite(value):
                raise DataError(f"{stage}: the loss became {value.item()} at step {step:,}: lower the learning rate")
            value.backward()  # type: ignore[no-untyped-call]
            nn.utils.clip_grad_norm_(learned, LARGEST_GRADIENT)
            optimizer.step()
            schedule.step()
            report(stage, step, n_steps)


def device_of(model: nn.Module) -> torch.device:
    """Return where a model's parameters are."""
    return next(model.parameters()).device


def finished(model: nn.Module) -> nn.Module:
    """Return the model in eval mode with its parameters frozen."""
    return model.eval().requires_grad_(False)


@contextmanager
def seeded(seed: int, model: nn.Module) -> Iterator[None]:
    """Seed torch's global generators for what draws from them (dropout, initial weights), and restore them after."""
    device = device_of(model)
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        torch.manual_seed(seed)
        yield


def _minibatches(n_images: int, training: Training, generator: torch.Generator) -> Iterator[Tensor]:
    for _ in range(training.epochs):
        yield from torch.split(torch.randperm(n_images, generator=generator), training.batch)


def _rate(step: int, n_steps: int) -> float:
    """Share of the highest learning rate: a linear rise, then half a cosine down to 0."""
    rise = max(1, round(WARM_UP * n_steps))
    if step < rise:
        return (step + 1) / rise
    return 0.5 * (1 + math.cos(math.pi * (step - rise) / max(1, n_steps - rise)))
