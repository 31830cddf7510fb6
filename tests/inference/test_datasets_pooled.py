"""Several data sets in one study: findings by a table, strata, patients, images, and a study from file to estimates."""

import json
import re
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from PIL import Image
from sklearn.metrics import roc_auc_score

from cxrobust import pipeline
from cxrobust.errors import StudyError
from cxrobust.inference.datasets import files_of, take, without_folder
from cxrobust.inference.datasets.pooled import Pooled
from cxrobust.inference.described import describe_images
from cxrobust.predictions import load_predictions
from cxrobust.study import parse_study, read_study

from .tiny import write_study

HERE = {
    "image_id": ["a", "b", "c"],
    "patient_id": ["p1", "p1", "p2"],
    "Mass": ["1", "0", "-1"],
    "Nodule": ["0", "0", "0"],
}
HERE |= {"age": ["40", "50", "60"], "site": ["1", "2", "3"]}
THERE = {"image_id": ["a", "z"], "patient_id": ["p1", "p9"], "Lesion": ["", "1"], "Edema": ["1", "0"]}
THERE |= {"sex": ["F", "M"], "site": ["x", "y"]}
MATCH = {"Lung Lesion": {"here": ["Mass", "Nodule"], "there": "Lesion"}, "Edema": {"there": "Edema"}}


@pytest.fixture
def root(tmp_path):
    for number, (name, columns) in enumerate({"here": HERE, "there": THERE}.items()):
        (tmp_path / name).mkdir()
        pd.DataFrame(columns).to_csv(tmp_path / name / "labels.csv", index=False)
        for grey, image in enumerate(columns["image_id"]):
            Image.new("L", (20, 20), 100 * number + 10 * grey).save(tmp_path / name / f"{image}.png")
    return tmp_path


def members(root):
    return {
        name: {"kind": "folder", "root": root / name, "labels": root / name / "labels.csv", "name": f"Hospital {name}"}
        for name in ("here", "there")
    }


def pooled(root, **settings):
    values = {"kind": "pooled", "members": members(root), "match": MATCH, **settings}
    return Pooled.model_validate_json(json.dumps(values, default=str))


def test_findings_are_matched_by_the_table(root):
    table = pooled(root).table(with_images=False)
    assert table.ids == ("here/a", "here/b", "here/c", "there/a", "there/z")
    assert table.patients == ("here/p1", "here/p1", "here/p2", "there/p1", "there/p9")
    assert table.findings == ("Lung Lesion", "Edema")
    assert table.labels.tolist() == [[1, -1], [0, -1], [-1, -1], [-1, 1], [1, 0]]
    assert table.name == "Hospital here and Hospital there"
    assert sorted(table.sources) == ["here/labels.csv", "there/labels.csv"]
    chosen = pooled(root, findings=["Edema", "Lung Lesion"]).table(with_images=False)
    assert (chosen.findings, chosen.labels.tolist()) == (("Edema", "Lung Lesion"), table.labels[:, ::-1].tolist())
    assert pooled(root, findings=["Lung Lesion"]).table(with_images=False).labels[:, 0].tolist() == [1, 0, -1, -1, 1]


def test_a_member_without_any_of_the_chosen_findings_is_named(root):
    said = r"^\[data\] findings: none of Edema is matched to 'here': name one that is \(Lung Lesion\), or remove the"
    with pytest.raises(StudyError, match=said):
        pooled(root, findings=["Edema"]).table(with_images=False)
    with pytest.raises(StudyError, match=r"has no finding 'Edemas' \(did you mean 'Edema'\?\)"):
        pooled(root, findings=["Edemas"]).table(with_images=False)


def test_each_data_set_is_a_stratum_and_keeps_its_metadata(root):
    metadata = pooled(root).table(with_images=False).metadata
    assert list(metadata["dataset"]) == ["here"] * 3 + ["there"] * 2
    assert list(metadata["age"])[:3] == [40, 50, 60]
    assert metadata["age"].isna().tolist() == [False] * 3 + [True] * 2
    assert list(metadata["sex"])[3:] == ["F", "M"]
    assert list(metadata["site"]) == ["1", "2", "3", "x", "y"]


