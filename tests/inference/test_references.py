"""References: which reports belong to which images, their sections, and labels that are read from them."""

import json

import pytest
from PIL import Image
from pydantic import ValidationError

from cxrobust.errors import DataError, StudyError
from cxrobust.inference.datasets.folder import ImageFolder
from cxrobust.inference.datasets.openi import OpenI
from cxrobust.inference.references import chosen_sections
from cxrobust.inference.report_files import has_report
from cxrobust.inference.units import plan
from cxrobust.predictions import load_predictions
from cxrobust.study import read_study
from tests.inference import tiny
from tests.inference.tiny_generators import write_generator_study

LABELS = "image_id,patient_id,study_id\na,p1,s1\nb,p1,s1\nc,p2,s2\nd,p3,s3\ne,p4,s4\nf,p5,s5\n"
REPORTS = {
    "a": "INDICATION: Edema?\nFINDINGS: Small left effusion. No pneumothorax.\nIMPRESSION: Possible pneumonia.",
    "s1": "FINDINGS: The lungs are clear.",
    "s2": "Cardiomegaly. No effusion.",
    "d": "   ",
    "e": "INDICATION: Cough.",
    "f": "Kein Hinweis auf einen Pneumothorax oder Pleuraerguss.",
    "of nobody": "Edema.",
}


def folder_of(tmp_path, *, reports=REPORTS, kind="csv", **settings):
    (tmp_path / "images").mkdir(exist_ok=True)
    for name in "abcdef":
        Image.new("L", (20, 20), 90).save(tmp_path / "images" / f"{name}.png")
    (tmp_path / "labels.csv").write_text(LABELS)
    path = tmp_path / f"reports.{kind}"
    rows = [{"id": name, "report": text} for name, text in reports.items()]
    if kind == "jsonl":
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    else:
        path.write_text("id,report\n" + "".join(f'{row["id"]},"{row["report"]}"\n' for row in rows))
    values = {
        "kind": "folder",
        "root": tmp_path / "images",
        "labels": tmp_path / "labels.csv",
        "references": path,
        "label_source": "references",
        **settings,
    }
    return ImageFolder.model_validate_json(json.dumps(values, default=str))


@pytest.mark.parametrize("kind", ["csv", "jsonl"])
def test_references_by_image_or_study_and_their_sections(tmp_path, kind):
    table = folder_of(tmp_path, kind=kind).table()
    assert table.references == (
        "Small left effusion. No pneumothorax. Possible pneumonia.",
        "The lungs are clear.",
        "Cardiomegaly. No effusion.",
        "",  # blank
        None,  # no wanted section
        "Kein Hinweis auf einen Pneumothorax oder Pleuraerguss.",
    )
    impression = folder_of(tmp_path, kind=kind, sections=["impression"]).table()
    assert impression.references[:2] == ("Possible pneumonia.", None)
    assert f"reports.{kind}" in table.sources
    assert "labels read from its reports" in table.name


BOTH = ["findings", "impression"]
SECTIONED = {
    "a view": (
        "FINDINGS:\nPA AND LATERAL VIEWS: The lungs are clear. No effusion.\nIMPRESSION: Normal.",
        BOTH,
        "PA AND LATERAL VIEWS: The lungs are clear. No effusion. Normal.",
    ),
    "organs": (
        "FINDINGS:\n\n LUNGS: Clear.\n HEART: Normal.\n IMPRESSION:\n CHEST, PA: Normal.\n NOTIFICATION: By phone.",
        BOTH,
        "LUNGS: Clear. HEART: Normal. CHEST, PA: Normal.",
    ),
    "a text of its own": ("FINDINGS: Clear.\nDICTATED BY: X.\nIMPRESSION: Normal.", BOTH, "Clear. Normal."),
    "nothing": ("FINDINGS:\nCOMPARISON: None.\nRECOMMENDATION(S): None.\n", BOTH, None),
    "both": ("INDICATION: Cough.\nFINDINGS AND IMPRESSION: Normal.", BOTH, "Normal."),
    "both, by a stroke": ("FINDINGS/IMPRESSION: Normal.", ["impression"], "Normal."),
    "both, the other way": ("IMPRESSION & FINDINGS:\nAP VIEW: Normal.", ["findings"], "AP VIEW: Normal."),
    "more than the wanted": ("IMPRESSION AND RECOMMENDATION(S): Normal.", ["recommendations"], "Normal."),
    "both and one": ("FINDINGS: Clear.\nFINDINGS AND IMPRESSION: Normal.", BOTH, "Clear. Normal."),
    "of one's own": ("HALLAZGOS:\nTORAX: Normal.\nJUICIO: Nada.", ["hallazgos", "juicio"], "TORAX: Normal. Nada."),
    "of no usual name": ("TECNICA:\nTORAX: Normal.\nHALLAZGOS: Nada.", ["hallazgos"], "Nada."),
}


