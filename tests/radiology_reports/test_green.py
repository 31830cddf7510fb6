"""GREEN's answers: what is counted, and which are no answers."""

import pytest

from cxrobust.radiology_reports.scores import Pairs, scorer
from cxrobust.radiology_reports.scores.green import parse

ANSWER = """[Explanation]:
    The candidate misses an effusion and puts the opacity on the other side.

[Clinically Significant Errors]:
(a) False report of a finding in the candidate: 0.
(b) Missing a finding present in the reference: 1. Small left effusion
(c) Misidentification of a finding's anatomic location/position: 2. Opacity on the right; tube in the stomach
(f) Omitting a comparison detailing a change from a prior study: 1. Smaller than before

[Clinically Insignificant Errors]:
(d) Misassessment of the severity of a finding: 1. Mild for moderate

[Matched Findings]:
4. Normal heart; no pneumothorax; clear left lung; line in place
"""


def test_errors_are_counted_by_kind_and_insignificant_ones_left_out():
    found = parse(ANSWER)
    assert found.significant == (0, 1, 2, 0, 0, 1)
    assert found.matched == 4
    assert found.score == pytest.approx(4 / 8)


def test_kinds_may_be_numbered_and_sections_say_that_there_is_none():
    assert parse(ANSWER.replace("(b)", "(2)")).significant == (0, 1, 2, 0, 0, 1)
    none = "[Clinically Significant Errors]:\nNo errors.\n\n[Matched Findings]:\n2. A; B"
    assert (parse(none).significant, parse(none).score) == ((0,) * 6, 1.0)
    nothing = parse(none.replace("2. A; B", "No matched findings"))
    assert (nothing.matched, nothing.score) == (0, 0.0)
    for said in ("None", "None.", "N/A", "No clinically significant errors were identified.", "No errors found"):
        assert parse(none.replace("No errors.", said)).significant == (0,) * 6
    beside = none.replace(
        "No errors.", "None, but for this one:\n(b) Missing a finding present in the reference: 3. A; B; C"
    )
    assert (parse(beside).significant, parse(beside).score) == ((0, 3, 0, 0, 0, 0), 0.4)


@pytest.mark.parametrize(
    "answer",
    [
        "",
        "The reports agree.",
        "[Matched Findings]:\n3. A; B; C",
        ANSWER.replace("[Matched Findings]", "[Matches]"),
        ANSWER.replace("4. Normal", "Normal"),
        ANSWER.replace("1. Small left effusion", "Small left effusion"),
        ANSWER.replace("(f)", "(c)"),
        ANSWER + "\n\n[Matched Findings]:\n9. More",
        "[Clinically Significant Errors]:\n\n[Matched Findings]:\n3. A; B; C",
        "[Clinically Significant Errors]:\nNo errors.\n\n[Matched Findings]:\nNo pneumothorax; clear lungs",
        "[Clinically Significant Errors]:\nNo errors.\n\n[Matched Findings]:\nNo acute findings",
        "[Clinically Significant Errors]:\nNo pneumothorax was reported\n\n[Matched Findings]:\n3. A; B; C",
    ],
)
def test_an_answer_that_lacks_a_section_or_a_number_is_none(answer):
    assert parse(answer) is None


def _pairs(n):
    texts = tuple("Lungs are clear." for _ in range(n))
    return Pairs(ids=tuple("abcdef"[:n]), candidates=texts, references=texts, regime="sft", condition="clean")


def test_an_unreadable_answer_is_not_scored(tmp_path):
    path = tmp_path / "answers.jsonl"
    import json

    rows = [{"id": "a", "answer": ANSWER}, {"id": "b", "answer": "Good."}]
    path.write_text("\n".join(map(json.dumps, rows)))
    found = scorer["green"](answers=path).score(_pairs(3))
    assert found.reasons == (None, "unreadable answer", "no answer")
    assert found.columns["green"][0] == 0.5
    assert found.columns["green_errors"][0] == 4
    assert found.columns["green_errors_location"][0] == 2


@pytest.mark.parametrize("chat", ["green", "tokenizer"])
def test_a_language_model_is_asked_with_the_prompt_and_its_nonsense_is_not_scored(tmp_path, chat):
    pytest.importorskip("transformers")
    folder = _tiny_model(tmp_path / "model")
    prompt = tmp_path / "prompt.txt"
    prompt.write_text("Reference: {reference}\nCandidate: {candidate}\n")
    asked = []
    judge = scorer["green"](model=folder, prompt=prompt, chat=chat, max_new_tokens=5, batch=2, device="cpu")
    found = judge.score(_pairs(3))
    assert found.reasons == ("unreadable answer",) * 3
    generate = type(judge)._generate
    try:
        type(judge)._generate = lambda self, prompts: asked.extend(prompts) or [ANSWER] * len(prompts)
        assert judge.score(_pairs(2)).columns["green"].tolist() == [0.5, 0.5]
    finally:
        type(judge)._generate = generate
    assert asked == ["Reference: Lungs are clear.\nCandidate: Lungs are clear.\n"] * 2


def test_a_prompt_that_the_model_cannot_read_whole_is_not_asked(tmp_path):
    pytest.importorskip("transformers")
    folder = _tiny_model(tmp_path / "model", positions=64)
    prompt = tmp_path / "prompt.txt"
    prompt.write_text("{reference} {candidate}")
    judge = scorer["green"](model=folder, prompt=prompt, chat="tokenizer", max_new_tokens=5, batch=2, device="cpu")
    texts = tuple(" ".join(["clear"] * n) for n in (2, 55, 56, 3))  # beside: three of the speaker, one of the reference
    pairs = Pairs(ids=tuple("abcd"), candidates=texts, references=("Lungs",) * 4, regime="sft", condition="clean")
    long = "too long for GREEN's model"
    assert judge.score(pairs).reasons == ("unreadable answer", "unreadable answer", long, "unreadable answer")
    answers = judge._generate([*texts, texts[1] + " clear clear"])
    assert [answer is None for answer in answers] == [False, False, False, False, True]
    assert [judge._generate([text])[0] for text in texts] == answers[:4]  # at its place, whatever is left out


def _tiny_model(folder, positions=2048):
    """Write a Llama of a few weights with a tokenizer of words, and a chat template as GREEN's."""
    import torch
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

    words = ["<unk>", "<s>", "</s>", "Reference", "Candidate", ":", "Lungs", "are", "clear", ".", "<|user|>"]
    made = Tokenizer(models.WordLevel({word: i for i, word in enumerate(words)}, unk_token="<unk>"))
    made.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=made, unk_token="<unk>", bos_token="<s>", eos_token="</s>")
    tokenizer.chat_template = "{% for m in messages %}<|user|> {{ m['value'] }}{% endfor %}"
    tokenizer.save_pretrained(folder)
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=len(words), hidden_size=16, intermediate_size=32, num_hidden_layers=1, num_attention_heads=2,
        num_key_value_heads=2, max_position_embeddings=positions, bos_token_id=1, eos_token_id=2, pad_token_id=0,
    )  # fmt: skip
    LlamaForCausalLM(config).save_pretrained(folder)
    return folder
