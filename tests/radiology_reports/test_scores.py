"""Scores of reports against those who defined them, and what is said of reports that have none."""

import json
from pathlib import Path

import numpy as np
import pytest
from sklearn.metrics import f1_score

from cxrobust.errors import DataError
from cxrobust.radiology_reports.labeler import Label, label_report
from cxrobust.radiology_reports.phrases import OBSERVATIONS
from cxrobust.radiology_reports.scores import Pairs, measured, scorer
from cxrobust.radiology_reports.scores.chexpert import FIVE, confusion

WORDS = [
    "the",
    "lungs",
    "are",
    "clear",
    "no",
    "effusion",
    "small",
    "left",
    "right",
    "pneumothorax",
    "heart",
    "size",
    "normal",
    "mild",
    "edema",
    ".",
    ",",
    "there",
    "is",
]
TEXTS = (
    "Small left pleural effusion. No pneumothorax.",
    "Heart size is normal. Lungs are clear.",
    "Cardiomegaly with mild edema. Possible pneumonia.",
    "Right basilar atelectasis. No effusion.",
    "Large right pneumothorax. The heart is enlarged.",
    "No acute disease.",
    "Consolidation of the left lower lobe, effusion cannot be excluded.",
)


def _pairs(candidates, references, **more):
    return Pairs(
        ids=tuple(f"image{i}" for i in range(len(candidates))),
        candidates=tuple(candidates),
        references=tuple(references),
        **more,
    )


def _random_texts(n, seed, longest=30, least=0):
    rng = np.random.default_rng(seed)
    return [" ".join(rng.choice(WORDS, size=rng.integers(least, longest))) for _ in range(n)]


def _value(name, columns):
    measure = measured(name)[1]
    sums = measure.of(columns).sum(axis=0)
    return float(measure.finish(np.append(sums, len(next(iter(columns.values()))))))


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("order", [1, 2, 3, 4])
def test_bleu_against_sacrebleu_on_corpora(seed, order):
    metrics = pytest.importorskip("sacrebleu.metrics")
    # very short texts have no run of four words in common, which is where smoothing counts
    longest, n = (30, 25) if seed < 2 else (6, 4)
    candidates, references = _random_texts(n, seed, longest), _random_texts(n, seed + 50, longest, least=1)
    columns = scorer["bleu"]().score(_pairs(candidates, references)).columns
    wanted = metrics.BLEU(max_ngram_order=order).corpus_score(candidates, [references]).score / 100
    name = "bleu" if order == 4 else f"bleu-{order}"
    assert _value(name, columns) == pytest.approx(wanted, abs=1e-12)


def test_bleu_is_0_without_a_shared_word_and_1_of_the_same_texts():
    pytest.importorskip("sacrebleu")
    same = scorer["bleu"]().score(_pairs(TEXTS, TEXTS)).columns
    other = scorer["bleu"]().score(_pairs(["one two three four"], ["five six seven eight"])).columns
    assert (_value("bleu", same), _value("bleu", other)) == (1.0, 0.0)


def test_rouge_l_reads_the_words_of_any_alphabet():
    pytest.importorskip("rouge_score")
    candidates = ["Пневмоторакс слева", "استرواح الصدر", "PRÓTESIS, catéter", "Größe normal", "右侧气胸。", "दायाँ फेफड़ा"]
    references = [
        "Пневмоторакс справа",
        "استرواح الصدر",
        "Catéter; prótesis",
        "Grösse normal",
        "右侧气胸。",
        "दायाँ फेफड़ा",
    ]
    found = scorer["rouge-l"]().score(_pairs(candidates, references)).columns["rouge_l"]
    assert found == pytest.approx([1 / 2, 1, 1 / 2, 1 / 2, 1, 1])  # of two words the longest common run is so long


