"""What changed between two runs, in words and tables that claim no more than the tests show."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from cxrobust.comparison.runs import NEW, OLD, Paired, Run
from cxrobust.differences import ABSENT, IDENTITY, PRESENT, Difference, setting_differences
from cxrobust.reports.parts import Cell, Column, Group, Table, names_of_tests
from cxrobust.reports.sections.estimands import NAMES, contrast_of
from cxrobust.reports.sentences import MARGINS, Kind, Verdict, deciding_p, digits_of, judge, margin, outcome, reason
from cxrobust.reports.settings_in_words import breakable, value_words
from cxrobust.reports.sources import names_all_patients, names_no_patient
from cxrobust.reports.view import CLEAN, View
from cxrobust.reports.words import (
    ADJUSTMENTS,
    SPACE,
    condition_words,
    count,
    counted,
    finding_words,
    interval,
    listed,
    metric_words,
    number,
    p_number,
    percent,
    regime,
)
from cxrobust.results import MACRO, OVERALL, REPORT, Estimand, Estimate, Results, to_csv

"""The places that stand for all findings: of scores of reports, `report`."""
MOST_ROWS = 60
"""Rows of one table; the rest is in the CSV files."""
MOST_TEXT = 80
"""Characters of a setting's value in the table."""
CAUTION = (
    "A verdict that changed is not by itself evidence of a change: an estimate may lie just on one side of the level in one "
    "run and just on the other side in the other. Whether new and old differ is what the paired comparison tests."
)
ADJUSTED_APART = "Each run’s p-values are adjusted over its own tests: where one run tests more, it takes more to show the same difference."
KINDS: dict[Kind, str] = {
    "more": "a larger change than the reference’s, shown",
    "less": "a smaller change than the reference’s, shown",
    "higher": "above 0, shown",
    "lower": "below 0, shown",
    "not shown": "no difference could be shown",
    "not tested": "not tested",
    "not estimable": "not estimable",
    "equivalent": "a difference of the margin or more ruled out",
    "not inferior": "a loss of the margin or more ruled out",
    "not equivalent": "a difference of the margin or more not ruled out",
    "maybe inferior": "a loss of the margin or more not ruled out",
}

