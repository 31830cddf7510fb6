"""The stage that scores reports: from predictions with reports to estimates, resumed, checked, bundled and verified."""

import json
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from cxrobust import pipeline, scoring
from cxrobust.bundles.bundling import Wanted, bundle
from cxrobust.checks import check
from cxrobust.errors import DataError, StudyError
from cxrobust.files import sha256_file
from cxrobust.inference import engine
from cxrobust.predictions import IMAGES, INDEX, index_text, load_predictions, read_unit, write_unit
from cxrobust.progress import silent
from cxrobust.radiology_reports.scores.chexpert import Chexpert
from cxrobust.study import read_study
from cxrobust.verification.recomputed import recompute

from .test_without_torch import made_elsewhere

WORDS = ("Small left effusion.", "No effusion.", "Lungs are clear.", "Cardiomegaly.", "Mild edema.")
METRICS = 'metrics = ["auroc", "rouge-l", "f1-14-micro", "words", "log-probability"]\n'


def _study(folder, *, scores="", metrics=METRICS):
    path = made_elsewhere(folder)
    text = path.read_text().replace("resamples = 200", f"resamples = 200\n{metrics}sensitivity_analyses = false")
    rows = "".join(f"image{i:03},No effusion.\n" for i in range(60))
    (folder / "references.csv").write_text(f"id,report\n{rows}")
    text = text.replace("[data]\n", '[data]\nreferences = "references.csv"\n')
    path.write_text(text.replace("[analysis]", f"{scores}[analysis]"))
    return path


def _predicted(folder, **more):
    """A study whose regimes wrote reports too, predicted; image 3 has no reference and image 4 an empty report."""
    pytest.importorskip("rouge_score")
    study = read_study(_study(folder, **more))
    out = folder / "out" / "predictions"
    engine.predict(study, out)
    rng = np.random.default_rng(0)
    index = json.loads((out / INDEX).read_text())
    images = pd.read_parquet(out / IMAGES)
    references = [" ".join(rng.choice(WORDS, size=2)) for _ in images.index]
    images["reference"] = pd.array([None if i == 3 else text for i, text in enumerate(references)], dtype="string")
    images.to_parquet(out / IMAGES)
    index["images_sha256"] = sha256_file(out / IMAGES)
    for entry in index["units"]:
        unit = read_unit(out / entry["file"])
        texts = [text if rng.random() < 0.7 else str(rng.choice(WORDS)) for text in references]
        texts[4] = ""
        write_unit(replace(unit, reports=tuple(texts), log_probabilities=-rng.random(len(texts))), out / entry["file"])
        entry["sha256"] = sha256_file(out / entry["file"])
    (out / INDEX).write_text(index_text(index))
    return study, out


@pytest.fixture(scope="module")
def predicted(tmp_path_factory):
    study, folder = _predicted(tmp_path_factory.mktemp("scored"))
    scoring.score(study, folder)
    return study, folder


def test_a_reference_is_told_once_and_not_for_each_report_that_is_scored_against_it(tmp_path):
    study, folder = _predicted(tmp_path, metrics='metrics = ["rouge-l"]\n')
    images = pd.read_parquet(folder / IMAGES)
    images.loc[images.index[5], "reference"] = "Der Befund ist unauffällig."
    images.to_parquet(folder / IMAGES)
    index = json.loads((folder / INDEX).read_text())
    index["images_sha256"] = sha256_file(folder / IMAGES)
    (folder / INDEX).write_text(index_text(index))
    scoring.score(study, folder)
    loaded = load_predictions(folder)
    assert loaded.scoring["rouge-l"].remarks == {"empty report": 4, "reference not English": 1}


