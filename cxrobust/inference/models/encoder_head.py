"""An image encoder with a linear head: one that was saved, or one fitted here to labelled training images."""

import json
import tempfile
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, PrivateAttr, ValidationInfo, field_validator, model_validator

from cxrobust.errors import DataError, require, some
from cxrobust.files import sha256_modules
from cxrobust.inference.checkpoints import (
    fill_fold,
    one_line,
    said_of_training,
)
from cxrobust.inference.models import model_family
from cxrobust.inference.outputs import match_labels
from cxrobust.inference.remembered import Arrays, remembered
from cxrobust.inference.repository_regimes import SizedRegime
from cxrobust.inference.training_images import TrainingImages, check_apart, read_section, read_training_images
from cxrobust.study.sections import StudyPath

if TYPE_CHECKING:
    from cxrobust.inference.datasets import Dataset, ImageTable
    from cxrobust.inference.graph import PixelClassifier

OF_FEATURES = tuple(
    f"cxrobust.inference.{name}"
    for name in ("graph", "encoders", "precision", "preprocessing", "pretrained", "images", "pixels")
)
OF_FIT = ("cxrobust.inference.finetuning.supervision", "cxrobust.inference.finetuning.training")
"""Modules whose code, beside this one's, determines features, and what is fitted to them."""


