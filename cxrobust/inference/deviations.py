"""How far predictions in bf16, or of a compiled model, are from those in fp32 as the model stands, on a few images.

Both are choices for speed. What is compared is the whole way to a prediction, an attack made in the same arithmetic
included, on the clean images and under one perturbation of the study.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit

from cxrobust.conditions import CLEAN
from cxrobust.files import sha256_json
from cxrobust.inference.attack_checks import FOLDER
from cxrobust.inference.kept_numbers import keep, read_numbers
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
    found = (_deviation(of_condition, runner, planned, folder) for of_condition in _compared(units, planned))
    return tuple(one for one in found if one is not None)


def _compared(units: Sequence[Unit], planned: Plan) -> list[list[Unit]]:
    """Return the units on clean images, and those of one perturbation: the primary condition where it is one."""
    conditions = dict.fromkeys(unit.condition for unit in units if unit.perturbation is not None)
    wanted = planned.study.analysis.primary_condition
    perturbed = sorted(conditions, key=lambda one: str(one) != wanted)[:1]
    return [[unit for unit in units if unit.condition == one] for one in (CLEAN, *perturbed)]


def _deviation(units: Sequence[Unit], runner: Runner, planned: Plan, folder: Path) -> PrecisionDeviation | None:
    """Compare predictions on the first images of these units, which are of one condition.

    An image of which either gives a number that is not finite is not compared; None where none is left.
    """
    rows = np.intersect1d(planned.kept, np.concatenate([unit.rows for unit in units]))[:N_IMAGES]
    if len(rows) == 0:
        return None
    parts = [replace(unit, rows=some) for unit in units if len(some := np.intersect1d(unit.rows, rows))]
    keys = [part.key for part in parts]
    path = folder / FOLDER / f"{sha256_json(['deviation', 3, keys, rows.tolist()])}.json"
    known = read_numbers(path)
    if known is not None:
        return PrecisionDeviation(**known)
    logits = np.stack([_logits(one, parts) for one in (runner, runner.plain())])
    are_numbers = np.isfinite(logits).all(axis=(0, 2))
    if not are_numbers.any():
        return None
    ours, plain = expit(logits[:, are_numbers])
    apart = np.abs(ours - plain)
    found = PrecisionDeviation(
        regime=parts[0].regime.name,
        replicate=parts[0].regime.replicate,
        condition=str(parts[0].condition),
        n_images=len(apart),
        n_decisions=apart.size,
        largest=float(apart.max()),
        mean=float(apart.mean()),
        changed=int(((ours >= 0.5) != (plain >= 0.5)).sum()),
    )
    keep(path, found.as_dict())
    return found


def _logits(runner: Runner, units: Sequence[Unit]) -> NDArray[np.float64]:
    """Return log-odds, (n_images, n_findings): shard by shard, in batches as the study has them."""
    logits = [runner.read([unit], lambda n: None)[0].logits for unit in units]
    return np.concatenate(logits).astype(np.float64)
