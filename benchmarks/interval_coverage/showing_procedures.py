"""The page that the counts of `procedures` make."""

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from whole_studies import KEPT_POSITIVE, OF_SITES, SITE
from whole_truths import FITS

Row = tuple[str, Callable[[str], bool]]
"""What a row says, and which counts it adds up."""

PLACES = ("macro", "micro", "worst", "subgroup", "gap", "small subgroup", "small gap")
VALUES, PAIRS, RATIOS, CURVES = (
    ("value",),
    ("perturbed-clean", "regime-reference", "difference-in-differences"),
    ("relative", "relative-difference"),
    ("trend-difference", "area-difference"),
)
SMALL = f"{100 * min(OF_SITES.values()):.0f} %"
RECALIBRATED = (("values", "value"), ("differences from clean", "perturbed-clean"), ("less raw", "recalibrated-raw"))
NAMED = {
    "subgroup": "single subgroups",
    "gap": "gaps between two subgroups",
    "small subgroup": f"subgroups of {SMALL} of patients",
    "small gap": f"gaps between one of {SMALL} and the largest",
    "macro": "macro averages",
    "micro": "micro averages",
    "worst": "worst findings",
}


def procedures_page(content: Mapping[str, Any]) -> str:
    """Return a page of Markdown: how often whole procedures hold, by design."""
    rows = content["rows"]
    parts = [
        "# Whole procedures by simulation",
        "Of simultaneous bands, families of tests, micro averages and worst findings, subgroups, ratios and curves, "
        "half-margins, recalibrated predictions, effect sizes and training runs, which the counts above leave out. "
        "Each study is analysed whole, "
        f"with {content['resamples']} resamples and sign patterns, and judged by its estimates of `auroc`, "
        "`accuracy` and `brier`; `benchmarks/interval_coverage/whole_studies.py` states the law, "
        "`benchmarks/results/procedures.json` holds the counts. All regimes follow one law, so whatever compares two "
        "of them is 0 in truth. In % of what was tried, the metrics, regimes and conditions of a study together; these "
        "are alike within a study, so a share is known hardly better than from as many trials as there are studies "
        f"({_studies(rows)} of each design: where 95 % is right, a standard error of up to {_error(rows):.1f} %).",
        _table(("right would be 95 %", *map(_designed, rows)), [_line(one, rows) for one in _covered()]),
        _table(
            ("right would be 5 % (families: at most)", *map(_designed, rows)), [_line(one, rows) for one in _rejected()]
        ),
        "A study of several training runs draws a separation anew for each run, with a standard deviation of "
        f"{_spreads(rows)}, or gives all runs the same; the truth is the mean over all runs that there could be. Where "
        "runs are alike, intervals cover more often than they should, since they allow for how little a few runs tell "
        "of their spread. Tests speak of the runs at hand: where these are alike, they reject as often as those of "
        "single runs; where runs differ, the runs at hand do differ between regimes, and a test that finds so counts "
        "here as one that rejects what is 0 over all runs. A half-margin beyond the greatest strength is not "
        "estimable and not counted. Maps that recalibrate are fitted on the study's own clean images, and the truth is "
        "what maps do that are fitted to four fifths of as many patients, as each fold's is, on average: a study of "
        "few patients pays for fitting, and its interval of what recalibrating gains is of that, not of what the best "
        "map would gain; a row of its own says how often it holds the latter. "
        "`cochran-q` and the exact McNemar tests of pairs of regimes beside it take images for independent: with "
        "several images a patient they reject far too often. Of the first image of each patient, finding by finding, "
        "images are independent, and the exact tests reject less often than 5 %, as exact tests of counts do. Where "
        "the macro AUROC has a finding of few positive patients, the second of the two keeps the positive labels of "
        f"{KEPT_POSITIVE} patients on average, and studies count of which some resamples, but not too many, leave it "
        f"undefined ({_filled_in(rows)} estimates of values). Blank cells were not judged.",
    ]
    return "\n\n".join(parts) + "\n"


