"""The chest X-ray classifiers of torchxrayvision, by name or with a weight file of the same architecture."""

import io
import warnings
from contextlib import redirect_stdout
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any, Literal

from pydantic import Field, field_validator, model_validator

from cxrobust.errors import DataError, nearest, require
from cxrobust.inference.checkpoints import count_weights, fill_fold, fold_problem, hashes, one_line, said_of_training
from cxrobust.inference.models import Regime, model_family
from cxrobust.inference.outputs import NAME_ALL, match_labels, plain
from cxrobust.inference.state_dicts import state_of
from cxrobust.study.sections import StudyPath

if TYPE_CHECKING:
    from torch import Tensor, nn

    from cxrobust.inference.graph import PixelClassifier

SIZES = {
    "densenet121-res224-all": 224,
    "densenet121-res224-nih": 224,
    "densenet121-res224-pc": 224,
    "densenet121-res224-chex": 224,
    "densenet121-res224-rsna": 224,
    "densenet121-res224-mimic_nb": 224,
    "densenet121-res224-mimic_ch": 224,
    "resnet50-res512-all": 512,
}
"""Names of weights, and the side that each was trained at."""
ALSO_CALLED = {
    "airspaceopacity": "Lung Opacity",
    "hiatalhernia": "Hernia",
    "infiltrate": "Infiltration",
    "infiltrates": "Infiltration",
    "pleuraleffusion": "Effusion",
    "pulmonaryedema": "Edema",
    "pulmonaryfibrosis": "Fibrosis",
    "pulmonarymass": "Mass",
}
"""What data sets call an output, as `plain` writes it, where it reads otherwise in torchxrayvision."""
NO_OUTPUT = "(no output)"
BLOCKS = ("DenseNet", "_DenseBlock", "_DenseLayer", "_Transition")
LAYERS = ("AvgPool2d", "BatchNorm2d", "Conv2d", "Linear", "MaxPool2d", "ModuleDict", "ReLU", "Sequential")
"""What a pickled network may consist of: layers of torch, and the blocks of either library's DenseNet."""


@model_family("torchxrayvision")
class TorchXRayVision(Regime):
    """A classifier of torchxrayvision, whose outputs are taken as log-odds, before its own scaling by thresholds.

    Images are resized to its size and brought to −1024 to 1024 within the graph. The weights as distributed are pickled
    networks: only the classes that such a network consists of are built from them, and no other code runs.
    """

    code = ("cxrobust.inference.state_dicts",)
    family: Literal["torchxrayvision"]
    model: str
    """Name of the weights, such as `densenet121-res224-all`."""
    weights: StudyPath | None = None
    """A file to load instead: your own, or as distributed; else the library downloads its own once."""
    outputs: tuple[str, ...] | None = Field(default=None, min_length=1)
    """Names of the outputs in order, where `weights` are fine-tuned for others."""
    image_size: int | None = Field(default=None, ge=32, le=4096)
    """Side that images are resized to; that of the named weights when absent."""
    labels: dict[str, str] = Field(default_factory=dict)
    """The model's name of a finding, where it differs by more than case, spaces and underscores."""

    @field_validator("model")
    @classmethod
    def _is_known(cls, value: str) -> str:
        if value not in SIZES:
            raise ValueError(f"unknown name of weights{nearest(value, SIZES)}: known are {', '.join(SIZES)}")
        return value

    @model_validator(mode="after")
    def _folds_have_a_place(self) -> "TorchXRayVision":
        if self.outputs is not None and self.weights is None:
            raise ValueError("outputs are those of weights of your own: give weights, or remove outputs")
        if problem := fold_problem(self.cross_fit, (self.weights,)):
            raise ValueError(problem)
        return self

    def load(self, findings: tuple[str, ...], *, fold: str | None = None) -> "PixelClassifier":
        """Build the network and fill it from the weight file.

        Raises
        ------
        DataError
            When the file is missing, damaged or of another network, or a finding has no output.
        """
        torch = require("torch", group="inference")
        from cxrobust.inference.graph import PixelClassifier

        library = _library()
        names = self.outputs or tuple(name or NO_OUTPUT for name in library.model_urls[self.model]["labels"])
        file = self._file(fold)
        columns = match_labels(
            findings,
            names,
            chosen={**_also_called(findings, names), **self.labels},
            where=f"regime {self.name!r}, {self.model}",
            mend=NAME_ALL if self.weights is not None else "give weights of your own and name their outputs",
        )
        with torch.random.fork_rng(devices=[]):
            network = _build(self.model, n_outputs=len(names), library=library)
        state = _read_state(file, library=library)
        state = {key: value for key, value in state.items() if key != "op_threshs"}
        try:
            network.load_state_dict(state)
        except RuntimeError as error:
            raise DataError(
                f"{file}: the weights are not those of {self.model.partition('-')[0]} with {len(names)} outputs "
                f"({one_line(error)}): correct weights, model or outputs"
            ) from error
        side = self._side
        classifier = PixelClassifier(
            network.float(), columns=columns, image_size=(side, side), mean=(0.5,), std=(1 / 2048,)
        )
        return classifier.eval().requires_grad_(False)

    def fingerprint(self, *, fold: str | None = None) -> dict[str, str]:
        """Return the SHA-256 of the weight file."""
        return hashes([self._file(fold)])

    def facts(self, *, fold: str | None = None) -> dict[str, Any]:
        """Return the architecture, the size, and what stands beside weights of one's own."""
        file = self._file(fold)
        found = {
            "architecture": f"torchxrayvision {self.model.partition('-')[0]}",
            "n_parameters": count_weights([file]),
            "resolution": [self._side, self._side],
            "source": "folder",
            "training": {} if self.weights is None else said_of_training(file.parent),
        }
        return {key: value for key, value in found.items() if value}

    @property
    def _side(self) -> int:
        return self.image_size or SIZES[self.model]

    def _file(self, fold: str | None) -> Path:
        """Return the weight file, which the library downloads once where none is named."""
        if self.weights is not None:
            file = Path(fill_fold(str(self.weights), fold))
            if not file.is_file():
                raise DataError(f"{file}: the weights of regime {self.name!r} are missing: correct weights")
            return file
        library = _library()
        try:
            with redirect_stdout(io.StringIO()):
                return Path(library.get_weights(self.model))
        except Exception as error:  # a download fails in many ways
            raise DataError(
                f"regime {self.name!r}: the weights {self.model} cannot be downloaded ({one_line(error, most=160)}): "
                f"get {library.model_urls[self.model]['weights_url']} and name the file with weights"
            ) from error


