"""Our own attacks for multi-label models, against closed forms, a plain loop for one image, and each other."""

import itertools

import numpy as np
import pytest

from cxrobust.inference.perturbations import Batch

from .test_perturbations import FINDINGS, batch, make, network

torch = pytest.importorskip("torch")
from cxrobust.inference.perturbations.objectives import Objective  # noqa: E402  torch may be absent
from cxrobust.inference.views import aimed_view  # noqa: E402

OWN = (
    {"attack": "apgd", "steps": 8},
    {"attack": "apgd", "steps": 8, "loss": "margin", "restarts": 2},
    {"attack": "square", "queries": 60, "loss": "bce"},
    {"attack": "autoattack-multilabel", "steps": 5, "queries": 20},
)


def bce(model: "torch.nn.Module", images: "torch.Tensor", labels: np.ndarray) -> "torch.Tensor":
    """Sum over labelled findings, for each image."""
    y = torch.from_numpy(labels.astype(float))
    each = torch.nn.functional.binary_cross_entropy_with_logits(model(images), y.clamp(min=0), reduction="none")
    return (each * (y >= 0)).sum(dim=1)


@pytest.mark.parametrize("settings", OWN, ids=str)
def test_within_eps_alone_as_in_a_batch(settings: dict[str, object]) -> None:
    one, model = batch(), network()
    made = make(eps=0.03, **settings)
    before = torch.random.get_rng_state()
    moved = made.perturb(one, model)
    assert torch.equal(torch.random.get_rng_state(), before)
    assert float((moved - one.images).abs().max()) <= 0.03 + 1e-12
    assert float(moved.min()) >= 0
    assert float(moved.max()) <= 1
    rise = bce(model, moved, one.labels) - bce(model, one.images, one.labels)
    assert (rise >= 0).all()
    assert (rise > 0).sum() >= 3
    for row in (0, 3):
        alone = Batch(images=one.images[[row]], labels=one.labels[[row]], findings=FINDINGS, seeds=(one.seeds[row],))
        torch.testing.assert_close(made.perturb(alone, model)[0], moved[row], atol=1e-9, rtol=0)


@pytest.mark.parametrize("columns", [(0, 1, 2), (1,)])
def test_losses_against_torch_and_by_hand(columns: tuple[int, ...]) -> None:
    one, model = batch(), network()
    column = None if len(columns) > 1 else columns[0]
    labels = torch.from_numpy(one.labels.astype("int64")[:, columns])
    labels = torch.where(labels < 0, -100, labels)
    view = aimed_view(model, column)
    masked = np.where([k in columns for k in range(3)], one.labels, -1)
    found = Objective.of(view, one.images, labels, "bce")(one.images)
    torch.testing.assert_close(found, bce(model, one.images, masked))
    by_margin = Objective.of(view, one.images, labels, "margin")(one.images)
    logits = model(one.images).numpy()
    for row in range(1, len(one.images)):  # the first has no label of a Mass
        known = [k for k in columns if one.labels[row, k] >= 0]
        unit = np.mean([abs(logits[row, k]) for k in known])
        margins = [(2 * int(one.labels[row, k]) - 1) * logits[row, k] / unit for k in known]
        floor = -0.5 if len(known) > 1 else -np.inf
        assert by_margin[row] == pytest.approx(-sum(max(m, floor) for m in margins))


def test_margins_do_not_change_when_logits_are_scaled() -> None:
    class Scaled(torch.nn.Module):
        def forward(self, images: "torch.Tensor") -> "torch.Tensor":
            return 40 * network()(images)

    one = batch()
    made = make(attack="apgd", eps=0.03, steps=6, loss="margin")
    torch.testing.assert_close(made.perturb(one, Scaled()), made.perturb(one, network()), atol=1e-9, rtol=0)


