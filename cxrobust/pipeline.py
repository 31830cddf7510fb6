"""The three stages of a study, each from files to files: predict, analyze, report."""

import json
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cxrobust.analysis import analyze as analyze_predictions
from cxrobust.analysis.accelerator import check_device, gpu_name
from cxrobust.analysis.sample import decides_only
from cxrobust.characteristics import characteristics
from cxrobust.differences import nested
from cxrobust.documents import report
from cxrobust.environment import ANALYSIS_PACKAGES, commit, installed, processor, this_machine
from cxrobust.errors import DataError, MisfitError, some
from cxrobust.files import alone, merged_hashes, sha256_bytes, sha256_file
from cxrobust.generated_reports import generated_reports
from cxrobust.inference import engine
from cxrobust.left_out import write_left_out
from cxrobust.predictions import INDEX, PredictionSet, load_predictions
from cxrobust.progress import Reporter, silent
from cxrobust.registration import Registration, find_registration, place_of, write_registration
from cxrobust.registration.planned import compared
from cxrobust.results import ESTIMATES, PREDICTIONS, RESULTS, Results, write_estimates, write_results
from cxrobust.scoring import check_scored_for, check_scorers, score
from cxrobust.study import Study
from cxrobust.study.analysis import AnalysisSection

GPU_PACKAGES = ("torch", "triton")
LOG = "log.jsonl"
"""How long each analysis took; not in the results, so that the same predictions give the same file."""


def predict(study: Study, out: Path, *, report: Reporter = silent) -> Path:
    """Write `OUT/predictions/`; see `cxrobust.inference.engine.predict`, and `cxrobust.scoring` for reports.

    `OUT/left-out.csv` names the images that were left out, where some were.
    """
    check_scorers(study)
    folder = engine.predict(study, out / PREDICTIONS, report=report)
    score(study, folder, report=report)
    write_left_out(folder, out)
    return folder


def analyze(study: Study, out: Path, *, predictions: Path | None = None, report: Reporter = silent) -> Results:
    """Write `OUT/results.json` and `OUT/estimates.csv` from `OUT/predictions/`, or from another folder of them.

    `OUT/log.jsonl` gets a line that says how long it took. A registration of the study is copied to `OUT` too, and
    `OUT/left-out.csv` names the images that were left out of the predictions, where some were.

    Raises
    ------
    DataError
        When the predictions are incomplete, damaged or made for another study, the registration was changed, or another
        process writes to `OUT`.
    StudyError
        With the line of the study file, when it asks for what the data do not have.
    """
    with alone(out):
        begun = time.perf_counter()
        registered = find_registration(study)
        folder = predictions or out / PREDICTIONS
        loaded = load_predictions(folder)
        _check_made_for(study, loaded.index, folder)
        results = analyzed(study, loaded, folder, registered=registered, report=report)
        if registered is not None:
            write_registration(registered, out / place_of(study).name)
        write_results(results, out / RESULTS)
        write_estimates(results.estimates, out / ESTIMATES)
        write_left_out(folder, out)
        with (out / LOG).open("a", encoding="utf-8") as log:
            took = {"stage": "analyze", "seconds": round(time.perf_counter() - begun, 3)}
            log.write(json.dumps({**took, "resamples": study.analysis.resamples, "hardware": processor()}) + "\n")
    return results


def analyzed(
    study: Study,
    predictions: PredictionSet,
    folder: Path,
    *,
    registered: Registration | None = None,
    report: Reporter = silent,
) -> Results:
    """Return the results of predictions that were read from `folder`; nothing is written.

    Raises
    ------
    StudyError
        With the line of the study file, when it asks for what the data do not have.
    """
    try:
        found = analyze_predictions(
            predictions, study.analysis, reference=study.study.reference, seed=study.study.seed, report=report
        )
    except MisfitError as error:
        raise study.error(error.keys, str(error)) from error
    columns = [one.column for one in study.analysis.subgroups]
    data = _describe_data(predictions, columns, list_skipped=study.report.list_skipped)
    regimes = _describe_regimes(study, predictions)
    plan = None
    if registered is not None:
        plan = compared(
            registered,
            study,
            estimates=found.estimates,
            data=data,
            regimes=regimes,
            units=predictions.index["units"],
            file=place_of(study).name,
        )
    return Results(
        study=study.settings(),
        study_text=study.text,
        data=data,
        regimes=regimes,
        conditions=tuple(predictions.index["conditions"]),
        primary_condition=found.primary_condition,
        metrics=found.metrics,
        estimates=found.estimates,
        reliability=found.reliability,
        risk_coverage=found.risk_coverage,
        thresholds=found.thresholds,
        unclustered=found.unclustered,
        examples=tuple(predictions.index["examples"]),
        provenance={**_provenance(study, predictions, folder), **({} if plan is None else {"registration": plan})},
        confidence=found.confidence,
        flips=found.flips,
        confusion=found.confusion,
        power=found.power,
        sensitivity=found.sensitivity,
        attack_checks=tuple(predictions.index.get("attack_checks", ())),
        generated_reports=generated_reports(
            predictions, primary=found.primary_condition, most=study.report.example_images
        ),
    )


def _provenance(study: Study, predictions: PredictionSet, folder: Path) -> dict[str, Any]:
    """Return what results were made with and from: software, machines, seed, hashes and command."""
    data_root = "" if study.data_root == study.path.parent else " --data-root DATA"
    return {
        "inference": predictions.index["inference"],
        "analysis": _describe_analysis(study.analysis),
        "seed": study.study.seed,
        "study_sha256": sha256_bytes(study.text.encode()),
        "predictions_sha256": sha256_file(folder / INDEX),
        "command": f"cxrobust run {study.path.name}{data_root}",
    }