def test_images_are_those_of_their_own_data_set(root):
    images = pooled(root).table().images
    assert [round(float(images.pixels(k)[0, 0]) * 255) for k in range(5)] == [0, 10, 20, 100, 110]
    assert len({images.digest(k) for k in range(5)}) == 5
    assert "there/z.png" in images.stamp(4)


def test_files_are_known_by_image_and_what_is_said_of_one_names_no_folder(root):
    table = pooled(root).table()
    assert files_of(table) == (
        *(root / "here" / f"{name}.png" for name in "abc"),
        *(root / "there" / f"{name}.png" for name in "az"),
    )
    assert files_of(take(table, [4])) == (root / "there" / "z.png",)
    assert files_of(pooled(root).table(with_images=False)) == ()
    said = f"{root / 'there' / 'z.png'}: the image file is empty"
    assert without_folder(said, table.images, 4) == without_folder(said, take(table, [4]).images, 0)
    assert without_folder(said, table.images, 4) == "z.png: the image file is empty"


def test_whose_images_are_is_known_of_all_of_some_or_of_none(root):
    images = {f"{part}_images": np.zeros((2, 8, 8), dtype=np.uint8) for part in ("train", "val", "test")}
    np.savez(root / "small.npz", **images, **{f"{part}_labels": [[0], [1]] for part in ("train", "val", "test")})
    unknown = {"kind": "medmnist", "file": root / "small.npz", "names": ["Edema"]}
    known = members(root)["there"]
    for here, there, expected in ((known, known, "all"), (unknown, known, "some"), (unknown, unknown, "none")):
        both = {"members": {"here": here, "there": there}, "match": {"Edema": {"here": "Edema", "there": "Edema"}}}
        table = pooled(root, **both).table(with_images=False)
        assert table.patients_known == expected
        told = describe_images(SimpleNamespace(table=table, left_out={}, pixels=None))
        assert told.get("patients_known", "all") == expected


def test_patients_of_two_data_sets_may_be_the_same_persons():
    """The phantoms of two hospitals are the same patients; as strangers they would count twice."""
    hospitals = {name: {"kind": "phantoms", "patients": 4, "domain": name} for name in ("a", "b")}
    match = {"Effusion": {"a": "Effusion", "b": "Effusion"}}
    values = {"kind": "pooled", "size": 32, "members": hospitals, "match": match}
    apart = Pooled.model_validate_json(json.dumps(values)).table()
    together = Pooled.model_validate_json(json.dumps({**values, "shared_patients": [["a", "b"]]})).table(
        with_images=False
    )
    assert len(set(apart.patients)) == 8
    assert len(set(together.patients)) == 4
    assert apart.ids == together.ids
    assert apart.images.pixels(0).shape == (32, 32)


def test_images_that_contradict_themselves_are_told_by_data_set(root):
    columns = ("ImageID", "ImageDir", "PatientID", "StudyID", "Projection", "Labels", "MethodLabel")
    rows = [
        ("x.png", "0", "p", "s", "PA", "\"['normal', 'mass']\"", "Physician"),
        ("y.png", "0", "p", "s", "PA", "['mass']", "Physician"),
    ]
    (root / "padchest.csv").write_text("\n".join(map(",".join, (columns, *rows))) + "\n")
    padchest = {"kind": "padchest", "root": root, "labels": root / "padchest.csv", "least_positives": 1}
    both = {"here": members(root)["here"], "spain": padchest, "there": members(root)["there"]}
    match = {"Mass": {"here": "Mass", "spain": "mass", "there": "Edema"}}
    table = pooled(root, members=both, match=match).table(with_images=False)
    ((what, which),) = table.contradictory.items()
    assert what == "labelled normal beside other labels (spain)"
    assert [image for image, one in zip(table.ids, which, strict=True) if one] == ["spain/x.png"]


