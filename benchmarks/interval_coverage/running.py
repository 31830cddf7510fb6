"""Simulate studies and count: how often an interval holds the truth, how often a test rejects a null that is true."""

import json
import os
import platform
import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass, field
from importlib.metadata import version
from multiprocessing import get_context
from pathlib import Path
from typing import Any, Literal

import numpy as np
from adapter import (
    ZERO_ON_CLEAN,
    Contrast,
    Ends,
    PValue,
    check_against_analyze,
    fits,
    judge,
    settings_of,
    study_contrasts,
    true_value,
)
from numpy.typing import NDArray
from scenarios import (
    CLEAN,
    CONDITIONS,
    NOISE,
    OF_PAIRS,
    PGD,
    POPULATION,
    REGIMES,
    TWINS,
    Scenario,
    simulate,
    truths,
)

from cxrobust.analysis import parallel
from cxrobust.files import atomic_write_text, sha256_file, sha256_json

SIMULATING = ("adapter", "procedures", "running", "scenarios", "whole_studies", "whole_truths")
"""Modules beside this one that counts depend on."""
METRICS = (
    "auroc",
    "average-precision",
    "accuracy",
    "sensitivity",
    "specificity",
    "balanced-accuracy",
    "ppv",
    "npv",
    "f1",
    "matthews",
    "confidence",
    "confidence-right",
    "confidence-wrong",
    "confidence-shift",
    "over-confidence",
    "entropy",
    "ece",
    "ece-equal-mass",
    "ece-top-label",
    "ece-top-label-equal-mass",
    "ece-smooth",
    "ace",
    "mce",
    "ece-debiased",
    "brier",
    "brier-reliability",
    "brier-resolution",
    "brier-uncertainty",
    "log-loss",
    "calibration-slope",
    "calibration-intercept",
    "robust-accuracy",
    "flip-rate",
    "attack-success",
    "aurc",
    "coverage-at-risk-5",
)
"""All of the package, in the order of docs/statistics.md."""
ALPHA = 0.05
NULL = 1e-12
"""A contrast of true values below this is 0."""
PLACES = (
    ("value", CLEAN),
    ("value", PGD),
    ("perturbed-clean", NOISE),
    ("perturbed-clean", PGD),
    ("regime-reference", CLEAN),
    ("regime-reference", PGD),
    ("difference-in-differences", NOISE),
    ("difference-in-differences", PGD),
)
"""Estimand and condition of what is judged; a row of counts begins with its index."""
INTERVAL_ROW = ("place", "none", "below", "above", "mean_width")
"""Of the studies, so many had no interval, and in so many the truth lay `below` or `above` it."""
TEST_ROW = ("place", "none", "rejected")


Part = Literal["usual", "margins", "twins", "corrected", "nulls"]
"""What of a study is judged: intervals and tests of nulls; tests against a margin; tests of nulls between twins; of the
first the interval `t-corrected` alone, or the tests alone."""
PARTS: tuple[Part, ...] = ("usual", "margins", "twins")
OF_MARGINS = 128
"""Resamples where margins alone are judged, whose tests take none."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Plan:
    """What is simulated of one scenario, and how it is judged."""

    scenario: Scenario
    seed: int
    resamples: int
    truth: Mapping[str, NDArray[np.float64]]
    """(n_regimes, n_conditions) for each metric."""
    parts: tuple[Part, ...] = PARTS

    def true_value(self, name: str, contrast: Contrast) -> float:
        """Return the true value of a metric's contrast."""
        return true_value(contrast, self.truth[name])

    def estimated(self) -> dict[str, list[Contrast]]:
        """Return for each metric the contrasts whose intervals are judged."""
        if not {"usual", "corrected"} & set(self.parts):
            return {name: [] for name in self.truth}
        return {name: [one for one in self._contrasts(name) if _is_judged(name, one)] for name in self.truth}

    def tested(self) -> dict[str, list[Contrast]]:
        """Return for each metric the contrasts that are 0 in truth, values apart."""
        if not {"usual", "nulls"} & set(self.parts):
            return {name: [] for name in self.truth}
        return {
            name: [one for one in self._differences(name) if abs(self.true_value(name, one)) < NULL]
            for name in self.truth
        }

    def margins(self) -> dict[str, dict[Contrast, float]]:
        """Return for each metric the contrasts that are not 0 in truth, with what they are."""
        if "margins" not in self.parts:
            return {}
        return {
            name: {
                one: self.true_value(name, one)
                for one in self._differences(name)
                if abs(self.true_value(name, one)) >= NULL and _is_judged(name, one)
            }
            for name in self.truth
        }

    def of_twins(self) -> dict[str, list[Contrast]]:
        """Return for each metric of pairs what compares two regimes and is not 0 in truth but between twins."""
        return {
            name: [
                one
                for one in self._differences(name)
                if one.estimand != "perturbed-clean" and abs(self.true_value(name, one)) >= NULL
            ]
            for name in self.truth
            if name in OF_PAIRS and "twins" in self.parts
        }

    def _contrasts(self, name: str) -> list[Contrast]:
        every = study_contrasts(REGIMES, CONDITIONS)
        return [one for one in every if fits(name, one) and (one.estimand, one.condition) in PLACES]

    def _differences(self, name: str) -> list[Contrast]:
        return [one for one in self._contrasts(name) if one.estimand != "value"]


