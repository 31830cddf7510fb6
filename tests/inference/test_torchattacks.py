"""Every attack of torchattacks that can run on a multi-label model does, alone as in a batch."""

import dataclasses
import random

import numpy as np
import pytest

from cxrobust.errors import StudyError
from cxrobust.inference.perturbations import Batch, controls, perturbation
from cxrobust.inference.perturbations.noise import moved_at_random

from .test_perturbations import FINDINGS, batch, make, network

torch = pytest.importorskip("torch")

BALL = ("bim", "difgsm", "eotpgd", "ffgsm", "fgsm", "mifgsm", "nifgsm", "pgd", "pifgsm", "pifgsmpp", "rfgsm")
BALL += ("sinifgsm", "tifgsm", "tpgd", "upgd", "vmifgsm", "vnifgsm")
ONE = ("fab", "pgdrs", "spsa")
EUCLIDEAN = ("pgd-l2", "pgdrs-l2")
MINIMAL = ("deepfool", "ead-en", "ead-l1", "one-pixel", "pixle", "sparsefool")
QUICK = {"ead-en": {"steps": 60, "searches": 6}, "ead-l1": {"steps": 60, "searches": 6}, "spsa": {"steps": 2}}
QUICK |= {"one-pixel": {"steps": 2, "pixels": 3}, "pixle": {"restarts": 2}, "fgsm": {}, "ffgsm": {}}


def attack(name: str, **settings: object) -> object:
    usual = {} if name in MINIMAL else {"eps": 0.03}
    usual |= {"target": "Mass"} if name in (*ONE, *MINIMAL, "pgdrs-l2") else {}
    return make(attack=name, **usual | QUICK.get(name, {"steps": 3}) | settings)


def single() -> "torch.nn.Module":
    return network().float()


def images() -> Batch:
    one = batch(missing=False)
    return Batch(images=one.images.float(), labels=one.labels, findings=FINDINGS, seeds=one.seeds)


def loss(model: "torch.nn.Module", moved: "torch.Tensor", labels: np.ndarray) -> "torch.Tensor":
    y = torch.from_numpy(labels.astype(np.float32))
    return torch.nn.functional.binary_cross_entropy_with_logits(model(moved), y, reduction="none")


def divergence(model: "torch.nn.Module", clean: "torch.Tensor", moved: "torch.Tensor") -> float:
    p, q = model(clean).sigmoid(), model(moved).sigmoid()
    return float((p * (p / q).log() + (1 - p) * ((1 - p) / (1 - q)).log()).sum())


@pytest.mark.parametrize("name", BALL + ONE)
def test_within_eps_it_raises_the_loss_more_than_noise(name: str) -> None:
    one, model = images(), single()
    moved = attack(name).perturb(one, model)
    assert moved.shape == one.images.shape
    assert float((moved - one.images).abs().max()) <= 0.03 + 1e-6
    assert float(moved.min()) >= 0
    assert float(moved.max()) <= 1
    noisy = make(attack="noise", eps=0.03).perturb(one, model)
    columns = [1] if name in ONE else [0, 1, 2]
    clean, attacked, with_noise = (
        float(loss(model, some, one.labels)[:, columns].sum()) for some in (one.images, moved, noisy)
    )
    if name == "tpgd":
        attacked, clean, with_noise = (divergence(model, one.images, some) for some in (moved, one.images, noisy))
    if name == "fab":  # it returns what crosses the boundary within eps, and else the image
        assert attacked >= clean
    else:
        assert attacked > max(clean, with_noise)


def test_no_more_pixels_are_evolved_than_memory_holds() -> None:
    numbers = 5 * make(attack="one-pixel", pixels=1000, target="Mass").pixels  # two for the place, three for the colour
    assert numbers**2 * np.dtype(np.float64).itemsize == 200e6  # as many candidates as numbers
    with pytest.raises(ValueError, match="pixels"):
        make(attack="one-pixel", pixels=1001, target="Mass")


