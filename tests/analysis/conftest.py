"""Fixtures of the analysis tests: netcal, and real predictions on NIH ChestX-ray14."""

import warnings

import numpy as np
import pandas as pd
import pytest

from cxrobust.predictions import PredictionSet


@pytest.fixture(scope="session")
def netcal_ece():
    """`ece(p, y)` by netcal with 15 bins."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # netcal's own modules warn when they are compiled
        metrics = pytest.importorskip("netcal.metrics", reason="netcal is not installed: pip install 'cxrobust[all]'")
    measure = metrics.ECE(bins=15).measure
    return lambda p, y: float(measure(np.asarray(p), np.asarray(y).astype(int)))


@pytest.fixture(scope="session")
def nih_predictions(shared_data):
    """Probabilities of 14 findings by three published DenseNet-121 on the same NIH test images, clean only."""
    names = ("pretrained", "nih_25", "results")
    tables = [_read(shared_data / "nih-predictions" / f"densenet_{name}.csv.gz") for name in names]
    images, findings = tables[0].index, list(tables[0].columns)
    entries = pd.read_csv(shared_data / "nih-metadata" / "Data_Entry_2017_v2020.csv.gz", index_col="Image Index")
    entries = entries.loc[images]
    named = entries["Finding Labels"].str.split("|").map(set)
    codes, patients = pd.factorize(entries["Patient ID"])
    return PredictionSet(
        image_ids=tuple(images),
        patient_ids=tuple(str(patient) for patient in patients),
        patients=codes.astype(np.int32),
        findings=tuple(findings),
        labels=np.column_stack([[f in one for one in named] for f in findings]).astype(np.int8),
        members=tuple((name, 0) for name in names),
        conditions=("clean",),
        probabilities=np.stack([[table.loc[images, findings].to_numpy()] for table in tables]),
        metadata=pd.DataFrame(index=range(len(codes))),
        index={},
    )


def _read(path):
    return pd.read_csv(path, index_col="Image Index").rename(columns=lambda name: name.removeprefix("prob_"))