def test_scores_are_read_with_the_predictions_and_estimated(predicted):
    study, folder = predicted
    loaded = load_predictions(folder)
    assert loaded.scores["rouge_l"].shape == (2, 2, 60)
    assert np.isnan(loaded.scores["rouge_l"][:, :, 3]).all()
    assert np.isnan(loaded.scores["rouge_l"]).sum() == 4
    assert loaded.scores["log_probability"].max() <= 0
    assert loaded.scoring["rouge-l"].reasons == {"no reference": 1}
    assert loaded.scoring["rouge-l"].remarks == {"empty report": 4}
    results = pipeline.analyze(study, folder.parent)
    found = {(e.metric, e.estimand, e.regime, e.condition): e for e in results.estimates if e.finding == "report"}
    one = found["rouge-l", "difference-in-differences", "b", "pgd(eps=4/255)"]
    assert one.n_images == 59
    assert one.p_value is not None
    assert one.note.startswith(
        "1 of 60 images left out, not scored: no reference (1); of the reports: empty report (4)"
    )
    r = loaded.scores["rouge_l"]
    kept = [i for i in range(60) if i != 3]
    assert one.estimate == pytest.approx(np.array([1, -1, -1, 1]) @ r[[1, 1, 0, 0], [1, 0, 1, 0]][:, kept].mean(axis=1))
    assert found["log-probability", "value", "a", "clean"].n_images == 60


def test_scoring_goes_on_where_it_was_cut_off(predicted, monkeypatch):
    study, folder = predicted
    before = (folder / INDEX).read_text()
    dates = {path.name: path.stat().st_mtime_ns for path in folder.glob("scores-*")}
    files = [one for one in json.loads(before)["scores"]["files"] if one["scorer"] == "chexpert"]
    (folder / files[0]["file"]).unlink()
    damaged = folder / files[1]["file"]
    damaged.write_bytes(damaged.read_bytes()[:-40])
    calls = []
    compare = Chexpert.compare
    monkeypatch.setattr(Chexpert, "compare", lambda self, pairs: calls.append(pairs) or compare(self, pairs))
    scoring.score(study, folder)
    assert len(calls) == 2
    assert (folder / INDEX).read_text() == before
    made = {path.name: path.stat().st_mtime_ns for path in folder.glob("scores-*")}
    assert {name for name in dates if made[name] != dates[name]} == {files[0]["file"], files[1]["file"]}


def test_another_setting_makes_its_scores_again_and_analysis_refuses_the_old(tmp_path):
    study, folder = _predicted(tmp_path)
    scoring.score(study, folder)
    path = _study(tmp_path, scores='[scores.chexpert]\nuncertain = "positive"\n')
    changed = read_study(path)
    with pytest.raises(DataError, match="the scores of 'chexpert' were made with other settings"):
        pipeline.analyze(changed, folder.parent)
    old = set(folder.glob("scores-chexpert-*"))
    scoring.score(changed, folder)
    assert len(set(folder.glob("scores-chexpert-*")) - old) == 4
    pipeline.analyze(changed, folder.parent)


def test_analysis_without_scores_asks_for_them(tmp_path):
    study, folder = _predicted(tmp_path)
    with pytest.raises(StudyError, match=r"metric 'rouge-l' is of reports.*run cxrobust predict"):
        pipeline.analyze(study, folder.parent)


def test_a_changed_file_of_scores_is_refused(tmp_path):
    study, folder = _predicted(tmp_path)
    scoring.score(study, folder)
    file = next(folder.glob("scores-words-*"))
    file.write_bytes(file.read_bytes()[:-1] + b"x")
    with pytest.raises(DataError, match=f"{file.name}: its bytes have changed"):
        load_predictions(folder)


def test_bundles_hold_scores_and_results_are_recomputed_from_them(predicted, tmp_path):
    study, folder = predicted
    results = pipeline.analyze(study, folder.parent)
    again = recompute(results, study, folder, report=lambda *_: None)
    assert again.differences == ()
    assert again.is_exact
    assert again.left_out == ()
    without = recompute(replace(results, generated_reports=()), study, folder, report=lambda *_: None)
    assert without.left_out == (("generated_reports",) if results.generated_reports else ())
    made = bundle(folder.parent, tmp_path / "crate", wanted=Wanted(predictions=True), as_zip=False)
    held = {path.name for path in made.rglob("scores-*.parquet")}
    assert held == {one["file"] for one in json.loads((folder / INDEX).read_text())["scores"]["files"]}


def test_regimes_without_reports_are_told_of_their_metrics(tmp_path):
    path = _study(tmp_path)
    with pytest.raises(StudyError, match=r"study.toml.*metrics are of reports .*no regime writes any"):
        pipeline.predict(read_study(path), tmp_path / "out")


