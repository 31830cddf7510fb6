"""Whether the data have what the settings ask of them: columns of subgroups, and what families name."""

from collections.abc import Sequence

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from cxrobust.analysis.declared import Scope, check_declared
from cxrobust.analysis.metrics import metric
from cxrobust.analysis.subgroups import split
from cxrobust.analysis.values import averages
from cxrobust.errors import MisfitError, StudyError, nearest, one_name, some
from cxrobust.results import REPORT
from cxrobust.study.analysis import AnalysisSection


def check_against_data(
    settings: AnalysisSection,
    *,
    metadata: pd.DataFrame,
    image_ids: Sequence[str],
    patients: Sequence[str] | NDArray[np.int32],
    findings: Sequence[str],
    labels: NDArray[np.int8],
    regimes: Sequence[str],
    conditions: Sequence[str],
    reference: str,
) -> None:
    """Raise the first thing that the settings ask of the data in vain.

    Parameters
    ----------
    metadata, image_ids, patients
        A row, an id and a patient for each image.
    labels
        (n_images, n_findings): 1, 0, or -1 where missing.

    Raises
    ------
    MisfitError
        When a column makes no subgroups, or a family names a finding or subgroup that there is not, or no test.
    """
    found = []
    for index, wanted in enumerate(settings.subgroups):
        try:
            found.append(
                split(
                    wanted,
                    metadata=metadata,
                    image_ids=image_ids,
                    patients=patients,
                    findings=findings,
                    labels=labels,
                )
            )
        except StudyError as error:
            raise MisfitError(str(error), ("analysis", "subgroups", index, "column")) from error
    of_reports = any(metric[name].of_reports for name in settings.metrics)
    known = {
        "findings": (*findings, *averages(len(findings)), *([REPORT] if of_reports else [])),
        "subgroups": ("", *(text for groups in found for text in groups.texts)),
    }
    for index, family in enumerate(settings.families):
        for key, names in known.items():
            wrong = next((name for name in getattr(family, key) if name not in names), None)
            if wrong is not None:
                raise MisfitError(
                    f"family {family.name!r} names no estimate: {wrong!r} is none of the {key}{nearest(wrong, names)}: "
                    f"known are {some(map(one_name, filter(None, names)), most=25) or 'none'}",
                    ("analysis", "families", index, key),
                )
    scope = Scope(
        regimes=regimes,
        conditions=conditions,
        reference=reference,
        findings=known["findings"],
        subgroups=known["subgroups"],
    )
    check_declared(settings, scope)