@pytest.mark.parametrize("name", ["difgsm", "tifgsm"])
def test_the_least_scale_leaves_a_pixel_of_the_smallest_images(name: str) -> None:
    size = 16  # the least that a study may have
    images = torch.from_numpy(np.random.default_rng(2).random((3, 1, size, size), dtype=np.float32))
    one = Batch(images=images, labels=np.ones((3, 1), np.int8), findings=("Mass",), seeds=(1, 2, 3))
    model = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(size**2, 1)).eval().requires_grad_(False)
    made = make(attack=name, eps=0.02, steps=6, least_scale=0.1, diversity=1.0)
    assert 0 < float((made.perturb(one, model) - images).abs().max()) <= 0.02 + 1e-6
    with pytest.raises(ValueError, match="least_scale"):
        make(attack=name, eps=0.02, least_scale=0.05)


@pytest.mark.parametrize("name", ["one-pixel", "pixle"])
@pytest.mark.parametrize("label", [0, 1])
def test_an_image_that_every_pixel_would_make_easier_stays_as_it_is(name: str, label: int) -> None:
    weights = torch.randn(1, 1, 16, 16, generator=torch.Generator().manual_seed(3))
    image = (weights < 0).float()  # of all images the hardest, and the model is right about it all the same
    bias = 1 - float((weights * image).sum())

    class Linear(torch.nn.Module):
        def forward(self, some: "torch.Tensor") -> "torch.Tensor":
            return (2 * label - 1) * ((some * weights).flatten(1).sum(dim=1, keepdim=True) + bias)

    alone = Batch(images=image, labels=np.array([[label]], dtype=np.int8), findings=("Mass",), seeds=(5,))
    assert torch.equal(attack(name).perturb(alone, Linear()), image)


def test_averaging_gradients_of_a_model_that_never_draws_is_pgd() -> None:
    one, model = images(), single()
    averaged, plain = (attack(name).perturb(one, model) for name in ("eotpgd", "pgd"))
    torch.testing.assert_close(averaged, plain)


@pytest.mark.parametrize("name", BALL + ONE)
def test_no_pixel_of_a_black_and_white_image_leaves_the_range(name: str) -> None:
    one, model = images(), single()
    levels = np.random.default_rng(2).integers(0, 60, one.images.shape)
    ends = np.where(np.arange(one.images.shape[-1]) % 2, levels, 65_535 - levels).astype(np.float32) / np.float32(
        65_535
    )
    moved = attack(name).perturb(dataclasses.replace(one, images=torch.from_numpy(ends)), model)
    assert float(moved.min()) >= 0
    assert float(moved.max()) <= 1


@pytest.mark.parametrize("name", MINIMAL)
def test_a_finding_near_its_boundary_is_flipped(name: str) -> None:
    one, model = images(), single()
    with torch.no_grad():
        logits = model(one.images)
    model[3].bias.data -= logits[:, 1].median()  # so that some images are near the boundary
    with torch.no_grad():
        logits = model(one.images)
    labels = one.labels.copy()
    labels[:, 1] = (logits[:, 1] > 0).numpy()
    right = Batch(images=one.images, labels=labels, findings=FINDINGS, seeds=one.seeds)
    moved = attack(name).perturb(right, model)
    with torch.no_grad():
        after = model(moved)[:, 1] > 0
    assert (after.numpy() != labels[:, 1].astype(bool)).any()
    assert float(moved.min()) >= 0
    assert float(moved.max()) <= 1


