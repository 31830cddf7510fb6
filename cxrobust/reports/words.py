"""How numbers, metrics, conditions and findings are written: AMA style, true minus signs, non-breaking spaces."""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from decimal import ROUND_CEILING, ROUND_FLOOR, Decimal
from functools import cache

from cxrobust.conditions import parse_condition
from cxrobust.results import MACRO, MICRO, OTHERS, REPORT, WORST

MINUS = "−"
SPACE = "\N{NO-BREAK SPACE}"
"""The place of what is told of whole reports, which stands where other metrics have their macro average."""

OVER_FINDINGS = {
    MACRO: "macro average",
    MICRO: "micro average",
    WORST: "worst finding",
    OTHERS: "mean of the others",
    REPORT: "whole reports",
}
"""What stands in the place of a finding, in words."""

REGIME_BEGINS, REGIME_ENDS = "\ue000", "\ue001"
"""Private-use characters that enclose a regime's name in a sentence; templates set it in its own face."""


@dataclass(frozen=True, kw_only=True, slots=True)
class MetricWords:
    """What a metric is called."""

    name: str
    """Inside a sentence: `mean confidence`."""
    title: str
    """Above a panel: `Confidence`."""
    most_digits: int = 6
    """Decimals that its numbers have at most."""


METRICS = {
    "auroc": MetricWords(name="AUROC", title="Discrimination"),
    "accuracy": MetricWords(name="accuracy", title="Accuracy"),
    "confidence": MetricWords(name="mean confidence", title="Confidence"),
    "ece": MetricWords(name="ECE", title="Calibration error"),
    "brier": MetricWords(name="Brier score", title="Brier score"),
    "average-precision": MetricWords(name="average precision", title="Average precision"),
    "balanced-accuracy": MetricWords(name="balanced accuracy", title="Balanced accuracy"),
    "sensitivity": MetricWords(name="sensitivity", title="Sensitivity"),
    "specificity": MetricWords(name="specificity", title="Specificity"),
    "ppv": MetricWords(name="PPV", title="PPV"),
    "npv": MetricWords(name="NPV", title="NPV"),
    "f1": MetricWords(name="F1 score", title="F1 score"),
    "matthews": MetricWords(name="Matthews correlation", title="Matthews correlation"),
    "confidence-right": MetricWords(name="mean confidence where right", title="Confidence, right"),
    "confidence-wrong": MetricWords(name="mean confidence where wrong", title="Confidence, wrong"),
    "confidence-shift": MetricWords(name="mean confidence shift", title="Confidence shift"),
    "over-confidence": MetricWords(name="over-confidence", title="Over-confidence"),
    "entropy": MetricWords(name="mean entropy", title="Entropy"),
    "ece-equal-mass": MetricWords(name="equal-mass ECE", title="Calibration error, equal mass"),
    "ece-smooth": MetricWords(name="smooth ECE", title="Calibration error, smooth"),
    "ece-top-label": MetricWords(name="top-label ECE", title="Calibration error, top label"),
    "ece-top-label-equal-mass": MetricWords(
        name="equal-mass top-label ECE", title="Calibration error, top label, equal mass"
    ),
    "ece-debiased": MetricWords(name="debiased calibration error", title="Calibration error, debiased"),
    "ace": MetricWords(name="ACE", title="Adaptive calibration error"),
    "mce": MetricWords(name="MCE", title="Maximum calibration error"),
    "brier-reliability": MetricWords(name="Brier reliability", title="Brier reliability"),
    "brier-resolution": MetricWords(name="Brier resolution", title="Brier resolution"),
    "brier-uncertainty": MetricWords(name="Brier uncertainty", title="Brier uncertainty"),
    "log-loss": MetricWords(name="log loss", title="Log loss"),
    "calibration-slope": MetricWords(name="calibration slope", title="Calibration slope"),
    "calibration-intercept": MetricWords(name="calibration intercept", title="Calibration intercept"),
    "robust-accuracy": MetricWords(name="robust accuracy", title="Robust accuracy"),
    "flip-rate": MetricWords(name="flip rate", title="Flip rate"),
    "attack-success": MetricWords(name="attack success rate", title="Attack success"),
    "aurc": MetricWords(name="AURC", title="Risk-coverage area"),
}

