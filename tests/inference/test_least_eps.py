"""The least ε of each image: closed forms on linear models, brute force at clipped pixels, and one search for all ε."""

from pathlib import Path

import numpy as np
import pytest

from cxrobust import pipeline
from cxrobust.inference.perturbations import Batch, in_order, least_eps
from cxrobust.predictions import load_predictions
from cxrobust.study import read_study

from .test_perturbations import FINDINGS, batch, make, network
from .tiny import unit_files, write_study

torch = pytest.importorskip("torch")
GRID = (0.0025, 0.005, 0.01, 0.015, 0.02, 0.03, 0.05)


class Plane(torch.nn.Module):
    """A linear model, whose boundary is |z| / ‖w‖ away: ‖w‖ is the dual norm of that of the distance."""

    def __init__(self) -> None:
        super().__init__()
        self.w = torch.from_numpy(np.random.default_rng(5).normal(size=(144, 3)))

    def forward(self, images: "torch.Tensor") -> "torch.Tensor":
        return (images.double().flatten(1) - 0.5) @ self.w


def on_plane(*, low: float, high: float) -> Batch:
    """Images right on a `Plane`, pixels between `low` and `high`."""
    images = torch.from_numpy(0.5 + 0.02 * np.random.default_rng(6).standard_normal((6, 1, 12, 12))).clamp(low, high)
    labels = (Plane()(images) > 0).numpy().astype(np.int8)
    return Batch(images=images, labels=labels, findings=FINDINGS, seeds=tuple(range(6)))


def searched(
    name: str, one: Batch, model: "torch.nn.Module", grid: tuple[float, ...], **settings: object
) -> np.ndarray:
    """Log-odds of one search at every strength of the grid, (n_strengths, n_images, n_findings)."""
    *weaker, last = in_order(make(attack=name, eps=eps, **settings) for eps in grid)
    return torch.stack(last.read(one, model, model, weaker)).numpy()


@pytest.mark.parametrize(("name", "dual", "grid"), [("least-eps", 1, GRID), ("least-eps-l2", 2, (0.01, 0.1, 0.3, 0.6))])
def test_least_eps_of_a_linear_model_against_its_closed_form(name: str, dual: int, grid: tuple[float, ...]) -> None:
    one, model = on_plane(low=0.3, high=0.7), Plane()
    clean = model(one.images).numpy()
    expected = np.abs(clean) / torch.linalg.vector_norm(model.w, ord=dual, dim=0).numpy()
    found = np.concatenate([clean[None], searched(name, one, model, grid)])
    margins = np.where(one.labels == 1, found, -found)
    for row, column in np.ndindex(*expected.shape):  # straight between strengths, as a linear model is
        least = np.interp(0, -margins[:, row, column], (0, *grid), right=np.inf)
        assert least == pytest.approx(expected[row, column] if expected[row, column] <= grid[-1] else np.inf, rel=1e-9)
    assert (expected < grid[-1]).sum() >= 6


def test_where_pixels_are_clipped_against_a_fine_grid_by_brute_force() -> None:
    one, model = on_plane(low=0.5, high=0.52), Plane()
    one = Batch(images=one.images - 0.5, labels=one.labels, findings=one.findings, seeds=one.seeds)  # near black
    found = searched("least-eps", one, model, GRID)
    signs = torch.from_numpy(2 * one.labels.astype(float) - 1)
    for place, eps in enumerate(GRID):
        for k in range(3):
            steps = eps * signs[:, k].reshape(-1, 1, 1, 1) * model.w[:, k].sign().reshape(1, 1, 12, 12)
            worst = model((one.images - steps).clamp(0, 1))[:, k]
            np.testing.assert_allclose(found[place, :, k], worst.numpy(), rtol=1e-9)


