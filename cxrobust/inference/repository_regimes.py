"""Regimes whose network lies in a folder or a repository of the hub: what their families have in common."""

from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar

from pydantic import Field, model_validator

from cxrobust.inference.checkpoints import (
    adapter_facts,
    adapter_files,
    find_adapter,
    fold_problem,
    hashes,
    model_files,
    tokenizer_files,
)
from cxrobust.inference.models import Regime
from cxrobust.inference.preprocessing import Preprocessing, read_preprocessing
from cxrobust.inference.repositories import SAFE_WEIGHTS, TOKENIZER_FILES, Repository
from cxrobust.study.sections import StudyPath


class RepositoryRegime(Regime):
    """A regime whose network lies in a folder or a repository of the hub, with a PEFT adapter or without."""

    reads_texts: ClassVar[bool] = False
    """Whether a tokenizer's files are among those that determine what it predicts."""
    model: str = Field(min_length=1)
    """A folder relative to the study file, or a repository of the hub such as `microsoft/rad-dino`."""
    revision: str | None = None
    """Branch, tag or commit of a hub repository."""
    adapter: StudyPath | None = None
    """Folder of a PEFT adapter that goes on top."""
    trust_remote_code: bool = False
    """Whether Python code that comes with the model may run."""

    @model_validator(mode="after")
    def _folds_have_a_place(self) -> "RepositoryRegime":
        if problem := fold_problem(self.cross_fit, self.paths):
            raise ValueError(problem)
        return self

    @property
    def paths(self) -> tuple[str | Path | None, ...]:
        """Paths in which `{fold}` may stand."""
        return (self.model, self.adapter)

    @property
    def weights(self) -> tuple[str, ...]:
        """Patterns of files with weights, of which one must be found."""
        return (SAFE_WEIGHTS,)

    def repository(self, fold: str | None) -> Repository:
        """Return where the network of a fold lies."""
        return Repository(
            model=self.model,
            study_folder=self._study_folder,
            revision=self.revision,
            code=self.trust_remote_code,
            fold=fold,
            patterns=TOKENIZER_FILES if self.reads_texts else (),
            weights=self.weights,
        )

    def adapter_folder(self, fold: str | None) -> Path | None:
        """Return the folder of a fold's adapter, where there is one."""
        return find_adapter(self.adapter, fold=fold, regime=self.name)

    def further_weights(self, fold: str | None) -> tuple[Path, ...]:
        """Return files beside the repository's that belong to the network, whose weights count among its parameters."""
        return ()

    def fingerprint(self, *, fold: str | None = None) -> dict[str, str]:
        """Return the SHA-256 of configuration, weights and adapter, and of the tokenizer where it reads texts.

        Those of `further_weights` are among them.
        """
        folder, adapter = self.repository(fold).folder, self.adapter_folder(fold)
        files = {*model_files(folder, code=self.trust_remote_code)}
        files |= {*tokenizer_files(folder)} if self.reads_texts else set()
        beside = () if adapter is None else adapter_files(adapter)
        return hashes([*sorted(files), *beside, *self.further_weights(fold)])

    def facts(self, *, fold: str | None = None) -> dict[str, Any]:
        """Return what configuration, headers of the weights, adapter and `training.json` tell of the network."""
        found = self.repository(fold).facts(also=self.further_weights(fold))
        found |= adapter_facts(self.adapter_folder(fold))
        return {key: value for key, value in found.items() if value}

    def settings(self) -> dict[str, Any]:
        """Settings as JSON values; paths by name only."""
        return {**super().settings(), "model": self.repository(None).name}


class SizedRegime(RepositoryRegime):
    """One of a repository whose processor tells its preprocessing, but for the size of images if the study gives it."""

    image_size: int | None = Field(default=None, ge=8, le=4096)
    """Side that images are resized to; what the preprocessing says when absent."""

    def preprocessing(self, folder: Path, config: Any) -> Preprocessing:
        """Return what happens to images within the graph; `image_size` is None where the network takes many."""
        found = read_preprocessing(folder, config)
        return found if self.image_size is None else replace(found, image_size=(self.image_size, self.image_size))

    def facts(self, *, fold: str | None = None) -> dict[str, Any]:
        """Return what configuration, headers of the weights, adapter and `training.json` tell of the network."""
        found = super().facts(fold=fold)
        return found if self.image_size is None else {**found, "resolution": [self.image_size, self.image_size]}
