"""Models of images and texts, without training: an image is compared with a pair of prompts for each finding."""

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from pydantic import Field, model_validator

from cxrobust.errors import DataError, require
from cxrobust.files import read_json_table, sha256_file, sha256_json
from cxrobust.inference.checkpoints import (
    count_weights,
    hashes,
    said_of_training,
)
from cxrobust.inference.models import model_family
from cxrobust.inference.outputs import check_named, words_of
from cxrobust.inference.remembered import remembered
from cxrobust.inference.repositories import SAFE_WEIGHTS
from cxrobust.inference.repository_regimes import RepositoryRegime
from cxrobust.study.sections import Section

if TYPE_CHECKING:
    from torch import Tensor

    from cxrobust.inference.contrastive import Contrastive
    from cxrobust.inference.graph import PixelClassifier

FINDING = "{finding}"
OPEN_CLIP = "open_clip_config.json"
OPEN_CLIP_WEIGHTS = ("open_clip_*.safetensors", "open_clip_*.bin")
DETERMINING = ("*.json", "*.txt", "*.model", "*.safetensors", "*.bin", "*.pt", "*.pth")


class PromptPair(Section):
    """The prompts of one finding."""

    present: tuple[str, ...] = Field(min_length=1)
    absent: tuple[str, ...] = Field(min_length=1)


