"""Real predictions for the benchmarks: three published models, 14 findings, 22,433 NIH ChestX-ray14 images."""

from pathlib import Path

import numpy as np
import pandas as pd

from cxrobust.analysis.cells import Cell

MODELS = ("pretrained", "nih_25", "results")


def load_cells(data: Path) -> dict[tuple[str, str], Cell]:
    """Every (model, finding), on the same images; `data` holds nih-predictions/ and nih-metadata/."""
    tables = {name: _read_predictions(data / "nih-predictions" / f"densenet_{name}.csv.gz") for name in MODELS}
    images, findings = tables[MODELS[0]].index, tables[MODELS[0]].columns
    entries = pd.read_csv(data / "nih-metadata" / "Data_Entry_2017_v2020.csv.gz", index_col="Image Index").loc[images]
    patients, distinct = pd.factorize(entries["Patient ID"])
    named = [set(text.split("|")) for text in entries["Finding Labels"]]
    return {
        (name, finding): Cell(
            labels=np.array([finding in one for one in named], dtype=np.int8),
            probabilities=table.loc[images, finding].to_numpy(np.float64),
            patients=patients.astype(np.int32),
            n_patients=len(distinct),
            threshold=0.5,
            clean=table.loc[images, finding].to_numpy(np.float64),
            weaker=(),
        )
        for name, table in tables.items()
        for finding in findings
    }


def _read_predictions(path: Path) -> pd.DataFrame:
    return pd.read_csv(path, index_col="Image Index").rename(columns=lambda name: name.removeprefix("prob_"))
