"""What the engine adds to an attack, and what it saves by decoding images while it predicts.

Its units on ready images stand beside a bare loop of torchattacks on ready tensors. Both attack the same network by
FGSM and by PGD of the same ε, steps and batch size, on the same images, in one process, in turns, so that what else
runs on the machine meets both; a first turn of FGSM is thrown away. Both build the network in each turn, and predict
the clean and the attacked images once. Ready images are decoded ones; the engine reads them from its cache, attacks and
predicts, and writes its files, synced to disk. CPU seconds are told too, since other work on the machine touches them
less; on a GPU look at seconds alone.

A cold run begins with files of large images: once all are decoded before the first is predicted, once meanwhile. Its
network does next to nothing but wait, so that decoders find cores idle, as they do beside a GPU; where the CPU's cores
are all at work on the network, there is nothing to be saved.

    python benchmarks/inference.py --out benchmarks/results/inference.json
"""

import argparse
import resource
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import torch
import torchattacks
from PIL import Image
from record import write
from torchvision.models import resnet18

from cxrobust.files import alone
from cxrobust.inference.decoding import Decoders
from cxrobust.inference.executors.local import Local
from cxrobust.inference.units import Plan as StudyPlan
from cxrobust.inference.units import plan as units
from cxrobust.inference.work import Outcome, Task
from cxrobust.study import read_study

