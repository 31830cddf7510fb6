"""Images kept for the report: a sheet of test images, and some before and after the primary perturbation."""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from cxrobust.conditions import CLEAN
from cxrobust.files import atomic_write, sha256_file, sha256_json
from cxrobust.inference.perturbations import Batch, Perturbation
from cxrobust.inference.perturbations.corruption import Corruption, every_corruption
from cxrobust.inference.pixels import WHITE
from cxrobust.inference.runner import Runner
from cxrobust.inference.units import Plan, Unit
from cxrobust.predictions import read_unit
from cxrobust.results import primary_condition

FOLDER = "examples"
SHEET = 12


@dataclass(frozen=True, kw_only=True, slots=True)
class Example:
    """One image kept as a 16-bit grey PNG."""

    kind: str
    """`sheet`, `corruption` or `attack`."""
    image: str
    regime: str | None
    condition: str
    file: str
    """Path relative to the folder of predictions."""
    sha256: str
    findings: tuple[str, ...]
    """Findings whose label is 1."""
    probabilities: dict[str, float]
    """What the regime says of each finding of this image; empty on the sheet."""
    stated: str = ""
    """Of a corruption, what its severity stands for, in a few letters: `0.38 px`."""
    description: str = ""
    """Of a corruption, what is done, at all severities."""

    def as_dict(self) -> dict[str, Any]:
        """Return JSON values."""
        return {**asdict(self), "findings": list(self.findings)}


def sheet_examples(planned: Plan, folder: Path) -> list[Example]:
    """Keep the first images of the data set, one a patient, unless the study keeps none."""
    if planned.pixels is None or not planned.study.report.example_images:
        return []
    return [
        _keep(planned, row, planned.pixels.stored(np.array([row]))[0], folder, kind="sheet", condition=str(CLEAN))
        for row in _one_a_patient(planned)[:SHEET]
    ]


def corruption_examples(planned: Plan, folder: Path) -> list[Example]:
    """Keep one image as every corruption of the study leaves it, the same for all regimes, or as all there are do."""
    chosen = _corruptions(planned)
    if planned.pixels is None or not planned.study.report.example_images or not chosen:
        return []

    import torch

    from cxrobust.inference.randomness import image_seed

    row = _one_a_patient(planned)[0]
    clean = torch.from_numpy(planned.pixels.batch(np.array([row])))
    side = int(clean.shape[-1])
    kept = []
    for one in chosen:
        condition = str(one.condition)
        batch = Batch(
            images=clean,
            labels=planned.table.labels[[row]],
            findings=planned.table.findings,
            seeds=(image_seed(planned.study.study.seed, condition, planned.table.ids[row]),),
        )
        image = np.rint(one.perturb(batch, torch.nn.Identity())[0, 0].numpy() * WHITE).astype(np.uint16)
        path = folder / FOLDER / f"{sha256_json(['corrupted', condition, planned.pixels.digests[row], side])}.png"
        if not _holds(path, image):
            _write_png(image, path)
        told = _describe(planned, row, path, kind="corruption", condition=condition, regime=None, probabilities={})
        if isinstance(one, Corruption):
            told = replace(told, stated=one.state(side), description=one.describe_at(side))
        kept.append(told)
    return kept


def _corruptions(planned: Plan) -> list[Perturbation]:
    """Return those of the study, and then all others where it shows them all."""
    own = [one for one in planned.study.perturbations if one.kind == "corruption"]
    every = every_corruption() if planned.study.report.all_corruptions else ()
    return list({str(one.condition): one for one in (*own, *every)}.values())


def attack_examples(units: Sequence[Unit], planned: Plan, folder: Path, runner: Runner) -> list[Example]:
    """Keep images of positive patients, clean and under the primary condition, with what this model says of them."""
    condition = _primary(planned)
    if condition is None or planned.pixels is None:
        return []
    if not all(one.has_one_image for one in planned.study.perturbations if str(one.condition) == condition):
        return []  # what is predicted of a finding is not what is predicted of one image
    mine = set(np.concatenate([unit.rows for unit in units]).tolist())
    positive = (planned.table.labels == 1).any(axis=1)
    chosen = [row for row in _one_a_patient(planned) if positive[row]][: planned.study.report.example_images]
    kept = []
    for row in (row for row in chosen if row in mine):
        for at in (str(CLEAN), condition):
            unit = next(u for u in units if str(u.condition) == at and row in set(u.rows.tolist()))
            kept.append(_keep_predicted(unit, planned, row, folder, runner))
    return kept


def _primary(planned: Plan) -> str | None:
    return primary_condition(planned.study.analysis.primary_condition, [str(one) for one in planned.conditions])


def _one_a_patient(planned: Plan) -> list[int]:
    first: dict[str, int] = {}
    for row in map(int, planned.kept):
        first.setdefault(planned.table.patients[row], row)
    return list(first.values())


def _keep_predicted(unit: Unit, planned: Plan, row: int, folder: Path, runner: Runner) -> Example:
    """Keep one image under a unit's condition; it is made again only when its file is not there."""
    name = sha256_json(["example", unit.key, planned.table.ids[row]])
    note = folder / FOLDER / f"{name}.json"
    path = folder / FOLDER / f"{name}.png"
    if not (note.exists() and path.exists() and note.read_bytes() == json.dumps(sha256_file(path)).encode()):
        image = runner.perturbed(np.array([row]), unit.perturbation)[0, 0].cpu().numpy()
        _write_png(np.rint(image * WHITE).astype(np.uint16), path)
        atomic_write(note, lambda temporary: _write_json(temporary, sha256_file(path)))
    predictions = read_unit(folder / unit.file)
    values = predictions.probabilities[predictions.image_ids.index(planned.table.ids[row])]
    return _describe(
        planned,
        row,
        path,
        kind="attack",
        condition=str(unit.condition),
        regime=unit.regime.name,
        probabilities=dict(zip(planned.table.findings, map(float, values), strict=True)),
    )


def _keep(planned: Plan, row: int, image: NDArray[np.uint16], folder: Path, *, kind: str, condition: str) -> Example:
    digest = planned.pixels.digests[row] if planned.pixels is not None else ""
    path = folder / FOLDER / f"{sha256_json(['image', planned.study.data.size, digest])}.png"
    if not _holds(path, image):
        _write_png(np.asarray(image), path)
    return _describe(planned, row, path, kind=kind, condition=condition, regime=None, probabilities={})


def _describe(
    planned: Plan,
    row: int,
    path: Path,
    *,
    kind: str,
    condition: str,
    regime: str | None,
    probabilities: dict[str, float],
) -> Example:
    labels = planned.table.labels[row]
    return Example(
        kind=kind,
        image=planned.table.ids[row],
        regime=regime,
        condition=condition,
        file=f"{FOLDER}/{path.name}",
        sha256=sha256_file(path),
        findings=tuple(f for f, label in zip(planned.table.findings, labels, strict=True) if label == 1),
        probabilities=probabilities,
    )


def _holds(path: Path, image: NDArray[np.uint16]) -> bool:
    try:
        with Image.open(path) as kept:
            return np.array_equal(np.asarray(kept), image)
    except (OSError, ValueError, SyntaxError):  # Pillow says of some damaged files that they break the syntax of PNG
        return False


def _write_png(image: NDArray[np.uint16], path: Path) -> None:
    atomic_write(path, lambda temporary: Image.fromarray(image).save(temporary, format="PNG"))


def _write_json(path: Path, value: Any) -> None:
    path.write_text(json.dumps(value), encoding="utf-8")
