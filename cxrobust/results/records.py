"""The records of results: every number that a report may print, with what it is and how it was made."""

from dataclasses import dataclass, fields
from operator import attrgetter
from typing import Any, Literal, TypeAlias, get_args

Estimand = Literal[
    "value",
    "perturbed-clean",
    "regime-reference",
    "difference-in-differences",
    "trend",
    "trend-difference",
    "area",
    "area-difference",
    "relative",
    "relative-difference",
    "half-margin",
    "half-margin-difference",
    "recalibrated-raw",
    "all-regimes",
]
ESTIMANDS: tuple[Estimand, ...] = get_args(Estimand)

Better: TypeAlias = Literal["higher", "lower"] | None
"""Which way is better; None where neither is."""

COLUMNS = (
    "estimand", "metric", "regime", "reference", "condition", "finding", "estimate", "se", "ci_low", "ci_high",
    "interval", "p_value", "p_adjusted", "test", "n_images", "n_patients", "n_positive", "note", "subgroup",
    "recalibration", "se_patients", "se_training", "band_low", "band_high", "family", "n_positive_patients", "reason",
    "margin", "fitted_on",
)  # fmt: skip


OF_IMAGES = frozenset({"delong", "mcnemar", "mcnemar-midp", "wilcoxon", "cochran-q"})
"""Intervals and tests that take images for independent."""
FEW_PATIENTS = 20
"""Positive or negative ones, below which estimates carry a note and are shown with an open mark."""
MACRO, MICRO, WORST, OTHERS, REPORT = "macro", "micro", "worst", "others", "report"
"""What stands in the place of a finding: the mean over findings, all findings pooled, the worst of them, of an attack
on one finding the mean over those that it does not aim at, and whole reports."""
ALL_REGIMES: Estimand = "all-regimes"
"""What is no estimate: that all regimes are alike, tested together. Its regime and reference are blank."""
NOT_REACHED = "less than half of the margin over chance is lost up to the greatest strength"
"""Why a half-margin is not estimable that lies beyond the strengths."""
OVERALL = (MACRO, REPORT)
"""The finding of primary comparisons."""


@dataclass(frozen=True, kw_only=True, slots=True)
class MetricRecord:
    """What is told of a metric that a study names."""

    name: str
    better: Better


