"""How often tests of a corpus's score reject at 5 % where nothing differs, or something does, and one report is long.

Studies are drawn by a law: each patient has one report of a drawn length by each of two regimes, clean and attacked,
and of its runs of one to four words a share is the reference's (or of its findings a share is right) that varies from
patient to patient. One patient may have a given part of all words. Of each study the sign-flip test takes each
patient's part of BLEU, or of F1, to first order; the swap test exchanges patients' sums.

    python benchmarks/swaps.py --out benchmarks/results/swaps.json
    python benchmarks/tables.py
"""

import argparse
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from itertools import product
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from record import write

from cxrobust.analysis.metrics import Additive, metric
from cxrobust.analysis.permutation import sign_flip_p_values
from cxrobust.analysis.swaps import swap_p_value

ALPHA = 0.05
SHARE = (0.8, 0.5, 0.35, 0.25)
"""Of runs of one to four words that a reference has too, times what a regime reaches."""
SHARED, SPREAD = 0.5, 0.12
"""Part of the variance of patients' shares that both sides have in common, and their standard deviation."""
REFERENCE_WORDS = 30


@dataclass(frozen=True, kw_only=True, slots=True)
class Design:
    """A law of studies."""

    says: str
    metric: str
    n_patients: int
    part: float = 0.0
    """Of all words, or findings, that one patient has; 0 where all patients are alike."""
    where: Literal["both", "one"] = "both"
    """Whether that patient's reports are long on both sides, or on one, drawn by lot."""
    times: float = 1.0
    """How many times as long the second regime's reports are."""
    reached: tuple[tuple[float, float], tuple[float, float]] = ((0.8, 0.8), (0.8, 0.8))
    """What either regime reaches, clean and attacked."""

    @property
    def is_interaction(self) -> bool:
        """Whether what is tested is the difference-in-differences, rather than the clean difference."""
        return self.reached[0][0] != self.reached[0][1]


def designs() -> Iterator[Design]:
    """List the laws: nothing differs, then a difference that is there."""
    for name, n_patients, part in product(("bleu", "f1-14-micro"), (30, 100), (0.0, 0.3)):
        yield Design(says="alike", metric=name, n_patients=n_patients, part=part)
    for part in (0.15, 0.3, 0.5):
        yield Design(says="alike, long on one side", metric="bleu", n_patients=30, part=part, where="one")
    for n_patients in (30, 200):
        yield Design(says="equal score, twice as long", metric="bleu", n_patients=n_patients, times=2)
    for n_patients, part in product((30, 100), (0.0, 0.3)):
        yield Design(
            says="no interaction",
            metric="bleu",
            n_patients=n_patients,
            part=part,
            reached=((0.9, 0.7), (0.8, 0.6)),
        )
    for part in (0.0, 0.3):
        yield Design(says="differing", metric="bleu", n_patients=30, part=part, reached=((0.85, 0.85), (0.75, 0.75)))


def words(design: Design, rng: np.random.Generator) -> NDArray[np.int64]:
    """Draw the lengths of reports, (2, n_patients): of either side."""
    drawn = np.round(rng.gamma(6, 60 / 6, design.n_patients)).clip(20, None)
    sides = np.stack([drawn, np.round(design.times * drawn)])
    if design.part:
        long = np.round(design.part / (1 - design.part) * sides[:, 1:].sum(axis=1))
        at = [0, 1] if design.where == "both" else [int(rng.integers(2))]
        sides[at, 0] = long[at]
    return sides.astype(np.int64)


def study(design: Design, rng: np.random.Generator) -> NDArray[np.float64]:
    """Draw the sums of one study, (2, n_patients, 2, n_sums): by side, patient, clean and attacked."""
    lengths = words(design, rng)[..., None].repeat(2, axis=2)
    common = rng.normal(size=(1, design.n_patients, 1))
    own = rng.normal(size=lengths.shape)
    moved = SPREAD * (np.sqrt(SHARED) * common + np.sqrt(1 - SHARED) * own)
    reached = (np.array(design.reached)[:, None] + moved).clip(0.05, 1.15)
    ones = np.ones_like(reached)
    if design.metric == "bleu":
        totals = [np.maximum(lengths - n, 1) for n in range(len(SHARE))]
        correct = [rng.binomial(total, share * reached) for total, share in zip(totals, SHARE, strict=True)]
        return np.stack([lengths, np.minimum(REFERENCE_WORDS, lengths), *correct, *totals, ones], axis=-1).astype(float)
    findings = np.maximum(lengths // 10, 1)
    right = rng.binomial(findings, 0.8 * reached)
    return np.stack([right, rng.binomial(findings, 0.2), findings - right, ones], axis=-1).astype(float)


def p_values(design: Design, one: NDArray[np.float64], draws: int, rng: np.random.Generator) -> dict[str, float]:
    """Return the p-value of a study by either test."""
    measure = metric[design.metric]
    assert isinstance(measure, Additive)
    weights = np.array([-1.0, 1.0]) if design.is_interaction else np.array([1.0, 0.0])
    each = [[measure.split(side[:, c].sum(axis=0), side[:, c]) * weights[c] for c in range(2)] for side in one]
    flipped = (sum(each[0]) - sum(each[1]))[:, None]
    return {
        "flips": float(sign_flip_p_values(flipped, n_draws=draws, rng=rng)[0]),
        "swaps": swap_p_value(
            one[0],
            one[1],
            finish=measure.finish,
            combine=lambda values: weights @ values,
            n_draws=draws,
            rng=rng,
        ),
    }


def rejections(design: Design, *, studies: int, draws: int, seed: int) -> dict[str, float]:
    """Return in which share of studies either test rejects."""
    rng = np.random.default_rng(seed)
    found = [p_values(design, study(design, rng), draws, rng) for _ in range(studies)]
    return {test: float(np.mean([one[test] <= ALPHA for one in found])) for test in ("flips", "swaps")}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--studies", type=int, default=2_000)
    parser.add_argument("--draws", type=int, default=399)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--out", type=Path, default=None)
    arguments = parser.parse_args()
    how = {"studies": arguments.studies, "draws": arguments.draws, "seed": arguments.seed}
    found = []
    for design in designs():
        found.append({**asdict(design), **rejections(design, **how)})
        print({key: found[-1][key] for key in ("says", "metric", "n_patients", "part", "flips", "swaps")})
    write(arguments.out, {**how, "designs": found}, packages=())


if __name__ == "__main__":
    main()