def test_images_left_out_and_ways_of_pooling_are_told_by_data_set(root):
    (root / "test.txt").write_text("t1\n")
    (root / "image_labels_test.csv").write_text("image_id,Edema\nt1,1\nt2,0\n")
    vindr = {"kind": "vindr-cxr", "root": root, "list": root / "test.txt"}
    both = {"here": members(root)["here"], "hanoi": vindr}
    table = pooled(root, members=both, match={"Edema": {"here": "Mass", "hanoi": "Edema"}}).table(with_images=False)
    assert table.exclusions == {"that are not in test.txt (hanoi)": 1}
    assert table.labels[:, 0].tolist() == [1, 0, -1, 1]
    (root / "ecgen-radiology").mkdir()
    (root / "ecgen-radiology" / "1.xml").write_text(
        '<eCitation><uId id="CXR1"/><MeSH><major>Mass</major></MeSH><parentImage id="CXR1_1"/></eCitation>'
    )
    openi = {"kind": "openi", "root": root, "views": "all", "pool": "max"}
    pd.DataFrame({**HERE, "study_id": ["s1", "s1", "s2"]}).to_csv(root / "here" / "labels.csv", index=False)
    both = {"here": members(root)["here"], "indiana": openi}
    match = {"Mass": {"here": "Mass", "indiana": "Mass"}}
    said = "in no member that tells studies, not here by none, indiana by max: .*a folder tells no studies where"
    with pytest.raises(StudyError, match=said):
        pooled(root, members=both, match=match).table(with_images=False)
    pd.DataFrame({**HERE, "visit": ["s1", "s1", "s2"]}).to_csv(root / "here" / "labels.csv", index=False)
    table = pooled(root, members=both, match=match).table(with_images=False)
    assert (table.pooled, list(table.metadata["study_id"])[:2]) == ("max", ["here/a", "here/b"])
    alone = pooled(root, members={"indiana": openi}, match={"Lesion": {"indiana": ["Mass", "Nodule"]}})
    table = alone.table(with_images=False)
    assert (table.pooled, table.labels.tolist(), table.findings) == ("max", [[1]], ("Lesion",))
    assert list(table.metadata["study_id"]) == ["indiana/CXR1"]


def test_an_image_of_a_member_without_studies_is_a_study_of_its_own(tmp_path):
    """Study 1 of Open-i has two images, which are pooled; the four images of the folder stay as they are."""
    (tmp_path / "ecgen-radiology").mkdir()
    for number, finding in enumerate(("Pleural Effusion", "normal", "Pleural Effusion"), start=1):
        images = "".join(f'<parentImage id="CXR{number}_{k}"/>' for k in range(2 if number == 1 else 1))
        (tmp_path / "ecgen-radiology" / f"{number}.xml").write_text(
            f'<eCitation><uId id="CXR{number}"/><MeSH><major>{finding}</major></MeSH>{images}</eCitation>'
        )
    (tmp_path / "there").mkdir()
    about = {"image_id": list("abcd"), "patient_id": ["p", "p", "q", "r"], "Pleural Effusion": ["0", "1", "1", "0"]}
    pd.DataFrame(about).to_csv(tmp_path / "there" / "labels.csv", index=False)
    images = ["here/CXR1_0", "here/CXR1_1", "here/CXR2_0", "here/CXR3_0", *(f"there/{one}" for one in "abcd")]
    p = np.array([0.9, 0.3, 0.2, 0.7, 0.1, 0.6, 0.8, 0.4])
    for regime, predicted in (("one", p), ("two", p[::-1])):
        table = pd.DataFrame({"image_id": images, "Pleural Effusion": predicted})
        table.to_csv(tmp_path / f"{regime}.csv", index=False)
    folder = 'kind = "folder"\nroot = "here"\nlabels = "here/labels.csv"'
    text = STUDY.replace(folder, 'kind = "openi"\nroot = "."\nviews = "all"\npool = "max"').replace(
        'here = "Effusion"', 'here = "Pleural Effusion"'
    )
    study = parse_study(text, path=tmp_path / "study.toml")
    pipeline.predict(study, tmp_path / "out")
    found = load_predictions(tmp_path / "out" / "predictions")
    studies = ("here/CXR1", "here/CXR2", "here/CXR3", "there/a", "there/b", "there/c", "there/d")
    assert found.image_ids == studies
    np.testing.assert_allclose(found.probabilities[0, 0, :, 0], [0.9, 0.2, 0.7, 0.1, 0.6, 0.8, 0.4])
    assert found.labels[:, 0].tolist() == [1, 0, 1, 0, 1, 1, 0]
    assert len(set(found.patients[3:].tolist())) == 3
    results = pipeline.analyze(study, tmp_path / "out")
    assert results.data["n_images"] == 7
    assert results.data["name"].endswith("pooled into the largest of their probabilities; and labels")
    assert results.data["exclusions"]["pooled with another image of their study"] == 1


