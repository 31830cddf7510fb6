"""A language model as a judge of two reports: what it is asked, in both orders, and what its answer means."""

import re
from abc import abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any

from pydantic import Field, field_validator

from cxrobust.errors import DataError, counted
from cxrobust.files import sha256_json
from cxrobust.radiology_reports.judges import (
    NO_REFERENCE,
    SWAPPED,
    Case,
    Choice,
    Decision,
    Desk,
    Judge,
    Judgement,
    by_decisions,
    unjudged,
)
from cxrobust.radiology_reports.judges.kept import Kept

REFERENCE, FIRST, SECOND = "{reference}", "{first}", "{second}"
INSTRUCTIONS = f"""You compare two reports of the same chest radiograph with the report of its radiologist. The better \
report states the findings of the reference correctly, with their side, size and certainty, and adds none that the \
reference does not hold. Length and style do not count.

Reference report:
{REFERENCE}

Report A:
{FIRST}

Report B:
{SECOND}

End with one line, nothing after it: "Verdict: A", "Verdict: B", or "Verdict: tie" where neither is better."""
NONSENSE = "an answer without a verdict"
_PLACES = re.compile("|".join(map(re.escape, (REFERENCE, FIRST, SECOND))))
_THOUGHT = re.compile(r"(?is)<think(?:ing)?>.*?(?:</think(?:ing)?>|\Z)|\A.*</think(?:ing)?>")
_HEADING = re.compile(r"(?i)(\bverdict\b[^\w\n]*)\n\W*")
_STATED = re.compile(r"(?i)\bverdict\b([^\w\n]*)(?=(.*))")
_CHOICE = re.compile(r"(?i)\W*(?:report\s+)?(a|b|(?:a\s+)?tie)\W*")


def verdict(answer: str) -> Choice | None:
    """Return which report an answer prefers, as they were shown; None where it does not say.

    The last line with a `Verdict: …` counts, which has to end with `A`, `B` or `tie` and hold no other; or else the
    answer if it is nothing but one of these. What a model says between `<think>` and `</think>` is no part of it.

    Examples
    --------
    >>> verdict("A misses the effusion. Verdict: **B**"), verdict("tie."), verdict("A good question!")
    ('second', 'tie', None)
    >>> verdict("Verdict: A or B"), verdict("<think>Verdict: A</think>I cannot say.")
    (None, None)
    """
    told = _THOUGHT.sub("", answer)
    for line in reversed(_HEADING.sub(r"\1 ", told).split("\n")):
        stated = [rest for mark, rest in _STATED.findall(line) if ":" in mark or _CHOICE.fullmatch(rest)]
        if stated:
            return _choice(stated[0]) if len(stated) == 1 else None
    return _choice(told)


def _choice(words: str) -> Choice | None:
    found = _CHOICE.fullmatch(words)
    if found is None:
        return None
    choices: dict[str, Choice] = {"a": "first", "b": "second"}
    return choices.get(found[1].lower(), "tie")


def _filled(template: str, words: Mapping[str, str]) -> str:
    """Return a template with words in its places; what stands in the words themselves stays as it is."""
    return writable(_PLACES.sub(lambda match: words[match[0]], template))


def writable(text: str) -> str:
    r"""Return a text as UTF-8 can hold it: half a surrogate pair, which JSON may have, becomes a question mark.

    >>> writable("B \ud83d")
    'B ?'
    """
    return text.encode(errors="replace").decode()


@dataclass(frozen=True, kw_only=True, slots=True)
class Answer:
    """What came back for one question."""

    text: str | None
    """None where nothing came."""
    why: str = ""
    """Why nothing came, such as `no answer within 60 s`."""
    is_refused: bool = False
    """Whether who is asked is there, and gives this question no answer."""
    mend: str = "correct its keys"
    """What to do where no question at all has an answer."""