@dataclass(frozen=True, kw_only=True, slots=True)
class Estimate:
    """One estimate; None where a quantity is not estimable or does not apply."""

    estimand: Estimand
    metric: str
    regime: str
    """Empty of `all-regimes`."""
    reference: str | None
    """The regime compared with; None where a regime is compared with none."""
    condition: str
    """A condition; for trend and area a perturbation without its strength."""
    finding: str
    """A label; `macro` for the unweighted mean over findings, `micro` for all pooled, `worst` for the worst of them;
    `others`, of an attack on one finding, for the mean over those that it does not aim at."""
    subgroup: str = ""
    """Which images, for example `sex=F`; a comparison of two, ``sex: M − F``, or of all, ``sex: interaction``; empty
    for all images."""
    recalibration: str = ""
    """How probabilities were recalibrated; empty where they were not."""
    fitted_on: str | None = None
    """On which images recalibrations were fitted; None where none was."""
    estimate: float | None = None
    reason: str | None = None
    """Why it is not estimable, for example `one class only`; None where it is."""
    se: float | None = None
    """Standard error: standard deviation over patient-level resamples, which draw replicates too where a regime has
    several; with the interval `t` of both, linearised; with `t-corrected` the larger of these two; with `wilson` and
    DeLong's their own, of the patients alone."""
    se_patients: float | None = None
    """The part of it that comes from the patients, linearised; None where no regime has replicates and no margin is
    tested, whose test takes it."""
    se_training: float | None = None
    """The part of it that comes from training again; None where no regime has replicates."""
    ci_low: float | None = None
    ci_high: float | None = None
    interval: str | None = None
    """How the interval was made, for example `percentile`."""
    band_low: float | None = None
    """Of a simultaneous band that holds the whole curve over the strengths of a perturbation; None off a curve."""
    band_high: float | None = None
    p_value: float | None = None
    p_adjusted: float | None = None
    """Adjusted within `family`."""
    test: str | None = None
    margin: float | None = None
    """Of a test that a difference is within a margin; above 0, in the metric's unit."""
    family: str | None = None
    """The set of tests within which p was adjusted."""
    n_images: int
    """Images with a label for this finding, for averages for any finding that they hold; of a comparison of subgroups
    those of all that it compares."""
    n_patients: int
    n_positive: int
    """Images with label 1; for averages their sum over the findings that they hold."""
    n_positive_patients: int
    note: str = ""
    """All that is to be said of it, for people: the reason, the margin and the images of `fitted_on` too."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ReliabilityBin:
    """One bin of a reliability diagram: predictions in [low, high) and how often the finding was there."""

    low: float
    high: float
    n: int
    """Predictions (image × finding × training run) in the bin."""
    mean_probability: float | None
    observed: float | None
    """Fraction of positive labels, in [0, 1]; None for an empty bin."""
    ci_low: float | None
    ci_high: float | None


@dataclass(frozen=True, kw_only=True, slots=True)
class Reliability:
    """The reliability diagram of one regime under one condition, all findings and training runs pooled."""

    regime: str
    condition: str
    bins: tuple[ReliabilityBin, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class RiskPoint:
    """One point of a risk-coverage curve."""

    coverage: float
    """Share of images that are answered, the most confident, in (0, 1]."""
    risk: float
    """Share of wrong decisions among them."""
    ci_low: float | None
    ci_high: float | None


@dataclass(frozen=True, kw_only=True, slots=True)
class RiskCoverage:
    """The risk-coverage curve of one regime under one condition: the mean over training runs."""

    regime: str
    condition: str
    finding: str = MICRO
    """A label; `micro` for all pooled, `macro` for the mean of the findings' risks at each coverage."""
    points: tuple[RiskPoint, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class ConfidenceBin:
    """How many decisions were made with a confidence in [low, high)."""

    low: float
    high: float
    n: int
    share: float | None
    """Of all decisions under this condition, right and wrong together; None where there is none."""
    ci_low: float | None
    ci_high: float | None


@dataclass(frozen=True, kw_only=True, slots=True)
class ConfidenceSpread:
    """How sure one regime was of its right, or its wrong, decisions under one condition, all findings pooled."""

    regime: str
    condition: str
    decisions: Literal["right", "wrong"]
    n: int
    """Such decisions, one for each image, finding and training run."""
    mean: float | None
    """Mean of max(p, 1 − p), in [0.5, 1]; None where there is no such decision."""
    ci_low: float | None
    ci_high: float | None
    shift: float | None
    """That mean, less the mean of such decisions on the clean images; None on those."""
    shift_low: float | None
    shift_high: float | None
    bins: tuple[ConfidenceBin, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class Flip:
    """What becomes of one kind of decision on the clean images: of those, so many are this under a perturbation."""

    label: int
    """1 where the finding is there, else 0."""
    clean: int
    """The decision on the clean image: 1 where the finding is predicted."""
    perturbed: int
    n: int
    """Decisions, one for each image, finding and training run."""
    n_patients: int
    share: float | None
    """Of the decisions with this label and this clean decision; None where there is none."""
    ci_low: float | None
    ci_high: float | None
    interval: str | None
    """`expanded`; `wilson`, for as many patients, where the share is 0 or 1."""
    difference: float | None
    """The share less that of the reference; None for the reference itself."""
    difference_low: float | None
    difference_high: float | None


@dataclass(frozen=True, kw_only=True, slots=True)
class Flips:
    """Decisions of one regime on clean images against those under one condition, by label, all findings pooled."""

    regime: str
    condition: str
    cells: tuple[Flip, ...]
    """By label, clean and perturbed decision."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Confusion:
    """In how many reports of a regime, over all runs, report and reference affirm one of CheXpert's findings."""

    regime: str
    condition: str
    finding: str
    both: int
    """True positives; then false positives, false negatives, true negatives."""
    report_alone: int
    reference_alone: int
    neither: int
    left_out: int
    """Reports of images of which some cell has no score, and those whose doubt of this finding counts as missing."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Detectable:
    """The smallest difference that a study of as many patients detects in one primary comparison."""

    metric: str
    regime: str
    reference: str | None
    goal: str
    """`difference`, `non-inferiority` or `equivalence`, as the comparison is tested."""
    size: float | None
    """That difference, or margin; above 0, in the metric's unit; None where the standard error is 0 or unknown, or the
    test of so few patients cannot reject, as `note` says."""
    se: float | None
    """Of the test: of patients alone, `se_patients`, where the estimate's own holds training too, and of a margin."""
    alpha: float
    """Level of the test, already divided by the comparisons."""
    comparisons: int
    """Tests that are adjusted together."""
    power: float
    note: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Alternative:
    """A primary comparison, or value, under one other choice than the analysis made."""

    kind: str
    """What is chosen otherwise: `bins`, `operating point`, `unit`, `images`, `findings` or `method`."""
    choice: str
    """What is chosen instead, for example `10 equal-width bins`."""
    estimate: Estimate
    """Its p-value is adjusted with those of its family, the others being as in the analysis where they are the same."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Threshold:
    """The operating point of one regime for one finding: positive means probability ≥ `value`."""

    regime: str
    replicate: int
    finding: str
    value: float
    rule: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Unclustered:
    """A metric's standard error over patient-level resamples beside that of images taken for independent.

    Of the clean images of a regime with one training run; in the metric's units.
    """

    regime: str
    finding: str
    metric: str
    se_patient: float
    se_image: float
    method_image: str
    """For example `delong`."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Results:
    """Everything that a report is written from."""

    study: dict[str, Any]
    """All settings with defaults filled in (`Study.settings`)."""
    study_text: str
    """The study file as it was."""
    data: dict[str, Any]
    """`name`, `patients_known` (`some` or `none`; absent where all are), `n_images`, `n_patients`, `size`, `citation`,
    `exclusions` {reason: count}, `contradictory` {what labels contradict one another: images that are kept; absent
    where there are none}, `sources` {file: sha256}, `findings` [{name, n_labelled, n_labelled_patients,
    n_positive, n_positive_patients}], `images_per_patient` [min, median, max], `images_sha256` (of each image's id and
    hash), `characteristics` (`cxrobust.characteristics`); where there are validation images, the same of them in
    `validation`."""
    regimes: tuple[dict[str, Any], ...]
    """`name`, `replicates`, `is_reference`, `description`, `family`, `settings`, `fingerprint` for each, what is known
    of its network (`cxrobust.inference.models.Regime.facts`), and of a generator `n_reports` and `report_faults`
    {fault: count}, over all conditions, and `mean_words` {condition: words of a report}."""
    conditions: tuple[dict[str, Any], ...]
    """`name` (the condition's text), `series`, `strength_name`, `strength`, `kind` (clean, attack, noise, corruption,
    elsewhere), `description`, `parameters` {name: {value, given}}; clean first."""
    primary_condition: str | None
    metrics: tuple[MetricRecord, ...]
    """In the order of the study."""
    estimates: tuple[Estimate, ...]
    reliability: tuple[Reliability, ...]
    risk_coverage: tuple[RiskCoverage, ...]
    """Where a metric of selective prediction is asked for."""
    thresholds: tuple[Threshold, ...]
    unclustered: tuple[Unclustered, ...]
    examples: tuple[dict[str, Any], ...]
    """Example images kept by `predict`: `image`, `kind` (sheet, corruption or attack), `regime`, `condition`, `file`
    (beside the predictions), `sha256`, `findings`, `probabilities` {finding: p}; of a corruption `stated`, what its
    severity stands for, and `description`."""
    provenance: dict[str, Any]
    """`inference` and `analysis`: versions, platform, hashes of inputs, seeds, wall time of inference, commands."""
    confidence: tuple[ConfidenceSpread, ...] = ()
    """Clean and under the primary condition."""
    flips: tuple[Flips, ...] = ()
    """Under the primary condition, and under random noise of the same size where there is some."""
    confusion: tuple[Confusion, ...] = ()
    """Of generated reports against their references, clean and under the primary condition."""
    power: tuple[Detectable, ...] = ()
    """Of the primary comparisons that are tested."""
    sensitivity: tuple[Alternative, ...] = ()
    attack_checks: tuple[dict[str, Any], ...] = ()
    """Of each model what `cxrobust.inference.attack_checks.AttackCheck` says."""
    generated_reports: tuple[dict[str, Any], ...] = ()
    """Of a few images what generators wrote (`cxrobust.generated_reports`); none where a study keeps no examples."""

    def find(self, **wanted: Any) -> tuple[Estimate, ...]:
        """Return the estimates whose fields equal those given, in order: `find(estimand="value", metric="auroc")`.

        Those of all images and of predictions as they are, unless `subgroup` or `recalibration` is given.
        """
        wanted = {"subgroup": "", "recalibration": "", **wanted}
        fields_of, values = attrgetter(*wanted), tuple(wanted.values())
        return tuple(e for e in self.estimates if fields_of(e) == values)


assert set(COLUMNS) <= {field.name for field in fields(Estimate)}  # noqa: S101  the contract, checked once at import
