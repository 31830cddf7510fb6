"""RaTEScore, RadEval and GREEN's parser in their own packages, on small networks made here, offline."""

import importlib
import importlib.util
import itertools
import multiprocessing
import socket
import sys
import warnings
from collections import Counter
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from cxrobust.radiology_reports.scores import Pairs, measured, scorer
from cxrobust.radiology_reports.scores.green import parse
from cxrobust.radiology_reports.scores.radeval import _package

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")
KINDS = {
    "effusion": "ABNORMALITY",
    "pneumothorax": "NON-ABNORMALITY",
    "pneumonia": "DISEASE",
    "fibrosis": "NON-DISEASE",
    "left": "ANATOMY",
    "right": "ANATOMY",
    "lungs": "ANATOMY",
    "heart": "ANATOMY",
    "clear": "NON-ABNORMALITY",
}
"""The words that are entities, with their kinds."""
OTHER_WORDS = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "small", "large", "no", "are", "is", "normal", "good", ".")
WORDS = (*OTHER_WORDS, *KINDS)
HIDDEN = 32
NO_ENTITY, NO_SENTENCE = "Good. It is normal.", "x.\ny."
REPORTS = (
    "Small left effusion. No pneumothorax. Lungs are clear.",
    "Large right effusion.",
    NO_ENTITY,
    "No effusion.\nPneumonia in the right lung. Heart is normal.",
    NO_SENTENCE,
    "Lungs are clear. Left fibrosis.",
    "",
    "No pneumothorax is left.",
)
REFERENCES = (
    "Small left effusion. No pneumothorax. Lungs are clear.",
    "Small left effusion. Lungs are clear. No pneumothorax.",
    "Small left effusion.",
    "Large right pneumothorax. No pneumonia. Fibrosis.",
    "Small left effusion.",
    "Heart is normal. Pneumonia. Lungs are clear. Effusion left.",
    "Small left effusion.",
    NO_ENTITY,
)
IDS = tuple(f"image{i}" for i in range(len(REPORTS)))
PAIRS = Pairs(ids=IDS, candidates=REPORTS, references=REFERENCES)


@pytest.fixture
def asked(monkeypatch):
    """The hosts that code asked for; none is found."""
    hosts = []

    def getaddrinfo(host, *_, **__):
        hosts.append(host)
        raise socket.gaierror(host)

    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)
    return hosts


def _config(layers):
    return transformers.BertConfig(
        vocab_size=len(WORDS), hidden_size=HIDDEN, num_hidden_layers=layers, num_attention_heads=2,
        intermediate_size=32, max_position_embeddings=512,
    )  # fmt: skip


def _save(network, folder):
    network.save_pretrained(folder)
    (folder / "vocab.txt").write_text("\n".join(WORDS))
    transformers.BertTokenizerFast(vocab=str(folder / "vocab.txt"), model_max_length=512).save_pretrained(folder)
    return folder


def _finder(folder):
    """Write a network that finds each word of `KINDS` as an entity of its kind, whatever stands beside it."""
    labels = ["O", *(f"{place}-{kind}" for kind in sorted({*KINDS.values()}) for place in "BI")]
    config = _config(layers=0)
    config.id2label, config.label2id = dict(enumerate(labels)), {name: i for i, name in enumerate(labels)}
    network = transformers.BertForTokenClassification(config)
    with torch.no_grad():
        for weights in network.parameters():
            weights.zero_()
        network.bert.embeddings.LayerNorm.weight.fill_(1)
        network.bert.embeddings.word_embeddings.weight[:, : len(WORDS)] = torch.eye(len(WORDS))
        for at, word in enumerate(WORDS):
            label = f"B-{KINDS[word]}" if word in KINDS else "O"
            network.classifier.weight[labels.index(label), at] = 1
    return _save(network, folder)


def _embedder(folder):
    torch.manual_seed(0)
    config = _config(layers=2)
    config.initializer_range = 0.5  # so that words differ
    return _save(transformers.BertModel(config), folder)


def _entities(text):
    return [word for word in text.lower().replace(".", " ").split() if word in KINDS]