def _is_judged(name: str, contrast: Contrast) -> bool:
    """Whether a contrast's interval is judged: values, differences that are not 0, and interactions."""
    if contrast.estimand == "regime-reference":
        return contrast.condition == (PGD if name in ZERO_ON_CLEAN else CLEAN)
    return (contrast.estimand, contrast.condition) != ("perturbed-clean", NOISE)


Key = tuple[str, str, int]
"""Metric, interval or test, and place."""


@dataclass(kw_only=True, slots=True)
class Tally:
    """Counts over simulated studies."""

    intervals: dict[Key, NDArray[np.float64]] = field(default_factory=dict)
    """none, below, above, sum of widths."""
    tests: dict[Key, NDArray[np.float64]] = field(default_factory=dict)
    """none, rejected."""
    totals: NDArray[np.float64] = field(default_factory=lambda: np.zeros(4))
    """Studies, images, positive images, positive patients."""
    seconds: float = 0.0
    """Of a core."""

    def add(self, other: "Tally") -> None:
        """Add the counts of other studies."""
        for own, more in ((self.intervals, other.intervals), (self.tests, other.tests)):
            for key, counts in more.items():
                own[key] = own[key] + counts if key in own else counts
        self.totals = self.totals + other.totals
        self.seconds += other.seconds


def run(
    scenarios: Sequence[Scenario],
    out: Path,
    *,
    metrics: Sequence[str],
    repetitions: Mapping[int, int],
    resamples: int,
    seed: int,
    workers: int,
) -> Mapping[str, Any]:
    """Simulate what `out` lacks of each scenario and metric, adding each scenario as soon as it is done.

    A study's random numbers depend on its scenario and number alone, so metrics that are added later are of the same
    studies, and more studies go on where the file ends.

    Parameters
    ----------
    repetitions
        Simulated studies by number of patients.

    Raises
    ------
    SystemExit
        When `out` was made with another seed or number of resamples, or by other code.
    """
    settings = {"seed": seed, "resamples": resamples, "population": POPULATION}
    content = _begun(out, settings)
    known: dict[tuple[float, tuple[str, ...]], Mapping[str, NDArray[np.float64]]] = {}
    with ProcessPoolExecutor(workers, mp_context=get_context("spawn"), initializer=one_core) as pool:
        for number, scenario in enumerate(scenarios, 1):
            said = f"{number}/{len(scenarios)} {scenario}"
            wanted = repetitions[scenario.n_patients]
            for done, names in _lacking(content, scenario, metrics, wanted):
                if (scenario.prevalence, names) not in known:
                    known[scenario.prevalence, names] = truths(scenario.prevalence, names)
                truth = known[scenario.prevalence, names]
                if not truth:
                    continue
                plan = Plan(scenario=scenario, seed=seed, resamples=resamples, truth=truth)
                begun, tally = time.perf_counter(), Tally()
                for part in pool.map(simulated, *_parts(plan, done, wanted, workers)):
                    tally.add(part)
                _merge(content, plan, tally, done)
                atomic_write_text(out, as_text(content))
                print(
                    f"{said}: {len(truth)} metrics, {tally.totals[0]:.0f} studies in "
                    f"{time.perf_counter() - begun:.0f} s, {tally.seconds / tally.totals[0]:.2f} s of one core each",
                    flush=True,
                )
    return content


def one_core() -> None:
    """Keep the analysis to one core: there are as many studies at a time as there are cores."""
    parallel.CORES = 1


