"""MedMNIST archives: two classes, several classes, several labels, damaged and hostile files, and the real one."""

import json

import numpy as np
import pytest

from cxrobust.errors import DataError, StudyError
from cxrobust.inference.datasets.medmnist import MedMnist

from .held_out import both_parts


def write(path, labels, *, images=None, **more):
    labels = np.asarray(labels, dtype=np.uint8)
    if images is None:
        images = np.random.default_rng(5).integers(0, 256, (len(labels), 28, 28), dtype=np.uint8)
    np.savez(path, test_images=images, test_labels=labels, **more)
    return path


def medmnist(path, **settings):
    return MedMnist.model_validate_json(json.dumps({"kind": "medmnist", "file": str(path), **settings}))


@pytest.fixture
def path(tmp_path):
    return tmp_path / "chestmnist.npz"


def test_two_classes_are_one_finding(path):
    table = medmnist(write(path, [[0], [1], [1]])).table()
    assert table.findings == ("positive",)
    assert table.labels.tolist() == [[0], [1], [1]]
    assert table.labels.dtype == np.int8
    assert table.ids == table.patients == ("test_00000", "test_00001", "test_00002")
    with np.load(path) as archive:
        np.testing.assert_array_equal(table.images.pixels(2) * 255, archive["test_images"][2].astype(np.float32))
    assert list(table.sources) == ["chestmnist.npz"]
    assert (table.name, table.patients_known) == (f"MedMNIST {path.stem}", "none")


@pytest.mark.parametrize("names", [["Pneumonia"], ["normal", "Pneumonia"]])
def test_the_second_of_two_classes_gives_its_name(names, path):
    assert medmnist(write(path, [[0], [1]]), names=names).table().findings == ("Pneumonia",)


def test_several_classes_are_one_finding_each_against_the_rest(path):
    write(path, [[0], [2], [1], [2]], train_labels=np.array([[3]]))
    table = medmnist(path).table()
    assert table.findings == ("class_0", "class_1", "class_2", "class_3")
    assert table.labels.tolist() == [[1, 0, 0, 0], [0, 0, 1, 0], [0, 1, 0, 0], [0, 0, 1, 0]]
    named = medmnist(path, names=["a", "b", "c", "d"], findings=["c"]).table()
    assert named.labels[:, 0].tolist() == [0, 1, 0, 1]


def test_several_labels_are_one_finding_each(path):
    write(path, [[0, 1], [1, 1], [0, 0]])
    table = medmnist(path, names=["Mass", "Nodule"]).table()
    assert table.findings == ("Mass", "Nodule")
    assert table.labels.tolist() == [[0, 1], [1, 1], [0, 0]]
    assert medmnist(path).table().findings == ("finding_0", "finding_1")


def test_other_splits_and_colour(path):
    colour = np.repeat(np.arange(2, dtype=np.uint8)[:, None, None, None] * 9, 3, axis=3) * np.ones(
        (1, 28, 28, 1), np.uint8
    )
    write(path, [[0]], val_images=colour, val_labels=np.array([[1], [0]]))
    table = medmnist(path, split="val").table()
    assert table.ids == ("val_00000", "val_00001")
    np.testing.assert_allclose(table.images.pixels(1), 9 / 255)
    assert medmnist(path, split="val").table(with_images=False).images is None


@pytest.mark.parametrize(
    ("labels", "names", "words"),
    [
        ([[0], [1]], ["a", "b", "c"], "3 are given and chestmnist.npz has two classes"),
        ([[0], [2]], ["a", "b"], "2 are given and chestmnist.npz has 3 findings"),
        ([[0, 1]], ["a"], "1 are given and chestmnist.npz has 2 findings"),
    ],
)
def test_names_must_fit_the_labels(labels, names, words, path):
    with pytest.raises(StudyError, match=words):
        medmnist(write(path, labels), names=names).table()


def pickled(path):
    with path.open("wb") as file:
        np.savez(file, test_images=np.array([{}], dtype=object), test_labels=np.zeros((1, 1), np.uint8))


