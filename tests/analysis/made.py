"""Small made predictions for the analysis tests."""

import math
from dataclasses import replace

import numpy as np
import pandas as pd

from cxrobust.analysis.cells import Cell
from cxrobust.predictions import PredictionSet
from cxrobust.study.analysis import AnalysisSection

METRICS = ("auroc", "accuracy", "confidence", "ece", "brier")
CONDITIONS = ("clean", "pgd(eps=4/255)", "noise(eps=4/255)")
REGIMES = (("supervised", 0), ("lora", 0))


def make_cell(p, y, patients=None, *, n_patients=None, threshold=0.5, clean=None):
    """One cell; one image a patient unless told otherwise; clean images, unless told what was predicted on those."""
    patients = np.arange(len(p)) if patients is None else np.asarray(patients)
    return Cell(
        labels=np.asarray(y, dtype=np.int8),
        probabilities=np.asarray(p, dtype=np.float64),
        patients=patients.astype(np.int32),
        n_patients=int(patients.max()) + 1 if n_patients is None else n_patients,
        threshold=threshold,
        clean=np.asarray(p if clean is None else clean, dtype=np.float64),
        weaker=(np.asarray(p, dtype=np.float64),),
    )


def one_run(n_resamples):
    """Which runs resamples draw of a regime that has one."""
    return np.zeros((1, n_resamples), np.intp)


def random_cell(rng, *, n_patients=12, n_images=40, levels=None, threshold=0.5):
    """Both classes, several images a patient; probabilities on `levels` + 1 values when ties are wanted."""
    patients = np.concatenate([np.arange(n_patients), rng.integers(0, n_patients, n_images - n_patients)])
    y = np.append(rng.integers(0, 2, n_images - 2), [0, 1])
    p = 1 / (1 + np.exp(-(rng.normal(size=n_images) + y + rng.normal(size=n_patients)[patients])))
    p = p if levels is None else np.round(p * levels) / levels
    return make_cell(p, y, patients, n_patients=n_patients, threshold=threshold)


def each_left_out(one, cell):
    """Value of a metric on the images that are left without each patient in turn."""
    found = []
    for patient in range(cell.n_patients):
        kept = cell.patients != patient
        left = make_cell(
            cell.probabilities[kept],
            cell.labels[kept],
            cell.patients[kept],
            n_patients=cell.n_patients,
            threshold=cell.threshold,
        )
        found.append(one.value(left))
    return np.array(found)


def odd_cells():
    """Name and cell: ties, constant scores, one patient, rare classes, scores of 0 and 1, few images, gaps."""
    rng = np.random.default_rng(4)
    yield "several-images-a-patient", random_cell(rng)
    yield "ties", random_cell(rng, levels=4)
    yield "constant-scores", make_cell([0.3] * 12, [0, 1] * 6, np.arange(12) // 2)
    yield "one-image-a-patient", random_cell(rng, n_patients=40, n_images=40)
    yield "one-patient", make_cell(rng.random(9), [0, 0, 1, 0, 1, 1, 0, 0, 1], np.zeros(9))
    yield "rare-positive", make_cell(rng.random(15), [1] + [0] * 14)
    yield "rare-negative", make_cell(rng.random(15), [0] + [1] * 14)
    yield "scores-0-and-1", make_cell([0, 0, 1, 1, 0, 1], [0, 1, 1, 0, 0, 1], [0, 0, 1, 1, 2, 2])
    yield "three-images", make_cell([0.2, 0.2, 0.9], [1, 0, 0])
    yield "patients-without-this-label", make_cell(rng.random(8), [0, 1] * 4, [1, 1, 3, 3, 6, 6, 6, 8], n_patients=11)


def make_predictions(
    *,
    seed=0,
    n_patients=12,
    most_images=4,
    findings=("Effusion", "Mass"),
    members=REGIMES,
    conditions=CONDITIONS,
    missing=0.0,
    decimals=2,
):
    """Clustered predictions with ties; every finding has both classes, and `missing` of the labels are absent."""
    rng = np.random.default_rng(seed)
    per_patient = rng.integers(1, most_images + 1, n_patients)
    patients = np.repeat(np.arange(n_patients), per_patient)
    n = len(patients)
    labels = (rng.random((n, len(findings))) < 0.45).astype(np.int8)
    labels[rng.random(labels.shape) < missing] = -1
    for k in range(len(findings)):
        labels[rng.permutation(n)[:2], k] = (0, 1)
    ability = rng.normal(1.2, 0.4, (len(members), len(conditions), 1, len(findings)))
    patient_effect = rng.normal(size=(n_patients, len(findings)))[patients]
    noise = rng.normal(size=(len(members), len(conditions), n, len(findings)))
    logits = ability * (labels == 1) - 0.6 + 0.7 * patient_effect + noise
    return PredictionSet(
        image_ids=tuple(f"image-{i:03}" for i in range(n)),
        patient_ids=tuple(f"patient-{i:03}" for i in range(n_patients)),
        patients=patients.astype(np.int32),
        findings=tuple(findings),
        labels=labels,
        members=tuple(members),
        conditions=tuple(conditions),
        probabilities=np.round(1 / (1 + np.exp(-logits)), decimals),
        metadata=pd.DataFrame(index=range(n)),
        index={},
    )


def with_images(predictions, order):
    """The same predictions with their images in another order."""
    return replace(
        predictions,
        image_ids=tuple(predictions.image_ids[i] for i in order),
        patients=predictions.patients[order],
        labels=predictions.labels[order],
        probabilities=predictions.probabilities[:, :, order],
    )


def with_labels(predictions, finding, change):
    """The same predictions with one finding's labels replaced by `change(labels)`."""
    labels = predictions.labels.copy()
    k = predictions.findings.index(finding)
    labels[:, k] = change(labels[:, k])
    return replace(predictions, labels=labels)


def make_settings(**changes):
    """Few resamples, so that plain loops can follow."""
    return AnalysisSection(**{"resamples": 256, "metrics": METRICS, "effect_sizes": (), **changes})


def weights_of(counts, patients, resample):
    """How often a resample takes each image: the count of its patient."""
    lanes = counts.shape[2]
    return counts[resample // lanes, :, resample % lanes].astype(np.int64)[patients]


def duplicated(counts, patients, resample):
    """Indices of a resample's images, each as often as its patient was drawn."""
    return np.repeat(np.arange(len(patients)), weights_of(counts, patients, resample))


def same(a, b, tolerance=1e-12):
    """Whether two numbers agree, NaN or None agreeing with itself only."""
    absent = [x is None or math.isnan(x) for x in (a, b)]
    return all(absent) if any(absent) else abs(a - b) <= tolerance
