"""How far predictions in bf16, or of a compiled model, are from those in fp32 as the model stands, on a few images.

Both are choices for speed. What is compared is the whole way to a prediction, an attack made in the same arithmetic
included, on the clean images and under one perturbation of the study.
"""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from scipy.special import expit

from cxrobust.files import atomic_write_text, sha256_json
from cxrobust.inference.attack_checks import FOLDER
from cxrobust.inference.runner import Runner
from cxrobust.inference.units import Plan, Unit

N_IMAGES = 32
"""Images compared at most, the first of the study that the model predicts."""


@dataclass(frozen=True, kw_only=True, slots=True)
class PrecisionDeviation:
    """Probabilities of one model as the study makes them, against fp32 without compiling."""

    regime: str
    replicate: int
    condition: str
    n_images: int
    n_decisions: int
    """Of all findings."""
    largest: float
    """Of |p − p in fp32|."""
    mean: float
    changed: int
    """Decisions at a probability of 0.5 that differ."""

    def as_dict(self) -> dict[str, Any]:
        """Return JSON values."""
        return asdict(self)


def deviations_of(units: Sequence[Unit], runner: Runner, planned: Plan, folder: Path) -> tuple[PrecisionDeviation, ...]:
    """Compare one model's predictions with fp32, clean and under the primary condition or the first; once for a study.

    Nothing where the study asks for nothing else than fp32.
    """
    compute = planned.study.compute
    if compute.precision == "fp32" and not compute.compile:
        return ()
    return tuple(_deviation(unit, runner, planned, folder) for unit in _compared(units, planned))


def _compared(units: Sequence[Unit], planned: Plan) -> list[Unit]:
    """Return the first unit on clean images, and the first perturbed one, of the primary condition where one is."""
    clean = [unit for unit in units if unit.perturbation is None][:1]
    perturbed = [unit for unit in units if unit.perturbation is not None]
    wanted = planned.study.analysis.primary_condition
    primary = [unit for unit in perturbed if str(unit.condition) == wanted]
    return [*clean, *(primary or perturbed)[:1]]


def _deviation(unit: Unit, runner: Runner, planned: Plan, folder: Path) -> PrecisionDeviation:
    kept = set(planned.kept.tolist())
    rows = np.array([row for row in unit.rows.tolist() if row in kept][:N_IMAGES], dtype=np.intp)
    path = folder / FOLDER / f"{sha256_json(['deviation', 1, unit.key, rows.tolist()])}.json"
    try:
        return PrecisionDeviation(**json.loads(path.read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError):
        pass
    some = replace(unit, rows=rows)
    read = (one.read([some], lambda n: None)[0].logits for one in (runner, runner.plain()))
    ours, plain = (expit(logits.astype(float)) for logits in read)
    apart = np.abs(ours - plain)
    found = PrecisionDeviation(
        regime=unit.regime.name,
        replicate=unit.regime.replicate,
        condition=str(unit.condition),
        n_images=len(rows),
        n_decisions=apart.size,
        largest=float(apart.max(initial=0.0)),
        mean=float(apart.mean()) if apart.size else 0.0,
        changed=int(((ours >= 0.5) != (plain >= 0.5)).sum()),
    )
    atomic_write_text(path, json.dumps(found.as_dict()))
    return found
