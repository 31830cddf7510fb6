"""Patches, against the closed form of a linear model, and restarts."""

from pathlib import Path

import numpy as np
import pytest

from cxrobust.conditions import parse_condition
from cxrobust.errors import StudyError
from cxrobust.inference.perturbations import Batch, controls
from cxrobust.inference.perturbations.patch import place_at_random
from cxrobust.inference.unit_checks import check_sides
from cxrobust.study import Study, parse_study

from .held_out import AROUND
from .test_multilabel_attacks import bce
from .test_perturbations import FINDINGS, batch, make, network

torch = pytest.importorskip("torch")


def of_patches(size: int, *tables: str) -> Study:
    """A study of images of `size` pixels a side."""
    data = f'[data]\nkind = "phantoms"\nsize = {size}\n'
    patches = "".join(f"[[perturbations]]\n{table}\n" for table in tables)
    return parse_study(AROUND.format(data=data) + patches, path=Path("study.toml"))


def squares(one: Batch, moved: "torch.Tensor") -> list[tuple[slice, slice]]:
    """The least rectangle that holds every changed pixel, of each image."""
    found = []
    for changed in (moved != one.images)[:, 0]:
        rows, columns = (torch.nonzero(changed.any(dim=axis))[:, 0].tolist() for axis in (1, 0))
        found.append((slice(rows[0], rows[-1] + 1), slice(columns[0], columns[-1] + 1)))
    return found


@pytest.mark.parametrize("settings", [{"attack": "patch", "steps": 8}, {"attack": "noise-patch"}], ids=str)
def test_a_patch_is_a_square_of_its_size_at_a_place_of_the_images_own(settings: dict[str, object]) -> None:
    one, model = batch(8, missing=False), network()
    made = make(side=25, **settings)  # 3 of 12 pixels
    moved = made.perturb(one, model)
    assert float(moved.min()) >= 0
    assert float(moved.max()) <= 1
    found = squares(one, moved)
    assert all(side.stop - side.start <= 3 for square in found for side in square)
    assert sum(side.stop - side.start == 3 for square in found for side in square) >= 12
    assert len({(square[0].start, square[1].start) for square in found}) >= 4
    for row in (0, 5):
        alone = Batch(images=one.images[[row]], labels=one.labels[[row]], findings=FINDINGS, seeds=(one.seeds[row],))
        torch.testing.assert_close(made.perturb(alone, model)[0], moved[row], atol=1e-9, rtol=0)


def test_a_patch_on_a_linear_model_is_black_and_white_by_the_signs_of_its_weights() -> None:
    w = torch.from_numpy(np.random.default_rng(5).normal(size=(144, 3)))

    class Plane(torch.nn.Module):
        def forward(self, images: "torch.Tensor") -> "torch.Tensor":
            return (images.double().flatten(1) - 0.5) @ w

    one = batch(6, missing=False)
    moved = make(attack="patch", side=33, steps=20, target="Mass").perturb(one, Plane())
    for row, (square, label) in enumerate(zip(squares(one, moved), one.labels[:, 1], strict=True)):
        weights = w[:, 1].reshape(12, 12)[square]
        expected = (weights < 0 if label == 1 else weights > 0).double()
        torch.testing.assert_close(moved[row, 0][square], expected)


@pytest.mark.parametrize(("side", "pixels"), [(25, 3), (50, 6), (92, 11), (100, 12), (1, 1)])
def test_every_place_in_an_image_is_as_likely_for_a_square(side: int, pixels: int) -> None:
    image, rng = torch.zeros(1, 1, 12, 12), np.random.default_rng(3)
    n_places, n_drawn = 12 - pixels + 1, 2000
    found = [place_at_random(image, side, rng) for _ in range(n_drawn)]
    assert {size for *_, size in found} == {pixels}
    for place in (0, 1):
        counts = np.bincount([one[place] for one in found], minlength=n_places)
        assert len(counts) == n_places
        assert np.abs(counts - n_drawn / n_places).max() < 5 * np.sqrt(n_drawn / n_places)  # five standard errors


def test_more_places_do_no_less_harm_and_a_larger_patch_does_more() -> None:
    one, model = batch(10, missing=False), network()
    harm = [
        float(bce(model, make(attack="patch", steps=10, **settings).perturb(one, model), one.labels).sum())
        for settings in ({"side": 20}, {"side": 20, "places": 4}, {"side": 60})
    ]
    assert harm[0] < harm[1] < harm[2]


def test_a_patch_has_a_strength_of_its_own_and_a_random_patch_beside_it() -> None:
    made = make(attack="patch", side=10)
    assert str(made.condition) == "patch(side=10, steps=50)"
    assert parse_condition("patch(side=10, steps=50)").strength == 10
    assert parse_condition("patch(side=10, steps=50)").series == "patch(steps=50)"
    assert [str(one.condition) for one in controls([made])] == ["noise-patch(side=10)"]
    with pytest.raises(ValueError, match="one of"):
        parse_condition("patch(side=10, eps=1/255)")


@pytest.mark.parametrize("name", ["pgd", "rfgsm", "ffgsm", "eotpgd", "pgd-l2"])
def test_restarts_do_no_less_harm_to_any_image_and_keep_the_first_start(name: str) -> None:
    one, model = batch(10, missing=False), network()
    settings = {"attack": name, "eps": 0.5 if name == "pgd-l2" else 0.05}
    once, often = (make(**settings, restarts=n).perturb(one, model) for n in (1, 4))
    before, after = (bce(model, images, one.labels) for images in (once, often))
    assert (after >= before - 1e-9).all()
    assert (after > before + 1e-9).any()
    same = after <= before + 1e-9
    torch.testing.assert_close(often[same], once[same], atol=1e-9, rtol=0)
    assert "restarts" not in str(make(**settings).condition)
    assert "restarts=4" in str(make(**settings, restarts=4).condition)


@pytest.mark.parametrize(
    ("size", "table", "message"),
    [
        (
            32,
            'attack = "patch"\nside = [1, 5]',
            "'patch': side = 1 is 0.32 pixels of 32: write a larger side, or raise",
        ),
        (
            32,
            'attack = "noise-patch"\nside = [6, 5]',
            "'noise-patch': sides 5 and 6 are both 2 pixels of 32: leave one",
        ),
        (64, 'attack = "patch"\nside = [1, 2]', "sides 1 and 2 are both 1 pixel of 64"),
    ],
)
def test_sides_that_are_no_pixel_or_as_many_as_others_are_refused(size: int, table: str, message: str) -> None:
    with pytest.raises(StudyError, match=message) as refused:
        check_sides(of_patches(size, table))
    assert str(refused.value).startswith("study.toml:")


def test_sides_of_different_series_may_be_as_many_pixels() -> None:
    steps = ('attack = "patch"\nside = 5\nsteps = 9', 'attack = "patch"\nside = 6\nsteps = 8\ncontrol = false')
    check_sides(of_patches(32, *steps))
    check_sides(of_patches(32, 'attack = "patch"\nside = [2, 5, 8, 100]'))
