"""Metrics of generated reports: estimates, intervals and tests against sacrebleu, closed forms and hand arithmetic."""

from collections import Counter
from dataclasses import replace

import numpy as np
import pytest

from cxrobust.analysis import analyze
from cxrobust.analysis.contrasts import contrasts
from cxrobust.analysis.evaluating import evaluate
from cxrobust.analysis.metrics import metric
from cxrobust.analysis.permutation import sign_flip_p_values
from cxrobust.analysis.report_scores import confused_findings, note_on_scoring, of_reports, report_estimates
from cxrobust.analysis.sample import Sample
from cxrobust.errors import MisfitError
from cxrobust.predictions.scores import Scoring
from cxrobust.radiology_reports.labeler import Label, label_report
from cxrobust.radiology_reports.phrases import OBSERVATIONS
from cxrobust.radiology_reports.scores import Pairs, scorer
from cxrobust.study.analysis import AnalysisSection, Family, Subgroups

from .made import CONDITIONS, make_predictions

PHRASES = (
    "Small left pleural effusion. No pneumothorax.",
    "Heart size is normal. Lungs are clear.",
    "Cardiomegaly with mild edema.",
    "Right basilar atelectasis. No effusion.",
    "Large right pneumothorax. The heart is enlarged.",
    "No acute disease. The lungs are clear.",
)
METRICS = ("bleu", "rouge-l", "f1-14-micro", "f1-14-macro", "words", "length-controlled-rouge-l")


def _with_reports(predictions, *, seed=0, silent=(), without=(), empty=()):
    """Reports that are the reference's sentences or others, more of them wrong where attacked, and their scores.

    Parameters
    ----------
    silent
        Members that write no reports.
    without
        Images without a reference.
    empty
        Images with one that has no word.
    """
    rng = np.random.default_rng(seed)
    n = len(predictions.image_ids)
    references = [" ".join(rng.choice(PHRASES, size=rng.integers(1, 4))) for _ in range(n)]
    shape = (len(predictions.members), len(predictions.conditions), n)
    reports = np.full(shape, None, dtype=object)
    for m, c, i in np.ndindex(shape):
        if m not in silent:
            wrong = rng.random() < 0.2 + 0.2 * (c > 0) + 0.1 * m
            reports[m, c, i] = " ".join(rng.choice(PHRASES, size=2)) if wrong else references[i]
    told = tuple(None if i in without else "" if i in empty else text for i, text in enumerate(references))
    scores = {}
    for name in ("bleu", "rouge-l", "chexpert", "words"):
        for m, c in np.ndindex(shape[:2]):
            pairs = Pairs(ids=predictions.image_ids, candidates=tuple(reports[m, c]), references=told)
            for column, values in scorer[name]().score(pairs).columns.items():
                scores.setdefault(column, np.full(shape, np.nan))[m, c] = values
    return replace(predictions, references=told, reports=reports, scores=scores)


@pytest.fixture(scope="module")
def written():
    pytest.importorskip("sacrebleu")
    pytest.importorskip("rouge_score")
    return _with_reports(make_predictions(n_patients=25))


def _settings(**more):
    given = {"metrics": METRICS, "resamples": 500, "effect_sizes": (), "sensitivity_analyses": False, **more}
    return AnalysisSection(**given)


def _texts(predictions, m, c, images):
    return [predictions.reports[m, c, i] for i in images], [predictions.references[i] for i in images]