def plain_apgd(model: "torch.nn.Module", image: "torch.Tensor", label: np.ndarray, seed: int, eps: float, n: int):
    """Algorithm 1 of Croce and Hein 2020 for one image, written out."""

    def loss(x: "torch.Tensor") -> tuple[float, "torch.Tensor"]:
        x = x.detach().requires_grad_(True)
        value = bce(model, x[None], label[None])[0]
        return float(value.detach()), torch.autograd.grad(value, x)[0]

    def project(x: "torch.Tensor") -> "torch.Tensor":
        return (image + (x - image).clamp(-eps, eps)).clamp(0, 1)

    shares = [0.0, 0.22]
    while shares[-1] < 1:
        shares.append(shares[-1] + max(shares[-1] - shares[-2] - 0.03, 0.06))
    checkpoints = [int(np.ceil(round(share * n, 9))) for share in shares]
    start = torch.empty_like(image).uniform_(-eps, eps, generator=torch.Generator().manual_seed(seed))
    x_old = x = project(image + start)
    step, value = 2 * eps, loss(x)[0]
    gradient = loss(x)[1]
    best, f_best, g_best = x, value, gradient
    rises, last_checkpoint, step_then, best_then = 0, 0, None, f_best
    for k in range(n):
        z = project(x + step * gradient.sign())
        new = z if k == 0 else project(x + 0.75 * (z - x) + 0.25 * (x - x_old))
        x_old, x, before = x, new, value
        value, gradient = loss(x)
        rises += value > before
        if value > f_best:
            best, f_best, g_best = x, value, gradient
        if k + 1 in checkpoints and k + 1 < n:
            window = k + 1 - last_checkpoint
            unchanged = step_then == step and best_then == f_best
            step_then, best_then = step, f_best
            if rises < 0.75 * window or unchanged:
                step, x, value, gradient = step / 2, best, f_best, g_best
            rises, last_checkpoint = 0, k + 1
    return best


def test_auto_pgd_against_a_plain_loop_for_one_image() -> None:
    one, model = batch(), network()
    found = make(attack="apgd", eps=0.05, steps=30).perturb(one, model)
    for row in range(len(one.images)):
        expected = plain_apgd(model, one.images[row], one.labels[row], one.seeds[row], 0.05, 30)
        torch.testing.assert_close(found[row], expected, atol=1e-9, rtol=0)


def test_auto_pgd_is_no_weaker_than_pgd() -> None:
    one, model = batch(), network()
    ours, pgd = (make(attack=name, eps=0.05, steps=30).perturb(one, model) for name in ("apgd", "pgd"))
    assert float(bce(model, ours, one.labels).sum()) >= float(bce(model, pgd, one.labels).sum()) * 0.999


def test_square_asks_for_no_gradient_and_more_queries_do_no_harm() -> None:
    class Blind(torch.nn.Module):
        def forward(self, images: "torch.Tensor") -> "torch.Tensor":
            return network()(images.detach()).round(decimals=3)

    one = batch()
    few, many = (make(attack="square", eps=0.05, queries=n, loss="bce").perturb(one, Blind()) for n in (5, 200))
    clean, some, more = (bce(Blind(), images, one.labels) for images in (one.images, few, many))
    assert (some > clean).any()
    assert float(more.sum()) > float(some.sum())


def plain_square(model: "torch.nn.Module", image: "torch.Tensor", label: np.ndarray, seed: int, eps: float, n: int):
    """Square attack of Andriushchenko et al. 2020 for one grey image, pixel by pixel; no move leaves all as it is."""
    clean, rng = image[0].numpy(), np.random.default_rng(seed)
    side = len(clean)

    def loss(x: np.ndarray) -> float:
        return float(bce(model, torch.from_numpy(x[None, None]), label[None])[0])

    def moved(x: np.ndarray, top: int, left: int, width: int, sign: int) -> np.ndarray:
        x = x.copy()
        for i in range(top, top + width):
            for j in range(left, left + width):
                x[i, j] = min(max(clean[i, j] + sign * eps, 0.0), 1.0)
        return x

    best = np.clip(clean + eps * (rng.integers(0, 2, (1, side)) * 2.0 - 1), 0, 1)
    highest, asked = loss(best), 1
    while asked < n:
        share = 0.8
        for limit in (10, 50, 200, 500, 1000, 2000, 4000, 6000, 8000):  # of 10,000
            share /= 2 if asked / n > limit / 10_000 else 1
        width = max(round(np.sqrt(share * side * side)), 1)
        top, left, up = rng.integers(0, (side - width + 1, side - width + 1, 2))
        proposed = moved(best, top, left, width, 2 * up - 1)
        if (proposed == best).all():
            proposed = moved(best, top, left, width, 1 - 2 * up)
        assert (proposed != best).any()
        asked += 1
        if loss(proposed) > highest:
            best, highest = proposed, loss(proposed)
    return torch.from_numpy(best[None]) if highest >= loss(clean) else image


