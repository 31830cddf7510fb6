"""A small convolutional network for 28 × 28 radiographs."""

import itertools
from pathlib import Path

import torch
from safetensors.torch import load_file
from torch import nn


class Small(nn.Module):
    """Three convolutions, each halving the side, and a linear head on their mean."""

    def __init__(self, n_outputs: int) -> None:
        super().__init__()
        widths = (1, 24, 48, 96)
        layers: list[nn.Module] = []
        for before, after in itertools.pairwise(widths):
            layers += [nn.Conv2d(before, after, 3, stride=2, padding=1), nn.GroupNorm(8, after), nn.ReLU()]
        self.features = nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten())
        self.head = nn.Linear(widths[-1], n_outputs)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Return logits (n, n_outputs) of images (n, 1, side, side) in [0, 1]."""
        logits: torch.Tensor = self.head(self.features(images * 4 - 2))
        return logits


def build(*, findings: tuple[str, ...], weights: Path) -> nn.Module:
    """Return the network of one regime, as the study file asks for it."""
    network = Small(len(findings))
    network.load_state_dict(load_file(weights))
    return network
