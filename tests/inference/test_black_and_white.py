"""Every registered attack moves black and white pixels, of which radiographs have whole borders."""

import numpy as np
import pytest

from cxrobust.inference.perturbations import Batch, perturbation
from cxrobust.inference.perturbations.attack import Attack, InBall, InEuclideanBall

from .test_perturbations import FINDINGS, make

torch = pytest.importorskip("torch")

SIZE, EPS = 16, {"linf": 0.03, "l2": 0.6}
ATTACKS = tuple(name for name in perturbation if issubclass(perturbation[name], Attack))
SETTINGS = {
    "steps": 10,
    "queries": 200,
    "samples": 16,
    "searches": 9,
    "side": 40,
}
OWN = {
    "cw-l2": {"steps": 60},
    "ead-en": {"steps": 60},
    "ead-l1": {"steps": 60},
    "one-pixel": {"steps": 4, "pixels": 5},
    "pixle": {"restarts": 5},
}
ALL_ALIKE = {
    **dict.fromkeys(("apgd", "bim", "eotpgd", "ffgsm", "fgsm", "least-eps", "mifgsm", "nifgsm", "pgd", "rfgsm"), 0.99),
    **dict.fromkeys(("sinifgsm", "tpgd", "upgd", "vmifgsm", "vnifgsm", "pgdrs", "autoattack-multilabel"), 0.99),
    **dict.fromkeys(("apgd-l2", "least-eps-l2", "pgd-l2", "pgdrs-l2"), 0.9),
}
"""Attacks that move each pixel by its own gradient, and the least share of black and white pixels that move the harmful
way, of those that can and whose weight is not near 0."""


class Plane(torch.nn.Module):
    """Logits that are linear in pixels, each `margin` for the first of the images."""

    def __init__(self, images: "torch.Tensor", margin: float) -> None:
        super().__init__()
        self.weights = torch.from_numpy(np.random.default_rng(3).normal(size=(SIZE**2, 3)).astype(np.float32))
        self.offset = margin - images.flatten(1)[:1] @ self.weights

    def forward(self, images: "torch.Tensor") -> "torch.Tensor":
        return images.flatten(1) @ self.weights + self.offset


def pictures() -> dict[str, "torch.Tensor"]:
    """Return an image without grey, and a grey one with a border of 4 black and 4 white columns."""
    rng = np.random.default_rng(4)
    binary = torch.from_numpy((rng.random((1, 1, SIZE, SIZE)) > 0.5).astype(np.float32))
    bordered = torch.from_numpy(rng.uniform(0.3, 0.7, (1, 1, SIZE, SIZE)).astype(np.float32))
    bordered[..., :4], bordered[..., -4:] = 0.0, 1.0
    return {"binary": binary, "bordered": bordered}


@pytest.mark.parametrize("name", ATTACKS)
@pytest.mark.parametrize("picture", ["binary", "bordered"])
def test_black_and_white_pixels_move_the_harmful_way(name: str, picture: str) -> None:
    image = pictures()[picture]
    kind = perturbation[name]
    model = Plane(image, margin=0.4)
    known = {key: value for key, value in {**SETTINGS, **OWN.get(name, {})}.items() if key in kind.model_fields}
    eps = (
        {"eps": EPS["linf" if issubclass(kind, InBall) else "l2"]} if issubclass(kind, InBall | InEuclideanBall) else {}
    )
    one = Batch(images=image, labels=np.array([[1, -1, -1]], dtype=np.int8), findings=FINDINGS, seeds=(5,))
    moved = make(attack=name, target=FINDINGS[0], **eps, **known).perturb(one, model)
    change = (moved - image)[0, 0]
    ends = (image[0, 0] == 0) | (image[0, 0] == 1)
    gained = model.weights[:, 0].reshape(SIZE, SIZE) * change
    assert float(gained.sum()) < 0
    assert float(gained[ends].sum()) < 0
    if name in ALL_ALIKE:
        weights = model.weights[:, 0].reshape(SIZE, SIZE)
        harmful = ends & (torch.where(image[0, 0] == 0, weights < -0.05, weights > 0.05))
        assert float((gained[harmful] < 0).float().mean()) >= ALL_ALIKE[name]