EPS = 4 / 255
FINDINGS = ("Effusion", "Mass", "Nodule", "Edema", "Fibrosis")
NETWORK = """
import torch
from torchvision.models import resnet18

def build(*, findings, weights):
    torch.manual_seed(0)
    network = resnet18(num_classes=len(findings))
    return torch.nn.Sequential(Grey(), network)

class Grey(torch.nn.Module):
    def forward(self, images):
        return images.expand(-1, 3, -1, -1)
"""
PAUSE = 0.15
"""Seconds that a pass of the cold run's network takes."""
WAITING = f"""
import time
import torch

class Wait(torch.nn.Module):
    def forward(self, images):
        time.sleep({PAUSE})
        return images

def build(*, findings, weights):
    torch.manual_seed(0)
    return torch.nn.Sequential(
        Wait(), torch.nn.AdaptiveAvgPool2d(8), torch.nn.Flatten(), torch.nn.Linear(64, len(findings))
    )
"""
STUDY = """
[study]
title = "the engine beside a bare loop"
seed = {seed}
reference = "a"
[data]
kind = "folder"
root = "images"
labels = "labels.csv"
size = {size}
[[regimes]]
name = "a"
family = "python"
model = "python:{network}:build"
[[perturbations]]
attack = "{attack}"
eps = [{eps}]
{steps}control = false
[report]
example_images = 0
attack_checks = 0
[compute]
batch = {batch}
shard = {shard}
"""
FGSM, PGD = "fgsm", "pgd"
SHARDS = 4
"""Of the cold run."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Plan:
    images: int
    size: int
    batch: int
    steps: int
    turns: int
    side: int
    out: Path | None


@dataclass(frozen=True, kw_only=True, slots=True)
class Turn:
    """One turn of each, in seconds."""

    bare: float
    engine: float
    bare_cpu: float
    engine_cpu: float


@dataclass(frozen=True, kw_only=True, slots=True)
class Cold:
    """One turn of a cold run, in seconds."""

    before: float
    """All images decoded, then predicted."""
    meanwhile: float


def main() -> None:
    plan = parse_arguments()
    with tempfile.TemporaryDirectory(prefix="cxrobust-") as made:
        folder = Path(made)
        images, labels = prepare(plan, folder)
        one_turn(plan, folder, images, labels, FGSM, seed=plan.turns)
        attacks = [told(plan, folder, images, labels, attack) for attack in (FGSM, PGD)]
        enlarge(plan, folder)
        cold = [cold_turn(plan, folder, seed=seed) for seed in range(plan.turns)]
    device = torch.cuda.get_device_name() if torch.cuda.is_available() else "CPU"
    content = {
        "network": "ResNet-18",
        "device": device,
        "threads": torch.get_num_threads(),
        **{key: getattr(plan, key) for key in ("images", "size", "batch", "steps", "side")},
        "attacks": attacks,
        "cold": [asdict(one) for one in cold],
        "cold_ratio": median(one.meanwhile / one.before for one in cold),
    }
    write(plan.out, content, packages=("torch", "torchvision", "torchattacks"))
    for one in cold:
        print(f"cold: decoded before {one.before:.2f} s, meanwhile {one.meanwhile:.2f} s")
    print(f"cold: meanwhile / before: {content['cold_ratio']:.3f} (median of {len(cold)} turns)")


def told(plan: Plan, folder: Path, images: torch.Tensor, labels: torch.Tensor, attack: str) -> dict[str, Any]:
    """Return the turns of one attack and their ratios, and print them."""
    turns = [one_turn(plan, folder, images, labels, attack, seed=seed) for seed in range(plan.turns)]
    ratio, ratio_cpu = (
        median(one.engine / one.bare for one in turns),
        median(one.engine_cpu / one.bare_cpu for one in turns),
    )
    for one in turns:
        print(
            f"{attack}: bare {one.bare:.2f} s ({one.bare_cpu:.2f} s CPU), engine {one.engine:.2f} s "
            f"({one.engine_cpu:.2f} s CPU)"
        )
    print(f"{attack}: engine / bare loop: {ratio:.3f} by seconds, {ratio_cpu:.3f} by CPU seconds", flush=True)
    return {"attack": attack, "turns": [asdict(one) for one in turns], "ratio": ratio, "ratio_cpu": ratio_cpu}


def prepare(plan: Plan, folder: Path) -> tuple[torch.Tensor, torch.Tensor]:
    """Write images and labels, and return both as tensors."""
    rng = np.random.default_rng(0)
    (folder / "images").mkdir()
    pixels = rng.integers(0, 256, (plan.images, plan.size, plan.size), dtype=np.uint8)
    labels = rng.integers(0, 2, (plan.images, len(FINDINGS)))
    rows = [",".join(("image_id", "patient_id", *FINDINGS))]
    for i, image in enumerate(pixels):
        Image.fromarray(image).save(folder / "images" / f"i{i}.png")
        rows.append(",".join((f"i{i}", f"p{i}", *map(str, labels[i]))))
    (folder / "labels.csv").write_text("\n".join(rows) + "\n", encoding="utf-8")
    (folder / "network.py").write_text(NETWORK, encoding="utf-8")
    (folder / "waiting.py").write_text(WAITING, encoding="utf-8")
    return torch.from_numpy(pixels.astype(np.float32) / 255)[:, None], torch.from_numpy(labels)


def enlarge(plan: Plan, folder: Path) -> None:
    """Put large images in the place of the small ones."""
    rng = np.random.default_rng(1)
    for i in range(plan.images):
        coarse = Image.fromarray(rng.integers(0, 240, (16, 16), dtype=np.uint8))
        smooth = np.asarray(coarse.resize((plan.side, plan.side), Image.Resampling.BICUBIC))
        grainy = smooth + rng.integers(0, 16, smooth.shape, dtype=np.uint8)
        Image.fromarray(grainy).save(folder / "images" / f"i{i}.png", compress_level=1)


def write_study(plan: Plan, folder: Path, attack: str, *, seed: int, shard: int, network: str = "network") -> Path:
    study = folder / "study.toml"
    steps = f"steps = {plan.steps}\n" if attack == PGD else ""
    keys = {"size": plan.size, "batch": plan.batch, "attack": attack, "steps": steps, "shard": shard}
    study.write_text(STUDY.format(seed=seed, eps=EPS, network=network, **keys), encoding="utf-8")
    return study


def one_turn(plan: Plan, folder: Path, images: torch.Tensor, labels: torch.Tensor, attack: str, *, seed: int) -> Turn:
    bare, bare_cpu = timed(lambda: bare_loop(plan, images, labels, attack))
    study, out = write_study(plan, folder, attack, seed=seed, shard=plan.images), folder / attack / "predictions"
    with alone(out):
        planned = units(read_study(study), out)
        engine, engine_cpu = timed(lambda: do(planned, out, run=f"{attack} {seed}"))
    return Turn(bare=bare, engine=engine, bare_cpu=bare_cpu, engine_cpu=engine_cpu)


def cold_turn(plan: Plan, folder: Path, *, seed: int) -> Cold:
    study = write_study(plan, folder, FGSM, seed=seed, shard=plan.images // SHARDS, network="waiting")

    def cold(out: Path, *, meanwhile: bool) -> None:
        with alone(out), Decoders() as decoders:
            planned = units(read_study(study), out, decoders=decoders if meanwhile else None)
            do(planned, out, run=str(out))

    before, _ = timed(lambda: cold(folder / f"before{seed}", meanwhile=False))
    meanwhile, _ = timed(lambda: cold(folder / f"meanwhile{seed}", meanwhile=True))
    return Cold(before=before, meanwhile=meanwhile)


def do(planned: StudyPlan, out: Path, *, run: str) -> None:
    """Do all units in the order in which the engine does."""
    in_order = sorted(planned.units, key=lambda unit: int(unit.rows[0]))
    tasks = [Task(unit=unit, part=planned, folder=out, registration=None, run=run) for unit in in_order]
    check(list(Local().run(tasks, lambda n_images: None)))


def check(outcomes: Sequence[Outcome]) -> None:
    failed = [outcome.failure.message for outcome in outcomes if outcome.failure is not None]
    assert not failed, failed[0]


def bare_loop(plan: Plan, images: torch.Tensor, labels: torch.Tensor, attack: str) -> None:
    """What one would write oneself: clean and attacked logits, batch by batch."""
    device = "cuda" if torch.cuda.is_available() else "cpu"
    torch.manual_seed(0)
    network = torch.nn.Sequential(Grey(), resnet18(num_classes=len(FINDINGS))).eval().requires_grad_(False).to(device)
    pairs = Pairs(network)
    loop = (
        torchattacks.FGSM(pairs, eps=EPS)
        if attack == FGSM
        else torchattacks.PGD(pairs, eps=EPS, alpha=2.5 * EPS / plan.steps, steps=plan.steps)
    )
    for first in range(0, plan.images, plan.batch):
        some, theirs = (one[first : first + plan.batch].to(device) for one in (images, labels))
        with torch.inference_mode():
            network(some).cpu()
        attacked = loop(some, theirs)
        with torch.inference_mode():
            network(attacked).cpu()


class Grey(torch.nn.Module):
    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return images.expand(-1, 3, -1, -1)


class Pairs(torch.nn.Module):
    """Log-odds (n, k) as the scores of two classes (n, 2, k), which torchattacks takes."""

    def __init__(self, network: torch.nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        logits = self.network(images)
        return torch.stack((torch.zeros_like(logits), logits), dim=1)


def timed(work: Callable[[], object]) -> tuple[float, float]:
    before, begun = resource.getrusage(resource.RUSAGE_SELF), time.perf_counter()
    work()
    seconds, after = time.perf_counter() - begun, resource.getrusage(resource.RUSAGE_SELF)
    return seconds, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def parse_arguments(given: Sequence[str] | None = None) -> Plan:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=64)
    parser.add_argument("--size", type=int, default=224)
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--steps", type=int, default=10)
    parser.add_argument("--turns", type=int, default=3)
    parser.add_argument("--side", type=int, default=2048, help="of the cold run's images as they lie on disk")
    parser.add_argument("--out", type=Path, default=None, help="JSON file for the numbers")
    return Plan(**vars(parser.parse_args(given)))


if __name__ == "__main__":
    main()
