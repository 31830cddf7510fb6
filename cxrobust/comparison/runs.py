"""Two runs side by side, and the paired test of new − old where both predicted the same images."""

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path, PurePath
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cxrobust.analysis import analyze
from cxrobust.analysis.families import Families, adjust
from cxrobust.conditions import parse_condition
from cxrobust.errors import CxrobustError, some
from cxrobust.files import sha256_file
from cxrobust.predictions import INDEX, PredictionSet, load_predictions
from cxrobust.progress import Reporter, silent
from cxrobust.reports.words import condition_words, counted, finding_words, metric_words
from cxrobust.results import (
    PREDICTIONS,
    RESULTS,
    Estimand,
    Estimate,
    Results,
    primary_condition,
    primary_estimand,
    read_results,
)
from cxrobust.study.analysis import AnalysisSection

OLD, NEW = "old", "new"
"""What the two runs of a regime are called where they are compared as two regimes; the old one is the reference."""
ESTIMANDS: tuple[Estimand, ...] = ("regime-reference", "difference-in-differences")


@dataclass(frozen=True, kw_only=True, slots=True)
class Run:
    """One run: its results, and its predictions where they are at hand."""

    name: str
    results: Results
    predictions: PredictionSet | None
    why_not: str
    """Why there are no predictions; empty where there are."""
    folder: Path | None = None
    """Where they are."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Paired:
    """The paired comparison of two runs on the same images."""

    estimates: tuple[Estimate, ...]
    """New − old of each metric, regime and condition (`regime-reference`), and of its change from clean
    (`difference-in-differences`); `reference` is `old`. p-values are adjusted over all regimes together."""
    why_not: str
    """Why there is no paired test; empty where there is one."""
    unchanged: tuple[str, ...]
    """Regimes of which both runs hold the same predictions, so that there is nothing to test."""
    adjustment: str
    notes: tuple[str, ...]
    """What the two runs do not share, so that it is not compared."""
    n_images: int
    n_patients: int


def names_of(old: Path, new: Path) -> tuple[str, str]:
    """Return what two runs are called: the names of their folders, with those above where they are alike.

    Examples
    --------
    >>> names_of(Path("/home/me/a"), Path("/home/me/b")), names_of(Path("/x/one/out"), Path("/x/two/out/results.json"))
    (('a', 'b'), ('one/out', 'two/out'))
    """
    before, now = (_place(path).parts for path in (old, new))
    most = max(len(before), len(now))
    n = next((n for n in range(1, most + 1) if before[-n:] != now[-n:]), 1)
    return PurePath(*before[-n:]).as_posix(), PurePath(*now[-n:]).as_posix()


def _place(path: Path) -> Path:
    """Return the folder of a run, or its file where that is called otherwise than results are."""
    found = path.resolve()
    return found.parent if found.name == RESULTS else found


def read_run(path: Path, *, name: str | None = None) -> Run:
    """Read a results file, or the folder that holds one, and the predictions beside it.

    `name` is what the run is called in place of its folder's name.

    Raises
    ------
    DataError
        When the results cannot be read.
    """
    file = path / RESULTS if path.is_dir() else path
    results = read_results(file)
    folder = file.parent / PREDICTIONS
    index = folder / INDEX
    name = name or names_of(path, path)[0]
    called = f"{name}/{PREDICTIONS}"
    if not index.exists():
        return Run(name=name, results=results, predictions=None, why_not=f"{called} holds no predictions")
    if sha256_file(index) != results.provenance.get("predictions_sha256"):
        why = f"the predictions in {called} are not those of its results"
        return Run(name=name, results=results, predictions=None, why_not=why)
    try:
        predictions = load_predictions(folder)
    except CxrobustError as error:
        why = str(error).replace(str(folder), called)
        return Run(name=name, results=results, predictions=None, why_not=why)
    return Run(name=name, results=results, predictions=predictions, why_not="", folder=folder)


def paired(old: Run, new: Run, *, report: Reporter = silent) -> Paired:
    """Test new − old of each regime that both runs have, on the same images, with patients as the sampling unit.

    The analysis is that of the new run: its operating points, tests, resamples and seed, for the metrics of both runs.
    """
    if old.predictions is None or new.predictions is None:
        return _no_test("; ".join(filter(None, (old.why_not, new.why_not))))
    before, now = old.predictions, new.predictions
    why_not = _why_not_the_same(before, now) or _why_other_files(old, new, before, now)
    if why_not:
        return _no_test(why_not)
    shared = _Shared.of(old, new)
    if not shared.regimes or not shared.metrics:
        what = "regime" if not shared.regimes else "metric"
        return _no_test(f"the two runs have no {what} in common")
    settings = _settings(new.results, shared)
    alone = settings.model_copy(update={"adjust": "none", "sensitivity_analyses": False})
    found: list[Estimate] = []
    unchanged: list[str] = []
    for done, regime in enumerate(shared.regimes):
        report("testing new against old", done, len(shared.regimes))
        joined = _joined(before, now, regime, shared)
        if _is_unchanged(joined):
            unchanged.append(regime)
            continue
        analysed = analyze(joined, alone, reference=OLD, seed=int(new.results.study["study"]["seed"]))
        found += [replace(one, regime=regime) for one in analysed.estimates if _is_wanted(one)]
    report("testing new against old", len(shared.regimes), len(shared.regimes))
    families = Families(
        declared=(),
        primary_estimand=primary_estimand(n_regimes=2, primary_condition=settings.primary_condition),
        primary_condition=settings.primary_condition,
        adjust=settings.adjust,
        alpha=settings.alpha,
    )
    bare = [replace(one, p_adjusted=None, family=None) for one in found]
    return Paired(
        estimates=adjust(bare, families, n_draws=settings.resamples),
        why_not="",
        unchanged=tuple(unchanged),
        adjustment=settings.adjust,
        notes=shared.notes,
        n_images=len(now.image_ids),
        n_patients=len(now.patient_ids),
    )


def _no_test(why: str) -> Paired:
    return Paired(estimates=(), why_not=why, unchanged=(), adjustment="", notes=(), n_images=0, n_patients=0)


def _is_unchanged(joined: PredictionSet) -> bool:
    """Whether old and new hold the same probabilities, on validation images too."""
    n_old = sum(name == OLD for name, _ in joined.members)
    parts = [joined] if joined.validation is None else [joined, joined.validation]
    return all(np.array_equal(part.probabilities[:n_old], part.probabilities[n_old:]) for part in parts)


def _is_wanted(estimate: Estimate) -> bool:
    return estimate.reference == OLD and estimate.estimand in ESTIMANDS


def _why_not_the_same(old: PredictionSet, new: PredictionSet) -> str:
    """Say why no test can pair two runs; empty where their images, patients and labels are the same."""
    gone, come = set(old.image_ids) - set(new.image_ids), set(new.image_ids) - set(old.image_ids)
    if gone or come:
        sides = ((OLD, gone), (NEW, come))
        said = [f"{len(ids):,} only in the {which} run ({some(sorted(ids))})" for which, ids in sides if ids]
        return f"the test images differ: {' and '.join(said)}"
    findings = [name for name in new.findings if name in old.findings]
    if not findings:
        return "the two runs have no finding in common"
    rows = _rows(old.image_ids, new.image_ids)
    patients = np.array(old.patient_ids)[old.patients][rows] != np.array(new.patient_ids)[new.patients]
    if patients.any():
        return f"image {new.image_ids[int(np.flatnonzero(patients)[0])]!r} is of another patient in the two runs"
    columns = old.labels[rows][:, _columns(old, findings)] != new.labels[:, _columns(new, findings)]
    if columns.any():
        row, column = (int(i) for i in np.argwhere(columns)[0])
        n_images = int(columns.any(axis=1).sum())
        return (
            f"the labels of {n_images:,} images differ ({new.image_ids[row]}: {findings[column]}, and others)"
            if n_images > 1
            else (f"the label of image {new.image_ids[row]} for {findings[column]} differs")
        )
    return ""


def _why_other_files(old: Run, new: Run, before: PredictionSet, now: PredictionSet) -> str:
    """Say that images of the same names are other files, as far as both runs read them in one order; else empty."""
    hashes = {run.results.data.get("images_sha256") for run in (old, new)}
    in_order = list(before.image_ids) == list(now.image_ids)
    return "images of the same names are other files" if in_order and None not in hashes and len(hashes) > 1 else ""


def _rows(ids: Sequence[str], wanted: Sequence[str]) -> NDArray[np.intp]:
    """Return where each wanted image stands."""
    position = {image: row for row, image in enumerate(ids)}
    return np.array([position[image] for image in wanted], dtype=np.intp)


def _columns(predictions: PredictionSet, findings: Sequence[str]) -> list[int]:
    return [predictions.findings.index(name) for name in findings]


@dataclass(frozen=True, kw_only=True, slots=True)
class _Shared:
    """What two runs have in common, in the order of the new one."""

    regimes: tuple[str, ...]
    conditions: tuple[str, ...]
    findings: tuple[str, ...]
    metrics: tuple[str, ...]
    has_validation: bool
    notes: tuple[str, ...]

    @classmethod
    def of(cls, old: Run, new: Run) -> "_Shared":
        before, now = old.predictions, new.predictions
        assert before is not None and now is not None  # noqa: S101, PT018  its caller asks
        metrics = (old.results.study["analysis"]["metrics"], new.results.study["analysis"]["metrics"])
        lists = {
            "regime": (before.regimes, now.regimes),
            "condition": (before.conditions, now.conditions),
            "finding": (before.findings, now.findings),
            "metric": tuple(map(tuple, metrics)),
        }
        notes = [
            _of_one_run(what, which, alone)
            for what, (first, second) in lists.items()
            for which, mine, theirs in ((OLD, first, second), (NEW, second, first))
            if (alone := [one for one in mine if one not in theirs])
        ]
        common = {what: tuple(one for one in second if one in first) for what, (first, second) in lists.items()}
        has_validation, note = _on_validation(before, now)
        return cls(
            regimes=common["regime"],
            conditions=common["condition"],
            findings=common["finding"],
            metrics=common["metric"],
            has_validation=has_validation,
            notes=(*notes, *note),
        )


def _of_one_run(what: str, which: str, names: Sequence[str]) -> str:
    """Name what only one run has: `2 conditions of the new run alone (FGSM, ε = 1/255; Gaussian blur, severity 1)`."""
    if what == "condition":
        told = "; ".join(_series_words(names))
    else:
        words: Mapping[str, Callable[[str], str]] = {
            "regime": str,
            "finding": finding_words,
            "metric": lambda name: metric_words(name).name,
        }
        told = ", ".join(map(words[what], names))
    return f"{counted(len(names), what)} of the {which} run alone ({told})"


def _series_words(conditions: Sequence[str]) -> list[str]:
    """Write conditions, those that differ in strength alone as one: `Gaussian blur at 5 strengths`."""
    series: dict[str, list[str]] = {}
    for name in conditions:
        series.setdefault(parse_condition(name).series, []).append(name)
    return [
        condition_words(some[0]) if len(some) == 1 else f"{condition_words(name)} at {counted(len(some), 'strength')}"
        for name, some in series.items()
    ]


def _on_validation(old: PredictionSet, new: PredictionSet) -> tuple[bool, list[str]]:
    """Say whether both runs choose operating points on the same validation images, or what is done instead."""
    first, second = old.validation, new.validation
    if first is None and second is None:
        return False, []
    if first is not None and second is not None and not _why_not_the_same(first, second):
        return True, []
    return False, ["their validation images differ, so that operating points are chosen on the test images here"]


def _settings(results: Results, shared: _Shared) -> AnalysisSection:
    """Return how the new run was analysed, without what names regimes or subgroups of its own."""
    content = results.study["analysis"]
    read = AnalysisSection.model_validate_json(json.dumps(content))
    named = results.primary_condition if results.primary_condition in shared.conditions else None
    return read.model_copy(
        update={
            "metrics": shared.metrics,
            "sets": {name: some for name, some in read.sets.items() if set(some) <= set(shared.conditions)},
            "primary_condition": primary_condition(named, shared.conditions),
            "families": (),
            "subgroups": (),
            "recalibrate": (),
            "effect_sizes": (),
            "device": "cpu",
            "adjust": "holm" if read.adjust == "max-t" else read.adjust,
        }
    )


def _joined(old: PredictionSet, new: PredictionSet, regime: str, shared: _Shared) -> PredictionSet:
    """Return one regime's predictions of both runs as two regimes, `old` and `new`, on the images of the new run."""
    validation = None
    if shared.has_validation and old.validation is not None and new.validation is not None:
        validation = _stacked(old.validation, new.validation, regime, shared, ("clean",))
    return replace(_stacked(old, new, regime, shared, shared.conditions), validation=validation)


