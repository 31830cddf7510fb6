"""CheXbert and BERTScore on tiny random stand-ins of their architecture, made here."""

import csv
import json
import sys

import numpy as np
import pytest

from cxrobust.cli import _main
from cxrobust.errors import DataError
from cxrobust.radiology_reports.labeler import Label
from cxrobust.radiology_reports.phrases import OBSERVATIONS
from cxrobust.radiology_reports.scores import Pairs, each, measured, scorer

pytestmark = pytest.mark.long

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")
WORDS = [
    "[PAD]",
    "[UNK]",
    "[CLS]",
    "[SEP]",
    "[MASK]",
    "small",
    "left",
    "right",
    "effusion",
    "no",
    "pneumothorax",
    "lungs",
    "are",
    "clear",
    "heart",
    "normal",
    ".",
]
TEXTS = ("Small left effusion.", "No pneumothorax.\nLungs are clear.", "Heart normal.")


def _config():
    return transformers.BertConfig(
        vocab_size=len(WORDS), hidden_size=64, num_hidden_layers=2, num_attention_heads=1, intermediate_size=32,
        max_position_embeddings=512,
    )  # fmt: skip


@pytest.fixture
def tokenizer(tmp_path):
    folder = tmp_path / "tokenizer"
    folder.mkdir()
    (folder / "vocab.txt").write_text("\n".join(WORDS))
    transformers.BertTokenizerFast(vocab=str(folder / "vocab.txt")).save_pretrained(folder)
    return folder


@pytest.fixture
def checkpoint(tmp_path):
    """A checkpoint as CheXbert's authors save theirs, of another size and with random weights."""
    torch.manual_seed(0)
    bert = transformers.BertModel(_config())
    weights = {f"module.bert.{name}": value for name, value in bert.state_dict().items()}
    for i in range(14):
        head = torch.nn.Linear(64, 2 if i == 13 else 4)
        weights |= {f"module.linear_heads.{i}.{name}": value for name, value in head.state_dict().items()}
    path = tmp_path / "chexbert.pth"
    torch.save({"epoch": 3, "model_state_dict": weights}, path)
    return path


HEADS = (
    "Enlarged Cardiomediastinum", "Cardiomegaly", "Lung Opacity", "Lung Lesion", "Edema", "Consolidation", "Pneumonia",
    "Atelectasis", "Pneumothorax", "Pleural Effusion", "Pleural Other", "Fracture", "Support Devices", "No Finding",
)  # fmt: skip
"""The order of the linear layers in CheXbert's own code."""


def test_chexbert_reads_classes_off_its_heads(checkpoint, tokenizer):
    from cxrobust.radiology_reports.chexbert import Chexbert

    labeler = Chexbert(checkpoint, tokenizer, batch=2)
    found = labeler.label(TEXTS)
    weights = torch.load(checkpoint, weights_only=True)["model_state_dict"]
    bert = transformers.BertModel(_config()).eval()
    bert.load_state_dict({n.removeprefix("module.bert."): v for n, v in weights.items() if ".bert." in n})
    words = transformers.BertTokenizerFast.from_pretrained(tokenizer)
    classes = (None, Label.POSITIVE, Label.NEGATIVE, Label.UNCERTAIN)
    for text, labels in zip(TEXTS, found, strict=True):
        with torch.no_grad():
            first = bert(**words(" ".join(text.split()), return_tensors="pt")).last_hidden_state[:, 0]
        for i, name in enumerate(HEADS):
            logits = first @ weights[f"module.linear_heads.{i}.weight"].T + weights[f"module.linear_heads.{i}.bias"]
            assert labels.get(name) == classes[int(logits.argmax())]
    assert [name for name in OBSERVATIONS if name in found[0]] == list(found[0])


