"""Attacks and corruptions as packages of today make them, beside ours: robust accuracy and seconds of one thread.

One small network, trained here for seconds on phantoms, and the same images and ε for all. The packages take one
softmax over classes, so each gets the network as a model of one finding's two classes, [0, z]; for all findings, which
no package attacks at once, each finding is attacked alone and read from its own image, by them in a loop over such
models and here by `target = "each"`. Robust accuracy is the share of decisions (a logit above 0 is present) that are
right; the lower, the stronger the attack; of one that draws at random it is the mean of ten seeds, each of which is
kept, so that chance is told from strength. Seconds are of the CPU, of attack and prediction of the attacked
images, with the median of five where that takes less than one. Carlini and Wagner's attack has no ε: the length of the
change that flips a decision is told, the lower, the stronger. Last comes our search for the least ε against a PGD run
of bare torchattacks at each ε. A package that is not there is skipped by name.

    uv pip install --target .peers --no-deps --group peers
    PYTHONPATH=.peers python benchmarks/peers_attacks.py --patients 26 --out benchmarks/results/attacks.json
"""

import argparse
import importlib
import logging
import random
import time
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from statistics import fmean, median
from typing import Any, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from record import write

from cxrobust.inference import finetuning
from cxrobust.inference.datasets.phantoms import Phantoms
from cxrobust.inference.finetuning import LabelledImages, Training
from cxrobust.inference.perturbations import Batch, Perturbation, in_order, perturbation
from cxrobust.inference.views import OneFinding
from cxrobust.progress import silent

T = TypeVar("T")

SIZE, SEED, SEEDS = 64, 2026, 10
ONE, CONFIDENT_MODEL, EVERY = "one finding", "over-confident", "every finding"
"""What attacks are tried on."""
FINDING = "Cardiomegaly"
STEPS, QUERIES = 20, 200
APGD_STEPS = 50
CW_STEPS, CW_SEARCHES, CW_RATE, CW_CONSTANT = 60, 5, 0.01, 0.01
CONFIDENT = 40.0
"""By what the logits are multiplied to make the model over-confident, which changes no decision."""
GRID = (0.25, 0.5, 0.75, 1.0, 1.5, 2.0, 3.0, 4.0, 6.0)
RIM = 4
PACKAGES = ("torch", "torchvision", "torchattacks", "foolbox", "adversarial-robustness-toolbox", "pyautoattack")
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
    confident: bool = False
    """Whether it is tried on the over-confident model too."""
    each: bool = True
    """Whether it is tried on all findings too."""
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


def foolbox_of(name: str, *, bounded: bool = True, **settings: Any) -> Callable[[float], Attack]:
    """Return an attack of Foolbox, of size ε where it is bounded."""

    def make(eps: float) -> Attack:
        library = importlib.import_module("foolbox")

        def attack(model: torch.nn.Module, images: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
            wrapped = library.PyTorchModel(model, bounds=(0, 1), device="cpu")
            made = getattr(library.attacks, name)(**settings)
            found: torch.Tensor = made(wrapped, images, labels, epsilons=eps if bounded else None)[1]
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
                model, torch.nn.CrossEntropyLoss(), (1, SIZE, SIZE), 2, clip_values=(0.0, 1.0), device_type="cpu"
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
        each=False,
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
        confident=True,
        drawn=frozenset({ONE, CONFIDENT_MODEL}),
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
        confident=True,
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
        drawn=frozenset({ONE, EVERY}),
    ),
    Contest(
        name="AutoAttack",
        ours=lambda eps: {"attack": "autoattack-multilabel", "eps": eps, "steps": APGD_STEPS, "queries": QUERIES},
        peers=(Peer(package="pyautoattack", make=autoattack),),
        drawn=frozenset({ONE}),
    ),
)
STOPPED = tuple(
    replace(
        contest,
        name=f"{contest.name}, until wrong",
        ours=lambda eps, of=contest.ours: {**of(eps), "until_wrong_at": 0.5},
        confident=False,
        each=False,
    )
    for contest in CONTESTS[2:]
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
    each=False,
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
        peers=(Peer(package=VISION, make=torchvision_of("adjust_contrast", "contrast_factor")),),
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
        peers=(Peer(package=VISION, make=torchvision_of("rotate", "angle", interpolation="bilinear")),),
        drawn=True,
    ),
)