@pytest.mark.parametrize("name", BALL + ONE + MINIMAL + EUCLIDEAN)
def test_alone_as_in_a_batch_and_neither_generators_nor_mode_are_touched(name: str) -> None:
    one, model, made = images(), single(), attack(name)
    before = torch.random.get_rng_state(), np.random.get_state()[1].copy(), random.getstate()  # noqa: NPY002
    together = made.perturb(one, model)
    after = torch.random.get_rng_state(), np.random.get_state()[1], random.getstate()  # noqa: NPY002
    assert not any(part.training for part in model.modules())  # torchattacks puts back what it takes for its mode
    assert torch.equal(before[0], after[0])
    assert np.array_equal(before[1], after[1])
    assert before[2] == after[2]
    for row in (1, 3):
        alone = Batch(images=one.images[[row]], labels=one.labels[[row]], findings=FINDINGS, seeds=(one.seeds[row],))
        torch.testing.assert_close(made.perturb(alone, model)[0], together[row], atol=2e-5, rtol=0)


def test_random_starts_of_fab_are_the_image_s_own(monkeypatch: pytest.MonkeyPatch) -> None:
    model, image, drawn, draw = single(), images().images[:1], list[torch.Tensor](), torch.rand

    def noted(*shape: object) -> "torch.Tensor":
        drawn.append(draw(*shape))
        return drawn[-1]

    with torch.no_grad():
        right = (model(image) > 0).numpy().astype(np.int8)  # or there is nothing to do
    three = Batch(images=image.repeat(3, 1, 1, 1), labels=right.repeat(3, axis=0), findings=FINDINGS, seeds=(7, 8, 7))
    monkeypatch.setattr(torch, "rand", noted)
    make(attack="fab", eps=1e-6, steps=2, restarts=2, target="Mass").perturb(three, model)
    first, other, again = drawn
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


@pytest.mark.parametrize(("name", "column"), [("pgd-l2", slice(None)), ("pgdrs-l2", 1)])
def test_pgd_in_the_euclidean_norm_uses_its_ball(name: str, column: int | slice) -> None:
    one, model = images(), single()
    made = attack(name, eps=0.5, steps=5)
    moved = made.perturb(one, model)
    length = (moved - one.images).flatten(1).norm(dim=1)
    assert float(length.max()) <= 0.5 + 1e-5
    assert float(length.min()) > 0.3
    (noise,) = controls((made,))
    assert str(noise.condition) == "noise-l2(eps=0.5)"
    noisy = noise.perturb(one, model)
    assert float((noisy - one.images).flatten(1).norm(dim=1).max()) <= 0.5 + 1e-5
    attacked, with_noise = (float(loss(model, some, one.labels)[:, column].sum()) for some in (moved, noisy))
    assert attacked > with_noise


class Sure(torch.nn.Module):
    """A network with `bias` added to its logits, after `scale` times what it says."""

    def __init__(self, *, scale: float, bias: float) -> None:
        super().__init__()
        self.inner, self.scale, self.bias = single(), scale, bias

    def forward(self, images: "torch.Tensor") -> "torch.Tensor":
        return self.scale * self.inner(images) + self.bias


@pytest.mark.parametrize("bias", [0.0, 20.0, 30.0])
def test_steps_in_the_euclidean_norm_are_as_long_on_a_sure_model_and_in_a_batch(bias: float) -> None:
    one, made = images(), attack("pgd-l2", eps=0.5, steps=5, random_start=False)
    present = dataclasses.replace(one, labels=np.ones_like(one.labels))
    model = Sure(scale=1, bias=bias)
    moved = made.perturb(present, model)
    assert float((moved - one.images).flatten(1).norm(dim=1).min()) > 0.49
    alone = Batch(images=one.images[:1], labels=present.labels[:1], findings=FINDINGS, seeds=one.seeds[:1])
    torch.testing.assert_close(made.perturb(alone, model)[0], moved[0], atol=2e-5, rtol=0)


@pytest.mark.parametrize("name", ["deepfool", "sparsefool"])
def test_an_image_without_a_gradient_stays_as_it_is(name: str) -> None:
    one = images()
    moved = attack(name).perturb(one, Sure(scale=0, bias=0.5))
    torch.testing.assert_close(moved, one.images)


