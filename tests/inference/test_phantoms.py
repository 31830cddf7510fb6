"""Phantoms: deterministic, clustered by patient, and findings that simple measurements on the image can see."""

import subprocess
import sys
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from pydantic import ValidationError
from scipy.stats import spearmanr
from sklearn.metrics import roc_auc_score

from cxrobust.inference.datasets import dataset
from cxrobust.inference.datasets.phantoms import Phantoms
from cxrobust.inference.phantoms import (
    ATTRIBUTES,
    FINDINGS,
    PREVALENCE,
    Visit,
    attributes,
    draw,
    labels,
    population,
    textures,
)

from .held_out import both_parts

SEVERE, MODERATE, SUBTLE = 0.9, 0.5, 0.1


@pytest.fixture(scope="module")
def many():
    return population(11, 1200)


@pytest.fixture(scope="module")
def healthy(many):
    """One visit of each of 48 patients, with every finding removed and the heart of normal width."""
    firsts = [visit for visit in many if visit.number == 0][:48]
    return [replace(visit, severity=(0.0,) * len(FINDINGS), cardiothoracic_ratio=0.44) for visit in firsts]


def with_finding(visit: Visit, finding: str, severity: float) -> Visit:
    values = [severity if name == finding else 0.0 for name in FINDINGS]
    heart = 0.44 + 0.16 * severity if finding == "Cardiomegaly" else visit.cardiothoracic_ratio
    return replace(visit, severity=tuple(values), cardiothoracic_ratio=heart)


def without_noise(visit: Visit) -> Visit:
    return replace(visit, exposure=replace(visit.exposure, noise=0.0))


def drawn(visits, size=64):
    return np.stack([draw(visit, size) for visit in visits])


def on_image(visit: Visit, across: float, down: float, size: int) -> tuple[int, int]:
    """Row and column of a point given from the midline (patient's left positive) and along the chest."""
    anatomy, pose = visit.patient.anatomy, visit.pose
    height = anatomy.lung_height + 0.022 * pose.inspiration
    y = anatomy.apex_height + down * height - 0.45
    x = across + anatomy.scoliosis * np.sin(np.pi * (1.6 * down - 0.2))
    cos, sin = np.cos(pose.turn) * pose.scale, np.sin(pose.turn) * pose.scale
    column = (0.5 + pose.shift[0] + x * cos - y * sin) * size
    row = (0.45 + pose.shift[1] + y * cos + x * sin) * size
    return int(np.clip(row, 0, size - 1)), int(np.clip(column, 0, size - 1))


def patch(image, visit, across, down, half=0.02):
    """Mean grey about a point of the chest."""
    row, column = on_image(visit, across, down, len(image))
    reach = max(1, round(half * len(image)))
    return image[max(0, row - reach) : row + reach + 1, max(0, column - reach) : column + reach + 1].mean()


def side_of(visit: Visit, finding: str) -> int:
    return 1 if visit.patient.anatomy.place[FINDINGS.index(finding)] == "left" else -1


def costophrenic(image, visit):
    """Grey of the diseased base against that of the lung above it."""
    side, wall = side_of(visit, "Effusion"), visit.patient.anatomy.chest_half_width
    return patch(image, visit, side * 0.84 * wall, 0.87) - patch(image, visit, side * 0.6 * wall, 0.5)


def pleural_step(image, visit):
    """How much darker the side is than the lung within, against the same step on the healthy side."""
    wall = visit.patient.anatomy.chest_half_width
    side = side_of(visit, "Pneumothorax")
    step = {s: patch(image, visit, s * 0.42 * wall, 0.5) - patch(image, visit, s * 0.72 * wall, 0.5) for s in (-1, 1)}
    return step[side] - step[-side]


def perihilar(image, visit):
    """Grey beside both hila against that of both upper zones."""
    wall = visit.patient.anatomy.chest_half_width
    near = np.mean([patch(image, visit, side * 0.42 * wall, 0.5) for side in (-1, 1)])
    return near - np.mean([patch(image, visit, side * 0.55 * wall, 0.16) for side in (-1, 1)])


def heart_width(image, visit):
    """Share of the chest's width, at the height of the ventricles, that is as bright as the midline."""
    wall = visit.patient.anatomy.chest_half_width
    at = np.linspace(-0.8, 0.8, 49)
    greys = np.array([patch(image, visit, a * wall, 0.80, half=0.008) for a in at])
    return (greys > 0.5 * (greys.max() + greys.min())).mean()


def consolidated(image, visit):
    """Grey where the patch sits against its mirror image."""
    side = side_of(visit, "Consolidation")
    across, down = visit.patient.anatomy.spot[FINDINGS.index("Consolidation")]
    a, t = 0.13 + 0.14 * across, 0.22 + 0.60 * down
    return patch(image, visit, side * a, t, 0.05) - patch(image, visit, -side * a, t, 0.05)


