"""Simulate studies and count: how often an interval holds the truth, how often a test rejects a null that is true."""

import json
import os
import platform
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass, field
from importlib.metadata import version
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
from adapter import Contrast, check_against_analyze, fits, judge, settings_of, study_contrasts, true_value
from numpy.typing import NDArray
from scenarios import CLEAN, CONDITIONS, PGD, POPULATION, REGIMES, Scenario, simulate, truths

from cxrobust.files import atomic_write_text

METRICS = (
    "auroc",
    "average-precision",
    "accuracy",
    "sensitivity",
    "confidence",
    "ece",
    "ece-debiased",
    "brier",
    "log-loss",
    "calibration-slope",
    "flip-rate",
    "aurc",
)
ALPHA = 0.05
NULL = 1e-12
"""A contrast of true values below this is 0."""
INTERVAL_COLUMNS = ("metric", "estimand", "condition", "method", "n", "none", "below", "above", "mean_width")
"""`n` intervals, of which `none` could not be given, and the truth lay `below` or `above` so many."""
TEST_COLUMNS = ("metric", "estimand", "condition", "test", "n", "none", "rejected")


@dataclass(frozen=True, kw_only=True, slots=True)
class Plan:
    """What is simulated of one scenario, and how it is judged."""

    scenario: Scenario
    seed: int
    resamples: int
    truth: Mapping[str, NDArray[np.float64]]
    """(n_regimes, n_conditions) for each metric."""

    def true_value(self, name: str, contrast: Contrast) -> float:
        """Return the true value of a metric's contrast."""
        return true_value(contrast, self.truth[name])

    def estimated(self) -> dict[str, list[Contrast]]:
        """Return for each metric the contrasts whose intervals are judged."""
        return {name: [one for one in self._contrasts(name) if _is_judged(one)] for name in self.truth}

    def tested(self) -> dict[str, list[Contrast]]:
        """Return for each metric the contrasts that are 0 in truth, values apart."""
        return {
            name: [
                one
                for one in self._contrasts(name)
                if one.estimand != "value" and abs(self.true_value(name, one)) < NULL
            ]
            for name in self.truth
        }

    def _contrasts(self, name: str) -> list[Contrast]:
        return [one for one in study_contrasts(REGIMES, CONDITIONS) if fits(name, one)]


def _is_judged(contrast: Contrast) -> bool:
    """Whether a contrast's interval is judged: values, differences that are not 0, and interactions."""
    if contrast.estimand == "difference-in-differences":
        return True
    return (
        contrast.condition
        in {"value": (CLEAN, PGD), "perturbed-clean": (PGD,), "regime-reference": (CLEAN,)}[contrast.estimand]
    )


Key = tuple[str, str, str, str]
"""Metric, estimand, condition, and interval or test."""


@dataclass(kw_only=True, slots=True)
class Tally:
    """Counts over simulated studies."""

    intervals: dict[Key, NDArray[np.float64]] = field(default_factory=dict)
    """n, none, below, above, sum of widths."""
    tests: dict[Key, NDArray[np.float64]] = field(default_factory=dict)
    """n, none, rejected."""
    totals: NDArray[np.float64] = field(default_factory=lambda: np.zeros(4))
    """Studies, images, positive images, positive patients."""

    def add(self, other: "Tally") -> None:
        """Add the counts of other studies."""
        for own, more in ((self.intervals, other.intervals), (self.tests, other.tests)):
            for key, counts in more.items():
                own[key] = own[key] + counts if key in own else counts
        self.totals = self.totals + other.totals


def run(
    scenarios: Sequence[Scenario],
    out: Path,
    *,
    repetitions: Mapping[int, int],
    resamples: int,
    seed: int,
    workers: int,
) -> Mapping[str, Any]:
    """Simulate the scenarios that are not in `out` yet, adding each as soon as it is done.

    Parameters
    ----------
    repetitions
        Simulated studies by number of patients.

    Raises
    ------
    SystemExit
        When `out` was made with another seed or number of resamples.
    """
    settings = {"seed": seed, "resamples": resamples, "population": POPULATION}
    content = _begun(out, settings)
    known: dict[float, Mapping[str, NDArray[np.float64]]] = {}
    with ProcessPoolExecutor(workers, mp_context=get_context("spawn")) as pool:
        for number, scenario in enumerate(scenarios, 1):
            if str(scenario) in content["scenarios"]:
                print(f"{number}/{len(scenarios)} {scenario}: there already", flush=True)
                continue
            if scenario.prevalence not in known:
                known[scenario.prevalence] = truths(scenario.prevalence, METRICS)
            plan = Plan(scenario=scenario, seed=seed, resamples=resamples, truth=known[scenario.prevalence])
            begun = time.perf_counter()
            tally, seconds = Tally(), 0.0
            for part, spent in pool.map(simulated, *_parts(plan, repetitions[scenario.n_patients], workers)):
                tally.add(part)
                seconds += spent
            content["scenarios"][str(scenario)] = _record(plan, tally, seconds)
            atomic_write_text(out, json.dumps(content) + "\n")
            print(
                f"{number}/{len(scenarios)} {scenario}: {tally.totals[0]:.0f} studies in "
                f"{time.perf_counter() - begun:.0f} s, {seconds / tally.totals[0]:.2f} s of one core each",
                flush=True,
            )
    return content


