"""One model on its device: clean and perturbed logits of the images of a unit."""

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, suppress
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from cxrobust.conditions import CLEAN
from cxrobust.errors import DataError
from cxrobust.inference.batches import Batches, explaining
from cxrobust.inference.compiling import compiled, uncompiled
from cxrobust.inference.models import Regime
from cxrobust.inference.perturbations import Batch, Perturbation
from cxrobust.inference.perturbations.attack import Attack, UnusableGradientError
from cxrobust.inference.precision import in_precision
from cxrobust.inference.runtime import choose_device, describe_machine, naming_a_mismatch, use_threads
from cxrobust.inference.units import Plan, Unit
from cxrobust.inference.written import Reading, in_places, joined, not_usable

if TYPE_CHECKING:
    import torch

PROBED = 4
"""Images by which probabilities are told from log-odds: amplified, and as they are where an attack would come first."""
LARGER = "correct it, or take a device with more memory where that is short"
"""The mend where a model cannot be loaded."""
AMPLIFIED = 100.0
"""How many times as far as in the image its pixels are then from 0.5."""


@dataclass(slots=True)
class _Known:
    """What was found out about a model, on whatever images."""

    is_steady: bool = False
    refused: str | None = None
    gives_log_odds: bool = False


class Runner:
    """Runs the units of one model; the model is loaded when it is first needed."""

    def __init__(self, *, regime: Regime, plan: Plan, fold: str | None) -> None:
        self._regime = regime
        self.plan = plan
        self._fold = fold
        self._loaded: tuple[torch.nn.Module, str] | None = None
        self._batches = Batches(plan.study.compute.batch)
        self._sources: dict[str, Runner] = {}
        self._known = _Known()

    @property
    def machine(self) -> dict[str, Any]:
        """Versions and hardware that this model runs with."""
        return describe_machine(self.load()[1])

    def over(self, plan: Plan) -> "Runner":
        """Return a runner of the same model, loaded but once, on the images of another plan."""
        other = Runner(regime=self._regime, plan=plan, fold=self._fold)
        other._loaded, other._batches = self.load(), Batches(self._batches.size)
        other._sources, other._known = self._sources, self._known
        return other

    def plain(self) -> "Runner":
        """Return a runner of the same model, loaded but once, in fp32 and not compiled."""
        study = self.plan.study
        compute = study.compute.model_copy(update={"precision": "fp32", "compile": False})
        other = self.over(replace(self.plan, study=replace(study, compute=compute)))
        model, device = self.load()
        other._loaded = uncompiled(model), device
        return other

    def unload(self) -> None:
        """Let go of the model; it is loaded again when it is needed again."""
        self._loaded = None
        for source in self._sources.values():
            source.unload()

    def read(self, units: Sequence[Unit], advance: Callable[[int], None]) -> list[Reading]:
        """Return what the model says of each unit's images; several units are those of one search."""
        rows, perturbations = units[0].rows, [unit.perturbation for unit in units]
        parts, done = [], 0
        for part in self._batches.over(len(rows), lambda some: self.predict_rows(rows[some], perturbations)):
            parts.append(part)
            done += len(part[0].logits) * len(units)
            advance(done)
        return [joined(of_unit) for of_unit in zip(*parts, strict=True)]

    def predict_rows(self, rows: NDArray[np.intp], perturbations: Sequence[Perturbation | None]) -> list[Reading]:
        """Return what the model says of one batch of images under each perturbation of one search.

        Raises
        ------
        DataError
            When the model fails, or gives a number or a gradient that is not finite, naming the image, unless the study
            skips such.
        """
        found = self._read(rows, perturbations)
        for perturbation, reading in zip(perturbations, found, strict=True):
            logits = reading.logits
            wrong = ~np.isfinite(logits)
            if wrong.any() and self.plan.study.compute.on_error == "stop":
                row, column = (int(i) for i in np.argwhere(wrong)[0])
                raise DataError(
                    f"{self._where(perturbation)}: image {self.plan.table.ids[rows[row]]!r}, finding "
                    f"{self.plan.table.findings[column]!r}: the model gave {logits[row, column]}: check its weights "
                    f'and precision, or leave such images out by on_error = "skip" in [compute]'
                )
        self.check_scale(rows, found[0].logits)
        return found

    def _read(self, rows: NDArray[np.intp], perturbations: Sequence[Perturbation | None]) -> list[Reading]:
        self.check_steady(rows[:2])
        last = perturbations[-1]
        if last is None:
            images = self._images(rows)
            with self._explaining(None):
                return [self._reading(images, rows)]
        self.check(rows[:PROBED])  # rather than after an attack in vain
        maker = self.maker_of(last)
        if maker is not self:
            maker.over(self.plan).check(rows[:PROBED])
        weaker = [one for one in perturbations[:-1] if one is not None]
        try:
            return self._read_perturbed(rows, last, weaker)
        except UnusableGradientError as error:
            if self.plan.study.compute.on_error == "stop":
                raise self._without_gradient(rows, last, error) from None
            out = np.array(error.rows)
        left = np.setdiff1d(np.arange(len(rows)), out)
        nothing = not_usable(self._read(rows[out], [None])[0], self._no_gradient(last))
        found = self._read(rows[left], perturbations) if len(left) else [nothing] * len(perturbations)
        return [in_places([(left, one), (out, nothing)]) if len(left) else one for one in found]

    def _read_perturbed(
        self, rows: NDArray[np.intp], last: Perturbation, weaker: Sequence[Perturbation]
    ) -> list[Reading]:
        model = self._model_for(last)
        batch = self._batch_of(rows, last)
        with self._explaining(last), self._precision():
            if self._regime.writes_reports:
                return [self._reading(images, rows) for images in last.perturbed_at(batch, model, weaker)]
            found = last.read(batch, model, self._forward, weaker)
            return [Reading(logits=logits.float().cpu().numpy()) for logits in found]

    def _no_gradient(self, perturbation: Perturbation) -> str:
        maker = self.maker_of(perturbation)._regime.name
        whose = "the model" if maker == self._regime.name else f"the model of {maker!r}"
        return f"the gradient of {whose} to the pixels is not a finite number"

    def _without_gradient(
        self, rows: NDArray[np.intp], perturbation: Perturbation, error: UnusableGradientError
    ) -> DataError:
        image = self.plan.table.ids[rows[error.rows[0]]]
        return DataError(
            f"{self._where(perturbation)}: image {image!r}: {self._no_gradient(perturbation)}, so that no attack can "
            f"follow it: correct the network (a square root or a division at 0, as of a region without contrast), or "
            f'leave such images out by on_error = "skip" in [compute]'
        )

    def check(self, rows: NDArray[np.intp]) -> None:
        """Refuse, once, a model that a run would refuse on these images: unsteady, or giving probabilities."""
        self.check_steady(rows[:2])
        if self._regime.may_give_probabilities and not self._known.gives_log_odds:
            with self._explaining(None):
                logits = self._forward(self._images(rows)).float().cpu().numpy()
            self.check_scale(rows, logits)

    def check_steady(self, rows: NDArray[np.intp]) -> None:
        """Refuse a model that is still as it was in training: once, on these images, in fp32.

        Where the study attacks it is read with gradients on too. A generator chooses words, which rounding may change
        where images are read together; it only reads one twice, and then its text.

        Raises
        ------
        DataError
            When it draws at random, or when what it says of an image depends on another one; again for every unit.
        """
        if self._known.refused is not None:
            raise DataError(self._known.refused)
        if self._known.is_steady:
            return
        images = self._images(rows[:1] if self._regime.writes_reports else rows)
        found = self._unsteadiness(images, rows)
        if found is not None:
            self._known.refused = (
                f"regime {self._regime.name!r}: its model {found}: switch off in it what belongs to training alone "
                f"(dropout, noise, statistics of the batch)"
            )
            raise DataError(self._known.refused)
        self._known.is_steady = len(rows) > 1 or self._batches.size == 1 or self._regime.writes_reports

    def _unsteadiness(self, images: "torch.Tensor", rows: NDArray[np.intp]) -> str | None:
        """Say in a clause what is unsteady in a model on these images, which are those of some rows; else None."""
        import torch

        from cxrobust.inference.randomness import IN_ANY_ORDER, ROUNDED, no_global_randomness, unsteadiness

        model, device = self.load()
        model = uncompiled(model)
        coarse = any(one.dtype in {torch.bfloat16, torch.float16} for one in model.parameters())
        repeated = 0.0 if device == "cpu" else ROUNDED if coarse else IN_ANY_ORDER

        def read(some: torch.Tensor) -> torch.Tensor:
            with torch.inference_mode():
                if self._regime.writes_reports:
                    return torch.from_numpy(self._reading(some, rows[:1]).logits)
                logits: torch.Tensor = model(some.clone())
                return logits

        def differentiate(some: torch.Tensor) -> torch.Tensor:
            followed = some.clone().requires_grad_(True).clone()  # no leaf, which a network could not change in place
            with torch.enable_grad():
                if self._regime.writes_reports:
                    generator: Any = model
                    scores: torch.Tensor = generator.log_probability(followed, texts)
                else:
                    scores = model(followed)
            return scores.detach()

        attacks = any(isinstance(one, Attack) for one in self.plan.study.perturbations)
        with self._explaining(None), no_global_randomness(), in_precision(device, "fp32"):
            found = unsteadiness(read, images, repeated=repeated, coarse=coarse)
            if found is not None or not attacks:
                return found
            with suppress(Exception):  # one that cannot be followed says so under attack
                texts = self._own_texts(images, rows) if self._regime.writes_reports else []
                found = unsteadiness(differentiate, images, repeated=repeated, coarse=coarse)
        return None if found is None else f"with gradients on {found}"

    def _own_texts(self, images: "torch.Tensor", rows: NDArray[np.intp]) -> list[list[int]]:
        """Return the tokens of what a generator writes of these images, which are those of some rows."""
        generator: Any = uncompiled(self.load()[0])
        ids = [self.plan.table.ids[row] for row in rows[: len(images)]]
        tokens: list[list[int]] = generator.tokens(images, ids=ids, seed=self.plan.study.study.seed)
        return tokens

    def check_scale(self, rows: NDArray[np.intp], logits: NDArray[np.float32]) -> None:
        """Refuse a model whose outputs all lie in [0, 1], unless the study says what they are; once.

        Probabilities that are taken for log-odds would all come out between 0.5 and 0.73. Outputs of these rows, of a
        batch that the study needs anyway, may lie there and be log-odds all the same, so images are then seen
        amplified, far beyond [0, 1], too: a sigmoid stays there, and log-odds hardly do. Outputs that are all 0 are no
        probabilities.

        Raises
        ------
        DataError
            When they do, and the family of the regime does not know what outputs are.
        """
        if self._known.gives_log_odds or not self._regime.may_give_probabilities or not np.isfinite(logits).any():
            return
        outputs = logits
        if _in_unit_interval(outputs):
            with suppress(Exception):  # a network may refuse what is no image
                outputs = np.concatenate([logits, *self._amplified(rows[:PROBED])])
        if _in_unit_interval(outputs):
            finite = outputs[np.isfinite(outputs)]
            raise DataError(
                f"regime {self._regime.name!r}: its outputs all lie from {finite.min():.3g} to {finite.max():.3g}, as "
                f'probabilities do, and log-odds are expected: write head = "probabilities" where they are '
                f'probabilities, and head = "sigmoid" where they are log-odds all the same'
            )
        self._known.gives_log_odds = True

    def _amplified(self, rows: NDArray[np.intp]) -> list[NDArray[np.float32]]:
        """Return the outputs on images of some rows with their pixels far beyond [0, 1], and so on their negatives."""
        import torch

        from cxrobust.inference.randomness import no_global_randomness

        model, device = self.load()
        model, images = uncompiled(model), self._images(rows)
        with torch.inference_mode(), no_global_randomness(), in_precision(device, "fp32"):
            return [model(sign * AMPLIFIED * (images - 0.5)).float().cpu().numpy() for sign in (1, -1)]

    def _model_for(self, perturbation: Perturbation) -> "torch.nn.Module":
        """Return the model that images are perturbed on."""
        return self.maker_of(perturbation).load()[0]

    def maker_of(self, perturbation: Perturbation) -> "Runner":
        """Return the runner on whose model images are perturbed: this, or that of the regime which the attack names."""
        name = perturbation.made_on if isinstance(perturbation, Attack) else None
        if name is None or (self._regime.name, self._regime.replicate) == (name, self._first(name).replicate):
            return self
        if name not in self._sources:
            self._sources[name] = Runner(regime=self._first(name), plan=self.plan, fold=None)
        return self._sources[name]

    def _first(self, name: str) -> Regime:
        """Return a regime's first training run."""
        found: Regime = next(one for one in self.plan.study.regimes if one.name == name)
        return found

    def _reading(self, images: "torch.Tensor", rows: NDArray[np.intp]) -> Reading:
        """Return what the model says of images, which are those of some rows: logits, and reports where it writes."""
        if not self._regime.writes_reports:
            return Reading(logits=self._forward(images).float().cpu().numpy())

        import torch

        from cxrobust.inference.randomness import no_global_randomness

        model: Any = self.load()[0]
        ids, seed = [self.plan.table.ids[row] for row in rows], self.plan.study.study.seed
        with torch.no_grad(), self._precision(), no_global_randomness():
            reading: Reading = model.read(images, ids=ids, seed=seed)
            return reading

    def perturbed(
        self,
        rows: NDArray[np.intp],
        perturbation: Perturbation | None,
        *,
        finding: str | None = None,
        drawn_as: Perturbation | None = None,
    ) -> "torch.Tensor":
        """Return the images of some rows, (n, 1, size, size) in [0, 1], perturbed or (None) as they are.

        Parameters
        ----------
        finding
            Which finding is read from them, where an attack makes an image for each; without it, those of the finding
            that comes out worst.
        drawn_as
            Of another condition, whose seeds the images get; their own when absent.

        Raises
        ------
        DataError
            When the model fails under the perturbation, or its gradient is not finite, naming the image.
        """
        if perturbation is None:
            return self._images(rows)
        try:
            return self._perturbed(rows, perturbation, finding, drawn_as)
        except UnusableGradientError as error:
            raise self._without_gradient(rows, perturbation, error) from None

    def _perturbed(
        self, rows: NDArray[np.intp], perturbation: Perturbation, finding: str | None, drawn_as: Perturbation | None
    ) -> "torch.Tensor":
        model = self._model_for(perturbation)
        batch = self._batch_of(rows, perturbation if drawn_as is None else drawn_as)
        with self._explaining(perturbation), self._precision():
            if finding is not None and isinstance(perturbation, Attack):
                return perturbation.perturbed_for(batch, model, finding)
            return perturbation.perturb(batch, model)

    def _images(self, rows: NDArray[np.intp]) -> "torch.Tensor":
        """Return the clean images of some rows, on the model's device."""
        _, device = self.load()  # says which group of dependencies is missing, where torch is

        import torch

        if self.plan.pixels is None:
            raise DataError(f"{self.plan.table.name}: it has no images to perturb")
        return torch.from_numpy(self.plan.pixels.batch(rows)).to(device)

    def _batch_of(self, rows: NDArray[np.intp], perturbation: Perturbation) -> Batch:
        images = self._images(rows)

        from cxrobust.inference.randomness import image_seed

        table, condition = self.plan.table, str(perturbation.seeded_as)
        return Batch(
            images=images,
            labels=table.labels[rows],
            findings=table.findings,
            seeds=tuple(image_seed(self.plan.study.study.seed, condition, table.ids[row]) for row in rows),
            ids=tuple(table.ids[row] for row in rows),
            seed=self.plan.study.study.seed,
            references=None if table.references is None else tuple(table.references[row] for row in rows),
        )

    def perturbed_all(
        self,
        rows: NDArray[np.intp],
        perturbation: Perturbation | None,
        advance: Callable[[int], None] = lambda n_images: None,
        *,
        drawn_as: Perturbation | None = None,
    ) -> "torch.Tensor":
        """Return the same of any number of images, made batch by batch, in the CPU's memory.

        `advance` is told of each batch how many images it had. An image on whose way the model's gradient is not finite
        is NaN.
        """
        import torch

        def perturb(some: slice) -> "torch.Tensor":
            return self._perturbed_or_nan(rows[some], perturbation, drawn_as).cpu()

        parts = []
        for part in self._batches.over(len(rows), perturb):
            parts.append(part)
            advance(len(part))
        return torch.cat(parts)

    def _perturbed_or_nan(
        self, rows: NDArray[np.intp], perturbation: Perturbation | None, drawn_as: Perturbation | None
    ) -> "torch.Tensor":
        if perturbation is None:
            return self._images(rows)
        try:
            return self._perturbed(rows, perturbation, None, drawn_as)
        except UnusableGradientError as error:
            out = list(error.rows)
        images = self._images(rows)
        left = np.setdiff1d(np.arange(len(rows)), out)
        images[out] = float("nan")
        if len(left):
            images[left.tolist()] = self._perturbed_or_nan(rows[left], perturbation, drawn_as)
        return images

    def scores_of(self, images: "torch.Tensor", rows: NDArray[np.intp], attack: Attack) -> NDArray[np.float32]:
        """Return what an attack sees of images that stand for those of some rows, batch by batch.

        (n, n_findings) log-odds, or (n, 1) scores of each image's text where the attack aims at reports.
        """
        import torch

        from cxrobust.inference.perturbations.objectives import logits_of

        _, device = self.load()

        def read(some: slice) -> NDArray[np.float32]:
            with self._explaining(None), torch.no_grad(), self._precision():
                view = self._view(rows[some], attack)
                return np.asarray(logits_of(view, images[some].to(device)).float().cpu().numpy())

        return np.concatenate(list(self._batches.over(len(images), read)))

    def _view(self, rows: NDArray[np.intp], attack: Attack) -> "torch.nn.Module":
        return attack.view_of_clean(self._batch_of(rows, attack), self.load()[0])

    def gradients_of(
        self, images: "torch.Tensor", rows: NDArray[np.intp], attack: Attack, signs: NDArray[np.int8]
    ) -> NDArray[np.float64]:
        """Return the gradient to the pixels of Σ log(1 + exp(−s z)) over scores of sign s = ±1, image by image."""
        import torch

        from cxrobust.inference.perturbations.objectives import logits_of

        _, device = self.load()

        def differentiate(some: slice) -> NDArray[np.float64]:
            batch = images[some].to(device).requires_grad_(True)
            wanted = torch.from_numpy(signs[some].astype(np.float64)).to(device)
            with self._explaining(None), self._precision(), torch.enable_grad():
                margins = wanted * logits_of(self._view(rows[some], attack), batch)
                loss = (torch.nn.functional.softplus(-margins) * (wanted != 0)).sum()
                (gradient,) = torch.autograd.grad(loss, batch, allow_unused=True)
            return np.zeros(tuple(batch.shape)) if gradient is None else gradient.double().cpu().numpy()

        return np.concatenate(list(self._batches.over(len(images), differentiate)))

    def _forward(self, images: "torch.Tensor") -> "torch.Tensor":
        import torch

        from cxrobust.inference.randomness import no_global_randomness

        model, _ = self.load()
        with torch.inference_mode(), self._precision(), no_global_randomness():
            logits: torch.Tensor = model(images)
            return logits

    def _where(self, perturbation: Perturbation | None) -> str:
        condition = CLEAN if perturbation is None else perturbation.condition
        return f"regime {self._regime.name!r}, condition {str(condition)!r}"

    def _explaining(self, perturbation: Perturbation | None) -> AbstractContextManager[None]:
        return explaining(f"{self._where(perturbation)}: the model")

    def _precision(self) -> AbstractContextManager[None]:
        _, device = self.load()
        return in_precision(device, self.plan.study.compute.precision)

    def load(self) -> "tuple[torch.nn.Module, str]":
        """Return the model and its device; the model is loaded when it is first asked for.

        Raises
        ------
        CxrobustError
            When its checkpoint or torch cannot be used.
        """
        if self._loaded is None:
            device = choose_device(self.plan.study.compute.device)
            use_threads(self.plan.study.compute.threads)
            wants_compiled = self.plan.study.compute.compile
            if wants_compiled and self._regime.writes_reports:
                raise DataError(
                    f"regime {self._regime.name!r} writes reports word by word, which is not compiled: "
                    f"leave compile out of [compute]"
                )
            with naming_a_mismatch(), explaining(f"regime {self._regime.name!r}: loading the model", mend=LARGER):
                model = self._regime.load(self.plan.table.findings, fold=self._fold)
                model = model.eval().requires_grad_(False).to(device)
            self._loaded = compiled(model) if wants_compiled else model, device
        return self._loaded


def _in_unit_interval(outputs: NDArray[np.float32]) -> bool:
    """Whether all finite outputs lie in [0, 1] and not all are 0."""
    finite = outputs[np.isfinite(outputs)]
    return bool(finite.size and (finite >= 0).all() and (finite <= 1).all() and finite.any())
