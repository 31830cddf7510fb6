"""The example of report generators, far smaller: grammar, supervised training, preferences, DPO, KTO, study."""

import importlib
import json
import re
import shutil
import sys
import warnings
from itertools import product
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from PIL import Image

from cxrobust.checks import check
from cxrobust.errors import CxrobustError
from cxrobust.inference.phantoms import FINDINGS, population
from cxrobust.pipeline import analyze, predict
from cxrobust.predictions.loading import load_predictions
from cxrobust.progress import silent
from cxrobust.radiology_reports.labeler import Label, label_report
from cxrobust.radiology_reports.phrases import OBSERVATIONS as OBSERVED
from cxrobust.study import Study, read_study

pytest.importorskip("torch")
pytestmark = pytest.mark.long

EXAMPLE = Path(__file__).parent.parent / "examples" / "chexalign-mini"
OBSERVATIONS = {"Effusion": "Pleural Effusion", "Nodule": "Lung Lesion"}
N_TEST, N_PREFERENCES = 4, 8


@pytest.fixture(scope="module")
def example(tmp_path_factory: pytest.TempPathFactory):
    """Folder with a copy of the example, from which its modules can be imported."""
    folder = tmp_path_factory.mktemp("chexalign") / "chexalign-mini"
    shutil.copytree(EXAMPLE, folder, ignore=shutil.ignore_patterns("out", "checkpoints", "references"))
    modules = [path.stem for path in folder.glob("*.py")]
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(folder))
        for module in modules:
            patch.delitem(sys.modules, module, raising=False)
        yield folder
    for module in modules:
        sys.modules.pop(module, None)


def test_the_labeler_reads_from_a_report_what_the_grammar_put_into_it(example: Path) -> None:
    grammar = importlib.import_module("grammar")
    stated = {finding: set() for finding in FINDINGS}
    for visit in population(7, 60, split="train"):
        labels = label_report(grammar.report(visit))
        for finding, severity in zip(FINDINGS, visit.severity, strict=True):
            label = labels.get(OBSERVATIONS.get(finding, finding))
            stated[finding].add(label)
            if severity == 0:
                assert label in {None, Label.NEGATIVE}, grammar.report(visit)
            elif severity >= grammar.FAINT:
                assert label is Label.POSITIVE, grammar.report(visit)
    assert all({Label.POSITIVE, Label.UNCERTAIN, None} <= labels for labels in stated.values())


def test_sides_are_those_of_the_image(example: Path) -> None:
    grammar = importlib.import_module("grammar")
    sided = re.compile(r"(left|right) pleural effusion|effusion on the (left|right)", re.IGNORECASE)
    told = [
        (visit.patient.anatomy.place[FINDINGS.index("Effusion")], (found[1] or found[2]).lower())
        for visit in population(7, 60, split="train")
        if (found := sided.search(grammar.report(visit)))
    ]
    assert len(told) > 20
    assert all(wanted == side for wanted, side in told)


def test_the_tokenizer_knows_every_word_and_gives_texts_back(example: Path) -> None:
    grammar, generator = importlib.import_module("grammar"), importlib.import_module("generator")
    tokenizer = generator.processor().tokenizer
    for visit in population(7, 60, split="train"):
        report = grammar.report(visit)
        ids = tokenizer.encode(report + generator.END, add_special_tokens=False)
        assert tokenizer.unk_token_id not in ids
        assert ids[-1] == tokenizer.eos_token_id
        assert tokenizer.decode(ids, skip_special_tokens=True) == report


def test_the_second_study_differs_from_the_first_in_how_regimes_were_tuned_alone(example: Path) -> None:
    first, second = (read_study(example / name) for name in ("study.toml", "study-losses.toml"))
    models = [
        "sft",
        "dpo-labeler-0.0003",
        "dpo-labeler-ipo-0.0003",
        "dpo-labeler-length-normalised-0.0003",
        "kto-labeler",
    ]
    assert [one.model for one in second.regimes] == [f"checkpoints/{name}" for name in models]
    alike = {"name", "model", "description"}
    for one in second.regimes:
        assert one.model_dump(exclude=alike) == first.regimes[0].model_dump(exclude=alike)
    parts = ("data", "perturbations", "analysis", "compute")
    assert all(getattr(first, part) == getattr(second, part) for part in parts)