def changed(root, name, **keys):
    return {**members(root), name: {**members(root)[name], **keys}}


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        (
            lambda root: {"match": {"Edema": {"ther": "Edema"}}},
            r"'ther' is no member \(did you mean 'there'\?\): they are here, there",
        ),
        (lambda root: {"match": {"Edema": {"there": "Edema"}}}, "no finding is matched to 'here'"),
        (lambda root: {"match": {"Edema": {}}}, "finding 'Edema' is matched to no member's"),
        (lambda root: {"shared_patients": [["here", "her"]]}, "'her' is no member"),
        (lambda root: {"shared_patients": [["here", "here"]]}, "'here' stands twice"),
        (lambda root: {"members": changed(root, "here", size=32)}, r"here: size is that of \[data\]"),
        (
            lambda root: {"members": changed(root, "here", kind="foldr")},
            r"here: unknown data set kind 'foldr' \(did you",
        ),
        (
            lambda root: {"members": changed(root, "here", lables="x")},
            r"here: unknown key 'lables' \(did you mean 'labels'",
        ),
        (lambda root: {"members": changed(root, "here", kind="pooled")}, "here: a pooled data set cannot be a member"),
        (lambda root: {"members": {"here": "there"}}, "write a table for each data set"),
    ],
)
def test_what_does_not_fit_is_named(settings, words, root):
    with pytest.raises(ValueError, match=words):
        pooled(root, **settings(root))


def test_an_unknown_finding_names_the_member(root):
    match = {"Lung Lesion": {"here": "Mas", "there": "Lesion"}}
    with pytest.raises(
        StudyError, match=r"^\[data\.match\] here: labels\.csv has no column 'Mas' \(did you mean 'Mass'\?\)"
    ):
        pooled(root, match=match).table(with_images=False)


STUDY = """
[study]
title = "t"
seed = 1
reference = "one"
[data]
kind = "pooled"
[data.members.here]
kind = "folder"
root = "here"
labels = "here/labels.csv"
[data.members.there]
kind = "folder"
root = "there"
labels = "there/labels.csv"
[data.match]
"Pleural Effusion" = { here = "Effusion", there = "Pleural Effusion" }
[[regimes]]
name = "one"
predictions = { clean = "one.csv" }
[[regimes]]
name = "two"
predictions = { clean = "two.csv" }
[analysis]
resamples = 100
metrics = ["auroc"]
sensitivity_analyses = false
effect_sizes = []
[[analysis.subgroups]]
column = "dataset"
"""


def test_a_study_of_two_data_sets_estimates_each_and_both_against_scikit_learn(tmp_path):
    rng = np.random.default_rng(4)
    labels = {name: rng.integers(0, 2, 40) for name in ("here", "there")}
    for name, finding in (("here", "Effusion"), ("there", "Pleural Effusion")):
        (tmp_path / name).mkdir()
        about = {"image_id": [f"i{k}" for k in range(40)], "patient_id": [f"p{k // 2}" for k in range(40)]}
        pd.DataFrame({**about, finding: labels[name]}).to_csv(tmp_path / name / "labels.csv", index=False)
    ids = [f"{name}/i{k}" for name in labels for k in range(40)]
    for regime in ("one", "two"):
        predicted = rng.random(80)
        pd.DataFrame({"image_id": ids, "Pleural Effusion": predicted}).to_csv(tmp_path / f"{regime}.csv", index=False)
    study = parse_study(STUDY, path=tmp_path / "study.toml")
    pipeline.predict(study, tmp_path / "out")
    results = pipeline.analyze(study, tmp_path / "out")
    found = {
        one.subgroup: one.estimate
        for one in results.estimates
        if (one.estimand, one.metric, one.finding) == ("value", "auroc", "macro") and one.regime == "two"
    }
    expected = {
        "": roc_auc_score(np.concatenate(list(labels.values())), predicted),
        "dataset=here": roc_auc_score(labels["here"], predicted[:40]),
        "dataset=there": roc_auc_score(labels["there"], predicted[40:]),
    }
    assert {name: found[name] for name in expected} == pytest.approx(expected, abs=1e-12)
    assert results.data["n_patients"] == 40


