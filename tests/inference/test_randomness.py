import random
from collections.abc import Callable
from contextlib import AbstractContextManager

import numpy as np
import pytest

torch = pytest.importorskip("torch")
from cxrobust.inference.randomness import (  # noqa: E402  torch may be absent
    image_seed,
    no_global_randomness,
    per_image_randomness,
    unsteadiness,
)

SEEDS = (11, 12, 13)


def test_a_seed_depends_on_study_condition_and_image() -> None:
    seeds = {image_seed(s, c, i) for s in (1, 2) for c in ("clean", "blur(severity=1)") for i in ("a", "b")}
    assert len(seeds) == 8
    assert all(0 <= seed < 2**63 for seed in seeds)
    assert image_seed(7, "pgd(eps=4/255, steps=20)", "a") == image_seed(7, "pgd(eps=4/255, steps=20)", "a")


@pytest.mark.parametrize(
    "draw",
    [
        lambda like: torch.empty_like(like).uniform_(-1, 1),
        lambda like: torch.empty_like(like).normal_(0, 2),
        torch.rand_like,
        torch.randn_like,
    ],
    ids=["uniform_", "normal_", "rand_like", "randn_like"],
)
def test_each_row_is_drawn_from_its_own_generator(draw: object) -> None:
    images = torch.zeros(3, 1, 4, 4)
    before = torch.random.get_rng_state()
    with per_image_randomness(SEEDS):
        together = draw(images)  # type: ignore[operator]
    assert torch.equal(torch.random.get_rng_state(), before)
    assert together.unique().numel() == together.numel()
    for i, seed in enumerate(SEEDS):
        with per_image_randomness((seed,)):
            alone = draw(images[[i]])  # type: ignore[operator]
        assert torch.equal(alone[0], together[i])
    with per_image_randomness(SEEDS[::-1]):
        assert torch.equal(draw(images).flip(0), together)  # type: ignore[operator]


def test_a_row_against_a_generator_of_our_own() -> None:
    with per_image_randomness(SEEDS):
        drawn = torch.empty(3, 2, 2, dtype=torch.float64).uniform_(-0.5, 0.5)
    generator = torch.Generator().manual_seed(12)
    own = torch.empty(2, 2, dtype=torch.float64).uniform_(-0.5, 0.5, generator=generator)
    assert torch.equal(drawn[1], own)


@pytest.mark.parametrize(
    "draw",
    [
        lambda x: torch.rand(3, 2),
        lambda x: torch.randn(3, 2),
        lambda x: torch.randint_like(x, 5),
        lambda x: torch.randperm(3),
        lambda x: x.random_(),
        lambda x: x.bernoulli_(0.5),
        lambda x: x.exponential_(),
        torch.bernoulli,
    ],
)
def test_a_draw_for_the_whole_batch_is_refused(draw: object) -> None:
    with per_image_randomness(SEEDS), pytest.raises(RuntimeError, match="draws from the global generator"):
        draw(torch.full((3, 2), 0.5))  # type: ignore[operator]


def test_a_draw_inside_torchs_own_code_is_found_and_taken_back() -> None:
    dropout = torch.nn.Dropout(0.5).train()
    before = torch.random.get_rng_state()
    with pytest.raises(RuntimeError, match="drew random numbers from torch's global generator"), no_global_randomness():
        dropout(torch.ones(8))
    assert torch.equal(torch.random.get_rng_state(), before)
    with pytest.raises(RuntimeError, match="drew random numbers"), per_image_randomness(SEEDS):
        torch.nn.functional.dropout(torch.ones(3, 8), training=True)
    assert torch.equal(torch.random.get_rng_state(), before)
    with no_global_randomness():
        dropout.eval()(torch.ones(8))


@pytest.mark.parametrize("within", [no_global_randomness, lambda: per_image_randomness(SEEDS)])
@pytest.mark.parametrize(
    ("whose", "draw"),
    [
        ("NumPy's", np.random.rand),
        ("NumPy's", lambda: np.random.permutation(2)),  # noqa: NPY002  what is to be found
        ("Python's", random.random),
        ("NumPy's and Python's", lambda: (random.gauss(), np.random.randn())),  # noqa: NPY002  the same
    ],
)
def test_a_draw_from_numpy_or_python_is_found_and_taken_back(
    whose: str, draw: Callable[[], object], within: Callable[[], AbstractContextManager[None]]
) -> None:
    """Once is enough, whatever comes of it."""
    random.gauss()  # which keeps a second number for later, as NumPy's does
    np.random.randn()  # noqa: NPY002  the same
    python, numpy = random.getstate(), repr(np.random.get_state(legacy=False))  # noqa: NPY002  the same
    with pytest.raises(RuntimeError, match=rf"drew random numbers from {whose} global generator"), within():
        draw()
    assert random.getstate() == python
    assert repr(np.random.get_state(legacy=False)) == numpy  # noqa: NPY002  the same
    with within():
        np.random.default_rng(1).random()


@pytest.mark.parametrize(("repeated", "step", "steady"), [(0.0, 0.0, True), (0.0, 1e-6, False), (1e-5, 1e-6, True)])
def test_two_readings_may_differ_by_what_is_allowed(repeated: float, step: float, *, steady: bool) -> None:
    calls = iter(range(9))
    found = unsteadiness(
        lambda images: images.sum(dim=(1, 2)) + step * next(calls), torch.ones(2, 1, 1), repeated=repeated
    )
    assert (found is None) == steady


def test_a_number_that_is_finite_once_is_drawn() -> None:
    calls = iter((1.0, float("nan")))
    found = unsteadiness(lambda images: images.flatten(1) * next(calls), torch.ones(1, 1, 1))
    assert found is not None
    assert found.endswith("it draws at random")