def first_nodule(image, visit):
    """Grey of the first nodule's place against its surroundings."""
    side = side_of(visit, "Nodule")
    across, down = visit.patient.anatomy.spot[FINDINGS.index("Nodule")]
    t = 0.14 + 0.60 * down
    wall = visit.patient.anatomy.chest_half_width * (0.36 + 0.64 * (1 - (1 - t) ** 2.2) ** 0.62)
    a = side * (0.12 + (0.86 * wall - 0.12) * across)
    return patch(image, visit, a, t, 0.012) - patch(image, visit, a, t, 0.06)


def basal_asymmetry(image, visit):
    """Grey above the diseased dome against that above the other."""
    side, wall = side_of(visit, "Atelectasis"), visit.patient.anatomy.chest_half_width
    return patch(image, visit, side * 0.55 * wall, 0.80, 0.05) - patch(image, visit, -side * 0.55 * wall, 0.80, 0.05)


ORACLES = {
    "Atelectasis": basal_asymmetry,
    "Cardiomegaly": heart_width,
    "Consolidation": consolidated,
    "Edema": perihilar,
    "Effusion": costophrenic,
    "Nodule": first_nodule,
    "Pneumothorax": pleural_step,
}


def auroc_of_oracle(healthy, finding, severity):
    sick = [with_finding(visit, finding, severity) for visit in healthy]
    scores = [ORACLES[finding](draw(visit, 64), visit) for visit in (*healthy, *sick)]
    return roc_auc_score([0] * len(healthy) + [1] * len(sick), scores)


@pytest.mark.parametrize("finding", FINDINGS)
def test_severity_grades_visibility_against_a_measurement_on_the_image(healthy, finding):
    subtle, moderate, severe = (auroc_of_oracle(healthy, finding, value) for value in (SUBTLE, MODERATE, SEVERE))
    assert severe > 0.85
    assert subtle < 0.9
    assert subtle <= moderate + 0.02
    assert moderate <= severe + 0.02


@pytest.mark.parametrize("finding", FINDINGS)
def test_a_more_severe_finding_changes_more_of_the_image(healthy, finding):
    quiet = [without_noise(visit) for visit in healthy[:8]]
    without = drawn(quiet)
    changes = [
        np.abs(drawn([with_finding(visit, finding, value) for visit in quiet]) - without).mean()
        for value in (0.05, 0.35, 0.65, 1.0)
    ]
    assert all(0 < less < more for less, more in pairwise(changes))


def test_measured_heart_width_against_the_cardiothoracic_ratio(healthy):
    ratios = np.linspace(0.36, 0.62, len(healthy))
    visits = [replace(visit, cardiothoracic_ratio=float(ratio)) for visit, ratio in zip(healthy, ratios, strict=True)]
    measured = [heart_width(draw(visit, 128), visit) for visit in visits]
    assert spearmanr(ratios, measured).statistic > 0.85


def test_cardiomegaly_is_a_cardiothoracic_ratio_above_one_half(many):
    column = FINDINGS.index("Cardiomegaly")
    assert all((visit.severity[column] > 0) == (visit.cardiothoracic_ratio > 0.5) for visit in many)


def test_the_patients_left_is_on_the_right_of_the_image(healthy):
    for visit in healthy[:10]:
        anatomy = replace(visit.patient.anatomy, place=("left",) * len(FINDINGS), spot=((0.9, 0.5),) * len(FINDINGS))
        well = without_noise(replace(visit, patient=replace(visit.patient, anatomy=anatomy)))
        change = np.abs(draw(with_finding(well, "Effusion", 1.0), 64) - draw(well, 64))
        assert change[:, 36:].sum() > 10 * change[:, :28].sum()


def test_the_same_visit_gives_the_same_bytes_in_any_order(many):
    visits = many[:12]
    first = [draw(visit, 64).tobytes() for visit in visits]
    textures.vessel_trees.cache_clear()
    textures.noise_tile.cache_clear()
    assert [draw(visit, 64).tobytes() for visit in reversed(visits)] == first[::-1]


def test_a_patient_does_not_depend_on_how_many_others_are_drawn(many):
    alone = population(11, 1, start=40)
    assert alone == tuple(visit for visit in many if visit.patient.index == 40)


def test_splits_and_seeds_share_no_patient():
    drawn_of = {
        (seed, split): population(seed, 20, split=split)[0]
        for seed in (1, 2)
        for split in ("train", "validation", "test", "pretrain")
    }
    images = {draw(visit, 64).tobytes() for visit in drawn_of.values()}
    assert len(images) == len(drawn_of)
    assert len({visit.patient.habitus for visit in drawn_of.values()}) == len(drawn_of)


@pytest.mark.parametrize("size", [64, 65, 512])
@pytest.mark.parametrize("domain", ["a", "b"])
def test_images_are_grey_in_the_unit_range(size, domain):
    for visit in population(5, 2, domain=domain):
        image = draw(visit, size)
        assert image.shape == (size, size)
        assert image.dtype == np.float32
        assert image.min() >= 0
        assert image.max() <= 1
        assert 0.1 < image.std() < 0.4


def test_two_sizes_show_the_same_image_after_down_sampling(many):
    for visit in map(without_noise, many[:20]):
        coarse, fine = draw(visit, 64), draw(visit, 128).reshape(64, 2, 64, 2).mean(axis=(1, 3))
        assert np.corrcoef(coarse.ravel(), fine.ravel())[0, 1] > 0.99
        assert np.abs(coarse - fine).mean() < 0.02