def test_rouge_l_parts_signs_of_a_latin_text_as_rouge_score_does():
    own = pytest.importorskip("rouge_score.rouge_scorer")
    texts = ["Nodule – 5 cm² wide, “stable”", "nodules: ≥ 5 cm wide; 37 ° stability", "a stable nodule of 5 cm"]
    for stemmer in (False, True):
        counter = own.RougeScorer(["rougeL"], use_stemmer=stemmer)
        wanted = [counter.score(texts[2], one)["rougeL"].fmeasure for one in texts]
        found = scorer["rouge-l"](stemmer=stemmer).score(_pairs(texts, [texts[2]] * 3)).columns["rouge_l"]
        assert found == pytest.approx(wanted)


def test_rouge_l_against_the_longest_common_run_by_brute_force():
    pytest.importorskip("rouge_score")

    def longest(one, other):
        if not one or not other:
            return 0
        if one[-1] == other[-1]:
            return 1 + longest(one[:-1], other[:-1])
        return max(longest(one[:-1], other), longest(one, other[:-1]))

    candidates, references = (
        ("no effusion left heart", "lungs clear", ""),
        ("heart no left", "clear the lungs", "clear"),
    )
    found = scorer["rouge-l"]().score(_pairs(candidates, references)).columns["rouge_l"]
    wanted = [
        2 * longest(c.split(), r.split()) / max(len(c.split()) + len(r.split()), 1)
        for c, r in zip(candidates, references, strict=True)
    ]
    assert found == pytest.approx(wanted)


@pytest.mark.parametrize("uncertain", ["negative", "positive"])
def test_f1_against_scikit_learn(uncertain):
    candidates, references = TEXTS * 3, (*TEXTS[3:], *TEXTS, *TEXTS[1:], *TEXTS[:5])[: 3 * len(TEXTS)]
    columns = scorer["chexpert"](uncertain=uncertain).score(_pairs(candidates, references)).columns
    counted = {Label.POSITIVE} | ({Label.UNCERTAIN} if uncertain == "positive" else set())

    def table(texts, names):
        return np.array([[label_report(text).get(name) in counted for name in names] for text in texts])

    for n, names in ((14, OBSERVATIONS), (5, FIVE)):
        truth, told = table(references, names), table(candidates, names)
        assert _value(f"f1-{n}-micro", columns) == pytest.approx(f1_score(truth, told, average="micro"))
        known = truth.any(axis=0)  # scikit-learn counts an observation that no text affirms as 0
        wanted = f1_score(truth[:, known], told[:, known], average="macro")
        assert _value(f"f1-{n}-macro", columns) == pytest.approx(wanted)
    truth, told = table(references, OBSERVATIONS[1:]), table(candidates, OBSERVATIONS[1:])
    some = (truth | told).any(axis=1)
    wanted = f1_score(truth[some], told[some], average="samples", zero_division=0)
    assert _value("f1-positive", columns) == pytest.approx(wanted)
    k = OBSERVATIONS.index("Cardiomegaly")
    truth, told = table(references, OBSERVATIONS), table(candidates, OBSERVATIONS)
    assert _value("f1-cardiomegaly", columns) == pytest.approx(f1_score(truth[:, k], told[:, k]))


def test_doubt_is_left_out_of_the_counts_where_it_is_missing():
    told = {"Edema": Label.UNCERTAIN, "Fracture": Label.POSITIVE}
    found = confusion(told, {"Edema": Label.POSITIVE}, uncertain="missing")
    assert sum(value for name, value in found.items() if name.endswith("_edema")) == 0
    assert found["chexpert_fp_fracture"] == 1
    assert sum(value for name, value in found.items() if name.count("_") == 2 and "positive" not in name) == 13


def test_a_score_is_divided_by_how_many_times_too_long_a_report_is():
    pytest.importorskip("rouge_score")
    pairs = _pairs(["lungs are clear " * 2, "lungs"], ["lungs are clear", "lungs are clear"])
    columns = {**scorer["rouge-l"]().score(pairs).columns, **scorer["words"]().score(pairs).columns}
    first, second = columns["rouge_l"]
    assert _value("length-controlled-rouge-l", columns) == pytest.approx((first / 2 + second) / 2)
    assert _value("verbosity", columns) == pytest.approx(7 / 6)
    assert _value("words", columns) == 3.5


