from dataclasses import replace

import numpy as np
import pytest

from cxrobust.conditions import parse_condition
from cxrobust.errors import StudyError
from cxrobust.inference.described import noise_beside
from cxrobust.inference.perturbations import Batch, controls, perturbation

torch = pytest.importorskip("torch")
from cxrobust.inference.randomness import per_image_randomness  # noqa: E402  torch may be absent

FINDINGS = ("Effusion", "Mass", "Nodule")


def network() -> "torch.nn.Module":
    with torch.random.fork_rng():
        torch.manual_seed(0)
        made = torch.nn.Sequential(
            torch.nn.Conv2d(1, 6, 3, padding=1), torch.nn.Tanh(), torch.nn.Flatten(), torch.nn.Linear(6 * 144, 3)
        )
    return made.double().eval().requires_grad_(False)


def batch(n: int = 5, *, missing: bool = True) -> Batch:
    rng = np.random.default_rng(1)
    labels = rng.integers(0, 2, (n, 3)).astype(np.int8)
    if missing:
        labels[0, 1] = labels[2, 0] = -1
    images = torch.from_numpy(rng.random((n, 1, 12, 12)))
    return Batch(images=images, labels=labels, findings=FINDINGS, seeds=tuple(range(100, 100 + n)))


def make(**settings: object) -> "object":
    return perturbation[str(settings.get("attack") or settings.get("corruption"))].model_validate(settings)


def own_pgd(one: Batch, *, eps: float, steps: int, columns: list[int]) -> "torch.Tensor":
    """PGD on the summed binary cross-entropy of the labelled findings, one image at a time."""
    model, found = network(), []
    for image, label, seed in zip(one.images, one.labels, one.seeds, strict=True):
        start = torch.empty(1, 12, 12, dtype=torch.float64).uniform_(
            -eps, eps, generator=torch.Generator().manual_seed(seed)
        )
        moved = (image + start).clamp(0, 1)
        y = torch.from_numpy(label.astype(float))
        mask = torch.tensor([k in columns and label[k] >= 0 for k in range(3)])
        for _ in range(steps):
            moved = moved.detach().requires_grad_(True)
            losses = torch.nn.functional.binary_cross_entropy_with_logits(
                model(moved[None])[0], y.clamp(min=0), reduction="none"
            )
            (gradient,) = torch.autograd.grad((losses * mask).sum(), moved)
            stepped = moved.detach() + 2.5 * eps / steps * gradient.sign()
            moved = (image + (stepped - image).clamp(-eps, eps)).clamp(0, 1)
        found.append(moved.detach())
    return torch.stack(found)


@pytest.mark.parametrize(("target", "columns"), [("all", [0, 1, 2]), ("Mass", [1])])
def test_pgd_through_torchattacks_against_a_loop_of_our_own(target: str, columns: list[int]) -> None:
    one = batch()
    attacked = make(attack="pgd", eps=0.03, steps=4, target=target).perturb(one, network())
    expected = own_pgd(one, eps=0.03, steps=4, columns=columns)
    if target == "Mass":
        expected[0] = one.images[0]  # its label is missing: there is no loss to raise
    torch.testing.assert_close(attacked, expected, atol=1e-9, rtol=0)


def test_fgsm_is_one_step_of_the_gradients_sign() -> None:
    one = batch(missing=False)
    images = one.images.clone().requires_grad_(True)
    y = torch.from_numpy(one.labels.astype(float))
    loss = torch.nn.functional.binary_cross_entropy_with_logits(network()(images), y)
    (gradient,) = torch.autograd.grad(loss, images)
    attacked = make(attack="fgsm", eps=0.02).perturb(one, network())
    torch.testing.assert_close(attacked, (one.images + 0.02 * gradient.sign()).clamp(0, 1))


def test_the_global_generator_is_left_alone() -> None:
    before = torch.random.get_rng_state()
    make(attack="pgd", eps=0.03, steps=2).perturb(batch(), network())
    assert torch.equal(torch.random.get_rng_state(), before)


def test_a_draw_that_would_depend_on_the_batch_is_refused() -> None:
    with per_image_randomness((1, 2)), pytest.raises(RuntimeError, match="randint draws from the global generator"):
        torch.randint(0, 2, (2,))
    with per_image_randomness((1, 2)), pytest.raises(RuntimeError, match="is not one row for each of 2 images"):
        torch.empty(3, 4).uniform_()


def test_noise_moves_every_pixel_by_eps_unless_clipped() -> None:
    one = batch()
    noisy = make(attack="noise", eps=0.01).perturb(one, network())
    moved = (noisy - one.images).abs()
    inside = (one.images > 0.01) & (one.images < 0.99)
    torch.testing.assert_close(moved[inside], torch.full_like(moved[inside], 0.01), atol=1e-12, rtol=0)
    assert moved.max() <= 0.01 + 1e-12


def test_noise_of_each_size_goes_beside_attacks_once() -> None:
    attacks = (
        make(attack="pgd", eps=4 / 255),
        make(attack="fgsm", eps=4 / 255),
        make(attack="fgsm", eps=1 / 255, control=False),
    )
    assert {str(one.condition) for one in controls(attacks)} == {"noise(eps=4/255)"}


