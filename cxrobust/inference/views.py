"""A multi-label model seen as the softmax model that attack libraries expect.

Class scores are in double precision: in single precision the gradient of the cross-entropy is exactly 0 where a logit
is beyond about 17, so a confident model would seem robust because the attack sees nothing (double: beyond about 36).
"""

import math
from collections.abc import Sequence
from typing import Any

import torch


class AllFindings(torch.nn.Module):
    """Logits (n, k) as (n, 2, k): softmax cross-entropy with labels (n, k) is the mean binary cross-entropy."""

    def __init__(self, model: torch.nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Return two class scores for each finding: absent (0) and present (its logit)."""
        logits: torch.Tensor = self.model(images).double()
        return torch.stack((torch.zeros_like(logits), logits), dim=1)


class OneFinding(torch.nn.Module):
    """Logit of one finding as (n, 2)."""

    def __init__(self, model: torch.nn.Module, column: int) -> None:
        super().__init__()
        self.model = model
        self.column = column

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Return two class scores: absent (0) and present (the finding's logit)."""
        logit = self.model(images)[:, self.column].double()
        return torch.stack((torch.zeros_like(logit), logit), dim=1)


class InSinglePrecision(torch.nn.Module):
    """A view whose scores have the images' type, for attacks that mix the two; not for those of a cross-entropy."""

    def __init__(self, view: torch.nn.Module) -> None:
        super().__init__()
        self.view = view

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Return the scores in the images' type."""
        scores: torch.Tensor = self.view(images).to(images.dtype)
        return scores


class OfThreeChannels(torch.nn.Module):
    """A view for attacks whose code assumes colour: the mean over channels is the grey image."""

    def __init__(self, view: torch.nn.Module) -> None:
        super().__init__()
        self.view = view

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Return the scores of images (n, 3, size, size)."""
        scores: torch.Tensor = self.view(images.mean(dim=1, keepdim=True))
        return scores


class OfTexts(torch.nn.Module):
    """A generator's probability of one text for each image as (n, 2): unlikely (0) and likely (1).

    The second score is z = m - m0 + log 2 for a text that an attack makes less likely and m - m0 - log 2 for one that
    it makes likelier: m is the mean log-probability of a token of the text, m0 that on the clean image. So z is 0 where
    the mean probability of a token has halved or doubled, which is what attacks without a bound look for.

    Parameters
    ----------
    model
        A `cxrobust.inference.generation.Generator`.
    texts
        Tokens of each image's text.
    origin
        (n,): m where z is 0.
    """

    def __init__(self, model: torch.nn.Module, texts: Sequence[list[int]], origin: torch.Tensor) -> None:
        super().__init__()
        self.model: Any = model
        self.texts = texts
        self.origin = origin

    @classmethod
    def of(
        cls, model: torch.nn.Module, texts: Sequence[list[int]], clean: torch.Tensor, *, lowering: bool
    ) -> "OfTexts":
        """Return the view for texts of `clean` images (n, 1, size, size), which become less likely or likelier."""
        generator: Any = model
        with torch.no_grad():
            origin = generator.log_probability(clean, texts)
        return cls(model, texts, origin - math.log(2) if lowering else origin + math.log(2))

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Return two class scores of each image; they stand for those that the view was made for, in their order.

        Where the view is of one image, any number may stand for it.
        """
        texts = list(self.texts) * len(images) if len(self.texts) == 1 else self.texts
        if len(images) != len(texts):
            raise RuntimeError(f"{len(images)} images have come for {len(texts)} texts, one of each image")
        score = self.model.log_probability(images, texts) - self.origin
        return torch.stack((torch.zeros_like(score), score), dim=1)


def aimed_view(model: torch.nn.Module, column: int | None) -> torch.nn.Module:
    """Return the view of `model` for an attack on all findings (None) or on the finding in one column."""
    return (AllFindings(model) if column is None else OneFinding(model, column)).eval()
