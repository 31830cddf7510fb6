"""Attacks on what a generator writes: they move the text's probability as they say, each image for itself."""

import json

import numpy as np
import pytest
import torch

from cxrobust import pipeline
from cxrobust.checks import check
from cxrobust.conditions import parse_condition
from cxrobust.errors import DataError, StudyError
from cxrobust.inference.engine import predict
from cxrobust.inference.image_hashes import DIGESTS
from cxrobust.inference.models.generator import ReportGenerator
from cxrobust.inference.one_image import perturbed_image
from cxrobust.inference.perturbations import Batch, perturbation
from cxrobust.inference.perturbations.attack import Attack, InBall
from cxrobust.inference.units import plan
from cxrobust.predictions import load_predictions
from cxrobust.progress import silent
from cxrobust.study import read_study
from tests.inference.tiny import write_validation
from tests.inference.tiny_generators import save_encoder_decoder, save_llava, write_generator_study

FALSE, NORMAL = "large left pneumothorax .", "lungs clear . heart normal ."
"""A report that states a finding, and one of a normal chest."""
EPS = 8 / 255
FEW = {"steps": 3, "queries": 20, "searches": 2, "neighbours": 2, "places": 1, "side": 30, "passes": 1}
SMALLEST = ("cw-l2", "ead-en", "ead-l1")
"""They return an image only where its text's mean token probability has doubled, and need some steps for it."""
ATTACKS = sorted(
    name for name in perturbation if issubclass(perturbation[name], Attack) and name not in {"tpgd", "autoattack"}
)


def loaded(folder, save, **settings):
    save(folder / "g")
    table = {
        "name": "g",
        "family": "generator",
        "model": "g",
        "observations": {"Mass": "Lung Lesion"},
        "max_new_tokens": 8,
        **settings,
    }
    regime = ReportGenerator.model_validate_json(json.dumps(table), context={"study_folder": folder})
    return regime.load(("Mass", "Edema"))


@pytest.fixture(scope="module")
def llava(tmp_path_factory):
    return loaded(tmp_path_factory.mktemp("llava"), save_llava)


@pytest.fixture(scope="module")
def encoder_decoder(tmp_path_factory):
    return loaded(tmp_path_factory.mktemp("encoder-decoder"), save_encoder_decoder)


def batch_of(n: int = 4, first: int = 0) -> Batch:
    rng = np.random.default_rng(5)
    images = rng.integers(30, 220, (8, 1, 16, 16)).astype(np.float32) / 255
    rows = range(first, first + n)
    references = (
        "no effusion .",
        "large left mass",
        "edema",
        "normal heart",
        "clear lungs",
        "mass",
        "no mass",
        "edema .",
    )
    return Batch(
        images=torch.from_numpy(images[first : first + n]),
        labels=np.ones((n, 2), dtype=np.int8),
        findings=("Mass", "Edema"),
        seeds=tuple(100 + row for row in rows),
        ids=tuple(f"i{row}" for row in rows),
        seed=1,
        references=tuple(references[row] for row in rows),
    )


def attack_of(name: str, **settings) -> Attack:
    kind = perturbation[name]
    few = {**FEW, "steps": 60, "searches": 4} if name in SMALLEST else FEW
    table = {"attack": name, "target": "report", **{key: v for key, v in few.items() if key in kind.model_fields}}
    if kind.strength == "eps" and "eps" in kind.model_fields:
        table["eps"] = EPS if issubclass(kind, InBall) else 0.5
    made = kind.model_validate({**table, **settings})
    made.check(("Mass", "Edema"))
    return made


def scores(model, batch, images, texts) -> np.ndarray:
    with torch.no_grad():
        return model.log_probability(images, texts).numpy()


@pytest.mark.parametrize("model", ["llava", "encoder_decoder"])
@pytest.mark.parametrize(
    ("text", "falls"),
    [("clean", True), ("reference", True), (FALSE, False), (NORMAL, False)],
    ids=["clean", "reference", "a false finding", "a normal chest"],
)
def test_pgd_moves_the_text_s_probability_more_than_noise(model, text, falls, request):
    generator, batch = request.getfixturevalue(model), batch_of(8)
    attack = attack_of("pgd", text=text, steps=10)
    if text == "clean":
        texts = generator.tokens(batch.images, ids=batch.ids, seed=1)
    else:
        texts = [generator.tokens_of(one) for one in (batch.references if text == "reference" else [text] * 8)]
    noise = perturbation["noise"].model_validate({"attack": "noise", "eps": EPS})
    at = {
        name: scores(generator, batch, one.perturb(batch, generator), texts)
        for name, one in (("attack", attack), ("noise", noise))
    }
    clean = scores(generator, batch, batch.images, texts)
    sign = -1 if falls else 1
    assert np.mean(sign * (at["attack"] - clean) > 0) > 0.8
    assert np.mean(sign * (at["attack"] - clean)) > 3 * abs(np.mean(sign * (at["noise"] - clean)))
    moved = attack.perturb(batch, generator) - batch.images
    assert moved.abs().max() <= EPS + 1e-6


