"""Which scores of reports see a clinical error: real reports of Indiana University set against one another.

Each report that people indexed with a finding is the reference of six candidates: itself with its sentences in another
order (the same to a clinician), a report of another patient with the same indexed findings, one with none of them, and
itself with one finding negated, with one finding on the other side, and with a finding of another severity. A score
that sees clinical errors gives the last four less than the first two. The reports (Demner-Fushman et al.
2016, doi:10.1093/jamia/ocv080) come with `torchxrayvision`; they are read where they are installed, and no text of them
is written. Every report is of another patient, so intervals draw reports.

    python benchmarks/scores.py --out benchmarks/results/scores.json
    python benchmarks/tables.py
"""

import argparse
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
from labeler import TERMS
from numpy.typing import NDArray
from record import write

from cxrobust.inference.datasets.openi import report_texts
from cxrobust.radiology_reports.judges.grading import GRADERS
from cxrobust.radiology_reports.labeler import Label, label_report, mentions
from cxrobust.radiology_reports.phrases import OBSERVATIONS
from cxrobust.radiology_reports.scores import Columns, Measure, Pairs, each, measured, scorer
from cxrobust.radiology_reports.scores.chexpert import slug

METRICS = (
    "bleu", "bleu-1", "bleu-2", "bleu-3", "rouge-l", "length-controlled-rouge-l", "f1-14-micro", "f1-5-micro",
    "f1-positive", "words",
)  # fmt: skip
"""What is told of each report alone."""
BY_RADEVAL = tuple(f"radeval-{name}" for name in ("bleu", "rouge1", "rouge2", "rougeL"))
"""The same by RadEval's own code, where it is installed: those of its scores that need no network."""
WHOLE = ("f1-14-macro", "f1-5-macro", "verbosity", *(f"f1-{slug(name)}" for name in OBSERVATIONS))
"""What is told of all reports together."""
NOT_RUN = ("bertscore", "radgraph-simple", "radgraph-partial", "radgraph-complete", "ratescore", "green", "CheXbert")
"""Those that need weights, which this benchmark has none of."""
SAME, OTHER = "the same findings, another patient", "other findings, another patient"
ORDER, NEGATED, SIDE, SEVERITY = (
    "itself, sentences in another order", "itself, one finding negated", "itself, one finding on the other side",
    "itself, one finding of another severity",
)  # fmt: skip
KINDS = (ORDER, SAME, SEVERITY, SIDE, NEGATED, OTHER)
RIGHT = (ORDER, SAME)
WRONG = (SEVERITY, SIDE, NEGATED, OTHER)
SIDES = {"left": "right", "right": "left"}
SEVERITIES = {
    "mild": "severe",
    "small": "large",
    "minimal": "marked",
    "severe": "mild",
    "large": "small",
    "moderate": "mild",
}
DEVICES = "Support Devices"
RESAMPLES = 2_000
SETTINGS: Mapping[str, Mapping[str, Any]] = {"radeval": {"metrics": ("bleu", "rouge")}}
"""Of scorers that have no defaults."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Indexed:
    """A real report."""

    text: str
    findings: frozenset[str]
    """What people indexed it with."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Row:
    """What one metric gives one kind of candidates."""

    metric: str
    kind: str
    n: int
    mean: float
    low: float
    high: float
    below: dict[str, tuple[float, float, float]]
    """Of wrong ones: how often it is below what a right one of that kind has, ties a half, with its interval."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=None, help="JSON file for the numbers")
    parser.add_argument("--most", type=int, default=1_000, help="references, drawn at random")
    arguments = parser.parse_args()
    rng = np.random.default_rng(1)
    reports = list(real())
    made = candidates(reports, rng, most=arguments.most)
    by_radeval = BY_RADEVAL if has_radeval() else ()
    rows, together = list(measured_rows([*METRICS, *GRADERS, *by_radeval], made, rng)), list(rows_of_all(made, rng))
    content = {
        "reports": len(reports),
        "references": len(made),
        "not_run": NOT_RUN if by_radeval else [*NOT_RUN, *BY_RADEVAL],
        "judges": list(GRADERS),
        "rows": [asdict(one) for one in rows],
        "together": [asdict(one) for one in together],
    }
    packages = ("sacrebleu", "rouge-score", "torchxrayvision", *(["radeval"] if by_radeval else []))
    write(arguments.out, content, packages=packages)
    for one in (*rows, *together):
        told = "".join(f", below {right} in {share:.0%}" for right, (share, _, _) in one.below.items())
        print(f"{one.metric}, {one.kind}: {one.mean:.3f} ({one.low:.3f} to {one.high:.3f}), n {one.n:,}{told}")


def has_radeval() -> bool:
    return find_spec("radeval") is not None


def real() -> Iterator[Indexed]:
    """Yield the real reports that people indexed, findings and impression."""
    found = find_spec("torchxrayvision")
    if found is None or found.origin is None:
        raise SystemExit("torchxrayvision is not installed, which brings the reports: install the group dev")
    for _, content in sorted(report_texts(Path(found.origin).parent / "data" / "NLMCXR_reports.tgz")):
        root = ElementTree.fromstring(content)  # noqa: S314  a package's own file
        parts = {node.attrib["Label"]: node.text or "" for node in root.iter("AbstractText")}
        text = " ".join(parts[name] for name in ("FINDINGS", "IMPRESSION") if parts.get(name))
        terms = [(node.text or "").strip() for node in root.findall(".//MeSH/major")]
        if text and terms and "No Indexing" not in terms:
            yield Indexed(text=text, findings=named(terms))


def named(terms: Sequence[str]) -> frozenset[str]:
    """Return the observations that indexers' terms name."""
    return frozenset(
        name
        for name, starts in TERMS.items()
        if any(term == start or term.startswith(f"{start}/") for term in terms for start in starts)
    )


