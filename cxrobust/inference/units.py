"""Units of work: what a study's predictions consist of, each named by the hash of all that determines it."""

import functools
from collections.abc import Iterator, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cxrobust.conditions import CLEAN, Condition, parse_condition
from cxrobust.errors import DataError, StudyError, nearest, some
from cxrobust.files import sha256_bytes, sha256_json, sha256_json_list, sha256_modules
from cxrobust.inference.datasets import Dataset, ImageTable, take
from cxrobust.inference.decoding import Decoders
from cxrobust.inference.elsewhere import OF_REPORTS, Elsewhere, common_images
from cxrobust.inference.images import tolerating_missing_files
from cxrobust.inference.models import Regime, Workplace
from cxrobust.inference.perturbations import Perturbation
from cxrobust.inference.perturbations.attack import REFERENCE, REPORT, Attack
from cxrobust.inference.pixels import Pixels, Unreadable, open_pixels
from cxrobust.inference.unit_checks import check_conditions, check_sides, check_targets, source_of
from cxrobust.progress import Reporter, silent
from cxrobust.study import Study
from cxrobust.study.checks import check_data

UNIT_FORMAT = 1
CACHE = "cache"
VALIDATION_CACHE = "cache/validation"
TRAINING_CACHE = "cache/training"
_CODE = tuple(
    f"cxrobust.inference.{name}"
    for name in (
        "images",
        "dicom",
        "pixels",
        "runner",
        "batches",
        "compiling",
        "precision",
        "randomness",
        "gradients",
        "views",
        "graph",
        "pretrained",
        "preprocessing",
        "outputs",
    )
)
"""Modules whose code turns images into predictions for every regime."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Unit:
    """One piece of work whose result is one file."""

    regime: Regime | Elsewhere
    condition: Condition
    perturbation: Perturbation | None
    """None for clean images, and where the predictions were made elsewhere."""
    rows: NDArray[np.intp]
    """Which images of the table."""
    fold: str | None
    key: str

    @property
    def file(self) -> str:
        """Name of the unit's file."""
        return f"{self.key}.parquet"

    @property
    def model(self) -> tuple[str, int, str | None]:
        """Regime, replicate and fold: what one model predicts."""
        return self.regime.name, self.regime.replicate, self.fold


@dataclass(frozen=True, kw_only=True, slots=True)
class LeftOutImage:
    """Why an image is left out of every cell."""

    reason: str
    """As the report counts it: `UNREADABLE_FILE` or `NOT_FINITE`."""
    detail: str


UNREADABLE_FILE = "whose file cannot be read"
NOT_FINITE = "for which a model gave no finite number"


@dataclass(frozen=True, kw_only=True, slots=True)
class Plan:
    """Everything that a study's predictions on its test images need, or those on its validation images."""

    study: Study
    table: ImageTable
    pixels: Pixels | None
    """None where every regime's predictions were made elsewhere; a `PixelsAt`, which knows `batch` alone, in a task
    that was sent to another process."""
    units: tuple[Unit, ...]
    conditions: tuple[Condition, ...]
    validation: "Plan | None" = None
    """The same for the validation images, which are predicted clean only; None where the study has none."""
    skipped: Mapping[str, LeftOutImage] = field(default_factory=dict)
    """Images, by id, that some unit has no prediction of."""

    @property
    def left_out(self) -> dict[str, LeftOutImage]:
        """Images, by id, that no cell holds, as far as is known: unreadable ones and those skipped."""
        unreadable = {} if self.pixels is None else dict(self.pixels.unreadable)
        ids = self.table.ids
        return {
            **{ids[row]: LeftOutImage(reason=UNREADABLE_FILE, detail=why) for row, why in sorted(unreadable.items())},
            **self.skipped,
        }

    @property
    def kept(self) -> NDArray[np.intp]:
        """Rows of the images that are not left out."""
        left_out = self.left_out
        return np.flatnonzero([image not in left_out for image in self.table.ids])

    @property
    def parts(self) -> tuple["Plan", ...]:
        """Test images, then validation images where there are any."""
        return (self,) if self.validation is None else (self, self.validation)


