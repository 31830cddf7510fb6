"""Every registered attack, noise and corruption gives an image alone what it gives it in a batch of 64."""

import numpy as np
import pytest

from cxrobust.inference.perturbations import Batch, perturbation

from .test_perturbations import FINDINGS, make

torch = pytest.importorskip("torch")

SIZE, N = 16, 64
QUICK = {"steps": 3, "queries": 20, "searches": 3, "restarts": 1, "places": 2}
"""Fields of attacks that cost time."""
SINGLE = ("ead-en", "ead-l1", "fab", "pifgsm", "pifgsmpp", "tifgsm")
"""Attacks of torchattacks whose code is in single precision."""
OWN = {
    "cw-l2": {"steps": 60, "searches": 4},
    "ead-en": {"steps": 15, "searches": 6},
    "ead-l1": {"steps": 15, "searches": 6},
    "one-pixel": {"steps": 2, "pixels": 3},
    "pgd": {"restarts": 2},
    "pixle": {"restarts": 2},
    "spsa": {"steps": 2},
}
STRENGTH = {"eps": 0.03, "severity": 5, "side": 30}


def network(kind: "torch.dtype") -> "torch.nn.Module":
    with torch.random.fork_rng():
        torch.manual_seed(0)
        made = torch.nn.Sequential(
            torch.nn.Conv2d(1, 4, 3, padding=1), torch.nn.Tanh(), torch.nn.Flatten(), torch.nn.Linear(4 * SIZE**2, 3)
        )
        made.to(kind).eval().requires_grad_(False)
        made[-1].bias -= made(batch(kind).images).mean(dim=0)  # so that images are near the boundary
    return made


def batch(kind: "torch.dtype") -> Batch:
    """64 images of three findings, of which some have no label."""
    rng = np.random.default_rng(1)
    labels = rng.integers(0, 2, (N, 3)).astype(np.int8)
    labels[rng.random((N, 3)) < 0.1] = -1
    labels[0] = -1
    pixels = torch.from_numpy(rng.random((N, 1, SIZE, SIZE))).to(kind)
    return Batch(images=pixels, labels=labels, findings=FINDINGS, seeds=tuple(range(100, 100 + N)))


def quick(name: str) -> object:
    kind = perturbation[name]
    fields = set(kind.model_fields)
    chosen = {key: value for key, value in {**STRENGTH, **QUICK, **OWN.get(name, {})}.items() if key in fields}
    aim = {"target": "Mass"} if getattr(kind, "needs_one", False) else {}
    return make(**{"attack" if "attack" in fields else "corruption": name}, **chosen, **aim)


@pytest.mark.parametrize("name", tuple(perturbation))
def test_alone_as_in_a_batch_of_64(name: str) -> None:
    kind, rounded = (torch.float32, 2e-5) if name in SINGLE else (torch.float64, 1e-9)
    one, model, made = batch(kind), network(kind), quick(name)
    together = made.perturb(one, model)
    moved = (together - one.images).flatten(1).abs().amax(dim=1)
    assert int((moved > 1e-3).sum()) > N // 6
    for row in (0, 1, 17, 40, 63):
        alone = Batch(images=one.images[[row]], labels=one.labels[[row]], findings=FINDINGS, seeds=(one.seeds[row],))
        torch.testing.assert_close(made.perturb(alone, model)[0], together[row], atol=rounded, rtol=0)
