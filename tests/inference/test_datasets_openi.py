"""Open-i: reports as XML in a folder or an archive, terms that are findings, and all 3,955 real reports."""

import io
import json
import re
import tarfile
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from cxrobust.errors import DataError, StudyError
from cxrobust.inference.datasets.openi import OpenI
from cxrobust.inference.described import describe_images

# report, terms of the indexers, images
REPORTS = (
    ("1", ["normal"], ["CXR1_1_IM-0001-3001", "CXR1_1_IM-0001-4001"]),
    ("2", ["Opacity/lung/base/left", "Thickening/bronchovascular", " Pleural Effusion "], ["CXR2_IM-0652-1001"]),
    ("30", ["No Indexing"], ["CXR30_IM-1385-1001"]),
    ("4", [], ["CXR4_IM-2050-1001"]),
    ("5", ["Hydropneumothorax/right", "Thickening/pleura/apex", "Opacity, other"], ["CXR5_IM-2117-1003002"]),
    ("6", ["Cardiomegaly"], []),
)


def xml(number, terms, images, *, head=""):
    majors = "".join(f"<major>{term}</major>" for term in terms)
    pictures = "".join(f'<parentImage id="{image}"><caption>PA</caption></parentImage>' for image in images)
    return f'<?xml version="1.0"?>{head}<eCitation><uId id="CXR{number}"/><MeSH>{majors}</MeSH>{pictures}</eCitation>'


@pytest.fixture
def root(tmp_path):
    (tmp_path / "ecgen-radiology").mkdir()
    for number, terms, images in REPORTS:
        (tmp_path / "ecgen-radiology" / f"{number}.xml").write_text(xml(number, terms, images))
    return tmp_path


def openi(root, **settings):
    values = {"kind": "openi", "root": root, "views": "all", **settings}
    return OpenI.model_validate_json(json.dumps(values, default=str))


def found(table):
    return {
        image: {table.findings[column] for column in np.flatnonzero(row)}
        for image, row in zip(table.ids, table.labels, strict=True)
    }


def test_terms_are_findings_by_their_first_words(root):
    table = openi(root).table(with_images=False)
    assert found(table) == {
        "CXR1_1_IM-0001-3001": set(),
        "CXR1_1_IM-0001-4001": set(),
        "CXR2_IM-0652-1001": {"Lung Opacity", "Pleural Effusion"},
        "CXR5_IM-2117-1003002": {"Pneumothorax", "Pleural Effusion", "Pleural Thickening"},
    }
    assert table.patients == ("CXR1", "CXR1", "CXR2", "CXR5")
    assert table.exclusions == {"of a report that was not indexed": 2}
    assert table.n_reports_without_image == sum(not images for *_, images in REPORTS) == 1


@pytest.mark.parametrize(
    ("report", "images", "where"),
    [
        ("7", ["CXR2_IM-0652-1001"], "reports CXR2 and CXR7"),
        ("7", ["CXR7_1", "CXR7_1"], "report CXR7 twice"),
        ("7", ["CXR2_IM-0652-1001", "CXR5_IM-2117-1003002"], "reports CXR. and CXR7, and 1 other image likewise"),
    ],
)
def test_an_image_of_two_reports_is_told(report, images, where, root):
    (root / "ecgen-radiology" / f"{report}.xml").write_text(xml(report, ["normal"], images))
    with pytest.raises(DataError, match=rf"ecgen-radiology: image 'CXR\S+' stands in {where}: get the reports again"):
        openi(root).table(with_images=False)


@pytest.mark.parametrize("term", ["Massive", "Mass, chest", "Pneumonias/right", "Edematous"])
def test_a_term_that_only_begins_as_a_finding_is_none(term, root):
    (root / "ecgen-radiology" / "2.xml").write_text(xml("2", [term], ["CXR2_IM-0652-1001"]))
    assert found(openi(root).table(with_images=False))["CXR2_IM-0652-1001"] == set()


def test_the_index_counts_reports_without_an_image_apart_from_images(root):
    def index(table):
        return describe_images(SimpleNamespace(table=table, left_out={}, pixels=None))

    told = index(openi(root).table(with_images=False))
    assert told["n_reports_without_image"] == 1
    assert told["exclusions"] == {"of a report that was not indexed": 2}
    (root / "ecgen-radiology" / "6.xml").unlink()
    assert "n_reports_without_image" not in index(openi(root).table(with_images=False))


