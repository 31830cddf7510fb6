"""Attacks and corruptions as packages of today make them, beside ours: robust accuracy and seconds of one thread.

One small network, trained here for seconds on phantoms, and the same images and ε for all. The packages take one
softmax over classes, so each gets the network as a model of one finding's two classes, [0, z]. For every finding each
is attacked alone and read from its own image, by packages in a loop over such models and here by `target = "each"`. For
all findings together (`target = "all"`) they get it as a model of a class for each combination of findings, whose
cross-entropy is the sum of ours. Hiding a finding (`goal = "hide"`) is, for two classes, to attack the label "present"
of every image. Robust accuracy is the share of decisions (a logit above 0 is present) that are
right; the lower, the stronger the attack; of one that draws at random it is the mean of ten seeds, each of which is
kept, so that chance is told from strength. Seconds are of the CPU, of attack and prediction of the attacked
images, with the median of five where that takes less than one. Carlini and Wagner's attack has no ε: the length of the
change that flips a decision is told, the lower, the stronger. Last comes our search for the least ε against a PGD run
of bare torchattacks at each ε. A package that is not there is skipped by name.

    uv pip install --target .peers --no-deps --group peers
    PYTHONPATH=.peers python benchmarks/peers_attacks.py --patients 20 --out benchmarks/results/attacks.json
"""

import argparse
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
from contests import (
    CONFIDENT,
    CONFIDENT_MODEL,
    CONTESTS,
    CORRUPTIONS,
    EVERY,
    FINDING,
    HIDDEN,
    NEAREST,
    ONE,
    SIZE,
    STEPS,
    STOPPED,
    TOGETHER,
    Attack,
    Contest,
    Corrupted,
    Peer,
    torchattacks_of,
)
from numpy.typing import NDArray
from record import write

from cxrobust.inference import finetuning
from cxrobust.inference.datasets.phantoms import Phantoms
from cxrobust.inference.finetuning import LabelledImages, Training
from cxrobust.inference.perturbations import Batch, Perturbation, in_order, perturbation
from cxrobust.inference.views import OneFinding
from cxrobust.progress import silent

T = TypeVar("T")
SEED, SEEDS = 2026, 10
TURNS = 5
"""How often the search for the least ε and its PGD runs take turns; their seconds are the median."""
GRID = (0.1, 0.2, 0.35, 0.5, 0.75, 1.0, 1.25, 1.5, 2.0)
RIM = 4
PACKAGES = ("torch", "torchvision", "torchattacks", "foolbox", "adversarial-robustness-toolbox", "pyautoattack")


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
        self.view, self.n_classes = OneFinding(model, column), 2

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Return the scores."""
        scores: torch.Tensor = self.view(images).float()
        return scores


class JointClasses(torch.nn.Module):
    """All findings of a model as packages take them: a class for each combination of present findings.

    A combination's score is the sum of the logits of what is present in it, so its cross-entropy is the sum of the
    findings' own (binary) cross-entropies.
    """

    def __init__(self, model: torch.nn.Module, n_findings: int) -> None:
        super().__init__()
        self.model, self.n_classes = model, 2**n_findings
        of_bits = torch.arange(self.n_classes)[None, :] >> torch.arange(n_findings)[:, None]
        self.register_buffer("present", (of_bits & 1).float())

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Return the scores, (n, n_classes)."""
        scores: torch.Tensor = self.model(images) @ self.present
        return scores

    @staticmethod
    def classes(labels: NDArray[np.int8]) -> torch.Tensor:
        """Return which combination each row of labels (n, n_findings) is, (n,)."""
        return torch.from_numpy((labels == 1) @ (1 << np.arange(labels.shape[1])))


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
        with left_alone(seed):
            for column in columns:
                model = TwoClasses(self.model, column).eval()
                labels = torch.from_numpy(self.labels[:, column].astype(np.int64))
                images = attack(model, self.images.clone(), labels).detach().float()
                found.append(self._read(images)[:, column])
        return torch.stack(found, dim=1).numpy()

    def theirs_together(self, attack: Attack, seed: int = 0) -> NDArray[np.float32]:
        """Return the logits of all findings under one attack on them together."""
        with left_alone(seed):
            model = JointClasses(self.model, len(self.findings)).eval()
            images = attack(model, self.images.clone(), JointClasses.classes(self.labels)).detach().float()
        return self._read(images).numpy()

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


@contextmanager
def left_alone(seed: int) -> Iterator[None]:
    """Let a package draw from a seed, and say nothing of its warnings."""
    with warnings.catch_warnings(), seeded(SEED + seed):
        warnings.simplefilter("ignore")
        yield


