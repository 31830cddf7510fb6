"""What the intervals and tests of a study count: patients or images."""

from collections.abc import Iterator

from cxrobust.reports.sources import names_all_patients
from cxrobust.reports.view import View

OF_IMAGES = frozenset({"delong", "mcnemar", "mcnemar-midp", "wilcoxon", "cochran-q"})
"""Intervals and tests that take images for independent."""


def unit(view: View) -> str:
    """Say what intervals and tests count, as a clause."""
    if not names_all_patients(view):
        return "where the data name no patients, each image counts as a patient"
    if _has_some_of_images(view):
        return "some intervals or tests take images for independent"
    return "every interval and test of the main analysis counts patients, not images"


def counts_patients(view: View) -> bool:
    """Whether patients are known and every interval and test counts them."""
    return names_all_patients(view) and not _has_some_of_images(view)


def _has_some_of_images(view: View) -> bool:
    return not OF_IMAGES.isdisjoint(_chosen(view))


def _chosen(view: View) -> Iterator[str | None]:
    """Yield the intervals and tests that the study names, and those that its estimates have."""
    analysis = view.results.study["analysis"]
    for section in (analysis, *analysis.get("per_metric", {}).values()):
        yield from (section.get("interval"), section.get("test"))
    for estimate in view.results.estimates:
        yield from (estimate.interval, estimate.test)
