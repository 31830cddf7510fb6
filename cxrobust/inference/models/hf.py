"""Image classifiers of Hugging Face: a folder or a repository of the hub, with a PEFT adapter or without."""

from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from pydantic import Field, model_validator

from cxrobust.errors import DataError, require
from cxrobust.inference.checkpoints import (
    adapter_facts,
    adapter_files,
    find_adapter,
    fold_problem,
    hashes,
    model_files,
)
from cxrobust.inference.models import Regime, model_family
from cxrobust.inference.outputs import match_labels
from cxrobust.inference.preprocessing import read_preprocessing
from cxrobust.inference.repositories import Repository
from cxrobust.study.sections import StudyPath

if TYPE_CHECKING:
    from cxrobust.inference.graph import PixelClassifier


@model_family("hf-classifier")
class HfClassifier(Regime):
    """A model that `AutoModelForImageClassification` loads.

    The image is resized to the model's own size (antialiased, whole image, no crop), repeated to its channels and
    normalised as its `preprocessor_config.json` says, by mean and standard deviation 0.5 where it says nothing; all of
    it is differentiable and happens after the perturbation.
    """

    family: Literal["hf-classifier"]
    model: str = Field(min_length=1)
    """A folder relative to the study file, or a repository of the hub such as `google/vit-base-patch16-224`."""
    revision: str | None = None
    """Branch, tag or commit of a hub repository."""
    adapter: StudyPath | None = None
    """Folder of a PEFT adapter that goes on top."""
    head: Literal["auto", "sigmoid", "softmax"] = "auto"
    """Whether outputs are findings (`sigmoid`) or exclusive classes (`softmax`); `auto` follows `problem_type`."""
    outputs: tuple[str, ...] | None = Field(default=None, min_length=1)
    """Names of the model's outputs in order, where its configuration does not tell them."""
    labels: dict[str, str] = Field(default_factory=dict)
    """The model's name of a finding, where it differs by more than case, spaces and underscores."""
    trust_remote_code: bool = False
    """Whether Python code that comes with the model may run."""

    @model_validator(mode="after")
    def _folds_have_a_place(self) -> "HfClassifier":
        if problem := fold_problem(self.cross_fit, (self.model, self.adapter)):
            raise ValueError(problem)
        return self

    def load(self, findings: tuple[str, ...], *, fold: str | None = None) -> "PixelClassifier":
        """Load the network, its adapter and its preprocessing as one `Classifier`.

        Raises
        ------
        DataError
            When the checkpoint is missing, truncated, incomplete, or has no output for a finding.
        """
        require("torch", group="inference")
        from cxrobust.inference import pretrained
        from cxrobust.inference.graph import PixelClassifier

        folder = self._repository(fold).folder
        adapter = self._adapter_folder(fold)
        config = pretrained.read_config(folder, outputs=self.outputs, trust_remote_code=self.trust_remote_code)
        names = tuple(config.id2label[index] for index in range(config.num_labels))
        columns = match_labels(findings, names, chosen=self.labels, where=f"regime {self.name!r}, model {folder.name}")
        softmax = self._is_softmax(config, folder)
        network = pretrained.load_network(
            folder, config=config, adapter=adapter, trust_remote_code=self.trust_remote_code
        )
        preprocessing = read_preprocessing(folder, config)
        classifier = PixelClassifier(
            network,
            columns=columns,
            softmax=softmax,
            image_size=preprocessing.image_size,
            mean=preprocessing.mean,
            std=preprocessing.std,
            interpolation=preprocessing.interpolation,
        )
        return classifier.eval().requires_grad_(False)

    def fingerprint(self, *, fold: str | None = None) -> dict[str, str]:
        """Return the SHA-256 of configuration, weights and adapter."""
        files = model_files(self._repository(fold).folder, code=self.trust_remote_code)
        adapter = self._adapter_folder(fold)
        return hashes(files if adapter is None else (*files, *adapter_files(adapter)))

    def facts(self, *, fold: str | None = None) -> dict[str, Any]:
        """Return what configuration, headers of the weights, adapter and `training.json` tell of the network."""
        found = self._repository(fold).facts() | adapter_facts(self._adapter_folder(fold))
        return {key: value for key, value in found.items() if value}

    def settings(self) -> dict[str, Any]:
        """Settings as JSON values; paths by name only."""
        return {**super().settings(), "model": self._repository(None).name}

    def _adapter_folder(self, fold: str | None) -> Path | None:
        return find_adapter(self.adapter, fold=fold, regime=self.name)

    def _repository(self, fold: str | None) -> Repository:
        return Repository(
            model=self.model,
            study_folder=self._study_folder,
            revision=self.revision,
            code=self.trust_remote_code,
            fold=fold,
        )

    def _is_softmax(self, config: Any, folder: Path) -> bool:
        if config.num_labels == 1 and self.head == "softmax":
            raise DataError(f'{folder}: a softmax needs two outputs and the model has one: write head = "sigmoid"')
        if self.head != "auto":
            return self.head == "softmax"
        return bool(config.num_labels > 1 and config.problem_type != "multi_label_classification")