def plan(study: Study, folder: Path, *, report: Reporter = silent, decoders: Decoders | None = None) -> Plan:
    """Load the data set, decode its images, those for validation too, and list the units of a study.

    With `decoders` images are still being decoded afterwards.

    Raises
    ------
    DataError, StudyError
        When data, images, checkpoints or tables of predictions cannot be used, or the analysis asks for what the data
        do not have.
    """
    there = () if study.validation is None else tuple(map(_on_validation, study.regimes))
    table, held_out = _read_parts(study, there)
    _check(study, table)
    _ready_models(study, table, held_out, folder=folder, report=report)
    conditions = _conditions(study)
    planned = _plan(study, study.regimes, table, conditions, cache=folder / CACHE, report=report, decoders=decoders)
    if held_out is None:
        return planned
    cache = folder / VALIDATION_CACHE
    validation = _plan(study, there, held_out, (CLEAN,), cache=cache, report=report, decoders=decoders)
    return replace(planned, validation=validation)


def read_tested(study: Study) -> ImageTable:
    """Read the test images of a study, without their pixels.

    Raises
    ------
    DataError, StudyError
        When they cannot be used.
    """
    wanted = _predicted(study.regimes)
    return _read(study, study.data, ("data", "findings"), wanted=wanted, other=None)


def _on_validation(regime: Regime | Elsewhere) -> Regime | Elsewhere:
    return regime.on_validation() if isinstance(regime, Elsewhere) else regime


def _has_models(regimes: Sequence[Regime | Elsewhere]) -> bool:
    return any(isinstance(regime, Regime) for regime in regimes)


def _tables_of(regimes: Sequence[Regime | Elsewhere]) -> tuple[Elsewhere, ...]:
    """Return the regimes whose predictions were made elsewhere."""
    return tuple(regime for regime in regimes if isinstance(regime, Elsewhere))


def _predicted(regimes: Sequence[Regime | Elsewhere]) -> frozenset[str] | None:
    """Return the images that tables made elsewhere predict; None where there are no such tables."""
    tables = _tables_of(regimes)
    return common_images(tables) if tables else None


def _conditions(study: Study) -> tuple[Condition, ...]:
    """Return the conditions of a study, those of predictions made elsewhere last."""
    elsewhere = (parse_condition(name) for one in _tables_of(study.regimes) for name in one.own_conditions)
    return tuple(dict.fromkeys((*study.conditions, *elsewhere)))


def _read_parts(study: Study, there: Sequence[Regime | Elsewhere]) -> tuple[ImageTable, ImageTable | None]:
    """Read the test images, and the validation images where there are some, which the regimes `there` predict."""
    predicted, predicted_there = _predicted(study.regimes), _predicted(there)
    listed_together = study.validation == study.data  # and the tables of predictions tell one part from the other
    table = _read(
        study,
        study.data,
        ("data", "findings"),
        wanted=predicted,
        other=predicted_there if listed_together else None,
    )
    if study.validation is None:
        return table, None
    held_out = _read(
        study,
        study.validation,
        ("data", "validation"),
        wanted=predicted_there,
        other=predicted if listed_together else None,
    )
    return table, _held_out(study, table, held_out)


def _read(
    study: Study,
    section: Dataset,
    keys: tuple[str, ...],
    *,
    wanted: frozenset[str] | None,
    other: frozenset[str] | None,
) -> ImageTable:
    """Read the images of a section of the study file: all, or those `wanted`.

    Those of the `other` part of the study, where one listing holds both, are not counted as left out.
    """
    is_tested = section is study.data
    try:
        with tolerating_missing_files() if study.compute.on_error == "skip" else nullcontext():
            table = section.table(
                with_images=_has_models(study.regimes),
                where="[data]" if is_tested else "[data.validation]",
                needs_references=is_tested,
            )
    except StudyError as error:
        raise study.error(keys, str(error)) from error
    return table if wanted is None else _only(table, wanted, other or frozenset())


def _held_out(study: Study, test: ImageTable, validation: ImageTable) -> ImageTable:
    """Return the validation images with their findings in the order of the test images'; no patient is in both."""
    if set(validation.findings) != set(test.findings):
        differing = sorted(set(validation.findings) ^ set(test.findings))
        raise study.error(
            ("data", "validation"),
            f"test and validation images must be labelled for the same findings, and {some(differing)} "
            f"{'is' if len(differing) == 1 else 'are'} of one alone: name those of both by findings in [data]",
        )
    of_test = set(test.patients)
    shared = [patient for patient in dict.fromkeys(validation.patients) if patient in of_test]
    if shared:
        raise study.error(
            ("data", "validation"),
            f"{len(shared):,} patients are in both the validation and the test images ({some(shared)}): "
            f"leave each to one of the two",
        )
    columns = [validation.findings.index(finding) for finding in test.findings]
    return replace(validation, findings=test.findings, labels=np.ascontiguousarray(validation.labels[:, columns]))