def _ratescore(candidate, reference, *, vector, weight, opposed):
    """RaTEScore of two texts of the words above: harmonic mean of how well each one's entities meet the other's."""
    found, wanted = _entities(candidate), _entities(reference)
    if not found or not wanted:
        return 0.5

    def met(some, others):
        total = parts = 0.0
        for one in some:
            likeness = [float(vector[one] @ vector[other]) for other in others]
            nearest = others[int(np.argmax(likeness))]
            kinds = (KINDS[one], KINDS[nearest])
            bare = [kind.removeprefix("NON-") for kind in kinds]
            is_denied = "ANATOMY" not in kinds and (bare[0] == kinds[0]) != (bare[1] == kinds[1])
            parts += max(likeness) * weight[kinds] * (opposed if is_denied else 1)
            total += weight[kinds]
        return parts / total

    precision, recall = met(found, wanted), met(wanted, found)
    return 2 * precision * recall / (precision + recall)


@pytest.fixture
def ratescore():
    return pytest.importorskip("RaTEScore", exc_type=ImportError)


@pytest.mark.parametrize("table", ["long", "short"])
def test_ratescore_against_arithmetic_by_hand_and_each_pair_alone(tmp_path, ratescore, asked, table):
    finder, embedder = _finder(tmp_path / "finder"), _embedder(tmp_path / "embedder")
    judge = scorer["ratescore"](entities=finder, embeddings=embedder, weights=table, device="cpu", batch=3)
    found = judge.score(PAIRS)
    assert asked == []
    scores = found.columns["ratescore"]

    network = transformers.BertModel.from_pretrained(embedder).eval()
    words = transformers.BertTokenizerFast.from_pretrained(embedder)
    with torch.no_grad():
        states = {one: network(**words(one, return_tensors="pt")).last_hidden_state[0, 0].numpy() for one in KINDS}
    vector = {one: state / np.linalg.norm(state) for one, state in states.items()}
    given = getattr(importlib.import_module("RaTEScore.scorer"), f"DEFAULT_MATRIX_{table.upper()}")
    weight = {tuple(name.upper().split("_")): value for name, value in given.items()}
    read = [i for i, text in enumerate(REPORTS) if text not in {"", NO_SENTENCE}]
    wanted = [
        _ratescore(REPORTS[i], REFERENCES[i], vector=vector, weight=weight, opposed=given["neg_weight"]) for i in read
    ]
    assert scores[read] == pytest.approx(wanted, abs=1e-5)
    assert len({round(one, 3) for one in wanted}) == len(wanted) - 1  # two texts have no entity

    package = ratescore.RaTEScore(str(finder), str(embedder), use_gpu=False, affinity_matrix=table)
    alone = [float(package.compute_score([REPORTS[i]], [REFERENCES[i]])[0]) for i in read]
    assert scores[read] == pytest.approx(alone, abs=1e-5)
    assert scores[0] == pytest.approx(1, abs=1e-5)

    assert scores[[2, 7]].tolist() == [0.5, 0.5]
    assert all("no entity found, 0.5 by RaTEScore" in found.remarks[i] for i in (2, 7))
    assert np.isnan(scores[4])
    assert found.reasons == (*[None] * 4, "no sentence that RaTEScore reads", *[None] * 3)
    assert (scores[6], found.remarks[6]) == (0, "empty report")
    filled = [i for i, text in enumerate(REPORTS) if text]
    together = package.compute_score([REPORTS[i] for i in filled], [REFERENCES[i] for i in filled])
    assert len(together) == len(filled) - 1  # the package's lists move up where a text has no sentence


def test_ratescore_of_networks_of_the_published_forms_is_the_packages_own(tmp_path, ratescore, asked):
    """As published, the finder is a DeBERTa-v2 and the embedder an MPNet, whose tokens begin at a space."""
    finder, embedder = _published_forms(tmp_path)
    found = scorer["ratescore"](entities=finder, embeddings=embedder, device="cpu", batch=3).score(PAIRS)
    package = ratescore.RaTEScore(str(finder), str(embedder), use_gpu=False, affinity_matrix="long")
    read = [i for i, text in enumerate(REPORTS) if text not in {"", NO_SENTENCE}]
    alone = [float(package.compute_score([REPORTS[i]], [REFERENCES[i]])[0]) for i in read]
    assert found.columns["ratescore"][read] == pytest.approx(alone, abs=1e-6)
    assert len({round(one, 3) for one in alone}) > 2
    assert asked == []


