"""Anyone's own `torch.nn.Module`, built by a function: `model = "python:module:function"`."""

import ast
import hashlib
import importlib
import importlib.util
import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any, Literal

from pydantic import Field, field_validator, model_validator

from cxrobust.errors import DataError, nearest, require
from cxrobust.inference.checkpoints import (
    TRAINING,
    count_weights,
    fill_fold,
    fold_problem,
    hashes,
    one_line,
    said_of_training,
)
from cxrobust.inference.models import Regime, model_family
from cxrobust.study.sections import StudyPath

if TYPE_CHECKING:
    from torch import nn

INIT = "__init__.py"
PATTERN = r"python:[A-Za-z_]\w*(\.[A-Za-z_]\w*)*:[A-Za-z_]\w*"


@model_family("python")
class PythonModel(Regime):
    """A network that a function of yours builds.

    The function is called `build(findings=..., weights=..., **options)` and returns a `torch.nn.Module` that maps
    images (n, 1, size, size) float32 in [0, 1] to logits (n, n_findings), findings in the order given. `findings` is a
    tuple of names, `weights` a path or None: load it with `weights_only=True` or as safetensors.

    A network that returns probabilities, as one that ends in a sigmoid does, needs `head = "probabilities"`. One whose
    outputs all lie in [0, 1], whatever the images, is refused unless `head` says what they are.

    The module is searched beside the study file first, then among what is installed.
    """

    family: Literal["python"]
    model: str
    """`python:module:function`."""
    weights: StudyPath | None = None
    """A file or folder that the function loads; its bytes identify the model."""
    head: Literal["sigmoid", "probabilities"] = "sigmoid"
    """What the network returns: log-odds, from which a sigmoid makes probabilities, or probabilities already."""
    options: dict[str, Any] = Field(default_factory=dict)
    """Keyword arguments of the function."""

    @field_validator("model")
    @classmethod
    def _names_a_function(cls, value: str) -> str:
        if not re.fullmatch(PATTERN, value):
            raise ValueError("write python:module:function")
        return value

    @model_validator(mode="after")
    def _folds_have_a_place(self) -> "PythonModel":
        if problem := fold_problem(self.cross_fit, (self.weights,)):
            raise ValueError(problem)
        return self

    @property
    def may_give_probabilities(self) -> bool:
        """Whether nobody said what the network returns."""
        return "head" not in self.model_fields_set

    def load(self, findings: tuple[str, ...], *, fold: str | None = None) -> "nn.Module":
        """Call the function and guard the shape of what its network returns.

        Raises
        ------
        DataError
            When module, function or weights are missing, the function fails, or returns no `torch.nn.Module`.
        """
        torch = require("torch", group="inference")
        from cxrobust.inference.graph import Guarded, LogOddsOfProbabilities

        weights = self._weights(fold)
        build = self._function()
        try:
            with torch.random.fork_rng(devices=[]):
                network = build(findings=findings, weights=weights, **self.options)
        except DataError:
            raise
        except (Exception, SystemExit) as error:  # the user's code may raise anything, and may call sys.exit
            if type(error).__module__.startswith("safetensors"):
                raise DataError(
                    f"{weights}: the weights of regime {self.name!r} are damaged or no safetensors file "
                    f"({one_line(error)}): fetch or train them again"
                ) from error
            raise DataError(
                f"{self._where}: it failed with {type(error).__name__} ({one_line(error)}): correct it"
            ) from error
        if not isinstance(network, torch.nn.Module):
            raise DataError(f"{self._where}: it returned {type(network).__name__}, expected a torch.nn.Module")
        guarded = Guarded(network, n_findings=len(findings), where=self._where)
        whole = LogOddsOfProbabilities(guarded) if self.head == "probabilities" else guarded
        return whole.eval().requires_grad_(False)

    def fingerprint(self, *, fold: str | None = None) -> dict[str, str]:
        """Return the SHA-256 of the module's file, of what it imports from beside the study file, and of weights."""
        weights = self._weights(fold)
        modules = _with_imported(self._file(), folder=self._study_folder)
        return hashes([*modules, *([] if weights is None else _files(weights))])

    def facts(self, *, fold: str | None = None) -> dict[str, Any]:
        """Return what the headers of safetensors weights and a `training.json` beside them tell of the network."""
        weights = self._weights(fold)
        if weights is None:
            return {}
        held = [file for file in _files(weights) if file.suffix != ".json"]
        folder = weights.parent if weights.is_file() else weights
        found = {"n_parameters": count_weights(held), "source": "folder", "training": said_of_training(folder)}
        return {key: value for key, value in found.items() if value}

    @property
    def _where(self) -> str:
        return f"regime {self.name!r}, {self.model}"

    @property
    def _names(self) -> tuple[str, str]:
        _, module, function = self.model.split(":")
        return module, function

    def _weights(self, fold: str | None) -> Path | None:
        if self.weights is None:
            return None
        path = Path(fill_fold(str(self.weights), fold))
        if not path.exists():
            raise DataError(f"{path}: the weights of regime {self.name!r} are missing: train them or correct weights")
        return path

    def _function(self) -> Any:
        name, wanted = self._names
        module = self._module(name)
        function = getattr(module, wanted, None)
        if not callable(function):
            known = [key for key, value in vars(module).items() if callable(value) and not key.startswith("_")]
            raise DataError(f"{self._where}: {name} has no function {wanted!r}{nearest(wanted, known)}")
        return function

    def _module(self, name: str) -> ModuleType:
        file = self._file()
        try:
            if file != self._beside(name):
                return importlib.import_module(name)
            return _import_file(file, folder=self._study_folder)
        except (Exception, SystemExit) as error:  # the user's code may raise anything, and may call sys.exit
            raise DataError(
                f"{file}: importing it failed with {type(error).__name__} ({one_line(error)}): correct it"
            ) from error

    def _beside(self, name: str) -> Path:
        return self._study_folder.joinpath(*name.split(".")).with_suffix(".py")

    def _file(self) -> Path:
        name, _ = self._names
        beside = self._beside(name)
        if beside.is_file():
            return beside
        try:
            found = importlib.util.find_spec(name)
        except ImportError:
            found = None
        if found is None or found.origin is None or not Path(found.origin).is_file():
            raise DataError(
                f"{self._where}: there is no module {name!r}: put {name}.py beside the study file, or install it"
            )
        return Path(found.origin)