def _check(study: Study, table: ImageTable) -> None:
    """Raise the first thing in which conditions, targets, analysis, tables of predictions and data do not fit."""
    elsewhere = _tables_of(study.regimes)
    check_conditions(study, elsewhere, _has_models(study.regimes))
    check_targets(study, table)
    check_sides(study)
    check_data(study, table)
    for one in elsewhere:
        one.check_columns(table.findings)


def _ready_models(
    study: Study, table: ImageTable, held_out: ImageTable | None, *, folder: Path, report: Reporter
) -> None:
    """Tell each model where it works, and let it refuse images that it must not be tested on."""
    workplace = Workplace(
        cache=folder / TRAINING_CACHE, device=study.compute.device, batch=study.compute.batch, report=report
    )
    tested = [(study.data, table), *([] if held_out is None else [(study.validation, held_out)])]
    for regime in study.regimes:
        if isinstance(regime, Regime):
            regime.work_in(workplace)
            regime.check_images(tested)


def _plan(
    study: Study,
    regimes: Sequence[Regime | Elsewhere],
    table: ImageTable,
    conditions: tuple[Condition, ...],
    *,
    cache: Path,
    report: Reporter,
    decoders: Decoders | None,
) -> Plan:
    """Decode the images of a table where a model needs them, and list the units of these conditions."""
    pixels = None
    if _has_models(regimes):
        then: Unreadable = "skipped" if study.compute.on_error == "skip" else "told"
        pixels = open_pixels(
            table, size=study.data.size, folder=cache, report=report, unreadable=then, decoders=decoders
        )
    perturbations = (None, *(one for one in study.perturbations if one.condition in conditions))
    units: list[Unit] = []
    for regime in regimes:
        if isinstance(regime, Elsewhere):
            units += [_elsewhere_unit(regime, condition, table) for condition in regime.own_conditions]
        elif pixels is not None:
            units += _model_units(regime, study, table, pixels, perturbations)
    return Plan(study=study, table=table, pixels=pixels, units=tuple(units), conditions=conditions)


def _only(table: ImageTable, wanted: frozenset[str], other: frozenset[str]) -> ImageTable:
    known = set(table.ids)
    unknown = sorted(wanted - known)
    if unknown:
        raise DataError(
            f"{table.name}: {len(unknown):,} predicted images are not in its label file ({some(unknown)}): "
            f"correct the id column"
        )
    kept = take(table, [row for row, image in enumerate(table.ids) if image in wanted])
    without = len(known - wanted - other)
    return replace(kept, exclusions={**kept.exclusions, "without a prediction": without}) if without else kept


def _elsewhere_unit(regime: Elsewhere, condition: str, table: ImageTable) -> Unit:
    key = sha256_json(
        {
            "format": UNIT_FORMAT,
            "regime": [regime.name, regime.replicate, regime.id, regime.prefix],
            "condition": condition,
            "table": regime.fingerprint(condition),
            "images": labels_hash(table, np.arange(len(table.ids))),
            **_reading_of(regime, condition),
        }
    )
    rows = np.arange(len(table.ids))
    return Unit(regime=regime, condition=parse_condition(condition), perturbation=None, rows=rows, fold=None, key=key)


def _reading_of(regime: Elsewhere, condition: str) -> dict[str, Any]:
    """Return what determines which reports a table has, and how findings are read from them."""
    if not regime.has_reports(condition):
        return {}
    settings = {key: getattr(regime, key) for key in OF_REPORTS}
    modules = (f"cxrobust.radiology_reports.{name}" for name in ("findings", "labeler", "phrases"))
    return {"reports": settings, "code": code_hash(Elsewhere.__module__, *modules)}