PERTURBATIONS = {
    "pgd": "PGD",
    "fgsm": "FGSM",
    "apgd": "Auto-PGD",
    "apgd-l2": "Auto-PGD in L2",
    "least-eps": "search for the least ε",
    "least-eps-l2": "search for the least ε in L2",
    "square": "Square attack",
    "autoattack-multilabel": "multi-label AutoAttack",
    "cw-l2": "Carlini–Wagner attack",
    "deepfool": "DeepFool",
    "sparsefool": "SparseFool",
    "one-pixel": "one-pixel attack",
    "pixle": "Pixle",
    "ead-l1": "elastic-net attack, L1",
    "ead-en": "elastic-net attack",
    "pgd-l2": "PGD in L2",
    "patch": "patch",
    "noise-patch": "random patch",
    "noise": "random noise",
    "noise-l2": "random noise in L2",
    "gaussian-noise": "Gaussian noise",
    "blur": "Gaussian blur",
    "defocus-blur": "defocus blur",
    "motion-blur": "motion blur",
    "poisson-noise": "counting noise",
    "down-sampling": "fewer pixels",
    "tubes-and-wires": "tubes and wires",
    "jpeg": "JPEG compression",
}

CONTROLLED = "length-controlled-"
OF_REPORTS = {
    "bleu": MetricWords(name="BLEU", title="BLEU"),
    "bleu-1": MetricWords(name="BLEU-1", title="BLEU-1"),
    "bleu-2": MetricWords(name="BLEU-2", title="BLEU-2"),
    "bleu-3": MetricWords(name="BLEU-3", title="BLEU-3"),
    "rouge-l": MetricWords(name="ROUGE-L", title="ROUGE-L"),
    "f1-14-micro": MetricWords(name="micro F1-14", title="Micro F1-14"),
    "f1-14-macro": MetricWords(name="macro F1-14", title="Macro F1-14"),
    "f1-5-micro": MetricWords(name="micro F1-5", title="Micro F1-5"),
    "f1-5-macro": MetricWords(name="macro F1-5", title="Macro F1-5"),
    "f1-positive": MetricWords(name="positive F1", title="Positive F1"),
    "bertscore": MetricWords(name="BERTScore", title="BERTScore"),
    "radgraph-simple": MetricWords(name="RadGraph F1 (simple)", title="RadGraph F1, simple"),
    "radgraph-partial": MetricWords(name="RadGraph F1 (partial)", title="RadGraph F1, partial"),
    "radgraph-complete": MetricWords(name="RadGraph F1 (complete)", title="RadGraph F1, complete"),
    "ratescore": MetricWords(name="RaTEScore", title="RaTEScore"),
    "green": MetricWords(name="GREEN", title="GREEN"),
    "green-matched": MetricWords(name="matched findings by GREEN", title="Matched findings"),
    "green-errors": MetricWords(name="significant errors by GREEN", title="Significant errors"),
    "words": MetricWords(name="number of words", title="Words of a report", most_digits=2),
    "verbosity": MetricWords(name="verbosity", title="Verbosity"),
    "log-probability": MetricWords(name="log-probability of a token", title="Log-probability"),
}
"""Scores of generated reports."""


def metric_words(metric: str) -> MetricWords:
    """Return the words for a metric; one that is not known here keeps its name."""
    risk = metric.removeprefix("coverage-at-risk-")
    if risk != metric:
        return MetricWords(name=f"coverage at {risk}% risk", title=f"Coverage at {risk}% risk")
    if metric.startswith(CONTROLLED):
        base, title = metric_words(metric.removeprefix(CONTROLLED)), "length controlled"
        return MetricWords(name=f"length-controlled {base.name}", title=f"{base.title}, {title}")
    if metric in OF_REPORTS:
        return OF_REPORTS[metric]
    name = metric.replace("_", " ")
    return METRICS.get(metric, MetricWords(name=name, title=capitalised(name)))


def number(value: float, *, digits: int = 3, signed: bool = False) -> str:
    """Write a number with a true minus sign, and a plus where signs matter; what rounds to 0 has no sign.

    Examples
    --------
    >>> number(-0.0423), number(0.0423, signed=True), number(-0.0001)
    ('−0.042', '+0.042', '0.000')
    """
    text = f"{abs(value):.{digits}f}"
    if float(text) == 0:
        return text
    sign = MINUS if value < 0 else "+" if signed else ""
    return sign + text