@pytest.mark.parametrize("settings", [{}, {"target": "all", "loss": "margin"}, {"target": "worst"}], ids=str)
def test_a_strength_alone_is_as_in_the_search_of_all(settings: dict[str, object]) -> None:
    one, model = batch(), network()
    together = searched("least-eps", one, model, GRID, **settings)
    for place, made in enumerate(in_order(make(attack="least-eps", eps=eps, **settings) for eps in GRID)):
        (alone,) = made.read(one, model, model)
        np.testing.assert_array_equal(alone.numpy(), together[place])
        moved = made.perturb(one, model)
        assert float((moved - one.images).abs().max()) <= GRID[place] + 1e-12
        if settings.get("target") == "all":
            np.testing.assert_array_equal(model(moved).numpy(), alone.numpy())


def test_further_rungs_are_passed_by_the_search_of_all_strengths() -> None:
    one, model, grid = batch(5), network(), (0.01, 0.02, 0.04)
    together = searched("least-eps", one, model, grid, rungs=(0.005, 0.03))
    for place, made in enumerate(in_order(make(attack="least-eps", eps=eps, rungs=(0.005, 0.03)) for eps in grid)):
        assert made.way == ((0.005, 0.01), (0.005, 0.01, 0.02), (0.005, 0.01, 0.02, 0.03, 0.04))[place]
        np.testing.assert_array_equal(made.read(one, model, model)[0].numpy(), together[place])


