"""From grey pixels to log-odds inside one differentiable graph, whatever network stands in the middle."""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from cxrobust.errors import DataError

SMOOTH = ("bilinear", "bicubic")
"""Ways of resizing that torch can do without aliasing; another averages whole pixels, or takes the nearest."""
ROUNDING = 1e-3
"""By how much a probability may be outside [0, 1], in numbers as short as bfloat16's."""


class PixelClassifier(nn.Module):
    """A network as a `Classifier`: resizing, channels and normalisation before it, log-odds of the findings after it.

    Parameters
    ----------
    network
        Maps (n, n_channels, height, width) to logits (n, n_outputs), bare or as an output with `.logits`.
    columns
        Output of the network for each finding, in the study's order.
    softmax
        Whether the outputs share one softmax; else each is the log-odds of its own sigmoid.
    image_size
        Height and width that the network wants; None takes images as they come.
    mean, std
        One number a channel, of pixels in [0, 1].
    interpolation
        How images are resized, bilinearly and bicubically with antialiasing; not at all where the size fits.
    """

    resize: Callable[..., Tensor] = staticmethod(F.interpolate)
    """What resizes images; `compiled` gives a model one that the compiler leaves alone."""

    def __init__(
        self,
        network: nn.Module,
        *,
        columns: Sequence[int],
        softmax: bool = False,
        image_size: tuple[int, int] | None = None,
        mean: Sequence[float] = (0.5,),
        std: Sequence[float] = (0.5,),
        interpolation: str = "bilinear",
    ) -> None:
        super().__init__()
        self.network = network
        self.columns = list(columns)
        self.softmax = softmax
        self.image_size = image_size
        self.interpolation = interpolation
        self.register_buffer("mean", torch.tensor(mean, dtype=torch.float32).reshape(1, -1, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(std, dtype=torch.float32).reshape(1, -1, 1, 1), persistent=False)
        self.mean: Tensor
        self.std: Tensor

    def forward(self, images: Tensor) -> Tensor:
        """Return the log-odds (n, n_findings) of images (n, 1, size, size) in [0, 1]."""
        logits = bare_logits(self.network(self.prepared(images)))
        if self.softmax:
            return softmax_log_odds(logits, self.columns)
        return logits if self.columns == list(range(logits.shape[1])) else logits[:, self.columns]

    def prepared(self, images: Tensor) -> Tensor:
        """Return images as the network wants them: resized, with its channels, normalised."""
        if self.image_size is not None and tuple(images.shape[-2:]) != self.image_size:
            smooth = {"align_corners": False, "antialias": True} if self.interpolation in SMOOTH else {}
            images = self.resize(images, size=self.image_size, mode=self.interpolation, **smooth)
        return (images - self.mean) / self.std


class Guarded(nn.Module):
    """A network of the user's own, whose output is checked: one logit for each image and finding."""

    def __init__(self, network: nn.Module, *, n_findings: int, where: str) -> None:
        super().__init__()
        self.network = network
        self.n_findings = n_findings
        self.where = where

    def forward(self, images: Tensor) -> Tensor:
        """Return the log-odds (n, n_findings) of images (n, 1, size, size) in [0, 1].

        Raises
        ------
        DataError
            When the network returns something else.
        """
        logits: Any = self.network(images)
        expected = (len(images), self.n_findings)
        found = tuple(logits.shape) if isinstance(logits, Tensor) else type(logits).__name__
        if found != expected:
            raise DataError(f"{self.where}: the network returned {found}, expected logits of shape {expected}")
        checked: Tensor = logits
        return checked


class LogOddsOfProbabilities(nn.Module):
    """A network whose outputs are probabilities, as log-odds; beyond about ±16 they cannot be told apart."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, images: Tensor) -> Tensor:
        """Return the log-odds of the outputs; NaN of one that is no probability, by more than rounding."""
        p: Tensor = self.network(images)
        return torch.logit(p, eps=1e-7).masked_fill((p - 0.5).abs() > 0.5 + ROUNDING, torch.nan)


def bare_logits(output: Any) -> Tensor:
    """Return the logits of a network's output, which is a tensor or has them as `.logits`."""
    logits: Tensor = output if isinstance(output, Tensor) else output.logits
    return logits


def softmax_log_odds(logits: Tensor, columns: Sequence[int]) -> Tensor:
    """Return log(p / (1 - p)) of some classes of a softmax: z_k - log sum over j != k of exp z_j.

    Parameters
    ----------
    logits
        (n, n_classes), at least two classes.
    columns
        The classes asked for.

    Examples
    --------
    >>> z = torch.tensor([[0.0, 2.0]])
    >>> softmax_log_odds(z, [1, 0]).tolist()
    [[2.0, -2.0]]
    """
    wanted = torch.tensor(list(columns), device=logits.device)
    own = F.one_hot(wanted, logits.shape[1]).bool()
    others = logits.unsqueeze(1).masked_fill(own, -torch.inf).logsumexp(dim=2)
    log_odds: Tensor = logits[:, wanted] - others
    return log_odds
