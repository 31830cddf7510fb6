"""Where a study's images and labels come from, as its data settings say."""

from collections.abc import Mapping
from enum import Enum
from typing import Any

from cxrobust.reports.view import View

Settings = Mapping[str, Any]

RADIOGRAPHS = frozenset(
    {
        "nih-chestxray14", "mimic-cxr-jpg", "chexpert", "padchest", "openi", "vindr-cxr", "rsna-pneumonia",
        "siim-pneumothorax",
    }
)  # fmt: skip
"""Kinds of data that are radiographs and nothing else."""


class Origin(Enum):
    """How labels came about, as it is said after `were`."""

    SOFTWARE = "extracted from radiology reports by software"
    PEOPLE = "taken from radiology reports by people"
    BOTH = "taken from radiology reports, some by people and the others by software"
    READERS = "given by readers of the images"
    UNKNOWN = "given by the source of the data"

    @property
    def is_reports(self) -> bool:
        """Whether labels tell what a report says, not what a reader of the image sees."""
        return self in {Origin.SOFTWARE, Origin.PEOPLE, Origin.BOTH}


def origin(settings: Settings) -> Origin:
    """Return how the labels of one data set came about.

    Examples
    --------
    >>> origin({"kind": "nih-chestxray14"}), origin({"kind": "nih-chestxray14", "labeler": "google2019"})
    (<Origin.SOFTWARE: 'extracted from radiology reports by software'>, <Origin.READERS: 'given by readers of the images'>)
    """
    match settings:
        case {"label_source": "references"}:
            return Origin.SOFTWARE
        case {"kind": "nih-chestxray14", "labeler": "google2019"}:
            return Origin.READERS
        case {"kind": "mimic-cxr-jpg", "labeler": "radiologist"} | {"kind": "openi"}:
            return Origin.PEOPLE
        case {"kind": "nih-chestxray14" | "mimic-cxr-jpg"} | {"kind": "chexpert", "split": "train"}:
            return Origin.SOFTWARE
        case {"kind": "padchest", "labeler": "all"}:
            return Origin.BOTH
        case {"kind": "padchest"}:
            return Origin.PEOPLE
        case {"kind": "chexpert" | "vindr-cxr" | "rsna-pneumonia" | "siim-pneumothorax"}:
            return Origin.READERS
    return Origin.UNKNOWN


def sources(view: View) -> Mapping[str, Settings]:
    """Return the settings of each data set by its name in the study, of a single one by the empty text."""
    data = view.results.study["data"]
    return data.get("members") or {"": data} if data.get("kind") == "pooled" else {"": data}


def origins(view: View) -> Mapping[Origin, tuple[str, ...]]:
    """Return how labels came about, and the names of the data sets of which it holds."""
    found: dict[Origin, tuple[str, ...]] = {}
    for name, settings in sources(view).items():
        found[origin(settings)] = (*found.get(origin(settings), ()), name)
    return found


def of_kinds(view: View, *kinds: str) -> tuple[str, ...]:
    """Return the names of the data sets that are of these kinds."""
    return tuple(name for name, settings in sources(view).items() if settings.get("kind") in kinds)


def names_all_patients(view: View) -> bool:
    """Whether the data say of every image whose it is."""
    return "patients_known" not in view.results.data


def names_no_patient(view: View) -> bool:
    """Whether the data say of no image whose it is."""
    return view.results.data.get("patients_known") == "none"


def split_of(settings: Settings) -> str | None:
    """Return the split of a data set that was analysed; None where its settings do not tell."""
    split = settings.get("split")
    if settings.get("kind") == "nih-chestxray14" and settings.get("labeler") == "google2019" and not split:
        return "test" if settings.get("list") in {None, "present"} else None
    if settings.get("kind") == "folder" and split == "test" and not settings.get("split_column"):
        return None  # the usual value, which stands there without a column too
    return split