def _covered() -> list[Row]:
    of_places = [
        (f"intervals of {said}, {NAMED[place]}", _of("covered", estimands, (place,)))
        for place in PLACES
        for said, estimands in (("values", VALUES), ("differences", PAIRS))
    ]
    effects = re.compile(r"covered: (accuracy|confidence)-")
    return [
        *of_places,
        ("intervals of ratios to clean, and their differences", _of("covered", RATIOS, PLACES)),
        ("intervals of differences of trends and areas", _of("covered", CURVES, PLACES)),
        ("intervals of half-margins", _of("covered", ("half-margin",), PLACES)),
        ("intervals of differences of half-margins", _of("covered", ("half-margin-difference",), PLACES)),
        *(
            (
                f"intervals of Brier scores recalibrated by `{method}`, {said}",
                _beginning(f"recalibrated by {method}, covered: {estimand}"),
            )
            for method in FITS
            for said, estimand in RECALIBRATED
        ),
        ("the same by `platt`, less raw, of a map known without error", _beginning("recalibrated by platt, known")),
        *(
            (
                f"intervals of {said}s, macro AUROC with a finding of few positive patients",
                _beginning(f"filled, covered: {said}"),
            )
            for said in ("value", "difference")
        ),
        ("intervals of effect sizes", lambda key: bool(effects.match(key))),
        ("whole curve held by its band", _beginning("whole curve held by its band:")),
        ("whole curve held by its single intervals", _beginning("whole curve held by its intervals:")),
    ]


def _rejected() -> list[Row]:
    return [
        *(
            (f"any test of the primary family, {method}", _beginning(f"any rejected: primary family, {method}"))
            for method in ("holm", "max-t")
        ),
        *(
            (f"sign flips of differences, {NAMED[place]}", _of("rejected: sign flips", PAIRS, (place,)))
            for place in ("macro", "micro", "worst")
        ),
        (
            "sign flips of differences, macro AUROC with a finding of few positive patients",
            _beginning("filled, rejected"),
        ),
        ("sign flips of ratios, trends and areas", _of("rejected: sign flips", RATIOS + CURVES, PLACES)),
        *(
            (f"interaction with a subgroup{of}, `{name}`", _interaction(name, columns))
            for of, columns in (("", ("sex", "view")), (f", two of three of {SMALL} of patients", (SITE,)))
            for name in ("auroc", "accuracy", "brier")
        ),
        *(
            (f"`{test}` between regimes", _beginning(f"rejected: {test}"))
            for test in ("mcnemar-clustered", "mcnemar-durkalski")
        ),
        ("`cochran-q` of all regimes", _beginning("rejected: cochran-q, ")),
        ("`mcnemar` of the pairs beside it", _beginning("rejected: mcnemar, ")),
        ("`cochran-q`, the first image of each patient", _beginning("rejected: cochran-q of one image")),
        ("`mcnemar` beside it, the first image of each patient", _beginning("rejected: mcnemar of one image")),
    ]


def _filled_in(rows: Sequence[Mapping[str, Any]]) -> str:
    tried = [row["counts"].get("filled, covered: value", {"tried": 0})["tried"] for row in rows]
    return ", ".join(f"{n:,}" for n in tried if n)


def _of(kind: str, estimands: Sequence[str], places: Sequence[str]) -> Callable[[str], bool]:
    def holds(key: str) -> bool:
        head, _, rest = key.partition(", " if kind.startswith("rejected") else ": ")
        name, *parts = rest.split(", ")
        is_metric = name in {"auroc", "accuracy", "brier"}
        return head == kind and is_metric and parts[0] in estimands and parts[1] in places

    return holds


def _interaction(name: str, columns: Sequence[str]) -> Callable[[str], bool]:
    return lambda key: key.startswith(f"rejected: interaction, {name},") and key.rpartition(", ")[2] in columns


def _beginning(start: str) -> Callable[[str], bool]:
    return lambda key: key.startswith(start)


def _line(row: Row, rows: Sequence[Mapping[str, Any]]) -> tuple[str, ...]:
    said, fits = row
    cells = []
    for one in rows:
        counts = [count for key, count in one["counts"].items() if fits(key)]
        tried = sum(count["tried"] for count in counts)
        cells.append(f"{100 * sum(count['hits'] for count in counts) / tried:.1f}" if tried else "")
    return (said, *cells)


def _designed(row: Mapping[str, Any]) -> str:
    design = row["design"]
    kind = " that differ" if design["spread"] > 0 else " alike"
    runs = f", {design['replicates']} training runs{kind}" if design["replicates"] > 1 else ""
    return f"{design['n_patients']:,} patients, prevalence {100 * design['prevalence']:g} %{runs}"


def _spreads(rows: Sequence[Mapping[str, Any]]) -> str:
    return " or ".join(f"{one:g}" for one in sorted({row["design"]["spread"] for row in rows} - {0}))


def _studies(rows: Sequence[Mapping[str, Any]]) -> str:
    numbers = sorted({row["studies"] for row in rows})
    return " to ".join(str(n) for n in dict.fromkeys((numbers[0], numbers[-1])))


def _error(rows: Sequence[Mapping[str, Any]]) -> float:
    return float(100 * (0.95 * 0.05 / min(row["studies"] for row in rows)) ** 0.5)


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    return "\n".join(f"| {' | '.join(cells)} |" for cells in (head, ["---"] * len(head), *rows))