def _library() -> ModuleType:
    """Import the library's models; it would turn all warnings off for good."""
    with warnings.catch_warnings():
        return require("torchxrayvision.models", group="torchxrayvision")


def _also_called(findings: tuple[str, ...], names: tuple[str, ...]) -> dict[str, str]:
    """Return the output of each finding that is called otherwise in torchxrayvision."""
    own = set(map(plain, names))
    called = {finding: ALSO_CALLED.get(plain(finding)) for finding in findings if plain(finding) not in own}
    return {finding: output for finding, output in called.items() if output in names}


def _build(name: str, *, n_outputs: int, library: ModuleType) -> "nn.Module":
    """Return the network that weights of this name belong to, with other numbers in it."""
    if name.startswith("densenet"):
        made: nn.Module = library.DenseNet(num_classes=n_outputs)
        return made
    import torch
    from torchvision.models import resnet50

    network: nn.Module = resnet50(num_classes=n_outputs, weights=None)
    network.conv1 = torch.nn.Conv2d(1, 64, kernel_size=7, stride=2, padding=3, bias=False)
    return network


def _read_state(file: Path, *, library: ModuleType) -> "dict[str, Tensor]":
    """Return the tensors of a weight file by name: safetensors, or pickled as tensors or as a network."""
    import torch
    from torchvision.models import densenet

    allowed: list[Any] = [set, *(getattr(torch.nn, name) for name in LAYERS)]
    allowed += [getattr(module, name) for module in (library, densenet) for name in BLOCKS]
    try:
        if file.suffix == ".safetensors":
            found: Any = require("safetensors.torch", group="inference").load_file(file)
        else:
            with warnings.catch_warnings(), torch.serialization.safe_globals(allowed):
                warnings.simplefilter("ignore")  # an old network's source may differ from today's
                found = torch.load(file, map_location="cpu", weights_only=True)
    except Exception as error:  # both formats raise errors of many types
        raise DataError(
            f"{file}: the weights are damaged, or hold more than the tensors and layers of a network "
            f"({one_line(error, most=160)}): get the file again, or save its state_dict as safetensors"
        ) from error
    if isinstance(found, torch.nn.Module):
        for module in found.modules():  # networks saved before torch 1.6 lack it
            module.__dict__.setdefault("_non_persistent_buffers_set", set())
        found = found.state_dict()
    return state_of(found, where=str(file))