@pytest.mark.parametrize("name", ATTACKS)
def test_every_attack_takes_reports_and_each_image_for_itself(name, llava):
    attack = attack_of(name, text=FALSE)
    together = attack.perturb(batch_of(2), llava)
    alone = attack.perturb(batch_of(1, first=1), llava)
    torch.testing.assert_close(together[[1]], alone, atol=2e-5, rtol=0)
    changed = (together != batch_of(2).images).flatten(1).any(dim=1).numpy()
    assert changed.any()
    if name in SMALLEST:
        texts = [llava.tokens_of(FALSE)] * 2
        rise = scores(llava, batch_of(2), together, texts) - scores(llava, batch_of(2), batch_of(2).images, texts)
        assert (rise[changed] > np.log(2) - 1e-3).all()


def test_what_cannot_be_asked_is_refused():
    with pytest.raises(StudyError, match="moves away from the clean prediction, and a report is no prediction"):
        attack_of("tpgd")
    with pytest.raises(StudyError, match='text is of use with target = "report" alone'):
        attack_of("pgd", target="all", text="normal")
    with pytest.raises(StudyError, match="a report is no decision: leave until_wrong_at out"):
        attack_of("pgd", until_wrong_at=0.5)


def test_a_text_longer_than_a_report_may_be_is_named(llava):
    with pytest.raises(DataError, match=r"attacked has 5,001 tokens, and max_new_tokens is 8 .*: raise max_new_tokens"):
        attack_of("pgd", text="no " * 5000).perturb(batch_of(1), llava)


def test_goals_turn_the_direction_and_conditions_say_the_text():
    assert attack_of("pgd").lowers_text
    assert attack_of("pgd", text=FALSE, goal="hide").lowers_text
    assert not attack_of("pgd", text=FALSE).lowers_text
    assert not attack_of("pgd", text="reference", goal="fabricate").lowers_text
    long = attack_of("pgd", text="no effusion, " * 20)
    assert parse_condition(str(long.condition)) == long.condition
    assert len(str(long.condition)) < 130
    assert str(long.condition) != str(attack_of("pgd", text="no effusion, " * 21).condition)
    assert "making the report “large left pneumothorax .” likelier" in attack_of("pgd", text=FALSE).describe()


def test_a_study_of_generators(tmp_path):
    study = write_generator_study(tmp_path)
    study.write_text(study.read_text().replace("attack_checks = 0", "attack_checks = 2"))
    read = read_study(study)
    predict(read, tmp_path / "out")
    found = load_predictions(tmp_path / "out")
    condition = "pgd(eps=8/255, target=report, steps=3)"
    assert found.conditions == ("clean", condition, "noise(eps=8/255)")
    assert found.reports.shape == (2, 3, 12)
    assert all(isinstance(one, str) for one in found.reports.flat)
    assert (found.log_probabilities < 0).all()
    changed = (found.reports != found.reports[:, [0]]).mean(axis=(0, 2))
    assert changed[1] > changed[2] > changed[0] == 0
    index = json.loads((tmp_path / "out" / "index.json").read_text())
    assert any("cut off" in unit.get("report_faults", {}) for unit in index["units"])
    for checked in index["attack_checks"]:
        assert checked["attacked"] > checked["noise"]
        assert checked["attacked"] > checked["clean"] == pytest.approx(np.log(1.5), abs=1e-4)
        assert 0 <= next(iter(checked["transferred"].values())) < checked["attacked"]
    files = {path.name: path.stat().st_mtime_ns for path in (tmp_path / "out").glob("[0-9a-f]*.parquet")}
    predict(read, tmp_path / "out")
    assert files == {path.name: path.stat().st_mtime_ns for path in (tmp_path / "out").glob("[0-9a-f]*.parquet")}
    planned = plan(read, tmp_path / "out")
    again = perturbed_image(planned, image="i005", condition=condition, regime="dpo")
    clean = planned.pixels.batch(np.array([5]))[0, 0]
    assert 0 < np.abs(again - clean).max() <= 8 / 255 + 1e-6


