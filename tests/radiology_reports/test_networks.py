"""CheXbert and BERTScore on tiny random stand-ins of their architecture, made here."""

import numpy as np
import pytest

from cxrobust.errors import DataError
from cxrobust.radiology_reports.labeler import Label
from cxrobust.radiology_reports.phrases import OBSERVATIONS
from cxrobust.radiology_reports.scores import Pairs, scorer

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


def test_chexbert_reads_classes_off_its_heads(checkpoint, tokenizer):
    from cxrobust.radiology_reports.chexbert import HEADS, Chexbert

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


def test_a_long_report_is_cut_and_told(checkpoint, tokenizer):
    texts = ("small left effusion " * 300, TEXTS[0])
    chexpert = scorer["chexpert"](labeler="chexbert", checkpoint=checkpoint, tokenizer=tokenizer, device="cpu")
    found = chexpert.score(Pairs(ids=("a", "b"), candidates=texts, references=(TEXTS[0], TEXTS[0])))
    assert found.remarks == ("text beyond 512 tokens not read", None)
    assert found.columns["chexpert_fp_edema"][1] == found.columns["chexpert_fn_edema"][1] == 0


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
        return torch.nn.functional.normalize(states, dim=1)[1:-1]  # without the first and last token

    for i in range(3):
        likeness = (vectors(texts[i]) @ vectors(references[i]).T).numpy()
        # bert-score lets a word match the special tokens of the other text too
        precision, recall = likeness.max(axis=1).mean(), likeness.max(axis=0).mean()
        assert found.columns["bertscore"][i] >= 2 * precision * recall / (precision + recall) - 1e-5
    assert found.columns["bertscore"][1] == pytest.approx(1, abs=1e-5)
    assert (found.columns["bertscore"][3], found.remarks[3]) == (0, "empty report")
    assert np.isfinite(found.columns["bertscore"]).all()


def test_a_folder_without_a_network_is_named(tmp_path):
    pytest.importorskip("bert_score")
    with pytest.raises(DataError, match="bert-score cannot use it"):
        scorer["bertscore"](model=tmp_path, layers=1, device="cpu").score(
            Pairs(ids=("a",), candidates=TEXTS[:1], references=TEXTS[:1])
        )
    with pytest.raises(DataError, match="no RadGraph is there"):
        scorer["radgraph"](folder=tmp_path).score(Pairs(ids=("a",), candidates=TEXTS[:1], references=TEXTS[:1]))