def test_an_archive_is_read_like_the_folder(root):
    with tarfile.open(root / "NLMCXR_reports.tgz", "w:gz") as archive:
        for path in sorted((root / "ecgen-radiology").iterdir(), reverse=True):
            archive.add(path, f"ecgen-radiology/{path.name}")
        link = tarfile.TarInfo("ecgen-radiology/9.xml")
        link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
        archive.addfile(link)
    packed = openi(root, reports=root / "NLMCXR_reports.tgz").table(with_images=False)
    unpacked = openi(root).table(with_images=False)
    assert packed.ids == unpacked.ids
    np.testing.assert_array_equal(packed.labels, unpacked.labels)
    assert list(packed.sources.values()) == list(unpacked.sources.values())


@pytest.mark.parametrize(
    ("header", "name"), [("uid,filename,projection", "{}.dcm.png"), ("imageid,tsne-view", "CXR{}")]
)
def test_views_come_from_a_table_of_projections(header, name, root):
    views = {"1_1_IM-0001-3001": "Frontal", "1_1_IM-0001-4001": "Lateral", "2_IM-0652-1001": "PA", "5_IM-2117-9": "PA"}
    rows = [
        ("1," if header.startswith("uid") else "") + f"{name.format(image)},{view}" for image, view in views.items()
    ]
    (root / "views.csv").write_text("\n".join([header, *rows]) + "\n")
    table = openi(root, projections=root / "views.csv", views="frontal").table(with_images=False)
    assert table.ids == ("CXR1_1_IM-0001-3001", "CXR2_IM-0652-1001")
    assert list(table.metadata["view"]) == ["Frontal", "PA"]
    assert table.exclusions == {
        "of a report that was not indexed": 2,
        "whose view is not told": 1,
        "with a view other than Frontal and PA and AP": 1,
    }
    with pytest.raises(StudyError, match=r"tell no views: name a table that does with projections, or write views"):
        openi(root, views="frontal").table(with_images=False)
    (root / "views.csv").write_text("image,side\n1,2\n")
    with pytest.raises(DataError, match="needs a column filename or imageid"):
        openi(root, projections=root / "views.csv").table(with_images=False)


def test_a_table_of_projections_that_contradicts_itself_is_refused(root):
    rows = ["filename,projection", "1_1_IM-0001-3001.dcm.png,Frontal", "2_IM-0652-1001.dcm.png,PA"]
    harmless = ["1_1_IM-0001-3001.dcm.png,Frontal ", "2_IM-0652-1001.dcm.png,"]
    (root / "views.csv").write_text("\n".join([*rows, *harmless]) + "\n")
    table = openi(root, projections=root / "views.csv", views="frontal").table(with_images=False)
    assert list(table.metadata["view"]) == ["Frontal", "PA"]
    (root / "views.csv").write_text("\n".join([*rows, "1_1_IM-0001-3001.dcm.png,Lateral"]) + "\n")
    words = (
        r"views\.csv:4: projection is 'Lateral' for the image '1_1_IM-0001-3001', and 'Frontal' on line 2: keep the "
        r"right one$"
    )
    with pytest.raises(DataError, match=words):
        openi(root, projections=root / "views.csv", views="all").table(with_images=False)


def test_a_list_may_name_images_that_are_left_out_for_another_reason(root):
    (root / "list.txt").write_text("CXR30_IM-1385-1001\nCXR2_IM-0652-1001\n")
    table = openi(root, list=root / "list.txt").table(with_images=False)
    assert table.ids == ("CXR2_IM-0652-1001",)
    assert table.exclusions == {"of a report that was not indexed": 2, "that are not in list.txt": 3}
    assert len(table.ids) + sum(table.exclusions.values()) == sum(len(images) for *_, images in REPORTS)
    (root / "list.txt").write_text("CXR31_IM-1385-1001\n")
    with pytest.raises(DataError, match=r"list\.txt:1: image 'CXR31_IM-1385-1001' is not in the reports: correct"):
        openi(root, list=root / "list.txt").table(with_images=False)


