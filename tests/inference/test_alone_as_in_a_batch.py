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
ROWS = (0, 1, 17, 40, 63)
"""Images that are attacked alone; the first has no label."""
QUERIES = {"autoattack-multilabel": {"queries": 30}}
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


def alone(one: Batch, row: int) -> Batch:
    return Batch(images=one.images[[row]], labels=one.labels[[row]], findings=FINDINGS, seeds=(one.seeds[row],))


@pytest.mark.parametrize("name", tuple(perturbation))
def test_alone_as_in_a_batch_of_64(name: str) -> None:
    kind, rounded = (torch.float32, 2e-5) if name in SINGLE else (torch.float64, 1e-9)
    one, model, made = batch(kind), network(kind), quick(name)
    together = made.perturb(one, model)
    moved = (together - one.images).flatten(1).abs().amax(dim=1)
    assert int((moved > 1e-3).sum()) > N // 6
    for row in ROWS:
        torch.testing.assert_close(made.perturb(alone(one, row), model)[0], together[row], atol=rounded, rtol=0)


@pytest.mark.parametrize("name", [name for name in perturbation if name not in SINGLE])
def test_alone_as_in_a_batch_of_64_in_the_precision_of_studies(name: str) -> None:
    """An attack may put a few pixels elsewhere, where rounding decides between steps that are equally good."""
    one, model, made = batch(torch.float32), network(torch.float32), quick(name)
    together = made.perturb(one, model)
    for row in ROWS:
        found = made.perturb(alone(one, row), model)[0]
        apart = (found - together[row]).abs() > 2e-5
        assert float(apart.double().mean()) <= (0.01 if made.kind == "attack" else 0)
        with torch.no_grad():
            both = model(torch.stack((found, together[row]))).sigmoid()
        torch.testing.assert_close(both[0], both[1], atol=1e-4, rtol=0)


@pytest.mark.parametrize("name", ["apgd", "autoattack-multilabel"])
@pytest.mark.parametrize("seed", range(3))
def test_where_steps_are_equally_good_the_aimed_finding_comes_out_the_same(name: str, seed: int) -> None:
    """A network that few pixels move: which of two images Auto-PGD keeps, and the sign of a gradient, is rounding's."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model = torch.nn.Sequential(
            torch.nn.Conv2d(1, 6, 5, stride=3), torch.nn.Tanh(), torch.nn.Flatten(), torch.nn.Linear(96, 3)
        )
    model.eval().requires_grad_(False)
    one, made = batch(torch.float32), make(attack=name, eps=0.03, steps=6, target="Mass", **QUERIES.get(name, {}))
    together = made.perturb(one, model)
    for row in ROWS[1:]:
        found = made.perturb(alone(one, row), model)
        assert float((found - one.images[[row]]).abs().max()) <= 0.03 + 1e-6
        logits = model(torch.cat((found, together[[row]])))
        torch.testing.assert_close(logits[0, 1], logits[1, 1], atol=1e-5, rtol=0)
        torch.testing.assert_close(logits[0].sigmoid(), logits[1].sigmoid(), atol=1e-3, rtol=0)