def _published_forms(folder):
    from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors

    special = ["[PAD]", "[CLS]", "[SEP]", "[UNK]", "[MASK]"]
    bare = [word for word in WORDS if word not in special]
    vocabulary = [
        *special,
        "\N{LOWER ONE EIGHTH BLOCK}",
        *(f"\N{LOWER ONE EIGHTH BLOCK}{word}" for word in bare),
        *bare,
    ]
    tokens = Tokenizer(models.Unigram([(token, -1.0 - 0.001 * i) for i, token in enumerate(vocabulary)], unk_id=3))
    tokens.normalizer = normalizers.Lowercase()
    tokens.pre_tokenizer, tokens.decoder = pre_tokenizers.Metaspace(), decoders.Metaspace()
    tokens.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 1), ("[SEP]", 2)]
    )
    shape = {
        "hidden_size": HIDDEN, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 32,
        "pad_token_id": 0, "initializer_range": 0.5,
    }  # fmt: skip
    labels = ["O", *(f"{place}-{kind}" for kind in sorted({*KINDS.values()}) for place in "BI")]
    of_finder = transformers.DebertaV2Config(
        vocab_size=len(vocabulary), relative_attention=True, position_buckets=16, norm_rel_ebd="layer_norm",
        share_att_key=True, pos_att_type=["p2c", "c2p"], position_biased_input=False, type_vocab_size=0,
        id2label=dict(enumerate(labels)), label2id={name: i for i, name in enumerate(labels)}, **shape,
    )  # fmt: skip
    of_embedder = transformers.MPNetConfig(vocab_size=len(vocabulary) + 2, max_position_embeddings=514, **shape)
    torch.manual_seed(0)
    networks = {
        "finder": transformers.DebertaV2ForTokenClassification(of_finder),
        "embedder": transformers.MPNetModel(of_embedder),
    }
    for name, network in networks.items():
        network.save_pretrained(folder / name)
        transformers.PreTrainedTokenizerFast(
            tokenizer_object=tokens, pad_token="[PAD]", cls_token="[CLS]", sep_token="[SEP]", unk_token="[UNK]",
            mask_token="[MASK]", model_max_length=512,
        ).save_pretrained(folder / name)  # fmt: skip
    return folder / "finder", folder / "embedder"