def test_an_empty_report_affirms_nothing_whatever_the_network_says_of_it(checkpoint, tokenizer):
    from cxrobust.radiology_reports.chexbert import Chexbert

    content = torch.load(checkpoint, weights_only=True)
    for name, value in content["model_state_dict"].items():
        if "linear_heads" in name and name.endswith("bias"):
            value[1] += 1e4  # all is affirmed
    torch.save(content, checkpoint)
    assert [len(one) for one in Chexbert(checkpoint, tokenizer, batch=2).label(("", TEXTS[0], " \n", TEXTS[1]))] == [
        0,
        14,
        0,
        14,
    ]
    chexpert = scorer["chexpert"](labeler="chexbert", checkpoint=checkpoint, tokenizer=tokenizer, device="cpu")
    found = chexpert.score(Pairs(ids=("a", "b"), candidates=("", TEXTS[0]), references=(TEXTS[0], TEXTS[0])))
    assert found.columns["chexpert_fn_cardiomegaly"].tolist() == [1, 0]
    assert found.columns["chexpert_tp_cardiomegaly"].tolist() == [0, 1]


def test_a_long_report_is_cut_and_told(checkpoint, tokenizer):
    texts = ("small left effusion " * 300, TEXTS[0])
    chexpert = scorer["chexpert"](labeler="chexbert", checkpoint=checkpoint, tokenizer=tokenizer, device="cpu")
    found = chexpert.score(Pairs(ids=("a", "b"), candidates=texts, references=(TEXTS[0], TEXTS[0])))
    assert found.remarks == ("text beyond 512 tokens not read", None)
    assert found.columns["chexpert_fp_edema"][1] == found.columns["chexpert_fn_edema"][1] == 0


def test_chexbert_labels_a_table_of_reports(checkpoint, tokenizer, tmp_path, capsys):
    from cxrobust.radiology_reports.chexbert import Chexbert

    texts = {"a": TEXTS[0], "b": "", "c": "Kein Pneumothorax, kein Erguss.", "d": "small left effusion " * 300}
    rows = [json.dumps({"id": name, "report": text}) for name, text in texts.items()]
    (tmp_path / "r.jsonl").write_text("\n".join(rows))
    words = ["label", str(tmp_path / "r.jsonl"), "--out", str(tmp_path / "l.csv"), "--chexbert", str(checkpoint)]
    assert _main(words) == 2
    assert "--chexbert and --tokenizer belong together" in capsys.readouterr().err
    assert _main([*words, "--tokenizer", str(tokenizer)]) == 0
    said = " ".join(capsys.readouterr().err.split())
    assert "1 report beyond 512 tokens (d): CheXbert reads no further" in said
    assert "1 of 4 reports have no label, being not English" in said
    with (tmp_path / "l.csv").open() as file:
        found = {row.pop("id"): row for row in csv.DictReader(file)}
    assert [found[name].pop("unread") for name in texts] == ["", "empty", "not English", ""]
    (first, last) = Chexbert(checkpoint, tokenizer, batch=1).label([texts["a"], texts["d"]])
    for name, labels in (("a", first), ("b", {}), ("c", {}), ("d", last)):
        assert found[name] == {one: str(int(labels[one])) if one in labels else "" for one in OBSERVATIONS}
    assert any(found["a"].values())


def test_a_checkpoint_with_code_is_refused(tmp_path, tokenizer):
    from cxrobust.radiology_reports.chexbert import Chexbert

    path = tmp_path / "evil.pth"
    torch.save({"model_state_dict": {"a": Label.POSITIVE}}, path)
    with pytest.raises(DataError, match="tensors alone"):
        Chexbert(path, tokenizer)
    torch.save({"model_state_dict": {"a": torch.zeros(2)}}, path)
    with pytest.raises(DataError, match="no BERT in it"):
        Chexbert(path, tokenizer)