def _model_units(
    regime: Regime,
    study: Study,
    table: ImageTable,
    pixels: Pixels,
    perturbations: Sequence[Perturbation | None],
) -> Iterator[Unit]:
    for fold, of_fold in _folds(regime, study, table):
        model = _model(regime, fold)
        seed = study.study.seed if regime.draws else None
        shards = [of_fold[first : first + study.compute.shard] for first in range(0, len(of_fold), study.compute.shard)]
        images = [
            {
                "images": sha256_json([[table.ids[row], pixels.digests[row]] for row in rows]),
                "labels": labels_hash(table, rows),
            }
            for rows in shards
        ]
        for perturbation in perturbations:
            condition = CLEAN if perturbation is None else perturbation.condition
            for rows, shown in zip(shards, images, strict=True):
                content = {
                    "format": UNIT_FORMAT,
                    "model": model,
                    "condition": str(condition),
                    "perturbation": None if perturbation is None else _parameters(perturbation),
                    "seed": seed if perturbation is None else study.study.seed,
                    **shown,
                    **_references_of(perturbation, table, rows),
                    **_made_on(perturbation, study),
                    "size": study.data.size,
                    "precision": study.compute.precision,
                    "compile": study.compute.compile,
                    "code": code_hash(*code_of(regime), *code_of(perturbation)),
                }
                yield Unit(
                    regime=regime,
                    condition=condition,
                    perturbation=perturbation,
                    rows=rows,
                    fold=fold,
                    key=sha256_json(content),
                )


def in_one_search(units: Sequence[Unit]) -> list[list[Unit]]:
    """Put units together whose predictions one search finds: of one model on the same images, strengths rising.

    All others stand alone, and groups are in the order of their first units.
    """
    found: dict[object, list[Unit]] = {}
    for unit in units:
        one = unit.perturbation
        alone = one is None or not one.in_one_search
        search = unit.key if alone else (unit.model, int(unit.rows[0]), unit.condition.series)
        found.setdefault(search, []).append(unit)
    return [sorted(group, key=lambda unit: unit.condition.strength or 0.0) for group in found.values()]


def _model(regime: Regime, fold: str | None) -> dict[str, Any]:
    """Return what determines a model: its files and settings."""
    files = sorted([Path(name).name, digest] for name, digest in regime.fingerprint(fold=fold).items())
    settings = {key: value for key, value in regime.settings().items() if key != "description"}
    return {"files": files, "settings": settings}


def _made_on(one: Perturbation | None, study: Study) -> dict[str, Any]:
    """Return what determines the model that an attack is made on, where it is one regime's for all."""
    if not isinstance(one, Attack) or one.made_on is None:
        return {}
    source = source_of(one, [regime for regime in study.regimes if isinstance(regime, Regime)])
    return {"made_on": {**_model(source, None), "code": code_hash(*code_of(source))}}


def _references_of(one: Perturbation | None, table: ImageTable, rows: NDArray[np.intp]) -> dict[str, Any]:
    """Return the references that an attack is made by."""
    if not (isinstance(one, Attack) and one.target == REPORT and one.text == REFERENCE) or table.references is None:
        return {}
    return {"references": [table.references[row] for row in rows]}


def _parameters(perturbation: Perturbation) -> dict[str, Any]:
    """Return what determines the perturbed images: not whether a control goes beside them."""
    return perturbation.model_dump(mode="json", exclude={"control"})


def _folds(regime: Regime, study: Study, table: ImageTable) -> list[tuple[str | None, NDArray[np.intp]]]:
    if regime.cross_fit is None:
        return [(None, np.arange(len(table.ids)))]
    if regime.cross_fit not in table.metadata.columns:
        known = [str(column) for column in table.metadata.columns]
        raise study.error(
            ("regimes", study.regimes.index(regime), "cross_fit"),
            f"regime {regime.name!r}: cross_fit = {regime.cross_fit!r} is no metadata column of {table.name}"
            f"{nearest(regime.cross_fit, known)}: known are {', '.join(known) or 'none'}",
        )
    values = table.metadata[regime.cross_fit].astype(str).to_numpy()
    return [(fold, np.flatnonzero(values == fold)) for fold in sorted(set(values))]


def labels_hash(table: ImageTable, rows: NDArray[np.intp]) -> str:
    """Return the hash of what is known of some images: their ids and patients, and the label of each finding."""
    ids, patients = (sha256_json_list(each[row] for row in rows) for each in (table.ids, table.patients))
    return sha256_json([list(table.findings), ids, patients, sha256_bytes(table.labels[rows].tobytes())])


def code_of(one: Perturbation | Regime | None) -> tuple[str, ...]:
    """Return the modules that determine what a perturbation or a model does: those of its class and its bases."""
    classes = [kind for kind in type(one).__mro__ if issubclass(kind, Perturbation | Regime)]
    modules = (name for kind in classes for name in (kind.__module__, *vars(kind).get("code", ())))
    return tuple(dict.fromkeys(modules))


@functools.cache
def code_hash(*modules: str | None) -> str:
    """Hash the source of all that turns pixels into predictions, so that a changed program predicts again."""
    return sha256_json(sha256_modules(name for name in (*_CODE, *modules) if name is not None))