def _import_file(file: Path, *, folder: Path) -> ModuleType:
    """Import a file under a name of its own, so that two studies may each have a `model.py`."""
    digest = hashlib.sha256(str(file.resolve()).encode() + file.read_bytes()).hexdigest()
    name = f"cxrobust_study_{digest[:16]}"
    if name in sys.modules:
        return sys.modules[name]
    spec = importlib.util.spec_from_file_location(name, file)
    if spec is None or spec.loader is None:
        raise ImportError(f"{file} is no Python file")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    try:
        with _searched(folder):
            spec.loader.exec_module(module)
    except BaseException:
        del sys.modules[name]
        raise
    return module


@contextmanager
def _searched(folder: Path) -> Iterator[None]:
    """Let modules beside the study file be imported by the one that is loaded."""
    place = str(folder.resolve())
    sys.path.insert(0, place)
    try:
        yield
    finally:
        sys.path.remove(place)


def _with_imported(file: Path, *, folder: Path) -> list[Path]:
    """Return a file and those below `folder` that its import statements, and in turn theirs, name."""
    found, left = dict[Path, None](), [file]
    while left:
        one = left.pop()
        if one not in found:
            found[one] = None
            left += _imported(one, folder=folder)
    return [file, *sorted(found.keys() - {file})]


def _imported(file: Path, *, folder: Path) -> Iterator[Path]:
    try:
        statements = list(ast.walk(ast.parse(file.read_bytes())))
    except (OSError, SyntaxError, ValueError):  # who imports it says so
        return
    bases = (folder, *file.parents)
    for one in statements:
        if isinstance(one, ast.Import):
            names = [(folder, alias.name) for alias in one.names]
        elif isinstance(one, ast.ImportFrom) and one.level < len(bases):
            names = [(bases[one.level], f"{one.module or ''}.{alias.name}".lstrip(".")) for alias in one.names]
        else:
            continue
        for base, name in names:
            if folder not in {base, *base.parents}:  # what is installed imports its own
                continue
            parts = name.split(".")
            for place in (base.joinpath(*parts[:n]) for n in range(1, len(parts) + 1)):
                yield from (path for path in (place.with_name(f"{place.name}.py"), place / INIT) if path.is_file())


def _files(weights: Path) -> list[Path]:
    """Return what the weights consist of: a file, or every file of a folder but what tells of the training."""
    if weights.is_file():
        return [weights]
    return sorted(path for path in weights.rglob("*") if path.is_file() and path != weights / TRAINING)