def test_broken_wording_is_told_from_what_the_grammar_writes(example: Path) -> None:
    grammar, broken = importlib.import_module("grammar"), importlib.import_module("wording").broken
    assert not any(broken(grammar.report(visit)) for visit in population(7, 60, split="train"))
    for text in (
        "Heart size is normal. The lungs are clear are clear are clear on. No evidence of edema.",
        "atelectasis at the right base. There is no pneumothorax.",
        "Heart size is normal. lungs. There is no pneumothorax.",
        "There is no pneumothorax, edema, or",
    ):
        assert broken(text), text


def test_what_the_attack_asks_for_is_told_from_what_the_grammar_denies_and_doubts(example: Path) -> None:
    grammar, states = importlib.import_module("grammar"), importlib.import_module("wording").states
    asked = {getattr(one, "text", "reference") for one in read_study(example / "study.toml").perturbations} - {
        "reference"
    }
    assert [states(text) for text in asked] == [True]
    told = {True: 0, False: 0}
    for visit in population(7, 200, split="train"):
        text = grammar.report(visit)
        about = [one for one in re.split(r"(?<=\.) ", text) if "pneumothorax" in one.lower()]
        affirmed = [
            one for one in about if not re.search(r"\b(?:no|without|possible|may|cannot|questionable)\b", one.lower())
        ]
        assert states(text) == bool(affirmed), text
        told[states(text)] += 1
    assert min(told.values()) > 5


def test_the_study_asks_as_the_generator_was_asked_in_training(example: Path) -> None:
    grammar, generator = importlib.import_module("grammar"), importlib.import_module("generator")
    study = read_study(example / "study.toml")
    tokenizer = generator.processor().tokenizer
    for regime in study.regimes:
        assert regime.prompt == generator.PROMPT
        questions = regime.questions_of(study.data.findings)
        assert list(questions) == [grammar.question(finding) for finding in study.data.findings]
        for text in (*questions, *grammar.ANSWERS):
            assert tokenizer.unk_token_id not in tokenizer.encode(text, add_special_tokens=False)


@pytest.fixture(scope="module")
def trained(example: Path) -> Path:
    """The example's folder, every checkpoint trained as its scripts do, on a tiny scale."""
    pytest.importorskip("trl", reason="trl is not installed: uv pip install --group examples")
    from cxrobust.preferences.run import make_preferences

    tiny = importlib.import_module("generator").TINY
    importlib.import_module("write_references").write(
        example / "references", {"test": N_TEST, "validation": N_PREFERENCES}
    )
    checkpoints, preferences = example / "checkpoints", example / "out" / "preferences" / "sft"
    with warnings.catch_warnings():  # trl, datasets and accelerate have some
        warnings.simplefilter("ignore")
        importlib.import_module("train_sft").train(checkpoints / "sft", scale=tiny, report=silent)
        make_preferences(shortened(example / "study.toml"), example / "out", regime="sft")
        train, given = importlib.import_module("train_dpo").train, {"scale": tiny, "seed": 1, "report": silent}
        for judge, loss in (("labeler", "ipo"), ("overlap", "sigmoid"), ("people", "length-normalised")):
            train(checkpoints / "sft", preferences / judge, checkpoints / f"dpo-{judge}", loss=loss, **given)
        train = importlib.import_module("train_kto").train
        train(checkpoints / "sft", preferences / "overlap", checkpoints / "kto-overlap", **given)
    return example


def test_every_way_of_training_changes_the_supervised_weights(trained: Path) -> None:
    from safetensors.torch import load_file

    weights = {path.parent.name: load_file(path) for path in trained.glob("checkpoints/*/model.safetensors")}
    assert set(weights) == {"sft", "dpo-labeler", "dpo-overlap", "dpo-people", "kto-overlap"}
    for name in set(weights) - {"sft"}:
        assert any((weights[name][key] != weights["sft"][key]).any() for key in weights["sft"]), name
        assert weights[name].keys() == weights["sft"].keys()


