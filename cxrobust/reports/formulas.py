"""The formula of every estimand and metric, as LaTeX and in words: the one place that documents take them from."""

from collections.abc import Mapping
from dataclasses import dataclass

from cxrobust.results import Estimand


@dataclass(frozen=True, kw_only=True, slots=True)
class Formula:
    """A formula as it is set, and as it is read aloud."""

    latex: str
    said: str
    """The same in words: the picture's alternative text."""
    note: str = ""
    """What the formula leaves open: bins, ties, what is held fixed."""


NOTATION = (
    Formula(latex=r"p_i", said="p i", note="probability that the model gives image i"),
    Formula(latex=r"y_i", said="y i", note="label of image i, 1 or 0"),
    Formula(latex=r"t", said="t", note="operating point"),
    Formula(latex=r"d_i = [p_i \geq t]", said="d i, 1 where p i is at least t", note="decision"),
    Formula(latex=r"e_i = [d_i \neq y_i]", said="e i, 1 where d i is not y i", note="error"),
    Formula(latex=r"c_i = \max(p_i, 1 - p_i)", said="c i, the larger of p i and 1 minus p i", note="confidence"),
    Formula(latex=r"n", said="n", note="images"),
    Formula(latex=r"m", said="m", note="positive images"),
)
"""The letters in formulas of metrics."""
BINS = (
    Formula(latex=r"n_b", said="n b", note="images in bin b"),
    Formula(latex=r"\bar p_b", said="p bar b", note="their mean probability"),
    Formula(latex=r"\bar y_b", said="y bar b", note="the fraction of them that is positive"),
)
"""The letters in formulas with bins."""

ESTIMANDS: Mapping[Estimand, Formula] = {
    "value": Formula(latex=r"v(r, c)", said="v of r and c"),
    "perturbed-clean": Formula(latex=r"v(r, c) - v(r, \mathrm{clean})", said="v of r and c, minus v of r and clean"),
    "regime-reference": Formula(latex=r"v(r, c) - v(r_0, c)", said="v of r and c, minus v of the reference and c"),
    "difference-in-differences": Formula(
        latex=r"[v(r, c) - v(r, \mathrm{clean})] - [v(r_0, c) - v(r_0, \mathrm{clean})]",
        said="v of r and c minus v of r and clean, minus the same difference of the reference",
    ),
    "relative": Formula(latex=r"\frac{v(r, c)}{v(r, \mathrm{clean})}", said="v of r and c, over v of r and clean"),
    "relative-difference": Formula(
        latex=r"\frac{v(r, c)}{v(r, \mathrm{clean})} - \frac{v(r_0, c)}{v(r_0, \mathrm{clean})}",
        said="v of r and c over v of r and clean, minus the same ratio of the reference",
    ),
    "trend": Formula(
        latex=r"\frac{\sum_s (x_s - \bar x)\, v(r, s)}{\sum_s (x_s - \bar x)^2}",
        said="least-squares slope of v on the strength x",
        note="Strengths from the clean images on; ε in 1/255, severities in steps, sides of patches in %.",
    ),
    "trend-difference": Formula(
        latex=r"\mathrm{trend}(r) - \mathrm{trend}(r_0)", said="trend of r minus trend of the reference"
    ),
    "area": Formula(
        latex=r"\frac{1}{x_S} \sum_{s=1}^{S} \frac{v(r, s-1) + v(r, s)}{2}\, (x_s - x_{s-1})",
        said="area under v over the strength x by the trapezoidal rule, divided by the greatest strength",
    ),
    "area-difference": Formula(
        latex=r"\mathrm{area}(r) - \mathrm{area}(r_0)", said="area of r minus area of the reference"
    ),
    "half-margin": Formula(
        latex=r"\min\{x : v(r, x) \leq \frac{1}{2}[v(r, \mathrm{clean}) + v_{\mathrm{chance}}]\}",
        said="smallest strength x at which v is at most midway between its clean value and that of guessing",
        note="The curve is joined by straight lines.",
    ),
    "half-margin-difference": Formula(
        latex=r"\mathrm{half\ margin}(r) - \mathrm{half\ margin}(r_0)",
        said="half-margin of r minus half-margin of the reference",
    ),
    "recalibrated-raw": Formula(
        latex=r"v_{\mathrm{recalibrated}}(r, c) - v(r, c)",
        said="v of r and c after recalibration, minus v of r and c as predicted",
    ),
    "all-regimes": Formula(
        latex=r"v(r, c) = v(r_0, c) \;\mathrm{for\;all}\; r",
        said="v of r and c equals v of the reference and c, for all r",
        note="A hypothesis without an estimate, which Cochran’s Q tests.",
    ),
}

