"""Image encoders: one vector an image from what a network of transformers gives."""

from collections.abc import Callable
from typing import Any, Literal

import torch
from torch import Tensor, nn

from cxrobust.errors import DataError
from cxrobust.inference.batches import Batches, explaining
from cxrobust.inference.graph import PixelClassifier
from cxrobust.inference.randomness import no_global_randomness

Pooling = Literal["pooler", "cls", "mean", "cls-mean"]

MASKED = "ViTMAEModel"
CHANNELS_LAST = "NHWC"
"""What timm says of a network, such as a Swin Transformer, whose map of features has its channels last."""


class Pooled(nn.Module):
    """A network of transformers as an encoder: images (n, channels, height, width) to features (n, n_features).

    `pooler` is what the network itself makes of its tokens, `cls` its first token, `mean` the mean of its patches'
    tokens, `cls-mean` both after one another. A map of features, as convolutional networks give, is averaged over
    places.
    """

    def __init__(self, network: nn.Module, *, pooling: Pooling, where: str) -> None:
        super().__init__()
        self.network = network
        self.pooling = pooling
        self.where = where

    def forward(self, images: Tensor) -> Tensor:
        """Return the features of images that are prepared for the network.

        Raises
        ------
        DataError
            When the network gives nothing that can be pooled so.
        """
        output: Any = self.network(images)
        pooled, tokens = getattr(output, "pooler_output", None), getattr(output, "last_hidden_state", None)
        if self.pooling == "pooler" and pooled is not None:
            return features_of(pooled)
        if self.pooling in {"pooler", "mean"} and tokens is not None and tokens.ndim == 4:
            return features_of(tokens.movedim(-1, 1) if self._has_channels_last else tokens)
        if self.pooling == "pooler" or tokens is None or tokens.ndim != 3:
            raise DataError(f"{self.where}: the network gives nothing for pooling = {self.pooling!r}: choose another")
        first: Tensor = tokens[:, 0]
        if self.pooling == "cls":
            return first
        mean: Tensor = tokens[:, self._n_prefix(images, tokens) :].mean(dim=1)
        return mean if self.pooling == "mean" else torch.cat((first, mean), dim=1)

    @property
    def _has_channels_last(self) -> bool:
        return getattr(getattr(self.network, "timm_model", None), "output_fmt", None) == CHANNELS_LAST

    def _n_prefix(self, images: Tensor, tokens: Tensor) -> int:
        """Return how many tokens stand before those of the patches: the class token and registers."""
        of_timm = getattr(self.network, "timm_model", None)
        if of_timm is not None:
            return int(getattr(of_timm, "num_prefix_tokens", 0))
        patch = getattr(getattr(self.network, "config", None), "patch_size", None)
        if not isinstance(patch, int):
            return 0
        return max(0, tokens.shape[1] - (images.shape[2] // patch) * (images.shape[3] // patch))


class Unmasked(nn.Module):
    """The encoder of a masked autoencoder (`ViTMAEModel`) that sees all patches, in order, and so draws nothing."""

    def __init__(self, network: Any) -> None:
        super().__init__()
        self.network = network
        self.config = network.config
        self.config.mask_ratio = 0.0

    def forward(self, images: Tensor) -> Any:
        """Return the output of the encoder, whose tokens are the class token and a token for each patch, in order."""
        network: Any = self.network
        in_order = torch.arange(network.embeddings.patch_embeddings.num_patches, device=images.device)
        return network(images, noise=in_order.expand(len(images), -1))


def without_masking(network: nn.Module) -> nn.Module:
    """Return the network itself, or, of a masked autoencoder of transformers, its encoder without masks."""
    return Unmasked(network) if type(network).__name__ == MASKED else network


def features_of(output: Tensor) -> Tensor:
    """Return a vector an image; of a map (n, n_features, height, width), its mean over places."""
    return output.mean(dim=(2, 3)) if output.ndim == 4 else output.flatten(1)


def encode(
    classifier: PixelClassifier,
    encoder: nn.Module,
    batches: Callable[[int, int], Tensor],
    *,
    n_images: int,
    batch: int,
    device: str,
    report: Callable[[int], None],
) -> Tensor:
    """Return the features of many images, (n_images, n_features) float32 on the CPU, without gradients.

    Where memory is short batches are halved.

    Parameters
    ----------
    classifier
        Prepares images for the encoder.
    batches
        Gives the images from one row up to another, (n, 1, size, size) in [0, 1].
    """

    def encoded(some: slice) -> Tensor:
        with explaining("encoding training images"):
            features: Tensor = encoder(classifier.prepared(batches(some.start, some.stop).to(device)))
            return features.float().cpu()

    found, done = list[Tensor](), 0
    classifier.to(device)
    with torch.inference_mode(), no_global_randomness():
        for part in Batches(batch).over(n_images, encoded):
            found.append(part)
            done += len(part)
            report(done)
    classifier.to("cpu")
    return torch.cat(found)