def test_bertscore_against_greedy_matching_by_hand(tmp_path, tokenizer):
    pytest.importorskip("bert_score")
    torch.manual_seed(1)
    bert = transformers.BertModel(_config()).eval()
    bert.save_pretrained(tokenizer)
    texts, references = (*TEXTS, ""), (TEXTS[1], TEXTS[1], TEXTS[0], TEXTS[0])
    judge = scorer["bertscore"](model=tokenizer, layers=2, device="cpu", batch=2)
    found = judge.score(Pairs(ids=tuple("abcd"), candidates=texts, references=references))
    words = transformers.BertTokenizerFast.from_pretrained(tokenizer)

    def vectors(text):
        with torch.no_grad():
            states = bert(**words(text.strip(), return_tensors="pt")).last_hidden_state[0]
        return torch.nn.functional.normalize(states, dim=1)

    for i in range(3):
        likeness = (vectors(texts[i]) @ vectors(references[i]).T).numpy()
        # the first and last token of a text have no part in its mean, and words of the other may match them
        precision, recall = likeness.max(axis=1)[1:-1].mean(), likeness.max(axis=0)[1:-1].mean()
        expected = 2 * precision * recall / (precision + recall)
        assert found.columns["bertscore"][i] == pytest.approx(expected, abs=1e-5)
    assert found.columns["bertscore"][1] == pytest.approx(1, abs=1e-5)
    assert (found.columns["bertscore"][3], found.remarks[3]) == (0, "empty report")
    assert np.isfinite(found.columns["bertscore"]).all()


def test_bertscore_reads_as_far_as_a_roberta_has_places(tmp_path):
    """Its first places are free: of 22 it has 20 for tokens where padding is token 1; a text is cut there."""
    pytest.importorskip("bert_score")
    folder, words = tmp_path / "roberta", ["[UNK]", "[PAD]", *WORDS[2:]]
    folder.mkdir()
    (folder / "vocab.txt").write_text("\n".join(words))
    tokenizer = transformers.BertTokenizerFast(vocab=str(folder / "vocab.txt"))
    assert tokenizer.pad_token_id == 1
    tokenizer.save_pretrained(folder)
    torch.manual_seed(1)
    config = transformers.RobertaConfig(
        vocab_size=len(words), hidden_size=64, num_hidden_layers=2, num_attention_heads=1, intermediate_size=32,
        max_position_embeddings=22, pad_token_id=1,
    )  # fmt: skip
    transformers.RobertaModel(config).save_pretrained(folder)
    judge = scorer["bertscore"](model=folder, layers=2, device="cpu", batch=4)
    read = " ".join(
        ["small left effusion", "no right pneumothorax", "lungs are clear"] * 2
    )  # 18 words, [CLS] and [SEP]
    texts = (read, f"{read} heart normal", f"{read} heart", "heart normal")
    reference = "left pneumothorax . heart normal"
    found = judge.score(Pairs(ids=tuple("abcd"), candidates=texts, references=(reference,) * 4))
    cut = "text beyond 20 tokens not read"
    assert [cut in (remark or "") for remark in found.remarks] == [False, True, True, False]
    values = found.columns["bertscore"]
    assert values[:3] == pytest.approx(values[0], abs=1e-5)
    assert abs(values[3] - values[0]) > 1e-3


def test_a_folder_without_a_network_is_named(tmp_path):
    pytest.importorskip("bert_score")
    with pytest.raises(DataError, match="bert-score cannot use it"):
        scorer["bertscore"](model=tmp_path, layers=1, device="cpu").score(
            Pairs(ids=("a",), candidates=TEXTS[:1], references=TEXTS[:1])
        )
    with pytest.raises(DataError, match="no RadGraph is there"):
        scorer["radgraph"](folder=tmp_path).score(Pairs(ids=("a",), candidates=TEXTS[:1], references=TEXTS[:1]))