def enough_digits(value: float, *, digits: int = 3) -> int:
    """Return how many decimals show a number that is not 0 as more than 0: `digits`, or up to three more."""
    return next(
        (d for d in range(digits, digits + 3) if round(abs(value), d) > 0), digits if value == 0 else digits + 3
    )


def interval(low: float, high: float, *, digits: int = 3) -> str:
    """Write an interval's ends.

    Examples
    --------
    >>> interval(-0.061, 0.012).replace("\N{NO-BREAK SPACE}", " ")
    '−0.061 to 0.012'
    """
    return f"{number(low, digits=digits)}{SPACE}to{SPACE}{number(high, digits=digits)}"


def p_number(p: float, *, alpha: float = 0.05) -> str:
    """Write a p-value: two decimals, three below 0.01 or where two would hide on which side of `alpha` it lies.

    Examples
    --------
    >>> [p_number(p) for p in (0.00004, 0.0042, 0.049, 0.0504, 0.21, 0.997)]
    ['<0.001', '0.004', '0.049', '0.050', '0.21', '>0.99']
    """
    if p < 0.001:
        return "<0.001"
    if p > 0.99:
        return ">0.99"
    digits = 3 if p < 0.01 else 2
    while digits < 6 and (round(p, digits) < alpha) != (p < alpha):
        digits += 1
    if digits == 2 and round(p, 2) == alpha:
        digits = 3
    return f"{p:.{digits}f}"


def p_bound(p: float, *, alpha: float = 0.05, below: bool) -> str:
    """Write a number that p-values are not below, or not above, with the decimals of `p_number`, rounded to that side.

    Examples
    --------
    >>> p_bound(0.024, below=False), p_bound(0.206, below=True), p_bound(0.0499, below=False), p_bound(0.0501, below=True)
    ('0.03', '0.20', '0.0499', '0.050')
    """
    text = p_number(p, alpha=alpha)
    if text[0] in "<>":
        return text
    towards, digits = ROUND_FLOOR if below else ROUND_CEILING, len(text.partition(".")[2])
    for places in range(digits, 7):
        rounded = Decimal(repr(p)).quantize(Decimal(1).scaleb(-places), rounding=towards)
        if (rounded < Decimal(repr(alpha))) == (p < alpha):
            return str(rounded)
    return text


def p_value(p: float, *, alpha: float = 0.05, adjusted: bool = False) -> str:
    """Write a p-value for a sentence.

    Examples
    --------
    >>> p_value(0.00004, adjusted=True).replace("\N{NO-BREAK SPACE}", " ")
    'adjusted p < 0.001'
    """
    text = p_number(p, alpha=alpha)
    sign, digits = (text[0], text[1:]) if text[0] in "<>" else ("=", text)
    return f"{'adjusted ' if adjusted else ''}p{SPACE}{sign}{SPACE}{digits}"


def count(n: int) -> str:
    """Write a count: `22,433`."""
    return f"{n:,}"


def counted(n: int, one: str, many: str | None = None) -> str:
    """Write a count with its noun.

    Examples
    --------
    >>> counted(1, "image").replace("\N{NO-BREAK SPACE}", " "), counted(22433, "image").replace("\N{NO-BREAK SPACE}", " ")
    ('1 image', '22,433 images')
    """
    return f"{count(n)}{SPACE}{one if n == 1 else many or one + 's'}"


def ordinal(value: float) -> str:
    """Write which of a row something is: `2.5th`, `1st`.

    Examples
    --------
    >>> [ordinal(value) for value in (1, 2, 3, 11, 97.5, 92)]
    ['1st', '2nd', '3rd', '11th', '97.5th', '92nd']
    """
    text = f"{value:.6g}"
    is_usual = "." in text or text[-2:-1] == "1"
    return text + ("th" if is_usual else {"1": "st", "2": "nd", "3": "rd"}.get(text[-1], "th"))


def significant(value: float, *, digits: int = 2) -> str:
    """Write a number with so many significant digits and never with an exponent.

    Examples
    --------
    >>> significant(0.0025), significant(0.00009433), significant(0.05)
    ('0.0025', '0.000094', '0.05')
    """
    return format(Decimal(f"{value:.{digits}g}"), "f")