def candidates(reports: Sequence[Indexed], rng: np.random.Generator, *, most: int) -> list[tuple[str, dict[str, str]]]:
    """Return references with a finding, each with its candidates by kind; one that cannot be made is not there."""
    alike: dict[frozenset[str], list[int]] = {}
    for i, one in enumerate(reports):
        alike.setdefault(one.findings, []).append(i)
    at = [i for i, one in enumerate(reports) if one.findings - {DEVICES}]
    found = []
    for i in rng.permutation(at)[:most]:
        one = reports[int(i)]
        others = [j for j in alike[one.findings] if j != i and reports[j].text != one.text]
        apart = [j for j in rng.integers(0, len(reports), 50) if not reports[int(j)].findings & one.findings]
        made = {
            ORDER: reordered(one.text, rng),
            SAME: reports[int(rng.choice(others))].text if others else None,
            OTHER: reports[int(apart[0])].text if apart else None,
            NEGATED: negated(one.text),
            SIDE: swapped(one.text, SIDES, all_of_them=True),
            SEVERITY: swapped(one.text, SEVERITIES, all_of_them=False),
        }
        found.append((one.text, {kind: text for kind, text in made.items() if text is not None}))
    return found


def sentences(text: str) -> list[str]:
    return [part.strip() for part in re.split(r"(?<=[.!?])\s+", text) if part.strip()]


def reordered(text: str, rng: np.random.Generator) -> str | None:
    parts = sentences(text)
    return " ".join(parts[int(i)] for i in rng.permutation(len(parts))) if len(parts) > 1 else None


def affirming(sentence: str) -> str | None:
    """Return the words of the one finding that a sentence affirms, where it speaks of nothing else."""
    told = [one for one in mentions(sentence) if one.observation != DEVICES]
    alone = len({one.text for one in told}) == 1 and all(one.label is Label.POSITIVE for one in told)
    return told[0].text if alone else None


def negated(text: str) -> str | None:
    """Return a report that denies one finding that it affirmed, and says the rest as before."""
    before = label_report(text)
    parts = sentences(text)
    for at, sentence in enumerate(parts):
        words = affirming(sentence)
        if words is None:
            continue
        changed = " ".join([*parts[:at], f"No {words}.", *parts[at + 1 :]])
        after = label_report(changed)
        differs = [name for name in {*before, *after} - {"No Finding"} if before.get(name) != after.get(name)]
        if len(differs) == 1:
            return changed
    return None


def swapped(text: str, words: Mapping[str, str], *, all_of_them: bool) -> str | None:
    """Return a report with a word of the first sentence that affirms a finding changed for its counterpart."""
    parts = sentences(text)
    pattern = re.compile(rf"\b({'|'.join(words)})\b", re.IGNORECASE)
    for at, sentence in enumerate(parts):
        affirms = any(one.label is Label.POSITIVE and one.observation != DEVICES for one in mentions(sentence))
        if affirms and pattern.search(sentence):
            made = pattern.sub(lambda match: words[match[0].lower()], sentence, count=0 if all_of_them else 1)
            return " ".join([*parts[:at], made, *parts[at + 1 :]])
    return None


