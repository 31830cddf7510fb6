"""How well the embedded labeler of reports reads: on sentences that we wrote, and beside the terms of real reports.

The sentences stand in `tests/radiology_reports/sentences.csv`, each with the labels that its writer, who had not seen
the rules, gives it. Rules were made with one half in view; the other half, chosen by hash, judges them. The real
reports are the 3,955 of Indiana University that come with `torchxrayvision`, indexed by trained people with MeSH terms
(Demner-Fushman et al. 2016, doi:10.1093/jamia/ocv080): another question than the report's words, so agreement, not
truth. They are read where they are installed, and no text of them is written.

    python benchmarks/labeler.py --out benchmarks/results/labeler.json
    python benchmarks/tables.py
"""

import argparse
import csv
import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from importlib.util import find_spec
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
from record import write
from statsmodels.stats.inter_rater import cohens_kappa

from cxrobust.inference.datasets.openi import report_texts
from cxrobust.radiology_reports.labeler import Label, label_report
from cxrobust.radiology_reports.phrases import OBSERVATIONS

SENTENCES = Path(__file__).parent.parent / "tests" / "radiology_reports" / "sentences.csv"
HALVES = ("tuning", "held out")
TERMS: Mapping[str, tuple[str, ...]] = {
    "Cardiomegaly": ("Cardiomegaly",),
    "Lung Opacity": ("Opacity", "Infiltrate", "Airspace Disease"),
    "Lung Lesion": ("Nodule", "Mass", "Calcified Granuloma", "Granuloma", "Lung Neoplasms"),
    "Edema": ("Pulmonary Edema", "Pulmonary Congestion"),
    "Consolidation": ("Consolidation",),
    "Pneumonia": ("Pneumonia",),
    "Atelectasis": ("Pulmonary Atelectasis", "Atelectasis"),
    "Pneumothorax": ("Pneumothorax", "Hydropneumothorax", "Hemopneumothorax"),
    "Pleural Effusion": ("Pleural Effusion", "Hydropneumothorax"),
    "Pleural Other": ("Thickening/pleura",),
    "Fracture": ("Fractures, Bone",),
    "Support Devices": (
        "Surgical Instruments",
        "Catheters, Indwelling",
        "Implanted Medical Device",
        "Medical Device",
        "Tube, Inserted",
        "Stents",
    ),
}
"""What an indexer's term is, or begins with before a slash, for each observation but the mediastinum's."""
COMPARED: Mapping[str, tuple[str, ...]] = {"No Finding": ("normal",), **TERMS}


@dataclass(frozen=True, kw_only=True, slots=True)
class Counts:
    """Of one observation and class, in one half of the sentences."""

    half: str
    observation: str
    label: str
    right: int
    wrong: int
    """Labels given that the writer did not give."""
    missed: int