def truncated(path):
    write(path, [[0]] * 50)
    path.write_bytes(path.read_bytes()[:20_000])


def flipped(path):
    write(path, [[0]] * 50)
    content = bytearray(path.read_bytes())
    content[15_000] ^= 0x20
    path.write_bytes(content)


SPOILED = {
    "missing": (lambda path: None, "the archive is missing"),
    "folder": (lambda path: path.mkdir(), "cannot be read"),
    "empty": (lambda path: path.touch(), "is no whole .npz archive"),
    "text": (lambda path: path.write_text("no archive"), "is no whole .npz archive"),
    "truncated": (truncated, "is no whole .npz archive"),
    "flipped bit": (flipped, "cannot be read"),
    "pickled": (pickled, "cannot be read .*Object arrays cannot be loaded"),
    "no labels": (
        lambda path: np.savez(path, test_images=np.zeros((1, 28, 28), np.uint8)),
        "there is no array 'test_labels': the archive has test_images",
    ),
    "three dimensions": (
        lambda path: write(path, [[0]], images=np.zeros((1, 28, 28, 28), np.uint8)),
        r"images are uint8 of shape \(1, 28, 28, 28\)",
    ),
    "float images": (lambda path: write(path, [[0]], images=np.zeros((1, 28, 28))), "images are float64"),
    "lengths": (lambda path: write(path, [[0], [1]], images=np.zeros((3, 28, 28), np.uint8)), r"shape \(3, k\)"),
    "flat labels": (lambda path: write(path, [0, 1]), r"labels are uint8 of shape \(2,\)"),
    "high": (lambda path: write(path, [[0, 7]]), "a label is 7"),
    "negative": (
        lambda path: np.savez(path, test_images=np.zeros((1, 8, 8), np.uint8), test_labels=np.array([[-1]])),
        "a label is -1",
    ),
    "no images": (lambda path: write(path, np.zeros((0, 1)), images=np.zeros((0, 28, 28), np.uint8)), "no image"),
}


@pytest.mark.parametrize("case", SPOILED)
def test_spoiled_archive_is_one_sentence(case, path):
    spoil, words = SPOILED[case]
    spoil(path)
    with pytest.raises(DataError, match=words) as caught:
        medmnist(path).table()
    assert "\n" not in str(caught.value)


def test_real_pneumoniamnist_against_the_published_counts(shared_data):
    """390 of the 624 test images show pneumonia (Kermany et al. 2018)."""
    path = shared_data / "pneumoniamnist" / "pneumoniamnist.npz"
    tables = {split: medmnist(path, split=split, names=["Pneumonia"]).table() for split in ("train", "val", "test")}
    assert (len(tables["val"].ids), len(tables["test"].ids)) == (524, 624)
    assert tables["test"].labels.sum() == 390
    with np.load(path) as archive:
        for split, table in tables.items():
            np.testing.assert_array_equal(table.labels, archive[f"{split}_labels"])
            np.testing.assert_array_equal(
                table.images.pixels(17), archive[f"{split}_images"][17].astype(np.float32) / np.float32(255)
            )


def test_the_val_split_gives_validation_images_of_the_same_findings(path):
    images = np.zeros((2, 28, 28), np.uint8)
    write(path, [[0], [3], [1]], val_images=images, val_labels=np.array([[1], [2]], np.uint8))
    data = f'[data]\nkind = "medmnist"\nfile = "{path.name}"\n[data.validation]\nsplit = "val"'
    test, validation = both_parts(path.parent, data)
    assert validation.ids == ("val_00000", "val_00001")
    assert not set(validation.patients) & set(test.patients)
    assert validation.findings == test.findings == ("class_0", "class_1", "class_2", "class_3")


def test_real_pneumoniamnist_has_524_validation_images(shared_data):
    data = '[data]\nkind = "medmnist"\nfile = "pneumoniamnist.npz"\n[data.validation]\nsplit = "val"'
    test, validation = both_parts(shared_data / "pneumoniamnist", data)
    assert (len(test.ids), len(validation.ids)) == (624, 524)
    assert int(validation.labels.sum()) == 389