def test_square_against_a_plain_loop_for_one_image() -> None:
    one, model = batch(), network()
    found = make(attack="square", eps=0.05, queries=60, loss="bce").perturb(one, model)
    for row in range(len(one.images)):
        expected = plain_square(model, one.images[row], one.labels[row], one.seeds[row], 0.05, 60)
        torch.testing.assert_close(found[row], expected, atol=1e-9, rtol=0)


@pytest.mark.parametrize("queries", [1, 40])
@pytest.mark.parametrize("loss", ["bce", "margin"])
def test_square_leaves_an_image_that_every_change_would_make_easier(loss: str, queries: int) -> None:
    one = batch(missing=False)

    class Summit(torch.nn.Module):
        def forward(self, images: "torch.Tensor") -> "torch.Tensor":
            apart = torch.cdist(images.flatten(1), one.images.flatten(1)).min(dim=1).values
            return (1 - apart)[:, None].expand(-1, 3)

    absent = Batch(images=one.images, labels=0 * one.labels, findings=FINDINGS, seeds=one.seeds)
    moved = make(attack="square", eps=0.05, queries=queries, loss=loss).perturb(absent, Summit())
    torch.testing.assert_close(moved, one.images, atol=0, rtol=0)


def test_the_worst_of_several_is_no_better_than_each() -> None:
    one, model = batch(), network()
    made = make(attack="autoattack-multilabel", eps=0.05, steps=5, queries=30)
    worst = bce(model, made.perturb(one, model), one.labels)
    for part in made.parts[:2]:
        assert (worst >= bce(model, part.perturb(one, model), one.labels) - 1e-6).sum() >= 4  # starts differ


PARTS = {
    "cross-entropies": {"attack": "apgd", "steps": 8},
    "margins": {"attack": "apgd", "steps": 8, "loss": "margin"},
    "squares": {"attack": "square", "queries": 100},
}


def grey(n: int = 4, *, dtype: "torch.dtype" = torch.float64) -> Batch:
    """Images of grey 0.5 alone, on which every finding is present."""
    images = torch.full((n, 1, 12, 12), 0.5, dtype=dtype)
    return Batch(images=images, labels=np.ones((n, 3), dtype=np.int8), findings=FINDINGS, seeds=tuple(range(n)))


class Along(torch.nn.Module):
    """Logits that depend on how far an image went, of the furthest that 0.05 lets it, along signs drawn by chance.

    Only a gradient finds the way: a random point of the ball goes 5 % of it or so, squares go 10 %.
    """

    def __init__(self) -> None:
        super().__init__()
        self.signs = torch.from_numpy(np.random.default_rng(8).choice([-1.0, 1.0], 144))

    def forward(self, images: "torch.Tensor") -> "torch.Tensor":
        share = (images.flatten(1) - 0.5) @ self.signs.to(images) / (0.05 * 144)
        return self.logits(share)


class Sure(Along):
    """So sure that exp(-300), the cross-entropy's slope, is 0 in single precision; margins fall as they should."""

    def logits(self, share: "torch.Tensor") -> "torch.Tensor":
        return (300 - 400 * share)[:, None].expand(-1, 3)


class Opposed(Along):
    """What makes the first finding worse makes the others better, for which margins stop at a first that is wrong."""

    def logits(self, share: "torch.Tensor") -> "torch.Tensor":
        return torch.stack((-5 - 50 * share, 10 + 20 * share, 10 + 20 * share), dim=1)


class Stairs(torch.nn.Module):
    """The mean grey in steps, whose gradient is 0 everywhere."""

    def forward(self, images: "torch.Tensor") -> "torch.Tensor":
        return (2 + torch.round(4000 * (images.mean((1, 2, 3)) - 0.5)) / 10)[:, None].expand(-1, 3)


@pytest.mark.parametrize(
    ("only", "model", "one"),
    [
        ("cross-entropies", Opposed(), grey()),
        ("margins", Sure(), grey(dtype=torch.float32)),
        ("squares", Stairs(), grey()),
    ],
    ids=["cross-entropies", "margins", "squares"],
)
def test_each_part_of_the_worst_of_several_finds_what_no_other_does(
    only: str, model: "torch.nn.Module", one: Batch
) -> None:
    alone = {name: bce(model, make(eps=0.05, **part).perturb(one, model), one.labels) for name, part in PARTS.items()}
    for name in PARTS.keys() - {only}:
        assert (alone[only] > 3 * alone[name]).all(), name
    together = make(attack="autoattack-multilabel", eps=0.05, steps=8, queries=100).perturb(one, model)
    torch.testing.assert_close(bce(model, together, one.labels), alone[only], rtol=1e-6, atol=1e-6)