def test_the_noise_of_an_attack_is_that_of_its_norm_and_size_whoever_asked_for_it() -> None:
    own, smaller = make(attack="noise-l2", eps=0.5), make(attack="noise-l2", eps=0.25)
    others = (make(attack="noise", eps=0.5), smaller, own)
    made = {str(one.condition): one for one in others}
    attack = make(attack="pgd-l2", eps=0.5, control=False)
    assert noise_beside(attack, made) == "noise-l2(eps=0.5)"
    assert noise_beside(make(attack="pgd", eps=0.5), made) == "noise(eps=0.5)"
    assert noise_beside(make(attack="pgd", eps=0.25), made) is None
    assert [noise_beside(one, made) for one in others] == [None] * 3


def test_the_condition_is_the_parameters_as_the_report_writes_them() -> None:
    assert str(make(attack="pgd", eps=0.5 / 255).condition) == "pgd(eps=0.5/255, steps=20)"
    assert str(make(attack="pgd", eps=0.01, steps=3, target="Mass").condition) == "pgd(eps=0.01, target=Mass, steps=3)"
    assert str(make(corruption="jpeg", severity=2).condition) == "jpeg(severity=2)"


@pytest.mark.parametrize("settings", [{"attack": "fgsm"}, {"attack": "pgd", "steps": 3}, {"attack": "noise"}], ids=str)
@pytest.mark.parametrize("eps", [0.5 / 255, 0.1, 1.0])
def test_every_attack_stays_within_eps_and_the_pixel_range(settings: dict[str, object], eps: float) -> None:
    one = batch()
    one.images[0, 0, 0, :2] = torch.tensor([0.0, 1.0])
    attacked = make(eps=eps, **settings).perturb(one, network())
    assert attacked.shape == one.images.shape
    assert float((attacked - one.images).abs().max()) <= eps + 1e-12
    assert float(attacked.min()) >= 0
    assert float(attacked.max()) <= 1
    assert not torch.equal(attacked, one.images)


def test_a_missing_label_does_not_move_an_attack() -> None:
    one, attack = batch(), make(attack="pgd", eps=0.03, steps=3)
    hidden = own_pgd(one, eps=0.03, steps=3, columns=[0, 2])[0]
    torch.testing.assert_close(attack.perturb(one, network())[0], hidden, atol=1e-9, rtol=0)
    nothing = Batch(images=one.images, labels=np.full((5, 3), -1, np.int8), findings=FINDINGS, seeds=one.seeds)
    assert torch.equal(attack.perturb(nothing, network()), one.images)


@pytest.mark.parametrize(
    "settings", [{"attack": "noise", "eps": 0.02}, {"corruption": "gaussian-noise", "severity": 2}]
)
def test_noise_belongs_to_the_image_and_not_to_the_batch(settings: dict[str, object]) -> None:
    one, change = batch(), make(**settings)
    together = change.perturb(one, network())
    turned = Batch(images=one.images.flip(0), labels=one.labels[::-1], findings=FINDINGS, seeds=one.seeds[::-1])
    assert torch.equal(change.perturb(turned, network()).flip(0), together)
    alone = Batch(images=one.images[[3]], labels=one.labels[[3]], findings=FINDINGS, seeds=(one.seeds[3],))
    assert torch.equal(change.perturb(alone, network())[0], together[3])


def test_a_finding_with_a_comma_can_be_aimed_at() -> None:
    attack = make(attack="pgd", eps=4 / 255, target="Mass, any (left)")
    assert parse_condition(str(attack.condition)) == attack.condition
    with pytest.raises(StudyError, match=r"'Mas', which is no finding of this study \(did you mean 'Mass'\?\)"):
        make(attack="pgd", eps=4 / 255, target="Mas").check(FINDINGS)


@pytest.mark.parametrize("target", ["all", "Mass"])
def test_a_confident_model_is_attacked_too(target: str) -> None:
    """Logits near 25 have no gradient in single precision; every pixel must move all the same."""

    class Confident(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inner = network().float()

        def forward(self, images: "torch.Tensor") -> "torch.Tensor":
            return self.inner(images) + 25

    one = batch(missing=False)
    sure = Batch(images=one.images.float(), labels=np.ones((5, 3), np.int8), findings=FINDINGS, seeds=one.seeds)
    attacked = make(attack="fgsm", eps=0.02).model_copy(update={"target": target}).perturb(sure, Confident())
    moved = (attacked - sure.images).abs()
    inside = (sure.images > 0.02) & (sure.images < 0.98)
    assert float((moved[inside] > 0.019).float().mean()) > 0.99


def test_a_finding_that_is_not_a_number_hides_no_other_from_the_worst() -> None:
    class Broken(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.network = network()

        def forward(self, images: "torch.Tensor") -> "torch.Tensor":
            first = 0.0 if torch.is_grad_enabled() else torch.nan  # what has no finite gradient is an error
            return self.network(images) + torch.tensor([first, 0.0, 0.0])

    fgsm, whole = make(attack="fgsm", target="worst", eps=0.05), batch(missing=False)
    without = replace(whole, labels=np.where([True, False, False], -1, whole.labels).astype(np.int8))
    assert torch.equal(fgsm.perturb(whole, Broken()), fgsm.perturb(without, network()))