def held_out(*names):
    """Validation images of some members, as a study file says it."""
    return "".join(
        f'[data.validation.members.{name}]\nkind = "folder"\nroot = "{name}"\nlabels = "{name}/held-out.csv"\n'
        for name in names
    )


def test_validation_images_of_other_members_have_a_match_of_their_own(root):
    tests, others = [f"here/{image}" for image in "abc"] + ["there/a", "there/z"], ["there/v", "there/w"]
    for name, finding in (("here", "Effusion"), ("there", "Pleural Effusion")):
        path = root / name / "labels.csv"
        pd.read_csv(path, dtype=str).assign(**{finding: "1"}).to_csv(path, index=False)
        own = {"image_id": ["v", "w"], "patient_id": ["q1", "q1"], finding: ["1", "0"]}
        pd.DataFrame(own).to_csv(root / name / "held-out.csv", index=False)
    for name, ids in (("test", tests), ("held-out", others)):
        pd.DataFrame({"image_id": ids, "Pleural Effusion": 0.25}).to_csv(root / f"{name}.csv", index=False)

    def study_with(validation):
        text = re.sub(r'"(one|two)\.csv" }', '"test.csv" }\nvalidation = "held-out.csv"', STUDY)
        return parse_study(text.replace("[[regimes]]", f"{validation}[[regimes]]", 1), path=root / "study.toml")

    match = '[data.validation.match]\n"Pleural Effusion" = { there = "Pleural Effusion" }\n'
    pipeline.predict(study_with(held_out("there") + match), root / "out")
    found = load_predictions(root / "out" / "predictions")
    assert list(found.image_ids) == tests
    assert list(found.validation.image_ids) == others
    assert found.validation.patient_ids == ("there/q1",)
    assert found.validation.findings == found.findings == ("Pleural Effusion",)
    assert found.validation.labels.tolist() == [[1], [0]]
    with pytest.raises(StudyError, match=r"data\.validation.*'here' is no member .*they are there$"):
        study_with(held_out("there"))
    both = study_with(held_out("here", "there")).validation.table(with_images=False)  # by the match of [data]
    assert both.ids == ("here/v", "here/w", "there/v", "there/w")
    assert both.labels.tolist() == [[1], [0], [1], [0]]


def test_models_predict_and_attack_each_data_set_as_alone(tmp_path):
    """What draws nothing by chance gives an image the same prediction alone and beside another data set."""
    pytest.importorskip("torch")
    alone = read_study(write_study(tmp_path / "alone"))
    pipeline.predict(alone, tmp_path / "alone" / "out")
    write_study(tmp_path / "both", n_images=40)
    file = tmp_path / "both" / "study.toml"
    member = '[data.members.{}]\nkind = "folder"\nroot = "images"\nlabels = "labels.csv"\n'
    matched = '[data.match]\n"Pleural Effusion" = { x = "Effusion", y = "Effusion" }\nMass = { x = "Mass" }\n'
    text = file.read_text().replace(
        'kind = "folder"\nroot = "images"\nlabels = "labels.csv"\nsize = 20\n',
        f'kind = "pooled"\nsize = 20\n{member.format("x")}{member.format("y")}{matched}',
    )
    file.write_text(text)
    pipeline.predict(read_study(file), tmp_path / "both" / "out")
    one, two = (load_predictions(tmp_path / name / "out" / "predictions") for name in ("alone", "both"))
    assert two.image_ids == (*(f"x/{image}" for image in one.image_ids), *(f"y/{image}" for image in one.image_ids))
    for condition in ("clean", "blur(severity=5)"):
        expected = one.probabilities[:, one.conditions.index(condition)]
        found = two.probabilities[:, two.conditions.index(condition)]
        np.testing.assert_allclose(found[:, :40], expected, atol=1e-6)
        np.testing.assert_allclose(found[:, 40:], expected, atol=1e-6)
    attacked = two.probabilities[:, two.conditions.index("pgd(eps=8/255, steps=3)")]
    assert np.abs(attacked - two.probabilities[:, 0]).max() > 0.01
