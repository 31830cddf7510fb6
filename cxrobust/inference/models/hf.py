"""Image classifiers of Hugging Face: a folder or a repository of the hub, with a PEFT adapter or without."""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from pydantic import Field, PrivateAttr, model_validator

from cxrobust.errors import DataError, nearest, require, some
from cxrobust.inference.checkpoints import (
    ADAPTER_FILES,
    FOLD,
    adapter_files,
    count_weights,
    fill_fold,
    fold_problem,
    hashes,
    model_files,
    one_line,
    read_table,
    said_of_adapter,
    said_of_training,
    weight_files,
)
from cxrobust.inference.models import Regime, model_family
from cxrobust.study_sections import StudyPath

if TYPE_CHECKING:
    from cxrobust.inference.graph import PixelClassifier

HUB_NAME = r"[\w.-]+(/[\w.-]+)?"


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
    _study_folder: Path = PrivateAttr(default_factory=Path)

    def model_post_init(self, context: Any, /) -> None:
        """Remember the folder of the study file, which `model` is relative to."""
        folder = (context or {}).get("study_folder")
        self._study_folder = Path() if folder is None else Path(folder)

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

        folder = self._model_folder(fold)
        adapter = self._adapter_folder(fold)
        config = pretrained.read_config(folder, outputs=self.outputs, trust_remote_code=self.trust_remote_code)
        names = tuple(config.id2label[index] for index in range(config.num_labels))
        columns = match_labels(findings, names, chosen=self.labels, where=f"regime {self.name!r}, model {folder.name}")
        softmax = self._is_softmax(config, folder)
        network = pretrained.load_network(
            folder, config=config, adapter=adapter, trust_remote_code=self.trust_remote_code
        )
        preprocessing = pretrained.read_preprocessing(folder, config)
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
        files = model_files(self._model_folder(fold), code=self.trust_remote_code)
        adapter = self._adapter_folder(fold)
        return hashes(files if adapter is None else (*files, *adapter_files(adapter)))

    def facts(self, *, fold: str | None = None) -> dict[str, Any]:
        """Return what configuration, headers of the weights, adapter and `training.json` tell of the network."""
        folder, adapter = self._model_folder(fold), self._adapter_folder(fold)
        architectures = read_table(folder / "config.json").get("architectures") or [None]
        found = {
            "architecture": architectures[0],
            "n_parameters": count_weights(weight_files(folder)),
            "source": "hub" if self._local_folder(fold) is None else "folder",
            "commit": folder.name if self._local_folder(fold) is None else None,
            "training": said_of_training(folder if adapter is None else adapter),
        }
        if adapter is not None:
            found["adapter"] = said_of_adapter(adapter)
            found["n_adapter_parameters"] = count_weights([adapter / ADAPTER_FILES[1]])
        return {key: value for key, value in found.items() if value}

    def settings(self) -> dict[str, Any]:
        """Settings as JSON values; paths by name only."""
        local = self._local_folder(None)
        return {**super().settings(), "model": self.model if local is None else local.name}

    def _adapter_folder(self, fold: str | None) -> Path | None:
        if self.adapter is None:
            return None
        folder = Path(fill_fold(str(self.adapter), fold))
        if not folder.is_dir():
            raise DataError(
                f"{folder}: there is no such adapter folder: put {' and '.join(ADAPTER_FILES)} there, or correct "
                f"adapter of regime {self.name!r}"
            )
        return folder

    def _local_folder(self, fold: str | None) -> Path | None:
        """Return the folder that `model` names, or None where it can only be a repository of the hub.

        A name such as `checkpoints/vit` is a folder when `checkpoints` stands beside the study file.
        """
        path = self._study_folder / fill_fold(self.model, fold)
        first = self._study_folder / Path(self.model).parts[0]
        is_hub = re.fullmatch(HUB_NAME, self.model) and FOLD not in self.model and self.model not in {".", ".."}
        return None if is_hub and not path.exists() and not first.exists() else path

    def _model_folder(self, fold: str | None) -> Path:
        local = self._local_folder(fold)
        return _snapshot(self.model, self.revision, code=self.trust_remote_code) if local is None else local

    def _is_softmax(self, config: Any, folder: Path) -> bool:
        if config.num_labels == 1 and self.head == "softmax":
            raise DataError(f'{folder}: a softmax needs two outputs and the model has one: write head = "sigmoid"')
        if self.head != "auto":
            return self.head == "softmax"
        return bool(config.num_labels > 1 and config.problem_type != "multi_label_classification")


def match_labels(
    findings: Sequence[str], names: Sequence[str], *, chosen: Mapping[str, str], where: str
) -> tuple[int, ...]:
    """Return the output of a model for each finding: by the name chosen, else by a name that reads the same.

    Raises
    ------
    DataError
        When the model has no such output, or two.

    Examples
    --------
    >>> match_labels(["Pleural_Thickening"], ["Mass", "pleural thickening"], chosen={}, where="model")
    (1,)
    """
    for finding in chosen:
        if finding not in findings:
            raise DataError(
                f"{where}: labels names {finding!r}, which is no finding of this study{nearest(finding, findings)}: "
                f"its findings are {', '.join(findings)}"
            )
    return tuple(_column(finding, names, wanted=chosen.get(finding), where=where) for finding in findings)


def _column(finding: str, names: Sequence[str], *, wanted: str | None, where: str) -> int:
    searched = wanted or finding
    exact = [index for index, name in enumerate(names) if name == searched]
    alike = exact or [index for index, name in enumerate(names) if _plain(name) == _plain(searched)]
    if len(alike) == 1:
        return alike[0]
    what = f"two outputs {names[alike[0]]!r}" if alike else f"no output {searched!r}{nearest(searched, names)}"
    raise DataError(
        f"{where}: there {'are' if alike else 'is'} {what}: its outputs are {some(names, most=20)}; "
        f'write labels = {{ "{finding}" = "<output>" }} in the regime, or name all of them with outputs'
    )


def _plain(name: str) -> str:
    return re.sub(r"[\s_]+", "", name).casefold()


def _snapshot(name: str, revision: str | None, *, code: bool) -> Path:
    """Return the local copy of a hub repository; the hub is asked only when there is none."""
    hub = require("huggingface_hub", group="inference")
    patterns = ["*.json", "model*.safetensors", *(["*.py"] if code else [])]
    found = None
    for local in (True, False):
        try:
            folder = Path(
                hub.snapshot_download(name, revision=revision, allow_patterns=patterns, local_files_only=local)
            )
            if any(folder.glob("model*.safetensors")) and (folder / "config.json").is_file():
                return folder
            found = DataError(
                f"{name}: the hub repository has no config.json with model.safetensors: choose a revision that has them"
            )
        except Exception as error:  # the hub's errors are of many types
            found = DataError(
                f"{name}: no folder of that name beside the study file, and the hub does not give it "
                f"({one_line(error, most=160)}): correct model, or download it first"
            )
    raise found or DataError(f"{name}: the hub does not give it")
