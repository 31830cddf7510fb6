"""Models of images and texts in one space (CLIP, SigLIP), of transformers or of open_clip."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from cxrobust.errors import DataError, require
from cxrobust.inference.checkpoints import one_line
from cxrobust.inference.preprocessing import Preprocessing, read_preprocessing
from cxrobust.inference.pretrained import load_network, quiet, read_config, without_wrapper
from cxrobust.inference.vision_language import load_tokenizer

TEXT_PARTS = ("text_model", "text_projection", "text", "transformer", "token_embedding", "ln_final")


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Contrastive:
    """Both encoders, and what images must be like."""

    encode_image: nn.Module
    """Maps prepared images to features (n, n_features), not normalised."""
    encode_text: Callable[[str], Tensor]
    """Maps one text to its features (n_features,), not normalised."""
    scale: float
    """What cosines are multiplied by."""
    preprocessing: Preprocessing
    forget_texts: Callable[[], None]
    """Lets go of what only texts need."""


class Similarity(nn.Module):
    """Scaled cosine with the present prompts minus that with the absent ones: the log-odds of a softmax over the pair.

    Parameters
    ----------
    encoder
        Maps prepared images to features.
    present, absent
        (n_findings, n_features), each of norm 1.
    """

    def __init__(self, encoder: nn.Module, *, present: Tensor, absent: Tensor, scale: float) -> None:
        super().__init__()
        self.encoder = encoder
        self.register_buffer("direction", (scale * (present - absent)).float(), persistent=False)
        self.direction: Tensor

    def forward(self, images: Tensor) -> Tensor:
        """Return the log-odds (n, n_findings) of prepared images."""
        return F.normalize(self.encoder(images), dim=1) @ self.direction.T


class _ImageFeatures(nn.Module):
    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, images: Tensor) -> Tensor:
        network: Any = self.network
        return _bare(network.get_image_features(pixel_values=images))


def load_transformers(folder: Path, *, adapter: Path | None = None, trust_remote_code: bool) -> Contrastive:
    """Load a model that has `get_image_features`, `get_text_features` and a logit scale, with its tokenizer.

    Raises
    ------
    DataError
        When it cannot be loaded or is no such model.
    """
    config = read_config(folder, trust_remote_code=trust_remote_code)
    network: Any = load_network(
        folder, config=config, auto="AutoModel", adapter=adapter, trust_remote_code=trust_remote_code
    )
    network = without_wrapper(network)
    if not all(hasattr(network, name) for name in ("get_image_features", "get_text_features", "logit_scale")):
        raise DataError(
            f"{folder}: {type(network).__name__} is no model of images and texts in one space: give a CLIP or SigLIP, "
            f"or another family"
        )
    tokenizer = load_tokenizer(folder, trust_remote_code=trust_remote_code)
    is_padded = str(config.model_type).startswith("siglip")
    most = int(config.text_config.max_position_embeddings)

    def encode_text(text: str) -> Tensor:
        padding = {"padding": "max_length", "max_length": most} if is_padded else {}
        tokens = tokenizer(text, return_tensors="pt", **padding)
        ids = tokens["input_ids"]
        if ids.shape[1] > most:
            raise DataError(f"{folder}: the prompt {text!r} has {ids.shape[1]} tokens, of at most {most}: shorten it")
        mask = {} if is_padded else {"attention_mask": tokens["attention_mask"]}
        return _bare(network.get_text_features(input_ids=ids, **mask))[0]

    return Contrastive(
        encode_image=_ImageFeatures(network),
        encode_text=encode_text,
        scale=float(network.logit_scale.detach().exp()),
        preprocessing=read_preprocessing(folder, config),
        forget_texts=lambda: _forget(network),
    )


def load_open_clip(folder: Path) -> Contrastive:
    """Load a model of open_clip from a folder with `open_clip_config.json`, weights and, where it needs one, tokenizer.

    Raises
    ------
    DataError
        When it cannot be loaded.
    MissingGroupError
        When open_clip is not installed.
    """
    open_clip = require("open_clip", group="open-clip")
    name = f"local-dir:{folder}"
    try:
        with quiet(), torch.random.fork_rng(devices=[]):
            network: Any = open_clip.create_model(name, device="cpu", precision="fp32", weights_only=True)
            tokenizer: Any = open_clip.get_tokenizer(name)
    except Exception as error:  # open_clip raises errors of many types
        raise DataError(
            f"{folder}: open_clip cannot load the model ({one_line(error)}): get it again, "
            "with the files of its tokenizer beside it"
        ) from error
    network = network.float().eval()
    most = int(getattr(tokenizer, "context_length", None) or 77)
    roomy = open_clip.get_tokenizer(name, context_length=4 * most)

    def encode_text(text: str) -> Tensor:
        if bool((roomy([text])[0, most:] != roomy([text])[0, -1]).any()):
            raise DataError(f"{folder}: the prompt {text!r} has more than {most} tokens: shorten it")
        features: Tensor = network.encode_text(tokenizer([text]))[0]
        return features

    return Contrastive(
        encode_image=network.visual,
        encode_text=encode_text,
        scale=float(network.logit_scale.detach().exp()),
        preprocessing=_preprocessing_of(network.visual),
        forget_texts=lambda: _forget(network),
    )


def mean_direction(features: Sequence[Tensor]) -> Tensor:
    """Return the mean of normalised features, normalised: the text features of several templates."""
    return F.normalize(torch.stack([F.normalize(one, dim=0) for one in features]).mean(dim=0), dim=0)


def _preprocessing_of(visual: Any) -> Preprocessing:
    settings: dict[str, Any] = visual.preprocess_cfg
    return Preprocessing(
        image_size=_pair(visual.image_size),
        mean=tuple(settings["mean"]),
        std=tuple(settings["std"]),
        interpolation="bilinear" if settings.get("interpolation") == "bilinear" else "bicubic",
    )


def _pair(size: Any) -> tuple[int, int]:
    return (int(size), int(size)) if isinstance(size, int) else (int(size[0]), int(size[1]))


def _bare(output: Any) -> Tensor:
    """Return the features of an output, which newer versions of transformers wrap."""
    features: Tensor = output if isinstance(output, Tensor) else output.pooler_output
    return features


def _forget(network: nn.Module) -> None:
    for name in TEXT_PARTS:
        if isinstance(getattr(network, name, None), nn.Module):
            setattr(network, name, None)
