"""Models that were exported to ONNX, with gradients where torch can read them back."""

from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from pydantic import Field, model_validator

from cxrobust.errors import DataError, MissingGroupError, nearest, require
from cxrobust.inference.checkpoints import fill_fold, fold_problem, hashes, said_of_training
from cxrobust.inference.models import Regime, model_family
from cxrobust.inference.onnx_description import Described, describe
from cxrobust.inference.outputs import match_labels
from cxrobust.study.sections import StudyPath

if TYPE_CHECKING:
    from cxrobust.inference.graph import PixelClassifier
    from cxrobust.inference.onnx_files import Batched


@model_family("onnx")
class Onnx(Regime):
    """An ONNX file that maps images (n, channels, height, width) to an output for each finding.

    Torch reads it back with gradients where onnx2torch knows its operators and gives what onnxruntime gives. Else
    onnxruntime runs it on the CPU, and only what needs no gradient can run: score-based attacks, noise, corruptions.
    """

    code = ("cxrobust.inference.onnx_files",)
    family: Literal["onnx"]
    model: StudyPath
    """The .onnx file."""
    outputs: tuple[str, ...] = Field(min_length=1)
    """Names of its outputs' columns, in order."""
    output: str | None = None
    """Which output holds them, where it has several; the first when absent."""
    head: Literal["sigmoid", "softmax", "probabilities"] = "sigmoid"
    """What the outputs are: log-odds of sigmoids, logits of one softmax, or probabilities already."""
    mean: tuple[float, ...] = (0.0,)
    """What is taken from pixels in [0, 1], one number or one a channel."""
    std: tuple[float, ...] = (1.0,)
    """What they are then divided by."""
    image_size: int | None = Field(default=None, ge=8, le=4096)
    """Side that images are resized to, where the file takes any; else what the file takes."""
    labels: dict[str, str] = Field(default_factory=dict)
    """The model's name of a finding, where it differs by more than case, spaces and underscores."""

    @model_validator(mode="after")
    def _can_be_read(self) -> "Onnx":
        if self.head == "softmax" and len(self.outputs) < 2:
            raise ValueError('a softmax needs two outputs: name both, or write head = "sigmoid"')
        if min(self.std) <= 0:
            raise ValueError("std must be above 0")
        if problem := fold_problem(self.cross_fit, (self.model,)):
            raise ValueError(problem)
        return self

    @property
    def may_give_probabilities(self) -> bool:
        """Whether nobody said what the outputs are."""
        return "head" not in self.model_fields_set

    def load(self, findings: tuple[str, ...], *, fold: str | None = None) -> "PixelClassifier":
        """Load the file as one `Classifier`.

        Raises
        ------
        DataError
            When the file is missing, damaged, of another form, or has no output for a finding.
        """
        require("torch", group="inference")
        from cxrobust.inference.graph import LogOddsOfProbabilities, PixelClassifier

        file = self._file(fold)
        where = f"regime {self.name!r}, {file.name}"
        described = describe(file)
        columns = match_labels(findings, self.outputs, chosen=self.labels, where=where)
        output = self._output(described, where)
        n_channels = described.n_channels or 1
        for key, values in (("mean", self.mean), ("std", self.std)):
            if len(values) not in {1, n_channels}:
                raise DataError(f"{where}: {key} has {len(values)} numbers, and the file takes {n_channels} channels")
        network, n_outputs = self._network(file, described, where)
        if n_outputs != len(self.outputs):
            raise DataError(
                f"{where}: its output {output!r} has {n_outputs} columns and outputs names {len(self.outputs)}: "
                f"name each"
            )
        classifier = PixelClassifier(
            LogOddsOfProbabilities(network) if self.head == "probabilities" else network,
            columns=columns,
            softmax=self.head == "softmax",
            image_size=self._size(described),
            mean=self.mean * n_channels if len(self.mean) == 1 else self.mean,
            std=self.std * n_channels if len(self.std) == 1 else self.std,
        )
        return classifier.eval().requires_grad_(False)

    def gradient_problem(self, *, fold: str | None = None) -> str | None:
        """Return a sentence on why torch cannot read the file back with gradients; None where it can."""
        from cxrobust.inference.onnx_files import ScoresAlone

        file = self._file(fold)
        try:
            network, _ = self._network(file, describe(file), f"regime {self.name!r}, {file.name}")
        except (DataError, MissingGroupError):
            return None
        return network.network.refusal if isinstance(network.network, ScoresAlone) else None

    def fingerprint(self, *, fold: str | None = None) -> dict[str, str]:
        """Return the SHA-256 of the file, and of those beside it that hold its weights."""
        file = self._file(fold)
        return hashes([file, *describe(file).data_files])

    def facts(self, *, fold: str | None = None) -> dict[str, Any]:
        """Return what the file tells of itself."""
        file = self._file(fold)
        described = describe(file)
        size = self._size(described)
        found = {
            "architecture": "an ONNX file",
            "n_parameters": described.n_parameters,
            "resolution": None if size is None else list(size),
            "source": "folder",
            "training": said_of_training(file.parent),
        }
        return {key: value for key, value in found.items() if value}

    def _network(self, file: Path, described: Described, where: str) -> "tuple[Batched, int]":
        from cxrobust.inference import onnx_files

        return onnx_files.load(file, described, output=self._output(described, where), where=where)

    def _output(self, described: Described, where: str) -> str:
        output = self.output or described.outputs[0]
        if output not in described.outputs:
            raise DataError(
                f"{where}: it has no output {output!r}{nearest(output, described.outputs)}: its outputs are "
                f"{', '.join(described.outputs)}"
            )
        return output

    def _size(self, described: Described) -> tuple[int, int] | None:
        own = None if self.image_size is None else (self.image_size, self.image_size)
        return described.image_size or own

    def _file(self, fold: str | None) -> Path:
        return Path(fill_fold(str(self.model), fold))