@pytest.mark.parametrize(
    "settings",
    [
        {"attack": "pgd", "eps": 0.03, "steps": 5},
        {"attack": "apgd", "eps": 0.03, "steps": 5},
        {"attack": "apgd-l2", "eps": 0.3, "steps": 5},
        {"attack": "square", "eps": 0.03, "queries": 100},
        {"attack": "cw-l2", "steps": 60, "searches": 5},
        {"attack": "patch", "side": 30, "steps": 5},
        {"attack": "autoattack-multilabel", "eps": 0.03, "steps": 5, "queries": 20},
        {"attack": "least-eps", "eps": 0.03},
        {"attack": "least-eps-l2", "eps": 0.3},
    ],
    ids=lambda settings: settings["attack"],
)
def test_hide_and_fabricate_move_the_finding_whatever_its_label_is(settings: dict[str, object]) -> None:
    one, model = batch(8), network()
    assert {-1, 0, 1} == set(one.labels[:, 1].tolist())
    with torch.no_grad():
        model[-1].bias[1] -= model(one.images)[:, 1].mean()  # it sees the finding in some images, and in others not
        clean = model(one.images)[:, 1]
    for goal, sign in (("hide", 1), ("fabricate", -1)):
        moved = make(**settings, target="Mass", goal=goal).perturb(one, model)
        with torch.no_grad():
            after = model(moved)[:, 1]
        left = sign * clean > 0
        assert left.any()
        if settings["attack"] == "cw-l2":  # it goes as far as the finding flips, and no further
            assert (sign * after[left] <= 0).all()
            assert torch.equal(after[~left], clean[~left])
        else:
            assert (sign * after < sign * clean).all()


def test_a_goal_and_its_finding_stand_in_the_condition() -> None:
    assert str(make(attack="pgd", eps=0.01, target="Mass", goal="hide").condition) == (
        "pgd(eps=0.01, target=Mass, goal=hide, steps=20)"
    )


def test_the_worst_finding_is_that_of_the_attacks_on_each() -> None:
    one, model = batch(), network()
    worst = make(attack="pgd", eps=0.03, steps=3, target="worst").perturb(one, model)
    each = [make(attack="pgd", eps=0.03, steps=3, target=name).perturb(one, model) for name in FINDINGS]
    for row, labels in enumerate(one.labels):
        with torch.no_grad():
            margins = [
                (2 * int(labels[k]) - 1) * float(model(each[k][[row]])[0, k]) if labels[k] >= 0 else np.inf
                for k in range(3)
            ]
        assert torch.equal(worst[row], each[int(np.argmin(margins))][row])


def test_after_a_model_that_failed_an_attack_is_as_before() -> None:
    """torchattacks leaves a flag of its own turned where a model raises; here every attack is made anew."""

    class Failing(torch.nn.Module):
        def forward(self, images: "torch.Tensor") -> "torch.Tensor":
            raise ValueError("no")

    one, made = images(), attack("pgd")
    before = made.perturb(one, single())
    with pytest.raises(ValueError, match="no"):
        made.perturb(one, Failing())
    assert torch.equal(made.perturb(one, single()), before)


def test_an_attack_of_torchattacks_runs_or_says_why() -> None:
    library = pytest.importorskip("torchattacks")
    run = {getattr(perturbation[name], "loop", None) for name in perturbation}
    left = [name for name in library.__all__ if isinstance(getattr(library, name), type) and name not in run]
    ours = {"APGD": "apgd", "CW": "cw-l2", "Square": "square"}
    assert len(left) == len(set(left)) > len(ours)
    for name in left:
        if name in ours:
            assert ours[name] in perturbation
        else:
            with pytest.raises(StudyError, match=f"'{name.lower()}': torchattacks"):
                perturbation[name.lower()]


def test_an_attack_on_one_finding_says_so() -> None:
    with pytest.raises(
        StudyError, match='attack \'spsa\' aims at one finding: write target = "worst", "each" or one of'
    ):
        make(attack="spsa", eps=0.01).check(FINDINGS)
    make(attack="spsa", eps=0.01).check(("Pneumonia",))
    with pytest.raises(StudyError, match="leave goal out"):
        make(attack="tpgd", eps=0.01, goal="hide", target="Mass").check(FINDINGS)