def measured_rows(
    metrics: Sequence[str], made: Sequence[tuple[str, Mapping[str, str]]], rng: np.random.Generator
) -> Iterator[Row]:
    for metric in metrics:
        scores = {kind: of_each(metric, made, kind) for kind in KINDS}
        for kind in KINDS:
            mine = scores[kind]
            low, high = interval(mine[~np.isnan(mine)], np.mean, rng)
            below = {right: how_often_below(mine, scores[right], rng) for right in RIGHT} if kind in WRONG else {}
            yield Row(
                metric=metric,
                kind=kind,
                n=int((~np.isnan(mine)).sum()),
                mean=float(np.nanmean(mine)),
                low=low,
                high=high,
                below=below,
            )


def rows_of_all(made: Sequence[tuple[str, Mapping[str, str]]], rng: np.random.Generator) -> Iterator[Row]:
    """Yield what metrics tell of all reports of a kind together; nothing where they are not defined."""
    for metric in WHOLE:
        for kind in KINDS:
            measure, columns = of_all(metric, made, kind)
            sums = measure.of(columns)
            sums = np.column_stack([sums, np.ones(len(sums))])
            sums = sums[~np.isnan(sums).any(axis=1)]
            value = float(measure.finish(sums.sum(axis=0)))
            if np.isnan(value):
                continue
            drawn = measure.finish(rng.multinomial(len(sums), np.full(len(sums), 1 / len(sums)), RESAMPLES) @ sums)
            low, high = (float(one) for one in np.nanquantile(drawn, (0.025, 0.975)))
            yield Row(metric=metric, kind=kind, n=len(sums), mean=value, low=low, high=high, below={})


def how_often_below(
    wrong: NDArray[np.float64], right: NDArray[np.float64], rng: np.random.Generator
) -> tuple[float, float, float]:
    """Return the share of references whose wrong candidate scores less than its right one, with its interval."""
    paired = np.column_stack([wrong, right])
    paired = paired[~np.isnan(paired).any(axis=1)]
    is_below = (paired[:, 0] < paired[:, 1]) + 0.5 * (paired[:, 0] == paired[:, 1])
    return float(is_below.mean()), *interval(is_below, np.mean, rng)


def of_each(metric: str, made: Sequence[tuple[str, Mapping[str, str]]], kind: str) -> NDArray[np.float64]:
    """Return the metric of each report alone, (n_references,); NaN where there is no such candidate."""
    return graded(metric, made, kind) if metric in GRADERS else each(*of_all(metric, made, kind))


def graded(judge: str, made: Sequence[tuple[str, Mapping[str, str]]], kind: str) -> NDArray[np.float64]:
    """Return what a judge's own grade gives each candidate, (n_references,); NaN where there is none."""
    at = [i for i, (_, texts) in enumerate(made) if kind in texts]
    grades = GRADERS[judge]([made[i][1][kind] for i in at], [made[i][0] for i in at])
    found = np.full(len(made), np.nan)
    found[at] = [np.nan if one.value is None else one.value for one in grades]
    return found


def of_all(metric: str, made: Sequence[tuple[str, Mapping[str, str]]], kind: str) -> tuple[Measure, Columns]:
    """Return a measure and the columns that it is made from; NaN where there is no such candidate."""
    names, measure = measured(metric)
    pairs = Pairs(
        ids=tuple(str(i) for i in range(len(made))),
        candidates=tuple(texts.get(kind) for _, texts in made),
        references=tuple(reference for reference, _ in made),
    )
    return measure, {key: values for name in names for key, values in cached(name, pairs).items()}


_KEPT: dict[tuple[str, tuple[str | None, ...]], Mapping[str, NDArray[np.float64]]] = {}


def cached(name: str, pairs: Pairs) -> Mapping[str, NDArray[np.float64]]:
    key = (name, pairs.candidates)
    if key not in _KEPT:
        _KEPT[key] = scorer[name](**SETTINGS.get(name, {})).score(pairs).columns
    return _KEPT[key]


def interval(
    values: NDArray[np.float64], of: Callable[[NDArray[np.float64]], float], rng: np.random.Generator
) -> tuple[float, float]:
    """Return a 95 % percentile interval over reports."""
    drawn = [of(values[rng.integers(0, len(values), len(values))]) for _ in range(RESAMPLES)]
    low, high = np.quantile(drawn, (0.025, 0.975))
    return float(low), float(high)


if __name__ == "__main__":
    main()
