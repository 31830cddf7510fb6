"""The Indiana University collection as the National Library of Medicine distributes it through Open-i."""

import tarfile
import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Literal
from xml.etree import ElementTree

import numpy as np
import pandas as pd

from cxrobust.errors import DataError, StudyError, counted, some
from cxrobust.files import sha256_bytes, sha256_file
from cxrobust.inference.datasets import STUDY_ID, Dataset, ImageTable, dataset, named
from cxrobust.inference.images import EXTENSIONS, FileImages, file_images, names_in, reason
from cxrobust.inference.rows import Rows, Views
from cxrobust.inference.tables import line, read_table
from cxrobust.predictions.pooling import Pool
from cxrobust.study.sections import DataPath
from cxrobust.texts import Texts

HEADINGS = {
    "Airspace Disease": ("Airspace Disease",),
    "Atelectasis": ("Pulmonary Atelectasis",),
    "Calcified Granuloma": ("Calcified Granuloma",),
    "Cardiomegaly": ("Cardiomegaly",),
    "Consolidation": ("Consolidation",),
    "Edema": ("Pulmonary Edema",),
    "Emphysema": ("Pulmonary Emphysema", "Emphysema", "Bullous Emphysema"),
    "Fibrosis": ("Pulmonary Fibrosis",),
    "Fracture": ("Fractures, Bone",),
    "Hernia": ("Hernia, Hiatal", "Hernia, Diaphragmatic"),
    "Infiltrate": ("Infiltrate",),
    "Lung Opacity": ("Opacity/lung",),
    "Mass": ("Mass",),
    "Nodule": ("Nodule",),
    "Pleural Effusion": ("Pleural Effusion", "Hydropneumothorax"),
    "Pleural Thickening": ("Thickening/pleura",),
    "Pneumonia": ("Pneumonia",),
    "Pneumothorax": ("Pneumothorax", "Hydropneumothorax", "Hemopneumothorax"),
}
"""What an indexer's term must begin with, up to a slash, to be a finding."""
NOT_INDEXED = "No Indexing"
FRONTAL = ("Frontal", "PA", "AP")
REPORTS = ("ecgen-radiology", "NLMCXR_reports.tgz")
FOLDERS = ("", "NLMCXR_png", "NLMCXR_dcm", "images")
SECTION = "AbstractText"
MOST_BYTES = 1_000_000
"""A larger report is refused before it is read; the largest has 20,000 bytes."""
CITATION = (
    "Demner-Fushman D, Kohli MD, Rosenman MB, et al. Preparing a collection of radiology examinations for distribution "
    "and retrieval. Journal of the American Medical Informatics Association 2016;23:304–310. doi:10.1093/jamia/ocv080."
)


