"""Registering a study, and what a run changed, added or left out since."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import numpy as np

from cxrobust import __version__
from cxrobust.analysis.contrasts import contrasts, curves
from cxrobust.analysis.effects import METRIC_OF
from cxrobust.analysis.subgroups import column_of
from cxrobust.analysis.testing import COCHRAN
from cxrobust.errors import DataError, StudyError
from cxrobust.files import merged_hashes, sha256_bytes
from cxrobust.inference.elsewhere import Elsewhere
from cxrobust.registration import Registration, frozen_hash, refuse_to_replace, write_registration
from cxrobust.results import (
    ALL_REGIMES,
    MACRO,
    MICRO,
    OTHERS,
    REPORT,
    WORST,
    Estimate,
    primary_condition,
    primary_estimand,
)
from cxrobust.study import Study

AVERAGES = (MACRO, MICRO, WORST, OTHERS)


def register(study: Study, path: Path, *, now: datetime) -> Registration:
    """Freeze a study's plan in a file, dated `now`.

    Raises
    ------
    StudyError
        When there is such a file already, or the study asks for findings that its data do not have.
    """
    refuse_to_replace(path)
    content: dict[str, Any] = {
        "date": now.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
        "cxrobust": __version__,
        "study": study.path.name,
        "study_sha256": sha256_bytes(study.text.encode()),
        "plan": plan_of(study),
        "inputs": _inputs(study),
    }
    made = Registration(**content, sha256=frozen_hash(content))
    write_registration(made, path)
    return made


def plan_of(study: Study) -> dict[str, Any]:
    """Return all that determines a study's predictions and estimates, defaults filled in, as JSON values."""
    settings = study.settings()
    analysis = settings["analysis"]
    conditions = study.all_conditions
    names = tuple(dict.fromkeys(regime.name for regime in study.regimes))
    possible = contrasts(
        names, conditions, reference=study.study.reference, sets=tuple(analysis["sets"]), chances=np.zeros(1)
    )
    estimands = dict.fromkeys(one.estimand for one in possible)
    tests = {study.analysis.of(name).test for name in study.analysis.metrics}
    in_pairs = COCHRAN in tests and len(names) == len(study.regimes)  # several training runs have no one outcome
    primary = primary_condition(study.analysis.primary_condition, conditions)
    return {
        "study": {name: settings["study"][name] for name in ("title", "question", "reference", "seed")},
        "data": settings["data"],
        "regimes": {
            _numbered(one): {**one, **_model(regime)}
            for one, regime in zip(settings["regimes"], study.regimes, strict=True)
        },
        "conditions": list(conditions),
        **study.unnamed,
        "estimands": [
            *estimands,
            *(["recalibrated-raw"] if analysis["recalibrate"] else []),
            *([ALL_REGIMES] if in_pairs else []),
        ],
        "primary": {
            "estimand": primary_estimand(n_regimes=len(names), primary_condition=primary),
            "condition": primary,
            "finding": MACRO,
        },
        "analysis": {
            **{key: value for key, value in analysis.items() if key not in {"device", "primary_condition"}},
            "families": {one["name"]: one for one in analysis["families"]},
            "subgroups": {one["column"]: one for one in analysis["subgroups"]},
        },
        "scores": settings.get("scores", {}),
        **{name: settings["compute"][name] for name in ("precision", "compile", "on_error")},
    }


def _numbered(regime: Mapping[str, Any]) -> str:
    return f"{regime['name']}, training run {regime['replicate'] + 1}" if regime.get("replicate") else regime["name"]


def _model(regime: Any) -> dict[str, str]:
    """Return a regime's model as the study file names it, whether or not its folder is there yet."""
    named = getattr(regime, "model", None)
    return {"model": named} if isinstance(named, str) else {}


def _inputs(study: Study) -> dict[str, Any]:
    """Return the hashes of label and model files, as far as the files are there."""
    data: dict[str, str] = {}
    regimes: dict[str, dict[str, str]] = {}
    unknown: list[str] = []
    for part in (study.data, study.validation):
        try:
            if part is not None:
                listed = part.without_headers()
                table = listed.table(with_images=False, needs_references=part is study.data)
                data = merged_hashes([data, table.sources])
        except StudyError as error:
            raise study.error(("data",), str(error)) from error
        except DataError:
            unknown.append("data")
    for regime in study.regimes:
        try:
            regimes[regime.name] = merged_hashes([regimes.get(regime.name, {}), _fingerprint(regime)])
        except DataError:
            unknown.append(regime.name)
    return {"data": data, "regimes": regimes, "unknown": list(dict.fromkeys(unknown))}