def test_length_is_advised_beside_scores(tmp_path):
    from cxrobust.checks import advice_on_scores

    assert advice_on_scores(read_study(_study(tmp_path))) == ()
    [line] = advice_on_scores(read_study(_study(tmp_path, metrics='metrics = ["auroc", "rouge-l"]\n')))
    assert line.startswith("rouge-l may rise with the length of reports")
    assert advice_on_scores(read_study(_study(tmp_path, metrics='metrics = ["log-probability"]\n'))) == ()


@pytest.mark.parametrize(
    ("scores", "metrics", "message"),
    [
        ("[scores.blue]\n", METRICS, r"unknown scorer 'blue' \(did you mean 'bleu'\?\)"),
        ("[scores.bleu]\n", METRICS, r"no metric is of \[scores.bleu\]: name one in \[analysis\], such as bleu"),
        ("[scores.chexpert]\nuncertain = 1\n", METRICS, "uncertain"),
        ('[scores.chexpert]\nlabeler = "chexbert"\n', METRICS, "chexbert needs checkpoint and tokenizer"),
        ("", 'metrics = ["bertscore"]\n', r"metric 'bertscore' needs \[scores.bertscore\] with model and layers"),
        ("", 'metrics = ["elsewhere-x"]\n', r"metric 'elsewhere-x' needs \[scores.elsewhere\] with file"),
        ("", 'metrics = ["green"]\n', r"metric 'green' needs \[scores.green\]"),
        ("", 'metrics = ["blue"]\n', r"unknown metric 'blue'.*any score of reports, see cxrobust list scores"),
    ],
)
def test_settings_that_do_not_fit_are_told_before_anything_runs(tmp_path, scores, metrics, message):
    with pytest.raises(StudyError, match=message):
        read_study(_study(tmp_path, scores=scores, metrics=metrics))


def test_a_missing_file_of_a_scorer_is_told_before_anything_runs(tmp_path):
    path = _study(tmp_path, scores='[scores.elsewhere]\nfile = "none.csv"\n', metrics='metrics = ["elsewhere-x"]\n')
    with pytest.raises(DataError, match=r"none.csv: the file or folder is missing: correct its path in \[scores\]"):
        pipeline.predict(read_study(path), tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("settings", "name", "content", "message"),
    [
        ('[scores.elsewhere]\nfile = "it.csv"\n', "elsewhere-x", "id,x\na,b,c\n", r"it\.csv, line 2: as many values"),
        ('[scores.green]\nmodel = "."\nprompt = "it.csv"\n', "green", "Compare.", "lacks {reference} and {candidate}"),
        (
            '[scores.chexpert]\nlabeler = "chexbert"\ncheckpoint = "it.csv"\ntokenizer = "."\n',
            "f1-14-micro",
            "junk",
            "it.csv",
        ),
        ('[scores.bertscore]\nmodel = "nothing"\nlayers = 1\n', "bertscore", "", "bert-score cannot use it"),
        ('[scores.radgraph]\nfolder = "nothing"\n', "radgraph-simple", "", "no RadGraph is there"),
    ],
)  # fmt: skip
def test_check_lets_each_scorer_score_before_anything_runs(tmp_path, settings, name, content, message):
    pytest.importorskip("transformers")
    if "bert" in settings or "radgraph" in settings:
        pytest.importorskip("bert_score")
        pytest.importorskip("radgraph")
    (tmp_path / "it.csv").write_text(content)
    (tmp_path / "nothing").mkdir()
    study = read_study(_study(tmp_path, scores=settings, metrics=f'metrics = ["{name}"]\n'))
    with pytest.raises(DataError, match=message):
        check(study, tmp_path / "out", report=silent)


def test_reports_of_no_image_in_a_table_of_scores_are_named_by_check(tmp_path):
    (tmp_path / "it.csv").write_text("id,x\nimage001,1\nother,2\nstray,3\n")
    study = read_study(
        _study(tmp_path, scores='[scores.elsewhere]\nfile = "it.csv"\n', metrics='metrics = ["elsewhere-x"]\n')
    )
    faults = check(study, tmp_path / "out", report=silent).faults
    assert "[scores.elsewhere]: 2 reports of its table of no image here: other, stray" in faults
