"""What is set against what: our attacks and corruptions, and the nearest that packages of today have.

A package is imported when its attack is made, so that one that is not there can be skipped by name.
"""

import importlib
import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch

SIZE = 64
"""Pixels a side."""
ONE, CONFIDENT_MODEL, EVERY = "one finding", "over-confident", "every finding"
TOGETHER, HIDDEN = "all findings together", "hiding one finding"
"""What attacks are tried on."""
FINDING = "Cardiomegaly"
STEPS, QUERIES = 20, 200
APGD_STEPS = 50
LENGTH = 24.0
"""Of the change by an attack that is bounded by its length, in ε."""
CW_STEPS, CW_SEARCHES, CW_RATE, CW_CONSTANT = 60, 5, 0.01, 0.01
CONFIDENT = 40.0
"""By what the logits are multiplied to make the model over-confident, which changes no decision."""
Attack = Callable[[torch.nn.Module, torch.Tensor, torch.Tensor], torch.Tensor]
"""Turns a model of two classes, images and labels (n,) into images."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Peer:
    """One package's form of an attack."""

    package: str
    make: Callable[[float], Attack]
    """Called with ε."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Contest:
    """An attack of ours, and its counterparts."""

    name: str
    ours: Callable[[float], Mapping[str, Any]]
    """The study file's table, by ε."""
    peers: Sequence[Peer]
    on: tuple[str, ...]
    """What it is tried on."""
    drawn: frozenset[str] = frozenset()
    """On what it is tried with ten seeds: it draws at random, and takes seconds."""


