"""The stage that scores generated reports: after the predictions, into their folder, for metrics of the analysis."""

import json
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow.parquet as pq
from pydantic import ValidationError

from cxrobust.errors import DataError, StudyError, counted, some
from cxrobust.files import alone, atomic_write_text, canonical_json, sha256_bytes, sha256_file
from cxrobust.predictions import IMAGES, INDEX, REFERENCE, UnitPredictions, index_text, read_unit
from cxrobust.predictions.scores import AGAIN, SCORES, is_whole, write_scores
from cxrobust.progress import Reporter, silent
from cxrobust.radiology_reports.scores import Pairs, Scorer, measured, scorer

if TYPE_CHECKING:
    from cxrobust.study import Study
    from cxrobust.study.messages import Place

TRIAL = Pairs(
    ids=("trial",),
    candidates=("No pneumothorax.",),
    references=("Small left effusion.",),
    log_probabilities=np.zeros(1),
)


def scorers_of(study: "Study", place: "Place | None" = None) -> dict[str, Scorer]:
    """Return the scorers that the metrics of a study need, with the settings of its `[scores.<name>]`.

    Raises
    ------
    StudyError
        When one needs settings that are not there, or a table is of no scorer that is needed.
    """
    from cxrobust.analysis.metrics import metric
    from cxrobust.study.messages import Place

    place = place or Place(study.path, study.text)
    found: dict[str, Scorer] = {}
    for name in study.analysis.metrics:
        if name in metric and metric[name].of_reports:
            for one in measured(name)[0]:
                found[one] = study.scores[one] if one in study.scores else _by_default(one, name, place)
    unused = next((name for name in study.scores if name not in found), None)
    if unused is not None:
        known = [*scorer[unused].measures, *([f"{scorer[unused].prefix}NAME"] if scorer[unused].prefix else [])]
        raise place.error(
            ("scores", unused), f"no metric is of [scores.{unused}]: name one in [analysis], such as {known[0]}, or "
            f"remove the table"
        )  # fmt: skip
    return found


def _by_default(one: str, metric: str, place: "Place") -> Scorer:
    try:
        return by_default(one, metric)
    except StudyError as error:
        raise place.error(("analysis", "metrics"), str(error)) from None


def by_default(one: str, metric: str, *, mend: str = "add it") -> Scorer:
    """Return a scorer without settings of its own; `mend` says how to give it some.

    Raises
    ------
    StudyError
        When it needs some.
    """
    try:
        return scorer[one]()
    except ValidationError as error:
        wanted = [".".join(map(str, each["loc"])) for each in error.errors() if each["loc"]]
        which = f" with {' and '.join(wanted)}" if wanted else ""
        raise StudyError(f"metric {metric!r} needs [scores.{one}]{which}: {mend}") from None


def check_scorers(study: "Study") -> None:
    """Raise what would stop the scoring: a package or a file that is missing.

    Raises
    ------
    CxrobustError
        For the first.
    """
    for name, one in scorers_of(study).items():
        check_scorer(name, one)


def check_scorer(name: str, one: Scorer) -> None:
    """Raise what would stop a scorer: a package or a file that is missing.

    Raises
    ------
    MissingGroupError, DataError
        Naming it.
    """
    one.check()
    one.identity(name)


def try_scorer(one: Scorer) -> None:
    """Score one pair of sentences, which shows that a scorer's networks and tables can be read.

    Raises
    ------
    CxrobustError
        Where they cannot.
    """
    one.score(TRIAL)


def strays_of(name: str, one: Scorer, ids: Collection[str]) -> str | None:
    """Say which reports of a scorer's table are of no image; None where every one is."""
    strays = sorted(set(one.named_ids()) - set(ids))
    if not strays:
        return None
    return f"[scores.{name}]: {counted(len(strays), 'report')} of its table of no image here: {some(strays)}"


def score(study: "Study", folder: Path, *, report: Reporter = silent) -> None:
    """Score the reports of a finished folder of predictions as a study asks, and list the scores in its index.

    What is scored already stays; `cxrobust.predictions.scores` says by what it is known.

    Raises
    ------
    DataError
        When the predictions cannot be read, or a scorer cannot work.
    StudyError
        When a metric is of reports, and no regime writes any.
    """
    scorers = scorers_of(study)
    if not scorers:
        return
    with alone(folder):
        index = json.loads((folder / INDEX).read_text(encoding="utf-8"))
        references = _references(folder / IMAGES)
        identities = {name: one.identity(name) for name, one in scorers.items()}
        files: list[dict[str, Any]] = []
        steps = [(name, entry) for name in scorers for entry in index["units"]]
        for done, (name, entry) in enumerate(steps):
            report("scoring reports", done, len(steps))
            path = folder / entry["file"]
            if not _writes_reports(path):
                continue
            file = _score_unit(path, entry, scorers[name], identities[name], references)
            cell = {key: entry[key] for key in ("regime", "replicate", "condition")}
            files.append({"scorer": name, "file": file, "sha256": sha256_file(folder / file), **cell})
        report("scoring reports", len(steps), len(steps))
        if not files:
            raise study.error(
                ("analysis", "metrics"),
                f"metrics are of reports ({', '.join(scorers)}), and no regime writes any: leave these metrics out",
            )
        told = {name: {**identities[name], "settings": scorers[name].settings()} for name in scorers}
        index[SCORES] = {"scorers": told, "files": files}
        atomic_write_text(folder / INDEX, index_text(index))


def _score_unit(
    path: Path, entry: Mapping[str, Any], one: Scorer, identity: Mapping[str, Any], references: Mapping[str, str | None]
) -> str:
    """Return the name of the file with a unit's scores, which is made where it is not there."""
    unit = read_unit(path)
    wanted = [references.get(image) for image in unit.image_ids]
    key = sha256_bytes(canonical_json([identity, entry["sha256"], wanted]).encode())
    file = f"{SCORES}-{identity['scorer']}-{key[:20]}.parquet"
    target = path.parent / file
    if not is_whole(target):
        write_scores(one.score(_pairs(unit, references)), unit.image_ids, target)
    return file


def _pairs(unit: UnitPredictions, references: Mapping[str, str | None]) -> Pairs:
    known = unit.log_probabilities
    return Pairs(
        ids=unit.image_ids,
        candidates=unit.reports or (None,) * len(unit.image_ids),
        references=tuple(references.get(image) for image in unit.image_ids),
        log_probabilities=None if known is None else np.asarray(known, dtype=np.float64),
        regime=unit.regime,
        replicate=unit.replicate,
        condition=unit.condition,
    )


def _writes_reports(path: Path) -> bool:
    return "report" in pq.read_schema(path).names


def _references(path: Path) -> dict[str, str | None]:
    names = pq.read_schema(path).names
    table = pq.read_table(path, columns=["image_id", *([REFERENCE] if REFERENCE in names else [])])
    ids = table["image_id"].to_pylist()
    texts = table[REFERENCE].to_pylist() if REFERENCE in names else [None] * len(ids)
    return dict(zip(ids, texts, strict=True))


def check_scored_for(study: "Study", index: Mapping[str, Any], folder: Path) -> None:
    """Refuse scores that were made with other settings than a study has; files are known by their names here.

    Raises
    ------
    DataError
        Naming the scorer.
    """
    made = (index.get(SCORES) or {}).get("scorers", {})
    for name, one in scorers_of(study).items():
        if name in made and made[name].get("settings") != one.settings():
            raise DataError(
                f"{folder}: the scores of {name!r} were made with other settings than {study.path} has: {AGAIN}"
            )
