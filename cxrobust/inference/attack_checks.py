"""Checks of an attack that a sceptical reviewer asks for (Carlini et al. 2019, arXiv:1902.06705), on a few images.

The attack is the study's: that of the primary condition where it takes steps within a distance or a patch, else the
first such in the maximum norm, else in the Euclidean one, else within a patch. Each model is asked what the attack,
noise, longer and unbounded attacks, an attack without gradients, and the images of the other models do to the loss that
the attack raises.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from cxrobust.files import atomic_write, sha256_file, sha256_json
from cxrobust.inference.kept_numbers import keep, read_numbers
from cxrobust.inference.perturbations import Perturbation, perturbation
from cxrobust.inference.perturbations.attack import EACH, REPORT, SEVERAL, InBall, InEuclideanBall
from cxrobust.inference.perturbations.patch import Patch, PatchByQueries
from cxrobust.inference.perturbations.square import Square
from cxrobust.inference.runner import Runner
from cxrobust.inference.units import Plan, Unit, code_hash, code_of, labels_hash
from cxrobust.progress import Reporter, silent
from cxrobust.results import finite

if TYPE_CHECKING:
    import torch

InBound = InBall | InEuclideanBall | Patch
FOLDER = "checks"
LONGER = 4
"""How many times more steps the longer attack has."""
QUERIES = 100
"""Of the attack without gradients."""

ALONE = ("clean", "attacked", "noise", "longer", "square", "unbounded_wrong", "without_gradient")
"""What is measured of one model alone."""


@dataclass(frozen=True, kw_only=True, slots=True)
class AttackCheck:
    """What attacks do to one model, on a few images of the study; losses are means over images, None if not finite."""

    regime: str
    replicate: int
    condition: str
    """The attack that is checked."""
    n_images: int
    in_turns: bool
    """Whether each image's attack aims at one of its labelled findings, in turns: that of the study at each alone."""
    clean: float | None
    """Loss on the images as they are: the sum of binary cross-entropies over the findings aimed at, or that of a report
    by the score of `views.OfTexts`."""
    attacked: float | None
    noise: float | None
    """Under random noise of the same size."""
    longer: float | None
    """Under the same attack with four times the steps."""
    square: float | None
    """Under the Square attack, which asks for logits alone, within the same distance."""
    queries: int
    """Of the Square attack, for each image."""
    unbounded: str
    """The attack without a bound: its condition, `pgd(eps=1.0, steps=80)`."""
    unbounded_wrong: float | None
    """Share of images on which the attack without a bound makes one finding wrong, a logit above 0 meaning present, or
    halves (for a text made likelier: doubles) the mean probability of a token of the text.

    Each image's attack aims at one of its labelled findings, in turns: all at once may contradict one another.
    """
    without_gradient: float | None
    """Share of images on which the gradient of the loss is 0 at every pixel, or not a number; None of an attack that
    asks for none."""
    transferred: Mapping[str, float | None]
    """Loss on the images that were made on another model, by its regime."""

    def as_dict(self) -> dict[str, Any]:
        """Return JSON values."""
        return {**asdict(self), "transferred": dict(self.transferred)}


def checked_attack(planned: Plan) -> InBound | None:
    """Return the attack that is checked: the primary condition's where it has steps within a distance or a patch.

    Else the first in the maximum norm, or in the Euclidean norm where there is none, or within a patch.

    One that is made on another model is not: its images say nothing of how well this one was attacked.
    """
    wanted = planned.study.analysis.primary_condition
    attacks = (one for one in planned.study.perturbations if isinstance(one, InBound) and one.made_on is None)
    order = (InBall, InEuclideanBall, Patch)
    found = sorted(
        (one for one in attacks if hasattr(one, "steps")),
        key=lambda one: [isinstance(one, kind) for kind in order].index(True),
    )
    primary = [one for one in found if wanted is not None and str(one.condition) == wanted]
    return next(iter((*primary, *found)), None)


@dataclass(frozen=True, kw_only=True, slots=True)
class Checked:
    """A model whose attack was checked, with what is needed to send it the images of others."""

    unit: Unit
    runner: Runner
    rows: NDArray[np.intp]
    """The images; those of its fold where the model is of one."""
    alone: Mapping[str, float | None]
    images: str
    """Hash of the file of its attacked images."""