def _fingerprint(regime: Any) -> dict[str, str]:
    if isinstance(regime, Elsewhere):
        return merged_hashes(map(regime.fingerprint, regime.own_conditions))
    if regime.cross_fit is not None:
        raise DataError(f"regime {regime.name!r}: its folds are known once the data are read")
    return dict(regime.fingerprint())


@dataclass(frozen=True, kw_only=True, slots=True)
class Deviation:
    """One thing that a run did otherwise than planned."""

    kind: Literal["changed", "added", "left out"]
    key: str
    """Of the plan: `analysis.level`; of a list its member too: `analysis.metrics: mce`."""
    planned: Any
    """None where it was added."""
    run: Any
    """None where it was left out."""


def deviations(planned: Mapping[str, Any], run: Mapping[str, Any]) -> tuple[Deviation, ...]:
    """Return in which keys the plan of a run differs from the one registered; the order of names in a list is none."""
    return tuple(_deviations(dict(planned), dict(run), ""))


def _deviations(planned: Any, run: Any, key: str) -> Iterator[Deviation]:
    if isinstance(planned, Mapping) and isinstance(run, Mapping):
        for name in dict.fromkeys((*planned, *run)):
            below = f"{key}.{name}" if key else str(name)
            if name not in run:
                yield Deviation(kind="left out", key=below, planned=planned[name], run=None)
            elif name not in planned:
                yield Deviation(kind="added", key=below, planned=None, run=run[name])
            else:
                yield from _deviations(planned[name], run[name], below)
    elif _are_names(planned) and _are_names(run):
        yield from (
            Deviation(kind="left out", key=f"{key}: {one}", planned=one, run=None) for one in planned if one not in run
        )
        yield from (
            Deviation(kind="added", key=f"{key}: {one}", planned=None, run=one) for one in run if one not in planned
        )
    elif planned != run:
        yield Deviation(kind="changed", key=key, planned=planned, run=run)


def _are_names(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(one, str) for one in value)


def changed_inputs(
    registered: Mapping[str, Any], data: Mapping[str, str], regimes: Mapping[str, Mapping[str, str]]
) -> tuple[Deviation, ...]:
    """Return which label and model files are others than those registered; what was not registered is not known."""
    known = {"data": registered["data"], **registered["regimes"]}
    now = {"data": data, **regimes}
    return tuple(
        Deviation(kind="changed", key=f"file {file} of {whose}", planned=digest, run=now[whose].get(file))
        for whose, files in known.items()
        if whose in now
        for file, digest in files.items()
        if now[whose].get(file) != digest
    )