@dataclass(frozen=True, kw_only=True, slots=True)
class Agreement:
    """Of one observation, on real reports: affirmed by the labeler, indexed by people."""

    observation: str
    both: int
    labeler_only: int
    indexer_only: int
    neither: int
    doubted: int
    """Of those that the indexer alone names, how many the labeler calls uncertain, and what it makes of the rest."""
    denied: int
    unsaid: int
    called_normal: int
    """Of those that the labeler alone affirms, how many are indexed as normal."""
    kappa: float
    kappa_low: float
    kappa_high: float
    """95 %, by the standard error of Fleiss, Cohen and Everitt (1969), each report being of another patient."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=None, help="JSON file for the numbers")
    arguments = parser.parse_args()
    counts = [one for half in HALVES for one in counted(sentences(half), half)]
    exact = {half: whole(sentences(half)) for half in HALVES}
    agreements = agreed(list(indexed()))
    content = {"counts": [asdict(one) for one in counts], "exact": exact, "agreements": [asdict(a) for a in agreements]}
    write(arguments.out, content, packages=("statsmodels", "torchxrayvision"))
    for half, (right, all_of_them) in exact.items():
        print(f"{half}: all labels right in {right} of {all_of_them} texts")
    for one in agreements:
        print(f"{one.observation}: kappa {one.kappa:.2f} ({one.kappa_low:.2f} to {one.kappa_high:.2f})")


def sentences(half: str) -> list[tuple[str, dict[str, Label]]]:
    """Return the texts of one half with their labels."""
    with SENTENCES.open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    return [(row["text"], wanted(row["labels"])) for row in rows if half_of(row["text"]) == half]


def half_of(text: str) -> str:
    return HALVES[0] if hashlib.sha256(text.encode()).digest()[0] % 2 else HALVES[1]


def wanted(labels: str) -> dict[str, Label]:
    pairs = (one.split("=") for one in labels.split(";") if one.strip())
    return {name.strip(): Label[value.strip().upper()] for name, value in pairs}


def read(text: str) -> dict[str, Label]:
    """Return what the labeler reads, `No Finding` apart, which follows from the rest."""
    return {name: label for name, label in label_report(text).items() if name != "No Finding"}


def counted(rows: Sequence[tuple[str, dict[str, Label]]], half: str) -> list[Counts]:
    given = [(truth, read(text)) for text, truth in rows]
    found = []
    for name in OBSERVATIONS[1:]:
        for label in Label:
            pairs = [(truth.get(name) == label, got.get(name) == label) for truth, got in given]
            found.append(
                Counts(
                    half=half,
                    observation=name,
                    label=label.name.lower(),
                    right=sum(t and g for t, g in pairs),
                    wrong=sum(g and not t for t, g in pairs),
                    missed=sum(t and not g for t, g in pairs),
                )
            )
    return found


def whole(rows: Sequence[tuple[str, dict[str, Label]]]) -> tuple[int, int]:
    """Return in how many texts every label is right, of how many."""
    return sum(read(text) == truth for text, truth in rows), len(rows)


def indexed() -> Iterator[tuple[dict[str, Label], list[str]]]:
    """Yield for each real report that was indexed what the labeler reads, and the terms."""
    return ((label_report(text), terms) for text, terms in real())


def real() -> Iterator[tuple[str, list[str]]]:
    """Yield the findings and impression of each real report that was indexed, and the terms."""
    found = find_spec("torchxrayvision")
    if found is None or found.origin is None:
        raise SystemExit("torchxrayvision is not installed, which brings the reports: install the group dev")
    for _, content in sorted(report_texts(Path(found.origin).parent / "data" / "NLMCXR_reports.tgz")):
        root = ElementTree.fromstring(content)  # noqa: S314  a package's own file
        parts = {node.attrib["Label"]: node.text or "" for node in root.iter("AbstractText")}
        text = "\n".join(f"{name}: {parts[name]}" for name in ("FINDINGS", "IMPRESSION") if parts.get(name))
        terms = [(node.text or "").strip() for node in root.findall(".//MeSH/major")]
        if text and terms and "No Indexing" not in terms:
            yield text, terms


def agreed(reports: Sequence[tuple[dict[str, Label], list[str]]]) -> list[Agreement]:
    return [agreement(name, reports) for name in COMPARED]


def agreement(name: str, reports: Sequence[tuple[dict[str, Label], list[str]]]) -> Agreement:
    """Return how labeler and indexer agree on an observation, and what the labeler makes of what it does not affirm."""
    named = [[labels.get(name) for labels, terms in reports if has(name, terms) == yes] for yes in (False, True)]
    table = np.array([[len(some) - some.count(Label.POSITIVE), some.count(Label.POSITIVE)] for some in named]).T
    normal = [
        labels.get(name) == Label.POSITIVE and not has(name, terms) and terms == ["normal"] for labels, terms in reports
    ]
    kappa = cohens_kappa(table)
    return Agreement(
        observation=name,
        both=int(table[1, 1]),
        labeler_only=int(table[1, 0]),
        indexer_only=int(table[0, 1]),
        neither=int(table[0, 0]),
        doubted=named[True].count(Label.UNCERTAIN),
        denied=named[True].count(Label.NEGATIVE),
        unsaid=named[True].count(None),
        called_normal=sum(normal),
        kappa=float(kappa.kappa),
        kappa_low=float(kappa.kappa_low),
        kappa_high=float(kappa.kappa_upp),
    )


def has(name: str, terms: Sequence[str]) -> bool:
    """Return whether an indexer's term names an observation."""
    return any(term == start or term.startswith(f"{start}/") for term in terms for start in COMPARED[name])


if __name__ == "__main__":
    main()