@pytest.mark.parametrize("kind", ["radgraph", "radgraph-xl", "modern-radgraph-xl"])
def test_radgraph_reads_graphs_from_texts(tmp_path, kind):
    """Random weights name entities and relations at random, the same in the same text."""
    pytest.importorskip("radgraph")
    folder = _tiny_radgraph(tmp_path, kind)
    texts = ("small left effusion . lungs are clear", "no pneumothorax", "")
    references = (texts[0], "small right effusion . heart normal", texts[1])
    found = scorer["radgraph"](folder=folder, kind=kind, device="cpu").score(
        Pairs(ids=("a", "b", "c"), candidates=texts, references=references)
    )
    complete, simple = found.columns["radgraph_complete"], found.columns["radgraph_simple"]
    assert (complete[0], simple[0]) == (1, 1)
    assert 0 <= complete[1] < 1
    assert (complete[2], found.remarks[2]) == (0, "empty report")
    long = " . ".join([texts[0]] * 400)
    judge = scorer["radgraph"](folder=folder, kind=kind, device="cpu", longest=7)
    found = judge.score(Pairs(ids=("a", "b", "c"), candidates=(long, texts[0], texts[1]), references=(texts[0],) * 3))
    assert found.columns["radgraph_complete"][0] == 1
    unread = "text beyond 7 words not read"
    assert found.remarks == (f"very long report; {unread}", None, None)
    blank = Pairs(ids=("a", "b"), candidates=(" \n", "\N{NO-BREAK SPACE}"), references=texts[:2])
    assert judge.score(blank).columns["radgraph_complete"].tolist() == [0, 0]


def test_radgraph_takes_its_encoder_from_a_folder_and_never_from_a_hub(tmp_path):
    """As published, the configuration names the encoder by its name on a hub."""
    pytest.importorskip("radgraph")
    from cxrobust.radiology_reports.scores.radgraph import _load

    folder = _tiny_radgraph(tmp_path)
    pair = Pairs(ids=("a",), candidates=TEXTS[:1], references=TEXTS[1:2])
    before = scorer["radgraph"](folder=folder, device="cpu").score(pair).columns
    path = folder / "radgraph-xl" / "config.json"
    path.write_text(path.read_text().replace(json.dumps(str(folder / "words")), '"a-lab/a-network"'))
    _load.cache_clear()
    with pytest.raises(DataError, match=r"names its encoder as on a hub, a-lab/a-network, and nothing is fetched"):
        scorer["radgraph"](folder=folder, device="cpu").score(pair)
    given = scorer["radgraph"](folder=folder, device="cpu", encoder=folder / "words").score(pair).columns
    assert all((given[name] == before[name]).all() for name in before)
    path.write_text("[]")
    _load.cache_clear()
    with pytest.raises(DataError, match=r"config\.json: this is no configuration of a RadGraph"):
        scorer["radgraph"](folder=folder, device="cpu").score(pair)


RADGRAPHS = {
    "small effusion left": {
        "1": {"tokens": "small", "label": "Observation::definitely present", "relations": [["modify", "2"]]},
        "2": {"tokens": "effusion", "label": "Observation::definitely present", "relations": [["located_at", "3"]]},
        "3": {"tokens": "left", "label": "Anatomy::definitely present", "relations": []},
    },
    "small heart , effusion , left": {
        "1": {"tokens": "small", "label": "Observation::definitely present", "relations": [["modify", "2"]]},
        "2": {"tokens": "heart", "label": "Anatomy::definitely present", "relations": []},
        "3": {"tokens": "effusion", "label": "Observation::definitely present", "relations": []},
        "4": {"tokens": "left", "label": "Anatomy::definitely present", "relations": []},
    },
    "as before": {},
}
"""What a network would read in texts."""


class GivenGraphs(torch.nn.Module):
    """Stands in the place of RadGraph's network, and gives stated graphs."""

    def __init__(self, **_):
        super().__init__()

    def forward(self, texts):
        return {str(i): {"text": text, "entities": RADGRAPHS[text]} for i, text in enumerate(texts)}


