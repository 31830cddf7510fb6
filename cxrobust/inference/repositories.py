"""Where a pretrained network lies: a folder beside the study file or a repository of the hub."""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cxrobust.errors import DataError, require, some
from cxrobust.files import read_json_table
from cxrobust.inference.checkpoints import (
    FOLD,
    count_weights,
    fill_fold,
    one_line,
    said_of_training,
    weight_files,
)
from cxrobust.inference.preprocessing import assumed_normalisation, known_size

SAFE_WEIGHTS, PICKLED_WEIGHTS = "model*.safetensors", "pytorch_model*.bin"
"""Patterns of what transformers saves, now and in older checkpoints."""
HUB_NAME = r"[\w.-]+(/[\w.-]+)?"
TOKENIZER_FILES = ("*.txt", "*.model", "*.jinja")
"""What a tokenizer or a processor of texts needs beside JSON files."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Repository:
    """What `model` names in a study file."""

    model: str
    study_folder: Path
    revision: str | None = None
    code: bool = False
    """Whether Python files are wanted too."""
    fold: str | None = None
    patterns: tuple[str, ...] = ()
    """Files that are wanted beside JSON and `model*.safetensors`."""
    weights: tuple[str, ...] = (SAFE_WEIGHTS,)
    """Patterns of which one must be found; the pickled weights of older checkpoints stand for safetensors."""

    @property
    def local(self) -> Path | None:
        """The folder that `model` names, or None where it can only be a repository of the hub.

        A name such as `checkpoints/vit` is a folder when `checkpoints` stands beside the study file.
        """
        path = self.study_folder / fill_fold(self.model, self.fold)
        first = self.study_folder.joinpath(*Path(self.model).parts[:1])
        is_hub = re.fullmatch(HUB_NAME, self.model) and FOLD not in self.model and self.model not in {".", ".."}
        return None if is_hub and not path.exists() and not first.exists() else path

    @property
    def folder(self) -> Path:
        """The folder with the files, which the hub gives where `model` names none.

        Raises
        ------
        DataError
            When the hub does not give it, or it needs Python code of its own that may not run.
        """
        folder = self.local or self._snapshot()
        self._check_code(folder)
        return folder

    @property
    def name(self) -> str:
        """What a report may call it: a folder by its last part alone."""
        return self.model if self.local is None else Path(fill_fold(self.model, self.fold)).name or "."

    def facts(self, *, also: Iterable[Path] = ()) -> dict[str, Any]:
        """Return what configuration and headers of the weights tell of a network, as `Regime.facts` has it.

        `also` are further files whose weights count.
        """
        folder = self.folder
        config = read_json_table(folder / "config.json")
        return {
            "architecture": (config.get("architectures") or [config.get("architecture")])[0],  # the latter is timm's
            "n_parameters": count_weights([*weight_files(folder), *also]),
            "resolution": known_size(folder, config),
            "assumed_normalisation": assumed_normalisation(folder, config),
            "training": said_of_training(folder),
            **self.source(),
        }

    def source(self) -> dict[str, Any]:
        """Return `source` and, of a repository of the hub, `commit`, as `Regime.facts` has them."""
        return {"source": "folder"} if self.local is not None else {"source": "hub", "commit": self.folder.name}

    def _check_code(self, folder: Path) -> None:
        """Raise where transformers has no class for a model but what comes with it, which may not run."""
        file = folder / "config.json"
        if self.code or not file.is_file() or (folder / "open_clip_config.json").exists():
            return
        config = read_json_table(file)
        own = config.get("auto_map")
        if not isinstance(own, dict) or not own:
            return
        transformers = require("transformers", group="inference")
        if config.get("model_type") not in transformers.CONFIG_MAPPING:
            raise DataError(own_code(folder if self.local else self.model, _modules(own)))

    def _snapshot(self) -> Path:
        """Return the local copy of a hub repository; the hub is asked only when there is none.

        Pickled weights are fetched only where the hub has no others.
        """
        hub = require("huggingface_hub", group="inference")
        patterns = ["*.json", *self.patterns, *(["*.py"] if self.code else [])]
        older = (PICKLED_WEIGHTS,) if SAFE_WEIGHTS in self.weights else ()
        steps = [(True, (*self.weights, *older)), (False, self.weights), *([(False, older)] if older else [])]
        found = None

        def get(wanted: list[str], *, local: bool) -> Path:
            return Path(
                hub.snapshot_download(self.model, revision=self.revision, allow_patterns=wanted, local_files_only=local)
            )

        for local, weights in steps:
            try:
                if not (local or self.code):
                    self._check_code(get(["*config.json"], local=False))  # before gigabytes that nothing may read
                folder = get([*patterns, *weights], local=local)
                if any(any(folder.glob(one)) for one in weights) and any(folder.glob("*config.json")):
                    return folder
                wanted = " or ".join(one.replace("*", "") for one in (self.weights[0], *older))
                found = DataError(
                    f"{self.model}: the hub repository has no config.json with {wanted}: choose a revision that has "
                    f"them"
                )
            except DataError:
                raise
            except Exception as error:  # the hub's errors are of many types
                found = DataError(
                    f"{self.model}: no folder of that name beside the study file, and the hub does not give it "
                    f"({one_line(error, most=160)}): correct model, or download it first"
                )
                if not local:
                    break
        raise found or DataError(f"{self.model}: the hub does not give it")


def own_code(model: Path | str, files: Iterable[str]) -> str:
    """Say that a model's own Python code may not run, and what to write so that it may."""
    return (
        f"{model}: the model brings Python code of its own ({some(sorted(files))}), "
        f"which runs only where the study file says so: read it, and write trust_remote_code = true beside model"
    )


def _modules(own: dict[str, Any]) -> set[str]:
    """Name the files that `auto_map` names classes of: `repository--module.Class`, or a list of such."""
    named = [name for each in own.values() for name in (each if isinstance(each, list) else [each])]
    return {f"{str(name).split('--')[-1].split('.')[0]}.py" for name in named if name}