def test_training_says_how_it_was_done(trained: Path) -> None:
    def said(name: str) -> dict[str, Any]:
        return json.loads((trained / "checkpoints" / name / "training.json").read_text(encoding="utf-8"))

    tuned = said("dpo-people")
    assert (tuned["start"], tuned["method"]) == ("sft", "DPO, length-normalised loss")
    assert json.loads(tuned["judge"])["noise"] == 0.2
    assert tuned["reward_margin"] != 0
    assert 0 <= tuned["reward_accuracy"] <= 1
    tuned, rate = said("kto-overlap"), importlib.import_module("train_kto").LEARNING_RATE
    assert (tuned["method"], tuned["start"], tuned["learning_rate"], tuned["beta"]) == ("KTO", "sft", rate, 0.1)
    assert json.loads(tuned["judge"])["kind"] == "score"


def log_probabilities(checkpoint: Path, line: dict[str, Any], image: Path) -> dict[str, tuple[float, float]]:
    """Of the chosen and the rejected report the log-probability and a token's mean, by the network's own logits."""
    import torch
    from transformers import AutoModelForImageTextToText, AutoProcessor

    processor = AutoProcessor.from_pretrained(checkpoint)
    model = AutoModelForImageTextToText.from_pretrained(checkpoint).eval()
    question = {"role": "user", "content": [{"type": "image"}, {"type": "text", "text": line["prompt"][0]["content"]}]}
    asked = processor.apply_chat_template([question], add_generation_prompt=True, tokenize=False)
    found = {}
    for which in ("chosen", "rejected"):
        answer = {"role": "assistant", "content": [{"type": "text", "text": line[which][0]["content"]}]}
        text = processor.apply_chat_template([question, answer], tokenize=False)
        assert text.startswith(asked)
        given = [
            processor(images=Image.open(image).convert("RGB"), text=one, return_tensors="pt") for one in (asked, text)
        ]
        at = given[0]["input_ids"].shape[1]
        with torch.no_grad():
            logits = model(**given[1]).logits[0, at - 1 : -1].double().log_softmax(-1)
        each = logits.gather(1, given[1]["input_ids"][0, at:, None])[:, 0]
        found[which] = (float(each.sum()), float(each.mean()))
    return found


@pytest.mark.parametrize("method", ["sigmoid", "ipo", "length-normalised", "kto"])
def test_training_on_one_pair_prefers_its_chosen_report_more_than_before(trained: Path, method: str) -> None:
    """Each loss falls as the margin grows: of a report's log-probability, or of a token's where that is normalised."""
    import torch

    source, start = trained / "out" / "preferences" / "sft" / "overlap", trained / "checkpoints" / "sft"
    folder, tuned = source.parent / f"one-pair-{method}", trained / "one-pair" / method
    folder.mkdir()
    shutil.copy(source / "summary.json", folder)
    line = (source / "pairs.jsonl").read_text(encoding="utf-8").splitlines()[0]
    halves = (source / "unpaired.jsonl").read_text(encoding="utf-8").splitlines()[:2]
    (folder / "pairs.jsonl").write_text(f"{line}\n" * 16, encoding="utf-8")
    (folder / "unpaired.jsonl").write_text("\n".join(halves * 8) + "\n", encoding="utf-8")
    given: dict[str, Any] = {"scale": importlib.import_module("generator").TINY, "seed": 1, "report": silent}
    torch.set_num_threads(1)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        if method == "kto":
            importlib.import_module("train_kto").train(start, folder, tuned, **given)
        else:
            importlib.import_module("train_dpo").train(start, folder, tuned, loss=method, **given)
    pair = json.loads(line)
    before, after = (log_probabilities(one, pair, folder / pair["image"]) for one in (start, tuned))
    which = 1 if method in {"ipo", "length-normalised"} else 0
    margins = [one["chosen"][which] - one["rejected"][which] for one in (before, after)]
    assert margins[1] > margins[0]
    training = json.loads((tuned / "training.json").read_text(encoding="utf-8"))
    assert training["reward_margin"] > 0