def test_prevalence_and_number_of_visits(many):
    found = labels(many).mean(axis=0)
    assert dict(zip(FINDINGS, found, strict=True)) == pytest.approx(PREVALENCE, abs=0.03)
    visits = np.bincount([visit.patient.index for visit in many])
    assert set(visits) == {1, 2, 3, 4, 5, 6}


def test_findings_of_heart_failure_occur_together(many):
    found = labels(many)
    for one, other in (("Cardiomegaly", "Edema"), ("Edema", "Effusion"), ("Consolidation", "Effusion")):
        a, b = found[:, FINDINGS.index(one)], found[:, FINDINGS.index(other)]
        assert b[a == 1].mean() > 1.2 * b[a == 0].mean()


def test_labels_of_one_patient_resemble_one_another_and_change(many):
    found = labels(many)
    patients = np.array([visit.patient.index for visit in many])
    pairs = np.flatnonzero(patients[1:] == patients[:-1])
    before, after = found[pairs], found[pairs + 1]
    for column, finding in enumerate(FINDINGS):
        kept = after[before[:, column] == 1, column].mean()
        assert 1.8 * PREVALENCE[finding] < kept < 0.98


def test_images_of_one_patient_resemble_one_another(many):
    several = [visit for visit in many if visit.patient.n_visits >= 2 and visit.number < 2][:80]
    images = drawn(several).reshape(len(several), -1)
    correlation = np.corrcoef(images - images.mean(axis=0))
    own = np.array([correlation[i, i + 1] for i in range(0, len(several), 2)])
    others = np.array([correlation[i, j] for i in range(0, len(several), 2) for j in range(i + 2, len(several))])
    assert own.mean() > others.mean() + 0.2


def test_attributes_are_about_standardised_and_labels_are_binary(many):
    values = attributes(many)
    assert values.shape == (len(many), len(ATTRIBUTES))
    assert np.abs(values.mean(axis=0)).max() < 0.5
    assert values.std(axis=0).min() > 0.5
    assert values.std(axis=0).max() < 1.5
    assert set(np.unique(labels(many))) == {0, 1}
    assert labels(()).shape == (0, len(FINDINGS))


def test_domains_image_the_same_patients_in_another_style():
    here, there = population(3, 60), population(3, 60, domain="b")
    assert np.array_equal(labels(here), labels(there))
    assert [visit.patient.anatomy for visit in here] == [visit.patient.anatomy for visit in there]
    quiet = [drawn(map(without_noise, visits), 128) for visits in (here, there)]
    sharpness = [np.abs(np.diff(images[:, 20:90, 20:108], axis=2)).mean() for images in quiet]
    assert sharpness[1] < 0.9 * sharpness[0]
    assert sum(visit.view == "AP" for visit in there) > sum(visit.view == "AP" for visit in here)


def test_dataset_tells_who_and_what_and_draws_on_demand():
    chosen = dataset["phantoms"].model_validate({"kind": "phantoms", "patients": 30, "seed": 4, "size": 64})
    assert isinstance(chosen, Phantoms)
    table = chosen.table()
    assert table.findings == FINDINGS
    assert table.labels.shape == (len(table.ids), len(FINDINGS))
    assert table.labels.dtype == np.int8
    assert len(set(table.patients)) == 30
    assert list(table.metadata.columns) == ["age", "sex", "view"]
    assert set(table.metadata["sex"]) == {"F", "M"}
    assert table.metadata["age"].between(18, 95).all()
    assert table.images is not None
    assert np.array_equal(table.images.pixels(5), draw(chosen.visits()[5], 64))
    assert chosen.table(with_images=False).images is None


def test_digest_names_the_pixels_and_nothing_else():
    base = Phantoms(kind="phantoms", patients=3, seed=4)
    digest = base.table().images.digest(1)
    assert base.model_copy(update={"patients": 9}).table().images.digest(1) == digest
    others = [
        base.model_copy(update=change) for change in ({"size": 64}, {"seed": 5}, {"split": "train"}, {"domain": "b"})
    ]
    assert digest not in {other.table().images.digest(1) for other in others}
    assert len({base.table().images.digest(index) for index in range(len(base.table().ids))}) == len(base.table().ids)


@pytest.mark.parametrize("wrong", [{"patients": 0}, {"size": 8}, {"split": "all"}, {"domain": "c"}, {"sed": 1}])
def test_dataset_refuses_settings_that_it_cannot_draw(wrong):
    with pytest.raises(ValidationError):
        Phantoms.model_validate({"kind": "phantoms", **wrong})


def test_phantoms_need_no_torch():
    code = "import sys, cxrobust.inference.datasets.phantoms; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_validation_images_are_of_other_patients():
    data = '[data]\nkind = "phantoms"\npatients = 5\n[data.validation]\nsplit = "validation"\npatients = 3'
    test, validation = both_parts(Path(), data)
    assert (len(set(test.patients)), len(set(validation.patients))) == (5, 3)
    assert not set(validation.patients) & set(test.patients)
    assert validation.findings == test.findings
