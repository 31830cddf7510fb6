"""A multi-label model seen as the softmax model that attack libraries expect.

Class scores are in double precision: in single precision the gradient of the cross-entropy is exactly 0 where a logit
is beyond about 17, so a confident model would seem robust because the attack sees nothing (double: beyond about 36).
"""

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


def aimed_view(model: torch.nn.Module, column: int | None) -> torch.nn.Module:
    """Return the view of `model` for an attack on all findings (None) or on the finding in one column."""
    return (AllFindings(model) if column is None else OneFinding(model, column)).eval()