def test_resampled_bleu_against_sacrebleu_on_resampled_corpora(written):
    metrics = pytest.importorskip("sacrebleu.metrics")
    sample = of_reports("bleu", Sample.draw(written, _settings(), seed=1))
    values = evaluate({"bleu": metric["bleu"]}, [sample])["bleu"]
    n_images = len(written.image_ids)

    def bleu(m, c, images):
        hypotheses, references = _texts(written, m, c, images)
        return metrics.BLEU().corpus_score(hypotheses, [references]).score / 100

    for m, c in ((0, 0), (1, 1)):
        assert values.value[m, c, 0] == pytest.approx(bleu(m, c, range(n_images)), abs=1e-12)
        for draw in (0, 17, 301):
            lanes = sample.counts.shape[2]
            counts = sample.counts[draw // lanes, :, draw % lanes]
            images = np.repeat(np.arange(n_images), counts[written.patients])
            assert values.resampled[m, c, 0, draw] == pytest.approx(bleu(m, c, images), abs=1e-12)


@pytest.mark.parametrize("name", METRICS)
def test_contributions_sum_to_the_value_and_follow_the_weight_of_a_patient(written, name):
    sample = of_reports(name, Sample.draw(written, _settings(), seed=1))
    cell = sample.cell(member=1, condition=1, finding=0)
    one = metric[name]
    contributions, value = one.contributions(cell), one.value(cell)
    assert contributions.sum() == pytest.approx(value, abs=1e-10)
    patient = int(np.argmax(np.abs(contributions - value * one.share(cell))))
    # a patient's influence is the derivative by its weight: here by a weight of 1e-6, through the sums
    sums = one.sums(cell)
    moved = float(one.finish(sums.sum(axis=0) + 1e-6 * sums[patient]))
    influence = (contributions - value * one.share(cell))[patient]
    assert (moved - value) / 1e-6 == pytest.approx(influence, abs=1e-4)


def test_estimates_of_words_against_closed_forms(written):
    found = analyze(written, _settings(metrics=("words",)), reference="supervised", seed=3).estimates
    words = np.vectorize(lambda text: len(text.split()))(written.reports)
    by = {(e.estimand, e.regime, e.condition): e for e in found}
    attack = CONDITIONS[1]
    lora = words[1, 1].mean() - words[1, 0].mean()
    supervised = words[0, 1].mean() - words[0, 0].mean()
    assert by["value", "lora", attack].estimate == pytest.approx(words[1, 1].mean())
    assert by["perturbed-clean", "lora", attack].estimate == pytest.approx(lora)
    assert by["regime-reference", "lora", attack].estimate == pytest.approx(words[1, 1].mean() - words[0, 1].mean())
    one = by["difference-in-differences", "lora", attack]
    assert one.estimate == pytest.approx(lora - supervised)
    assert {e.finding for e in found} == {"report"}
    assert (one.n_images, one.n_patients, one.n_positive) == (len(written.image_ids), 25, 0)
    each = (words[1, 1] - words[1, 0]) - (words[0, 1] - words[0, 0])
    by_patient = np.bincount(written.patients, weights=each) / len(each)
    images = np.bincount(written.patients) / len(each)
    se = np.sqrt(25 / 24 * ((by_patient - one.estimate * images) ** 2).sum())
    assert one.se == pytest.approx(se, rel=0.1)
    assert one.ci_low < one.estimate < one.ci_high
    p = sign_flip_p_values(by_patient[:, None], n_draws=500, rng=np.random.default_rng([3, 2]))[0]
    assert one.p_value == pytest.approx(p)


def test_all_estimands_have_intervals_and_those_with_a_hypothesis_p_values(written):
    found = analyze(written, _settings(), reference="supervised", seed=3).estimates
    for name in METRICS:
        mine = [e for e in found if e.metric == name]
        wanted = contrasts(written.regimes, written.conditions, reference="supervised", ratios=True)
        assert len({(e.estimand, e.regime, e.condition) for e in mine}) >= len(wanted)
        for e in mine:
            assert e.finding == "report"
            assert e.ci_low is not None, (e.estimand, e.note)
            if e.estimand in {"perturbed-clean", "regime-reference", "difference-in-differences"}:
                assert 0 < e.p_value <= 1
                assert e.p_adjusted >= e.p_value
    primary = [e for e in found if e.family == "primary"]
    assert {e.metric for e in primary} == set(METRICS)
    assert {e.condition for e in primary} == {CONDITIONS[1]}


def test_a_report_that_outweighs_all_others_is_noted_and_misleads_no_test_of_a_difference(written):
    """Two regimes alike but for the length of one report: swapping that patient turns the difference's sign alone."""
    scores = {column: values.copy() for column, values in written.scores.items()}
    for column, values in scores.items():
        values[1] = values[0]
        if column == "bleu_candidate_length" or column.startswith("bleu_total"):
            values[1, :, 0] = 5000
    long = replace(written, scores=scores)
    analysed = analyze(long, _settings(metrics=("bleu", "words")), reference="supervised", seed=3).estimates
    by = {e.metric: e for e in analysed if (e.estimand, e.condition) == ("regime-reference", "clean")}
    one = by["bleu"]
    assert (one.p_value, one.test) == (1, "permutation (swaps, exact)")
    assert "exact over 2 swaps of patients, so p is at least 1" in one.note
    assert one.ci_low <= 0 <= one.ci_high
    assert "one patient has a large part of all words in lora, clean (8" in one.note
    assert "trends" not in one.note
    assert "one patient has" not in by["words"].note
    assert by["words"].test == "permutation (exact)"  # nobody differs
    untouched = analyze(written, _settings(metrics=("bleu",)), reference="supervised", seed=3).estimates
    assert not any("one patient has" in e.note for e in untouched)
    conditions = ("clean", "pgd(eps=2/255, steps=5)", "pgd(eps=4/255, steps=5)")
    curved = analyze(replace(long, conditions=conditions), _settings(metrics=("bleu",)), reference="supervised", seed=3)
    tests = {e.estimand: e for e in curved.estimates if e.p_value is not None}
    assert "so that p-values of trends may be far too small: go by the intervals" in tests["trend"].note
    assert {name: one.test for name, one in tests.items()} == {
        "trend": "permutation",
        "perturbed-clean": "permutation (swaps)",
        **dict.fromkeys(
            ("regime-reference", "difference-in-differences", "relative-difference", "trend-difference",
             "area-difference"),
            "permutation (swaps, exact)",
        ),
    }  # fmt: skip


def test_the_note_on_a_long_report_names_what_has_its_signs_flipped(written):
    """Regimes that were not trained as often, and gaps between subgroups, have no two sides to swap."""
    scores = {column: values.copy() for column, values in written.scores.items()}
    scores["bleu_candidate_length"][1, :, 0] = 5000
    long = replace(written, scores=scores)
    again = replace(
        long,
        members=(*long.members, ("lora", 1)),
        probabilities=np.concatenate([long.probabilities, long.probabilities[1:]]),
        scores={column: np.concatenate([values, values[1:]]) for column, values in scores.items()},
    )

    def note(predictions, **more):
        return note_on_scoring("bleu", of_reports("bleu", Sample.draw(predictions, _settings(**more), seed=1)))

    assert "go by the intervals" not in note(long)
    runs, gaps = "regimes with unequal numbers of training runs", "gaps between subgroups"
    assert f", so that p-values of {runs} may be far too small: go by the intervals" in note(again)
    by_sex = {"subgroups": (Subgroups(column="sex"),)}
    assert f", so that p-values of {runs} and {gaps} may be far too small" in note(again, **by_sex)


def test_a_report_without_a_score_is_left_out_of_every_cell_and_counted():
    predictions = _with_reports(make_predictions(n_patients=25), without=(0, 5))
    predictions = replace(predictions, scoring={"rouge-l": Scoring(reasons={"no reference": 2}, remarks={})})
    [one] = report_estimates(
        "rouge-l", metric["rouge-l"], Sample.draw(predictions, _settings(), seed=1), reference="supervised"
    )
    n = len(predictions.image_ids)
    kept = [i for i in range(n) if i not in {0, 5}]
    value = next(e for e in one.estimates if (e.estimand, e.regime, e.condition) == ("value", "lora", "clean"))
    assert value.n_images == n - 2
    assert f"2 of {n} images left out, not scored: no reference (2)" in value.note
    assert value.estimate == pytest.approx(predictions.scores["rouge_l"][1, 0, kept].mean())
    assert "positive" not in value.note
    assert "negative" not in value.note


@pytest.mark.parametrize(("metric_name", "what"), [("bleu", "identical scores of both"), ("f1-5-micro", "no spread")])
def test_scores_are_identical_only_where_all_that_they_are_made_from_is(metric_name, what):
    """Attacked, lora's reports have as many words as the others' and as few of the references', but other findings."""
    pytest.importorskip("sacrebleu")
    made = make_predictions(n_patients=25)
    n, shape = len(made.image_ids), made.probabilities.shape[:3]
    reports = np.full(shape, "Cardiomegaly with mild edema.", dtype=object)
    reports[1, 1] = "Left pleural effusion noted."
    references, scores = ("Right basilar atelectasis. Lungs hypoinflated.",) * n, {}
    for name in ("bleu", "chexpert"):
        for m, c in np.ndindex(shape[:2]):
            pairs = Pairs(ids=made.image_ids, candidates=tuple(reports[m, c]), references=references)
            for column, values in scorer[name]().score(pairs).columns.items():
                scores.setdefault(column, np.full(shape, np.nan))[m, c] = values
    made = replace(made, references=references, reports=reports, scores=scores)
    found = analyze(made, _settings(metrics=(metric_name,)), reference="supervised", seed=3).estimates
    note = {(e.estimand, e.regime, e.condition): e.note for e in found if e.reason is None}
    same = "identical scores of both regimes: the interval has no width"
    assert same in note["regime-reference", "lora", "clean"]
    assert same in note["regime-reference", "lora", CONDITIONS[2]]
    assert what in note["regime-reference", "lora", CONDITIONS[1]]


def test_verbosity_is_of_the_images_with_a_reference_and_says_why_others_are_left_out():
    pytest.importorskip("sacrebleu")
    predictions = _with_reports(make_predictions(n_patients=25), without=(0,), empty=(5,), silent=(0,))
    sample = Sample.draw(predictions, _settings(metrics=("verbosity", "words")), seed=1)
    found = {}
    for name in ("verbosity", "words"):
        [one] = report_estimates(name, metric[name], sample, reference="supervised")
        found |= {(name, e.condition): e for e in one.estimates if (e.estimand, e.regime) == ("value", "lora")}
    n = len(predictions.image_ids)
    kept = [i for i in range(n) if i not in {0, 5}]
    for c, condition in enumerate(CONDITIONS):
        one = found["verbosity", condition]
        words = [
            sum(len(texts[i].split()) for i in kept) for texts in (predictions.reports[1, c], predictions.references)
        ]
        assert one.estimate == pytest.approx(words[0] / words[1])
        assert one.n_images == n - 2
        assert f"2 of {n} images left out, not scored: no reference (2)" in one.note
        assert found["words", condition].n_images == n


def test_regimes_that_write_no_reports_have_no_estimates():
    members = (("classifier", 0), ("sft", 0), ("sft", 1), ("dpo", 0))
    predictions = _with_reports(make_predictions(n_patients=25, members=members), silent=(0,))
    found = analyze(predictions, _settings(metrics=("auroc", "rouge-l")), reference="sft", seed=3).estimates
    regimes = {e.regime for e in found if e.metric == "rouge-l"}
    assert regimes == {"sft", "dpo"}
    assert {e.regime for e in found if e.metric == "auroc"} == {"classifier", "sft", "dpo"}
    value = next(e for e in found if (e.metric, e.estimand, e.regime) == ("rouge-l", "value", "sft"))
    assert value.estimate == pytest.approx(predictions.scores["rouge_l"][1:3, 0].mean())
    alone = analyze(predictions, _settings(metrics=("rouge-l",)), reference="classifier", seed=3).estimates
    assert {e.estimand for e in alone} <= {"value", "perturbed-clean", "relative"}


def test_scores_that_are_not_there_name_the_metric():
    predictions = make_predictions()
    with pytest.raises(MisfitError, match="metric 'bleu' is of reports, and no regime of these predictions writes"):
        analyze(predictions, _settings(metrics=("auroc", "bleu")), reference="supervised", seed=1)
    reports = np.full((2, 3, len(predictions.image_ids)), "Clear.", dtype=object)
    with pytest.raises(MisfitError, match="run cxrobust predict"):
        analyze(replace(predictions, reports=reports), _settings(metrics=("bleu",)), reference="supervised", seed=1)


def test_scores_of_pooled_images_are_refused_with_the_reason(written):
    index = {**written.index, "data": {"exclusions": {"pooled with another image of their study": 3}}}
    pooled = replace(written, reports=None, scores={}, index=index)
    with pytest.raises(MisfitError, match="pooled, whose reports cannot become one: leave it out, or pool no images"):
        analyze(pooled, _settings(metrics=("bleu",)), reference="supervised", seed=3)


def test_families_and_subgroups_take_the_place_report(written):
    metadata = written.metadata.assign(sex=np.where(np.arange(len(written.image_ids)) % 2, "F", "M"))
    family = Family(name="text", metrics=("rouge-l", "words"), findings=("report",), adjust="max-t")
    settings = _settings(
        metrics=("auroc", "rouge-l", "words"), families=(family,), subgroups=(Subgroups(column="sex"),)
    )
    found = analyze(replace(written, metadata=metadata), settings, reference="supervised", seed=3).estimates
    mine = [e for e in found if e.family == "text"]
    assert {(e.metric, e.finding) for e in mine} == {("rouge-l", "report"), ("words", "report")}
    of_subgroups = [e for e in found if e.metric == "rouge-l" and e.subgroup]
    assert {e.finding for e in of_subgroups} == {"report"}
    assert {"sex=F", "sex=M", "sex: interaction"} <= {e.subgroup for e in of_subgroups}
    wrong = _settings(metrics=("auroc",), families=(Family(name="text", findings=("report",)),))
    with pytest.raises(MisfitError, match="'report' is none of the findings"):
        analyze(written, wrong, reference="supervised", seed=3)


def test_any_score_of_a_scorer_is_a_metric_and_nothing_else_is():
    assert {"bleu", "f1-pleural-effusion", "green", "elsewhere-radcliq", "length-controlled-green"} <= {
        name
        for name in ("bleu", "f1-pleural-effusion", "green", "elsewhere-radcliq", "length-controlled-green", "blue")
        if name in metric
    }
    assert "blue" not in metric
    assert "length-controlled-bleu" not in metric
    assert metric["green-errors"].better == "lower"
    assert "cxrobust list scores" in metric.unknown("blue")


def test_tests_of_means_fit_scores_that_are_means(written):
    from cxrobust.analysis.choices import fitting_tests
    from cxrobust.study.analysis import MetricSection

    assert "wilcoxon-clustered" in fitting_tests("rouge-l")
    assert "wilcoxon-clustered" not in fitting_tests("bleu")
    settings = _settings(metrics=("rouge-l",), per_metric={"rouge-l": MetricSection(test="wilcoxon-clustered")})
    found = analyze(written, settings, reference="supervised", seed=3).estimates
    tested = {e.test for e in found if e.estimand == "difference-in-differences"}
    assert tested == {"wilcoxon-clustered"}


@pytest.mark.parametrize("uncertain", ["negative", "missing"])
def test_findings_are_counted_report_by_report_over_all_training_runs(uncertain):
    """Against a count of each text's labels, read one by one."""
    silent = 3
    members = (("a", 0), ("b", 0), ("b", 1), ("c", 0))
    written = _with_reports(make_predictions(n_patients=6, members=members), silent=(silent,))
    texts = np.array(written.reports)
    texts[1, 0, :5] = "Possible mild edema."
    told = tuple(None if i == 7 else text for i, text in enumerate(written.references))
    shape, scores = texts.shape, {}
    for m, c in np.ndindex(shape[:2]):
        pairs = Pairs(ids=written.image_ids, candidates=tuple(texts[m, c]), references=told)
        for column, values in scorer["chexpert"](uncertain=uncertain).score(pairs).columns.items():
            scores.setdefault(column, np.full(shape, np.nan))[m, c] = values
    predictions = replace(written, references=told, reports=texts, scores=scores)
    conditions = predictions.conditions[:2]
    found = confused_findings(predictions, conditions=conditions)
    regimes = [name for name, _ in members]
    assert [(one.regime, one.condition) for one in found[::14]] == [(name, c) for name in "ab" for c in conditions]
    assert [one.finding for one in found[:14]] == list(OBSERVATIONS)
    kinds = {(True, True): "both", (True, False): "report_alone", (False, True): "reference_alone"}
    for one in found:
        wanted = Counter()
        for m, c, i in np.ndindex(shape):
            if (regimes[m], predictions.conditions[c]) != (one.regime, one.condition) or m == silent:
                continue
            labels = [label_report(text or "").get(one.finding) for text in (texts[m, c, i], told[i])]
            is_doubted = uncertain == "missing" and Label.UNCERTAIN in labels
            affirmed = tuple(label is Label.POSITIVE for label in labels)
            wanted["left_out" if told[i] is None or is_doubted else kinds.get(affirmed, "neither")] += 1
        assert {kind: getattr(one, kind) for kind in (*kinds.values(), "neither", "left_out")} == {
            kind: wanted[kind] for kind in (*kinds.values(), "neither", "left_out")
        }
    assert any(one.left_out > 2 for one in found) == (uncertain == "missing")


def test_f1_of_a_study_is_that_of_its_confusion(written):
    found = analyze(written, _settings(metrics=("f1-edema", "f1-14-micro")), reference=written.members[0][0], seed=1)
    values = {(e.metric, e.regime, e.condition): e.estimate for e in found.estimates if e.estimand == "value"}
    assert {(one.regime, one.condition) for one in found.confusion} == {
        (name, condition) for name in written.regimes for condition in ("clean", found.primary_condition)
    }
    for regime, condition in {(one.regime, one.condition) for one in found.confusion}:
        own = [one for one in found.confusion if (one.regime, one.condition) == (regime, condition)]
        for metric_name, some in (("f1-edema", [e for e in own if e.finding == "Edema"]), ("f1-14-micro", own)):
            both, wrong = sum(e.both for e in some), sum(e.report_alone + e.reference_alone for e in some)
            assert values[metric_name, regime, condition] == pytest.approx(2 * both / (2 * both + wrong))


def test_nothing_is_counted_where_no_metric_compares_findings(written):
    scores = {name: values for name, values in written.scores.items() if not name.startswith("chexpert")}
    assert confused_findings(replace(written, scores=scores), conditions=("clean",)) == ()