@model_family("encoder-head")
class EncoderHead(SizedRegime):
    """An encoder that `AutoModel` loads (DINOv2, RAD-DINO, a vision tower of CLIP or SigLIP, ...) and a linear head.

    The head is a safetensors file with a weight (n_outputs, n_features) and a bias (n_outputs,), or it is fitted to the
    images of `train`: a logistic regression for each finding, penalised by half the squared norm of its weights on
    standardised features. The features of training images are kept among the predictions and computed once.
    """

    code = ("cxrobust.inference.encoders", *OF_FIT)
    family: Literal["encoder-head"]
    pooling: Literal["pooler", "cls", "mean", "cls-mean"] = "pooler"
    """Features: what the network makes of its tokens, its first token, the patches' mean, or both of these."""
    head: StudyPath | None = None
    """The head's safetensors file."""
    outputs: tuple[str, ...] | None = Field(default=None, min_length=1)
    """Names of the head's outputs in order, where its file's metadata do not tell them as `findings`."""
    train: Any | None = None
    """Training images to fit the head to: keys as in [data], which hold for it too where it is of the same kind."""
    penalty: float = Field(default=1e-3, ge=0)
    """Weight of half the squared norm of the head's weights beside the mean cross-entropy, where it is fitted."""
    labels: dict[str, str] = Field(default_factory=dict)
    """The head's or the training set's name of a finding, where it differs by more than case, spaces, underscores."""
    _training: TrainingImages | None = PrivateAttr(default=None)

    @field_validator("train", mode="before")
    @classmethod
    def _train_is_a_data_set(cls, value: object, info: ValidationInfo) -> object:
        return None if value is None else read_section(value, info.context or {})

    @model_validator(mode="after")
    def _has_one_head(self) -> "EncoderHead":
        if (self.head is None) == (self.train is None):
            raise ValueError("give either head, a safetensors file, or train, the images to fit one to")
        if self.train is not None and self.outputs is not None:
            raise ValueError("outputs names those of a head's file, and train fits one: remove outputs")
        return self

    def check_images(self, tested: "Sequence[tuple[Dataset, ImageTable]]") -> None:
        """Raise where a patient of the training images is tested on; ids of another kind of data set tell nothing."""
        if self.train is not None:
            examples = self._examples()
            check_apart((examples.section, examples.table), tested, where=f"regime {self.name!r}")
            self._learnt(tested[0][1].findings)

    def load(self, findings: tuple[str, ...], *, fold: str | None = None) -> "PixelClassifier":
        """Load the encoder and its head as one `Classifier`, after fitting the head where it is to be fitted.

        Raises
        ------
        DataError
            When a file is missing or damaged, the head does not fit the encoder, or a finding has no output.
        """
        torch = require("torch", group="inference")
        from cxrobust.inference import pretrained
        from cxrobust.inference.encoders import Pooled, without_masking
        from cxrobust.inference.graph import PixelClassifier

        folder = self.repository(fold).folder
        config = pretrained.read_config(folder, trust_remote_code=self.trust_remote_code)
        unused = ("text_model", "text_projection", "logit_scale", "logit_bias")
        network: Any = pretrained.load_network(
            folder,
            config=config,
            auto="AutoModel",
            adapter=self.adapter_folder(fold),
            trust_remote_code=self.trust_remote_code,
            unused=unused if self.pooling == "pooler" else (*unused, "pooler"),
        )
        network = pretrained.without_wrapper(network)
        network = getattr(network, "vision_model", network)
        encoder = Pooled(
            without_masking(network), pooling=self.pooling, where=f"regime {self.name!r}, model {folder.name}"
        )
        preprocessing = self.preprocessing(folder, config)
        classifier = PixelClassifier(
            torch.nn.Sequential(encoder),
            columns=range(len(findings)),
            image_size=preprocessing.image_size,
            mean=preprocessing.mean,
            std=preprocessing.std,
            interpolation=preprocessing.interpolation,
        )
        classifier = classifier.eval().requires_grad_(False)
        weight, bias = self._read_head(findings, fold) if self.train is None else self._fit(findings, fold, classifier)
        self._check_width(weight, classifier)
        head = torch.nn.Linear(weight.shape[1], len(findings))
        head.weight.data, head.bias.data = torch.from_numpy(weight).float(), torch.from_numpy(bias).float()
        layers: Any = classifier.network
        layers.append(head)
        return classifier.eval().requires_grad_(False)

    @property
    def paths(self) -> tuple[str | Path | None, ...]:
        """Paths in which `{fold}` may stand."""
        return (*super().paths, self.head)

    def fingerprint(self, *, fold: str | None = None) -> dict[str, str]:
        """Return the SHA-256 of configuration, weights and head, or of the images and labels to fit one to."""
        return super().fingerprint(fold=fold) | (self._examples().fingerprint if self.head is None else {})

    def further_weights(self, fold: str | None) -> tuple[Path, ...]:
        """Return the head's file, where it is not fitted here."""
        head = self._head_file(fold)
        return () if head is None else (head,)

    def facts(self, *, fold: str | None = None) -> dict[str, Any]:
        """Return what configuration, headers of the weights and the training tell of the network."""
        found = super().facts(fold=fold)
        head = self._head_file(fold)
        if head is None:
            found["training"] = self._said_of_fit()
        elif self.adapter is None:
            found["training"] = said_of_training(head.parent)
        return {key: value for key, value in found.items() if value}

    def settings(self) -> dict[str, Any]:
        """Settings as JSON values; paths by name only."""
        return {**super().settings(), "train": None if self.train is None else self.train.settings()}

    def _head_file(self, fold: str | None) -> Path | None:
        if self.head is None:
            return None
        file = Path(fill_fold(str(self.head), fold))
        if not file.is_file():
            raise DataError(f"{file}: the head of regime {self.name!r} is missing: put it there, or correct head")
        return file

    def _read_head(self, findings: Sequence[str], fold: str | None) -> tuple[NDArray[Any], NDArray[Any]]:
        """Return weight and bias of the saved head, a row for each finding."""
        file = self._head_file(fold)
        if file is None:
            raise DataError(f"regime {self.name!r}: it has no head")
        tensors, names = _read_linear(file)
        weights = [one for one in tensors.values() if one.ndim == 2]
        biases = [one for one in tensors.values() if one.ndim == 1]
        if len(weights) != 1 or len(biases) > 1 or (biases and len(biases[0]) != len(weights[0])):
            shapes = some((f"{name} {one.shape}" for name, one in tensors.items()), most=6)
            raise DataError(
                f"{file}: a linear head is one weight (n_outputs, n_features) and one bias (n_outputs,), and the file "
                f"has {shapes or 'nothing'}: save those alone"
            )
        weight = weights[0]
        bias = biases[0] if biases else np.zeros(len(weight), dtype=weight.dtype)
        names = self.outputs or names
        if names is None or len(names) != len(weight):
            said = "does not name them" if names is None else f"{len(names)} names are given"
            raise DataError(
                f"{file}: the head has {len(weight)} outputs and {said}: name them in order with outputs in regime "
                f"{self.name!r}"
            )
        columns = list(match_labels(findings, names, chosen=self.labels, where=f"regime {self.name!r}, {file.name}"))
        return np.ascontiguousarray(weight[columns]), np.ascontiguousarray(bias[columns])

    def _examples(self) -> TrainingImages:
        if self._training is None:
            section: Any = self.train
            self._training = read_training_images(section, folder=self._workplace.cache, report=self._workplace.report)
        return self._training

    def _learnt(self, findings: Sequence[str]) -> tuple[int, ...]:
        """Return the column of each finding in the labels of the training images."""
        table = self._examples().table
        where = f"regime {self.name!r}, training images {table.name}"
        mend = "choose training images with labels of it (a column that is blank everywhere has none)"
        return match_labels(
            findings, table.findings, chosen=self.labels, where=where, named="labelled finding", mend=mend
        )

    def _fit(
        self, findings: Sequence[str], fold: str | None, classifier: "PixelClassifier"
    ) -> tuple[NDArray[Any], NDArray[Any]]:
        """Return weight and bias of the fitted head, a row for each finding."""
        examples = self._examples()
        labels = examples.labels(self._learnt(findings))
        of_features = {
            "encoder": super().fingerprint(fold=fold),
            "images": list(examples.digests),
            "size": examples.section.size,
            "image_size": self.image_size,
            "pooling": self.pooling,
            "code": sha256_modules(OF_FEATURES),
        }
        of_head = [of_features, list(findings), labels.tolist(), self.penalty, sha256_modules((__name__, *OF_FIT))]
        cache = self._workplace.cache

        def make() -> Arrays:
            made = remembered(cache, "features", of_features, lambda: self._features(examples, classifier))
            return fit_head(made["features"], labels, penalty=self.penalty)

        head = remembered(cache, "head", of_head, make)
        return head["weight"], head["bias"]

    def _features(self, examples: TrainingImages, classifier: "PixelClassifier") -> Arrays:
        """Return what the encoder makes of the training images, (n_images, n_features)."""
        import torch

        from cxrobust.inference.encoders import encode
        from cxrobust.inference.precision import in_precision
        from cxrobust.inference.runtime import choose_device

        work = self._workplace
        device = choose_device(work.device)
        n_images = len(examples.table.ids)
        encoder: Any = classifier.network
        with ExitStack() as stack:
            folder = work.cache or Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="cxrobust-")))
            pixels = examples.pixels(folder=folder, report=work.report)
            stack.enter_context(in_precision(device, "fp32"))
            features = encode(
                classifier,
                encoder,
                lambda first, last: torch.from_numpy(pixels.batch(np.arange(first, last))),
                n_images=n_images,
                batch=work.batch,
                device=device,
                report=lambda done: work.report("encoding training images", done, n_images),
            )
        return {"features": features.numpy()}

    def _check_width(self, weight: NDArray[Any], classifier: "PixelClassifier") -> None:
        """Raise where the head wants another number of features than the encoder gives."""
        import torch

        side = classifier.image_size or (64, 64)
        with torch.inference_mode():
            try:
                width = classifier.network(classifier.prepared(torch.zeros(1, 1, *side))).shape[1]
            except DataError:
                raise
            except Exception as error:  # a network may raise anything for a size that it does not take
                raise DataError(
                    f"regime {self.name!r}, model {self.repository(None).name}: the network failed on an image of "
                    f"{side[0]} × {side[1]} pixels ({one_line(error)}): give image_size"
                ) from error
        if width != weight.shape[1]:
            raise DataError(
                f"regime {self.name!r}: the head wants {weight.shape[1]:,} features and the encoder gives {width:,} "
                f"with pooling = {self.pooling!r}: give the head of this encoder, or correct pooling"
            )

    def _said_of_fit(self) -> dict[str, Any]:
        table = self._examples().table
        return {
            "tuned": "a linear head",
            "images": len(table.ids),
            "patients": len(set(table.patients)),
            "data set": table.name,
            "penalty": self.penalty,
        }