@pytest.fixture
def radeval(monkeypatch, asked):
    """The package, imported anew as the first score by it has it imported."""
    if importlib.util.find_spec("radeval") is None:
        pytest.skip("radeval is not installed: it is in the group dev, where medspacy has wheels")
    for name in [name for name in sys.modules if name.split(".")[0] == "radeval"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setenv("TOKENIZERS_PARALLELISM", "false")  # it sets this
    monkeypatch.setattr(multiprocessing, "set_start_method", lambda _: None)  # and this
    package = _package()
    assert asked == []
    return package


def test_bleu_and_rouge_by_radeval(radeval, asked):
    metrics = pytest.importorskip("sacrebleu.metrics")
    rng = np.random.default_rng(0)
    references = [" ".join(rng.choice(WORDS[5:], size=rng.integers(8, 30))) for _ in range(12)]
    candidates = [
        " ".join(word for word in text.split() if i < 2 or rng.random() > 0.03 * i) for i, text in enumerate(references)
    ]
    candidates[1], candidates[11] = f"{candidates[1]} no effusion .", "lungs are clear"
    pairs = Pairs(ids=tuple(map(str, range(12))), candidates=tuple(candidates), references=tuple(references))
    before = list(warnings.filters)
    found = scorer["radeval"](metrics=("bleu", "rouge")).score(pairs)
    assert warnings.filters == before
    with warnings.catch_warnings():
        by_hand = radeval.RadEval(metrics=["bleu", "rouge"], per_sample=True, show_progress=False)
    given = by_hand(refs=references, hyps=candidates)
    assert {name: values.tolist() for name, values in found.columns.items()} == {
        f"radeval_{name}": values for name, values in given.items()
    }
    assert list(given) == ["bleu", "rouge1", "rouge2", "rougeL"]

    bleu = metrics.BLEU(tokenize="none", smooth_method="none")
    wanted = [
        bleu.corpus_score([one], [[other]]).score / 100 for one, other in zip(candidates, references, strict=True)
    ]
    assert found.columns["radeval_bleu"] == pytest.approx(wanted, abs=1e-4)  # it adds a little to each count
    assert sum(0.1 < one < 0.99 for one in wanted) > 5
    for name, values in found.columns.items():
        if "rouge" in name:
            wanted = [_rouge(name.removeprefix("radeval_rouge"), *both) for both in pairs.texts_in_pairs]
            assert values == pytest.approx(wanted, abs=1e-12)
    measure = measured("radeval-rougeL")[1]
    sums = measure.of(found.columns).sum(axis=0)
    assert float(measure.finish(np.append(sums, len(candidates)))) == pytest.approx(np.mean(given["rougeL"]))
    assert asked == []


def test_a_score_that_radeval_does_not_give_leaves_its_others(monkeypatch):
    """Where one metric gives none of a report, the report has the others'; it is not scored where all give none."""
    given = {"bleu": [0.5, None, None], "green": [None, 0.25, None]}

    class Judge:
        def __init__(self, **_):
            pass

        def __call__(self, refs, hyps):
            return given

    monkeypatch.setattr("cxrobust.radiology_reports.scores.radeval._package", lambda: SimpleNamespace(RadEval=Judge))
    found = scorer["radeval"](metrics=("bleu", "green")).score(PAIRS.some([0, 1, 3]))
    np.testing.assert_array_equal(found.columns["radeval_bleu"], [0.5, np.nan, np.nan])
    np.testing.assert_array_equal(found.columns["radeval_green"], [np.nan, 0.25, np.nan])
    assert found.reasons == (None, None, "no score of RadEval")


def _rouge(kind, candidate, reference):
    """F1 of words, of pairs of words, or of the longest common run with gaps."""
    stem = {"effusion": "effus", "fibrosis": "fibrosi"}  # the stems that matter: each word has one of its own
    one, other = ([stem.get(word, word) for word in text.split() if word != "."] for text in (candidate, reference))
    if kind == "L":
        table = np.zeros((len(one) + 1, len(other) + 1), dtype=int)
        for i, j in itertools.product(range(len(one)), range(len(other))):
            table[i + 1, j + 1] = table[i, j] + 1 if one[i] == other[j] else max(table[i, j + 1], table[i + 1, j])
        common, total = table[-1, -1], len(one) + len(other)
    else:
        runs = [Counter(zip(*(words[k:] for k in range(int(kind))), strict=False)) for words in (one, other)]
        common, total = (runs[0] & runs[1]).total(), runs[0].total() + runs[1].total()
    return 2 * common / total if total else 0.0


def test_networks_by_radeval_give_what_their_own_scorers_give(radeval, ratescore, tmp_path, monkeypatch, asked):
    """RadEval names its networks as the hub does; folders of these names in the working directory come first."""
    pytest.importorskip("bert_score")
    finder = _finder(tmp_path / "Angelakeke" / "RaTE-NER-Deberta")
    embedder = _embedder(tmp_path / "FremyCompany" / "BioLORD-2023-C")
    torch.manual_seed(2)
    words = _save(transformers.BertModel(_config(layers=6)), tmp_path / "distilbert-base-uncased")
    monkeypatch.chdir(tmp_path)
    pairs = PAIRS.some([i for i, text in enumerate(REPORTS) if text not in {"", NO_SENTENCE}])
    found = scorer["radeval"](metrics=("ratescore", "bertscore")).score(pairs)
    assert asked == []
    ours = scorer["ratescore"](entities=finder, embeddings=embedder, device="cpu").score(pairs)
    assert found.columns["radeval_ratescore"] == pytest.approx(ours.columns["ratescore"], abs=1e-5)
    folder = Path(radeval.__file__).parent / "metrics" / "bertscore" / "_vendor" / "rescale_baseline"
    ours = scorer["bertscore"](
        model=words, layers=5, baseline=folder / "en" / "distilbert-base-uncased.tsv", device="cpu"
    ).score(pairs)
    assert found.columns["radeval_bertscore"] == pytest.approx(ours.columns["bertscore"], abs=1e-4)


KINDS_OF_ERRORS = (
    "False report of a finding in the candidate",
    "Missing a finding present in the reference",
    "Misidentification of a finding's anatomic location/position",
    "Misassessment of the severity of a finding",
    "Mentioning a comparison that isn't in the reference",
    "Omitting a comparison detailing a change from a prior study",
)


def _answer(rng):
    """Return an answer in the format that GREEN's prompt asks for, as its models fill it in."""
    marks = "abcdef" if rng.random() < 0.7 else "123456"

    def errors():
        counts = rng.integers(0, 13, size=6) * (rng.random(6) < 0.5)
        told = [i for i in range(6) if counts[i] or rng.random() < 0.5]
        if not told:
            return rng.choice(["No errors.", "No significant errors."])
        return "\n".join(
            f"({marks[i]}) {KINDS_OF_ERRORS[i]}: {counts[i]}. {'; '.join(['An effusion of 3 cm'] * counts[i])}"
            for i in told
        )

    matched = rng.integers(0, 13)
    findings = f"{matched}. {'; '.join(['No effusion', 'Clear lungs'] * matched)}"
    return (
        f"[Explanation]:\nThe candidate differs.\n\n[Clinically Significant Errors]:\n{errors()}\n\n"
        f"[Clinically Insignificant Errors]:\n{errors()}\n\n"
        f"[Matched Findings]:\n{findings if rng.random() < 0.9 else 'No matched findings.'}"
    )


def test_answers_are_counted_as_greens_own_code_counts_them(radeval):
    judge = importlib.import_module("radeval.metrics.green_score.green").GREEN(cpu=True)
    rng = np.random.default_rng(0)
    scores = set()
    for _ in range(300):
        answer = _answer(rng)
        found = parse(answer)
        assert [*found.significant, found.matched] == judge.compute_error_count(answer)
        assert found.score == judge.compute_green(answer)
        scores.add(found.score)
    assert len(scores) > 50
    assert judge.compute_green("The reports agree.") == 0  # of which ours says that it cannot be read
    assert parse("The reports agree.") is None


def test_green_asks_its_model_as_its_own_code_does(radeval, tmp_path, monkeypatch, asked):
    """A Llama of a few weights, whose answers are given: both put the same tokens to it and make the same of them."""
    folder = _llama(tmp_path / "StanfordAIMI" / "GREEN-radllama2-7b")
    prompt = tmp_path / "prompt.txt"
    made = importlib.import_module("radeval.metrics.green_score.utils").make_prompt
    prompt.write_text(made("{reference}", "{candidate}"))
    rng = np.random.default_rng(1)
    words = transformers.AutoTokenizer.from_pretrained(folder)
    answers = words([_answer(rng) for _ in REPORTS], return_tensors="pt", padding=True)["input_ids"]
    put = []

    def generate(self, input_ids, attention_mask, **_):
        put.append([row[seen.bool()].tolist() for row, seen in zip(input_ids, attention_mask, strict=True)])
        return torch.cat([input_ids, answers[: len(input_ids)]], dim=1)

    monkeypatch.setattr(transformers.LlamaForCausalLM, "generate", generate)
    monkeypatch.chdir(tmp_path)
    theirs = scorer["radeval"](metrics=("green",)).score(PAIRS).columns["radeval_green"]
    ours = scorer["green"](model=folder, prompt=prompt, batch=8, device="cpu").score(PAIRS).columns["green"]
    assert put[0] == put[1]
    assert REFERENCES[0] in words.decode(put[0][0])
    assert ours.tolist() == theirs.tolist()
    assert len({*ours}) > 5
    assert asked == []


def _llama(folder):
    """Write a Llama with a tokenizer of bytes."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers

    letters = ["<unk>", "<s>", "</s>", *sorted(pre_tokenizers.ByteLevel.alphabet())]
    made = Tokenizer(models.BPE(vocab={letter: i for i, letter in enumerate(letters)}, merges=[]))
    made.pre_tokenizer, made.decoder = pre_tokenizers.ByteLevel(add_prefix_space=False), decoders.ByteLevel()
    transformers.PreTrainedTokenizerFast(
        tokenizer_object=made, unk_token="<unk>", bos_token="<s>", eos_token="</s>", pad_token="</s>"
    ).save_pretrained(folder)
    config = transformers.LlamaConfig(
        vocab_size=len(letters), hidden_size=16, intermediate_size=32, num_hidden_layers=1, num_attention_heads=2,
        max_position_embeddings=8192, bos_token_id=1, eos_token_id=2,
    )  # fmt: skip
    transformers.LlamaForCausalLM(config).save_pretrained(folder)
    return folder
