"""One model on its device: clean and perturbed logits of the images of a unit."""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from cxrobust.conditions import CLEAN
from cxrobust.errors import CxrobustError, DataError, OutOfMemoryError
from cxrobust.inference.checkpoints import one_line
from cxrobust.inference.models import Regime
from cxrobust.inference.perturbations import Batch, Perturbation
from cxrobust.inference.runtime import choose_device, describe_machine, free_memory, is_out_of_memory, use_threads
from cxrobust.inference.units import Plan, Unit

if TYPE_CHECKING:
    import torch

T = TypeVar("T")


class Runner:
    """Runs the units of one model; the model is loaded when it is first needed."""

    def __init__(self, *, regime: Regime, plan: Plan, fold: str | None) -> None:
        self._regime = regime
        self.plan = plan
        self._fold = fold
        self._loaded: tuple[torch.nn.Module, str] | None = None
        self._batch = plan.study.compute.batch

    @property
    def machine(self) -> dict[str, Any]:
        """Versions and hardware that this model runs with."""
        return describe_machine(self.load()[1])

    def over(self, plan: Plan) -> "Runner":
        """Return a runner of the same model, loaded but once, on the images of another plan."""
        other = Runner(regime=self._regime, plan=plan, fold=self._fold)
        other._loaded, other._batch = self.load(), self._batch
        return other

    def unload(self) -> None:
        """Let go of the model; it is loaded again when it is needed again."""
        self._loaded = None

    def logits(self, unit: Unit, advance: Callable[[int], None]) -> NDArray[np.float32]:
        """Return the log-odds of a unit's images, (n_images, n_findings)."""
        parts, done = [], 0
        for part in self._in_batches(
            len(unit.rows), lambda some: self.predict_rows(unit.rows[some], unit.perturbation)
        ):
            parts.append(part)
            done += len(part)
            advance(done)
        return np.concatenate(parts)

    def _in_batches(self, n: int, work: Callable[[slice], T]) -> Iterator[T]:
        """Do work on so many images batch by batch; where memory is short, with batches half as large from then on.

        What belongs to an image does not depend on its batch, so this changes results by rounding alone.
        """
        first = 0
        while first < n:
            size = min(self._batch, n - first)
            try:
                found = work(slice(first, first + size))
            except OutOfMemoryError:
                if size == 1:
                    raise
                self._batch = size // 2
                free_memory()
                continue
            yield found
            first += size

    def predict_rows(self, rows: NDArray[np.intp], perturbation: Perturbation | None) -> NDArray[np.float32]:
        """Return the log-odds of one batch of images, (n_images, n_findings).

        Raises
        ------
        DataError
            When the model fails, or gives a number that is not finite, naming the image, unless the study skips such.
        """
        images = self.perturbed(rows, perturbation)
        with self._explaining(perturbation):
            logits = self._forward(images)
        wrong = ~np.isfinite(logits)
        if wrong.any() and self.plan.study.compute.on_error == "stop":
            row, column = (int(i) for i in np.argwhere(wrong)[0])
            raise DataError(
                f"{self._where(perturbation)}: image {self.plan.table.ids[rows[row]]!r}, finding "
                f"{self.plan.table.findings[column]!r}: the model gave {logits[row, column]}: check its weights and "
                f'precision, or leave such images out by on_error = "skip" in [compute]'
            )
        return logits

    def perturbed(self, rows: NDArray[np.intp], perturbation: Perturbation | None) -> "torch.Tensor":
        """Return the images of some rows, (n, 1, size, size) in [0, 1], perturbed or (None) as they are.

        Raises
        ------
        DataError
            When the model fails under the perturbation.
        """
        model, device = self.load()  # says which group of dependencies is missing, where torch is

        import torch

        from cxrobust.inference.randomness import image_seed

        plan = self.plan
        if plan.pixels is None:
            raise DataError(f"{plan.table.name}: it has no images to perturb")
        images = torch.from_numpy(plan.pixels.batch(rows)).to(device)
        if perturbation is None:
            return images
        condition = str(perturbation.condition)
        batch = Batch(
            images=images,
            labels=plan.table.labels[rows],
            findings=plan.table.findings,
            seeds=tuple(image_seed(plan.study.study.seed, condition, plan.table.ids[row]) for row in rows),
        )
        with self._explaining(perturbation), self._precision():
            return perturbation.perturb(batch, model)

    def perturbed_all(self, rows: NDArray[np.intp], perturbation: Perturbation | None) -> "torch.Tensor":
        """Return the same of any number of images, made batch by batch, in the CPU's memory."""
        import torch

        return torch.cat(list(self._in_batches(len(rows), lambda some: self.perturbed(rows[some], perturbation).cpu())))

    def logits_of(self, images: "torch.Tensor") -> NDArray[np.float32]:
        """Return the log-odds of images that are at hand, (n, 1, size, size), batch by batch."""
        _, device = self.load()

        def read(some: slice) -> NDArray[np.float32]:
            with self._explaining(None):
                return self._forward(images[some].to(device))

        return np.concatenate(list(self._in_batches(len(images), read)))

    def gradients_of(self, images: "torch.Tensor", signs: NDArray[np.int8]) -> NDArray[np.float64]:
        """Return the gradient to the pixels of Σ log(1 + exp(−s z)) over findings of sign s = ±1, image by image."""
        import torch

        model, device = self.load()

        def differentiate(some: slice) -> NDArray[np.float64]:
            batch = images[some].to(device).requires_grad_(True)
            wanted = torch.from_numpy(signs[some].astype(np.float64)).to(device)
            with self._explaining(None), self._precision(), torch.enable_grad():
                margins = wanted * model(batch).double()
                loss = (torch.nn.functional.softplus(-margins) * (wanted != 0)).sum()
                (gradient,) = torch.autograd.grad(loss, batch, allow_unused=True)
            return np.zeros(tuple(batch.shape)) if gradient is None else gradient.double().cpu().numpy()

        return np.concatenate(list(self._in_batches(len(images), differentiate)))

    def _forward(self, images: "torch.Tensor") -> NDArray[np.float32]:
        import torch

        from cxrobust.inference.randomness import no_global_randomness

        model, _ = self.load()
        with torch.inference_mode(), self._precision(), no_global_randomness():
            return np.asarray(model(images).float().cpu().numpy())

    def _where(self, perturbation: Perturbation | None) -> str:
        condition = CLEAN if perturbation is None else perturbation.condition
        return f"regime {self._regime.name!r}, condition {str(condition)!r}"

    @contextmanager
    def _explaining(self, perturbation: Perturbation | None) -> Iterator[None]:
        """Say in one sentence what a network of anyone's own raises."""
        try:
            yield
        except CxrobustError:
            raise
        except Exception as error:  # the user's code may raise anything
            kind = OutOfMemoryError if is_out_of_memory(error) else DataError
            raise kind(
                f"{self._where(perturbation)}: the model failed with {type(error).__name__} ({one_line(error)}): "
                f"correct it, or lower batch in [compute] where memory is short"
            ) from error

    def _precision(self) -> AbstractContextManager[Any]:
        import torch

        _, device = self.load()
        return torch.autocast(device, dtype=torch.bfloat16, enabled=self.plan.study.compute.precision == "bf16")

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
            model = self._regime.load(self.plan.table.findings, fold=self._fold)
            self._loaded = model.eval().requires_grad_(False).to(device), device
        return self._loaded