def torchattacks_of(
    name: str, *, bounded: bool = True, seeded: bool = False, **settings: Any
) -> Callable[[float], Attack]:
    """Return a class of torchattacks; settings that are functions are of ε, which what is not bounded has none of.

    One that is `seeded` sets torch's seed to one that it is given: here to that which is set.
    """

    def make(eps: float) -> Attack:
        library = importlib.import_module("torchattacks")
        chosen = {key: value(eps) if callable(value) else value for key, value in settings.items()}

        def attack(model: torch.nn.Module, images: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
            own = {**({"eps": eps} if bounded else {}), **({"seed": torch.initial_seed()} if seeded else {})}
            made = getattr(library, name)(model, **chosen, **own)
            found: torch.Tensor = made(images, labels)
            return found

        return attack

    return make


def foolbox_of(name: str, *, bounded: bool = True, size: float = 1.0, **settings: Any) -> Callable[[float], Attack]:
    """Return an attack of Foolbox, of so many times ε where it is bounded."""

    def make(eps: float) -> Attack:
        library = importlib.import_module("foolbox")

        def attack(model: torch.nn.Module, images: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
            wrapped = library.PyTorchModel(model, bounds=(0, 1), device="cpu")
            made = getattr(library.attacks, name)(**settings)
            found: torch.Tensor = made(wrapped, images, labels, epsilons=size * eps if bounded else None)[1]
            return found

        return attack

    return make


def art_of(name: str, *, bounded: bool = True, **settings: Any) -> Callable[[float], Attack]:
    """Return an evasion attack of the adversarial robustness toolbox; settings that are functions are of ε."""

    def make(eps: float) -> Attack:
        evasion = importlib.import_module("art.attacks.evasion")
        classification = importlib.import_module("art.estimators.classification")
        chosen = {key: value(eps) if callable(value) else value for key, value in settings.items()}

        def attack(model: torch.nn.Module, images: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
            estimator = classification.PyTorchClassifier(
                model,
                torch.nn.CrossEntropyLoss(),
                (1, SIZE, SIZE),
                model.n_classes,
                clip_values=(0.0, 1.0),
                device_type="cpu",
            )
            size = {"eps": eps} if bounded else {}
            made = getattr(evasion, name)(estimator, batch_size=len(images), **size, **chosen)
            return torch.from_numpy(made.generate(images.numpy(), labels.numpy()))

        return attack

    return make


def pyautoattack_of(part: str, **settings: Any) -> Callable[[float], Attack]:
    """Return an attack of pyautoattack alone, which its own evaluation calls on what is right still."""

    def make(eps: float) -> Attack:
        module = {"APGDAttack": "autopgd_base", "SquareAttack": "square"}[part]
        kind = getattr(importlib.import_module(f"pyautoattack.{module}"), part)

        def attack(model: torch.nn.Module, images: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
            made = kind(model, eps=eps, seed=torch.initial_seed(), device="cpu", **settings)
            made.logger = logging.getLogger("peers")
            found = made.perturb(images, labels)
            return found[1] if isinstance(found, tuple) else found

        return attack

    return make


def autoattack(eps: float) -> Attack:
    """Return pyautoattack's evaluation by the attacks whose form allows two classes."""
    kind = importlib.import_module("pyautoattack").AutoAttack

    def attack(model: torch.nn.Module, images: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        seed = torch.initial_seed()
        made = kind(model, eps=eps, seed=seed, version="custom", attacks=["apgd-ce", "square"], device="cpu")
        made.apgd.n_iter, made.apgd.n_restarts, made.square.n_queries = APGD_STEPS, 1, QUERIES
        made.verbose = False
        found = made.run_standard_evaluation(images, labels, batch_size=len(images))
        return found[0] if isinstance(found, tuple) else found

    return attack


def art_jpeg(quality: float) -> Attack:
    """Return ART's JPEG compression."""
    kind = importlib.import_module("art.defences.preprocessor").JpegCompression
    made = kind(clip_values=(0.0, 1.0), quality=int(quality), channels_first=True)
    return lambda _, images, labels: torch.from_numpy(made(images.numpy(), labels.numpy())[0])


def art_noise(sigma: float) -> Attack:
    """Return ART's Gaussian noise."""
    kind = importlib.import_module("art.defences.preprocessor").GaussianAugmentation
    made = kind(sigma=sigma, augmentation=False, clip_values=(0.0, 1.0))
    return lambda _, images, labels: torch.from_numpy(made(images.numpy(), labels.numpy())[0])


def art_transformed(name: str, **settings: Callable[[float], Any]) -> Callable[[float], Attack]:
    """Return a transformation that ART draws for expectations over them, drawn once; settings are of the strength."""

    def make(value: float) -> Attack:
        kind = getattr(importlib.import_module("art.preprocessing.expectation_over_transformation"), name)
        made = kind(nb_samples=1, clip_values=(0.0, 1.0), **{key: of(value) for key, of in settings.items()})

        def corrupt(_: torch.nn.Module, images: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
            found: torch.Tensor = made.forward(images.permute(0, 2, 3, 1))[0]
            return found.permute(0, 3, 1, 2)

        return corrupt

    return make


def foolbox_contrast(factor: float) -> Attack:
    """Return Foolbox's reduction of contrast, which takes a grey and a distance: of each image its mean and its own."""
    library = importlib.import_module("foolbox")

    def corrupt(model: torch.nn.Module, images: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        wrapped = library.PyTorchModel(model, bounds=(0, 1), device="cpu")
        means = images.mean(dim=(1, 2, 3)).tolist()
        lengths = ((1 - factor) * (images - images.mean(dim=(1, 2, 3), keepdim=True)).flatten(1).norm(dim=1)).tolist()
        made = [
            library.attacks.L2ContrastReductionAttack(target=mean).run(wrapped, one[None], epsilon=length)
            for one, mean, length in zip(images, means, lengths, strict=True)
        ]
        return torch.cat(made)

    return corrupt


def torchvision_of(name: str, strength: str, **settings: Any) -> Callable[[float], Attack]:
    """Return a transformation of torchvision, whose parameter `strength` says how strong it is."""

    def make(value: float) -> Attack:
        functions = importlib.import_module("torchvision.transforms.v2.functional")
        modes = importlib.import_module("torchvision.transforms").InterpolationMode
        chosen = {key: modes(one) if key == "interpolation" else one for key, one in settings.items()}

        def corrupt(_: torch.nn.Module, images: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
            return torch.stack([getattr(functions, name)(one, **{strength: value}, **chosen) for one in images])

        return corrupt

    return make


def torchvision_jpeg(quality: float) -> Attack:
    """Return torchvision's JPEG compression of 8-bit images."""
    functions = importlib.import_module("torchvision.transforms.v2.functional")
    return lambda _, images, labels: torch.stack(
        [functions.jpeg((one * 255).round().to(torch.uint8), quality=int(quality)).float() / 255 for one in images]
    )


def torchvision_resized(by: float) -> Attack:
    """Return torchvision's resizing, down with averaging and up again."""
    resize = importlib.import_module("torchvision.transforms.v2.functional").resize
    small = round(SIZE / by)
    return lambda _, images, labels: torch.stack(
        [resize(resize(one, [small, small], antialias=True), [SIZE, SIZE], antialias=True) for one in images]
    )


CONTESTS = (
    Contest(
        name="FGSM",
        ours=lambda eps: {"attack": "fgsm", "eps": eps},
        peers=(
            Peer(package="torchattacks", make=torchattacks_of("FGSM")),
            Peer(package="foolbox", make=foolbox_of("LinfFastGradientAttack")),
            Peer(package="adversarial-robustness-toolbox", make=art_of("FastGradientMethod")),
        ),
        on=(ONE, TOGETHER, HIDDEN),
    ),
    Contest(
        name=f"PGD, {STEPS} steps",
        ours=lambda eps: {"attack": "pgd", "eps": eps, "steps": STEPS},
        peers=(
            Peer(package="torchattacks", make=torchattacks_of("PGD", steps=STEPS, alpha=lambda eps: 2.5 * eps / STEPS)),
            Peer(package="foolbox", make=foolbox_of("LinfPGD", steps=STEPS, rel_stepsize=2.5 / STEPS)),
            Peer(
                package="adversarial-robustness-toolbox",
                make=art_of(
                    "ProjectedGradientDescentPyTorch",
                    eps_step=lambda eps: 2.5 * eps / STEPS,
                    max_iter=STEPS,
                    num_random_init=1,
                    verbose=False,
                ),
            ),
        ),
        on=(ONE, CONFIDENT_MODEL, EVERY, TOGETHER, HIDDEN),
        drawn=frozenset({ONE, CONFIDENT_MODEL, TOGETHER, HIDDEN}),
    ),
    Contest(
        name=f"PGD of length, {STEPS} steps",
        ours=lambda eps: {"attack": "pgd-l2", "eps": LENGTH * eps, "steps": STEPS},
        peers=(
            Peer(
                package="torchattacks",
                make=torchattacks_of(
                    "PGDL2",
                    bounded=False,
                    eps=lambda eps: LENGTH * eps,
                    alpha=lambda eps: 2.5 * LENGTH * eps / STEPS,
                    steps=STEPS,
                ),
            ),
            Peer(package="foolbox", make=foolbox_of("L2PGD", size=LENGTH, steps=STEPS, rel_stepsize=2.5 / STEPS)),
            Peer(
                package="adversarial-robustness-toolbox",
                make=art_of(
                    "ProjectedGradientDescentPyTorch",
                    bounded=False,
                    norm=lambda _: 2,
                    eps=lambda eps: LENGTH * eps,
                    eps_step=lambda eps: 2.5 * LENGTH * eps / STEPS,
                    max_iter=STEPS,
                    num_random_init=1,
                    verbose=False,
                ),
            ),
        ),
        on=(ONE, TOGETHER),
        drawn=frozenset({ONE, TOGETHER}),
    ),
    Contest(
        name=f"Auto-PGD, {APGD_STEPS} steps",
        ours=lambda eps: {"attack": "apgd", "eps": eps, "steps": APGD_STEPS},
        peers=(
            Peer(package="torchattacks", make=torchattacks_of("APGD", steps=APGD_STEPS, loss="ce", seeded=True)),
            Peer(
                package="adversarial-robustness-toolbox",
                make=art_of(
                    "AutoProjectedGradientDescent",
                    eps_step=lambda eps: 2 * eps,
                    max_iter=APGD_STEPS,
                    nb_random_init=1,
                    loss_type="cross_entropy",
                    verbose=False,
                ),
            ),
            Peer(package="pyautoattack", make=pyautoattack_of("APGDAttack", n_iter=APGD_STEPS, loss="ce")),
        ),
        on=(ONE, CONFIDENT_MODEL, EVERY),
        drawn=frozenset({ONE, CONFIDENT_MODEL}),
    ),
    Contest(
        name=f"Square, {QUERIES} queries",
        ours=lambda eps: {"attack": "square", "eps": eps, "queries": QUERIES},
        peers=(
            Peer(
                package="torchattacks",
                make=torchattacks_of("Square", n_queries=QUERIES, loss="margin", seeded=True),
            ),
            Peer(
                package="adversarial-robustness-toolbox",
                make=art_of("SquareAttack", max_iter=QUERIES, verbose=False),
            ),
            Peer(package="pyautoattack", make=pyautoattack_of("SquareAttack", n_queries=QUERIES)),
        ),
        on=(ONE, EVERY),
        drawn=frozenset({ONE}),
    ),
    Contest(
        name="AutoAttack",
        ours=lambda eps: {"attack": "autoattack-multilabel", "eps": eps, "steps": APGD_STEPS, "queries": QUERIES},
        peers=(Peer(package="pyautoattack", make=autoattack),),
        on=(ONE, EVERY),
        drawn=frozenset({ONE}),
    ),
)
STOPPED = tuple(
    replace(
        contest,
        name=f"{contest.name}, until wrong",
        ours=lambda eps, of=contest.ours: {**of(eps), "until_wrong_at": 0.5},
        on=(ONE,),
    )
    for contest in CONTESTS[3:]
)
"""The same where an image is attacked no further once its decision is wrong, as the packages do."""
ART, VISION = "adversarial-robustness-toolbox", "torchvision"
NEAREST = Contest(
    name=f"Carlini-Wagner, L2, {CW_SEARCHES} × {CW_STEPS} steps",
    ours=lambda _: {"attack": "cw-l2", "steps": CW_STEPS, "searches": CW_SEARCHES, "rate": CW_RATE},
    peers=(
        Peer(
            package="torchattacks",
            make=torchattacks_of("CW", bounded=False, steps=CW_STEPS * CW_SEARCHES, lr=CW_RATE),
        ),
        Peer(
            package="foolbox",
            make=foolbox_of(
                "L2CarliniWagnerAttack",
                bounded=False,
                binary_search_steps=CW_SEARCHES,
                steps=CW_STEPS,
                stepsize=CW_RATE,
                initial_const=CW_CONSTANT,
            ),
        ),
        Peer(
            package=ART,
            make=art_of(
                "CarliniL2Method",
                bounded=False,
                binary_search_steps=CW_SEARCHES,
                max_iter=CW_STEPS,
                learning_rate=CW_RATE,
                initial_const=CW_CONSTANT,
                verbose=False,
            ),
        ),
    ),
    on=(ONE,),
)
"""Of no ε: each image as near as the attack finds one on the other side. torchattacks tries one constant, 1."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Corrupted:
    """A corruption of ours, and packages' of the same size."""

    name: str
    ours: Mapping[str, Any]
    """The study file's table."""
    strength: float
    peers: Sequence[Peer]
    drawn: bool = False
    """Whether it is drawn at random, so that images differ from those of a package."""


CORRUPTIONS = (
    Corrupted(
        name="noise of length 4",
        ours={"attack": "noise-l2", "eps": 4.0},
        strength=4.0,
        peers=(Peer(package="foolbox", make=foolbox_of("L2AdditiveGaussianNoiseAttack")),),
        drawn=True,
    ),
    Corrupted(
        name="Gaussian noise, σ = 0.06",
        ours={"corruption": "gaussian-noise", "severity": 3},
        strength=0.06,
        peers=(Peer(package=ART, make=art_noise), Peer(package=VISION, make=torchvision_of("gaussian_noise", "sigma"))),
        drawn=True,
    ),
    Corrupted(
        name="JPEG, quality 30",
        ours={"corruption": "jpeg", "severity": 3},
        strength=30,
        peers=(Peer(package=ART, make=art_jpeg), Peer(package=VISION, make=torchvision_jpeg)),
    ),
    Corrupted(
        name="contrast times 0.5",
        ours={"corruption": "contrast", "severity": 3},
        strength=0.5,
        peers=(
            Peer(package="foolbox", make=foolbox_contrast),
            Peer(package=ART, make=art_transformed("EoTContrastPyTorch", contrast_factor=lambda by: (by, by))),
            Peer(package=VISION, make=torchvision_of("adjust_contrast", "contrast_factor")),
        ),
    ),
    Corrupted(
        name="all pixels ± 0.15",
        ours={"corruption": "exposure", "severity": 3},
        strength=0.15,
        peers=(Peer(package=ART, make=art_transformed("EoTBrightnessPyTorch", delta=lambda by: (by, by))),),
        drawn=True,
    ),
    Corrupted(
        name="to the power of 1.8, or 1 / 1.8",
        ours={"corruption": "gamma", "severity": 3},
        strength=1.8,
        peers=(Peer(package=VISION, make=torchvision_of("adjust_gamma", "gamma")),),
        drawn=True,
    ),
    Corrupted(
        name="Gaussian blur, 0.9 % of the side",
        ours={"corruption": "blur", "severity": 3},
        strength=0.009 * SIZE,
        peers=(Peer(package=VISION, make=torchvision_of("gaussian_blur", "sigma", kernel_size=[9, 9])),),
    ),
    Corrupted(
        name="scaled down by 2 and up",
        ours={"corruption": "down-sampling", "severity": 2},
        strength=2,
        peers=(Peer(package=VISION, make=torchvision_resized),),
    ),
    Corrupted(
        name="turned by 10°",
        ours={"corruption": "rotation", "severity": 3},
        strength=10,
        peers=(
            Peer(package=ART, make=art_transformed("EoTImageRotationPyTorch", angles=lambda by: [-by, by])),
            Peer(package=VISION, make=torchvision_of("rotate", "angle", interpolation="bilinear")),
        ),
        drawn=True,
    ),
)