def simulated(plan: Plan, first: int, last: int) -> Tally:
    """Simulate and judge the repetitions from `first` up to `last`."""
    begun = time.process_time()
    tally, estimated, tested, margins = Tally(), plan.estimated(), plan.tested(), plan.margins()
    resamples = OF_MARGINS if plan.parts == ("margins",) else plan.resamples
    settings = settings_of(tuple(plan.truth), threshold=plan.scenario.prevalence, resamples=resamples)
    for repetition in range(first, last):
        rng = plan.scenario.rng(plan.seed, repetition)
        predictions = simulate(plan.scenario, rng)
        seed = int(rng.integers(2**31))
        if repetition == 0 and "usual" in plan.parts:
            check_against_analyze(predictions, settings, seed=seed)
        intervals: list[Ends] = []
        tests = _tests_of_twins(plan, repetition)
        if plan.parts != ("twins",):
            intervals, of_usual = judge(
                predictions,
                settings,
                estimated=estimated,
                tested=tested,
                margins=margins,
                seed=seed,
                methods=("t-corrected",) if "corrected" in plan.parts else None,
            )
            tests = [*of_usual, *tests]
        one = Tally()
        for i in intervals:
            key = (i.metric, i.method, PLACES.index((i.contrast.estimand, i.contrast.condition)))
            truth, none = plan.true_value(i.metric, i.contrast), np.isnan(i.low)
            one.intervals[key] = np.array([none, truth < i.low, truth > i.high, 0.0 if none else i.high - i.low])
        for t in tests:
            key = (t.metric, t.test, PLACES.index((t.contrast.estimand, t.contrast.condition)))
            one.tests[key] = np.array([np.isnan(t.p_value), t.p_value <= ALPHA], dtype=np.float64)
        positive = predictions.labels[:, 0] == 1
        n_patients = len(np.unique(predictions.patients[positive]))
        one.totals = np.array([1.0, len(positive), positive.sum(), n_patients])
        tally.add(one)
    tally.seconds = time.process_time() - begun
    return tally


def _tests_of_twins(plan: Plan, repetition: int) -> list[PValue]:
    """Return the tests of what compares two regimes of one law, of metrics that have no other true null."""
    wanted = plan.of_twins()
    if not any(wanted.values()):
        return []
    rng = plan.scenario.rng(plan.seed, repetition, of_twins=True)
    predictions = simulate(plan.scenario, rng, TWINS)
    settings = settings_of(tuple(wanted), threshold=plan.scenario.prevalence, resamples=plan.resamples)
    nothing: dict[str, list[Contrast]] = {name: [] for name in wanted}
    seed = int(rng.integers(2**31))
    return judge(predictions, settings, estimated=nothing, tested=wanted, margins={}, seed=seed)[1]


def recount(out: Path, part: Part, *, metrics: Sequence[str], scenarios: Sequence[Scenario], workers: int) -> None:
    """Judge one part of the studies that `out` counts anew, and put its counts in the place of those that are there.

    For when the code of that part has changed, and the rest has not.
    """
    content: dict[str, Any] = json.loads(out.read_text(encoding="utf-8"))
    seed, resamples = content["settings"]["seed"], content["settings"]["resamples"]
    with ProcessPoolExecutor(workers, mp_context=get_context("spawn"), initializer=one_core) as pool:
        for scenario in scenarios:
            there = content["scenarios"].get(str(scenario), {"metrics": {}})["metrics"]
            for n in sorted({there[name]["studies"] for name in metrics if name in there}):
                names = tuple(name for name in metrics if name in there and there[name]["studies"] == n)
                truth = {name: np.array(content["truth"][f"{scenario.prevalence:g}"][name]) for name in names}
                plan = Plan(scenario=scenario, seed=seed, resamples=resamples, truth=truth, parts=(part,))
                begun, tally = time.perf_counter(), Tally()
                for one in pool.map(simulated, *_parts(plan, 0, n, workers)):
                    tally.add(one)
                for name in names:
                    for kind, counts in (("intervals", tally.intervals), ("tests", tally.tests)):
                        found = {key[1:]: row for key, row in counts.items() if key[0] == name}
                        for method in {method for method, _ in found}:
                            there[name][kind].pop(method, None)
                        _add_rows(there[name][kind], found, 0, n)
                content["made_with"] = made_with()
                atomic_write_text(out, as_text(content))
                print(f"{scenario}: {part} of {len(names)} metrics, {n} studies in "
                      f"{time.perf_counter() - begun:.0f} s, {tally.seconds:.0f} s of cores", flush=True)  # fmt: skip


def _lacking(
    content: Mapping[str, Any], scenario: Scenario, metrics: Sequence[str], wanted: int
) -> Iterator[tuple[int, tuple[str, ...]]]:
    """Return how many studies there are of which metrics, where they are fewer than wanted."""
    there = content["scenarios"].get(str(scenario), {"metrics": {}})["metrics"]
    n = {name: there.get(name, {"studies": 0})["studies"] for name in metrics}
    for done in sorted({some for some in n.values() if some < wanted}):
        yield done, tuple(name for name, some in n.items() if some == done)


