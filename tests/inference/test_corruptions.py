"""Corruptions against closed forms; all of them stay in range, grow with severity and belong to the image."""

import itertools
import re
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image
from scipy import ndimage, stats

from cxrobust.inference.perturbations import Batch, perturbation
from cxrobust.inference.perturbations.corruption import every_corruption
from cxrobust.inference.perturbations.overlays import _drawn, _wire
from cxrobust.inference.perturbations.sharpness import disc, segment

torch = pytest.importorskip("torch")

NAMES = tuple(name for name in perturbation if "corruption" in perturbation[name].model_fields)
SIDE = 96


def make(name: str, severity: int = 3) -> "object":
    return perturbation[name].model_validate({"corruption": name, "severity": severity})


def chest(seed: int = 2) -> NDArray[np.float32]:
    """Return smooth structure with some detail, darker towards the borders."""
    rng = np.random.default_rng(seed)
    coarse = np.kron(rng.random((8, 8)), np.ones((SIDE // 8, SIDE // 8)))
    rows, columns = np.mgrid[-1 : 1 : SIDE * 1j, -1 : 1 : SIDE * 1j]
    return np.asarray(0.15 + 0.6 * coarse * np.exp(-(rows**2) - columns**2), dtype=np.float32)


def corrupted(name: str, severity: int, image: NDArray[np.float32], seed: int = 7) -> NDArray[np.float32]:
    batch = Batch(
        images=torch.from_numpy(image[None, None]), labels=np.zeros((1, 1), np.int8), findings=("Mass",), seeds=(seed,)
    )
    return np.asarray(make(name, severity).perturb(batch, torch.nn.Identity())[0, 0])


@pytest.mark.parametrize("name", NAMES)
def test_severities_grow_in_range_and_belong_to_the_image(name: str) -> None:
    image = chest()
    distances = []
    for severity in range(1, 6):
        changed = [corrupted(name, severity, image, seed) for seed in range(12)]
        assert all(one.min() >= 0 and one.max() <= 1 and one.shape == image.shape for one in changed)
        distances.append(np.mean([((one - image) ** 2).mean() for one in changed]))
    assert distances == sorted(distances)
    assert distances[0] > 0
    assert np.array_equal(corrupted(name, 3, image, 5), corrupted(name, 3, image, 5))
    described = make(name).describe()
    assert all(f"{value:g}" in described for value in make(name).values)


def test_there_are_corruptions_of_each_kind_that_a_radiograph_meets() -> None:
    assert {
        *("exposure", "contrast", "gamma", "poisson-noise", "gaussian-noise", "motion-blur", "defocus-blur", "jpeg"),
        *("down-sampling", "rotation", "translation", "cropping", "markers", "tubes-and-wires"),
    } <= set(NAMES)


def test_exposure_and_gamma_in_closed_form() -> None:
    image = np.full((SIDE, SIDE), 0.5, dtype=np.float32)
    found = {float(corrupted("exposure", 2, image, seed)[0, 0]) for seed in range(20)}
    assert sorted(found) == pytest.approx([0.4, 0.6])
    found = {float(corrupted("gamma", 3, image, seed)[0, 0]) for seed in range(20)}
    assert sorted(found) == pytest.approx([0.5**1.8, 0.5 ** (1 / 1.8)])


def test_counting_noise_has_the_variance_of_counts() -> None:
    noisy = corrupted("poisson-noise", 4, np.full((SIDE, SIDE), 0.4, dtype=np.float32))
    assert noisy.mean() == pytest.approx(0.4, abs=0.002)
    assert noisy.var() == pytest.approx(0.4 / 200, rel=0.06)
    assert (corrupted("poisson-noise", 4, np.zeros((SIDE, SIDE), dtype=np.float32)) == 0).all()


def test_weights_of_a_disc_and_of_a_line() -> None:
    wide = disc(6.0)
    assert wide.sum() == pytest.approx(1)
    assert 1 / wide.max() == pytest.approx(np.pi * 36, rel=0.02)
    line = segment(10.0, angle=np.pi / 2)
    assert line.sum() == pytest.approx(1)
    _, columns = np.nonzero(line > 1e-12)
    assert np.ptp(columns) <= 1
    reach = np.arange(len(line)) - len(line) // 2
    assert (line.sum(axis=1) * reach**2).sum() == pytest.approx(
        100 / 12, rel=0.05
    )  # variance of a uniform of length 10


@pytest.mark.parametrize("severity", range(1, 6))
@pytest.mark.parametrize("name", ["defocus-blur", "motion-blur"])
def test_blur_against_a_direct_convolution_with_edges_continued(name: str, severity: int) -> None:
    side, seed = 211, 4  # a prime, which a Fourier transform pads
    image = np.random.default_rng(1).random((side, side), dtype=np.float32)
    image[:, :40] = 1  # bright up to an edge, beyond which it goes on
    across = make(name, severity).value / 100 * side
    angle = np.random.default_rng(seed).uniform(0, np.pi)
    weights = disc(across) if name == "defocus-blur" else segment(across, angle=angle)
    direct = ndimage.convolve(image.astype(np.float64), weights, mode="nearest")
    np.testing.assert_allclose(corrupted(name, severity, image, seed), direct, rtol=0, atol=1e-6)


@pytest.mark.parametrize("side", [16, 28, 64, 199, 201, 224, 512])
def test_a_dot_is_spread_by_the_standard_deviation_that_blur_states(side: int) -> None:
    image = np.zeros((side, side), dtype=np.float32)
    image[side // 2, side // 2] = 1
    for severity, percent in enumerate((0.3, 0.6, 0.9, 1.3, 1.8), start=1):
        blurred = corrupted("blur", severity, image).astype(np.float64)
        assert blurred.sum() == pytest.approx(1, abs=1e-5)
        offsets = np.arange(side) - side // 2
        for axis in (0, 1):
            spread = np.sqrt((blurred.sum(axis=axis) * offsets**2).sum())
            assert spread == pytest.approx(percent / 100 * side, rel=0.015)


def test_blur_of_an_image_is_the_same_alone_as_among_others() -> None:
    images = np.random.default_rng(3).random((3, 1, SIDE, SIDE), dtype=np.float32)
    batch = Batch(
        images=torch.from_numpy(images), labels=np.zeros((3, 1), np.int8), findings=("Mass",), seeds=(5, 6, 7)
    )
    together = make("defocus-blur", 5).perturb(batch, torch.nn.Identity()).numpy()
    assert all(
        np.array_equal(together[k, 0], corrupted("defocus-blur", 5, images[k, 0], 5 + k)) for k in range(len(images))
    )


def test_a_dot_moves_as_far_as_translation_says() -> None:
    image = np.zeros((100, 100), dtype=np.float32)
    image[48:53, 48:53] = 1
    for seed in range(5):
        moved = corrupted("translation", 3, image, seed)
        rows, columns = np.mgrid[:100, :100]
        centre = np.array([(moved * axis).sum() / moved.sum() for axis in (rows, columns)])
        assert np.hypot(*(centre - 50)) == pytest.approx(8, abs=0.05)


def test_a_dot_turns_as_far_as_rotation_says() -> None:
    image = np.zeros((101, 101), dtype=np.float32)
    image[9:12, 49:52] = 1  # 40 above the middle
    turned = corrupted("rotation", 5, image)
    rows, columns = np.mgrid[:101, :101]
    row, column = ((turned * axis).sum() / turned.sum() - 50 for axis in (rows, columns))
    assert np.hypot(row, column) == pytest.approx(40, abs=0.2)
    assert np.degrees(np.arctan2(abs(column), -row)) == pytest.approx(20, abs=0.3)


def read_between(image: NDArray[np.float32], rows: NDArray[np.float64], columns: NDArray[np.float64]) -> object:
    """Return what lies at places between pixels, bilinearly, where all around the image is black."""
    wide = np.pad(image.astype(np.float64), SIDE)
    top, left = np.floor(rows).astype(int), np.floor(columns).astype(int)
    total = np.zeros(rows.shape)
    for down, right in itertools.product((0, 1), repeat=2):
        share = (1 - np.abs(rows - top - down)) * (1 - np.abs(columns - left - right))
        total += share * wide[top + down + SIDE, left + right + SIDE]
    return total


@pytest.mark.parametrize("severity", range(1, 6))
def test_what_is_moved_is_black_for_the_part_that_lies_outside(severity: int) -> None:
    image = np.random.default_rng(8).uniform(0.5, 1, (SIDE, SIDE)).astype(np.float32)
    rows, columns = np.indices(image.shape).astype(np.float64)
    for seed in range(8):
        rng = np.random.default_rng(seed)
        way, length = rng.uniform(0, 2 * np.pi), make("translation", severity).value / 100 * SIDE
        expected = read_between(image, rows - length * np.sin(way), columns - length * np.cos(way))
        np.testing.assert_allclose(corrupted("translation", severity, image, seed), expected, atol=1e-6)
        angle = np.radians(np.random.default_rng(seed).choice([-1, 1]) * make("rotation", severity).value)
        down, across, middle = rows - (SIDE - 1) / 2, columns - (SIDE - 1) / 2, (SIDE - 1) / 2
        expected = read_between(
            image,
            middle + np.cos(angle) * down + np.sin(angle) * across,
            middle - np.sin(angle) * down + np.cos(angle) * across,
        )
        np.testing.assert_allclose(corrupted("rotation", severity, image, seed), expected, atol=1e-6)


def test_cropping_scales_what_it_keeps() -> None:
    ramp = np.tile(np.linspace(0, 1, SIDE, dtype=np.float32), (SIDE, 1))
    cropped = corrupted("cropping", 5, ramp)
    assert np.ptp(cropped[0]) == pytest.approx(0.8, abs=0.01)
    assert np.allclose(np.diff(cropped[0]), np.diff(cropped[0])[0], atol=1e-4)


def test_down_sampling_keeps_the_mean_and_loses_detail() -> None:
    board = (np.indices((SIDE, SIDE)).sum(axis=0) % 2).astype(np.float32)
    small = corrupted("down-sampling", 2, board)
    assert small.mean() == pytest.approx(0.5, abs=0.01)
    assert np.ptp(small) < 0.01


@pytest.mark.parametrize("severity", range(1, 6))
@pytest.mark.parametrize("side", [16, 17, 64, 224])
def test_down_sampling_leaves_a_ramp_and_a_mirrored_image_in_their_place(side: int, severity: int) -> None:
    ramp = np.tile(np.linspace(0.1, 0.9, side, dtype=np.float32), (side, 1))
    edge = int(np.ceil(make("down-sampling", severity).value))  # at the ends it is flat, within an averaged pixel
    inside = np.s_[:, edge:-edge]
    np.testing.assert_allclose(corrupted("down-sampling", severity, ramp)[inside], ramp[inside], atol=1e-6)
    np.testing.assert_allclose(corrupted("down-sampling", severity, ramp.T).T[inside], ramp[inside], atol=1e-6)
    image = np.random.default_rng(4).random((side, side), dtype=np.float32)
    there = corrupted("down-sampling", severity, image)
    for axis in (0, 1):
        mirrored = corrupted("down-sampling", severity, np.flip(image, axis=axis).copy())
        np.testing.assert_allclose(np.flip(mirrored, axis=axis), there, atol=1e-6)


@pytest.mark.parametrize(("severity", "small"), [(1, 43), (2, 32), (3, 21), (4, 16), (5, 11)])
def test_down_sampling_against_averages_over_parts_of_pixels(severity: int, small: int) -> None:
    side = 64
    image = np.random.default_rng(6).random((side, side), dtype=np.float32)

    def by_hand(line: NDArray[np.float64]) -> NDArray[np.float64]:
        parts, places = (np.repeat(one, small).reshape(small, side).mean(axis=1) for one in (line, np.arange(side)))
        return np.interp(np.arange(side), places, parts)

    expected = np.apply_along_axis(by_hand, 1, np.apply_along_axis(by_hand, 0, image.astype(np.float64)))
    np.testing.assert_allclose(corrupted("down-sampling", severity, image), expected, atol=1e-6)
    if side % small == 0:
        pillow = Image.fromarray(image).resize((small, small), Image.Resampling.BOX)
        expected = np.asarray(pillow.resize((side, side), Image.Resampling.BILINEAR))
        np.testing.assert_allclose(corrupted("down-sampling", severity, image), expected, atol=1e-6)


def test_what_is_in_per_cent_of_the_side_is_told_in_pixels_too() -> None:
    blur = make("blur", 5)
    assert blur.describe_at(200).startswith(
        "Gaussian blur, standard deviation 0.3, 0.6, 0.9, 1.3, 1.8 % of the image's side "
        "(0.6, 1.2, 1.8, 2.6, 3.6 pixels of 200)"
    )
    assert (blur.state(200), blur.state(64)) == ("3.6 px", "1.15 px")
    assert make("rotation", 2).describe_at(200) == make("rotation", 2).describe()
    of_side = {name for name in NAMES if "pixels of 500" in make(name).describe_at(500)}
    assert of_side == {"blur", "defocus-blur", "motion-blur", "translation", "cropping", "markers", "tubes-and-wires"}
    assert (
        make("markers")
        .describe_at(200)
        .endswith("of 4 to 8 % of the image's side (8, 16 pixels of 200) at severities 1 to 5")
    )
    assert of_side == {name for name in NAMES if "% of" in make(name).describe()}
    assert all(make(name).state(500) and "{" not in make(name).state(500) for name in NAMES)


def test_every_corruption_is_each_of_them_at_five_severities() -> None:
    found = [(one.name, one.severity) for one in every_corruption()]
    assert sorted(found) == sorted(itertools.product(NAMES, range(1, 6)))


@pytest.mark.parametrize("severity", [1, 3, 5])
def test_markers_stand_along_the_borders(severity: int) -> None:
    third = SIDE // 3
    for seed in range(30):
        changed = corrupted("markers", severity, np.zeros((SIDE, SIDE), dtype=np.float32), seed) > 0.05
        assert changed.any()
        assert not changed[third:-third, third:-third].any()  # an eighth from a border, and as high as a text


@pytest.mark.parametrize("name", ["markers", "tubes-and-wires"])
def test_overlays_only_brighten_and_leave_most_of_the_image(name: str) -> None:
    image = chest()
    changed = corrupted(name, 5, image)
    assert (changed >= image - 1e-6).all()
    assert 0.005 < (changed > image + 0.02).mean() < 0.35


@pytest.mark.parametrize("name", NAMES)
def test_the_documentation_states_every_value_and_length(name: str) -> None:
    text = (Path(__file__).parents[2] / "docs" / "inference.md").read_text(encoding="utf-8")
    (row,) = (line for line in text.splitlines() if line.startswith(f"| `{name}` |"))
    numbers = re.findall(r"\d+(?:\.\d+)?", row.split("|")[2])
    made = make(name)
    expected = [f"{value:g}" for value in made.values]
    place = next(k for k in range(len(numbers)) if numbers[k : k + 5] == expected)
    assert [f"{length:g}" for length in made.lengths] == numbers[place + 5 :][: len(made.lengths)]


def test_letters_tubes_and_wires_are_as_large_as_stated() -> None:
    side = 500
    black = np.zeros((side, side), dtype=np.float32)
    heights = []
    for seed in range(60):
        rows = np.flatnonzero(corrupted("markers", 1, black, seed).max(axis=1) > 0.3)
        heights.append((rows[-1] - rows[0] + 1) / side)
    capitals = 0.7  # of the size of a font, about
    assert 0.9 * capitals * 0.04 < min(heights) < 0.05 * capitals * 1.1
    assert 0.9 * capitals * 0.07 < max(heights) < 1.3 * capitals * 0.08  # a comma or colon may stand lower
    down = np.array([[0.5, 0.0], [0.5, 1.0]])
    drawn = np.asarray(_drawn((side, side), down, 2.2 / 100).resize((side, side), Image.Resampling.BOX)) / 255
    np.testing.assert_allclose(drawn.sum(axis=1), 0.022 * side, atol=0.5)
    areas = []
    for seed in range(40):
        layer = _wire(black, np.random.default_rng(seed)) / 0.7
        ball = ndimage.binary_opening(layer > 0.5, structure=np.ones((7, 7)))  # what is wider than the wire
        areas.append(ball.sum())
    across = 2 * np.sqrt(np.median(areas) / np.pi) / side
    assert across == pytest.approx(0.036, rel=0.1)


def test_the_angle_of_motion_is_drawn_evenly() -> None:
    point = np.zeros((SIDE, SIDE), dtype=np.float32)
    point[SIDE // 2, SIDE // 2] = 1
    angles = []
    for seed in range(200):
        rows, columns = np.indices(point.shape) - SIDE // 2
        line = corrupted("motion-blur", 5, point, seed).astype(float)
        second = [[(line * a * b).sum() for a in (columns, rows)] for b in (columns, rows)]
        x, y = np.linalg.eigh(np.array(second))[1][:, -1]
        angles.append(np.arctan2(y, x) % np.pi)
    assert stats.kstest(np.array(angles) / np.pi, "uniform").pvalue > 0.01
