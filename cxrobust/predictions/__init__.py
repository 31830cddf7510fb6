"""The predictions contract: one probability for each image and finding in every cell of a study.

A folder of predictions holds `index.json` (what was predicted, by what), `images.parquet` (image, patient, labels and
metadata) and one Parquet file for each unit of work; where there are validation images, `validation.parquet` says of
them what `images.parquet` says of the test images. Any tool may write them. A column `reference` of the images is the
radiologist's report, and columns `report` and `log_probability` of a unit what a generator wrote.
"""

from cxrobust.prediction_files import IMAGES, INDEX, VALIDATION_IMAGES
from cxrobust.predictions.index import (
    REFERENCE,
    Skipped,
    index_text,
    joined_notes,
    notes_on_labels,
    skipped_images,
    told_of_contradictory,
    write_index,
)
from cxrobust.predictions.loading import load_predictions
from cxrobust.predictions.records import PredictionSet, UnitPredictions
from cxrobust.predictions.units import (
    FORMAT,
    LOG_PROBABILITY,
    REPORT,
    check_probabilities,
    read_unit,
    registration_of,
    report_faults_of,
    write_unit,
)

__all__ = [
    "FORMAT",
    "IMAGES",
    "INDEX",
    "LOG_PROBABILITY",
    "REFERENCE",
    "REPORT",
    "VALIDATION_IMAGES",
    "PredictionSet",
    "Skipped",
    "UnitPredictions",
    "check_probabilities",
    "index_text",
    "joined_notes",
    "load_predictions",
    "notes_on_labels",
    "read_unit",
    "registration_of",
    "report_faults_of",
    "skipped_images",
    "told_of_contradictory",
    "write_index",
    "write_unit",
]