@dataclass(frozen=True, kw_only=True, slots=True)
class Trial:
    """What an attack is tried on, and how each is asked for it."""

    bench: Bench
    aimed: Bench
    """The same with the decisions that are attacked as its labels, for packages and for what counts as right."""
    asked: Mapping[str, str]
    """Beside an attack's settings, of ours."""
    columns: Sequence[int]
    """The findings that are read."""
    together: bool = False

    @classmethod
    def on(cls, what: str, bench: Bench) -> "Trial":
        """Return the trial of a name."""
        column, every = bench.findings.index(FINDING), range(len(bench.findings))
        if what == EVERY:
            return cls(bench=bench, aimed=bench, asked={"target": "each"}, columns=every)
        if what == TOGETHER:
            return cls(bench=bench, aimed=bench, asked={"target": "all"}, columns=every, together=True)
        if what == HIDDEN:
            present = replace(bench, labels=np.ones_like(bench.labels))
            return cls(bench=bench, aimed=present, asked={"target": FINDING, "goal": "hide"}, columns=[column])
        if what == CONFIDENT_MODEL:
            bench = replace(bench, model=Scaled(bench.model, CONFIDENT))
        return cls(bench=bench, aimed=bench, asked={"target": FINDING}, columns=[column])

    def ours(self, settings: Mapping[str, Any], seed: int) -> NDArray[np.float32]:
        """Return the logits under an attack of ours."""
        return self.bench.ours({**settings, **self.asked}, self.columns, seed)

    def theirs(self, attack: Attack, seed: int) -> NDArray[np.float32]:
        """Return the logits under an attack of a package."""
        if self.together:
            return self.aimed.theirs_together(attack, seed)
        return self.aimed.theirs(attack, self.columns, seed)

    def right(self, logits: NDArray[np.float32]) -> float:
        """Return the share of decisions that the attack has left."""
        return self.aimed.right(logits, self.columns)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--patients", type=int, default=40, help="patients of the test images")
    parser.add_argument("--eps", type=float, default=1.0, help="size of the attacks, in 1/255")
    parser.add_argument("--out", type=Path)
    chosen = parser.parse_args()
    torch.set_num_threads(1)
    bench = prepare(chosen.patients)
    eps, column, every = chosen.eps / 255, bench.findings.index(FINDING), range(len(bench.findings))
    rows = [row for one in (*CONTESTS, *STOPPED) for on in one.on for row in compared(bench, one, on, eps)]
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
            *convolved(1, 8, stride=2), *convolved(8, 16, stride=2), *convolved(16, 24, stride=2), *convolved(24, 24),
            torch.nn.Flatten(), torch.nn.Linear(24 * (SIZE // 8) ** 2, 64), torch.nn.ReLU(),
            torch.nn.Linear(64, len(table)),
        )  # fmt: skip
    labels = train.labels

    def loss(rows: torch.Tensor, _: torch.Generator) -> torch.Tensor:
        return finetuning.masked_bce(model((train.images[rows] - 0.5) / 0.25), labels[rows])

    finetuning.fit(
        model, loss, Training(epochs=20, learning_rate=2e-3, batch=64, seed=SEED), n_images=len(train),
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


def convolved(before: int, after: int, *, stride: int = 1) -> tuple[torch.nn.Module, ...]:
    """Return a layer that bends: where a network is all but linear within ε, one step does what many do."""
    layer = torch.nn.Conv2d(before, after, 3, stride=stride, padding=1)
    return layer, torch.nn.BatchNorm2d(after), torch.nn.ReLU()


def drawn(split: str, patients: int) -> tuple[LabelledImages, tuple[str, ...]]:
    settings = {"kind": "phantoms", "patients": patients, "seed": SEED, "split": split, "domain": "b", "size": SIZE}
    table = Phantoms.model_validate(settings).table()
    return finetuning.read_examples(table, size=SIZE, report=silent, stage="drawing"), table.findings


def compared(bench: Bench, contest: Contest, on: str, eps: float) -> list[dict[str, Any]]:
    """Return a row for ours and one for each package: seconds of one seed, strength of ten where it draws."""
    trial = Trial.on(on, bench)
    under: dict[str, Callable[[int], NDArray[np.float32]]] = {"cxrobust": partial(trial.ours, contest.ours(eps))}
    for peer in contest.peers:
        try:
            under[peer.package] = partial(trial.theirs, peer.make(eps))
        except ImportError as error:
            print(f"{peer.package}: {error}: skipped")
    rows: list[dict[str, Any]] = []
    for package, read in under.items():
        logits, seconds = timed(partial(read, 0))
        others = [read(seed) for seed in range(1, SEEDS if on in contest.drawn else 1)]
        rights = [trial.right(one) for one in (logits, *others)]
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

    def grid() -> tuple[list[NDArray[np.float32]], float]:
        runs = []
        for eps in sizes:
            attack = torchattacks_of("PGD", steps=STEPS, alpha=lambda size: 2.5 * size / STEPS)(eps)
            runs.append(timed(partial(bench.theirs, attack, columns)))
        return [one for one, _ in runs], sum(seconds for _, seconds in runs)

    turns = [(search(), search(until_wrong_at=0.5), grid()) for _ in range(TURNS)]
    ours, less, theirs = (float(np.median([took for _, took in those])) for those in zip(*turns, strict=True))
    (logits, _), (stopped, _), (runs, _) = turns[0]
    return {
        "eps": list(GRID),
        "search": [bench.right(one[:, columns], columns) for one in logits],
        "until_wrong": [bench.right(one[:, columns], columns) for one in stopped],
        "pgd": [bench.right(one, columns) for one in runs],
        "seconds": ours,
        "seconds_until_wrong": less,
        "seconds_pgd": theirs,
        "ratio": theirs / ours,
    }


if __name__ == "__main__":
    main()