@pytest.mark.parametrize(
    "layout", ["{image}.png", "NLMCXR_png/{image}.png", "images/{short}.dcm.png", "{number}/{short}.png"]
)
def test_images_lie_in_any_of_the_usual_places(layout, root):
    for grey, (number, _, images) in enumerate(REPORTS):
        for image in images:
            path = root / layout.format(image=image, short=image.removeprefix("CXR"), number=number)
            path.parent.mkdir(exist_ok=True)
            Image.new("L", (8, 6), 10 * grey).save(path)
    table = openi(root).table()
    assert [round(float(table.images.pixels(k).mean()) * 25.5) for k in range(4)] == [0, 0, 1, 4]
    with pytest.raises(DataError, match=r"4 of 4 image files are missing \(.*CXR1_1_IM-0001-3001.png"):
        openi(root, images=root / "ecgen-radiology").table()


def test_what_is_no_report_is_named(root, tmp_path):
    path = root / "ecgen-radiology" / "7.xml"
    path.write_text(xml("7", [], [], head='<!DOCTYPE x [<!ENTITY a "aaaa">]>'))
    with pytest.raises(DataError, match=r"report 7\.xml declares a document type"):
        openi(root).table(with_images=False)
    path.write_text("<eCitation>")
    with pytest.raises(DataError, match=r"report 7\.xml cannot be read"):
        openi(root).table(with_images=False)
    path.write_text("<eCitation/>")
    with pytest.raises(DataError, match=r"report 7\.xml has no uId"):
        openi(root).table(with_images=False)
    for other in path.parent.iterdir():
        other.write_text(xml("6", ["Cardiomegaly"], []))
    with pytest.raises(DataError, match=r"ecgen-radiology: none of its 7 reports names an image: get it again"):
        openi(root).table(with_images=False)
    (tmp_path / "broken.tgz").write_bytes(b"\x1f\x8b no archive")
    with pytest.raises(DataError, match=r"broken\.tgz: the reports cannot be read"):
        openi(root, reports=tmp_path / "broken.tgz").table(with_images=False)
    with pytest.raises(DataError, match=r"the reports are missing \(ecgen-radiology or NLMCXR_reports.tgz\)"):
        openi(tmp_path / "ecgen-radiology").table(with_images=False)


def test_every_real_report_against_a_search_of_its_text(wheel_tables, tmp_path):
    source = wheel_tables / "NLMCXR_reports.tgz"
    table = openi(tmp_path, reports=source).table(with_images=False)
    terms, images = {}, {}
    with tarfile.open(source) as archive:
        for member in archive:
            if member.name.endswith(".xml"):
                text = io.TextIOWrapper(archive.extractfile(member), encoding="utf-8").read()
                report = re.search(r'<uId id="(\w+)"', text)[1]
                terms[report] = [term.strip() for term in re.findall(r"<major>(.*?)</major>", text, re.DOTALL)]
                images |= dict.fromkeys(re.findall(r'<parentImage id="([^"]+)"', text), report)
    assert (len(terms), len(images)) == (3_955, 7_470)
    indexed = {image for image, report in images.items() if terms[report] and "No Indexing" not in terms[report]}
    assert set(table.ids) == indexed
    assert table.n_reports_without_image == len(terms) - len(set(images.values())) == 104
    assert table.exclusions == {"of a report that was not indexed": len(images) - len(indexed)}
    assert list(table.patients) == [images[image] for image in table.ids]
    for finding, start in (("Cardiomegaly", "Cardiomegaly"), ("Lung Opacity", "Opacity/lung"), ("Nodule", "Nodule")):
        column = table.labels[:, table.findings.index(finding)]
        expected = [
            any(term.split("/")[: start.count("/") + 1] == start.split("/") for term in terms[images[image]])
            for image in table.ids
        ]
        np.testing.assert_array_equal(column, expected)
    assert (table.labels.sum(axis=0) > 0).all()


def test_real_views_by_either_table(wheel_tables, tmp_path):
    source = wheel_tables / "NLMCXR_reports.tgz"
    for name, column in (("nlmcxr_tsne_pa.csv.gz", "tsne-view"), ("nlmcxr_dicom_metadata.csv.gz", "View Position")):
        path = wheel_tables / name
        table = openi(tmp_path, reports=source, projections=path, views=["PA"]).table(with_images=False)
        told = pd.read_csv(path, dtype=str, usecols=["imageid", column])
        assert set(table.ids) <= set(told["imageid"][told[column] == "PA"])
        assert len(table.ids) > 3_000
        assert len(table.ids) + sum(table.exclusions.values()) == 7_470