def test_an_empty_reference_has_no_words_to_be_compared_with():
    columns = scorer["words"]().score(_pairs(["lungs are clear", "lungs"], [" \n", "lungs are"])).columns
    np.testing.assert_array_equal(columns["words_reference"], [np.nan, 2])
    np.testing.assert_array_equal(columns["words_candidate"], [3, 1])


def test_length_is_controlled_of_means_in_0_to_1_alone():
    with pytest.raises(KeyError):
        measured("length-controlled-bleu")
    with pytest.raises(KeyError):
        measured("length-controlled-words")


def test_what_is_missing_is_not_scored_and_what_is_empty_is_told():
    for name in ("bleu", "rouge-l", "words", "chexpert"):
        found = scorer[name]().score(
            _pairs(
                [None, "lungs are clear", "", "El corazón es normal, sin derrame."],
                [TEXTS[0], None, TEXTS[1], TEXTS[2]],
            )
        )
        assert scorer[name]().score(_pairs(["Clear."], [" "])).count("reasons") == (
            {} if name == "words" else {"no reference": 1}
        )
        reference_needed = name != "words"
        assert found.reasons[:3] == ("no report", "no reference" if reference_needed else None, None)
        assert found.remarks[2] == "empty report"
        first = next(iter(found.columns.values()))
        assert np.isnan(first[0])
        assert np.isnan(first[1]) == reference_needed
        assert first[2] == 0
        assert found.reasons[3] == ("report not English" if name == "chexpert" else None)
    assert found.count("reasons") == {"no reference": 1, "no report": 1, "report not English": 1}


def test_a_report_of_5000_words_is_scored():
    long = " ".join(_random_texts(300, 1))
    for name in ("bleu", "rouge-l", "words", "chexpert"):
        found = scorer[name]().score(_pairs([long], [TEXTS[0]]))
        assert found.reasons == (None,)
        assert all(np.isfinite(values).all() for values in found.columns.values())


def test_log_probabilities_are_those_of_the_generator():
    found = scorer["log-probability"]().score(
        _pairs(TEXTS[:2], (None, None), log_probabilities=np.array([-1.5, np.nan]))
    )
    assert found.columns["log_probability"][0] == -1.5
    assert found.reasons == (None, "no log-probability")


def test_scores_made_elsewhere_are_read_by_id_regime_and_condition(tmp_path):
    path = tmp_path / "scores.csv"
    path.write_text(
        "regime,condition,id,report,radcliq\n"
        "sft,clean,image0,some text,1.5\n"
        "sft,clean,image1,some text,\n"
        "dpo,clean,image0,some text,9\n"
    )
    elsewhere = scorer["elsewhere"](file=path)
    found = elsewhere.score(_pairs(TEXTS[:3], TEXTS[:3], regime="sft", condition="clean"))
    assert found.columns["elsewhere_radcliq"][0] == 1.5
    assert np.isnan(found.columns["elsewhere_radcliq"][1:]).all()
    assert found.reasons == (None, "no score", "not in the table of scores")


def test_per_sample_results_of_radeval_take_their_order_from_a_table(tmp_path):
    (tmp_path / "order.csv").write_text("id\nimage1\nimage0\n")
    (tmp_path / "radeval.json").write_text(json.dumps({"radgraph_simple": [0.25, 0.75]}))
    elsewhere = scorer["elsewhere"](file=tmp_path / "radeval.json", order=tmp_path / "order.csv")
    found = elsewhere.score(_pairs(TEXTS[:2], TEXTS[:2], regime="sft", condition="clean"))
    assert found.columns["elsewhere_radgraph_simple"].tolist() == [0.75, 0.25]


def test_lists_of_scores_of_another_length_are_refused(tmp_path):
    (tmp_path / "order.csv").write_text("id\nimage1\nimage0\n")
    (tmp_path / "radeval.json").write_text(json.dumps({"green": [0.25]}))
    with pytest.raises(DataError, match=r"'green' has 1 scores, and .*order.csv 2 rows"):
        scorer["elsewhere"](file=tmp_path / "radeval.json", order=tmp_path / "order.csv").score(_pairs(TEXTS, TEXTS))