def check_model(
    units: Sequence[Unit], runner: Runner, planned: Plan, folder: Path, *, report: Reporter = silent
) -> Checked | None:
    """Check the study's attack on one model, and keep the attacked images; what is there from before stays.

    A model of one fold is checked on the images of its fold. None where the study has no attack that can be checked, or
    wants no checks, and where none of the images is of the model's fold.
    """
    attack = checked_attack(planned)
    rows = np.intersect1d(chosen_rows(planned), np.concatenate([unit.rows for unit in units]))
    if attack is None or planned.pixels is None or len(rows) == 0:
        return None
    unit = next(unit for unit in units if str(unit.condition) == str(attack.condition))
    path, images = (folder / FOLDER / f"{_key(unit, planned, rows)}{ending}" for ending in (".json", ".npy"))
    alone = read_numbers(path, of=sha256_file(images)) if images.is_file() else None
    if alone is None:
        progress = _Progress(report, f"checking the attack on {unit.regime.name}")
        alone = _check_alone(runner, rows, attack, planned, images, progress)
        keep(path, alone, of=sha256_file(images))
    return Checked(unit=unit, runner=runner, rows=rows, alone=alone, images=sha256_file(images))


def with_transfer(models: Sequence[Checked], planned: Plan, folder: Path) -> Iterator[AttackCheck]:
    """Send every model the images made on each other regime's first run, and give what was found of each regime's run.

    The models of a run's folds are put together, each with the weight of its images; they are sent no other's, nor are
    theirs sent.
    """
    attack = checked_attack(planned)
    if attack is None:
        return
    first = {regime.name: regime.replicate for regime in reversed(planned.study.regimes)}
    makers = [
        one for one in models if one.unit.fold is None and one.unit.regime.replicate == first[one.unit.regime.name]
    ]
    runs: dict[tuple[str, int], list[Checked]] = {}
    for model in models:
        runs.setdefault((model.unit.regime.name, model.unit.regime.replicate), []).append(model)
    for (regime, replicate), of_run in runs.items():
        transferred = {
            other.unit.regime.name: _transferred(model, other, attack, planned, folder)
            for model in of_run
            for other in makers
            if model.unit.fold is None and other.unit.regime.name != regime
        }
        for model in of_run:
            model.runner.unload()
        yield AttackCheck(
            regime=regime,
            replicate=replicate,
            condition=str(attack.condition),
            n_images=sum(len(model.rows) for model in of_run),
            in_turns=attack.target == EACH,
            queries=QUERIES,
            unbounded=str(unbounded(attack, planned.study.data.size).condition),
            transferred=transferred,
            **{name: _mean(of_run, name) for name in ALONE},
        )


def _mean(of_run: Sequence[Checked], name: str) -> float | None:
    """Return the mean over all images of a run; None where a fold has no number."""
    values = [model.alone[name] for model in of_run]
    if any(value is None for value in values):
        return None
    return finite(float(np.average(np.array(values, dtype=float), weights=[len(model.rows) for model in of_run])))


