"""What the intervals and tests of a study count: patients or images."""

from cxrobust.reports.sources import names_all_patients, names_no_patient
from cxrobust.reports.view import View
from cxrobust.reports.words import counted
from cxrobust.results import OF_IMAGES

OF_PATIENTS = "patient-level intervals"


def unit(view: View) -> str:
    """Say what intervals and tests count, as a clause."""
    if not names_all_patients(view):
        return "where the data name no patients, each image counts as a patient"
    if _has_some_of_images(view):
        return "some intervals or tests take images for independent"
    is_tested = any(one.p_value is not None for one in view.results.estimates)
    return f"every interval{' and test' if is_tested else ''} of the main analysis counts patients, not images"


def counted_images(view: View) -> str:
    """Count the images, and the patients where the data name them: `624 images of 300 patients`."""
    data = view.results.data
    images = counted(data["n_images"], "image")
    return f"{images} of {counted(data['n_patients'], 'patient')}" if names_all_patients(view) else images


def counts_patients(view: View) -> bool:
    """Whether patients are known and every interval and test counts them."""
    return names_all_patients(view) and not _has_some_of_images(view)


def intervals_of_estimates(view: View) -> str:
    """Say what kind of intervals a study's estimates have, for a caption."""
    return OF_PATIENTS if counts_patients(view) else "intervals"


def intervals_of_diagrams(view: View) -> str:
    """Say what kind of intervals diagrams have, which are from resamples of patients whatever the study chose."""
    return OF_PATIENTS if names_all_patients(view) else "intervals"


def in_units(view: View, words: str) -> str:
    """Return words on tests and intervals that name patients; where the data name none, they name images.

    `sign-flip permutation test by patient` becomes `sign-flip permutation test by image`.
    """
    if not names_no_patient(view):
        return words
    for patient, image in (
        ("by patient, patients", "by image, images"),
        ("by patient", "by image"),
        ("patient-level", "image-level"),
    ):
        words = words.replace(patient, image)
    return words


def _has_some_of_images(view: View) -> bool:
    return not OF_IMAGES.isdisjoint(_chosen(view))


def _chosen(view: View) -> set[str | None]:
    """Return the intervals and tests that the study names, and those that its estimates have."""
    analysis = view.results.study["analysis"]
    named = {
        one.get(key) for one in (analysis, *analysis.get("per_metric", {}).values()) for key in ("interval", "test")
    }
    return named.union(view.procedures)
