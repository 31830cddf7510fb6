"""Reference reports of phantoms: a grammar that tells what a radiologist would see, and sometimes doubts or leaves out.

Each report follows from the image's id alone. Findings are told in one of several wordings, with their severity and
side, heart before lungs before pleura; faint ones are doubted or overlooked; absent ones are often denied, two or three
in one sentence.
"""

import itertools
from collections.abc import Iterator, Sequence

import numpy as np

from cxrobust.files import sha256_bytes
from cxrobust.inference.phantoms import FINDINGS, Visit

FAINT, GROSS = 0.35, 0.75
"""Severities: up to the first a finding may be doubted or overlooked, from the second it is called large."""
OVERLOOKED, DOUBTED = 0.25, 0.45
"""Shares of faint findings that are not mentioned, and that are doubted."""
TOGETHER = 0.4
"""Share of neighbouring findings that are told in one sentence."""
READING_ORDER = ("Cardiomegaly", "Edema", "Consolidation", "Atelectasis", "Nodule", "Effusion", "Pneumothorax")

SIZES = {
    "Effusion": ("small", "moderate", "large"),
    "Pneumothorax": ("small", "moderate", "large"),
    "Cardiomegaly": ("mild", "moderate", "marked"),
    "Edema": ("mild", "moderate", "severe"),
    "Consolidation": ("patchy", "focal", "dense"),
    "Atelectasis": ("minor", "moderate", "extensive"),
    "Nodule": ("small", "round", "large"),
}
STATED = {
    "Effusion": ("There is a {size} {side} pleural effusion.", "{Size} effusion on the {side}."),
    "Pneumothorax": ("There is a {size} {side} pneumothorax.", "{Size} pneumothorax on the {side}."),
    "Cardiomegaly": ("There is {size} cardiomegaly.", "The heart is enlarged.", "{Size} enlargement of the heart."),
    "Edema": ("There is {size} pulmonary edema.", "{Size} interstitial edema."),
    "Consolidation": ("There is {size} consolidation in the {side} lung.", "{Size} {side} consolidation."),
    "Atelectasis": ("There is {size} {side} basilar atelectasis.", "{Size} atelectasis at the {side} base."),
    "Nodule": ("There is a {size} nodule in the {side} lung.", "{Size} nodule on the {side}."),
}
NOTED = {
    "Effusion": "{side} pleural effusion",
    "Pneumothorax": "{side} pneumothorax",
    "Cardiomegaly": "cardiomegaly",
    "Edema": "pulmonary edema",
    "Consolidation": "{side} consolidation",
    "Atelectasis": "{side} basilar atelectasis",
    "Nodule": "{side} lung nodule",
}
"""A finding as part of a sentence."""
DOUBTING = ("Possible {noted}.", "There may be {noted}.", "Cannot exclude {noted}.")
BOTH = ("There is {one} with {other}.", "{one} and {other} are present.")
"""Two findings in one sentence."""
DENIED = {
    "Effusion": "pleural effusion",
    "Pneumothorax": "pneumothorax",
    "Edema": "edema",
    "Consolidation": "consolidation",
}
"""What is denied where it is absent, as part of a list."""
DENYING = ("No {list}.", "There is no {list}.", "No evidence of {list}.")
HEART_IS_NORMAL = ("The heart is normal in size.", "Heart size is normal.")
CLEAR = ("The lungs are clear.", "Clear lungs.")
ASKED = {"Effusion": "pleural effusion"}
"""What a finding is called in a question, where it is not its name."""
ANSWERS = NO, YES = "No", "Yes"


def report(visit: Visit) -> str:
    """Return the reference report of an image.

    Examples
    --------
    >>> from cxrobust.inference.phantoms import population
    >>> report(population(2026, 1, split="train")[0]) == report(population(2026, 2, split="train")[0])
    True
    """
    name = f"{visit.patient.seed} {visit.patient.name} {visit.number}"
    rng = np.random.default_rng(int(sha256_bytes(name.encode())[:16], 16))
    return " ".join(_sentences(visit, rng))


def question(finding: str) -> str:
    """Return how one asks for a finding, which `cxrobust` asks likewise.

    Examples
    --------
    >>> question("Effusion")
    'Is there pleural effusion?'
    """
    return f"Is there {ASKED.get(finding, finding.lower())}?"


def vocabulary() -> list[str]:
    """Return every word that a report, a question or an answer can hold, in alphabetical order."""
    sizes = [word for words in SIZES.values() for word in words]
    texts = [*itertools.chain(*STATED.values()), *NOTED.values(), *DOUBTING, *BOTH, *DENIED.values(), *DENYING]
    texts += [*HEART_IS_NORMAL, *CLEAR, *map(question, FINDINGS), *ANSWERS]
    words = " ".join(texts).translate(str.maketrans(".,?", "   ")).split()
    plain = {word for word in words if not set(word) & set("{}")} | {"left", "right", "or"}
    firsts = {noted.split()[0] for noted in NOTED.values()} - {"{side}"} | {"left", "right", *sizes}
    return sorted({*plain, *sizes, *map(str.capitalize, firsts)})


def _sentences(visit: Visit, rng: np.random.Generator) -> Iterator[str]:
    severity = dict(zip(FINDINGS, visit.severity, strict=True))
    stated, doubted = _seen(severity, rng)
    known = {*stated, *doubted}
    if "Cardiomegaly" not in known and rng.random() < 0.8:
        yield _one_of(HEART_IS_NORMAL, rng)
    if not known & {"Consolidation", "Edema", "Atelectasis", "Nodule"} and rng.random() < 0.5:
        yield _one_of(CLEAR, rng)
    told = [finding for finding in READING_ORDER if finding in known]
    while told:
        finding, *told = told
        noted = NOTED[finding].format(side=_side(visit, finding))
        if finding in doubted:
            yield _one_of(DOUBTING, rng).format(noted=noted)
        elif told and told[0] in stated and rng.random() < TOGETHER:
            other, *told = told
            form = _one_of(BOTH, rng)
            yield form.format(
                one=noted if form.startswith("There") else _capital(noted),
                other=NOTED[other].format(side=_side(visit, other)),
            )
        else:
            size = SIZES[finding][int(np.digitize(severity[finding], (FAINT, GROSS)))]
            yield _one_of(STATED[finding], rng).format(size=size, Size=_capital(size), side=_side(visit, finding))
    absent = [finding for finding in DENIED if finding not in known and rng.random() < 0.7]
    if absent or not known:
        absent = absent or ["Effusion"]
        yield _one_of(DENYING, rng).format(list=_listed([DENIED[finding] for finding in absent]))


def _seen(severity: dict[str, float], rng: np.random.Generator) -> tuple[set[str], set[str]]:
    """Return the findings that the radiologist states, and those that are doubted."""
    stated, doubted = set(), set()
    for finding, value in severity.items():
        luck = rng.random()
        if value <= 0 or (value < FAINT and luck < OVERLOOKED):
            continue
        (doubted if value < FAINT and luck < OVERLOOKED + DOUBTED else stated).add(finding)
    return stated, doubted


def _side(visit: Visit, finding: str) -> str:
    """Return the side on which a finding is, or is larger."""
    return visit.patient.anatomy.place[FINDINGS.index(finding)]


def _listed(words: Sequence[str]) -> str:
    """Return `a`, `a or b`, or `a, b, or c`."""
    if len(words) < 3:
        return " or ".join(words)
    return f"{', '.join(words[:-1])}, or {words[-1]}"


def _one_of(forms: Sequence[str], rng: np.random.Generator) -> str:
    return forms[int(rng.integers(len(forms)))]


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]