@model_family("zero-shot")
class ZeroShot(RepositoryRegime):
    """CLIP or SigLIP of transformers, or a model of open_clip, asked with a pair of prompts for each finding.

    The log-odds of a finding are the scaled cosine of the image with its `present` prompts minus that with its `absent`
    prompts, which is a softmax over the pair. The features of several prompts are normalised, averaged and normalised
    again. They are computed once and kept among the predictions, by model, tokenizer and prompt.
    """

    code = ("cxrobust.inference.contrastive",)
    reads_texts = True
    family: Literal["zero-shot"]
    library: Literal["auto", "transformers", "open_clip"] = "auto"
    """What loads it; `auto` is transformers where the folder has config.json and model.safetensors."""
    present: tuple[str, ...] = Field(default=(FINDING,), min_length=1)
    """Prompts for a finding that is there; `{finding}` stands for its words."""
    absent: tuple[str, ...] = Field(default=(f"no {FINDING}",), min_length=1)
    """Prompts for a finding that is not there."""
    words: dict[str, str] = Field(default_factory=dict)
    """Words of a finding in prompts; its name in small letters with spaces where absent."""
    prompts: dict[str, PromptPair] = Field(default_factory=dict)
    """Prompts of one finding instead of `present` and `absent`."""

    @model_validator(mode="after")
    def _prompts_name_the_finding(self) -> "ZeroShot":
        for key, templates in (("present", self.present), ("absent", self.absent)):
            for one in templates:
                if FINDING not in one:
                    raise ValueError(f"{key} has the prompt {one!r} without {FINDING}: put it where the finding stands")
        return self

    def load(self, findings: tuple[str, ...], *, fold: str | None = None) -> "PixelClassifier":
        """Load the model, compute or find the features of its prompts, and drop what only texts need.

        Raises
        ------
        DataError
            When the checkpoint is missing, damaged or no such model, or a prompt is too long.
        """
        torch = require("torch", group="inference")
        from cxrobust.inference import contrastive
        from cxrobust.inference.graph import PixelClassifier

        prompts = self.prompts_of(findings)
        folder = self.repository(fold).folder
        adapter = self.adapter_folder(fold)
        if not self._is_open_clip(folder):
            model = contrastive.load_transformers(folder, adapter=adapter, trust_remote_code=self.trust_remote_code)
        elif adapter is None:
            _text_tower(folder)
            model = contrastive.load_open_clip(folder)
        else:
            raise DataError(f"regime {self.name!r}: a model of open_clip takes no adapter of PEFT: remove adapter")
        with torch.inference_mode():
            features = self._text_features([text for pair in prompts for side in pair for text in side], model, fold)
            sides = [
                torch.stack([contrastive.mean_direction([features[text] for text in pair[side]]) for pair in prompts])
                for side in (0, 1)
            ]
        model.forget_texts()
        classifier = PixelClassifier(
            contrastive.Similarity(
                model.encode_image, present=sides[0].clone(), absent=sides[1].clone(), scale=model.scale
            ),
            columns=range(len(findings)),
            image_size=model.preprocessing.image_size,
            mean=model.preprocessing.mean,
            std=model.preprocessing.std,
            interpolation=model.preprocessing.interpolation,
        )
        return classifier.eval().requires_grad_(False)

    def prompts_of(self, findings: Sequence[str]) -> tuple[tuple[tuple[str, ...], tuple[str, ...]], ...]:
        """Return the prompts for each finding, present and absent.

        Raises
        ------
        DataError
            When `words` or `prompts` name a finding that the study does not have.

        Examples
        --------
        >>> ZeroShot(name="clip", family="zero-shot", model="clip").prompts_of(["Pleural_Thickening"])
        ((('pleural thickening',), ('no pleural thickening',)),)
        """
        where = f"regime {self.name!r}"
        check_named(findings, self.prompts, key="prompts", where=where)
        all_words = words_of(findings, self.words, where=where)
        found = []
        for finding, words in zip(findings, all_words, strict=True):
            own = self.prompts.get(finding)
            sides = (self.present, self.absent) if own is None else (own.present, own.absent)
            present, absent = (tuple(text.replace(FINDING, words) for text in side) for side in sides)
            found.append((present, absent))
        return tuple(found)

    @property
    def weights(self) -> tuple[str, ...]:
        """Patterns of files with weights, of which one must be found."""
        patterns = (SAFE_WEIGHTS, *OPEN_CLIP_WEIGHTS)
        return {"auto": patterns, "transformers": patterns[:1], "open_clip": patterns[1:]}[self.library]

    def fingerprint(self, *, fold: str | None = None) -> dict[str, str]:
        """Return the SHA-256 of configuration, weights and tokenizer, and of a text tower's own configuration."""
        folder = self.repository(fold).folder
        if not self._is_open_clip(folder):
            return super().fingerprint(fold=fold)
        tower = _text_tower(folder)
        files = sorted({file for pattern in DETERMINING for file in folder.glob(pattern) if file.is_file()})
        return hashes(files) | ({} if tower is None else {"text tower": sha256_json(tower)})

    def facts(self, *, fold: str | None = None) -> dict[str, Any]:
        """Return what configuration and headers of the weights tell of the network."""
        repository = self.repository(fold)
        folder = repository.folder
        if not self._is_open_clip(folder):
            return super().facts(fold=fold)
        settings = read_json_table(folder / OPEN_CLIP).get("model_cfg") or {}
        size = (settings.get("vision_cfg") or {}).get("image_size")
        weights = [file for pattern in OPEN_CLIP_WEIGHTS for file in sorted(folder.glob(pattern))][:1]
        found = {
            "architecture": "a model of open_clip",
            "n_parameters": count_weights(weights),
            "resolution": [size, size] if isinstance(size, int) else size,
            "training": said_of_training(folder),
            **repository.source(),
        }
        return {key: value for key, value in found.items() if value}

    def _is_open_clip(self, folder: Path) -> bool:
        if self.library != "auto":
            return self.library == "open_clip"
        whole = (folder / "config.json").is_file() and any(folder.glob(SAFE_WEIGHTS))
        return not whole and (folder / OPEN_CLIP).is_file()

    def _text_features(self, prompts: Sequence[str], model: "Contrastive", fold: str | None) -> "dict[str, Tensor]":
        """Return the features of each prompt, each computed alone so that no other one can change it."""
        import torch

        from cxrobust.inference import contrastive

        def encoded(text: str) -> dict[str, Any]:
            return {"features": model.encode_text(text).float().numpy()}

        determined_by = [self.fingerprint(fold=fold), sha256_file(Path(contrastive.__file__))]
        found = {}
        for text in dict.fromkeys(prompts):
            kept = remembered(self._workplace.cache, "text", [*determined_by, text], partial(encoded, text))
            found[text] = torch.from_numpy(kept["features"])
        return found


def _text_tower(folder: Path) -> dict[str, Any] | None:
    """Return the configuration of the text tower that a model of open_clip takes from transformers; None without one.

    `open_clip_config.json` names it under `text_cfg`, `hf_model_name`: a folder, or an entry of the hub's cache. Its
    weights are the model's own, its shape and activations are of that configuration.

    Raises
    ------
    DataError
        When it is not on this machine.
    """
    if not (folder / OPEN_CLIP).is_file():
        return None
    settings = read_json_table(folder / OPEN_CLIP).get("model_cfg") or {}
    name = (settings.get("text_cfg") or {}).get("hf_model_name")
    if not name:
        return None
    transformers = require("transformers", group="inference")
    from cxrobust.inference.pretrained import quiet

    try:
        with quiet():
            config = transformers.AutoConfig.from_pretrained(name, local_files_only=True)
    except Exception as error:  # transformers raises errors of many types
        raise DataError(
            f"{folder / OPEN_CLIP}: the text tower is of hf_model_name = {name!r}, whose config.json is neither a "
            f"folder's nor in the cache of the hub: write a folder that holds it, or fetch it into the cache"
        ) from error
    return {key: value for key, value in config.to_dict().items() if key != "transformers_version" and key[0] != "_"}