@dataset("openi")
class OpenI(Dataset):
    """7,470 radiographs of 3,851 examinations in Indiana, whose reports were indexed by trained people with MeSH terms.

    `root` holds the reports, the folder `ecgen-radiology` or `NLMCXR_reports.tgz` as it is, and the images as PNG
    (`CXR1000_IM-0003-1001.png`) or DICOM (`1000/1000_IM-0003-1001.dcm`). Every report is of another patient. A term
    such as `Opacity/lung/base/left` makes a finding positive; one that no term names is negative.

    The reports tell no views. `projections` is a table that does, such as `indiana_projections.csv` of Kaggle: its
    columns are `filename` or `imageid`, and `projection`, `view`, `tsne-view` or `View Position`; one that tells two
    views of an image is refused. Without one take `views = "all"`, which holds lateral images too.

    Images are left out, and counted, when their report was not indexed, their view is not told or not wanted, or they
    are not in `list`. Reports without an image are of no use here; how many there are is counted apart.
    """

    kind: Literal["openi"]
    root: DataPath
    reports: DataPath | None = None
    """The folder or archive of the reports, where it is not in `root`."""
    images: DataPath | None = None
    """The folder with the images, where it is not `root`."""
    projections: DataPath | None = None
    views: Views = "frontal"
    """`frontal` (Frontal, PA and AP), `all`, or values of the table in `projections`."""
    pool: Pool | None = None
    """Pool the predictions of each examination's images into one by their `mean` or `max`."""
    list: DataPath | None = None
    """A text file with one image id a line: the images that are taken; all when absent."""
    own_references: bool = False
    """Whether the sections of the reports are the references."""

    @property
    def has_own_references(self) -> bool:
        """Whether the reports are read as references."""
        return self.own_references

    def load(self, *, with_images: bool = True) -> ImageTable:
        """Read the reports and choose their images."""
        source = self.reports or _reports(self.root)
        reports = dict(sorted(report_texts(source)))
        if not reports:
            raise DataError(f"{source}: there is no report: get it again, or correct reports in [data]")
        images = [_read(name, text, source, self.sections) for name, text in reports.items()]
        if not any(images):
            raise DataError(
                f"{source}: none of its {counted(len(reports), 'report')} names an image: get it again, or correct "
                "reports in [data]"
            )
        rows = self._choose(pd.DataFrame([row for of_report in images for row in of_report]))
        _check_once(rows.frame, source)
        frame = rows.frame
        findings = tuple(HEADINGS)
        about = frame[["report", "view"]].rename(columns={"report": STUDY_ID}).reset_index(drop=True)
        texts = sha256_bytes(b"".join(name.encode() + b"\0" + text + b"\0" for name, text in reports.items()))
        files = [file for file in (self.list, self.projections) if file is not None]
        return ImageTable(
            name=named("Indiana University chest X-rays (Open-i)", self.pool),
            citation=CITATION,
            ids=Texts(frame["image"]),
            patients=Texts(frame["report"]),
            findings=findings,
            labels=np.array([[name in one for name in findings] for one in frame["found"]], dtype=np.int8),
            metadata=about if self.projections is not None else about.drop(columns="view"),
            images=self._images(frame) if with_images else None,
            exclusions=rows.exclusions,
            n_reports_without_image=images.count([]),
            sources={source.name: texts, **{file.name: sha256_file(file) for file in files}},
            pooled=self.pool,
            references=tuple(text or None for text in frame["text"]) if self.own_references else None,
        )

    def _choose(self, frame: pd.DataFrame) -> Rows:
        rows = Rows(frame=frame)
        if self.label_source == "data":
            rows = rows.only(~frame["unread"], "of a report that was not indexed")
        if self.projections is None and self.views != "all":
            raise StudyError(
                "[data] views: the reports of Open-i tell no views: name a table that does with projections, or write "
                'views = "all"'
            )
        known = {} if self.projections is None else _views(self.projections)
        views = [known.get(image, "") for image in rows.frame["image"]]
        rows = Rows(frame=rows.frame.assign(view=views), exclusions=rows.exclusions)
        if self.views != "all":
            rows = rows.only(rows.frame["view"] != "", "whose view is not told")
            rows = rows.of_views(self.views, column="view", frontal=FRONTAL)
        if self.list is None:
            return rows
        return rows.listed(self.list, column="image", source="the reports", known=frame["image"])

    def _images(self, frame: pd.DataFrame) -> FileImages:
        folder = self.images or self.root
        places = [folder / name for name in FOLDERS if (folder / name).is_dir()] or [folder]
        listed = {place: names_in(place) for place in places}
        for number in frame["report"].str.removeprefix("CXR").unique():
            listed |= {place / number: names_in(place / number) for place in places if number in listed[place]}
        return file_images(
            (
                _file(listed, image, report.removeprefix("CXR"))
                for image, report in frame[["image", "report"]].to_numpy()
            ),
            mend=f"download them, or correct {'images' if self.images else 'root'} in [data]",
        )


def _file(listed: dict[Path, frozenset[str]], image: str, number: str) -> Path:
    short = image.removeprefix("CXR")
    names = [*(image + ending for ending in EXTENSIONS), *(short + ending for ending in (".dcm", ".dcm.png", ".png"))]
    for place, there in listed.items():
        if place.name == number or not place.name.isdigit():
            for name in names:
                if name in there:
                    return place / name
    return next(iter(listed)) / names[0]


def _reports(root: Path) -> Path:
    found = [root / name for name in REPORTS if (root / name).exists()]
    if not found:
        raise DataError(
            f"{root}: the reports are missing ({' or '.join(REPORTS)}): put them there, or name them with reports in "
            "[data]"
        )
    return found[0]


