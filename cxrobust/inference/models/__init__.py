"""Regimes as models: each module registers one family for `[[regimes]] family = "..."`."""

from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Protocol

from pydantic import Field, PrivateAttr

from cxrobust.progress import Reporter, silent
from cxrobust.registry import Registry
from cxrobust.study.sections import Section

if TYPE_CHECKING:
    import torch

    from cxrobust.inference.datasets import Dataset, ImageTable


class Classifier(Protocol):
    """A model as every perturbation sees it: a `torch.nn.Module` in eval mode.

    It maps images (n, 1, size, size) float32 in [0, 1] to logits (n, n_findings), differentiably: the log-odds of each
    finding of the study, in the study's order. Resizing, channels and normalisation happen inside, so that a
    perturbation's size means the same pixels for every regime.
    """

    def __call__(self, images: "torch.Tensor") -> "torch.Tensor":
        """Return the logits of a batch of images."""
        ...


@dataclass(frozen=True, kw_only=True, slots=True)
class Workplace:
    """Where a model may keep what it computes once, and what computes it; nothing here changes a prediction."""

    cache: Path | None = None
    """A folder that may be deleted at any time; None keeps nothing."""
    device: Literal["auto", "cpu", "cuda"] = "auto"
    batch: int = 32
    report: Reporter = silent

    def __reduce__(self) -> tuple[Any, ...]:
        """Go to another process without the reporter, which belongs to this one."""
        return _workplace, (self.cache, self.device, self.batch)


def _workplace(cache: Path | None, device: Literal["auto", "cpu", "cuda"], batch: int) -> Workplace:
    return Workplace(cache=cache, device=device, batch=batch)


class Regime(Section):
    """What every `[[regimes]]` with a model may say; a family adds where its weights are."""

    code: ClassVar[tuple[str, ...]] = ()
    """Modules beside the family's own whose code determines its predictions."""
    writes_reports: ClassVar[bool] = False
    """Whether its model writes a report of each image, as `cxrobust.inference.generation.Generator` does."""
    name: str = Field(min_length=1, max_length=60)
    family: str
    replicate: int = Field(default=0, ge=0)
    """Number of the training run, where a regime has several."""
    description: str = ""
    """How it was trained, in words, for the report."""
    cross_fit: str | None = None
    """Metadata column whose value replaces `{fold}` in paths: each image is predicted by the model of its fold."""
    _study_folder: Path = PrivateAttr(default_factory=Path)
    _workplace: Workplace = PrivateAttr(default_factory=Workplace)

    def model_post_init(self, context: Any, /) -> None:
        """Remember the folder of the study file, which a model's name may be relative to."""
        folder = (context or {}).get("study_folder")
        self._study_folder = Path() if folder is None else Path(folder)

    def work_in(self, workplace: Workplace) -> None:
        """Say where the model may keep what it computes once, such as features of images to learn from."""
        self._workplace = workplace

    def check_images(self, tested: "Sequence[tuple[Dataset, ImageTable]]") -> None:
        """Raise a `DataError` where the model must not be tested on these images; most models learn from none here."""

    @abstractmethod
    def load(self, findings: tuple[str, ...], *, fold: str | None = None) -> "torch.nn.Module":
        """Load a `Classifier` on the CPU.

        Raises
        ------
        DataError
            When the checkpoint is missing, truncated or does not fit the findings.
        """

    @abstractmethod
    def fingerprint(self, *, fold: str | None = None) -> dict[str, str]:
        """Return the SHA-256 of each file that determines the model, by file name, without loading it."""

    def facts(self, *, fold: str | None = None) -> dict[str, Any]:
        """Return what is known of the network without loading it, as far as it is known, as JSON values.

        `architecture`, `n_parameters`, `n_adapter_parameters`, `adapter` (its settings), `source` (`folder`, or `hub`
        with `commit`), `training` (what `training.json` beside the checkpoint says), `resolution`, the height and
        width that images are resized to within the graph, `assumed_normalisation`, what is taken for the normalisation
        of pixels that no file of the model tells, and why, `asked`, the `texts` that a processor is given with an image
        and what their `form` is from, and `answers`, the spellings of `yes` and `no` that are one token each, a
        spelling a token.
        """
        return {}

    def gradient_problem(self, *, fold: str | None = None) -> str | None:
        """Return a sentence on why no gradient of the model reaches the pixels; None where one may, or nothing tells.

        A model that cannot be loaded says so when it is.
        """
        return None

    @property
    def may_give_probabilities(self) -> bool:
        """Whether outputs are taken for log-odds though neither the family nor the study file knows what they are."""
        return False

    @property
    def draws(self) -> bool:
        """Whether its predictions of clean images depend on the study's seed."""
        return False

    @property
    def own_conditions(self) -> tuple[str, ...]:
        """Conditions that this regime brings itself; a model brings none."""
        return ()

    def settings(self) -> dict[str, Any]:
        """Settings as JSON values; paths by name only."""
        values = self.model_dump(mode="json")
        return {key: v.name if isinstance(v := getattr(self, key), Path) else value for key, value in values.items()}


model_family: Registry[type[Regime]] = Registry("model family", package="cxrobust.inference.models")
