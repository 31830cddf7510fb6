"""What the engine adds to an attack: its units on ready images, beside a bare loop of torchattacks on ready tensors.

Both attack the same network with PGD of the same ε, steps and batch size, on the same images, in one process, in turns,
so that what else runs on the machine meets both; the first turn of each is thrown away. Both build the network in each
turn. Ready images are decoded ones; the engine reads them from its cache, attacks and predicts, and writes its files.
CPU seconds are told too, since other work on the machine touches them less; on a GPU look at seconds alone.

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

import numpy as np
import torch
import torchattacks
from PIL import Image
from record import write
from torchvision.models import resnet18

from cxrobust.files import alone
from cxrobust.inference.executors.local import Local
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
model = "python:network:build"
[[perturbations]]
attack = "pgd"
eps = [{eps}]
steps = {steps}
control = false
[report]
example_images = 0
attack_checks = 0
[compute]
batch = {batch}
shard = {images}
"""


@dataclass(frozen=True, kw_only=True, slots=True)
class Plan:
    images: int
    size: int
    batch: int
    steps: int
    turns: int
    out: Path | None


@dataclass(frozen=True, kw_only=True, slots=True)
class Turn:
    """One turn of each, in seconds."""

    bare: float
    engine: float
    bare_cpu: float
    engine_cpu: float


def main() -> None:
    plan = parse_arguments()
    with tempfile.TemporaryDirectory(prefix="cxrobust-") as made:
        folder = Path(made)
        images, labels = prepare(plan, folder)
        turns = [one_turn(plan, folder, images, labels, seed=seed) for seed in range(plan.turns + 1)][1:]
    ratio, ratio_cpu = (
        median(one.engine / one.bare for one in turns),
        median(one.engine_cpu / one.bare_cpu for one in turns),
    )
    device = torch.cuda.get_device_name() if torch.cuda.is_available() else "CPU"
    content = {
        "network": "ResNet-18",
        "device": device,
        "threads": torch.get_num_threads(),
        **{key: getattr(plan, key) for key in ("images", "size", "batch", "steps")},
        "turns": [asdict(one) for one in turns],
        "ratio": ratio,
        "ratio_cpu": ratio_cpu,
    }
    write(plan.out, content, packages=("torch", "torchvision", "torchattacks"))
    for one in turns:
        print(
            f"bare {one.bare:.2f} s ({one.bare_cpu:.2f} s CPU), engine {one.engine:.2f} s ({one.engine_cpu:.2f} s CPU)"
        )
    print(f"engine / bare loop: {ratio:.3f} by seconds, {ratio_cpu:.3f} by CPU seconds (medians of {len(turns)} turns)")


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
    return torch.from_numpy(pixels.astype(np.float32) / 255)[:, None], torch.from_numpy(labels)


def one_turn(plan: Plan, folder: Path, images: torch.Tensor, labels: torch.Tensor, *, seed: int) -> Turn:
    bare, bare_cpu = timed(lambda: bare_loop(plan, images, labels))
    study, out = folder / "study.toml", folder / "out" / "predictions"
    keys = {key: getattr(plan, key) for key in ("size", "steps", "batch", "images")}
    study.write_text(STUDY.format(seed=seed, eps=EPS, **keys), encoding="utf-8")
    with alone(out):
        planned = units(read_study(study), out)
        tasks = [Task(unit=unit, part=planned, folder=out, registration=None, run=str(seed)) for unit in planned.units]
        engine, engine_cpu = timed(lambda: check(list(Local().run(tasks, lambda n_images: None))))
    return Turn(bare=bare, engine=engine, bare_cpu=bare_cpu, engine_cpu=engine_cpu)


def check(outcomes: Sequence[Outcome]) -> None:
    failed = [outcome.failure.message for outcome in outcomes if outcome.failure is not None]
    assert not failed, failed[0]


def bare_loop(plan: Plan, images: torch.Tensor, labels: torch.Tensor) -> None:
    """What one would write oneself: clean and attacked logits, batch by batch."""
    device = "cuda" if torch.cuda.is_available() else "cpu"
    torch.manual_seed(0)
    network = torch.nn.Sequential(Grey(), resnet18(num_classes=len(FINDINGS))).eval().requires_grad_(False).to(device)
    attack = torchattacks.PGD(Pairs(network), eps=EPS, alpha=2.5 * EPS / plan.steps, steps=plan.steps)
    for first in range(0, plan.images, plan.batch):
        some, theirs = (one[first : first + plan.batch].to(device) for one in (images, labels))
        with torch.inference_mode():
            network(some).cpu()
        attacked = attack(some, theirs)
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
    parser.add_argument("--out", type=Path, default=None, help="JSON file for the numbers")
    return Plan(**vars(parser.parse_args(given)))


if __name__ == "__main__":
    main()