def test_a_reference_longer_than_a_report_is_named_before_anything_is_predicted(tmp_path):
    study = write_generator_study(tmp_path)
    told = {f"i{row:03}": "no effusion" for row in range(12)} | {"i011": "no " * 120, "i003": "no " * 9}
    (tmp_path / "reports.csv").write_text("id,report\n" + "\n".join(f"{image},{text}" for image, text in told.items()))
    given = study.read_text().replace("size = 20", 'size = 20\nreferences = "reports.csv"')
    text = given.replace('target = "report"', 'target = "report"\ntext = "reference"')
    study.write_text(text)
    message = (
        r"attack 'pgd' of regime 'sft', whose reports have at most 8 tokens \(max_new_tokens\): the reference of 2 "
        r"images has more \(i003, i011; up to 121\): raise max_new_tokens, or leave them out by longest_reference = 8"
    )
    for doing in (lambda read, out: check(read, out, report=silent), predict):
        with pytest.raises(StudyError, match=message):
            doing(read_study(study), tmp_path / "out")
    assert {path.name for path in (tmp_path / "out").glob("**/*.parquet")} == {DIGESTS}
    study.write_text(given.replace('target = "report"', f'target = "report"\ntext = "{"no " * 20}"'))
    with pytest.raises(StudyError, match=r"its text has 21 .*: raise max_new_tokens, or give a shorter text"):
        check(read_study(study), tmp_path / "out", report=silent)
    study.write_text(text.replace("size = 20", "size = 20\nlongest_reference = 7"))
    predict(read_study(study), tmp_path / "out")
    found = load_predictions(tmp_path / "out")
    assert len(found.image_ids) == 10
    assert found.index["data"]["exclusions"] == {"with a reference report of more than 7 words": 2}


def test_a_text_of_words_that_the_model_lacks_is_named_before_anything_is_predicted(tmp_path, llava):
    study = write_generator_study(tmp_path)
    told = {f"i{row:03}": "no effusion" for row in range(12)} | {"i011": "xyzzy", "i003": "no hernia"}
    (tmp_path / "reports.csv").write_text("id,report\n" + "\n".join(f"{image},{text}" for image, text in told.items()))
    given = study.read_text().replace("size = 20", 'size = 20\nreferences = "reports.csv"')
    for text, message in (
        ("reference", r"of 2 images has words that the tokenizer lacks \(i003, i011; “no hernia…”\): leave them out"),
        ("large xyzzy", r"its text has words that the tokenizer lacks \(“large xyzzy…”\): write it in others"),
    ):
        study.write_text(given.replace('target = "report"', f'target = "report"\ntext = "{text}"'))
        with pytest.raises(StudyError, match=r"attack 'pgd' of regime 'sft': .*" + message):
            check(read_study(study), tmp_path / "out", report=silent)
    with pytest.raises(DataError, match=r"has words that its tokenizer lacks \(“large xyzzy…”\): write it in others"):
        attack_of("pgd", text="large xyzzy").perturb(batch_of(1), llava)


def test_generators_are_recalibrated_on_validation_images_which_need_no_reference(tmp_path):
    write_generator_study(tmp_path, n_images=24)
    study = write_validation(tmp_path, n_images=24)
    (tmp_path / "reports.csv").write_text("id,report\n" + "\n".join(f"i{row:03},no effusion" for row in range(24)))
    text = study.read_text().replace("size = 20", 'references = "reports.csv"\nsize = 20')
    text = text.replace("[analysis]", '[analysis]\nrecalibrate = ["platt"]\nmetrics = ["brier", "rouge-l"]')
    study.write_text(text)
    read = read_study(study)
    pipeline.predict(read, tmp_path / "out")
    found = load_predictions(tmp_path / "out" / "predictions")
    assert found.references == ("no effusion",) * 24
    assert found.validation.image_ids == tuple(f"v{row:03}" for row in range(24))
    assert found.validation.conditions == ("clean",)
    assert found.validation.references is None
    assert np.isfinite(found.validation.probabilities).all()
    results = pipeline.analyze(read, tmp_path / "out")
    recalibrated = results.find(estimand="value", metric="brier", finding="Effusion", recalibration="platt")
    assert {(one.regime, one.condition) for one in recalibrated} == {
        (regime, condition) for regime in ("sft", "dpo") for condition in found.conditions
    }
    assert all(0 < one.estimate < 1 for one in recalibrated)
    study.write_text(text.replace("size = 20", 'missing_references = "exclude"\nsize = 20'))
    message = (
        r"reports.csv: none of its ids \(i000, .*\) is one of an image or a study of \[data.validation\] \(v000.*\): "
        r"correct them, or name another table by references, .* in \[data.validation\]"
    )
    with pytest.raises(DataError, match=message):
        plan(read_study(study), tmp_path / "out")