def test_squares_after_images_that_steps_put_wrong_are_drawn_by_the_seed_of_their_own_image() -> None:
    class DarkFalls(torch.nn.Module):
        def forward(self, images: "torch.Tensor") -> "torch.Tensor":
            mean = images.mean((1, 2, 3))
            return torch.where(mean[:, None] < 0.4, 2 + 400 * (mean[:, None] - 0.3), Stairs()(images)).expand(-1, 3)

    one, model = grey(), DarkFalls()
    one.images[0] = 0.3
    after_steps = model(make(eps=0.05, until_wrong_at=0.5, **PARTS["cross-entropies"]).perturb(one, model))[:, 0]
    assert (after_steps < 0).tolist() == [True, False, False, False]
    made = make(attack="autoattack-multilabel", eps=0.05, steps=8, queries=100, until_wrong_at=0.5)
    together = made.perturb(one, model)
    for row in range(4):
        alone = Batch(images=one.images[[row]], labels=one.labels[[row]], findings=FINDINGS, seeds=(one.seeds[row],))
        torch.testing.assert_close(made.perturb(alone, model)[0], together[row], atol=1e-9, rtol=0)


def test_carlini_and_wagner_reach_the_nearest_point_of_a_plane() -> None:
    """Of a linear model the nearest image on the other side is |z| / ‖w‖ away."""

    class Plane(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.w = torch.from_numpy(np.random.default_rng(5).normal(size=(144, 3)))

        def forward(self, images: "torch.Tensor") -> "torch.Tensor":
            return (images.double().flatten(1) - 0.5) @ self.w

    rng = np.random.default_rng(6)
    images = torch.from_numpy(0.5 + 0.1 * rng.standard_normal((4, 1, 12, 12))).clamp(0.2, 0.8)
    model = Plane()
    logits = model(images)
    labels = (logits > 0).numpy().astype(np.int8)
    one = Batch(images=images, labels=labels, findings=FINDINGS, seeds=(1, 2, 3, 4))
    moved = make(attack="cw-l2", target="Mass", steps=400, searches=10, rate=0.005).perturb(one, model)
    assert ((model(moved)[:, 1] > 0).numpy() != labels[:, 1]).all()
    distance = (moved - images).flatten(1).norm(dim=1)
    torch.testing.assert_close(distance, logits[:, 1].abs() / model.w[:, 1].norm(), rtol=0.02, atol=0)


def nearest_in_the_box(image: "torch.Tensor", weights: "torch.Tensor", bias: float) -> "torch.Tensor":
    """The nearest image with pixels in [0, 1] on the plane Σ w x + b = 0, by its conditions of optimality.

    It is clip(x + t w, 0, 1) for the t of least size at which it lies on the plane; the plane's value rises with t.
    """
    low, high = -1e4, 1e4
    for _ in range(200):
        middle = (low + high) / 2
        value = float(((image + middle * weights).clamp(0, 1) * weights).sum()) + bias
        low, high = (middle, high) if value < 0 else (low, middle)
    return (image + high * weights).clamp(0, 1)


def test_carlini_and_wagner_reach_the_nearest_image_in_the_box_from_black_and_white() -> None:
    """Radiographs have black borders, and some have nothing but black and white."""
    rng = np.random.default_rng(7)
    images = torch.from_numpy(rng.random((5, 1, 12, 12))).float()
    images[0] = (images[0] > 0.5).float()
    images[1, :, :, :6] = 0.0
    images[2, :, :3], images[2, :, 9:] = 1.0, 0.0
    images[3], images[4] = 0.0, 1.0
    weights = torch.from_numpy(rng.normal(size=(1, 12, 12)))
    bias = torch.tensor([1.5, -1.5, 1.5, 1.5, -1.5]) - (images * weights).flatten(1).sum(dim=1)

    class Plane(torch.nn.Module):
        def __init__(self, row: int) -> None:
            super().__init__()
            self.row = row

        def forward(self, images: "torch.Tensor") -> "torch.Tensor":
            return ((images * weights).flatten(1).sum(dim=1) + bias[self.row])[:, None].repeat(1, 3)

    for row, image in enumerate(images):
        model = Plane(row)
        labels = (model(image[None]) > 0).numpy().astype(np.int8)
        one = Batch(images=image[None], labels=labels, findings=FINDINGS, seeds=(row,))
        expected = float((nearest_in_the_box(image.double(), weights, float(bias[row])) - image).norm())
        for settings, near in (({}, 1.1), ({"steps": 150, "searches": 9}, 1.02)):
            moved = make(attack="cw-l2", target="Mass", **settings).perturb(one, model)
            assert 0 <= float(moved.min()) <= float(moved.max()) <= 1
            assert (model(moved)[0, 1] > 0) != bool(labels[0, 1])
            assert expected * 0.9999 <= float((moved - image).norm()) <= expected * near


def test_deepfool_crosses_a_plane_where_pixels_are_clipped() -> None:
    """It ends 2 % beyond the nearest image in the box, by those of its pixels that may go further."""
    rng = np.random.default_rng(7)
    images = torch.from_numpy(rng.random((4, 1, 12, 12))).float()
    images[0] = (images[0] > 0.5).float()
    images[1, :, :, :6] = 0.0
    weights = torch.from_numpy(rng.normal(size=(144, 1))).float()

    class Plane(torch.nn.Module):
        def __init__(self, bias: float) -> None:
            super().__init__()
            self.bias = bias

        def forward(self, images: "torch.Tensor") -> "torch.Tensor":
            return (images.flatten(1) @ weights + self.bias).repeat(1, 3)

    for row, image in enumerate(images):
        bias = [6.0, -6.0, 6.0, -6.0][row] - float(image.flatten() @ weights[:, 0])
        model, plane = Plane(bias), weights.double().reshape(1, 12, 12)
        labels = (model(image[None]) > 0).numpy().astype(np.int8)
        one = Batch(images=image[None], labels=labels, findings=FINDINGS, seeds=(row,))
        moved = make(attack="deepfool", target="Mass").perturb(one, model)
        assert (model(moved)[0, 1] > 0) != bool(labels[0, 1])
        nearest = nearest_in_the_box(image.double(), plane, bias) - image
        assert row > 1 or float(((image + nearest == 0) | (image + nearest == 1)).sum()) > 10
        assert abs(float(model(moved)[0, 1])) > 1e-4  # not by rounding
        assert float(nearest.norm()) < float((moved - image).norm()) < 1.03 * float(nearest.norm())


def plain_cw(model: "torch.nn.Module", image: "torch.Tensor", label: int, *, searches: int, steps: int, rate: float):
    """Carlini and Wagner 2017, section VI.A, for one image: Adam written out, and a binary search for the constant.

    Pixels are projected to [0, 1] (section V.B), and the straight way to the nearest point is halved to the boundary.
    """
    sign = 2 * label - 1
    lower, upper, constant, least, best = 0.0, None, 0.01, np.inf, image
    tried = []
    for _ in range(searches):
        tried.append(constant)
        x, mean, square, crossed = image.clone(), torch.zeros_like(image), torch.zeros_like(image), False
        for step in range(1, steps + 1):
            x = x.detach().requires_grad_(True)
            margin, distance = sign * model(x[None])[0, 1], ((x - image) ** 2).sum()
            if margin < 0:
                crossed = True
                if distance < least:
                    least, best = float(distance.detach()), x.detach()
            gradient = torch.autograd.grad(distance + constant * margin.clamp(min=-1e-6), x)[0]
            mean, square = 0.9 * mean + 0.1 * gradient, 0.999 * square + 0.001 * gradient**2
            moved = x.detach() - rate / 2 * (mean / (1 - 0.9**step)) / ((square / (1 - 0.999**step)).sqrt() + 1e-8)
            x = moved.clamp(0, 1)
        if crossed:
            upper = constant
        else:
            lower = constant
        constant = 10 * constant if upper is None else (lower + upper) / 2
    short, far = 0.0, 1.0
    for _ in range(10):
        middle = (short + far) / 2
        if sign * model((image + middle * (best - image))[None])[0, 1] < 0:
            far = middle
        else:
            short = middle
    return image + far * (best - image), tried


def test_the_nearest_beyond_the_boundary_against_a_plain_loop_for_one_image() -> None:
    one, model = batch(4, missing=False), network()
    settings = {"searches": 7, "steps": 25, "rate": 0.02}
    found = make(attack="cw-l2", target="Mass", **settings).perturb(one, model)
    raised_later = 0
    for row in range(4):
        expected, tried = plain_cw(model, one.images[row], int(one.labels[row, 1]), **settings)
        torch.testing.assert_close(found[row], expected, atol=1e-7, rtol=0)
        rises = [after > before for before, after in itertools.pairwise(tried)]
        first = rises.index(False) if False in rises else len(rises)
        raised_later += True in rises[first:]  # a constant was too small after one that was not
    assert raised_later >= 1


def test_an_image_that_is_wrong_already_is_left_as_it_is_by_the_nearest() -> None:
    one, model = batch(missing=False), network()
    wrong = (model(one.images)[:, 1] < 0).numpy().astype(np.int8)
    labels = one.labels.copy()
    labels[:, 1] = wrong
    moved = make(attack="cw-l2", target="Mass", steps=20, searches=2).perturb(
        Batch(images=one.images, labels=labels, findings=FINDINGS, seeds=one.seeds), model
    )
    torch.testing.assert_close(moved, one.images, atol=1e-4, rtol=0)


@pytest.mark.parametrize(("name", "eps"), [("apgd", 0.05), ("apgd-l2", 0.6)])
def test_auto_pgd_stays_at_a_peak_within_its_ball(name: str, eps: float) -> None:
    """What is near enough is not stretched to the bound: half of the way there each image meets its worst."""
    one = batch(missing=False)
    inner = Batch(images=0.4 + 0.2 * one.images, labels=0 * one.labels, findings=FINDINGS, seeds=one.seeds)
    ways = torch.from_numpy(np.random.default_rng(9).choice([-1.0, 1.0], (5, 1, 12, 12)))
    length = eps / 2 if name == "apgd" else eps / 2 / 12  # the way to the peak has 12 times this as its length
    peaks = inner.images + length * ways

    class Hill(torch.nn.Module):
        def forward(self, images: "torch.Tensor") -> "torch.Tensor":
            near = torch.cdist(images.flatten(1), peaks.flatten(1)).min(dim=1).values
            return (-near)[:, None].expand(-1, 3)

    moved = make(attack=name, eps=eps, steps=100).perturb(inner, Hill())
    assert ((moved - peaks).flatten(1).norm(dim=1) < 0.1 * 12 * length).all()


@pytest.mark.parametrize("name", ["apgd-l2", "least-eps-l2"])
def test_no_pixel_of_a_black_and_white_image_leaves_the_range_in_the_euclidean_norm(name: str) -> None:
    images = torch.from_numpy((np.random.default_rng(4).random((2, 1, 12, 12)) > 0.5).astype(np.float64))
    one = Batch(images=images, labels=np.ones((2, 3), dtype=np.int8), findings=FINDINGS, seeds=(1, 2))
    moved = make(attack=name, eps=0.8).perturb(one, network())
    assert not torch.equal(moved, images)
    assert float(moved.min()) >= 0
    assert float(moved.max()) <= 1


def test_auto_pgd_in_the_euclidean_norm_goes_straight_on_a_plane_and_is_no_weaker_than_pgd() -> None:
    w = torch.from_numpy(np.random.default_rng(5).normal(size=(144, 3)))

    class Plane(torch.nn.Module):
        def forward(self, images: "torch.Tensor") -> "torch.Tensor":
            return (images.double().flatten(1) - 0.5) @ w

    one = batch(missing=False)
    inner = Batch(images=0.4 + 0.2 * one.images, labels=one.labels, findings=FINDINGS, seeds=one.seeds)
    moved = make(attack="apgd-l2", eps=0.5, steps=30, target="Mass").perturb(inner, Plane())
    signs = torch.from_numpy(1 - 2.0 * one.labels[:, 1])
    expected = Plane()(inner.images)[:, 1] + 0.5 * signs * w[:, 1].norm()
    torch.testing.assert_close(Plane()(moved)[:, 1], expected, rtol=1e-3, atol=1e-3)
    ours, pgd = (make(attack=name, eps=0.8, steps=30).perturb(one, network()) for name in ("apgd-l2", "pgd-l2"))
    assert float((ours - one.images).flatten(1).norm(dim=1).max()) <= 0.8 + 1e-9
    assert float(bce(network(), ours, one.labels).sum()) >= 0.999 * float(bce(network(), pgd, one.labels).sum())