class Scaled(torch.nn.Module):
    """A model whose logits are multiplied."""

    def __init__(self, model: torch.nn.Module, by: float) -> None:
        super().__init__()
        self.model, self.by = model, by

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Return the multiplied logits."""
        logits: torch.Tensor = self.by * self.model(images)
        return logits


class TwoClasses(torch.nn.Module):
    """One finding of a model as packages take it: class scores (n, 2) = [0, z] in single precision."""

    def __init__(self, model: torch.nn.Module, column: int) -> None:
        super().__init__()
        self.view = OneFinding(model, column)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Return the scores."""
        scores: torch.Tensor = self.view(images).float()
        return scores


def timed(work: Callable[[], T]) -> tuple[T, float]:
    """Return what work gives and its CPU seconds; what takes under a second is done four times more, for the median.

    So what a package does once, when it is first used, is not told of short attacks.
    """
    seconds: list[float] = []
    while not seconds or (seconds[0] < 1 and len(seconds) < 5):
        begun = time.process_time()
        found = work()
        seconds.append(time.process_time() - begun)
    return found, median(seconds)


@dataclass(frozen=True, kw_only=True, slots=True)
class Bench:
    """The model and the images."""

    model: torch.nn.Module
    images: torch.Tensor
    labels: NDArray[np.int8]
    findings: tuple[str, ...]

    def batch(self, seed: int = 0) -> Batch:
        """The images as a perturbation of ours takes them."""
        n = len(self.images)
        return Batch(
            images=self.images, labels=self.labels, findings=self.findings, seeds=tuple(range(seed * n, (seed + 1) * n))
        )

    def ours(self, settings: Mapping[str, Any], columns: Sequence[int], seed: int = 0) -> NDArray[np.float32]:
        """Return the logits of some findings under a perturbation of ours."""
        made = perturbation[str(settings["attack"])].model_validate(settings)
        return self.search([made], seed)[0][:, columns]

    def search(self, made: Sequence[Perturbation], seed: int = 0) -> NDArray[np.float32]:
        """Return the logits under perturbations of one search, (n_strengths, n, n_findings)."""
        return torch.stack(made[-1].read(self.batch(seed), self.model, self._read, made[:-1])).numpy()

    def theirs(self, attack: Attack, columns: Sequence[int], seed: int = 0) -> NDArray[np.float32]:
        """Return the logits of some findings, each under the attack on itself."""
        found = []
        with warnings.catch_warnings(), seeded(SEED + seed):
            warnings.simplefilter("ignore")
            for column in columns:
                model = TwoClasses(self.model, column).eval()
                labels = torch.from_numpy(self.labels[:, column].astype(np.int64))
                images = attack(model, self.images.clone(), labels).detach().float()
                found.append(self._read(images)[:, column])
        return torch.stack(found, dim=1).numpy()

    def right(self, logits: NDArray[np.float32], columns: Sequence[int]) -> float:
        """Return the share of decisions that are right."""
        return float(((logits > 0) == (self.labels[:, columns] == 1)).mean())

    def _read(self, images: torch.Tensor) -> torch.Tensor:
        with torch.no_grad():
            logits: torch.Tensor = self.model(images)
        return logits