CONFIDENCES = {
    "token-probability": "",
    "questions": "",
    "statements": 'present = "There is {finding} ."\nabsent = "There is no {finding} ."\n',
    "agreement": "samples = 3\n",
}


@pytest.mark.parametrize("confidence", CONFIDENCES)
def test_every_confidence_is_calibrated_and_compared_as_a_classifier_s(confidence, tmp_path):
    more = CONFIDENCES[confidence]
    study = write_generator_study(tmp_path, n_images=24, regime=f'confidence = "{confidence}"\n{more}')
    text = study.read_text()
    if confidence == "statements":
        text = text.replace('question = "Is there {finding} ?"\n', "")
    metrics = 'metrics = ["brier", "confidence", "ece"]\noperating_point = 0.5'
    study.write_text(text.replace("[analysis]", f"[analysis]\n{metrics}"))
    read = read_study(study)
    pipeline.predict(read, tmp_path / "out")
    found = load_predictions(tmp_path / "out" / "predictions")
    results = pipeline.analyze(read, tmp_path / "out")
    k = found.findings.index("Effusion")
    p, y = found.probabilities[..., k].astype(np.float64), found.labels[:, k]
    assert len(np.unique(p)) > 3
    by_hand = {"brier": ((p - y) ** 2).mean(axis=2), "confidence": np.maximum(p, 1 - p).mean(axis=2)}
    for metric, expected in by_hand.items():
        told = {(one.regime, one.condition): one.estimate for one in results.find(metric=metric, finding="Effusion")
                if one.estimand == "value"}  # fmt: skip
        for member, (regime, _) in enumerate(found.members):
            for at, condition in enumerate(found.conditions):
                assert told[regime, condition] == pytest.approx(expected[member, at], abs=1e-6)
        (paired,) = results.find(
            estimand="difference-in-differences", metric=metric, finding="Effusion", condition=found.conditions[1]
        )
        change = expected[:, 1] - expected[:, 0]
        sft, dpo = (found.members.index((name, 0)) for name in ("sft", "dpo"))
        assert paired.estimate == pytest.approx(change[dpo] - change[sft], abs=1e-6)
        assert 0 < paired.p_value <= 1
    calibration = results.find(estimand="value", metric="ece", finding="Effusion")
    assert len(calibration) == 2 * len(found.conditions)
    assert all(0 <= one.estimate <= 1 for one in calibration)


def test_what_a_generator_attack_needs_is_said_before_anything_is_predicted(tmp_path):
    study = write_generator_study(tmp_path)
    text = study.read_text()
    study.write_text(text.replace('target = "report"', 'target = "report"\ntext = "reference"'))
    with pytest.raises(StudyError, match=r'\(text = "reference"\), and there is none for 12 images'):
        plan(read_study(study), tmp_path / "out")
    study.write_text(text.replace('target = "report"', 'target = "each"'))
    with pytest.raises(StudyError, match=r"regime 'sft' writes one report for all: write target"):
        plan(read_study(study), tmp_path / "out")
    network = '[[regimes]]\nname = "a"\nfamily = "python"\nmodel = "python:tiny_networks:build"\n'
    study.write_text(text.replace("[[perturbations]]", network + "[[perturbations]]", 1))
    with pytest.raises(StudyError, match=r"aims at reports .* and regime 'a' writes none"):
        plan(read_study(study), tmp_path / "out")


