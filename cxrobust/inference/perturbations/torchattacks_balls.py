"""Gradient attacks of torchattacks within a ball around the image, in the maximum or the Euclidean norm."""

from collections.abc import Mapping
from typing import Any, ClassVar, Literal

from pydantic import Field

from cxrobust.inference.perturbations import perturbation
from cxrobust.inference.perturbations.attack import InBall, InEuclideanBall
from cxrobust.inference.perturbations.library import OfTorchattacks, Restarted, Stepped

SILENT = ("target", "goal", "step_size", "restarts")
NO_LENGTH = 1e-30
"""What is added to a gradient's length before the gradient is divided by it: less than any that a sure model has."""


@perturbation("fgsm")
class FGSM(OfTorchattacks, InBall):
    """Fast gradient sign method (Goodfellow et al. 2015, arXiv:1412.6572)."""

    loop: ClassVar[str] = "FGSM"
    does: ClassVar[str] = "one step of the gradient's sign, maximum norm"
    attack: Literal["fgsm"]


@perturbation("pgd")
class PGD(Restarted, Stepped):
    """Projected gradient descent from a random start (Madry et al. 2018, arXiv:1706.06083)."""

    loop: ClassVar[str] = "PGD"
    named: ClassVar[Mapping[str, str]] = {**Stepped.named, "random_start": "random_start"}
    silent: ClassVar[tuple[str, ...]] = (*SILENT, "random_start")
    whole_steps: ClassVar[float] = 2.5
    attack: Literal["pgd"]
    random_start: bool = True

    def said(self) -> str:
        """Say in a clause what it does."""
        return f"projected gradient descent from {'a random start' if self.random_start else 'the original image'}"


@perturbation("bim")
class BIM(Stepped):
    """Basic iterative method, PGD from the image itself (Kurakin et al. 2017, arXiv:1607.02533)."""

    loop: ClassVar[str] = "BIM"
    does: ClassVar[str] = "basic iterative method"
    attack: Literal["bim"]


@perturbation("rfgsm")
class RFGSM(Restarted, Stepped):
    """Gradient steps after a random one (Tramèr et al. 2018, arXiv:1705.07204)."""

    loop: ClassVar[str] = "RFGSM"
    silent: ClassVar[tuple[str, ...]] = SILENT
    does: ClassVar[str] = "gradient steps after one in a random direction"
    attack: Literal["rfgsm"]


@perturbation("ffgsm")
class FFGSM(Restarted, InBall):
    """One gradient step of 1.25 ε from a random start (Wong et al. 2020, arXiv:2001.03994)."""

    loop: ClassVar[str] = "FFGSM"
    named: ClassVar[Mapping[str, str]] = {"eps": "eps", "step": "alpha"}
    silent: ClassVar[tuple[str, ...]] = SILENT
    does: ClassVar[str] = "one gradient step of 1.25 ε from a random start, maximum norm"
    attack: Literal["ffgsm"]

    @property
    def step(self) -> float:
        """Pixels moved."""
        return 1.25 * self.eps


@perturbation("eotpgd")
class EOTPGD(Restarted, Stepped):
    """PGD with the gradient averaged over several passes (Liu et al. 2018, arXiv:1810.01279).

    Models that draw at random, which it was made for, are refused; of all others it comes to PGD, at `passes` times
    its cost.
    """

    loop: ClassVar[str] = "EOTPGD"
    named: ClassVar[Mapping[str, str]] = {**Stepped.named, "passes": "eot_iter"}
    whole_steps: ClassVar[float] = 2.5
    silent: ClassVar[tuple[str, ...]] = SILENT
    does: ClassVar[str] = "PGD from a random start, the gradient averaged over several passes"
    attack: Literal["eotpgd"]
    passes: int = Field(default=2, ge=1, le=1000)


@perturbation("tpgd")
class TPGD(Stepped):
    """PGD on the divergence from the clean prediction (Zhang et al. 2019, arXiv:1901.08573)."""

    loop: ClassVar[str] = "TPGD"
    whole_steps: ClassVar[float] = 2.5
    without_labels: ClassVar[bool] = True
    does: ClassVar[str] = "PGD on the Kullback–Leibler divergence"
    attack: Literal["tpgd"]


@perturbation("upgd")
class UPGD(Stepped):
    """PGD with momentum (torchattacks' "ultimate" PGD)."""

    loop: ClassVar[str] = "UPGD"
    named: ClassVar[Mapping[str, str]] = {**Stepped.named, "momentum": "decay", "random_start": "random_start"}
    silent: ClassVar[tuple[str, ...]] = (*SILENT, "momentum", "random_start")
    does: ClassVar[str] = "PGD with momentum"
    attack: Literal["upgd"]
    momentum: float = Field(default=1.0, ge=0)
    random_start: bool = False