@pytest.mark.parametrize("name", [*MINIMAL, "cw-l2"])
@pytest.mark.parametrize("target", ["Mass", "worst"])
def test_noise_beside_an_attack_without_eps_is_as_large_as_its_change_in_every_norm(name: str, target: str) -> None:
    one, model = images(), single()
    made = make(attack=name, target=target, **QUICK.get(name, {"steps": 40}))
    (noise,) = controls((made,))
    assert controls((noise, make(attack=name, target=target, control=False))) == ()
    assert noise.is_control
    assert not made.is_control
    attacked, noisy = (each.perturb(one, model) - one.images for each in (made, noise))
    sizes = [np.sort(change.flatten(1).abs().numpy(), axis=1) for change in (attacked, noisy)]
    small = sizes[0].max(axis=1) <= 0.5
    assert small.any() or name in {"one-pixel", "pixle"}  # which replace pixels whole
    np.testing.assert_allclose(sizes[1][small], sizes[0][small], atol=1e-6)
    assert (sizes[1] <= sizes[0] + 1e-6).all()
    np.testing.assert_array_equal((sizes[1] > 1e-6).sum(axis=1), (sizes[0] > 1e-6).sum(axis=1))
    for row in np.flatnonzero(sizes[0][:, -1] == 0):
        assert not noisy[row].any()
    moved = np.flatnonzero(sizes[0][:, -1] > 1e-3)
    assert len(moved) > 1
    assert all((noisy[row] != attacked[row]).any() for row in moved)


def test_noise_of_an_attacks_size_is_clipped_only_where_no_way_fits_and_belongs_to_the_image() -> None:
    one = images()
    one = dataclasses.replace(one, images=torch.full_like(one.images, 0.9))
    wanted = one.images.clone()
    wanted[:, 0, 0, 0], wanted[:, 0, 0, 1] = 0.1, 1.0
    noisy = moved_at_random(one, wanted) - one.images
    for row in noisy.flatten(1):
        assert sorted(row[row.abs() > 1e-6].tolist()) in (pytest.approx([-0.8, 0.1]), pytest.approx([-0.8, -0.1]))
    places = {tuple(row.flatten().abs().topk(2).indices.tolist()) for row in noisy}
    assert len(places) > 1  # each image has its own
    again = dataclasses.replace(one, images=one.images[3:5], labels=one.labels[3:5], seeds=one.seeds[3:5])
    torch.testing.assert_close(moved_at_random(again, wanted[3:5]) - again.images, noisy[3:5], rtol=0, atol=0)
    grey = dataclasses.replace(one, images=torch.full_like(one.images, 0.4))
    changed = grey.images.clone()
    changed[:, 0, 2, 2] = 1.0
    sizes = (moved_at_random(grey, changed) - grey.images).flatten(1).abs().amax(dim=1)
    torch.testing.assert_close(sizes, torch.full_like(sizes, 0.6))
    over = grey.images.clone()
    over[:, 0, 2, 2] = 1.4  # as no attack makes it: neither way fits
    sizes = (moved_at_random(grey, over) - grey.images).flatten(1).abs().amax(dim=1)
    assert sizes.max() <= 0.6 + 1e-6


def test_noise_of_an_attacks_size_says_so() -> None:
    (noise,) = controls((make(attack="cw-l2", target="Mass"),))
    assert str(noise.condition) == "cw-l2(target=Mass, as_noise=True, steps=100)"
    assert str(noise.condition.noise_of) == str(make(attack="cw-l2", target="Mass").condition)
    assert make(attack="cw-l2", target="Mass").condition.noise_of is None
    assert str(noise.seeded_as) == "cw-l2(target=Mass, steps=100)"
    assert noise.describe().endswith("goes to a random place with a random sign, the control of equal size")
    assert "random" not in make(attack="cw-l2", target="Mass").describe()