@pytest.mark.parametrize("case", SECTIONED)
def test_wanted_sections_with_headings_within_and_joint_ones(case):
    report, wanted, expected = SECTIONED[case]
    assert chosen_sections(report, wanted) == expected


@pytest.mark.parametrize(("doubted", "pneumonia"), [("ignore", -1), ("zeros", 0), ("ones", 1)])
def test_labels_from_references(tmp_path, doubted, pneumonia):
    names = ["Pneumonia", "Pleural Effusion", "Cardiomegaly", "No Finding"]
    table = folder_of(tmp_path, findings=names, doubted=doubted).table()
    assert table.findings == tuple(names)
    assert table.labels.tolist() == [
        [pneumonia, 1, 0, 0],
        [0, 0, 0, 1],
        [0, 0, 1, 0],
        [-1, -1, -1, -1],
        [-1, -1, -1, -1],
        [-1, -1, -1, -1],
    ]
    every = folder_of(tmp_path).table()
    assert len(every.findings) == 13
    assert "No Finding" not in every.findings


def test_images_without_a_usable_reference_are_left_out_and_counted(tmp_path):
    table = folder_of(tmp_path, missing_references="exclude").table()
    assert table.ids == ("a", "b", "c")
    assert table.exclusions == {
        "without a reference report": 1,
        "with an empty reference report": 1,
        "with a reference report that is not English": 1,
    }


@pytest.mark.parametrize(
    ("reports", "settings", "message"),
    [
        ({"x": "Edema."}, {}, "none of its ids .* is one of an image or a study"),
        (
            REPORTS,
            {"references_text": "findings"},
            "no 'findings'.*its columns with references_id, references_text",
        ),
        (REPORTS, {"findings": ["Edem"]}, "has no finding 'Edem'"),
        ({}, {}, "there is no report"),
    ],
)
def test_what_cannot_be_used_is_one_sentence(tmp_path, reports, settings, message):
    with pytest.raises((DataError, StudyError), match=message) as caught:
        folder_of(tmp_path, reports=reports, **settings).table()
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"label_source": "references"}, "label_source needs references"),
        ({"missing_references": "exclude"}, "missing_references needs references"),
        ({"references_id": "study"}, "references_id is of use with references"),
        ({"doubted": "ones"}, "doubted is of use with label_source"),
    ],
)
def test_keys_without_references_are_refused(settings, message):
    values = {"kind": "folder", "root": "images", "labels": "labels.csv", **settings}
    with pytest.raises(ValidationError, match=message):
        ImageFolder.model_validate_json(json.dumps(values))