@contextmanager
def seeded(seed: int) -> Iterator[None]:
    """Let what draws from the generators of torch, NumPy and Python begin at a seed; torch's is put back."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        np.random.seed(seed)  # noqa: NPY002  packages draw from it
        random.seed(seed)
        yield


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--patients", type=int, default=40, help="patients of the test images")
    parser.add_argument("--eps", type=float, default=2.0, help="size of the attacks, in 1/255")
    parser.add_argument("--out", type=Path)
    chosen = parser.parse_args()
    torch.set_num_threads(1)
    bench = prepare(chosen.patients)
    eps, column, rows = chosen.eps / 255, bench.findings.index(FINDING), []
    every = range(len(bench.findings))
    for contest in (*CONTESTS, *STOPPED):
        settings = contest.ours(eps)
        rows += compared(bench, contest, ONE, {**settings, "target": FINDING}, eps, [column])
        if contest.confident:
            confident = Bench(
                model=Scaled(bench.model, CONFIDENT), images=bench.images, labels=bench.labels, findings=bench.findings
            )
            rows += compared(confident, contest, CONFIDENT_MODEL, {**settings, "target": FINDING}, eps, [column])
        if contest.each:
            rows += compared(bench, contest, EVERY, {**settings, "target": "each"}, eps, every)
    rows += nearest(bench, NEAREST, column)
    clean = bench._read(bench.images).numpy()
    result = {
        "n_images": len(bench.images),
        "size": SIZE,
        "eps": chosen.eps,
        "finding": FINDING,
        "findings": list(bench.findings),
        "confident": CONFIDENT,
        "clean": {"one": bench.right(clean[:, [column]], [column]), "all": bench.right(clean, every)},
        "rows": rows,
        "corruptions": [row for one in CORRUPTIONS for row in corrupted(bench, one, column)],
        "search": searched(bench, column),
    }
    write(chosen.out, result, packages=PACKAGES)


def prepare(patients: int) -> Bench:
    """Train the network on phantoms, and draw test images of others."""
    test, table = drawn("test", patients)
    train, _ = drawn("train", 220)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(SEED)
        model = torch.nn.Sequential(
            torch.nn.Conv2d(1, 24, 5, stride=4, padding=2), torch.nn.GELU(),
            torch.nn.Conv2d(24, 48, 3, stride=2, padding=1), torch.nn.GELU(),
            torch.nn.Flatten(), torch.nn.Linear(48 * (SIZE // 8) ** 2, 64), torch.nn.GELU(),
            torch.nn.Linear(64, len(table)),
        )  # fmt: skip
    labels = train.labels

    def loss(rows: torch.Tensor, _: torch.Generator) -> torch.Tensor:
        return finetuning.masked_bce(model((train.images[rows] - 0.5) / 0.25), labels[rows])

    finetuning.fit(
        model, loss, Training(epochs=40, learning_rate=2e-3, batch=64, seed=SEED), n_images=len(train),
        parameters=model.parameters(), stage="training", report=silent,
    )  # fmt: skip

    class Centred(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.model = model

        def forward(self, images: torch.Tensor) -> torch.Tensor:
            logits: torch.Tensor = self.model((images - 0.5) / 0.25)
            return logits

    return Bench(
        model=Centred().eval().requires_grad_(False),
        images=test.images,
        labels=test.labels.numpy().astype(np.int8),
        findings=table,
    )


def drawn(split: str, patients: int) -> tuple[LabelledImages, tuple[str, ...]]:
    settings = {"kind": "phantoms", "patients": patients, "seed": SEED, "split": split, "domain": "b", "size": SIZE}
    table = Phantoms.model_validate(settings).table()
    return finetuning.read_examples(table, size=SIZE, report=silent, stage="drawing"), table.findings


def compared(
    bench: Bench,
    contest: Contest,
    on: str,
    settings: Mapping[str, Any],
    strength: float,
    columns: Sequence[int],
) -> list[dict[str, Any]]:
    """Return a row for ours and one for each package: seconds of one seed, strength of ten where it draws."""
    under: dict[str, Callable[[int], NDArray[np.float32]]] = {"cxrobust": partial(bench.ours, settings, columns)}
    for peer in contest.peers:
        try:
            under[peer.package] = partial(bench.theirs, peer.make(strength), columns)
        except ImportError as error:
            print(f"{peer.package}: {error}: skipped")
    rows: list[dict[str, Any]] = []
    for package, read in under.items():
        logits, seconds = timed(partial(read, 0))
        others = [read(seed) for seed in range(1, SEEDS if on in contest.drawn else 1)]
        rights = [bench.right(one, columns) for one in (logits, *others)]
        ratio = seconds / rows[0]["seconds"] if rows else None
        drawn = {"rights": rights} if others else {}
        rows.append({**row(contest, on, package, fmean(rights), seconds, ratio), **drawn})
        print(f"{contest.name:22} {on:15} {package:32} {fmean(rights):.4f} {seconds:8.3f} s")
    return rows


def corrupted_by(corrupt: Attack, model: torch.nn.Module, images: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """Return what a package makes of images, in [0, 1]."""
    return corrupt(model, images.clone(), labels).detach().float().clamp(0, 1)


def made_by(
    peers: Sequence[Peer], strength: float, model: torch.nn.Module, images: torch.Tensor, labels: torch.Tensor
) -> Iterator[tuple[str, torch.Tensor, float]]:
    """Yield of each package that is there its name, what it makes of images, and its seconds."""
    for peer in peers:
        try:
            make = peer.make(strength)
        except ImportError as error:
            print(f"{peer.package}: {error}: skipped")
            continue
        yield peer.package, *timed(partial(corrupted_by, make, model, images, labels))


def corrupted(bench: Bench, one: Corrupted, column: int) -> list[dict[str, Any]]:
    """Return a row for ours and one for each package: how far pixels move, and how far from where ours move them."""
    made = perturbation[str(one.ours.get("attack") or one.ours["corruption"])].model_validate(one.ours)
    labels = torch.from_numpy(bench.labels[:, column].astype(np.int64))
    of_one = TwoClasses(bench.model, column).eval()
    ours, took = timed(lambda: made.perturb(bench.batch(), bench.model))
    found = [("cxrobust", ours, took), *made_by(one.peers, one.strength, of_one, bench.images, labels)]
    rows = []
    for package, images, seconds in found:
        logits = bench._read(images).numpy()[:, [column]]
        rows.append(
            {
                "corruption": one.name,
                "package": package,
                "right": bench.right(logits, [column]),
                "moved": moved(images, bench.images),
                "apart": None if one.drawn or package == "cxrobust" else moved(inner(images), inner(ours)),
                "seconds": seconds,
                "ratio": None if package == "cxrobust" else seconds / took,
            }
        )
        print(rows[-1])
    return rows


def nearest(bench: Bench, contest: Contest, column: int) -> list[dict[str, Any]]:
    """Return a row for ours and one for each package, with the median length of the change that flips a decision.

    It is of the images that are right when clean; one that is right still counts as infinitely far, and
    where most are, the length is None.
    """
    settings = {**contest.ours(0.0), "target": FINDING}
    made = perturbation[str(settings["attack"])].model_validate(settings)
    labels = torch.from_numpy(bench.labels[:, column].astype(np.int64))
    of_one = TwoClasses(bench.model, column).eval()
    images, took = timed(lambda: made.perturb(bench.batch(), bench.model))
    found = [("cxrobust", images, took), *made_by(contest.peers, 0.0, of_one, bench.images, labels)]
    present = labels.numpy() == 1
    right = (bench._read(bench.images).numpy()[:, column] > 0) == present
    rows = []
    for package, images, seconds in found:
        logits = bench._read(images).numpy()[:, column]
        lengths = (images.double() - bench.images.double()).flatten(1).norm(dim=1).numpy()
        lengths = np.where((logits > 0) == present, np.inf, lengths)[right]
        share, ratio = bench.right(logits[:, None], [column]), None if package == "cxrobust" else seconds / took
        length = float(np.median(lengths))
        measured = row(contest, ONE, package, share, seconds, ratio)
        rows.append({**measured, "length": length if np.isfinite(length) else None})
        print(rows[-1])
    return rows


def moved(images: torch.Tensor, before: torch.Tensor) -> float:
    """Return the root mean square of the change of pixels, in 1/255."""
    return 255 * float((images.double() - before.double()).square().mean().sqrt())


def inner(images: torch.Tensor) -> torch.Tensor:
    """Return images without their rim, where what lies beyond is continued differently."""
    return images[..., RIM:-RIM, RIM:-RIM]


def row(contest: Contest, on: str, package: str, right: float, seconds: float, ratio: float | None) -> dict[str, Any]:
    return {"attack": contest.name, "on": on, "package": package, "right": right, "seconds": seconds, "ratio": ratio}


def searched(bench: Bench, column: int) -> dict[str, Any]:
    """Return the curve of one search for the least ε, and that of a PGD run of bare torchattacks at each ε."""
    sizes, columns = [eps / 255 for eps in GRID], [column]
    kind = perturbation["least-eps"]

    def search(**settings: Any) -> tuple[NDArray[np.float32], float]:
        tables = [{"attack": "least-eps", "eps": eps, "target": FINDING, **settings} for eps in sizes]
        return timed(partial(bench.search, in_order(map(kind.model_validate, tables))))

    (logits, ours), (stopped, less) = search(), search(until_wrong_at=0.5)
    runs = []
    for eps in sizes:
        attack = torchattacks_of("PGD", steps=STEPS, alpha=lambda size: 2.5 * size / STEPS)(eps)
        runs.append(timed(partial(bench.theirs, attack, columns)))
    theirs = sum(seconds for _, seconds in runs)
    return {
        "eps": list(GRID),
        "search": [bench.right(one[:, columns], columns) for one in logits],
        "until_wrong": [bench.right(one[:, columns], columns) for one in stopped],
        "pgd": [bench.right(one, columns) for one, _ in runs],
        "seconds": ours,
        "seconds_until_wrong": less,
        "seconds_pgd": theirs,
        "ratio": theirs / ours,
    }


if __name__ == "__main__":
    main()