def test_a_score_that_is_no_number_names_its_row(tmp_path):
    path = tmp_path / "scores.jsonl"
    path.write_text('{"id": "image0", "green": 0.5}\n{"id": "image0", "green": 0.5}\n')
    with pytest.raises(DataError, match=r"line 2: the report '0  image0' stands twice|stands twice"):
        scorer["elsewhere"](file=path).score(_pairs(TEXTS, TEXTS))
    (tmp_path / "a.json").write_text("{}")
    with pytest.raises(DataError, match="ids in their order"):
        scorer["elsewhere"](file=tmp_path / "a.json").score(_pairs(TEXTS, TEXTS))


@pytest.mark.parametrize("written", ["1", "1.0", " 1 ", "1.00"])
def test_a_training_run_may_be_written_as_pandas_writes_it(written, tmp_path):
    path = tmp_path / "scores.csv"
    path.write_text(f"replicate,id,x\n0,image0,0.5\n{written},image0,0.75\n")
    for replicate, value in ((0, 0.5), (1, 0.75)):
        found = scorer["elsewhere"](file=path).score(_pairs(TEXTS[:1], TEXTS[:1], replicate=replicate))
        assert found.columns["elsewhere_x"].tolist() == [value]


@pytest.mark.parametrize("written", ["run2", "-1", "1.5", "\u00b2", "", "1e0", "9" * 5000])
def test_a_training_run_that_is_no_whole_number_is_refused_by_line(written, tmp_path):
    said = rf"a\.csv, line 3: replicate is {repr(written)[:60]}: write the number of the training run, 0, 1 and so on"
    (tmp_path / "a.csv").write_text(f"replicate,id,x,answer\n0,image0,0.5,y\n{written},image0,0.75,y\n", "utf-8")
    (tmp_path / "a.json").write_text('{"x": [0.5, 0.75]}')
    made = {"file": tmp_path / "a.json", "order": tmp_path / "a.csv"}
    for one in (
        scorer["elsewhere"](file=tmp_path / "a.csv"),
        scorer["elsewhere"](**made),
        scorer["green"](answers=tmp_path / "a.csv"),
    ):
        with pytest.raises(DataError, match=said):
            one.score(_pairs(TEXTS[:1], TEXTS[:1]))


def test_true_and_null_are_no_training_run(tmp_path):
    for written in ("true", "null", "[1]"):
        (tmp_path / "a.jsonl").write_text(f'{{"id": "image0", "replicate": {written}, "x": 1}}')
        with pytest.raises(DataError, match="line 1: replicate is"):
            scorer["elsewhere"](file=tmp_path / "a.jsonl").score(_pairs(TEXTS[:1], TEXTS[:1]))


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ('{"x": [1], "x": [2]}', r"a\.json: the key 'x' stands twice"),
        ('{"x": ' + 100_000 * "[" + 100_000 * "]" + "}", r"a\.json: lists or objects lie more than 100 deep"),
        (r'{"\ud83d": [1]}', r"a\.json: '\\ud83d' is half of a character"),
        ("{", r"a\.json: no JSON"),
    ],
)
def test_per_sample_results_that_are_no_such_json_are_refused(content, said, tmp_path):
    (tmp_path / "order.csv").write_text("id\nimage0\n")
    (tmp_path / "a.json").write_text(content)
    with pytest.raises(DataError, match=said):
        scorer["elsewhere"](file=tmp_path / "a.json", order=tmp_path / "order.csv").score(_pairs(TEXTS[:1], TEXTS[:1]))


def test_a_table_of_scores_with_a_column_twice_is_refused(tmp_path):
    (tmp_path / "a.csv").write_text("id,x,x\nimage0,0.5,0.9\n")
    with pytest.raises(DataError, match=r"a\.csv, line 1: the column 'x' stands twice"):
        scorer["elsewhere"](file=tmp_path / "a.csv").score(_pairs(TEXTS[:1], TEXTS[:1]))