def fit_head(features: NDArray[np.float32], labels: NDArray[np.int8], *, penalty: float) -> Arrays:
    """Return `weight` (n_findings, n_features) and `bias` (n_findings,) of penalised logistic regressions.

    Each finding's own: the mean cross-entropy of the images that are labelled for it, plus `penalty` / 2 times the
    squared norm of the weights, which count on features standardised to mean 0 and standard deviation 1; given back for
    features as they are.
    """
    import torch

    from cxrobust.inference.finetuning.supervision import fit_layer

    plain = torch.from_numpy(np.asarray(features)).double()
    mean, std = plain.mean(dim=0), plain.std(dim=0, correction=0)
    std = torch.where(std > 1e-8 * (1 + mean.abs()), std, torch.ones_like(std))
    standardised = (plain - mean) / std
    weights, biases = [], []
    for column in range(labels.shape[1]):
        own = torch.from_numpy(labels[:, column : column + 1])
        known = own[:, 0] >= 0
        layer = torch.nn.Linear(plain.shape[1], 1, dtype=torch.float64)
        torch.nn.init.zeros_(layer.weight)
        torch.nn.init.zeros_(layer.bias)
        fit_layer(layer, standardised[known], own[known], penalty=penalty, iterations=500)
        weights.append(layer.weight.detach() / std)
        biases.append(layer.bias.detach() - weights[-1] @ mean)
    return {"weight": torch.cat(weights).numpy(), "bias": torch.cat(biases).numpy()}


def _read_linear(file: Path) -> tuple[dict[str, NDArray[Any]], tuple[str, ...] | None]:
    """Return the tensors of a safetensors file, and the findings that its metadata name."""
    safetensors = require("safetensors", group="inference")
    try:
        with safetensors.safe_open(file, framework="pt") as opened:
            names = opened.keys()  # an open file is no mapping that could be walked over
            tensors = {name: opened.get_tensor(name).float().numpy() for name in names}
            said = (opened.metadata() or {}).get("findings")
    except Exception as error:  # safetensors raises its own error, OSError and ValueError
        raise DataError(f"{file}: the head is damaged ({one_line(error)}): get or save the file again") from error
    if said is None:
        return tensors, None
    try:
        names = json.loads(said)
    except ValueError:
        names = said.split(",")
    return tensors, tuple(str(name).strip() for name in names) if isinstance(names, list) else None