Key = tuple[str | None, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class Part:
    """One part of the comparison: paragraphs and, where there is something to list, a table with its caption."""

    title: str
    paragraphs: tuple[str, ...]
    table: Table | None = None
    caption: str = ""


def parts(old: Run, new: Run, paired: Paired) -> tuple[Part, ...]:
    """Return the comparison in order: conclusions, paired test, other verdicts, numbers, settings."""
    views = View.of(old.results, images=None), View.of(new.results, images=None)
    return (
        conclusions(*views),
        paired_part(paired, views[1]),
        verdicts(*views),
        numbers(old.results, new.results),
        settings(old.results, new.results),
    )


def conclusions(old: View, new: View) -> Part:
    """Say which conclusions of the primary comparison are others now."""
    title = "Conclusions of the primary comparison"
    apart = _not_the_same_question(old, new)
    if apart:
        said = f"The primary comparison is not the same in the two runs: {apart}. Its conclusions are therefore not set side by side."
        return Part(title=title, paragraphs=(said,))
    rows = []
    tested: tuple[list[Estimate | None], list[Estimate | None]] = [], []
    n_changed = n_same = 0
    for metric in (one for one in new.metrics if one in old.metrics):
        for name in (one for one in new.compared if one in old.compared):
            before, now = outcome(old, metric, name), outcome(new, metric, name)
            changed = _kind(before.kind, before.estimate) != _kind(now.kind, now.estimate)
            n_changed += changed
            n_same += changed and _estimated(before.estimate) == _estimated(now.estimate)
            tested[0].append(before.estimate)
            tested[1].append(now.estimate)
            rows.append(
                (
                    metric_words(metric).name,
                    regime(name),
                    _told(before.estimate, old),
                    _told(now.estimate, new),
                    _kind(before.kind, before.estimate),
                    _kind(now.kind, now.estimate),
                    changed,
                )
            )
    if not rows:
        return Part(title=title, paragraphs=("The two runs have no conclusion of the primary comparison in common.",))
    if n_changed:
        verb = "is" if n_changed == 1 else "are"
        what = f"Of {counted(len(rows), 'conclusion')} of the primary comparison {count(n_changed)} {verb} not the same in the two runs."
        sizes = n_adjusted_over(old, tested[0]), n_adjusted_over(new, tested[1])
        why = f"{_adjusted_over(*sizes)}{_same_estimate(n_same, n_changed)}".strip()
        paragraphs: tuple[str, ...] = (what, CAUTION, *filter(None, (why,)))
    else:
        paragraphs = (
            f"All {counted(len(rows), 'conclusion')} of the primary comparison are the same in the two runs.",
        )
    shown = sorted(rows, key=lambda row: not row[-1])[:MOST_ROWS]
    table = Table(
        key="conclusions",
        columns=_columns("Metric", "Regime", "Old estimate", "New estimate", "Old conclusion", "New conclusion"),
        groups=tuple(_row(metric, *cells, look="key" if changed else "") for metric, *cells, changed in shown),
        dense=True,
    )
    caption = (
        f"{contrast_of(new.comparison, new.overall)}"
        f"{f' under {condition_words(new.primary)}' if new.primary else ' on clean images'}, with {percent(new.level)} CI and "
        f"{new.p_name}-value. {_tests(names_of_tests(old, tested[0]), names_of_tests(new, tested[1]))}"
        "Conclusions that changed stand first, in bold."
    )
    return Part(title=title, paragraphs=paragraphs, table=table, caption=caption)


def _estimated(estimate: Estimate | None) -> float | None:
    return None if estimate is None else estimate.estimate


def n_adjusted_over(view: View, estimates: Sequence[Estimate | None]) -> int:
    """Return how many p-values the families of these estimates hold."""
    families = {one.family for one in estimates if one is not None and one.p_adjusted is not None}
    return sum(one.family in families and one.p_adjusted is not None for one in view.results.estimates)


def _adjusted_over(old: int, new: int) -> str:
    """Say over how many tests each run's p-values were adjusted; empty where they are as many, or one adjusts none."""
    if old == new or not old or not new:
        return ""
    over = f"{counted(old, 'test')} in the old run, over {count(new)} in the new"
    return f"P-values are adjusted over {over}: where a run tests more, it takes more to show the same difference."


def _tests(old: str, new: str) -> str:
    """Name the tests of both runs, as a sentence with a space after it; empty where neither tests anything.

    >>> _tests("t", "t"), _tests("t", ""), _tests("", "")
    ('p-values: t. ', 'p-values: t in the old run; none in the new. ', '')
    """
    if old == new:
        return f"p-values: {old}. " if old else ""
    return f"p-values: {old or 'none'} in the old run; {new or 'none'} in the new. "


def _not_the_same_question(old: View, new: View) -> str:
    asked = (
        (
            "estimand",
            _estimand_words(old.comparison),
            _estimand_words(new.comparison),
        ),
        ("condition", condition_words(old.primary or CLEAN), condition_words(new.primary or CLEAN)),
        ("reference", regime(old.reference), regime(new.reference)),
        ("confidence level", percent(old.level), percent(new.level)),
    )
    return "; ".join(f"{what} {before} in the old, {now} in the new" for what, before, now in asked if before != now)


def _estimand_words(name: Estimand) -> str:
    """Name an estimand inside a table: `difference from the reference`."""
    return "perturbed − clean" if name == "perturbed-clean" else NAMES[name].lower()


def _kind(kind: Kind, estimate: Estimate | None) -> str:
    """Write a conclusion; of a test against a margin with the margin."""
    said = KINDS[kind]
    return said.replace("the margin", margin(estimate)) if kind in MARGINS else said


def _told(estimate: Estimate | None, view: View) -> str:
    """Write an estimate with interval and p-value, or why there is none."""
    if estimate is None or estimate.estimate is None:
        return f"not estimable ({reason(estimate)})"
    digits = digits_of(estimate)
    text = number(estimate.estimate, digits=digits, signed=estimate.estimand != "value")
    if estimate.ci_low is not None and estimate.ci_high is not None:
        text += f" ({interval(estimate.ci_low, estimate.ci_high, digits=digits)})"
    p = deciding_p(estimate)
    return text if p is None else f"{text}; p{SPACE}{_p(p, view.alpha)}"


def _p(p: float, alpha: float) -> str:
    text = p_number(p, alpha=alpha)
    return f"{text[0]}{SPACE}{text[1:]}" if text[0] in "<>" else f"={SPACE}{text}"


def paired_part(paired: Paired, view: View) -> Part:
    """Say for which metrics, regimes and conditions a difference between new and old could be shown."""
    title = "Paired comparison, new − old"
    if paired.why_not:
        said = (
            f"There is no paired test: {paired.why_not}.",
            "An unpaired comparison of the two runs is not made: it would hold other images’ difference for the models’.",
        )
        return Part(title=title, paragraphs=said)
    macro = [one for one in paired.estimates if one.finding in OVERALL]
    tested = [one for one in macro if judge(one, alpha=view.alpha) not in {"not tested", "not estimable"}]
    shown = [one for one in tested if judge(one, alpha=view.alpha) in {"shown", "equivalent", "not inferior"}]
    is_adjusted, knows_patients = paired.adjustment != "none", names_all_patients(view)
    patients = f" of {counted(paired.n_patients, 'patient')}" if knows_patients else ""
    of_images = "images as the sampling unit, since the data name no patients"
    some_images = "patients as the sampling unit, or images where the data name none"
    units = "patients as the sampling unit" if knows_patients else of_images if names_no_patient(view) else some_images
    intro = (
        f"Both runs predicted the same {counted(paired.n_images, 'image')}{patients}, with the same labels. "
        f"Each regime’s new predictions were compared with its old ones on these images, with {units}, by "
        f"the new run’s analysis; p-values are {ADJUSTMENTS[paired.adjustment]}{' over all regimes' if is_adjusted else ''}."
    )
    against = any(judge(one, alpha=view.alpha) in MARGINS for one in macro)
    what = "what is tested could be shown" if against else "a difference could be shown"
    result = [f"Of {counted(len(tested), 'tested difference')} of {view.overall} {what} for {count(len(shown))}."]
    if not macro:
        result = ["There is therefore nothing to test."]
    if paired.unchanged:
        names = listed([regime(name) for name in paired.unchanged])
        result.insert(0, f"The predictions of {names} are the same in both runs, and are not tested.")
    notes = (f"Not compared: {'; '.join(paired.notes)}.",) if paired.notes else ()
    rows = macro if len(macro) <= MOST_ROWS else [one for one in macro if one.condition in {CLEAN, view.primary}]
    table = Table(
        key="paired",
        columns=_columns("Metric", "Regime", "Condition", "Of", "New − old", "What is shown"),
        groups=tuple(
            _row(
                metric_words(one.metric).name,
                regime(one.regime),
                condition_words(one.condition),
                "value" if one.estimand == "regime-reference" else "change from clean",
                _told(one, view),
                status(one, alpha=view.alpha),
                look="key" if one in shown else "",
            )
            for one in rows[:MOST_ROWS]
        ),
        dense=True,
    )
    names = names_of_tests(view, tested)
    caption = (
        f"New − old of {view.overall}, with {percent(view.level)} CI and {'adjusted ' if is_adjusted else ''}p-value: of the value itself, and of its change "
        f"from clean images. {_tests(names, names)}All conditions and findings are in the CSV file."
    )
    return Part(title=title, paragraphs=(intro, *result, *notes), table=table if rows else None, caption=caption)


def status(estimate: Estimate | None, *, alpha: float) -> str:
    """Return what an estimate's test allows to say, with the side of 0 where a difference is shown."""
    if estimate is not None and estimate.estimate is None and estimate.p_value is not None:  # a test of several alone
        return "some difference, shown" if (deciding_p(estimate) or 0.0) < alpha else KINDS["not shown"]
    verdict: Verdict = judge(estimate, alpha=alpha)
    if verdict == "shown" and estimate is not None and estimate.estimate is not None:
        return KINDS["higher" if estimate.estimate > 0 else "lower"]
    if verdict in MARGINS:
        return _kind(verdict, estimate)
    return KINDS["not shown"] if verdict == "not shown" else verdict


def verdicts(old: View, new: View) -> Part:
    """List the estimates, other than those of the primary comparison, of which the tests allow to say something else."""
    title = "Other verdicts that changed"
    before, now = keyed(old.results), keyed(new.results)
    changed, n_tested, n_same = [], 0, 0
    for key in (one for one in now if one in before):
        was, is_now = status(before[key], alpha=old.alpha), status(now[key], alpha=new.alpha)
        if {was, is_now} <= {"not tested", "not estimable"} or _is_primary(now[key], new):
            continue
        n_tested += 1
        if was != is_now:
            changed.append((now[key], was, is_now))
            n_same += before[key].estimate == now[key].estimate
    if not changed:
        return Part(
            title=title,
            paragraphs=(f"None of {counted(n_tested, 'other test')} that both runs have changed its verdict.",),
        )
    first = sorted(changed, key=lambda one: one[0].finding not in OVERALL)[:MOST_ROWS]
    rest = (
        f" The table shows the first {len(first)}, macro averages before findings; all are in the CSV file."
        if len(first) < len(changed)
        else ""
    )
    said = f"Of {counted(n_tested, 'other test')} that both runs have {count(len(changed))} changed {'its' if len(changed) == 1 else 'their'} verdict.{rest}"
    table = Table(
        key="verdicts",
        columns=_columns("Metric", "Estimand", "Regime", "Condition", "Finding", "Old", "New"),
        groups=tuple(
            _row(
                metric_words(one.metric).name,
                _estimand_words(one.estimand),
                regime(one.regime) + (f" − {regime(one.reference)}" if one.reference else ""),
                condition_words(one.condition),
                ", ".join(filter(None, (finding_words(one.finding), one.subgroup, one.recalibration))),
                was,
                is_now,
            )
            for one, was, is_now in first
        ),
        dense=True,
    )
    paragraphs = (said, f"{ADJUSTED_APART}{_same_estimate(n_same, len(changed))}")
    return Part(
        title=title,
        paragraphs=paragraphs,
        table=table,
        caption="Verdicts at each run’s own level; the CSV file names each test.",
    )


def _same_estimate(n: int, n_changed: int) -> str:
    """Say of how many verdicts that changed the estimate did not; empty where there are none."""
    if not n:
        return ""
    those = "all" if n == n_changed else count(n)
    return f" In {those} of them the estimate is the same in both runs: its test, or what was tested beside it, is not."


def _is_primary(estimate: Estimate, view: View) -> bool:
    where = (estimate.estimand, estimate.condition, estimate.subgroup, estimate.recalibration)
    return where == (view.comparison, view.primary or CLEAN, "", "") and estimate.finding in OVERALL


def keyed(results: Results) -> Mapping[Key, Estimate]:
    """Return estimates by what they are of."""
    return {tuple(getattr(one, name) for name in IDENTITY): one for one in results.estimates}


def numbers(old: Results, new: Results) -> Part:
    """Say how many estimates have another value, and list the macro values that moved most."""
    before, now = keyed(old), keyed(new)
    common = [key for key in now if key in before]
    moved = [(now[key], before[key]) for key in common if now[key].estimate != before[key].estimate]
    said = [
        f"Of {counted(len(common), 'estimate')} that both runs have {count(len(moved))} {'has' if len(moved) == 1 else 'have'} another value."
    ]
    for which, other, n in ((OLD, NEW, len(before) - len(common)), (NEW, OLD, len(now) - len(common))):
        if n:
            said.append(f"The {which} run has {counted(n, 'estimate')} that the {other} run lacks.")
    values = [
        (one, was)
        for one, was in moved
        if (one.estimand, one.subgroup, one.recalibration) == ("value", "", "") and one.finding in OVERALL
    ]
    values.sort(key=lambda pair: -abs((pair[0].estimate or 0.0) - (pair[1].estimate or 0.0)))
    table = Table(
        key="numbers",
        columns=_columns("Metric", "Regime", "Condition", "Old", "New"),
        groups=tuple(
            _row(
                metric_words(one.metric).name,
                regime(one.regime),
                condition_words(one.condition),
                _value(was),
                _value(one),
            )
            for one, was in values[:MOST_ROWS]
        ),
        dense=True,
    )
    kinds = {one.finding for one, _ in values}
    of = " and ".join(
        words for key, words in ((MACRO, "macro averages"), (REPORT, "scores of reports")) if key in kinds
    )
    caption = f"Values that are others now ({of}), those that moved most first."
    return Part(title="Numbers", paragraphs=tuple(said), table=table if values else None, caption=caption)


def _value(estimate: Estimate) -> str:
    return "not estimable" if estimate.estimate is None else number(estimate.estimate, digits=digits_of(estimate))


def settings(old: Results, new: Results) -> Part:
    """List every setting, count, file and version that differs."""
    title = "Settings, data and versions"
    found = [one for one in setting_differences(old, new) if not one.field.startswith("registration.")]
    if not found:
        return Part(title=title, paragraphs=("Settings, data, model files, and versions are the same.",))
    rest = f" The table shows the first {MOST_ROWS}." if len(found) > MOST_ROWS else ""
    table = Table(
        key="settings",
        columns=_columns("Of", "What", "Old", "New"),
        groups=tuple(
            _row(one.part, breakable(one.field or one.part), _setting(one, "old"), _setting(one, "new"))
            for one in found[:MOST_ROWS]
        ),
        dense=True,
    )
    what = counted(len(found), "setting, count, file, or version", "settings, counts, files, and versions")
    said = f"The two runs differ in {what}.{rest}"
    return Part(
        title=title, paragraphs=(said,), table=table, caption="What the two runs were made from, where it differs."
    )


def _setting(one: Difference, side: str) -> str:
    value = getattr(one, side)
    if isinstance(value, Mapping) and ABSENT in (one.old, one.new):
        return PRESENT  # a whole regime or condition: what it is, its own run's documents tell
    if isinstance(value, list | tuple) and isinstance(one.old, list | tuple) and isinstance(one.new, list | tuple):
        return breakable(_own_of(value, one.new if side == "old" else one.old))
    return "none" if value is None else breakable(value_words(value, most=MOST_TEXT))


def _own_of(values: Sequence[Any], others: Sequence[Any]) -> str:
    """Write what a list holds that the other does not, and how much both hold."""
    own = [one for one in values if one not in others]
    if not own and len(values) == len(others):
        return "the same in another order"
    n_common = len(values) - len(own)
    said = value_words(own, most=MOST_TEXT) if own else "no other"
    return said + (f"; {count(n_common)} in common" if n_common else "")


def _columns(*titles: str) -> tuple[Column, ...]:
    return tuple(Column(title=title, left=True) for title in titles)


def _row(head: str, *texts: Any, look: Any = "") -> Group:
    return Group(head=head, rows=(tuple(Cell(text=str(text), look=look) for text in texts),))


def estimates_csv(old: Run, new: Run) -> str:
    """Return every estimate of both runs side by side, with what its test allows to say in each."""
    before, now = keyed(old.results), keyed(new.results)
    alphas = [round(1 - float(run.results.study["analysis"]["level"]), 10) for run in (old, new)]
    fields = ("estimate", "ci_low", "ci_high", "p_adjusted", "test")
    header = [*IDENTITY, *(f"{name}_{which}" for which in (OLD, NEW) for name in (*fields, "verdict"))]

    def rows() -> Iterable[list[Any]]:
        for key in dict.fromkeys((*before, *now)):
            row: list[Any] = list(key)
            for side, alpha in zip((before, now), alphas, strict=True):
                one = side.get(key)
                row += [None if one is None else getattr(one, name) for name in fields]
                row.append("absent" if one is None else status(one, alpha=alpha))
            yield row

    return to_csv(header, rows())
