"""Tables of the analysis: resampling, peers, growth, whole studies, a GPU."""

from collections.abc import Iterable, Mapping
from typing import Any

from tables_of.form import seconds, spread, table, times

AIM, AIMED_AT = 2000, ("auroc", "average-precision", "ece")
"""How many times as fast as their loops these metrics should be."""
STUDY_AIM_SECONDS, STUDY_AIM_GIB = 60, {"study": 4, "million": 8}
"""What whole made studies should take at most, on two cores."""
DEVICES = {"cuda": "the GPU", "cpu": "the cores"}


def resampling(result: Mapping[str, Any]) -> Iterable[str]:
    timings, counts = result["timings"], seconds(result["seconds_counts"])
    first = timings[0]
    yield (
        f"{first['n_cells']} cells of {first['n_images']:,} images of {first['n_patients']:,} patients, "
        f"{first['n_resamples']:,} resamples; the counts, which all metrics share, took {counts}."
    )
    yield table(
        ("metric", "here", "on one core", "one cell alone", "loop over", "seconds of the loop", "ratio", "on one core",
         "of one cell", "aim", "largest difference"),
        (
            (
                f"`{one['metric']}`", seconds(one["seconds"]), seconds(one.get("seconds_one_core")),
                f"{1e3 * one['seconds_one_cell']:.1f} ms", one["peer"],
                f"{seconds(one['peer_seconds'])}, scaled from {one['peer_calls_timed']} calls", times(one["ratio"]),
                times(one.get("ratio_one_core")),
                times(one["peer_seconds_per_call"] * one["n_resamples"] / one["seconds_one_cell"]),
                aim(one["metric"], one["ratio"]), f"{one['largest_difference']:.0e}",
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


def made_study(result: Mapping[str, Any], *, most_gib: float) -> Iterable[str]:
    plan = result["plan"]
    several = [
        (plan["regimes"], "regime"), (len(plan["conditions"]), "condition"), (plan["findings"], "finding"),
        (plan["images"], "image"), (plan["patients"], "patient"), (plan["resamples"], "resample"),
        (len(plan["metrics"]), "metric"), (result["n_estimates"], "estimate"),
    ]  # fmt: skip
    views = [f"subgroups of {one}" for one in plan.get("subgroups", ())]
    views += [f"probabilities recalibrated by {one}" for one in plan.get("recalibrate", ())]
    yield ", ".join([*(f"{n:,} {what}{'s' if n != 1 else ''}" for n, what in several), *views]) + "."
    yield table(
        ("stage", "seconds"),
        [*((stage["name"], seconds(stage["seconds"])) for stage in result["stages"]),
         ("**all**", f"**{seconds(result['seconds'])}**")],
    )  # fmt: skip
    yield (
        f"Peak memory {result['peak_gib']:.1f} GiB, of which {result['predictions_gib']:.1f} GiB were there before the "
        f"analysis: Python and the predictions."
    )
    yield table(
        ("", "measured", "part of the aim", "aim"),
        (
            (what, shown, f"{value / most:.2f}", f"{most} {unit}, {'met' if value < most else 'missed'}")
            for what, shown, value, most, unit in (
                ("time", seconds(result["seconds"]), result["seconds"], STUDY_AIM_SECONDS, "s"),
                ("peak memory", f"{result['peak_gib']:.1f} GiB", result["peak_gib"], most_gib, "GiB"),
            )
        ),
    )


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