def test_findings_are_attacked_through_questions_and_by_classifiers_images(tmp_path):
    attack = '[[perturbations]]\nattack = "pgd"\neps = "8/255"\nsteps = 3\ntarget = "Mass"\n'
    network = '[[regimes]]\nname = "a"\nfamily = "python"\nmodel = "python:tiny_networks:build"\n'
    study = write_generator_study(tmp_path, attack=network + attack, regime='confidence = "questions"\n', n_images=6)
    study.write_text(study.read_text().replace("attack_checks = 0", "attack_checks = 2"))
    predict(read_study(study), tmp_path / "out")
    checks = json.loads((tmp_path / "out" / "index.json").read_text())["attack_checks"]
    assert {check["regime"]: set(check["transferred"]) for check in checks}["sft"] == {"dpo", "a"}
    assert all(check["attacked"] > check["noise"] for check in checks)
    found = load_predictions(tmp_path / "out")
    assert found.reports[found.members.index(("a", 0)), 0, 0] is None


def test_an_encoder_decoder_is_attacked_on_a_finding_by_statements_alone(tmp_path, encoder_decoder):
    attack = perturbation["pgd"].model_validate({"attack": "pgd", "eps": EPS, "steps": 10, "target": "Mass"})
    batch = batch_of(4)
    with pytest.raises(DataError, match=r'answers no questions .*or confidence = "statements"'):
        attack.perturb(batch, encoder_decoder)
    settings = {"confidence": "statements", "present": "There is {finding} .", "absent": "There is no {finding} ."}
    model = loaded(tmp_path, save_encoder_decoder, **settings)
    with torch.no_grad():
        clean = model(batch.images)[:, 0]
        attacked = model(attack.perturb(batch, model))[:, 0]  # present everywhere: the attack denies it
    assert (attacked < clean).all()


def test_the_seed_matters_to_samples_alone(tmp_path):
    keys = {}
    for name, extra in (("greedy", ""), ("sample", 'decoding = "sample"\n')):
        study = write_generator_study(tmp_path / name, n_images=4, regime=extra)
        for seed in (5, 6):
            study.write_text(study.read_text().replace("seed = 5", f"seed = {seed}"))
            units = plan(read_study(study), tmp_path / name / "out").units
            keys[name, seed] = {unit.key for unit in units if str(unit.condition) == "clean"}
    assert keys["greedy", 5] == keys["greedy", 6]
    assert not keys["sample", 5] & keys["sample", 6]


def test_an_attack_made_on_a_classifier_is_seen_by_all(tmp_path):
    attack = '[[perturbations]]\nattack = "pgd"\neps = "8/255"\nsteps = 3\ntarget = "Mass"\nmade_on = "a"\n'
    network = '[[regimes]]\nname = "a"\nfamily = "python"\nmodel = "python:tiny_networks:build"\n'
    study = write_generator_study(tmp_path, attack=network + attack, n_images=6)
    text = study.read_text().replace("attack_checks = 0", "attack_checks = 2")
    study.write_text(text)
    planned = plan(read_study(study), tmp_path / "out")
    condition = "pgd(eps=8/255, target=Mass, made_on=a, steps=3)"
    seen = [perturbed_image(planned, image="i003", condition=condition, regime=one) for one in ("a", "sft", "dpo")]
    np.testing.assert_array_equal(seen[0], seen[1])
    np.testing.assert_array_equal(seen[0], seen[2])
    predict(read_study(study), tmp_path / "out")
    found = load_predictions(tmp_path / "out")
    assert found.conditions[1] == condition
    at = found.members.index(("sft", 0))
    labelled = found.labels[:, found.findings.index("Mass")] >= 0
    changed = found.log_probabilities[at, 1] != found.log_probabilities[at, 0]
    np.testing.assert_array_equal(changed, labelled)  # nothing to attack without a label
    assert found.index["attack_checks"] == []
    own = [unit.key for unit in planned.units if str(unit.condition) == condition]
    (tmp_path / "tiny_networks.py").write_text((tmp_path / "tiny_networks.py").read_text() + "# changed\n")
    after = [unit.key for unit in plan(read_study(study), tmp_path / "out").units if str(unit.condition) == condition]
    assert not set(own) & set(after)
    for wrong, message in (
        ('made_on = "b"', "made_on = 'b' is no regime with a model"),
        ('made_on = "a"\ntext = "reference"', 'text is of use with target = "report" alone'),
    ):
        study.write_text(text.replace('made_on = "a"', wrong))
        with pytest.raises(StudyError, match=message):
            plan(read_study(study), tmp_path / "out")
    study.write_text(text.replace('target = "Mass"', 'target = "report"'))
    with pytest.raises(StudyError, match=r"aims at reports .* and regime 'a' writes none"):
        plan(read_study(study), tmp_path / "out")