def chosen_rows(planned: Plan) -> NDArray[np.intp]:
    """Return the images that attacks are checked on, one a patient, half with a finding where there are such."""
    n_images = planned.study.report.attack_checks
    first: dict[str, int] = {}
    for row in map(int, planned.kept):
        first.setdefault(planned.table.patients[row], row)
    rows = np.array(list(first.values()), dtype=np.intp)
    labels = planned.table.labels[rows]
    known = (labels >= 0).any(axis=1)
    positive = (labels == 1).any(axis=1)
    turns = [rows[known & some] for some in (positive, ~positive)]
    half = max(n_images // 2, n_images - len(turns[1]))
    return np.sort(np.concatenate([turns[0][:half], turns[1][: n_images - min(half, len(turns[0]))]]))


def _key(unit: Unit, planned: Plan, rows: NDArray[np.intp]) -> str:
    """Return what determines a check: the unit's key holds model, attack, seed and the code of both.

    What is measured is part of it. Of images and labels it holds those of its own shard.
    """
    hashed = {} if planned.pixels is None else dict(enumerate(planned.pixels.digests))
    images = [labels_hash(planned.table, rows), *(hashed.get(row) for row in map(int, rows))]
    others = rivals(unit.perturbation, planned.study.data.size) if isinstance(unit.perturbation, InBound) else ()
    code = code_hash(*(module for one in others for module in code_of(one)))
    return sha256_json(["attack check", 3, unit.key, images, ALONE, LONGER, QUERIES, code])


class _Progress:
    """Tells how many passes of images through the model are done, of all that a check takes."""

    def __init__(self, report: Reporter, task: str) -> None:
        self._report, self._task = report, task
        self._done, self._total = 0, 0

    def expect(self, total: int) -> None:
        self._total = total
        self._report(self._task, 0, total)

    def of(self, passes: int) -> Callable[[int], None]:
        """Return what is told how many images more an attack of so many passes has done."""

        def advance(n_images: int) -> None:
            self._done += n_images * passes
            self._report(self._task, min(self._done, self._total), self._total)

        return advance


def _check_alone(
    runner: Runner,
    rows: NDArray[np.intp],
    attack: InBound,
    planned: Plan,
    images: Path,
    progress: _Progress,
) -> dict[str, float | None]:
    """Measure all that needs one model, and keep the attacked images for the others."""
    attack = attack.model_copy(update={"until_wrong_at": None})  # how much the loss rises is what is measured
    places = attack if isinstance(attack, Patch) else None  # others are compared with a patch at its own places
    steps = int(vars(attack)["steps"])
    noise, square = rivals(attack, planned.study.data.size)
    longer = attack.model_copy(update={"steps": LONGER * steps})
    passes = {"attacked": steps, "noise": 1, "longer": LONGER * steps, "square": QUERIES}
    progress.expect((sum(passes.values()) + LONGER * steps) * len(rows))
    at = {
        name: _made(runner, rows, one, planned, progress.of(passes[name]), places)
        for name, one in (("attacked", attack), ("longer", longer), ("square", square))
    }
    at["noise"] = runner.perturbed_all(rows, noise, progress.of(passes["noise"]), drawn_as=places)
    atomic_write(images, lambda temporary: np.save(temporary, at["attacked"].cpu().numpy()))
    clean = runner.perturbed_all(rows, None)
    losses = {name: _loss(runner, some, rows, attack, planned) for name, some in {"clean": clean, **at}.items()}
    return {
        **losses,
        "unbounded_wrong": _unbounded_wrong(runner, rows, attack, planned, progress.of(LONGER * steps)),
        "without_gradient": _without_gradient(runner, clean, rows, attack, planned)
        if attack.asks_for_gradient
        else None,
    }


def rivals(attack: InBound, side: int) -> tuple[Perturbation, Square | PatchByQueries]:
    """Return random noise of the attack's size, and Square within its distance, on images of `side` pixels squared.

    Square moves every pixel by as much; in the Euclidean norm by so much that all together are at the distance; pixels
    of a patch to black or white.
    """
    size = {attack.strength: vars(attack)[attack.strength]}
    noise = perturbation[attack.control_noise].model_validate({"attack": attack.control_noise, **size})
    aim = {"target": attack.target, "goal": attack.goal, "text": attack.text, "queries": QUERIES, "loss": "bce"}
    if isinstance(attack, Patch):
        within = {"attack": "patch", "places": attack.places, **size}
        return noise, PatchByQueries.model_validate({**within, **aim})
    eps = attack.eps if isinstance(attack, InBall) else min(attack.eps / side, 1.0)
    return noise, Square.model_validate({"attack": "square", "eps": eps, **aim})


def unbounded(attack: InBound, side: int) -> InBound:
    """Return the attack with all pixels of an image, `side` squared, in its reach, and four times the steps."""
    steps = {"steps": LONGER * vars(attack)["steps"]}
    if isinstance(attack, Patch):
        return attack.model_copy(update={**steps, "side": 100, "places": 1})
    farthest = 1.0 if isinstance(attack, InBall) else float(side)
    return attack.model_copy(update={**steps, "eps": farthest, "step_size": None})


def _made(
    runner: Runner,
    rows: NDArray[np.intp],
    attack: InBound,
    planned: Plan,
    advance: Callable[[int], None],
    places: Patch | None,
) -> "torch.Tensor":
    """Return the attacked images; where the study attacks each finding alone, each image's own finding in turns."""
    if attack.target != EACH:
        return runner.perturbed_all(rows, attack, advance, drawn_as=places)
    images = runner.perturbed_all(rows, None)
    aimed = _in_turns(_labelled(attack, planned, rows))
    for column in np.unique(aimed[aimed >= 0]):
        mine = np.flatnonzero(aimed == column)
        one = attack.model_copy(update={"target": planned.table.findings[column]})
        images[mine] = runner.perturbed_all(rows[mine], one, advance, drawn_as=places)
    return images


def _transferred(model: Checked, other: Checked, attack: InBound, planned: Plan, folder: Path) -> float | None:
    rows = model.rows
    keys = [_key(one.unit, planned, rows) for one in (model, other)]
    path = folder / FOLDER / f"{sha256_json(keys)}.json"
    known = read_numbers(path, of=other.images)
    if known is None:
        import torch

        images = torch.from_numpy(np.load(folder / FOLDER / f"{keys[1]}.npy"))
        known = {"loss": _loss(model.runner, images, rows, attack, planned)}
        keep(path, known, of=other.images)
    loss: float | None = known["loss"]
    return loss


def _wanted(attack: InBound, planned: Plan, rows: NDArray[np.intp]) -> NDArray[np.int8]:
    """Return ±1 for each decision that the attack wants wrong, by its label, and 0 for all others.

    For an attack on reports there is one, whether the text is as likely as `views.OfTexts` says.
    """
    if attack.target == REPORT:
        return np.full((len(rows), 1), 1 if attack.lowers_text else -1, dtype=np.int8)
    signs = _labelled(attack, planned, rows)
    if attack.target == EACH:
        signs[np.arange(signs.shape[1]) != _in_turns(signs)[:, None]] = 0
    return signs


def _in_turns(signs: NDArray[np.int8]) -> NDArray[np.intp]:
    """Return one finding of each image that has a sign, taking turns; -1 where there is none."""
    known = [np.flatnonzero(row) for row in signs]
    return np.array(
        [found[place % len(found)] if len(found) else -1 for place, found in enumerate(known)], dtype=np.intp
    )


def _labelled(attack: InBound, planned: Plan, rows: NDArray[np.intp]) -> NDArray[np.int8]:
    """Return ±1 for each finding that the attack wants wrong in turn or together, by its label, and 0 for others."""
    labels = planned.table.labels[rows]
    signs = np.where(labels < 0, 0, 2 * labels - 1)
    if attack.goal != "raise-loss":
        signs = np.full_like(signs, 1 if attack.goal == "hide" else -1)
    if attack.target not in SEVERAL:
        others = np.arange(labels.shape[1]) != planned.table.findings.index(attack.target)
        signs[:, others] = 0
    return signs.astype(np.int8)


def _loss(
    runner: Runner, images: "torch.Tensor", rows: NDArray[np.intp], attack: InBound, planned: Plan
) -> float | None:
    """Return the mean over images of the sum of binary cross-entropies over decisions that the attack wants wrong."""
    margins = _wanted(attack, planned, rows) * runner.scores_of(images, rows, attack).astype(np.float64)
    each = np.where(_wanted(attack, planned, rows) == 0, 0.0, np.logaddexp(0.0, -margins))
    return finite(each.sum(axis=1).mean())


def _unbounded_wrong(
    runner: Runner, rows: NDArray[np.intp], attack: InBound, planned: Plan, advance: Callable[[int], None]
) -> float | None:
    """Return the share of images whose aimed finding, or text, is wrong under the attack without a bound."""
    wanted = _wanted(attack, planned, rows)
    aimed = _in_turns(wanted)
    wrong: list[bool] = []
    for column in np.unique(aimed[aimed >= 0]):
        mine = np.flatnonzero(aimed == column)
        one = unbounded(attack, planned.study.data.size)
        if attack.target != REPORT:
            one = one.model_copy(update={"target": planned.table.findings[column]})
        logits = runner.scores_of(runner.perturbed_all(rows[mine], one, advance), rows[mine], one)[:, column]
        wrong += (np.isfinite(logits) & ((logits > 0) != (wanted[mine, column] > 0))).tolist()
    return finite(float(np.mean(wrong))) if wrong else None


def _without_gradient(
    runner: Runner, images: "torch.Tensor", rows: NDArray[np.intp], attack: InBound, planned: Plan
) -> float:
    gradients = runner.gradients_of(images, rows, attack, _wanted(attack, planned, rows))
    flat = gradients.reshape(len(gradients), -1)
    return float(((flat == 0).all(axis=1) | ~np.isfinite(flat).all(axis=1)).mean())