def test_identity_changes_with_settings_and_with_the_bytes_of_a_file(tmp_path):
    path = tmp_path / "scores.csv"
    path.write_text("id,x\nimage0,1\n")
    first = scorer["elsewhere"](file=path).identity("elsewhere")
    path.write_text("id,x\nimage0,2\n")
    assert scorer["elsewhere"](file=path).identity("elsewhere") != first
    assert scorer["bleu"]().identity("bleu") != scorer["bleu"](lowercase=True).identity("bleu")
    assert str(tmp_path) not in json.dumps(first)


def test_radeval_is_called_with_references_and_reports(monkeypatch):
    import sys
    from types import SimpleNamespace

    class Judge:
        def __init__(self, metrics, *, per_sample, show_progress):
            assert (metrics, per_sample, show_progress) == (["radgraph"], True, False)

        def __call__(self, *, refs, hyps):
            return {"radgraph_simple": [float(ref == hyp) for ref, hyp in zip(refs, hyps, strict=True)]}

    monkeypatch.setitem(sys.modules, "radeval", SimpleNamespace(RadEval=Judge))
    found = scorer["radeval"](metrics=("radgraph",)).score(_pairs(TEXTS[:2], (TEXTS[0], TEXTS[3])))
    assert found.columns["radeval_radgraph_simple"].tolist() == [1, 0]


def test_ratescore_is_called_with_reports_and_references(tmp_path, monkeypatch):
    """A stand-in of the package's form, which as the package loses a text without a sentence from its lists."""
    import sys
    from types import SimpleNamespace

    class Judge:
        def __init__(self, *, bert_model, eval_model, batch_size, use_gpu, affinity_matrix):
            assert (Path(bert_model).name, Path(eval_model).name) == ("entities", "embeddings")
            assert (batch_size, use_gpu, affinity_matrix) == (4, False, "short")

        def compute_score(self, candidates, references):
            assert isinstance(candidates, list)
            assert isinstance(references, list)
            kept = [one for one in candidates if one != "1. 2."]
            if not kept:
                raise IndexError
            return [0.5 if "Good" in one else float(one == other) for one, other in zip(kept, references, strict=False)]

    monkeypatch.setitem(sys.modules, "RaTEScore", SimpleNamespace(RaTEScore=Judge))
    for name in ("entities", "embeddings"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "config.json").write_text("{}")
    made = {"entities": tmp_path / "entities", "embeddings": tmp_path / "embeddings", "weights": "short", "batch": 4}
    judge = scorer["ratescore"](**made, device="cpu")
    reports = (TEXTS[0], "1. 2.", "", "Good morning.", "ok", TEXTS[1])
    found = judge.score(_pairs(reports, (TEXTS[0],) * 6))
    np.testing.assert_array_equal(found.columns["ratescore"], [1, np.nan, 0, 0.5, np.nan, 0])
    assert found.reasons[1] == found.reasons[4] == "no sentence that RaTEScore reads"
    assert found.remarks[2:4] == ("empty report", "report not English; no entity found, 0.5 by RaTEScore")


def test_ratescore_that_cannot_be_used_is_one_sentence(tmp_path, monkeypatch):
    import sys

    from cxrobust.errors import MissingGroupError

    judge = scorer["ratescore"](entities=tmp_path, embeddings=tmp_path, device="cpu")
    monkeypatch.setitem(sys.modules, "RaTEScore", None)
    with pytest.raises(MissingGroupError, match=r"pip install 'cxrobust\[ratescore\]'"):
        judge.check()
    monkeypatch.delitem(sys.modules, "RaTEScore")
    (tmp_path / "RaTEScore.py").write_text("raise ValueError('numpy.dtype size changed')")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(DataError, match=r"numpy.dtype size changed.*pip install --upgrade 'spacy>=3.8.7'"):
        judge.check()
    (tmp_path / "RaTEScore.py").write_text("")
    monkeypatch.delitem(sys.modules, "RaTEScore", raising=False)
    with pytest.raises(DataError, match="no network of transformers is there"):
        judge.score(_pairs(TEXTS[:1], TEXTS[:1]))