def report_texts(source: Path) -> Iterator[tuple[str, bytes]]:
    """Yield each report's file name and content, from a folder or from a tar archive, which is not unpacked."""
    try:
        if source.is_dir():
            for path in source.glob("*.xml"):
                yield path.name, path.read_bytes()
            return
        with tarfile.open(source) as archive:
            for member in archive:
                content = archive.extractfile(member) if member.isreg() and member.size <= MOST_BYTES else None
                if content is not None and member.name.endswith(".xml"):
                    yield Path(member.name).name, content.read()
    except (OSError, EOFError, tarfile.TarError, zlib.error) as error:
        raise DataError(
            f"{source}: the reports cannot be read ({reason(error)}): get them again, or correct reports in [data]"
        ) from error


def _read(name: str, text: bytes, source: Path, sections: Sequence[str]) -> list[dict[str, object]]:
    """Return a row for each image of a report: its id, the report's, what was found, if it was unread, and its text."""
    place = f"{source}: report {name}"
    if b"<!DOCTYPE" in text or b"<!ENTITY" in text:  # entities could grow beyond any memory
        raise DataError(f"{place} declares a document type, which no report does: get it again")
    try:
        root = ElementTree.fromstring(text)  # noqa: S314 (no document type, so no entities)
        report = root.find("uId")
        images = [node.attrib["id"] for node in root.iter("parentImage")]
        number = "" if report is None else report.attrib["id"]
    except (ElementTree.ParseError, KeyError, ValueError) as error:
        raise DataError(f"{place} cannot be read ({reason(error)}): get it again") from error
    if not number:
        raise DataError(f"{place} has no uId: get it again")
    terms = [(node.text or "").strip() for node in root.findall(".//MeSH/major")]
    found = frozenset(name for name, starts in HEADINGS.items() if any(_begins(term, starts) for term in terms))
    unread = not terms or NOT_INDEXED in terms
    told = {node.attrib.get("Label", "").lower(): " ".join((node.text or "").split()) for node in root.iter(SECTION)}
    words = " ".join(told[one] for one in sections if told.get(one))
    return [{"image": image, "report": number, "found": found, "unread": unread, "text": words} for image in images]


def _check_once(frame: pd.DataFrame, source: Path) -> None:
    """Refuse an image that stands in two reports, or twice in one."""
    again = frame["image"][frame["image"].duplicated()].unique()
    if len(again):
        image = again[0]
        first, second = frame["report"][frame["image"] == image].iloc[:2]
        where = f"reports {first} and {second}" if first != second else f"report {first} twice"
        more = f", and {counted(len(again) - 1, 'other image')} likewise" if len(again) > 1 else ""
        raise DataError(f"{source}: image {image!r} stands in {where}{more}: get the reports again")


def _begins(term: str, starts: Sequence[str]) -> bool:
    return any(term == start or term.startswith(f"{start}/") for start in starts)


def _views(path: Path) -> dict[str, str]:
    """Return each image's view from a table of projections, by our ids."""
    frame = read_table(path, needs=[], what="the table of projections")
    ids = [name for name in ("filename", "imageid") if name in frame.columns]
    views = [name for name in ("projection", "view", "tsne-view", "View Position") if name in frame.columns]
    if not ids or not views:
        raise DataError(
            f"{path}: the table of projections needs a column filename or imageid, and projection, view, tsne-view or "
            f"View Position: its columns are {some(frame.columns, most=12)}"
        )
    names = frame["imageid" if "imageid" in ids else "filename"].str.replace(r"(\.dcm)?(\.png)?$", "", regex=True)
    told = pd.DataFrame({"image": "CXR" + names.str.removeprefix("CXR"), "view": frame[views[0]].str.strip()})
    told = told[told["view"] != ""].drop_duplicates()
    again = told[told["image"].duplicated()]
    if len(again):
        image, view, row = again["image"].iloc[0], again["view"].iloc[0], again.index[0]
        first = told[told["image"] == image]
        raise DataError(
            f"{path}:{line(path, row)}: {views[0]} is {view!r} for the image {names[row]!r}, and "
            f"{first['view'].iloc[0]!r} on line {line(path, first.index[0])}: keep the right one"
        )
    return dict(zip(told["image"], told["view"], strict=True))