@dataclass(frozen=True, kw_only=True)
class Scope:
    """What estimates a registered plan asks for, held against those of a run."""

    planned: Mapping[str, Any]
    run: Mapping[str, Any]

    def why_added(self, estimate: Estimate) -> str | None:
        """Say by what an estimate is not in the plan: `metric mce`; None where it was planned."""
        tests = (
            ("estimand", estimate.estimand, estimate.estimand in self.planned["estimands"]),
            ("metric", estimate.metric, estimate.metric in self._metrics),
            self._of_regime(estimate),
            ("reference", estimate.reference, estimate.reference in {None, *self._regimes}),
            ("condition", estimate.condition, estimate.condition in self._conditions),
            ("finding", estimate.finding, self._has_finding(estimate.finding)),
            ("subgroup", column_of(estimate.subgroup), column_of(estimate.subgroup) in {"", *self._subgroups}),
            ("recalibration", estimate.recalibration, estimate.recalibration in {"", *self._recalibrations}),
        )
        return next((f"{what} {name}" for what, name, is_planned in tests if not is_planned), None)

    def _of_regime(self, estimate: Estimate) -> tuple[str, str, bool]:
        """Return what, its name and whether it was planned; of all regimes, the first that one of the plans lacks."""
        if estimate.estimand != ALL_REGIMES:
            return "regime", estimate.regime, estimate.regime in self._regimes
        run = {one["name"]: None for one in self.run["regimes"].values()}
        other = next(
            (name for name in (*run, *sorted(self._regimes)) if name not in self._regimes or name not in run), ""
        )
        return "regime", other, not other

    @cached_property
    def _metrics(self) -> frozenset[str]:
        analysis = self.planned["analysis"]
        effects = {METRIC_OF[one] for one in analysis["effect_sizes"] if one in METRIC_OF}
        return frozenset((*analysis["metrics"], *effects))

    @cached_property
    def _regimes(self) -> frozenset[str]:
        return frozenset(one["name"] for one in self.planned["regimes"].values())

    @cached_property
    def _conditions(self) -> frozenset[str]:
        """Conditions, sets of the same members and curves over the same strengths."""
        sets, now = self.planned["analysis"]["sets"], self.run["analysis"]["sets"]
        curve, curve_now = curves(self.planned["conditions"]), curves(self.run["conditions"])
        same_sets = [name for name in sets if sets[name] == now.get(name)]
        same_curves = [name for name in curve if curve[name] == curve_now.get(name)]
        return frozenset((*self.planned["conditions"], *same_sets, *same_curves))

    @cached_property
    def _subgroups(self) -> frozenset[str]:
        return frozenset(self.planned["analysis"]["subgroups"])

    @cached_property
    def _recalibrations(self) -> frozenset[str]:
        return frozenset(self.planned["analysis"]["recalibrate"])

    def _has_finding(self, finding: str) -> bool:
        if finding == REPORT:  # scores of whole reports are of no finding
            return True
        wanted, now = self.planned["data"].get("findings", "all"), self.run["data"].get("findings", "all")
        return wanted == now if finding in AVERAGES else wanted == "all" or finding in wanted


def compared(
    registration: Registration,
    study: Study,
    *,
    estimates: Iterable[Estimate],
    data: Mapping[str, Any],
    regimes: Iterable[Mapping[str, Any]],
    units: Iterable[Mapping[str, Any]],
    file: str,
) -> dict[str, Any]:
    """Return for the results what was planned, and what a run did otherwise.

    Returns
    -------
    dict
        `file` and all that the registration says: `date`, `cxrobust`, `study`, `study_sha256`, `plan`, `inputs` and
        `sha256`, so that its hash can be made again; `deviations`
        [{kind, key, planned, run}]; of `estimates` how many are `planned` and `added` {by what: count}; of
        `predictions` made here how many files carry the registration's hash (`after`) and how many do not (`other`),
        and which regimes were made `elsewhere`, and of those whose tables are all `registered` as they are.
    """
    run = plan_of(study)
    regimes = tuple(regimes)
    fingerprints = {one["name"]: one["fingerprint"] for one in regimes}
    found = deviations(registration.plan, run)
    sources = merged_hashes([data.get("sources", {}), data.get("validation", {}).get("sources", {})])
    found += changed_inputs(registration.inputs, sources, fingerprints)
    elsewhere = [one["name"] for one in regimes if one["family"] == "elsewhere"]
    made_here = [unit for unit in units if unit["regime"] not in elsewhere]
    after = sum(unit.get("registration") == registration.sha256 for unit in made_here)
    return {
        "file": file,
        **asdict(registration),
        "deviations": [asdict(one) for one in found],
        "estimates": _counts(Scope(planned=registration.plan, run=run), estimates),
        "predictions": {
            "after": after,
            "other": len(made_here) - after,
            "elsewhere": elsewhere,
            "registered": [
                name
                for name in elsewhere
                if fingerprints[name].items() <= dict(registration.inputs["regimes"].get(name, {})).items()
            ],
        },
    }


def _counts(scope: Scope, estimates: Iterable[Estimate]) -> dict[str, Any]:
    planned, added = 0, dict[str, int]()
    for estimate in estimates:
        why = scope.why_added(estimate)
        if why is None:
            planned += 1
        else:
            added[why] = added.get(why, 0) + 1
    return {"planned": planned, "added": added}