@pytest.mark.parametrize("target", ["each", "all"])
def test_one_search_is_as_strong_as_a_pgd_run_at_each_strength_for_a_third_of_the_passes(target: str) -> None:
    class Counting(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.seen, self.model = 0, network()

        def forward(self, images: "torch.Tensor") -> "torch.Tensor":
            self.seen += len(images)
            return 4 * self.model(images)

    one, model = batch(20, missing=False), Counting()
    grid = tuple(eps / 255 for eps in (0.25, 0.5, 1, 1.5, 2, 3, 4, 6, 8))
    losses = np.logaddexp(0, np.where(one.labels == 1, -1, 1) * searched("least-eps", one, model, grid, target=target))
    passes, model.seen = model.seen, 0
    for place, eps in enumerate(grid):
        pgd = make(attack="pgd", eps=eps, steps=20, target=target)
        (logits,) = pgd.read(one, model, model)
        theirs = np.logaddexp(0, np.where(one.labels == 1, -1, 1) * logits.numpy())
        assert losses[place].mean() >= 0.995 * theirs.mean()
    assert passes * 3 <= model.seen


@pytest.mark.parametrize(("name", "grid"), [("least-eps", (0.01, 0.02, 0.04, 0.08)), ("least-eps-l2", (0.1, 0.2, 0.4))])
def test_what_was_found_at_a_strength_is_kept_where_greater_ones_overshoot(name: str, grid: tuple[float, ...]) -> None:
    """Logits have their peak at the second strength, so that what is stretched further has a lower loss."""
    one = Batch(
        images=torch.full((3, 1, 12, 12), 0.5, dtype=torch.float64),
        labels=np.zeros((3, 3), dtype=np.int8),
        findings=FINDINGS,
        seeds=(1, 2, 3),
    )
    length = grid[1] * (12 if name == "least-eps" else 1)
    way = torch.from_numpy(np.random.default_rng(9).choice([-1.0, 1.0], 144)) / 12

    class Hill(torch.nn.Module):
        def forward(self, images: "torch.Tensor") -> "torch.Tensor":
            return 10 - 10 * (images.flatten(1) - 0.5 - length * way).norm(dim=1, keepdim=True).expand(-1, 3) / length

    found = searched(name, one, Hill(), grid, steps=1)
    np.testing.assert_allclose(found[0], 5, atol=1e-9)
    np.testing.assert_allclose(found[1:], 10, atol=1e-6)


@pytest.mark.parametrize("name", ["least-eps", "least-eps-l2"])
def test_a_search_goes_on_from_what_it_found_at_the_strength_before(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    one, model = batch(5, missing=False), network()
    grid = (0.02, 0.03, 0.05, 0.4)
    starts = []
    climb = least_eps.ascend

    def spied(objective, images, start, **settings):
        starts.append(start)
        return climb(objective, images, start, **settings)

    monkeypatch.setattr(least_eps, "ascend", spied)
    *weaker, last = in_order(make(attack=name, eps=eps, steps=3, target="all") for eps in grid)
    found = last.perturbed_at(one, model, weaker)
    expected = [one.images]
    for eps, more, before in zip(grid, grid[1:], found, strict=False):
        expected.append((one.images + (before - one.images) * more / eps).clamp(0, 1))
    assert len(starts) == 4
    for start, there in zip(starts, expected, strict=True):
        torch.testing.assert_close(start, there, atol=1e-12, rtol=0)
    assert float((starts[3] - one.images).abs().max()) > 0.1


def test_an_image_of_its_own_for_each_finding() -> None:
    one, model = batch(), network()
    each = make(attack="apgd", eps=0.03, steps=5, target="each")
    (logits,) = each.read(one, model, model)
    for k, finding in enumerate(FINDINGS):
        aimed = make(attack="apgd", eps=0.03, steps=5, target=finding).perturb(one, model)
        torch.testing.assert_close(logits[:, k], model(aimed)[:, k], atol=1e-9, rtol=0)
    assert not each.has_one_image
    worst = make(attack="apgd", eps=0.03, steps=5, target="worst").perturb(one, model)
    torch.testing.assert_close(each.perturb(one, model), worst, atol=1e-9, rtol=0)


def study_with_a_search(folder: Path, eps: str = '["4/255", "1/255", "2/255"]') -> Path:
    path = write_study(folder)
    text = path.read_text().replace('attack = "pgd"', 'attack = "least-eps"').replace('["4/255", "8/255"]', eps)
    path.write_text(text.replace("resamples = 200", 'resamples = 200\nmetrics = ["robust-accuracy"]'))
    return path


def test_a_study_finds_all_strengths_at_once_and_makes_what_is_lost_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from cxrobust.inference.runner import Runner

    sizes = []
    read = Runner.read

    def spied(self, units, advance):
        sizes.append(len(units))
        return read(self, units, advance)

    monkeypatch.setattr(Runner, "read", spied)
    study = read_study(study_with_a_search(tmp_path))
    strongest = next(one for one in study.perturbations if str(one.condition) == "least-eps(eps=4/255, steps=3)")
    assert strongest.way == (1 / 255, 2 / 255, 4 / 255)
    pipeline.predict(study, tmp_path / "out")
    assert sorted(sizes) == [1] * 30 + [3] * 6  # two regimes, three shards: clean, blur and three noises alone
    before = unit_files(tmp_path / "out")
    entries = load_predictions(tmp_path / "out" / "predictions").index["units"]
    lost = next(one for one in entries if one["condition"] == "least-eps(eps=2/255, steps=3)")
    (tmp_path / "out" / "predictions" / lost["file"]).unlink()
    sizes.clear()
    pipeline.predict(study, tmp_path / "out")
    assert sizes == [1]
    assert unit_files(tmp_path / "out") == before


@pytest.mark.parametrize(("name", "eps"), [("least-eps", 0.02), ("least-eps-l2", 1.0)])
@pytest.mark.parametrize("rung", [-0.5, 0.0, float("inf"), float("nan")])
def test_a_rung_that_is_no_size_is_refused(name: str, eps: float, rung: float) -> None:
    with pytest.raises(ValueError, match="rungs"):
        make(attack=name, eps=eps, rungs=(rung,))


@pytest.mark.parametrize("rungs", [None, "[0.01]"])
def test_rungs_are_told_where_they_were_written_and_not_where_they_are_the_study_s_own(
    rungs: str | None, tmp_path: Path
) -> None:
    path = study_with_a_search(tmp_path)
    if rungs is not None:
        path.write_text(path.read_text().replace("eps =", f"rungs = {rungs}\neps =", 1))
    study = read_study(path)
    searches = [one for one in study.perturbations if one.name == "least-eps"]
    assert [len(one.rungs) for one in searches] == ([2, 0, 1] if rungs is None else [3, 0, 1])
    for one in searches:
        parameters = one.every_parameter()
        assert parameters["eps"]["given"]
        assert not parameters["loss"]["given"]
        assert parameters.get("rungs") == (None if rungs is None else {"value": "0.01", "given": True})
        assert ("every ε of the study and the rungs up to this" in one.describe()) == (rungs is not None)


def test_a_greater_strength_changes_no_weaker_unit_and_another_way_changes_all_above_it(tmp_path: Path) -> None:
    from cxrobust.inference.units import plan

    def keys(name: str, eps: str) -> dict[str, set[str]]:
        planned = plan(read_study(study_with_a_search(tmp_path / name, eps)), tmp_path / name / "out")
        found: dict[str, set[str]] = {}
        for unit in planned.units:
            found.setdefault(str(unit.condition), set()).add(unit.key)
        return found

    first = keys("first", '["1/255", "2/255"]')
    more, other = keys("more", '["1/255", "2/255", "3/255"]'), keys("other", '["0.5/255", "1/255", "2/255"]')
    one, two = (f"least-eps(eps={eps}/255, steps=3)" for eps in (1, 2))
    assert first[one] == more[one]
    assert first[two] == more[two]
    assert not first[one] & other[one]
    assert not first[two] & other[two]


def test_half_margin_of_robust_accuracy_is_the_median_least_eps(tmp_path: Path) -> None:
    """The median over the decisions right on clean images, between strengths by straight lines."""
    study = read_study(study_with_a_search(tmp_path, '["1/255", "2/255", "4/255", "8/255", "16/255", "32/255"]'))
    pipeline.predict(study, tmp_path / "out")
    results = pipeline.analyze(study, tmp_path / "out")
    made = load_predictions(tmp_path / "out" / "predictions")
    grid = [0, 1, 2, 4, 8, 16, 32]
    search = [0, *(made.conditions.index(f"least-eps(eps={eps}/255, steps=3)") for eps in grid[1:])]
    thresholds = {(one.regime, one.finding): one.value for one in results.thresholds}
    checked = 0
    for one in results.estimates:
        if one.estimand != "half-margin" or one.finding not in made.findings or one.condition != "least-eps(steps=3)":
            continue
        k, m = made.findings.index(one.finding), made.regimes.index(one.regime)
        known = made.labels[:, k] >= 0
        right = (made.probabilities[m][search][:, known, k] >= thresholds[one.regime, one.finding]) == (
            made.labels[known, k] == 1
        )
        least = np.cumprod(right, axis=0).sum(axis=0)  # how many strengths, clean among them, it stays right
        alive = np.array([(least > place).sum() for place in range(len(grid))])
        if alive[-1] > alive[0] / 2:
            assert one.estimate is None
            continue
        place = int(np.argmax(alive <= alive[0] / 2))
        part = (alive[place - 1] - alive[0] / 2) / (alive[place - 1] - alive[place])
        assert one.estimate == pytest.approx(grid[place - 1] + part * (grid[place] - grid[place - 1]))
        checked += 1
    assert checked >= 2


@pytest.mark.parametrize(
    ("eps", "said"),
    [
        ('["8/255", "16/255"]', "the least ε of the attacks is 8/255"),
        ('["1.5/255"]', "the least ε of the attacks is 1.5/255"),
        ('["1.2/255", "8/255"]', ""),
    ],
)
def test_a_study_of_large_eps_alone_gets_a_line_of_advice(tmp_path: Path, eps: str, said: str) -> None:
    from cxrobust.checks import advice_of

    advice = advice_of(read_study(study_with_a_search(tmp_path, eps)))
    assert len(advice) == bool(said)
    assert all(line.startswith(said) for line in advice)