class _WithMomentum(Stepped):
    named: ClassVar[Mapping[str, str]] = {**Stepped.named, "momentum": "decay"}
    silent: ClassVar[tuple[str, ...]] = (*SILENT, "momentum")

    momentum: float = Field(default=1.0, ge=0)


@perturbation("mifgsm")
class MIFGSM(_WithMomentum):
    """Gradient steps with momentum (Dong et al. 2018, arXiv:1710.06081)."""

    loop: ClassVar[str] = "MIFGSM"
    does: ClassVar[str] = "gradient steps with momentum"
    attack: Literal["mifgsm"]


@perturbation("nifgsm")
class NIFGSM(_WithMomentum):
    """Gradient steps with Nesterov's momentum (Lin et al. 2020, arXiv:1908.06281)."""

    loop: ClassVar[str] = "NIFGSM"
    does: ClassVar[str] = "gradient steps with Nesterov's momentum"
    attack: Literal["nifgsm"]


@perturbation("sinifgsm")
class SINIFGSM(_WithMomentum):
    """Nesterov's momentum over scaled copies of the image (Lin et al. 2020, arXiv:1908.06281)."""

    loop: ClassVar[str] = "SINIFGSM"
    named: ClassVar[Mapping[str, str]] = {**_WithMomentum.named, "copies": "m"}
    does: ClassVar[str] = "gradient steps with Nesterov's momentum over scaled copies of the image"
    attack: Literal["sinifgsm"]
    copies: int = Field(default=5, ge=1, le=100)


class _VarianceTuned(_WithMomentum):
    named: ClassVar[Mapping[str, str]] = {**_WithMomentum.named, "neighbours": "N", "reach": "beta"}
    silent: ClassVar[tuple[str, ...]] = (*SILENT, "momentum", "neighbours", "reach")

    neighbours: int = Field(default=5, ge=1, le=1000)
    """Images drawn around the present one in each step."""
    reach: float = Field(default=1.5, gt=0)
    """How far around, in ε."""


@perturbation("vmifgsm")
class VMIFGSM(_VarianceTuned):
    """Momentum with tuning by the gradients' variance (Wang and He 2021, arXiv:2103.15571)."""

    loop: ClassVar[str] = "VMIFGSM"
    does: ClassVar[str] = "gradient steps with momentum, tuned by the variance of neighbours' gradients"
    attack: Literal["vmifgsm"]


@perturbation("vnifgsm")
class VNIFGSM(_VarianceTuned):
    """Nesterov's momentum with tuning by the gradients' variance (Wang and He 2021, arXiv:2103.15571)."""

    loop: ClassVar[str] = "VNIFGSM"
    does: ClassVar[str] = "gradient steps with Nesterov's momentum, tuned by the variance of neighbours' gradients"
    attack: Literal["vnifgsm"]


class _Diverse(_WithMomentum):
    named: ClassVar[Mapping[str, str]] = {
        **_WithMomentum.named,
        "least_scale": "resize_rate",
        "diversity": "diversity_prob",
        "random_start": "random_start",
    }
    silent: ClassVar[tuple[str, ...]] = (*SILENT, "momentum", "least_scale", "diversity", "random_start")
    image_by_image: ClassVar[bool] = True

    momentum: float = Field(default=0.0, ge=0)
    least_scale: float = Field(default=0.9, ge=0.1, lt=1)
    """Least size of the resized image, as a share of its side; a tenth leaves one pixel of the smallest images."""
    diversity: float = Field(default=0.5, ge=0, le=1)
    """Probability that a step sees the image resized."""
    random_start: bool = False


@perturbation("difgsm")
class DIFGSM(_Diverse):
    """Gradient steps on randomly resized and padded images (Xie et al. 2019, arXiv:1803.06978)."""

    loop: ClassVar[str] = "DIFGSM"
    does: ClassVar[str] = "gradient steps on randomly resized and padded images"
    attack: Literal["difgsm"]


@perturbation("tifgsm")
class TIFGSM(_Diverse):
    """Gradient steps with gradients smoothed over translations (Dong et al. 2019, arXiv:1904.02884)."""

    loop: ClassVar[str] = "TIFGSM"
    on_three_channels: ClassVar[bool] = True
    does: ClassVar[str] = "gradient steps, smoothed over translations, on randomly resized and padded images"
    attack: Literal["tifgsm"]


class _Patchwise(OfTorchattacks, InBall):
    named: ClassVar[Mapping[str, str]] = {
        "eps": "max_epsilon",
        "steps": "num_iter_set",
        "momentum": "momentum",
        "amplification": "amplification",
    }
    silent: ClassVar[tuple[str, ...]] = ("target", "goal", "momentum", "amplification")
    on_three_channels: ClassVar[bool] = True

    steps: int = Field(default=20, ge=1, le=10_000)
    momentum: float = Field(default=1.0, ge=0)
    amplification: float = Field(default=10.0, gt=0)
    """Steps are so many times ε / steps; what leaves the ball is given to neighbouring pixels."""