def test_open_i_brings_its_own(tmp_path):
    (tmp_path / "ecgen-radiology").mkdir()
    sections = '<AbstractText Label="FINDINGS">Mild cardiomegaly.</AbstractText><AbstractText Label="IMPRESSION"/>'
    for number, told in (("1", sections), ("2", "")):
        (tmp_path / "ecgen-radiology" / f"{number}.xml").write_text(
            f'<eCitation><uId id="CXR{number}"/><MeSH><major>normal</major></MeSH>{told}'
            f'<parentImage id="CXR{number}_IM-1"/></eCitation>'
        )
    values = {"kind": "openi", "root": str(tmp_path), "views": "all", "own_references": True}
    table = OpenI.model_validate_json(json.dumps(values)).table(with_images=False)
    assert table.references == ("Mild cardiomegaly.", None)
    read = OpenI.model_validate_json(json.dumps({**values, "label_source": "references"})).table(with_images=False)
    column = read.findings.index("Cardiomegaly")
    assert read.labels[:, column].tolist() == [1, -1]
    without = OpenI.model_validate_json(json.dumps({**values, "own_references": False})).table(with_images=False)
    assert without.references is None


def test_references_go_with_the_predictions_and_into_attacks(tmp_path):
    study = write_generator_study(tmp_path, n_images=4)
    rows = [f"i{k:03},{text}" for k, text in enumerate(("no effusion", "", "large mass", "edema ."))]
    (tmp_path / "reports.csv").write_text("id,report\n" + "\n".join(rows) + "\n")
    text = study.read_text().replace("size = 20", 'size = 20\nreferences = "reports.csv"')
    study.write_text(text)
    from cxrobust.inference.engine import predict

    predict(read_study(study), tmp_path / "out")
    found = load_predictions(tmp_path / "out")
    assert found.references == ("no effusion", "", "large mass", "edema .")
    assert found.index["data"]["references"] == {"n": 3, "faults": {"empty": {"n": 1, "images": ["i001"]}}}
    by_reference = text.replace('target = "report"', 'target = "report"\ntext = "reference"')
    study.write_text(by_reference)
    with pytest.raises(StudyError, match=r"none for 1 image \(i001\): give references in \[data\], and missing_ref"):
        plan(read_study(study), tmp_path / "out")
    study.write_text(by_reference.replace("size = 20", 'size = 20\nmissing_references = "exclude"'))
    keys = [unit.key for unit in plan(read_study(study), tmp_path / "out").units]
    (tmp_path / "reports.csv").write_text("id,report\n" + "\n".join(rows).replace("large", "small") + "\n")
    changed = [unit.key for unit in plan(read_study(study), tmp_path / "out").units]
    assert [a == b for a, b in zip(keys, changed, strict=True)] == [True, False, True] * 2
    assert read_study(study).attaches_predictions is False


def test_settings_of_data_without_reports_say_nothing_of_them(tmp_path):
    study = tiny.write_study(tmp_path, n_images=4)
    assert not {"references", "label_source", "doubted"} & set(read_study(study).data.settings())


def test_a_tree_tells_whether_it_has_a_report(tmp_path):
    path = tmp_path / "files" / "p10" / "p10000032" / "s50414267.txt"
    path.parent.mkdir(parents=True)
    path.write_text("FINDINGS: Clear.")
    assert has_report(tmp_path, patient="10000032", study="50414267")
    assert not has_report(tmp_path, patient="10000032", study="1")


def test_labels_from_open_i_s_reports_need_no_indexers(tmp_path):
    (tmp_path / "ecgen-radiology").mkdir()
    told = '<AbstractText Label="FINDINGS">Small effusion.</AbstractText>'
    (tmp_path / "ecgen-radiology" / "1.xml").write_text(
        f'<eCitation><uId id="CXR1"/><MeSH/>{told}<parentImage id="CXR1_IM-1"/></eCitation>'
    )
    values = {"kind": "openi", "root": str(tmp_path), "views": "all", "own_references": True}
    read = OpenI.model_validate_json(json.dumps({**values, "label_source": "references"})).table(with_images=False)
    assert read.labels[0, read.findings.index("Pleural Effusion")] == 1
    with pytest.raises(DataError, match="no image is left"):
        OpenI.model_validate_json(json.dumps(values)).table(with_images=False)
