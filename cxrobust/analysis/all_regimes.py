"""Whether all regimes have an outcome equally often: Cochran's Q, a row for each condition and finding.

The row has a p-value and no estimate. It is of every regime, so that its columns `regime` and `reference` are blank;
beside it the pairs of regimes have rows and tests of their own.
"""

from collections.abc import Sequence

import numpy as np

from cxrobust.analysis.classical.cochran import cochran_q
from cxrobust.analysis.classical.result import never_0
from cxrobust.analysis.contrasts import Contrast
from cxrobust.analysis.counts import Scope
from cxrobust.analysis.estimates import without_value
from cxrobust.analysis.intervals import no_interval
from cxrobust.analysis.metrics import Mean
from cxrobust.analysis.notes import ONE_PATIENT, joined, note_on_images, notes_on_counts, why_undefined
from cxrobust.analysis.testing import COCHRAN, NOTHING, Tested, no_test
from cxrobust.analysis.unread import Unread, cells_of
from cxrobust.analysis.values import Values
from cxrobust.results import ALL_REGIMES, MACRO, WORST, Estimate, finite


def all_regimes_estimates(
    name: str, metric: Mean, values: Values, contrasts: Sequence[Contrast], *, scope: Scope
) -> tuple[Estimate, ...]:
    """Test under each condition, of each finding and of all pooled, that the regimes have the outcome equally often.

    Parameters
    ----------
    metric
        The mean of an outcome of each image, the only kind that Cochran's test fits.
    contrasts
        Of one scope; the differences between regimes among them say under which conditions.
    """
    between: dict[str, list[Contrast]] = {}
    for one in contrasts:
        if one.estimand == "regime-reference":
            between.setdefault(one.condition, []).append(one)
    sample = values.samples[0]
    on_counts = notes_on_counts(scope, values.named_left_out, sample.thresholds if metric.of_decisions else ())
    unread = Unread.of(values.samples, n_places=len(scope.findings))
    found = []
    for condition, pairs in between.items():
        cells = [cell for one in pairs for cell in cells_of(metric, one, sample)]
        for place, counts in enumerate(scope.findings):
            if counts.name in {MACRO, WORST}:
                continue
            reason = _why_not(values, pairs, place)
            why = no_test(metric, pairs[0]) or (ONE_PATIENT if counts.n_patients < 2 else "")
            outcome = NOTHING if reason or why else _outcome(metric, values, pairs[0], place)
            said = [why, outcome.note, *note_on_images(outcome, no_interval(), "", counts)]
            notes = [*on_counts[place].notes, *filter(None, said), *unread.notes(cells, place)]
            p_value = finite(outcome.p_value)
            found.append(
                without_value(
                    name,
                    counts,
                    estimand=ALL_REGIMES,
                    regime="",
                    reference=None,
                    condition=condition,
                    subgroup=scope.subgroup,
                    reason=reason,
                    p_value=p_value,
                    test=None if p_value is None else outcome.name,
                    note=joined(reason, [] if reason else notes),
                )
            )
    return tuple(found)


def _why_not(values: Values, pairs: Sequence[Contrast], place: int) -> str | None:
    """Say why some difference between regimes is not estimable, or return None."""
    undefined = max(float(np.isnan(one.of(values.resampled)[place]).mean()) for one in pairs)
    reasons = (values.reason(one, place) for one in pairs)
    most = values.samples[0].settings.most_undefined
    return next((why for why in reasons if why is not None), None) or why_undefined(undefined, most_undefined=most)


def _outcome(metric: Mean, values: Values, pair: Contrast, place: int) -> Tested:
    """Hold the outcomes of all regimes against one another, under a pair's condition and on its images."""
    row, condition, _ = pair.terms[0]
    n_regimes = len(values.samples[0].predictions.regimes)
    first = row // n_regimes * n_regimes
    cells = [values.cells(first + r, condition, place)[0] for r in range(n_regimes)]
    found = cochran_q(np.column_stack([metric.score(cell) == 1 for cell in cells]))
    said = f"Cochran's Q {found.statistic:.4g} with {n_regimes - 1} df that all {n_regimes} regimes are alike"
    return Tested(name=COCHRAN, p_value=never_0(found.p_value), note="; ".join(filter(None, (said, found.note))))