def percent(share: float) -> str:
    """Write a share of 1 as a percentage without needless decimals: `95%`."""
    return f"{100 * share:.6g}%"


def compact(value: float) -> str:
    """Write a number as short as it goes: `2`, `2.5`, `37,470`."""
    return (f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.4g}").replace("-", MINUS)


def listed(items: Sequence[str], *, joint: str = "and") -> str:
    """Join names for a sentence.

    Examples
    --------
    >>> listed(["a"]), listed(["a", "b"]), listed(["a", "b", "c"])
    ('a', 'a and b', 'a, b, and c')
    """
    if len(items) < 3:
        return f" {joint} ".join(items)
    return f"{', '.join(items[:-1])}, {joint} {items[-1]}"


ADJUSTMENTS = {
    "holm": "adjusted by Holm’s method",
    "hommel": "adjusted by Hommel’s method",
    "bonferroni": "adjusted by Bonferroni’s method",
    "benjamini-hochberg": "adjusted by the method of Benjamini and Hochberg",
    "benjamini-yekutieli": "adjusted by the method of Benjamini and Yekutieli",
    "max-t": "adjusted by step-down max-T",
    "none": "not adjusted",
}
TESTS = {
    "permutation": "sign-flip permutation test by patient",
    "permutation (exact)": "exact sign-flip permutation test by patient",
    "permutation (swaps)": "permutation test that swaps sums by patient",
    "permutation (swaps, exact)": "exact permutation test that swaps sums by patient",
    "mcnemar": "exact McNemar test, images as independent",
    "mcnemar-midp": "mid-p McNemar test, images as independent",
    "mcnemar-clustered": "McNemar test by patient",
    "mcnemar-durkalski": "McNemar test by patient, patients weighing alike",
    "delong": "DeLong’s test, images as independent",
    "delong-clustered": "DeLong’s test by patient",
    "wilcoxon": "Wilcoxon’s signed-rank test, images as independent",
    "wilcoxon-clustered": "signed-rank test by patient",
    "cochran-q": "Cochran’s Q of all regimes, images as independent",
    "t": "Student’s t test by patient",
    "tost": "two one-sided tests of equivalence",
    "noninferiority": "one-sided test of non-inferiority",
    "interaction": "sign-flip test of interaction by patient",
}
INTERVALS = {
    "percentile": "percentile, from patient-level resamples",
    "percentile-recentred": "recentred percentile, from patient-level resamples",
    "expanded": "expanded percentile, from patient-level resamples",
    "t": "Student’s t with patient-level standard errors",
    "t-corrected": "bias-corrected Student’s t, from patient-level resamples",
    "basic": "basic, from patient-level resamples",
    "bca": "BCa, from patient-level resamples",
    "studentized": "studentised, from patient-level resamples",
    "wilson": "Wilson’s, at the effective number of images",
    "delong": "DeLong’s, images as independent",
    "delong-clustered": "DeLong’s, by patient",
}


def named_tests(names: Iterable[str]) -> str:
    """Name tests within a sentence: `sign-flip permutation test by patient`."""
    return listed([TESTS.get(name, name) for name in sorted(names)])


def capitalised(text: str) -> str:
    """Return the text with its first letter as a capital; the rest stays."""
    return text[:1].upper() + text[1:]


def regime(name: str) -> str:
    """Return a regime's name, marked so that templates set it in its own face."""
    return f"{REGIME_BEGINS}{readable(name)}{REGIME_ENDS}"


def plain(text: str) -> str:
    """Return text without the marks of regimes' names and of where a line may break, and with common spaces."""
    return re.sub(f"[{REGIME_BEGINS}{REGIME_ENDS}\N{ZERO WIDTH SPACE}]", "", text).replace(SPACE, " ")


def readable(text: str) -> str:
    """Return text without characters that no document may hold (controls, surrogates, our own marks)."""
    return re.sub(
        r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x84\x86-\x9f\ud800-\udfff\ue000\ue001\ufffe\uffff]",
        "\N{REPLACEMENT CHARACTER}",
        text,
    )


