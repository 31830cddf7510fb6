"""Labels from the text of a radiology report, by rules alone: which observations it affirms, denies or doubts.

The observations and classes are those of CheXpert (Irvin et al. 2019, doi:10.1609/aaai.v33i01.3301590); that a denial
reaches as far as the next word that ends it is the idea of NegEx (Chapman et al. 2001, doi:10.1006/jbin.2001.1029).
Phrases, rules and validation sentences are our own. docs/radiology-reports.md tells how well it does.
"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from enum import IntEnum
from functools import cache
from itertools import pairwise

from cxrobust.radiology_reports import phrases
from cxrobust.radiology_reports.phrases import MENTIONS, OBSERVATIONS


class Label(IntEnum):
    """What a report says of an observation; one that it does not mention has no label."""

    POSITIVE = 1
    NEGATIVE = 0
    UNCERTAIN = -1


PRECEDENCE = (Label.POSITIVE, Label.UNCERTAIN, Label.NEGATIVE)
"""Which of several mentions counts."""
OPPOSITE = {Label.POSITIVE: Label.NEGATIVE, Label.NEGATIVE: Label.POSITIVE, Label.UNCERTAIN: Label.UNCERTAIN}
MOST_WORDS = 100
"""Words of a sentence that are read together."""
LEAST_MENDED = 7
"""Letters of a word from which slips of the pen are mended."""
NO_FINDING, DEVICES = OBSERVATIONS[0], OBSERVATIONS[-1]


@dataclass(frozen=True, kw_only=True, slots=True)
class Mention:
    """One place where a sentence speaks of an observation."""

    observation: str
    label: Label
    text: str
    """The words that name it."""
    sentence: str
    """In plain form."""


def label_report(text: str) -> dict[str, Label]:
    """Return the observations that a report speaks of, in CheXpert's order, with what it says.

    Several mentions of one observation count as the strongest: affirmed before doubted before denied. `No Finding` is
    positive where no other observation but a device is affirmed or doubted. An empty report has no label at all.

    Examples
    --------
    >>> label_report("Small left effusion. No pneumothorax.")
    {'Pneumothorax': <Label.NEGATIVE: 0>, 'Pleural Effusion': <Label.POSITIVE: 1>}
    >>> label_report("The lungs are clear.")
    {'No Finding': <Label.POSITIVE: 1>, 'Lung Opacity': <Label.NEGATIVE: 0>}
    """
    found: dict[str, list[Label]] = {}
    for mention in mentions(text):
        found.setdefault(mention.observation, []).append(mention.label)
    labels = {name: min(found[name], key=PRECEDENCE.index) for name in OBSERVATIONS if name in found}
    healthy = all(label is Label.NEGATIVE for name, label in labels.items() if name != DEVICES)
    return ({NO_FINDING: Label.POSITIVE} if healthy and text.strip() else {}) | labels


def mentions(text: str) -> Iterator[Mention]:
    """Yield every mention of an observation, sentence by sentence, sections of history and technique left out."""
    for sentence in sentences(text):
        named = [*_named(sentence), *_silhouettes(sentence)]
        for observation, label, words in _with_alternatives(sentence, [*named, *_referred_to(sentence, named)]):
            yield Mention(observation=observation, label=label, text=words, sentence=sentence)


def plain(text: str) -> str:
    """Return a text in lower case and American spelling, its commonest abbreviations written out."""
    text = text.lower()
    for pattern, replacement in phrases.SPELLINGS.items():
        text = _pattern(pattern).sub(replacement, text)
    return _pattern(rf"[a-z]{{{LEAST_MENDED},}}").sub(lambda match: _mended(match[0]), text)


@cache
def _mended(word: str) -> str:
    """Return the term that a word is a slip of, or the word."""
    if word in phrases.TERMS or word in phrases.NO_SLIPS:
        return word
    near = get_close_matches(word, phrases.TERMS, n=1, cutoff=0.84)
    return near[0] if near and abs(len(near[0]) - len(word)) < 3 else word


def sentences(text: str) -> list[str]:
    """Return the sentences of a report that tell what was seen, in plain form."""
    parts = _heading().split(plain(text))
    spoken = [parts[0], *(_spoken(name, body) for name, body in zip(parts[1::2], parts[2::2], strict=True))]
    return [one for body in spoken for one in _split(body)]


def _split(text: str) -> list[str]:
    """Return the sentences of a passage, without the numbers of a list."""
    text = _pattern(r"(?:^|(?<=\s))\d{1,2}[.)]\s").sub(". ", text)
    text = _pattern(r"\n\s*\n|\n\s*[-*•]\s").sub(". ", text)
    parts = _pattern(r"(?<=[.!])\s+|(?<=\w\?)\s+|[.!](?=$)|\s[-•]\s(?=[a-z])").split(text)
    return [one for part in parts for one in _readable(part.split()) if one]


def _readable(words: Sequence[str]) -> Iterator[str]:
    """Yield a sentence; a longer one than anybody writes, as generators do that repeat themselves, in parts."""
    for first in range(0, len(words), MOST_WORDS):
        yield " ".join(words[first : first + MOST_WORDS]).strip(" .")


@cache
def _heading() -> re.Pattern[str]:
    names = f"{phrases.SILENT_SECTIONS}|{phrases.SPOKEN_SECTIONS}"
    return re.compile(rf"(?:^|(?<=[.\n])|(?<=[.\n] ))\s*({names})\s*:", re.MULTILINE)


def _spoken(heading: str, body: str) -> str:
    """Return what a section tells of these images."""
    if re.fullmatch(phrases.SHORT_SECTIONS, heading):
        return "".join(re.split(r"(?<=[.!?])(?=\s)|\n", body, maxsplit=1)[1:])
    return "" if re.fullmatch(phrases.SILENT_SECTIONS, heading) else body


@cache
def _pattern(source: str) -> re.Pattern[str]:
    return re.compile(source)


Found = tuple[str, Label, int, int]
"""Observation, label, and where its words stand."""


def _named(sentence: str) -> Iterator[Found]:
    """Yield what is named by a word of its own."""
    for observation, source in MENTIONS.items():
        for match in _pattern(source).finditer(sentence):
            label = _label(sentence, match.start(), match.end(), is_device=observation == DEVICES)
            if label is not None:
                yield observation, label, match.start(), match.end()
    for match in _pattern(phrases.CLEAR_LUNGS).finditer(sentence):
        yield "Lung Opacity", Label.NEGATIVE, match.start(), match.end()
    for match in _pattern(phrases.BLUNTED).finditer(sentence):
        label = _label(sentence, match.start(), match.end(), is_device=False)
        if label is not None:
            yield "Pleural Effusion", Label.NEGATIVE if label is Label.NEGATIVE else Label.UNCERTAIN, *match.span()

    for match in _pattern(phrases.EXTUBATED).finditer(sentence):
        label = _label(sentence, match.start(), match.end(), is_device=False)
        if label is not None:
            yield DEVICES, OPPOSITE[label], match.start(), match.end()


def _referred_to(sentence: str, named: Sequence[Found]) -> Iterator[Found]:
    """Yield what is told of the last observation named before a word that stands for it."""
    for match in _pattern(phrases.SUCH_ONE).finditer(sentence):
        start, end = match.span("one")
        before = [one for one in named if one[3] <= start]
        label = _label(sentence, start, end, is_device=False)
        if before and label is not None:
            yield max(before, key=lambda one: one[3])[0], label, start, end


def _label(sentence: str, start: int, end: int, *, is_device: bool) -> Label | None:
    """Return what the words around a mention make of it; None where it is of the past or only asked for."""
    before, after = _before(sentence[:start]), _after(sentence[end:])
    told = _pattern(phrases.STRONG_ENDS).split(sentence[:start])[-1]
    affirmed = _pattern(rf"\b{phrases.AFFIRMED}(?:\w+ )?$").search(before) is not None
    if not is_device and (_last(phrases.DATED, told) or _pattern(phrases.DATED_AFTER).search(after)):
        return None
    denied = _last(phrases.DENIED_BEFORE, before[_end_of_causes(before) :])
    doubted = _last(phrases.DOUBTED_BEFORE, before)
    if denied and not _is_broken(denied.string[denied.end() :], sentence[end:]):
        between = denied.string[denied.end() :].split(",", 1)
        return Label.UNCERTAIN if len(between) > 1 and _last(phrases.DOUBTED_BEFORE, between[1]) else Label.NEGATIVE
    reach = _reach(after) if affirmed else after
    later = _pattern(phrases.DOUBTED_AFTER).search(reach)
    if later:
        return Label.UNCERTAIN
    if _pattern(phrases.DENIED_AFTER).search(reach):
        return Label.NEGATIVE
    if doubted and not _is_broken(before[doubted.end() :], ""):
        return Label.UNCERTAIN
    return Label.POSITIVE


def _before(text: str) -> str:
    """Return what stands before a mention back to the last word that ends a denial, pseudo-denials blotted out."""
    ends = list(_pattern(phrases.ENDS).finditer(text))
    text = text[ends[-1].end() :] if ends else text
    return _pattern(phrases.PSEUDO).sub(lambda match: "=" * len(match[0]), text)


def _after(text: str) -> str:
    end = _pattern(phrases.ENDS + r"|,? (?:and )?(?:no|without|nor)\b(?! longer)").search(text)
    text = text[: end.start()] if end else text
    return _pattern(phrases.PSEUDO).sub(lambda match: "=" * len(match[0]), text)


def _end_of_causes(text: str) -> int:
    last = _last(phrases.CAUSES, text)
    return last.end() if last else 0


def _reach(text: str) -> str:
    """Return the words up to a comma, or `and` where no plural follows: those after it speak of something else."""
    plural = _pattern(r"\b(?:have|are|were|remain)\b").search(text)
    return _pattern(r"," if plural else r",|\band\b").split(text, maxsplit=1)[0]


def _is_broken(between: str, rest: str) -> bool:
    """Whether a comma or `and` between a denial and a mention begins a new, affirmed finding.

    `no effusion, small nodule` does; `no nodule, large effusion, or pneumothorax` does not, being one list.
    """
    joint = _pattern(rf"(?:,|,? and) (?:with )?{phrases.AFFIRMED}").search(between)
    if joint is None:
        return False
    rest, _, _ = rest.partition(";")
    return _pattern(r"\b(?:or|nor)\b|/").search(between[joint.end() :] + rest) is None


def _last(source: str, text: str) -> re.Match[str] | None:
    return next(iter(reversed(list(_pattern(source).finditer(text)))), None)


def _silhouettes(sentence: str) -> Iterator[Found]:
    """Yield what is told of heart and mediastinum by a state: `heart size is normal`, `widened mediastinum`."""
    taken: list[tuple[int, int]] = []
    both = ("Enlarged Cardiomediastinum", "Cardiomegaly")
    for source, normal, enlarged in (
        (phrases.CARDIOMEDIASTINUM, both, both[:1]),
        (phrases.HEART, both[1:], both[1:]),
        (phrases.MEDIASTINUM, both[:1], both[:1]),
    ):
        for match in _pattern(rf"\b{source}").finditer(sentence):
            if any(start < match.end() and match.start() < end for start, end in taken):
                continue
            taken.append(match.span())
            label = _state(sentence, *match.span())
            if label is not None:
                for observation in normal if label is Label.NEGATIVE else enlarged:
                    yield observation, label, *match.span()


def _state(sentence: str, start: int, end: int) -> Label | None:
    """Return what a sentence tells of the size of a silhouette, which stands at `start` to `end`."""
    states = {
        Label.NEGATIVE: phrases.NORMAL,
        Label.UNCERTAIN: rf"{phrases.BORDERLINE}|(?:may|might|could) be (?:\w+ )?{phrases.ENLARGED}",
        Label.POSITIVE: phrases.ENLARGED,
    }
    after = _pattern(phrases.ENDS + r"|\blungs?\b|, (?:the )?pulmonary\b").split(sentence[end:], maxsplit=1)[0][:90]
    told = {label: _pattern(rf"\b(?:{source})").search(after) for label, source in states.items()}
    found = [(match.start(), label, match.end()) for label, match in told.items() if match]
    if found:
        begins, label, until = min(found)
        if label is not Label.POSITIVE:
            return label
        clause = _own_clause(sentence[:start], after[:begins])
        return _label(sentence[clause:], start - clause, end + until - clause, is_device=False)
    size = r"(?:ly[- ]sized| (?:size|appearance|contours?|width|appearing|sized))?(?: of)?(?: the)?,? ?$"
    for label, source in states.items():
        match = _pattern(rf"\b(?:{source}){size}").search(sentence[:start])
        if match:
            return _label(sentence, match.start(), end, is_device=False) if label is Label.POSITIVE else label
    if _pattern(r"\bno (?:\w+ )?abnormalit\w+ (?:of|in) (?:the )?$").search(sentence[:start]):
        return Label.NEGATIVE
    return None


def _own_clause(before: str, until_state: str) -> int:
    """Return where a clause begins that has a verb of its own, as `no effusion and the heart is large` has; else 0."""
    joint = _pattern(r"(?:,|\band) (?:the )?$").search(before)
    verb = _pattern(r"\b(?:is|are|was|were|remains?|appears?|seems?)\b").search(until_state)
    return joint.end() if joint and verb else 0


def _with_alternatives(sentence: str, found: list[Found]) -> Iterator[tuple[str, Label, str]]:
    """Yield the mentions in order, those that are told as alternatives of each other (`A or B`) as uncertain."""
    found = sorted(found, key=lambda one: one[2])
    labels = [label for _, label, _, _ in found]
    for i, (one, following) in enumerate(pairwise(found)):
        gap = sentence[one[3] : following[2]]
        either = one[0] != following[0] and one[1] == following[1] == Label.POSITIVE and len(gap) < 40
        unchanged = _pattern(phrases.PSEUDO).search(sentence[: one[2]])
        if either and not unchanged and _pattern(r"\b(?:or|vs|versus)\b").search(gap):
            labels[i] = labels[i + 1] = Label.UNCERTAIN
    for (observation, _, start, end), label in zip(found, labels, strict=True):
        yield observation, label, sentence[start:end]


def speaks_english(text: str) -> bool:
    """Whether rules of English can read a report: it holds a common word of English, or names an observation.

    Where it holds common words of another language too, it must hold more of English. Where it holds common words of
    none, a rarer one of English does, as does a fragment such as *Negative*; or the observation must be named as
    English does: *cardiomegalia* is no slip of the pen.

    Examples
    --------
    >>> [speaks_english(text) for text in ("Cardiomegaly.", "Cardiomegalia.", "Ingen pneumothorax.", "COPD.")]
    [True, False, False, True]
    """
    words = set(_pattern(r"[^\W\d_]+").findall(text.lower()))
    foreign = len(words & phrases.FOREIGN_WORDS) + len(set(_pattern(phrases.FOREIGN_FORMS).findall(text)))
    own = len(words & phrases.COMMON_WORDS)
    if own or foreign:
        return own > foreign
    if any(map(_looks_foreign, words)):
        return False
    return bool(words & phrases.RARE_WORDS) or len(words & phrases.FRAGMENTS) == len(words) > 0 or any(mentions(text))


def _looks_foreign(word: str) -> bool:
    """Whether a word has letters that English lacks, or is a term with another language's ending."""
    if not word.isascii():
        return True
    mended = _mended(word) if len(word) >= LEAST_MENDED else word
    return mended[-1] != word[-1] and word[-1] in "aeio"
