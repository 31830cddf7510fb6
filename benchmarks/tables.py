"""Write the tables of four pages of docs/ from benchmarks/results/*.json, so that no number is typed by hand.

python benchmarks/tables.py            write the pages
python benchmarks/tables.py --check    end with an error where a page is not as the results are
"""

import argparse
import json
import math
import re
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from statistics import median, stdev
from typing import Any

FOLDER = Path(__file__).parent
RESULTS = FOLDER / "results"
PAGES = tuple(
    FOLDER.parent / "docs" / name
    for name in ("performance.md", "radiology-reports.md", "report-scores.md", "scaling.md")
)
MARKED = re.compile(r"<!-- (?P<name>[\w-]+): from benchmarks/results -->\n.*?<!-- end -->", re.DOTALL)
AIM, AIMED_AT = 2000, ("auroc", "average-precision", "ece")
"""How many times as fast as their loops these metrics should be."""
FASTER, SLOWER = 3, 1.05
"""How many times as fast as PGD runs the search for the least ε should be; how long a run may take beside a bare loop,
which takes 1."""
OURS = "cxrobust"
ABSENT = "*Not measured yet.*"
WHOLE_MIMIC = {"regimes": 10, "conditions": 50, "images": 377_110}
"""The grid that docs/scaling.md reckons with."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true", help="write nothing; exit 1 where the page would change")
    only_check = parser.parse_args().check
    for page in PAGES:
        now = page.read_text(encoding="utf-8")
        wanted = fill(now, read_results(RESULTS))
        if only_check and now != wanted:
            sys.exit(f"{page}: not as benchmarks/results are: run python benchmarks/tables.py")
        if not only_check:
            page.write_text(wanted, encoding="utf-8")


def read_results(folder: Path) -> dict[str, Any]:
    return {path.stem: json.loads(path.read_text(encoding="utf-8")) for path in sorted(folder.glob("*.json"))}


def fill(page: str, results: Mapping[str, Any]) -> str:
    """Return the page with what stands between each pair of markers written anew.

    Raises
    ------
    ValueError
        When a marker names no result that there is a table of.
    """

    def written(match: re.Match[str]) -> str:
        name = match["name"]
        if name not in TABLES:
            raise ValueError(f"marker {name!r} names no table: known are {', '.join(TABLES)}")
        of = OF_OTHERS.get(name, name)
        text = "\n\n".join([*TABLES[name](results[of]), made_with(results[of])]) if of in results else ABSENT
        return f"<!-- {name}: from benchmarks/results -->\n\n{text}\n\n<!-- end -->"

    return MARKED.sub(written, page)


def resampling(result: Mapping[str, Any]) -> Iterable[str]:
    timings, counts = result["timings"], seconds(result["seconds_counts"])
    first = timings[0]
    yield (
        f"{first['n_cells']} cells of {first['n_images']:,} images of {first['n_patients']:,} patients, "
        f"{first['n_resamples']:,} resamples; the counts, which all metrics share, took {counts}."
    )
    yield table(
        ("metric", "here", "on one core", "loop over", "seconds of the loop", "ratio", "on one core", "aim",
         "largest difference"),
        (
            (
                f"`{one['metric']}`", seconds(one["seconds"]), seconds(one.get("seconds_one_core")), one["peer"],
                f"{seconds(one['peer_seconds'])}, scaled from {one['peer_calls_timed']} calls", times(one["ratio"]),
                times(one.get("ratio_one_core")), aim(one["metric"], one["ratio"]),
                f"{one['largest_difference']:.0e}",
            )
            for one in timings
        ),
    )  # fmt: skip


def aim(metric: str, ratio: float) -> str:
    return f"{times(AIM)}, {'met' if ratio >= AIM else 'missed'}" if metric in AIMED_AT else ""


def peers(result: Mapping[str, Any]) -> Iterable[str]:
    n, rows = result["n_resamples"], result["rows"]

    def took(measured: Mapping[str, Any]) -> str:
        fewer = measured["n_resamples"]
        return seconds(measured["seconds"]) + (f" (from {fewer:,})" if fewer is not None and fewer < n else "")

    n_findings, finding = len(rows[0]["all"]["findings"]), result["finding"]
    names = [f"{row['name']} ({row['version']})" for row in rows]
    yield (
        f"Model `{result['model']}`, {result['n_images']:,} images of {result['n_patients']:,} patients, "
        f"{n:,} resamples. Widths are relative to ours; over {n_findings} findings: median, least and greatest."
    )
    yield table(
        ("", "unit", "pairs models", "clusters", f"{finding}: interval", "width", f"width, {n_findings} findings"),
        (
            (
                name, row["unit"], row["pairs"], row["clusters"],
                f"{row['one']['low'][0]:.4f} to {row['one']['high'][0]:.4f}",
                f"{row['one']['relative_width'][0]:.2f}", spread(row["all"]["relative_width"]),
            )
            for name, row in zip(names, rows, strict=True)
        ),
    )  # fmt: skip
    yield (
        "Where fewer resamples were drawn, seconds are scaled, and the number drawn stands in brackets. Ratios are of "
        "seconds for all findings."
    )
    yield table(
        ("", finding, f"{n_findings} findings", "cxrobust is faster by", "on one core by"),
        (
            (name, took(row["one"]), took(row["all"]), times(row["ratio"]), times(row["ratio_one_core"]))
            for name, row in zip(names, rows, strict=True)
        ),
    )


def attacks(result: Mapping[str, Any]) -> Iterable[str]:
    versions, rows = result["made_with"]["versions"], result["rows"]
    seeds = [len(one["rights"]) for one in rows if "rights" in one]
    yield (
        f"{result['n_images']} images of {result['size']} pixels; attacks of ε = {result['eps']:g}/255 on "
        f"{result['finding']}, of which {result['clean']['one']:.1%} of clean images are right, or on each of "
        f"{len(result['findings'])} findings ({result['clean']['all']:.1%}). *Over-confident*: the same model, logits "
        f"times {result['confident']:g}, which changes no decision."
        + (
            f" Of what draws at random the mean of {max(seeds)} seeds stands there ± its standard error."
            if seeds
            else ""
        )
    )
    yield table(
        ("attack", "on", "", "right under attack", "length of the change", "seconds", "cxrobust is faster by"),
        (
            (
                one["attack"], one["on"], f"{one['package']} ({versions[one['package']]})",
                share_right(one), length(one) if "length" in one else "", seconds(one["seconds"]),
                times(one["ratio"]),
            )
            for one in rows
        ),
    )  # fmt: skip
    yield strength(rows)
    yield corruptions(result["corruptions"], versions)
    yield from least_eps(result["search"], finding=result["finding"])


def corruptions(rows: Sequence[Mapping[str, Any]], versions: Mapping[str, str]) -> str:
    """Return the table of corruptions."""
    return table(
        (
            "corruption",
            "",
            "right under it",
            "pixels moved by (RMS, 1/255)",
            "from ours (RMS, 1/255)",
            "seconds",
            "cxrobust is faster by",
        ),
        (
            (
                one["corruption"],
                f"{one['package']} ({versions[one['package']]})",
                f"{one['right']:.1%}",
                f"{one['moved']:.2f}",
                "" if one["apart"] is None else f"{one['apart']:.2f}",
                seconds(one["seconds"]),
                times(one["ratio"]),
            )
            for one in rows
        ),
    )


def least_eps(search: Mapping[str, Any], *, finding: str) -> Iterable[str]:
    """Return a sentence and a table on the search for the least ε."""
    yield (
        f"The least ε on {finding}, one search, against a PGD run of bare torchattacks at each ε: "
        f"{seconds(search['seconds'])} ({seconds(search['seconds_until_wrong'])} until wrong) against "
        f"{seconds(search['seconds_pgd'])}, faster by {times(search['ratio'])} "
        f"({times(search['seconds_pgd'] / search['seconds_until_wrong'])} until wrong). The aim is {FASTER} ×: "
        f"{'met' if search['ratio'] >= FASTER else 'missed'}."
    )
    yield table(
        ("right at ε × 255 =", *(f"{eps:g}" for eps in search["eps"])),
        (
            ("`least-eps`", *(f"{right:.1%}" for right in search["search"])),
            ("the same until wrong", *(f"{right:.1%}" for right in search["until_wrong"])),
            ("PGD at each ε", *(f"{right:.1%}" for right in search["pgd"])),
        ),
    )


def share_right(row: Mapping[str, Any]) -> str:
    """Say which share is right; of several seeds the mean ± its standard error."""
    mean, error = share_and_error(row)
    return f"{mean:.1%}" + (f" ± {100 * error:.1f}" if "rights" in row else "")


def share_and_error(row: Mapping[str, Any]) -> tuple[float, float]:
    """Return the share that is right, and the standard error that the seeds leave it, 0 where nothing is drawn."""
    rights = row.get("rights", ())
    return row["right"], stdev(rights) / math.sqrt(len(rights)) if rights else 0.0


def strength(rows: Sequence[Mapping[str, Any]]) -> str:
    """Say where a peer leaves fewer right than we do, by more than the seeds explain."""
    ours = {(one["attack"], one["on"]): share_and_error(one) for one in rows if one["package"] == OURS}
    compared, stronger = 0, []
    for one in rows:
        if one["package"] == OURS:
            continue
        (mean, error), (own, own_error) = share_and_error(one), ours[one["attack"], one["on"]]
        compared += 1
        if own - mean > 1e-9 + 2 * math.hypot(error, own_error):
            stronger.append(f"{one['package']}'s {one['attack']} on {one['on']}")
    said = f"missed against {'; '.join(stronger)}" if stronger else "met"
    return (
        f"The aim is that no other leaves a lower share right, by more than two standard errors of what draws at "
        f"random. Of {compared} comparisons: {said}."
    )


def length(row: Mapping[str, Any]) -> str:
    return "most not flipped" if row["length"] is None else f"{row['length']:.3f}"


def spread(values: Sequence[float]) -> str:
    return f"{median(values):.2f} ({min(values):.2f} to {max(values):.2f})"


def scaling(result: Mapping[str, Any]) -> Iterable[str]:
    yield "![Seconds of all resamples over images, resamples and cells, on logarithmic scales](_static/scaling.svg)"
    yield "Seconds grow with a size to the power of:"
    yield table(
        ("metric", "size", "over three decades", "over the last"),
        (
            (f"`{one['metric']}`", one["axis"], f"{one['whole']:.2f}", f"{one['last_decade']:.2f}")
            for one in result["exponents"]
        ),
    )


def made_study(result: Mapping[str, Any]) -> Iterable[str]:
    plan = result["plan"]
    several = [
        (plan["regimes"], "regime"), (len(plan["conditions"]), "condition"), (plan["findings"], "finding"),
        (plan["images"], "image"), (plan["patients"], "patient"), (plan["resamples"], "resample"),
        (len(plan["metrics"]), "metric"), (result["n_estimates"], "estimate"),
    ]  # fmt: skip
    yield ", ".join(f"{n:,} {what}{'s' if n != 1 else ''}" for n, what in several) + "."
    yield table(
        ("stage", "seconds"),
        [*((stage["name"], seconds(stage["seconds"])) for stage in result["stages"]),
         ("**all**", f"**{seconds(result['seconds'])}**")],
    )  # fmt: skip
    yield (
        f"Peak memory {result['peak_gib']:.1f} GiB, of which {result['predictions_gib']:.1f} GiB were there before the "
        f"analysis: Python and the predictions."
    )


DEVICES = {"cuda": "the GPU", "cpu": "the cores"}


def gpu(result: Mapping[str, Any]) -> Iterable[str]:
    timings, runs = result["timings"], result["runs"]
    plan = runs["cuda"]["plan"]
    yield (
        f"All {plan['resamples']:,} resamples of {timings[0]['n_cells']} cells of {plan['images']:,} images, "
        f"{len(plan['conditions']) * plan['regimes']} of them all {plan['findings']} findings pooled, on one "
        f"{result['gpu']} and on all {result['made_with']['cores']} cores beside it:"
    )
    yield table(
        ("metric", "GPU", "all cores", "the GPU is faster by", "largest difference"),
        [
            *(
                (
                    f"`{one['metric']}`",
                    seconds(one["cuda"]),
                    seconds(one["cpu"]),
                    times(one["cpu"] / one["cuda"]),
                    f"{one['largest_difference']:.1g}",
                )
                for one in timings
            ),
        ],
    )
    took = " and ".join(f"{seconds(runs[one]['seconds'])} on {where}" for one, where in DEVICES.items() if one in runs)
    yield (
        f"The whole analysis of {len(plan['metrics'])} metrics, {runs['cuda']['n_estimates']:,} estimates from the "
        f"predictions to the adjusted p-values, took {took}."
        + ("" if "cpu" in runs else " The same on the cores was not finished in that run.")
    )


def report(result: Mapping[str, Any]) -> Iterable[str]:
    studies = result["studies"]
    yield table(
        (
            *("study", "seconds", "aim", "peak memory", "CPU seconds", "CPU seconds of the bare PDF", "ratio"),
            *("seconds again, nothing changed", "CPU seconds again"),
        ),
        (
            (
                (f"`{one['name']}`: " if "/" in one["name"] else "")
                + f"{one['regimes']} regimes × {one['conditions']} conditions × {one['findings']} findings",
                seconds(one["seconds"]),
                f"{one['aim_seconds']} s, {'met' if one['seconds'] < one['aim_seconds'] else 'missed'}",
                f"{one['peak_gib']:.1f} GiB",
                seconds(one["cpu_seconds"]),
                seconds(one["bare_cpu_seconds"]),
                times(one["ratio"]),
                *(
                    seconds(one[name]) if name in one else "not measured"
                    for name in ("warm_seconds", "warm_cpu_seconds")
                ),
            )
            for one in studies
        ),
    )
    busy = [one for one in studies if one["load"] > 2 * one["cores_used"]]
    if busy:
        loads = " and ".join(f"{one['load']:.0f}" for one in busy)
        yield (
            f"Other programs ran on the same {busy[0]['cores_used']} cores (load average {loads}), so the seconds are "
            "more than an idle machine needs; CPU seconds, of all processes together, are little touched by that."
        )


def made_with(result: Mapping[str, Any]) -> str:
    made = result["made_with"]
    versions = ", ".join(f"{name} {number}" for name, number in made["versions"].items())
    return f"Measured on {made['processor']}, {made['system']}, with Python {made['python']}, {versions}."


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = (head, ["---"] * len(head), *rows)
    return "\n".join("| " + " | ".join(cell.replace("|", r"\|") for cell in line) + " |" for line in lines)


def seconds(value: float | None) -> str:
    if value is None:
        return "not measured"
    if value < 0.1:
        return f"{value * 1e3:.2g} ms"
    return f"{value:,.0f} s" if value >= 100 else f"{value:.3g} s"


def times(value: float | None) -> str:
    return "" if value is None else f"{value:,.0f} ×" if value >= 10 else f"{value:.1f} ×"


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


def memory(result: Mapping[str, Any]) -> Iterable[str]:
    few, many = result["studies"]
    yield (
        f"Clean images and FGSM of a small network, from PNG files of side {result['side']}, in batches of "
        f"{result['batch']} and shards of {result['shard']}, each study in a process of its own."
    )
    yield table(
        ("images", "decoded images", "peak of anonymous memory"),
        [
            (f"{one['images']:,}", *(f"{one[key] / 1e6:.1f} MB" for key in ("decoded", "anonymous")))
            for one in (few, many)
        ],
    )
    yield (
        f"Each further image adds {result['bytes_of_an_image'] / 1e3:.1f} kB to the peak, and "
        f"{2 * result['side'] ** 2 / 1e3:.1f} kB to the file of decoded images."
    )


def inference(result: Mapping[str, Any]) -> Iterable[str]:
    yield (
        f"{result['network']} on {result['device']}, {result['threads']} thread{'s' if result['threads'] > 1 else ''}: "
        f"{result['images']} images of side {result['size']}, batches of {result['batch']}; each row is one turn of "
        f"both, of FGSM or of PGD of {result['steps']} steps."
    )
    yield table(
        ("attack", "bare loop", "engine", "ratio", "aim", "CPU seconds of the loop", "of the engine", "ratio"),
        [
            (
                of["attack"].upper(),
                seconds(one["bare"]),
                seconds(one["engine"]),
                f"{one['engine'] / one['bare']:.3f}",
                f"{SLOWER:.2f}, {'met' if one['engine'] <= SLOWER * one['bare'] else 'missed'}",
                seconds(one["bare_cpu"]),
                seconds(one["engine_cpu"]),
                f"{one['engine_cpu'] / one['bare_cpu']:.3f}",
            )
            for of in result["attacks"]
            for one in of["turns"]
        ],
    )
    if not result["cold"]:
        yield "A cold run was not measured yet."
        return
    turns = " and ".join(f"{seconds(one['meanwhile'])} against {seconds(one['before'])}" for one in result["cold"])
    yield (
        f"A cold run under FGSM, from {result['images']} PNG files of side {result['side']}, of a network "
        f"that only waits, as a CPU does for a GPU: "
        f"{turns} where all images are decoded first; the median ratio is {result['cold_ratio']:.2f}."
    )


def whole_mimic(result: Mapping[str, Any]) -> Iterable[str]:
    """What a grid on the whole of MIMIC-CXR would cost at the rates of the engine's units.

    A turn predicts each image clean and attacked: FGSM's is two passes and a gradient, PGD's two passes and `steps`.
    """
    n, steps = result["images"], result["steps"]
    fgsm, pgd = (
        {key: median(turn[key] for turn in of["turns"]) / n for key in ("engine", "engine_cpu")}
        for of in result["attacks"]
    )
    gradient = {key: (pgd[key] - fgsm[key]) / (steps - 1) for key in fgsm}
    forward = {key: (fgsm[key] - gradient[key]) / 2 for key in fgsm}
    regimes, conditions, images = WHOLE_MIMIC.values()

    def hours(key: str, n_gradients: int) -> float:
        attacked = forward[key] + n_gradients * gradient[key]
        return regimes * images * (forward[key] + (conditions - 1) * attacked) / 3600

    yield (
        f"{result['network']} on {result['device']}, {result['threads']} thread{'s' if result['threads'] > 1 else ''}: "
        f"{n} images of side {result['size']}, batches of {result['batch']}. Clean and under FGSM an image takes "
        f"{fgsm['engine_cpu']:.3f} core seconds, clean and under PGD of {steps} steps {pgd['engine_cpu']:.3f}. So a "
        f"gradient takes ({pgd['engine_cpu']:.3f} − {fgsm['engine_cpu']:.3f}) / {steps - 1} = "
        f"{gradient['engine_cpu']:.3f}, and a pass forward {forward['engine_cpu']:.3f}. For {regimes} regimes of that "
        f"network, {conditions} conditions (one clean, all others of one kind) and {images:,} images that makes:"
    )
    yield table(
        ("conditions", "images a second", "core hours", f"days on these {result['made_with']['cores']} cores"),
        (
            (
                name,
                f"{1 / (forward['engine'] + k * gradient['engine']):.1f}",
                f"{hours('engine_cpu', k):,.0f}",
                f"{hours('engine', k) / 24:,.0f}",
            )
            for name, k in (
                ("noise or corruptions, making them not counted", 0),
                ("FGSM", 1),
                (f"PGD of {steps} steps", steps),
                ("PGD of 20 steps, by the same sum", 20),
            )
        ),
    )
    yield "Larger networks and images cost more in proportion to their arithmetic; decoding is not in these numbers."


def kills(result: Mapping[str, Any]) -> Iterable[str]:
    n, same = len(result["kills"]), result["same"]
    yield (
        f"{result['units']:,} units by {result['workers']} processes; the one that hands them out got SIGKILL {n} "
        f"times, at moments drawn at random (seed {result['seed']}), and the same command went on. All "
        f"{result['units']:,} files, the table of images and the index are {'those' if same else '**not** those'} of "
        f"an undisturbed run, byte for byte; {result['leftovers']} half-written files are left."
    )
    yield table(
        ("kill", "seconds after the start", "units done", "workers", "gone within"),
        (
            (
                str(number), f"{one['seconds']:.1f}", f"{one['units']:,}", str(one["workers"]),
                seconds(one["gone"]) if one["workers"] else "",
            )
            for number, one in enumerate(result["kills"], start=1)
        ),
    )  # fmt: skip


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


TABLES: dict[str, Callable[[Mapping[str, Any]], Iterable[str]]] = {
    "resampling": resampling,
    "peers": peers,
    "attacks": attacks,
    "scaling": scaling,
    "million": made_study,
    "study-default": made_study,
    "study-all": made_study,
    "gpu": gpu,
    "inference": inference,
    "memory": memory,
    "report": report,
    "labeler": labeler,
    "scores": scores,
    "swaps": swaps,
    "whole-mimic": whole_mimic,
    "kills": kills,
}
OF_OTHERS = {"whole-mimic": "inference"}
"""Tables that are made from another one's results."""

if __name__ == "__main__":
    main()