_TP, _TN, _FP, _FN = (rf"\mathrm{{{name}}}" for name in ("TP", "TN", "FP", "FN"))
_GAP = r"|\bar p_b - \bar y_b|"
_WIDE = "15 bins of equal width, 1.0 falling into the last."
_MASS = "15 bins of equal numbers of images, equal probabilities staying together; edges are kept in resamples."
_TOP = "Of the more probable class: its probability against whether it is right."

METRICS: Mapping[str, Formula] = {
    "auroc": Formula(
        latex=r"\frac{1}{m(n-m)} \sum_{y_i=1,\ y_j=0} \left([p_i > p_j] + \frac{1}{2}[p_i = p_j]\right)",
        said="share of pairs of a positive and a negative image in which the positive one scores higher, ties a half",
    ),
    "average-precision": Formula(
        latex=r"\frac{1}{m} \sum_{y_i=1} \frac{\#\{j : y_j = 1,\ p_j \geq p_i\}}{\#\{j : p_j \geq p_i\}}",
        said="mean over positive images of the share of positives among images that score at least as high",
        note="Tied images enter together; nothing is interpolated.",
    ),
    "accuracy": Formula(latex=rf"\frac{{{_TP} + {_TN}}}{{n}}", said="true positives plus true negatives, over n"),
    "sensitivity": Formula(
        latex=rf"\frac{{{_TP}}}{{{_TP} + {_FN}}}", said="true positives over true positives plus false negatives"
    ),
    "specificity": Formula(
        latex=rf"\frac{{{_TN}}}{{{_TN} + {_FP}}}", said="true negatives over true negatives plus false positives"
    ),
    "balanced-accuracy": Formula(
        latex=r"\frac{1}{2}(\mathrm{sensitivity} + \mathrm{specificity})", said="mean of sensitivity and specificity"
    ),
    "ppv": Formula(
        latex=rf"\frac{{{_TP}}}{{{_TP} + {_FP}}}", said="true positives over true positives plus false positives"
    ),
    "npv": Formula(
        latex=rf"\frac{{{_TN}}}{{{_TN} + {_FN}}}", said="true negatives over true negatives plus false negatives"
    ),
    "f1": Formula(
        latex=rf"\frac{{2\,{_TP}}}{{2\,{_TP} + {_FP} + {_FN}}}",
        said="twice the true positives, over twice the true positives plus false positives plus false negatives",
    ),
    "matthews": Formula(
        latex=rf"\frac{{{_TP} \cdot {_TN} - {_FP} \cdot {_FN}}}"
        rf"{{\sqrt{{({_TP}+{_FP})({_TP}+{_FN})({_TN}+{_FP})({_TN}+{_FN})}}}}",
        said="true positives times true negatives minus false positives times false negatives, over the root of the "
        "product of the four margins",
    ),
    "confidence": Formula(latex=r"\frac{1}{n} \sum_i c_i", said="mean of the confidence"),
    "confidence-right": Formula(
        latex=r"\frac{\sum_i [e_i = 0]\, c_i}{\sum_i [e_i = 0]}",
        said="mean of the confidence where the decision is right",
    ),
    "confidence-wrong": Formula(
        latex=r"\frac{\sum_i e_i\, c_i}{\sum_i e_i}", said="mean of the confidence where the decision is wrong"
    ),
    "confidence-shift": Formula(
        latex=r"\frac{1}{n} \sum_i |p_i - p_i^{\mathrm{clean}}|",
        said="mean absolute difference between a probability and that of the clean image",
    ),
    "over-confidence": Formula(
        latex=r"\frac{1}{n} \sum_i \left(c_i - [[p_i \geq 0.5] = y_i]\right)",
        said="mean of the confidence minus the share of images whose more probable class is right",
    ),
    "entropy": Formula(
        latex=r"-\frac{1}{n} \sum_i \left(p_i \log p_i + (1 - p_i) \log (1 - p_i)\right)",
        said="mean entropy of the probabilities, natural logarithm",
    ),
    "ece": Formula(
        latex=rf"\sum_b \frac{{n_b}}{{n}} {_GAP}",
        said="sum over bins of the share of images times the absolute gap of mean probability and positive fraction",
        note=f"{_WIDE} Of the positive class.",
    ),
    "ece-equal-mass": Formula(
        latex=rf"\sum_b \frac{{n_b}}{{n}} {_GAP}",
        said="sum over bins of the share of images times the absolute gap of mean probability and positive fraction",
        note=_MASS,
    ),
    "ece-top-label": Formula(
        latex=rf"\sum_b \frac{{n_b}}{{n}} {_GAP}",
        said="sum over bins of the share of images times the absolute gap of mean confidence and share right",
        note=f"{_WIDE} {_TOP}",
    ),
    "ece-top-label-equal-mass": Formula(
        latex=rf"\sum_b \frac{{n_b}}{{n}} {_GAP}",
        said="sum over bins of the share of images times the absolute gap of mean confidence and share right",
        note=f"{_MASS} {_TOP}",
    ),
    "ece-smooth": Formula(
        latex=r"\frac{1}{n} \int_0^1 |\sum_i K_\sigma(x, p_i)(y_i - p_i)|\, dx",
        said="integral over x of the absolute kernel-weighted sum of label minus probability, over n",
        note="Gaussian kernel reflected at 0 and 1, at the σ that the value equals; σ is kept in resamples.",
    ),
    "ece-debiased": Formula(
        latex=r"\sqrt{\max(0, \sum_b \frac{n_b}{n} [(\bar p_b - \bar y_b)^2 - \frac{\bar y_b (1 - \bar y_b)}{n_b - 1}])}",
        said="root of the weighted squared gaps of bins less their expected sampling error, at least 0",
        note=_MASS,
    ),
    "ace": Formula(
        latex=rf"\frac{{1}}{{B}} \sum_b {_GAP}", said="unweighted mean over B bins of the absolute gap", note=_MASS
    ),
    "mce": Formula(latex=rf"\max_b {_GAP}", said="largest absolute gap of a bin", note=_WIDE),
    "brier": Formula(
        latex=r"\frac{1}{n} \sum_i (p_i - y_i)^2", said="mean squared difference of probability and label"
    ),
    "brier-reliability": Formula(
        latex=r"\sum_b \frac{n_b}{n} (\bar p_b - \bar y_b)^2", said="weighted squared gaps of bins", note=_WIDE
    ),
    "brier-resolution": Formula(
        latex=r"\sum_b \frac{n_b}{n} (\bar y_b - \bar y)^2",
        said="weighted squared differences of a bin's positive fraction and that of all images",
        note=_WIDE,
    ),
    "brier-uncertainty": Formula(
        latex=r"\bar y (1 - \bar y)", said="positive fraction times one minus the positive fraction"
    ),
    "log-loss": Formula(
        latex=r"-\frac{1}{n} \sum_i \left(y_i \log p_i + (1 - y_i) \log (1 - p_i)\right)",
        said="mean negative log-likelihood, natural logarithm",
    ),
    "calibration-slope": Formula(
        latex=r"\beta \ \mathrm{of}\ \mathrm{logit}\, P(y_i = 1) = \alpha + \beta\, \mathrm{logit}\, p_i",
        said="slope beta of the logistic regression of the label on the logit of the probability",
    ),
    "calibration-intercept": Formula(
        latex=r"\alpha \ \mathrm{of}\ \mathrm{logit}\, P(y_i = 1) = \alpha + \mathrm{logit}\, p_i",
        said="intercept alpha of that regression with the slope held at 1",
    ),
    "robust-accuracy": Formula(
        latex=r"\frac{1}{n} \sum_i [e_i^{\mathrm{clean}} = 0] \prod_{s' \leq s} [e_i^{s'} = 0]",
        said="share of images decided rightly clean and at every strength up to this one",
    ),
    "flip-rate": Formula(
        latex=r"\frac{1}{n} \sum_i [d_i \neq d_i^{\mathrm{clean}}]",
        said="share of images whose decision differs from that on the clean image",
    ),
    "attack-success": Formula(
        latex=r"\frac{\sum_i [e_i^{\mathrm{clean}} = 0]\, e_i}{\sum_i [e_i^{\mathrm{clean}} = 0]}",
        said="share of wrong decisions among images that are decided rightly clean",
    ),
    "aurc": Formula(
        latex=r"\frac{1}{n} \sum_i \frac{\#\{j : e_j = 1,\ c_j \geq c_i\}}{\#\{j : c_j \geq c_i\}}",
        said="mean over images of the share of errors among images of at least the same confidence",
    ),
    "accuracy-risk-difference": Formula(
        latex=r"\frac{a - b}{n}",
        said="a minus b, over n",
        note="Images right on the first side alone, a, and on the second alone, b.",
    ),
    "accuracy-odds-ratio": Formula(
        latex=r"\frac{a}{b}",
        said="a over b",
        note="Images right on the first side alone, a, and on the second alone, b.",
    ),
    "confidence-superiority": Formula(
        latex=r"\frac{1}{n}\left(g + \frac{n - g - l}{2}\right)",
        said="g plus half of the ties, over n",
        note="Images with more confidence on the first side, g, and with less, l.",
    ),
    "confidence-cliffs-delta": Formula(
        latex=r"\frac{g - l}{n}",
        said="g minus l, over n",
        note="Images with more confidence on the first side, g, and with less, l.",
    ),
}
COVERAGE = Formula(
    latex=r"\max\{\kappa : \mathrm{risk}(\kappa) \leq \rho\}",
    said="largest share kappa of images, most confident first, of which at most the share rho is decided wrongly",
    note="0 where there is none.",
)
_MEAN = r"\frac{1}{n} \sum_i s_i"
_F1 = rf"\frac{{2\,{_TP}}}{{2\,{_TP} + {_FP} + {_FN}}}"
_AFFIRMED = "Counts of observations that the labeler finds affirmed in report and reference, all reports together."
OF_REPORTS: Mapping[str, Formula] = {
    "bleu": Formula(
        latex=r"\min(1, e^{1 - r/c}) \left(\prod_{k=1}^{K} \frac{m_k}{t_k}\right)^{1/K}",
        said="geometric mean of the shares of word runs that the reference has, times the penalty of short reports",
        note="Runs of k words: m that report and reference share, t of all reports; words c of reports, r of references.",
    ),
    "rouge-l": Formula(
        latex=_MEAN, said="mean of s over reports", note="s: F of the longest common run of words, gaps allowed."
    ),
    "f1-micro": Formula(latex=_F1, said="two TP over two TP plus FP plus FN", note=_AFFIRMED),
    "f1-macro": Formula(
        latex=rf"\frac{{1}}{{K}} \sum_k {_F1}",
        said="mean over observations of two TP over two TP plus FP plus FN",
        note=f"{_AFFIRMED} Over the observations that a reference affirms.",
    ),
    "f1-positive": Formula(
        latex=rf"\frac{{1}}{{n}} \sum_i {_F1}",
        said="mean over reports of two TP over two TP plus FP plus FN",
        note="Counts of each report; over reports of which either text affirms an observation.",
    ),
    "verbosity": Formula(
        latex=r"\frac{\sum_i w_i}{\sum_i w_i^{\mathrm{ref}}}", said="words of reports over words of references"
    ),
    "length-controlled": Formula(
        latex=r"\frac{1}{n} \sum_i \frac{s_i}{\max(1, w_i / w_i^{\mathrm{ref}})}",
        said="mean of s over how many times as long as its reference a report is, at least 1",
        note="w: words of a report and of its reference; s: the score of one report.",
    ),
    "mean": Formula(latex=_MEAN, said="mean of s over reports", note="s: the score, or number, of one report."),
}
"""Of scores of generated reports, by their kind."""


def report_formula(metric: str) -> Formula | None:
    """Return the formula of a score of reports."""
    kinds = {"bleu": "bleu", "length-controlled-": "length-controlled", "f1-positive": "f1-positive"}
    means = ("words", "log-probability", "bertscore", "radgraph-", "ratescore", "green", "elsewhere-", "radeval-")
    kind = next((kinds[one] for one in kinds if metric.startswith(one)), metric)
    if kind.startswith("f1-") and kind != "f1-positive":
        kind = "f1-macro" if kind.endswith("-macro") else "f1-micro"
    return OF_REPORTS["mean"] if kind.startswith(means) else OF_REPORTS.get(kind)


def metric_formula(metric: str) -> Formula | None:
    """Return a metric's formula, or None where another package's metric has none here."""
    if metric in METRICS:
        return METRICS[metric]
    return COVERAGE if metric.startswith("coverage-at-risk-") else report_formula(metric)