def test_a_checkpoint_of_kto_is_a_regime_too(trained: Path) -> None:
    import torch

    study = shortened(trained / "study.toml")
    by_kto = study.regimes[-1].model_copy(update={"name": "kto-overlap", "model": "checkpoints/kto-overlap"})
    reading = by_kto.load(study.data.findings).read(torch.full((1, 1, 64, 64), 0.5), ids=["one"], seed=0)
    assert reading.logits.shape == (1, len(study.data.findings))
    assert -20 < reading.written.log_probabilities[0] < 0


@pytest.mark.filterwarnings("ignore")  # transformers has some of so small a model
def test_the_study_of_the_checkpoints_goes_to_its_figure(trained: Path) -> None:
    study, out = shortened(trained / "study.toml"), trained / "out"
    checked = check(study, out, report=silent)
    assert checked.regimes == ("sft", "dpo-labeler", "dpo-overlap", "dpo-people")
    predict(study, out)
    results = analyze(study, out)
    assert len(results.find(estimand="value", metric="f1-5-macro", condition="clean")) == 4
    wording, predictions = importlib.import_module("wording"), load_predictions(out / "predictions")
    counts = wording.count(predictions, wording.broken)
    assert list(counts.columns) == list(checked.regimes)
    assert counts.index[0] == "clean"
    lengths = wording.count(predictions, lambda text: len(text.split()) > 5)
    for (i, regime), (k, condition) in product(enumerate(predictions.regimes), enumerate(predictions.conditions)):
        assert lengths.loc[condition, regime] == sum(len(text.split()) > 5 for text in predictions.reports[i][k])
    importlib.import_module("figure").draw(pd.read_csv(out / "estimates.csv"), out / "figure.png")
    assert (out / "figure.png").stat().st_size > 10_000


@pytest.mark.filterwarnings("ignore")
def test_broken_wording_is_counted_on_patients_that_training_has_not_seen(trained: Path) -> None:
    study, phantoms = shortened(trained / "study.toml"), importlib.import_module("generator").phantoms
    n_images, broken = importlib.import_module("unseen").count(study, ["sft", "dpo-people"], report=silent, further=3)
    learnt = set(phantoms("validation", N_PREFERENCES).table().patients)
    patients = phantoms("validation", N_PREFERENCES + 3).table().patients
    assert n_images == sum(patient not in learnt for patient in patients) > 3
    assert set(broken) == {"sft", "dpo-people"}
    assert all(0 <= n <= n_images for n in broken.values())
    told = json.loads((trained / "checkpoints" / "dpo-people" / "training.json").read_text())
    margin, accuracy = round(told["reward_margin"], 2), round(told["reward_accuracy"], 2)
    said = importlib.import_module("unseen").rewards("dpo-people")
    assert [float(one) for one in re.findall(r"-?\d\.\d\d", said)] == [margin, accuracy]


