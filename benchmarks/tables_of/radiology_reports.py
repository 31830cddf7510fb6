"""Tables of the labeler, of scores of reports, and of the test of those of all reports together."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from tables_of.form import table


def labeler(result: Mapping[str, Any]) -> Iterable[str]:
    for half, (right, texts) in result["exact"].items():
        yield f"Of the {texts} texts of the {half} half, {right} ({right / texts:.0%}) have every label right:"
        mine = [one for one in result["counts"] if one["half"] == half]
        names = list(dict.fromkeys(one["observation"] for one in mine))
        rows = [
            [name, *(_precision_and_recall(mine, name, label) for label in ("positive", "negative", "uncertain"))]
            for name in [*names, None]
        ]
        heads = ["observation", *(f"{label}: precision, recall (n)" for label in ("positive", "negative", "uncertain"))]
        yield table(heads, [[name or "**all**", *cells] for name, *cells in rows])
    heads = [
        "observation", "both", "labeler alone", "of these indexed as normal", "indexer alone",
        "of these doubted by the labeler", "denied", "not mentioned", "neither", "kappa (95 % interval)",
    ]  # fmt: skip
    yield "Real reports, as numbers of them:"
    yield table(
        heads,
        [
            [
                one["observation"],
                *(
                    f"{one[key]:,}"
                    for key in (
                        "both",
                        "labeler_only",
                        "called_normal",
                        "indexer_only",
                        "doubted",
                        "denied",
                        "unsaid",
                        "neither",
                    )
                ),
                f"{one['kappa']:.2f} ({one['kappa_low']:.2f} to {one['kappa_high']:.2f})",
            ]
            for one in result["agreements"]
        ],
    )
    of_findings = [one for one in result["agreements"] if one["observation"] != "No Finding"]
    alone, doubted, denied, unsaid = (
        sum(one[key] for one in of_findings) for key in ("indexer_only", "doubted", "denied", "unsaid")
    )
    yield (
        f"Of the {alone:,} times that the indexer alone names an observation, No Finding apart, the labeler doubts it "
        f"{doubted:,} times ({doubted / alone:.0%}), denies it {denied:,} times ({denied / alone:.0%}), and finds no "
        f"mention {unsaid:,} times ({unsaid / alone:.0%})."
    )


def _precision_and_recall(counts: Sequence[Mapping[str, Any]], name: str | None, label: str) -> str:
    mine = [one for one in counts if name in {None, one["observation"]} and one["label"] == label]
    right, wrong, missed = (sum(one[key] for one in mine) for key in ("right", "wrong", "missed"))
    share = [f"{100 * right / n:.0f}" if n else "–" for n in (right + wrong, right + missed)]
    return f"{share[0]}, {share[1]} ({right + missed})"


def scores(result: Mapping[str, Any]) -> Iterable[str]:
    rows = {(one["metric"], one["kind"]): one for one in result["rows"]}
    metrics = list(dict.fromkeys(metric for metric, _ in rows))
    kinds = list(dict.fromkeys(kind for _, kind in rows))
    yield (
        f"{result['references']:,} references, drawn at random of {result['reports']:,} indexed reports. Mean score of "
        f"each report alone, with its 95 % interval; not every report has a side or a severity to change, and F1 is of "
        f"those of which either text affirms something. {' and '.join(result['judges'])} are the grades of judges of "
        f"preferences, and what begins with radeval is by RadEval's own code:"
    )
    first = metrics[0]
    yield table(
        ["score", *kinds],
        [
            ["*reports*", *(f"{rows[first, kind]['n']:,}" for kind in kinds)],
            *([metric, *(_scored(rows[metric, kind]) for kind in kinds)] for metric in metrics),
        ],
    )
    wrong = [kind for kind in kinds if rows[first, kind]["below"]]
    for right in rows[first, wrong[0]]["below"]:
        yield f"How often, in %, a wrong candidate scores less than *{right}*; 50 is chance, 100 sees every error:"
        cells = [
            [metric, *(_share(rows[metric, kind]["below"][right]) for kind in wrong)]
            for metric in metrics
            if metric != "words"
        ]
        yield table(["score", *wrong], cells)
    whole = {(one["metric"], one["kind"]): one for one in result["together"]}
    yield "Scores of all reports together, with 95 % intervals; – where neither side affirms the observation:"
    yield table(
        ["score", *kinds],
        [
            [metric, *(_scored(whole[metric, kind]) if (metric, kind) in whole else "–" for kind in kinds)]
            for metric in dict.fromkeys(metric for metric, _ in whole)
        ],
    )
    yield f"Not run, since their weights were not at hand: {', '.join(result['not_run'])}."


def swaps(result: Mapping[str, Any]) -> Iterable[str]:
    designs = result["designs"]
    error = 100 * (0.05 * 0.95 / result["studies"]) ** 0.5
    yield (
        f"{result['studies']:,} studies of each law, {result['draws']} random patterns each; the binomial standard "
        f"error of a share near 5 % is {error:.1f} points. Rejected at 5 %, in %:"
    )
    yield table(
        ("two regimes", "score", "tested", "patients", "words of the longest", "sign flips", "swaps"),
        (
            (
                one["says"], f"`{one['metric']}`",
                "difference" if one["reached"][0][0] == one["reached"][0][1] else "difference-in-differences",
                str(one["n_patients"]), f"{100 * one['part']:.0f} %" if one["part"] else "as others'",
                f"{100 * one['flips']:.1f}", f"{100 * one['swaps']:.1f}",
            )
            for one in designs
        ),
    )  # fmt: skip


def _scored(one: Mapping[str, Any]) -> str:
    digits = 1 if one["metric"] == "words" else 2
    mean, low, high = (f"{one[key]:.{digits}f}" for key in ("mean", "low", "high"))
    return f"{mean} ({low} to {high})"


def _share(of: Sequence[float]) -> str:
    share, low, high = (f"{100 * one:.0f}" for one in of)
    return f"{share} ({low} to {high})"
