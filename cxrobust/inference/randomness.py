"""Random numbers that belong to an image, not to a batch.

Attack libraries draw from torch's global generator for the whole batch, so an image's random start depends on its
neighbours. Within `per_image_randomness` every draw of a tensor whose first axis is the batch is made row by row from
that image's own generator, on the CPU, and the global generator is left alone.
"""

import hashlib
import math
import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch.overrides import TorchFunctionMode


def image_seed(seed: int, condition: str, image: str) -> int:
    """Return the 63-bit seed of one image under one condition.

    Examples
    --------
    >>> image_seed(7, "pgd(eps=4/255, steps=20)", "00000001_000.png") == image_seed(7, "clean", "00000001_000.png")
    False
    """
    digest = hashlib.sha256(f"{seed}\n{condition}\n{image}".encode()).digest()
    return int.from_bytes(digest[:8], "big") >> 1


@contextmanager
def per_image_randomness(seeds: tuple[int, ...]) -> Iterator[None]:
    """Draw every batch-shaped random tensor from one generator for each image.

    Raises
    ------
    RuntimeError
        When code inside draws something else from torch's global generator, which would depend on the batch.
    """
    with no_global_randomness(), _PerImage(seeds) as mode:
        before = _drawing.set(mode)
        try:
            yield
        finally:
            _drawing.reset(before)


@contextmanager
def drawing_for(rows: Sequence[int]) -> Iterator[None]:
    """Within `per_image_randomness`, let draws be for these of its images alone; the others' generators stay put."""
    mode = _drawing.get()
    if mode is None:
        yield
        return
    before = mode.generators
    mode.generators = [before[row] for row in rows]
    try:
        yield
    finally:
        mode.generators = before


@contextmanager
def of_one_image(seed: int) -> Iterator[None]:
    """Let code that draws from global generators do so for one image: seeded before, and put back afterwards.

    torch's, NumPy's and Python's own, whatever the code itself does to them. NumPy's global generator is what attacks
    of torchattacks draw from, so it is this one that has to be seeded.
    """
    before = _GlobalStates.now()
    try:
        torch.manual_seed(seed)
        np.random.seed(seed % 2**32)  # noqa: NPY002  see above
        random.seed(seed)
        yield
    finally:
        before.put_back()


@contextmanager
def no_global_randomness() -> Iterator[None]:
    """See that code inside leaves the global generators of torch, NumPy and Python as they are.

    Raises
    ------
    RuntimeError
        At the end, when code inside drew from one of them; they are put back first.
    """
    before = _GlobalStates.now()
    yield
    drawn = before.changed()
    if drawn:
        before.put_back()
        raise RuntimeError(
            f"it drew random numbers from {' and '.join(drawn)} global generator, so results would depend on the batch"
        )


ROUNDED, ROUNDED_COARSELY = 1e-3, 2e-2
"""By how much log-odds may differ when an image is read beside another, in units of the largest log-odds or of 1: more
than rounding makes of them, in float32 and in shorter numbers."""
IN_ANY_ORDER = 1e-5
"""The same when images are read again on a GPU, some of whose kernels add in no fixed order, in float32."""


def unsteadiness(
    read: Callable[[torch.Tensor], torch.Tensor], images: torch.Tensor, *, repeated: float = 0.0, coarse: bool = False
) -> str | None:
    """Say in a clause that what a model reads of an image is not the image's own; None where it is.

    Images are read twice, and the first of several alone. Statistics of the batch are seen so, and what a generator of
    the model's own draws where it changes one of these readings, as `no_global_randomness` cannot see them.

    Parameters
    ----------
    read
        Gives log-odds (n, n_findings) of images.
    repeated
        By how much both readings may differ, in units of the largest log-odds or of 1: by nothing on a CPU.
    coarse
        Whether the model computes in shorter numbers than float32, which differ with the size of a batch.
    """
    first, again = read(images), read(images)
    if (apart := _apart(first, again)) > repeated:
        return (
            f"gives the same images other log-odds when it reads them again (by up to {apart:.2g}): it draws at random"
        )
    largest = ROUNDED_COARSELY if coarse else ROUNDED
    if len(images) > 1 and (apart := _apart(first[:1], read(images[:1]))) > largest:
        return (
            f"gives an image other log-odds beside another image than alone (by up to {apart:.2g}): it depends on the "
            f"batch"
        )
    return None


