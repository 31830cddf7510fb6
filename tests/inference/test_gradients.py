"""What attacks see of gradients, against closed forms."""

import numpy as np
import pytest

from cxrobust.inference.perturbations import Batch, perturbation
from cxrobust.inference.perturbations.attack import Attack, InBall, InEuclideanBall, UnusableGradientError

from .test_perturbations import FINDINGS, make

torch = pytest.importorskip("torch")
from cxrobust.inference.gradients import Watched, straight_through_clamps  # noqa: E402  torch may be absent

SIZE = 12
WITHOUT = {"one-pixel", "pixle", "spsa", "square"}
"""Attacks that ask for no gradient."""
QUICK = {"steps": 10, "queries": 10, "samples": 4, "searches": 3, "restarts": 2, "side": 30, "population": 5}


class Cracked(torch.nn.Module):
    """A smooth network, but that the gradient to one pixel is 0 · ∞ where it is bright."""

    def __init__(self) -> None:
        super().__init__()
        with torch.random.fork_rng():
            torch.manual_seed(2)
            self.inner = torch.nn.Sequential(
                torch.nn.Conv2d(1, 4, 3), torch.nn.Tanh(), torch.nn.Flatten(), torch.nn.Linear(400, 3)
            )
        self.requires_grad_(False)

    def forward(self, images: "torch.Tensor") -> "torch.Tensor":
        corner = images[:, 0, 0, 0]
        return self.inner(images) + torch.sqrt(0 * corner + (corner < 0.7).to(images))[:, None]


def right_batch(model: "torch.nn.Module", bright: tuple[int, ...]) -> Batch:
    """Five images on which the model is right, of which some have a bright corner."""
    pixels = torch.from_numpy(np.random.default_rng(8).random((5, 1, SIZE, SIZE)).astype(np.float32))
    pixels[:, :, 0, 0] = 0.3
    pixels[list(bright), :, 0, 0] = 0.95
    with torch.no_grad():
        labels = (model(pixels) > 0).numpy().astype(np.int8)
    return Batch(images=pixels, labels=labels, findings=FINDINGS, seeds=(1, 2, 3, 4, 5))


@pytest.mark.parametrize("name", [name for name in perturbation if issubclass(perturbation[name], Attack)])
def test_a_gradient_that_is_no_number_is_an_error_that_names_the_image(name: str) -> None:
    kind, model = perturbation[name], Cracked()
    eps = {"eps": 0.03 if issubclass(kind, InBall) else 0.3} if issubclass(kind, InBall | InEuclideanBall) else {}
    known = {key: value for key, value in QUICK.items() if key in kind.model_fields}
    made = make(attack=name, target=FINDINGS[1], **eps, **known)
    whole = made.perturb(right_batch(model, ()), model)
    assert torch.isfinite(whole).all()
    broken = right_batch(model, (1, 4))
    assert kind.asks_for_gradient == (name not in WITHOUT)
    if name in WITHOUT:
        assert torch.isfinite(made.perturb(broken, model)).all()
        return
    with pytest.raises(UnusableGradientError) as caught:
        made.perturb(broken, model)
    assert caught.value.rows == (1, 4)


def test_what_is_watched_is_the_model_s_gradient_where_pixels_are_numbers() -> None:
    images = torch.full((3, 1, 2, 2), 0.5)
    images[1, 0, 0, 0] = float("nan")

    def met(scale: float, some: "torch.Tensor") -> bool:
        view = Watched(torch.nn.Flatten())
        leaf = some.clone().requires_grad_(True)
        torch.autograd.grad((view(leaf) * scale).sum(), leaf)
        return view.met_no_number

    assert not met(1.0, images[::2])
    assert met(float("nan"), images[::2])
    assert met(float("inf"), images[::2])
    assert not met(float("nan"), images[1:2])  # the pixels were none
    view = Watched(torch.nn.Flatten())
    view(images)
    assert not view.met_no_number


def test_gradients_pass_clamps_outside_the_model_and_no_others() -> None:
    class Clamping(torch.nn.Module):
        def forward(self, x: "torch.Tensor") -> "torch.Tensor":
            return 3 * torch.clamp(x, 0.2, 0.8)

    x = torch.tensor([-0.5, 0.0, 0.5, 1.0, 1.5], requires_grad=True)
    with straight_through_clamps(Clamping()) as view:
        clamped = torch.clamp(x, min=0, max=1)
        (straight,) = torch.autograd.grad(clamped.sum(), x)
        (of_the_model,) = torch.autograd.grad(view(x).sum(), x)
        (of_both,) = torch.autograd.grad(view(torch.clamp(x, -2, 2) / 2 + 0.25).sum(), x)
    assert clamped.tolist() == [0, 0, 0.5, 1, 1]
    assert straight.tolist() == [1, 1, 1, 1, 1]
    assert of_the_model.tolist() == [0, 0, 3, 0, 0]
    assert of_both.tolist() == [0, 1.5, 1.5, 1.5, 0]
    (after,) = torch.autograd.grad(torch.clamp(x, 0, 1).sum(), x)
    assert (after[0], after[2], after[4]) == (0, 1, 0)