def _describe_analysis(settings: AnalysisSection) -> dict[str, Any]:
    """Return versions and hardware that the analysis runs with, for the report's appendix."""
    on_gpu = settings.device == "cuda"
    packages = (*ANALYSIS_PACKAGES, *(["netcal"] if settings.recalibrate else []), *(GPU_PACKAGES if on_gpu else ()))
    hardware = f"{gpu_name()}, {processor()}" if on_gpu else processor()
    return {**this_machine(packages), "hardware": hardware, "commit": commit(), **installed()}


def run(
    study: Study,
    out: Path,
    *,
    report_progress: Reporter = silent,
    say: Callable[[str], None] = lambda message: None,
) -> tuple[Path, ...]:
    """Do all three stages; return the documents."""
    check_device(study.analysis.device)  # rather than after hours of predicting
    template = study_template(study)
    predict(study, out, report=report_progress)
    analyze(study, out, report=report_progress)
    report_progress("writing the report", 0, 1)
    documents = report(out / RESULTS, out, template=template, say=say)
    report_progress("writing the report", 1, 1)
    return documents


def study_template(study: Study) -> Path | None:
    """Return the folder of templates that a study names, after reading them.

    Raises
    ------
    StudyError
        When it is not there, or one of its templates cannot be read.
    """
    from cxrobust.reports.templating import check_folder

    name = study.report.template
    return None if name is None else check_folder(study.path.parent / name)


def _check_made_for(study: Study, index: Mapping[str, Any], folder: Path) -> None:
    for name in ("made_for", "regimes", "inference", "examples"):
        if name not in index:
            raise DataError(f"{folder / INDEX}: it has no {name!r}: run cxrobust predict again")
    check_scored_for(study, index, folder)
    before, now = index["made_for"], json.loads(json.dumps(engine.made_for(study)))
    if changed := engine.changed_settings(study, before):
        keys = some(str(one).removeprefix(": ") for one in nested(before, now, part=""))
        raise DataError(
            f"{folder}: they were made with another {' and another '.join(changed)} than {study.path} has "
            f"({keys}): run cxrobust predict, which does only what is new"
        )


def _describe_data(predictions: PredictionSet, columns: Sequence[str], *, list_skipped: bool) -> dict[str, Any]:
    """Return the counts of the test images, and under `validation` those of the validation images."""
    per_patient = np.bincount(predictions.patients)
    positive, labelled = predictions.labels == 1, predictions.labels >= 0
    validation = (
        {}
        if predictions.validation is None
        else {"validation": _describe_data(predictions.validation, columns, list_skipped=list_skipped)}
    )
    named = {key: value for key, value in predictions.index["data"].items() if key not in {"skipped", "notes"}}
    skipped = predictions.index["data"].get("skipped", ())
    if references := named.get("references"):
        counts = {fault: one["n"] for fault, one in references["faults"].items()}
        named["references"] = {"n": references["n"], "faults": counts}
    return {
        **named,
        **({"n_skipped": len(skipped)} if skipped else {}),
        **({"skipped": list(skipped)} if skipped and list_skipped else {}),  # ids of patients' images, where wished
        "n_images": len(predictions.image_ids),
        "n_patients": len(predictions.patient_ids),
        "images_per_patient": [int(per_patient.min()), float(np.median(per_patient)), int(per_patient.max())],
        "findings": [
            {
                "name": name,
                "n_labelled": int(labelled[:, k].sum()),
                "n_positive": int(positive[:, k].sum()),
                "n_positive_patients": len(np.unique(predictions.patients[positive[:, k]])),
                "n_labelled_patients": len(np.unique(predictions.patients[labelled[:, k]])),
            }
            for k, name in enumerate(predictions.findings)
        ],
        "characteristics": characteristics(predictions, columns),
        **validation,
    }


def _describe_regimes(study: Study, predictions: PredictionSet) -> tuple[dict[str, Any], ...]:
    described = []
    for name in predictions.regimes:
        members = [one for one in predictions.index["regimes"] if one["name"] == name]
        described.append(
            {
                "name": name,
                "is_reference": name == study.study.reference,
                "replicates": len(members),
                "description": members[0]["description"],
                "family": members[0]["family"],
                "settings": [one["settings"] for one in members],
                "fingerprint": merged_hashes(one["fingerprint"] for one in members),
                **members[0].get("facts", {}),
                **({"decides_only": True} if decides_only(_of_regime(name, predictions)) else {}),
                **_report_faults(name, predictions),
            }
        )
    return tuple(described)


def _of_regime(regime: str, predictions: PredictionSet) -> NDArray[np.float64]:
    """Return the probabilities of all training runs, (n_runs, n_conditions, n_images, n_findings)."""
    return predictions.probabilities[[name == regime for name, _ in predictions.members]]


def _report_faults(regime: str, predictions: PredictionSet) -> dict[str, Any]:
    """Return how many reports a regime wrote, how many have which fault, and mean words by condition; {} of none."""
    rows = [row for row, (name, _) in enumerate(predictions.members) if name == regime]
    if predictions.reports is None or all(one is None for one in predictions.reports[rows].flat):
        return {}
    faults: Counter[str] = Counter()
    units = [unit for unit in predictions.index["units"] if unit["regime"] == regime]
    for unit in units:
        faults.update({fault: one["n"] for fault, one in unit.get("report_faults", {}).items()})
    lengths = {
        condition: [len(str(text).split()) for text in predictions.reports[rows, column].flat if text is not None]
        for column, condition in enumerate(predictions.conditions)
    }
    return {
        "n_reports": sum(unit["n_images"] for unit in units),
        "report_faults": dict(faults),
        "mean_words": {condition: float(np.mean(own)) for condition, own in lengths.items() if own},
    }