def _apart(one: torch.Tensor, other: torch.Tensor) -> float:
    """Return the largest difference, in units of the largest number or of 1: ∞ where one alone is finite."""
    both = one.isfinite()
    if not torch.equal(both, other.isfinite()):
        return math.inf
    first, second = one[both].double(), other[both].double()
    if not len(first):
        return 0.0
    return float((first - second).abs().max() / first.abs().max().clamp(min=1.0))


@dataclass(frozen=True, kw_only=True, slots=True)
class _GlobalStates:
    """Where the global generators stand."""

    torch: Mapping[str, torch.Tensor]
    """By device; those of GPUs once they are in use."""
    numpy: Any
    python: Any

    @classmethod
    def now(cls) -> "_GlobalStates":
        states = {"cpu": torch.get_rng_state()}
        if torch.cuda.is_initialized():  # type: ignore[no-untyped-call]  # torch tells no type
            states |= {f"cuda:{i}": state for i, state in enumerate(torch.cuda.get_rng_state_all())}
        return cls(torch=states, numpy=np.random.get_state(), python=random.getstate())  # noqa: NPY002  what models use

    def changed(self) -> list[str]:
        """Return whose generators stand elsewhere now."""
        now = _GlobalStates.now()
        moved = {
            "torch's": not all(torch.equal(state, now.torch[name]) for name, state in self.torch.items()),
            "NumPy's": not all(map(np.array_equal, self.numpy, now.numpy)),
            "Python's": self.python != now.python,
        }
        return [whose for whose, has_moved in moved.items() if has_moved]

    def put_back(self) -> None:
        for name, state in self.torch.items():
            if name == "cpu":
                torch.set_rng_state(state)
            else:
                torch.cuda.set_rng_state(state, name)
        np.random.set_state(self.numpy)  # noqa: NPY002  what models use
        random.setstate(self.python)


def _fill(name: str) -> Callable[..., torch.Tensor]:
    def fill(mode: "_PerImage", tensor: torch.Tensor, *args: Any, **kwargs: Any) -> torch.Tensor:
        kwargs.pop("generator", None)
        drawn = mode.rows(tensor, lambda row, generator: getattr(row, name)(*args, generator=generator, **kwargs))
        return tensor.copy_(drawn)

    return fill


def _like(name: str) -> Callable[..., torch.Tensor]:
    def draw(mode: "_PerImage", tensor: torch.Tensor, *_: Any, **__: Any) -> torch.Tensor:
        drawn = mode.rows(tensor, lambda row, generator: getattr(row, name)(generator=generator))
        return drawn.to(tensor.device)

    return draw


_INSTEAD: dict[Any, Callable[..., torch.Tensor]] = {
    torch.Tensor.uniform_: _fill("uniform_"),
    torch.Tensor.normal_: _fill("normal_"),
    torch.rand_like: _like("uniform_"),
    torch.randn_like: _like("normal_"),
}
_REFUSED = {
    torch.rand,
    torch.randn,
    torch.randint,
    torch.randint_like,
    torch.randperm,
    torch.bernoulli,
    torch.multinomial,
    torch.normal,
    torch.poisson,
    torch.Tensor.bernoulli,
    torch.Tensor.bernoulli_,
    torch.Tensor.cauchy_,
    torch.Tensor.exponential_,
    torch.Tensor.geometric_,
    torch.Tensor.log_normal_,
    torch.Tensor.multinomial,
    torch.Tensor.random_,
}


class _PerImage(TorchFunctionMode):
    def __init__(self, seeds: tuple[int, ...]) -> None:
        super().__init__()
        self.generators = [torch.Generator().manual_seed(seed) for seed in seeds]

    def rows(self, like: torch.Tensor, draw: Callable[[torch.Tensor, torch.Generator], torch.Tensor]) -> torch.Tensor:
        if like.shape[:1] != (len(self.generators),):
            raise RuntimeError(
                f"a draw of shape {tuple(like.shape)} is not one row for each of {len(self.generators)} images"
            )
        with torch._C.DisableTorchFunction():
            return torch.stack(
                [draw(torch.empty(like.shape[1:], dtype=like.dtype), generator) for generator in self.generators]
            )

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        if func in _INSTEAD:
            return _INSTEAD[func](self, *args, **kwargs)
        if func in _REFUSED and kwargs.get("generator") is None:
            raise RuntimeError(f"{func.__name__} draws from the global generator, so results would depend on the batch")
        return func(*args, **kwargs)


_drawing: ContextVar[_PerImage | None] = ContextVar("images that are drawn for", default=None)