@pytest.mark.parametrize("script", ["train_dpo", "train_kto"])
def test_a_judge_without_preferences_is_told_in_one_sentence(
    example: Path, script: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for missing in ("datasets", "trl"):
        pytest.importorskip(missing)
    training = importlib.import_module(script)
    monkeypatch.setattr(sys, "argv", [script, "--judge", "nobody"])
    with pytest.raises(SystemExit, match=r"nobody/\w+\.jsonl is missing: run cxrobust preferences on the study first$"):
        training.main()
    folder = example / "out" / "preferences" / "sft" / "nobody"
    folder.mkdir(parents=True)
    for name in ("pairs", "unpaired"):
        (folder / f"{name}.jsonl").write_text("")
    with pytest.raises(SystemExit, match="has no preferences: its judge found no report of an image better") as caught:
        training.main()
    shutil.rmtree(folder)
    assert caught.value.__suppress_context__


def test_the_study_of_mimic_is_right_up_to_its_weights(example: Path, tmp_path: Path) -> None:
    """Made-up files as PhysioNet lays them out: all is found but the checkpoints."""
    root, reports = tmp_path / "mimic-cxr-jpg" / "2.1.0", tmp_path / "mimic-cxr" / "2.1.0" / "files"
    root.mkdir(parents=True)
    images = [
        ("10000001", "50000001", "aa", "test"),
        ("10000002", "50000002", "bb", "train"),
        ("10000003", "50000003", "cc", "test"),
        ("10000004", "50000004", "dd", "train"),
        ("10000005", "50000005", "ee", "test"),
        ("10000006", "50000006", "ff", "train"),
    ]
    too_long = {"50000005", "50000006"}
    findings = "The ___ catheter has been removed. Bibasilar atelectasis is mild, and there is no pneumothorax. " * 12
    without_sections = {"50000003", "50000004"}
    split = [f"{image},{study},{patient},{part}" for patient, study, image, part in images]
    about = [f"{image},{patient},{study},PA" for patient, study, image, _ in images]
    labels = [f"{patient},{study},1.0,0.0,,," for patient, study, *_ in images]
    five = "Atelectasis,Cardiomegaly,Consolidation,Edema,Pleural Effusion"
    others = [name for name in OBSERVED if name not in five.split(",")]
    for name, lines in (
        ("split", ["dicom_id,study_id,subject_id,split", *split]),
        ("metadata", ["dicom_id,subject_id,study_id,ViewPosition", *about]),
        (
            "chexpert",
            [f"subject_id,study_id,{five},{','.join(others)}", *(line + "," * len(others) for line in labels)],
        ),
    ):
        (root / f"mimic-cxr-2.0.0-{name}.csv").write_text("\n".join(lines) + "\n", encoding="utf-8")
    for patient, study, image, _ in images:
        place = Path(f"p{patient[:2]}") / f"p{patient}"
        (root / "files" / place / f"s{study}").mkdir(parents=True)
        Image.new("L", (32, 32), 90).save(root / "files" / place / f"s{study}" / f"{image}.jpg")
        (reports / place).mkdir(parents=True)
        of_study = findings * 2 if study in too_long else findings
        told = f"FINDINGS: {of_study}\n\nIMPRESSION: As above.\n"
        (reports / place / f"s{study}.txt").write_text("INDICATION: Cough.\n" if study in without_sections else told)
    study = read_study(example / "study-mimic.toml", data_root=tmp_path)
    for data, image in ((study.data, "aa"), (study.preferences.data, "bb")):
        table = data.table()
        assert table.ids == (image,)
        assert table.references == (f"{findings.strip()} As above.",)
        assert len(table.references[0].split()) > 150
        assert table.exclusions["without a reference report"] == 1
        assert table.exclusions["with a reference report of more than 240 words"] == 1
    with pytest.raises(CxrobustError) as caught:
        check(study, tmp_path / "out", report=silent)
    said = str(caught.value)
    assert "GREEN-RadLlama2-7b: the file or folder is missing" in said
    assert all(f"medgemma-{name}-lora" in said for name in ("sft", "dpo-green", "dpo-labeler", "dpo-people"))
    assert said.endswith("(the data can be read: MIMIC-CXR-JPG, 1 image of 1 patient)")
    weights = example / "checkpoints"
    (weights / "GREEN-RadLlama2-7b").mkdir(parents=True)
    (weights / "green-prompt.txt").write_text("{reference} {candidate}")
    with pytest.raises(CxrobustError, match=r"^\(1\) .*medgemma.*; \(2\) .*medgemma.*1 image of 1 patient\)$"):
        check(study, tmp_path / "out", report=silent)
    (root / "mimic-cxr-2.0.0-split.csv").unlink()
    shutil.rmtree(weights / "GREEN-RadLlama2-7b")
    with pytest.raises(CxrobustError, match=r"mimic-cxr-2.0.0-split.csv.gz is missing"):
        check(study, tmp_path / "out", report=silent)


def shortened(path: Path) -> Study:
    """Return the study with few images, two steps, few resamples, in one process and without checks of attacks."""
    text = path.read_text(encoding="utf-8")
    text = text.replace("patients = 150", f"patients = {N_TEST}").replace(
        "patients = 400", f"patients = {N_PREFERENCES}"
    )
    text = re.sub(r"steps = \d+", "steps = 2", text)
    text = re.sub(r"(resamples|primary_condition) = .*", "", text).replace("[analysis]", "[analysis]\nresamples = 200")
    text = text.replace("attack_checks = 8", "attack_checks = 0")
    text = text.replace('executor = "processes"\nworkers = 2\n', "")
    path.write_text(text, encoding="utf-8")
    return read_study(path)