def simulated(plan: Plan, first: int, last: int) -> tuple[Tally, float]:
    """Simulate and judge the repetitions from `first` up to `last`; also how many seconds of a core that took."""
    begun = time.process_time()
    tally, estimated, tested = Tally(), plan.estimated(), plan.tested()
    settings = settings_of(METRICS, threshold=plan.scenario.prevalence, resamples=plan.resamples)
    for repetition in range(first, last):
        rng = plan.scenario.rng(plan.seed, repetition)
        predictions = simulate(plan.scenario, rng)
        seed = int(rng.integers(2**31))
        if repetition == 0:
            check_against_analyze(predictions, settings, seed=seed)
        intervals, tests = judge(predictions, settings, estimated=estimated, tested=tested, seed=seed)
        one = Tally()
        for i in intervals:
            key = (i.metric, i.contrast.estimand, i.contrast.condition, i.method)
            truth, none = plan.true_value(i.metric, i.contrast), np.isnan(i.low)
            width = 0.0 if none else i.high - i.low
            one.intervals[key] = np.array([1.0, none, truth < i.low, truth > i.high, width])
        for t in tests:
            key = (t.metric, t.contrast.estimand, t.contrast.condition, t.test)
            one.tests[key] = np.array([1.0, np.isnan(t.p_value), t.p_value <= ALPHA])
        positive = predictions.labels[:, 0] == 1
        n_patients = len(np.unique(predictions.patients[positive]))
        one.totals = np.array([1.0, len(positive), positive.sum(), n_patients])
        tally.add(one)
    return tally, time.process_time() - begun


def _parts(plan: Plan, repetitions: int, workers: int) -> tuple[list[Plan], list[int], list[int]]:
    """Return the arguments of `simulated` for parts of the repetitions, some for each worker."""
    ends = np.linspace(0, repetitions, min(repetitions, 4 * workers) + 1).astype(int).tolist()
    return [plan] * (len(ends) - 1), ends[:-1], ends[1:]


def _begun(out: Path, settings: Mapping[str, Any]) -> dict[str, Any]:
    made_with = {name: version(name) for name in ("cxrobust", "numpy", "scipy", "numba")}
    made_with |= {"python": platform.python_version(), "machine": platform.machine(), "cores": str(os.cpu_count())}
    if not out.exists():
        return {
            "settings": dict(settings),
            "made_with": made_with,
            "truth": "flip-rate: closed form; others: on a population at equally spaced quantiles",
            "interval_columns": INTERVAL_COLUMNS,
            "test_columns": TEST_COLUMNS,
            "scenarios": {},
        }
    content: dict[str, Any] = json.loads(out.read_text(encoding="utf-8"))
    if content["settings"] != settings:
        raise SystemExit(f"{out} was made with {content['settings']}, not {dict(settings)}: name another file")
    return content


def _record(plan: Plan, tally: Tally, seconds: float) -> dict[str, Any]:
    n, images, positives, positive_patients = tally.totals
    return {
        **asdict(plan.scenario),
        "repetitions": int(n),
        "core_seconds": round(seconds, 1),
        "mean_images": images / n,
        "mean_positive_images": positives / n,
        "mean_positive_patients": positive_patients / n,
        "truth": {name: values.tolist() for name, values in plan.truth.items()},
        "intervals": [
            [*key, *(int(c) for c in counts[:4]), float(f"{counts[4] / max(counts[0] - counts[1], 1):.6g}")]
            for key, counts in sorted(tally.intervals.items())
        ],
        "tests": [[*key, *(int(c) for c in counts)] for key, counts in sorted(tally.tests.items())],
    }