def test_radgraph_levels_against_hand_arithmetic(tmp_path, monkeypatch):
    """Of 3 and 4 entities 3 are in common; with whether they have a relation 2, with their relations 1: 2n/(3 + 4)."""
    pytest.importorskip("radgraph")
    monkeypatch.setattr(sys.modules["radgraph.radgraph"], "RadGraph", GivenGraphs)
    (tmp_path / "radgraph-xl").mkdir()
    (tmp_path / "radgraph-xl" / "config.json").write_text(json.dumps(_configured({"model_name": str(tmp_path)}, {})))
    short, long, nothing = RADGRAPHS
    found = scorer["radgraph"](folder=tmp_path, device="cpu").score(
        Pairs(ids=("a", "b", "c"), candidates=(short, long, nothing), references=(long, long, long))
    )
    for level, in_common in (("simple", 3), ("partial", 2), ("complete", 1)):
        names, measure = measured(f"radgraph-{level}")
        assert names == ("radgraph",)
        assert each(measure, found.columns) == pytest.approx([2 * in_common / (3 + 4), 1, 0])


def _configured(bert, network):
    """Return the configuration of a RadGraph, which names its encoder twice."""
    reader = {"type": "dygie", "max_span_width": 4, "token_indexers": {"bert": bert}}
    return {"dataset_reader": reader, "model": {**network, "embedder": {"token_embedders": {"bert": bert}}}}


def _tiny_radgraph(folder, kind="radgraph-xl"):
    """Write a RadGraph as its authors pack theirs, of a few random weights."""
    from unittest.mock import patch

    words = folder / "words"
    words.mkdir()
    (words / "vocab.txt").write_text("\n".join([*WORDS, "a", "b", "1", "2"]))
    transformers.BertTokenizerFast(vocab=str(words / "vocab.txt")).save_pretrained(words)
    torch.manual_seed(3)
    config = _config()
    config.vocab_size = len(WORDS) + 4
    transformers.BertModel(config).save_pretrained(words)
    model = folder / kind
    (model / "vocabulary").mkdir(parents=True)
    (model / "vocabulary" / "non_padded_namespaces.txt").write_text("*tags\n*labels\n")
    entities = "Observation::definitely present\nAnatomy::definitely present\nObservation::definitely absent\n"
    (model / "vocabulary" / f"{kind}__ner_labels.txt").write_text(f"\n{entities}")
    (model / "vocabulary" / f"{kind}__relation_labels.txt").write_text("\nmodify\nlocated_at\nsuggestive_of\n")
    bert = {"type": "pretrained_transformer_mismatched", "model_name": str(words), "max_length": 64}
    modules = {
        "ner": {},
        "coref": {"spans_per_word": 0.3, "max_antecedents": 10, "coref_prop": 0},
        "relation": {"spans_per_word": 0.5},
        "events": {
            "trigger_spans_per_word": 0.3,
            "argument_spans_per_word": 0.8,
            "loss_weights": {"trigger": 0.2, "arguments": 1.0},
        },
    }
    network = {
        "type": "dygie",
        "feature_size": 4,
        "feedforward_params": {"num_layers": 1, "hidden_dims": 8, "dropout": 0.0},
        "initializer": {},
        "module_initializer": {},
        "loss_weights": {"coref": 0, "ner": 1, "relation": 1, "events": 0},
        "max_span_width": 4,
        "target_task": "relation",
        "modules": modules,
    }
    (model / "config.json").write_text(json.dumps(_configured(bert, network)))
    from radgraph.dygie.models.dygie import DyGIE

    from cxrobust.radiology_reports.scores.radgraph import _load

    made = []
    start = DyGIE.__init__

    def kept(self, *arguments, **options):
        made.append(self)
        start(self, *arguments, **options)

    with patch.object(DyGIE, "__init__", kept), pytest.raises(DataError, match=r"cannot use it .*weights\.th"):
        _load(folder, kind, None, "cpu")  # it has everything but its weights
    torch.save(made[0].state_dict(), model / "weights.th")
    return folder