def told_of(text: str) -> str:
    """Return what is said of a perturbation as documents print it.

    >>> told_of("1, 2.5 % of the image's side at severities 1 to 5").replace("\N{NO-BREAK SPACE}", "~")
    '1, 2.5% of the image’s side at severities~1~to~5'
    """
    text = re.sub(r"(?<=\w)'(?=\w)", "’", re.sub(r"(?<=\d) %", "%", readable(text)))
    return re.sub(r"(severities) (\d+) to (\d+)", rf"\1{SPACE}\2{SPACE}to{SPACE}\3", text)


def shortened(name: str, *, most: int = 24) -> str:
    """Return a name that fits a figure: the middle of a long one becomes an ellipsis."""
    name = readable(name)
    return name if len(name) <= most else f"{name[: most - 9]}…{name[-8:]}"


def finding_words(finding: str) -> str:
    """Write a finding's name: underscores become spaces, and averages over findings and the worst of them are named."""
    return OVER_FINDINGS.get(finding) or readable(finding.replace("_", " "))


@cache
def condition_words(condition: str) -> str:
    """Write a condition for a sentence.

    Examples
    --------
    >>> condition_words("pgd(eps=4/255, steps=20)").replace("\N{NO-BREAK SPACE}", " ")
    'PGD, ε = 4/255, 20 steps'
    >>> condition_words("gaussian-noise(severity=3)").replace("\N{NO-BREAK SPACE}", " ")
    'Gaussian noise, severity 3'
    >>> condition_words("mifgsm(eps=0.01, target=worst, goal=hide)").replace("\N{NO-BREAK SPACE}", " ")
    'MIFGSM, ε = 0.01, aimed at the worst finding of each image, to hide it'
    """
    try:
        parsed = parse_condition(condition)
    except ValueError:
        return readable(condition)
    name = PERTURBATIONS.get(parsed.name) or readable(parsed.name)
    name = name.upper() if re.fullmatch(r"[a-z]*(gsm|pgd|gsmpp|gdrs)|fab|bim|spsa", name) else name
    return ", ".join([name, *_all_parameters(dict(parsed.parameters))])


def strength_words(condition: str) -> str:
    """Write a condition's strength alone; empty where it has none.

    Examples
    --------
    >>> strength_words("pgd(eps=4/255, steps=20)").replace("\N{NO-BREAK SPACE}", " ")
    'ε = 4/255'
    """
    parsed = parse_condition(condition)
    return next((parameter_words(key, value) for key, value in parsed.parameters if key == parsed.strength_name), "")


_AIMED = {"worst": "the worst finding of each image", "each": "each finding alone"}
_TEXTS = {"clean": "the clean report", "reference": "the reference report"}


def _all_parameters(values: Mapping[str, str]) -> list[str]:
    """Write all parameters; of an attack on reports the text and the way it goes are one clause."""
    if values.get("target") != REPORT:
        return [parameter_words(key, value) for key, value in values.items()]
    text = values.get("text", "clean")
    of = _TEXTS.get(text) or "the text “" + readable(text.strip('"')) + "”"
    aim = f"{'against' if is_against_text(values) else 'towards'} {of}"
    others = [(key, value) for key, value in values.items() if key not in ("text", "goal")]
    return [aim if key == "target" else parameter_words(key, value) for key, value in others]


def is_against_text(values: Mapping[str, str]) -> bool:
    """Whether an attack on reports with these parameters makes its text less likely, not likelier.

    Examples
    --------
    >>> is_against_text({"text": "reference"}), is_against_text({"text": "Edema."}), is_against_text({"goal": "fabricate"})
    (True, False, False)
    """
    goal = values.get("goal", "raise-loss")
    return goal == "hide" or (goal == "raise-loss" and values.get("text", "clean") in _TEXTS)


def parameter_words(key: str, value: str) -> str:
    """Write one parameter of a condition: `ε = 4/255`, `20 steps`, `severity 3`."""
    value = readable(value)
    known = {
        "eps": f"ε{SPACE}={SPACE}{value}",
        "severity": f"severity{SPACE}{value}",
        "side": f"{value}% of the side",
        "steps": f"{value}{SPACE}step{'' if value == '1' else 's'}",
        "target": f"aimed at {_AIMED.get(value) or finding_words(value)}",
        "goal": f"to {value} it",
        "made_on": f"made on {value}",
        "as_noise": "as noise of its size",
        "until_wrong_at": f"until wrong at{SPACE}{value}",
    }
    return known.get(key, f"{readable(key.replace('_', ' '))}{SPACE}={SPACE}{value}")
