"""GREEN (Ostmeier et al. 2024, doi:10.18653/v1/2024.findings-emnlp.21): errors of a report, as a language model counts.

The model answers in sections: clinically significant errors of six kinds, insignificant ones, and matched findings,
each with its number. The score is matched / (matched + significant errors), 0 where nothing matches. An answer that
lacks a section or a number is not scored: the model's authors count it as 0, which punishes a report for its judge.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np
from pydantic import Field, model_validator

from cxrobust.errors import DataError, require
from cxrobust.radiology_reports.scores import Answers, Measure, OnDevice, Pairs, mean_of, scorer
from cxrobust.radiology_reports.scores.elsewhere import ids_of_texts, read_texts
from cxrobust.study.sections import StudyPath

ERRORS = {
    "false-finding": "findings that the reference does not have",
    "missing-finding": "findings of the reference that are missing",
    "location": "findings at another place",
    "severity": "findings of another severity",
    "false-comparison": "comparisons that the reference does not make",
    "missing-comparison": "comparisons of the reference that are missing",
}
"""The kinds of errors in the order of the answer's letters."""
SIGNIFICANT, MATCHED = "Clinically Significant Errors", "Matched Findings"
UNPARSABLE, UNANSWERED, TOO_LONG = "unreadable answer", "no answer", "too long for GREEN's model"
PLACES = ("{reference}", "{candidate}")
CHAT = "<|user|>\n{prompt}{end}\n<|assistant|>\n{end}\n<|assistant|>\n"
"""The turns that GREEN's own code asks in, an empty answer before the one that is asked for."""
_NONE = re.compile(
    r"(?i)(?:(?:n/a|none|no (?:(?:clinically|significant|matched|matching|such|other) )*(?:errors?|findings?|matches))"
    r"(?: (?:are|is|was|were|found|identified|noted|present|reported|matched|made))*)\W*"
)
"""A section that counts nothing; a finding which begins with *no* is none of these."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Judged:
    """What an answer counts."""

    significant: tuple[int, ...]
    """Of each kind of `ERRORS`."""
    matched: int

    @property
    def score(self) -> float:
        """GREEN, in [0, 1]."""
        return self.matched / (self.matched + sum(self.significant)) if self.matched else 0.0


def parse(answer: str) -> Judged | None:
    """Return what an answer counts, or None where it lacks a section or a number.

    >>> parse('''[Clinically Significant Errors]:
    ... (a) False report of a finding in the candidate: 1. Effusion
    ... (b) Missing a finding present in the reference: 0.
    ...
    ... [Matched Findings]:
    ... 3. Clear lungs; normal heart; no pneumothorax''').score
    0.75
    >>> parse("The candidate report is good.") is None
    True
    """
    significant, matched = _section(answer, SIGNIFICANT), _section(answer, MATCHED)
    if significant is None or matched is None:
        return None
    counts = _errors(significant)
    number = re.match(r"(\d+)\b", matched)
    if counts is None or (number is None and not _says_none(matched)):
        return None
    return Judged(significant=counts, matched=int(number[1]) if number else 0)


def _section(answer: str, name: str) -> str | None:
    """Return the text below a heading, to the next one or an empty line; None where the heading is missing or twice."""
    found = re.findall(rf"\[{name}\]:?[^\S\n]*\n?(.*?)(?=\n\s*\n|\n\s*\[|\Z)", answer, flags=re.DOTALL)
    return found[0].strip() if len(found) == 1 else None


def _says_none(text: str) -> bool:
    """Whether a section says that there is nothing to count, and no more.

    >>> _says_none("No matched findings."), _says_none("No pneumothorax; clear lungs")
    (True, False)
    """
    return _NONE.fullmatch(text) is not None


def _errors(text: str) -> tuple[int, ...] | None:
    """Return the number of each kind; None where a line has none, or a kind stands twice."""
    counts: dict[int, int] = {}
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    if not lines or _says_none(text):
        return (0,) * len(ERRORS) if lines else None
    for line in lines:
        found = re.match(r"\(([a-f1-6])\)[^:]*:\s*(\d+)\b", line)
        if found is None:
            if re.match(r"\([a-f1-6]\)", line):
                return None
            continue  # a line goes on
        kind = int(found[1]) - 1 if found[1].isdigit() else ord(found[1]) - ord("a")
        if kind in counts:
            return None
        counts[kind] = int(found[2])
    return tuple(counts.get(kind, 0) for kind in range(len(ERRORS))) if counts else None


@lru_cache(maxsize=1)
def _load(model: Path, chat: str, device: str) -> tuple[Any, Any]:
    """Return tokenizer and network."""
    transformers: Any = require("transformers", group="inference")
    ended = {"add_eos_token": True} if chat == "green" else {}  # as GREEN's own code does
    try:
        tokenizer = transformers.AutoTokenizer.from_pretrained(
            str(model), local_files_only=True, padding_side="left", **ended
        )
        network = transformers.AutoModelForCausalLM.from_pretrained(str(model), local_files_only=True)
    except (OSError, ValueError) as error:
        raise DataError(
            f"{model}: no language model with its tokenizer ({' '.join(str(error).split())[:200]}): name GREEN's folder"
        ) from error
    tokenizer.pad_token = tokenizer.pad_token or tokenizer.eos_token
    return tokenizer, network.eval().to(device)


@scorer("green")
class Green(OnDevice):
    """Errors and matched findings, counted by GREEN's language model, here or elsewhere."""

    measures: ClassVar[Mapping[str, Measure]] = {
        "green": mean_of("green", "Mean GREEN, matched findings over these and significant errors; in [0, 1]."),
        "green-matched": mean_of("green_matched", "Mean number of matched findings of a report.", bounds=(0, np.inf)),
        "green-errors": mean_of(
            "green_errors", "Mean number of clinically significant errors of a report.", better="lower",
            bounds=(0, np.inf),
        ),
        **{
            f"green-errors-{kind}": mean_of(
                f"green_errors_{kind}", f"Mean number of {said}.", better="lower", bounds=(0, np.inf)
            )
            for kind, said in ERRORS.items()
        },
    }  # fmt: skip
    distributions = ("transformers", "torch")
    modules = ("cxrobust.radiology_reports.scores.elsewhere",)

    answers: StudyPath | None = None
    """Answers made elsewhere: a CSV or JSON lines of `regime`, `condition`, `id` and `answer`."""
    model: StudyPath | None = None
    """Folder with the model (`GREEN-RadLlama2-7b`) and its tokenizer."""
    prompt: StudyPath | None = None
    """Text file with the prompt that the model was trained with, `{reference}` and `{candidate}` in their places."""
    chat: Literal["green", "tokenizer"] = "green"
    """How the prompt is put: in the turns that GREEN's own code writes, or by the tokenizer's chat template."""
    max_new_tokens: int = Field(default=1024, ge=1)

    @model_validator(mode="after")
    def _one_way(self) -> "Green":
        here = (self.model, self.prompt)
        if (self.answers is None) == (None in here) or (self.answers and any(here)):
            raise ValueError("give either answers, or model and prompt")
        return self

    def check(self) -> None:
        """Raise where a package is missing."""
        if self.model is not None:
            require("transformers", group="inference")

    def named_ids(self) -> set[str]:
        """Return the ids of the reports in the table of answers."""
        return set() if self.answers is None else ids_of_texts(self.answers, column="answer")

    def compare(self, pairs: Pairs) -> Answers:
        """Count each pair's errors; one that is too long for the model, or has an unreadable answer, is not scored."""
        given = self.answers
        found = self._ask(pairs) if given is None else read_texts(given, column="answer", pairs=pairs)
        judged = [None if text is None else parse(text) for text in found]
        rows = np.full((len(judged), 3 + len(ERRORS)), np.nan)
        for row, one in zip(rows, judged, strict=True):
            if one is not None:
                row[:] = [one.score, one.matched, sum(one.significant), *one.significant]
        names = ("green", "green_matched", "green_errors", *(f"green_errors_{kind}" for kind in ERRORS))
        unasked = TOO_LONG if given is None else UNANSWERED
        why = {i: unasked if found[i] is None else UNPARSABLE for i, one in enumerate(judged) if one is None}
        return Answers(columns=dict(zip(names, rows.T, strict=True)), reasons=why)

    def _ask(self, pairs: Pairs) -> list[str | None]:
        assert self.model is not None and self.prompt is not None  # noqa: PT018, S101  validated
        try:
            template = self.prompt.read_text(encoding="utf-8")
        except OSError as error:
            raise DataError(f"{self.prompt}: {error.strerror}: name the file with GREEN's prompt") from error
        if missing := [place for place in PLACES if place not in template]:
            raise DataError(f"{self.prompt}: it lacks {' and '.join(missing)}: put them where the reports stand")
        lines = ([" ".join(text.split()) for text in both] for both in pairs.texts_in_pairs)  # as GREEN's own code does
        prompts = [
            template.replace(PLACES[0], reference).replace(PLACES[1], candidate) for candidate, reference in lines
        ]
        return self._generate(prompts)

    def _generate(self, prompts: Sequence[str]) -> list[str | None]:
        """Return the model's answers; None where prompt and answer are more than it has positions for."""
        import torch

        assert self.model is not None  # noqa: S101  validated
        tokenizer, network = _load(self.model, self.chat, self.torch_device)
        positions = getattr(network.config.get_text_config(), "max_position_embeddings", None)
        turns = [self._turn(tokenizer, one) for one in prompts]
        lengths = [len(tokenizer(one, verbose=False)["input_ids"]) for one in turns]
        fitting = [i for i, n in enumerate(lengths) if positions is None or n + self.max_new_tokens <= positions]
        found: list[str | None] = [None] * len(prompts)
        for first in range(0, len(fitting), self.batch):
            places = fitting[first : first + self.batch]
            some = [turns[place] for place in places]
            words = tokenizer(some, return_tensors="pt", padding=True, return_token_type_ids=False).to(network.device)
            with torch.inference_mode():
                told = network.generate(
                    **words, do_sample=False, max_new_tokens=self.max_new_tokens, pad_token_id=tokenizer.pad_token_id
                )
            answers = tokenizer.batch_decode(told[:, words["input_ids"].shape[1] :], skip_special_tokens=True)
            for place, answer in zip(places, answers, strict=True):
                found[place] = answer
        return found

    def _turn(self, tokenizer: Any, prompt: str) -> str:
        """Return a prompt as the model's chat has it; some templates name the speaker `from`, others `role`."""
        if self.chat == "green":
            return CHAT.format(prompt=prompt, end=tokenizer.eos_token or "")
        if not tokenizer.chat_template:
            return prompt
        turn = {"from": "human", "value": prompt, "role": "user", "content": prompt}
        return str(tokenizer.apply_chat_template([turn], tokenize=False, add_generation_prompt=True))
