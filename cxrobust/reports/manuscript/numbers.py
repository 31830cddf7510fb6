"""A macro for each headline number, so that the running text of a manuscript holds none that is typed by hand."""

import re
import unicodedata
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TypeVar

from cxrobust.reports.manuscript.latex import Latex, escape
from cxrobust.reports.parts import metric_digits
from cxrobust.reports.sentences import deciding_p, metric_name
from cxrobust.reports.sources import names_all_patients
from cxrobust.reports.view import CLEAN, View
from cxrobust.reports.words import condition_words, count, number, p_number, percent
from cxrobust.results import Estimate

RULE = (
    "Macros of cxrobust: \\cx + metric + regime + what + part.",
    "Metric and regime: their letters, each word with a capital, digits in words; of two that would be alike, the second",
    "ends in B, the third in C.",
    "What: Clean and Perturbed, the values; Change, perturbed - clean; Difference, regime - reference; Did, the",
    "difference-in-differences against the reference. Perturbed is the primary condition.",
    "Part: none for the estimate, Low and High for the ends of its interval, P for the p-value (adjusted where tests are)",
    "with its sign: $p$ \\cxAurocLoraDidP gives p = 0.03 or p < 0.001.",
)
Name = TypeVar("Name")
_DIGITS = ("Zero", "One", "Two", "Three", "Four", "Five", "Six", "Seven", "Eight", "Nine")
WHAT = {
    "value": "",
    "perturbed-clean": "Change",
    "regime-reference": "Difference",
    "difference-in-differences": "Did",
}


@dataclass(frozen=True, kw_only=True, slots=True)
class Macro:
    """One macro: its name, what it prints, and in words what that is."""

    name: str
    printed: Latex
    said: str


def macro_word(text: str) -> str:
    """Return a text's letters as part of a macro's name: words begin with a capital, digits are written out.

    Examples
    --------
    >>> macro_word("linear-probe"), macro_word("coverage-at-risk-2.5"), macro_word("é_ü"), macro_word("α")
    ('LinearProbe', 'CoverageAtRiskTwoFive', 'EU', '')
    """
    folded = unicodedata.normalize("NFKD", text)
    spelled = re.sub(r"\d", lambda found: f" {_DIGITS[int(found[0])] if found[0].isascii() else ''} ", folded)
    words = re.findall("[A-Za-z]+", re.sub("[\u0300-\u036f]", "", spelled))
    return "".join(word[0].upper() + word[1:].lower() for word in words)


def macro_words(names: tuple[str, ...], *, instead: str) -> dict[str, str]:
    """Return for each name its part of a macro's name, all different; `instead` stands for one without letters."""
    return _told_apart({name: macro_word(name) or instead for name in names})


def macro_pairs(metrics: tuple[str, ...], regimes: tuple[str, ...]) -> dict[tuple[str, str], str]:
    """Return for each metric and regime their part of a macro's name, all different when joined.

    Examples
    --------
    >>> macro_pairs(("ece", "ece-smooth"), ("smooth-x", "x"))
    {('ece', 'smooth-x'): 'EceSmoothX', ('ece', 'x'): 'EceX', ('ece-smooth', 'smooth-x'): 'EceSmoothSmoothX', \
('ece-smooth', 'x'): 'EceSmoothXB'}
    """
    of_metric, of_regime = macro_words(metrics, instead="Metric"), macro_words(regimes, instead="Regime")
    return _told_apart({(one, other): of_metric[one] + of_regime[other] for one in metrics for other in regimes})


def _told_apart(words: Mapping[Name, str]) -> dict[Name, str]:
    """Return words with a letter after each that is there before it already."""
    found: dict[Name, str] = {}
    taken: set[str] = set()
    for name, word in words.items():
        n = 1
        while (unique := word + _letters(n)) in taken:
            n += 1
        found[name] = unique
        taken.add(unique)
    return found


def _letters(n: int) -> str:
    """Return what tells the nth of names that are alike: nothing, B, C, …, Z, ZB, ….

    Examples
    --------
    >>> _letters(1), _letters(2), _letters(26), _letters(27)
    ('', 'B', 'Z', 'ZB')
    """
    return "" if n == 1 else chr(ord("A") + n - 1) if n <= 26 else "Z" + _letters(n - 25)


def macros(view: View) -> Iterator[Macro]:
    """Yield the macros of a study: its size, then each metric and regime."""
    data = view.results.data
    for name, n, said in (
        ("Images", data["n_images"], "images"),
        *([("Patients", data["n_patients"], "patients")] if names_all_patients(view) else []),
        ("Findings", len(view.findings), "findings"),
        ("Regimes", len(view.regimes), "regimes"),
        ("Conditions", len(view.conditions) - 1, "perturbed conditions"),
    ):
        yield Macro(name=f"cx{name}", printed=escape(count(n)), said=said)
    yield Macro(name="cxLevel", printed=escape(percent(view.level)), said="level of intervals")
    if view.primary:
        yield Macro(name="cxPrimary", printed=escape(condition_words(view.primary)), said="primary condition")
    digits = {metric: metric_digits(view, metric) for metric in view.metrics}
    for (metric, regime), word in macro_pairs(tuple(view.metrics), tuple(view.regimes)).items():
        where = f"{metric_name(view, metric)}, {regime}"
        for what, estimate in _estimates(view, metric, regime).items():
            yield from _parts(view, f"cx{word}{what}", estimate, digits=digits[metric], said=f"{where}, {what}")


def _estimates(view: View, metric: str, regime: str) -> Mapping[str, Estimate]:
    found = {
        "Clean": view.value(metric, regime, CLEAN),
        "Perturbed": view.value(metric, regime, view.primary) if view.primary else None,
        "Change": view.change(metric, regime, view.primary) if view.primary else None,
    }
    if view.others and regime != view.reference:
        found[WHAT[view.comparison]] = view.contrast(metric, regime)
    return {what: one for what, one in found.items() if one is not None and one.estimate is not None}


def _parts(view: View, name: str, estimate: Estimate, *, digits: int, said: str) -> Iterator[Macro]:
    signed = estimate.estimand != "value"
    ends = {"": estimate.estimate, "Low": estimate.ci_low, "High": estimate.ci_high}
    for part, value in ends.items():
        if value is not None:
            text = number(value, digits=digits, signed=signed and not part)
            yield Macro(name=name + part, printed=_maths(text), said=f"{said} {part}".strip())
    p = deciding_p(estimate)
    if p is not None and signed:
        text = p_number(p, alpha=view.alpha)
        yield Macro(name=f"{name}P", printed=_maths(text if text[0] in "<>" else f"={text}"), said=f"{said}, p-value")


def _maths(text: str) -> Latex:
    return Latex(rf"\ensuremath{{{text.replace('−', '-')}}}")


def numbers_tex(view: View) -> str:
    """Return `numbers.tex`."""
    head = [f"% {line}" for line in RULE]
    lines = [
        rf"\newcommand{{\{one.name}}}{{{one.printed}}} % {' '.join(escape(one.said).split())}" for one in macros(view)
    ]
    return "\n".join([*head, *lines]) + "\n"