def _stacked(
    old: PredictionSet, new: PredictionSet, regime: str, shared: _Shared, conditions: tuple[str, ...]
) -> PredictionSet:
    rows = _rows(old.image_ids, new.image_ids)
    first = list(_of_regime(old, regime, shared.findings, conditions, rows))
    second = list(_of_regime(new, regime, shared.findings, conditions, np.arange(len(new.image_ids))))
    members = [(OLD, replicate) for replicate, _ in first] + [(NEW, replicate) for replicate, _ in second]
    return replace(
        new,
        findings=shared.findings,
        labels=np.ascontiguousarray(new.labels[:, _columns(new, shared.findings)]),
        members=tuple(members),
        conditions=conditions,
        probabilities=np.stack([values for _, values in (*first, *second)]),
        references=new.references,
        **_written(old, new, regime, conditions, rows),
        validation=None,
    )


def _written(
    old: PredictionSet, new: PredictionSet, regime: str, conditions: Sequence[str], rows: NDArray[np.intp]
) -> dict[str, Any]:
    """Return what a generator wrote in both runs, and its scores, as fields of the joined predictions."""

    def stacked(first: NDArray[Any] | None, second: NDArray[Any] | None) -> NDArray[Any] | None:
        if first is None or second is None:
            return None
        parts = []
        for one, values, places in ((old, first, rows), (new, second, np.arange(len(new.image_ids)))):
            of_regime = [row for row, (member, _) in enumerate(one.members) if member == regime]
            cells = [one.conditions.index(condition) for condition in conditions]
            parts.append(values[np.ix_(np.array(of_regime), np.array(cells), places)])
        return np.concatenate(parts)

    scores = {name: stacked(old.scores[name], new.scores[name]) for name in old.scores if name in new.scores}
    return {
        "reports": stacked(old.reports, new.reports),
        "log_probabilities": stacked(old.log_probabilities, new.log_probabilities),
        "scores": {name: values for name, values in scores.items() if values is not None},
        "unread": {
            (which, replicate, condition): {fault: images[places] for fault, images in own.items()}
            for which, one, places in ((OLD, old, rows), (NEW, new, np.arange(len(new.image_ids))))
            for (name, replicate, condition), own in one.unread.items()
            if name == regime and condition in conditions
        },
    }


def _of_regime(
    predictions: PredictionSet,
    regime: str,
    findings: Sequence[str],
    conditions: Sequence[str],
    rows: NDArray[np.intp],
) -> Iterator[tuple[int, NDArray[np.float64]]]:
    """Yield each training run's number and its probabilities, (n_conditions, n_images, n_findings)."""
    places = np.array([predictions.conditions.index(name) for name in conditions])
    cells = np.ix_(places, rows, np.array(_columns(predictions, findings)))
    for (name, replicate), values in zip(predictions.members, predictions.probabilities, strict=True):
        if name == regime:
            yield replicate, values[cells]