@perturbation("pifgsm")
class PIFGSM(_Patchwise):
    """Patch-wise gradient steps (Gao et al. 2020, arXiv:2007.06765)."""

    loop: ClassVar[str] = "PIFGSM"
    does: ClassVar[str] = "patch-wise gradient steps, maximum norm"
    attack: Literal["pifgsm"]


@perturbation("pifgsmpp")
class PIFGSMPP(_Patchwise):
    """Patch-wise gradient steps with a temperature (Gao et al. 2020, arXiv:2012.15503)."""

    loop: ClassVar[str] = "PIFGSMPP"
    does: ClassVar[str] = "patch-wise gradient steps with a projection factor, maximum norm"
    attack: Literal["pifgsmpp"]


class _SteppedByLength(OfTorchattacks, InEuclideanBall):
    named: ClassVar[Mapping[str, str]] = Stepped.named
    silent: ClassVar[tuple[str, ...]] = Stepped.silent

    steps: int = Field(default=20, ge=1, le=10_000)
    step_size: float | None = Field(default=None, gt=0)
    """Euclidean length of a step; 2.5 ε / steps when absent."""

    @property
    def step(self) -> float:
        """Length of a step."""
        return 2.5 * self.eps / self.steps if self.step_size is None else self.step_size

    def arguments(self) -> dict[str, Any]:
        """Return what the class is called with; what it adds of itself to a gradient's length would shorten steps.

        A gradient is the shorter the surer the model is and the more images a batch has.
        """
        return {**super().arguments(), "eps_for_division": NO_LENGTH}

    def said(self) -> str:
        """Say in a clause what it does."""
        return f"{self.does}, {self._steps_in_words()}"

    def _steps_in_words(self) -> str:
        size = "2.5 ε / steps" if self.step_size is None else f"{self.step_size:.6g}"
        return f"{self.steps} steps of length {size}, Euclidean norm"


@perturbation("pgd-l2")
class PGDL2(_SteppedByLength, Restarted):
    """PGD in the Euclidean norm, from a random start (Madry et al. 2018, arXiv:1706.06083)."""

    loop: ClassVar[str] = "PGDL2"
    named: ClassVar[Mapping[str, str]] = {**Stepped.named, "random_start": "random_start"}
    silent: ClassVar[tuple[str, ...]] = (*SILENT, "random_start")
    attack: Literal["pgd-l2"]
    random_start: bool = True

    def said(self) -> str:
        """Say in a clause what it does."""
        start = "a random start" if self.random_start else "the original image"
        return f"projected gradient descent from {start}, {self._steps_in_words()}"


@perturbation("spsa")
class SPSA(OfTorchattacks, InBall):
    """Gradients estimated from random directions, without back-propagation (Uesato et al. 2018, arXiv:1802.05666)."""

    loop: ClassVar[str] = "SPSA"
    named: ClassVar[Mapping[str, str]] = {"eps": "eps", "steps": "nb_iter", "samples": "nb_sample", "delta": "delta"}
    silent: ClassVar[tuple[str, ...]] = ("target", "goal", "delta")
    needs_one: ClassVar[bool] = True
    image_by_image: ClassVar[bool] = True
    asks_for_gradient: ClassVar[bool] = False
    attack: Literal["spsa"]
    steps: int = Field(default=20, ge=1, le=10_000)
    samples: int = Field(default=128, ge=2, le=100_000)
    delta: float = Field(default=0.01, gt=0)

    def said(self) -> str:
        """Say in a clause what it does."""
        return f"{self.steps} steps of gradients estimated from {self.samples} random directions, maximum norm"


class _Smoothed(OfTorchattacks):
    named: ClassVar[Mapping[str, str]] = {**Stepped.named, "deviation": "noise_sd", "samples": "noise_batch_size"}
    needs_one: ClassVar[bool] = True
    image_by_image: ClassVar[bool] = True
    clamps_what_it_differentiates: ClassVar[bool] = True
    does: ClassVar[str] = "PGD on the model smoothed by Gaussian noise"

    deviation: float = Field(default=0.1, gt=0)
    """Standard deviation of the noise that smooths the model, in pixels of [0, 1]."""
    samples: int = Field(default=5, ge=1, le=1000)


@perturbation("pgdrs")
class PGDRS(_Smoothed, Stepped):
    """PGD on a model smoothed by Gaussian noise (Salman et al. 2019, arXiv:1906.04584)."""

    loop: ClassVar[str] = "PGDRS"
    whole_steps: ClassVar[float] = 2.5
    attack: Literal["pgdrs"]


@perturbation("pgdrs-l2")
class PGDRSL2(_Smoothed, _SteppedByLength):
    """PGD in the Euclidean norm on a model smoothed by Gaussian noise (Salman et al. 2019, arXiv:1906.04584)."""

    loop: ClassVar[str] = "PGDRSL2"
    attack: Literal["pgdrs-l2"]
