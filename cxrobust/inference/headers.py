"""What the headers of DICOM files say of patients and views."""

import warnings
from collections.abc import Iterable
from pathlib import Path

import pandas as pd

from cxrobust.errors import DataError, StudyError, require
from cxrobust.inference.columns import in_common_words
from cxrobust.inference.dicom import MARK, MARK_AT, is_dicom
from cxrobust.inference.images import FileImages, reason, tolerates_missing_files

TAGS = {"PatientSex": "sex", "PatientAge": "age", "ViewPosition": "view"}


def with_headers(metadata: pd.DataFrame, images: FileImages | None) -> pd.DataFrame:
    """Return metadata, a row an image, with what the images' headers say beside them.

    Raises
    ------
    StudyError
        When there are no images, since every regime's predictions were made elsewhere.
    """
    if images is None:
        raise StudyError(
            "[data] headers: no image is read where every regime's predictions were made elsewhere: remove headers, or "
            "give a table of your own by metadata"
        )
    return metadata.join(read_headers(images.paths))


def read_headers(paths: Iterable[Path]) -> pd.DataFrame:
    """Return sex, age in years and view of each file, in the order of `paths`; missing where a header does not tell.

    Pixels are not read. A file that is no DICOM tells nothing, and neither does one that cannot be read within
    `tolerating_missing_files`: its image is left out once its pixels are asked for.

    Raises
    ------
    DataError
        Naming the file whose header cannot be read, outside `tolerating_missing_files`.
    MissingGroupError
        When pydicom is not installed.
    """
    pydicom = require("pydicom", group="inference")
    rows = []
    for path in paths:
        try:
            if not _tells_dicom(path):
                rows.append(dict.fromkeys(TAGS.values(), ""))
                continue
            with warnings.catch_warnings(action="ignore"):  # of ages without a unit, which some data sets have
                header = pydicom.dcmread(path, stop_before_pixels=True, specific_tags=list(TAGS))
                rows.append({name: str(header.get(tag) or "").strip() for tag, name in TAGS.items()})
        except Exception as error:  # a damaged file makes pydicom raise errors of any type
            if tolerates_missing_files():
                rows.append(dict.fromkeys(TAGS.values(), ""))
                continue
            raise DataError(f"{path}: its header cannot be read ({reason(error)}): get the file again") from error
    return in_common_words(pd.DataFrame(rows, columns=list(TAGS.values())))


def _tells_dicom(path: Path) -> bool:
    with path.open("rb") as file:
        return is_dicom(path, file.read(MARK_AT + len(MARK)))