class PairwiseJudge(Judge):
    """A language model that is shown two reports and asked which is better, in both orders."""

    instructions: str = INSTRUCTIONS
    """What it is asked, with `{first}`, `{second}` and, where it shall see the reference, `{reference}`."""

    @property
    def needs_references(self) -> bool:
        """Whether it judges no report of an image without a reference, as its instructions show it."""
        return REFERENCE in self.instructions

    @field_validator("instructions")
    @classmethod
    def _has_places(cls, value: str) -> str:
        for place in (FIRST, SECOND):
            if value.count(place) != 1:
                raise ValueError(f"instructions need {place} once: put it where the report stands")
        return value

    @abstractmethod
    def ask(self, questions: Mapping[str, str], keep: Callable[[str, Answer], None], desk: Desk) -> None:
        """Ask questions, and hand over each answer by the question's key as soon as it is there.

        Raises
        ------
        DataError
            When the judge cannot be asked at all.
        """

    def judge(self, cases: Sequence[Case], desk: Desk) -> list[Judgement]:
        """Ask about each two reports in both orders, what was answered before left out, and decide.

        Raises
        ------
        DataError
            When the judge cannot be asked at all, or refuses every question.
        """
        identity = self.identity()
        path = None if desk.answers is None else desk.answers / f"{sha256_json(identity)}.jsonl"
        kept = Kept(path)
        keys: dict[str, str] = {}
        for case in filter(self._can_judge, cases):
            for _, _, question in self._questions(case):
                keys[question] = sha256_json([identity, question])
        missing = {key: question for question, key in keys.items() if kept.get(key) is None}
        failed: dict[str, Answer] = {}
        done = len(keys) - len(missing)
        desk.report(f"asking {self.name}", done, len(keys))

        def take(key: str, answer: Answer) -> None:
            nonlocal done
            done += 1
            if answer.text is None:
                failed[key] = answer
            else:
                kept.keep(key, answer.text)
            desk.report(f"asking {self.name}", done, len(keys))

        if missing:
            self.ask(missing, take, desk)
        if keys and sum(one.is_refused for one in failed.values()) == len(keys):
            first = next(iter(failed.values()))
            raise DataError(
                f"judge {self.name!r}: none of {counted(len(keys), 'question')} has an answer, the first with "
                f"{first.why}: {first.mend}"
            )
        answers = {
            question: failed.get(key, Answer(text=kept.get(key), why="no answer")) for question, key in keys.items()
        }
        return [
            by_decisions(len(case.texts), self._decisions(case, answers))
            if self._can_judge(case)
            else unjudged(case, NO_REFERENCE)
            for case in cases
        ]

    def _can_judge(self, case: Case) -> bool:
        return case.reference is not None or not self.needs_references

    def _questions(self, case: Case) -> Iterator[tuple[int, int, str]]:
        """Yield the places of what is shown as A and as B, and the question."""
        for first, second in combinations(range(len(case.texts)), 2):
            for shown in ((first, second), (second, first)):
                words = {REFERENCE: case.reference or "", FIRST: case.texts[shown[0]], SECOND: case.texts[shown[1]]}
                yield *shown, _filled(self.instructions, words)

    def _decisions(self, case: Case, answers: Mapping[str, Answer]) -> Iterator[Decision]:
        asked = {(a, b): answers[question] for a, b, question in self._questions(case)}
        for first, second in combinations(range(len(case.texts)), 2):
            pair = (asked[first, second], asked[second, first])
            said = [None if one.text is None else verdict(one.text) for one in pair]
            straight, turned = said
            if straight is None or turned is None:
                silent = next(one for one, choice in zip(pair, said, strict=True) if choice is None)
                why = silent.why if silent.text is None else NONSENSE
                yield Decision(first=first, second=second, choice=None, why=why)
                continue
            orders = (straight, SWAPPED[turned])
            choice: Choice = straight if orders[0] == orders[1] else "tie"
            yield Decision(first=first, second=second, choice=choice, orders=orders)


class Talk(PairwiseJudge):
    """Settings that local models and endpoints share."""

    max_tokens: int = Field(default=512, ge=1, le=32768)
    """Most tokens of an answer."""

    def messages(self, question: str) -> list[dict[str, Any]]:
        """Return a conversation that asks a question."""
        return [{"role": "user", "content": question}]