def _parts(plan: Plan, done: int, wanted: int, workers: int) -> tuple[list[Plan], list[int], list[int]]:
    """Return the arguments of `simulated` for parts of the repetitions, some for each worker."""
    ends = np.linspace(done, wanted, min(wanted - done, 4 * workers) + 1).astype(int).tolist()
    return [plan] * (len(ends) - 1), ends[:-1], ends[1:]


def _begun(out: Path, settings: Mapping[str, Any]) -> dict[str, Any]:
    if not out.exists():
        return {
            "settings": dict(settings),
            "made_with": made_with(),
            "places": [list(one) for one in PLACES],
            "interval_row": list(INTERVAL_ROW),
            "test_row": list(TEST_ROW),
            "truth": {},
            "scenarios": {},
        }
    content: dict[str, Any] = json.loads(out.read_text(encoding="utf-8"))
    if content["settings"] != settings:
        raise SystemExit(f"{out} was made with {content['settings']}, not {dict(settings)}: name another file")
    if content["made_with"].get("source") != made_with()["source"]:
        raise SystemExit(f"{out} was counted by other code than this: name another file, or recount its parts")
    return content


def made_with() -> dict[str, str]:
    """Return what counts are made with: versions, a hash of the source of analysis and simulation, and the machine."""
    here = Path(__file__).parent
    sources = (*Path(parallel.__file__).parent.rglob("*.py"), *(here / f"{name}.py" for name in SIMULATING))
    versions = {name: version(name) for name in ("cxrobust", "numpy", "scipy", "numba")}
    return {
        **versions,
        "source": sha256_json(sorted(sha256_file(one) for one in sources)),
        "python": platform.python_version(),
        "machine": platform.machine(),
        "cores": str(os.cpu_count()),
    }


def _merge(content: dict[str, Any], plan: Plan, tally: Tally, done: int) -> None:
    """Add the counts of studies from number `done` on to what there is of the same metrics."""
    scenario = content["scenarios"].setdefault(
        str(plan.scenario),
        {**asdict(plan.scenario), "core_seconds": 0.0, "studies": 0, "sums": [0, 0, 0], "metrics": {}},
    )
    n = int(tally.totals[0])
    scenario["core_seconds"] = round(scenario["core_seconds"] + tally.seconds, 1)
    if scenario["studies"] == done:  # of studies that are there already, images are counted already
        scenario["studies"] += n
        scenario["sums"] = [a + int(b) for a, b in zip(scenario["sums"], tally.totals[1:], strict=True)]
    for name, truth in plan.truth.items():
        at = content["truth"].setdefault(f"{plan.scenario.prevalence:g}", {})
        at[name] = [[float(f"{value:.9g}") for value in row] for row in truth]
        record = scenario["metrics"].setdefault(name, {"studies": 0, "intervals": {}, "tests": {}})
        for kind, counts in (("intervals", tally.intervals), ("tests", tally.tests)):
            _add_rows(
                record[kind], {key[1:]: row for key, row in counts.items() if key[0] == name}, record["studies"], n
            )
        record["studies"] += n


def _add_rows(
    into: dict[str, list[list[Any]]], counts: Mapping[tuple[str, int], NDArray[np.float64]], n_before: int, n: int
) -> None:
    """Add counts to the rows of each method; the last of four is a sum of widths and becomes their mean."""
    for (method, place), row in sorted(counts.items()):
        rows = into.setdefault(method, [])
        before = next((one for one in rows if one[0] == place), None)
        whole = [int(count) for count in row[: min(len(row), 3)]]
        if before is not None:
            whole = [a + b for a, b in zip(before[1:], whole, strict=False)]
            rows.remove(before)
        width = []
        if len(row) > 3:
            widths = float(row[3]) + (before[4] * (n_before - before[1]) if before else 0.0)
            width = [float(f"{widths / max(n_before + n - whole[0], 1):.4g}")]
        rows.append([place, *whole, *width])
        rows.sort(key=lambda one: one[0])


def as_text(content: Mapping[str, Any]) -> str:
    """Return the content as JSON with a line for each metric of each scenario."""

    def short(value: Any) -> str:
        return json.dumps(value, separators=(",", ":"))

    lines = [f'"{key}":{short(value)}' for key, value in content.items() if key != "scenarios"]
    scenarios = []
    for name, scenario in content["scenarios"].items():
        about = short({key: value for key, value in scenario.items() if key != "metrics"})
        of_metrics = ",\n".join(f'"{one}":{short(record)}' for one, record in scenario["metrics"].items())
        scenarios.append(f'"{name}":{about[:-1]},"metrics":{{\n{of_metrics}}}}}')
    return "{" + ",\n".join([*lines, '"scenarios":{' + ",\n".join(scenarios) + "}"]) + "}\n"
