"""Image classifiers of Hugging Face: a folder or a repository of the hub, with a PEFT adapter or without."""

from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from pydantic import Field

from cxrobust.errors import DataError, require
from cxrobust.inference.models import model_family
from cxrobust.inference.outputs import match_labels
from cxrobust.inference.preprocessing import read_preprocessing
from cxrobust.inference.repository_regimes import RepositoryRegime

if TYPE_CHECKING:
    from cxrobust.inference.graph import PixelClassifier


@model_family("hf-classifier")
class HfClassifier(RepositoryRegime):
    """A model that `AutoModelForImageClassification` loads.

    The image is resized to the model's own size (antialiased, whole image, no crop), repeated to its channels and
    normalised as its `preprocessor_config.json`, the class that this names or, of a model of timm, its `config.json`
    says, by mean and standard deviation 0.5 where none says it; all of it is differentiable and happens after the
    perturbation.
    """

    family: Literal["hf-classifier"]
    head: Literal["auto", "sigmoid", "softmax"] = "auto"
    """Whether outputs are findings (`sigmoid`) or exclusive classes (`softmax`); `auto` follows `problem_type`."""
    outputs: tuple[str, ...] | None = Field(default=None, min_length=1)
    """Names of the model's outputs in order, where its configuration does not tell them."""
    labels: dict[str, str] = Field(default_factory=dict)
    """The model's name of a finding, where it differs by more than case, spaces and underscores."""

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

        folder = self.repository(fold).folder
        adapter = self.adapter_folder(fold)
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

    def _is_softmax(self, config: Any, folder: Path) -> bool:
        if config.num_labels == 1 and self.head == "softmax":
            raise DataError(f'{folder}: a softmax needs two outputs and the model has one: write head = "sigmoid"')
        if self.head != "auto":
            return self.head == "softmax"
        return bool(config.num_labels > 1 and config.problem_type != "multi_label_classification")
