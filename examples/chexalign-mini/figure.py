"""Draw this example's figure from its estimates: what reports and answers are worth, clean and attacked, by regime.

python examples/chexalign-mini/figure.py
"""

from pathlib import Path

import matplotlib as mpl
import pandas as pd

mpl.use("agg")
from matplotlib import pyplot as plt

HERE = Path(__file__).parent
METRICS = {
    ("f1-5-macro", "report"): "F1-5 of reports",
    ("auroc", "macro"): "AUROC of answers",
    ("confidence", "macro"): "Confidence of answers",
    ("log-probability", "report"): "Log-probability of a token",
    ("words", "report"): "Words of a report",
}
CONDITIONS = {
    "clean": "clean",
    "noise(eps=4/255)": "noise 4/255",
    "eps=1/255, target=report, text=reference": "attack 1/255",
    "eps=2/255, target=report, text=reference": "attack 2/255",
    "eps=4/255, target=report, text=reference": "attack 4/255",
    "pneumothorax": "false sentence",
}
"""What stands in the name of a condition, and how it is called here."""
COLOURS = ("#4d4d4d", "#0072b2", "#d55e00", "#009e73")


def draw(estimates: pd.DataFrame, path: Path) -> None:
    """Write the figure of a table of estimates."""
    values = estimates[(estimates["estimand"] == "value") & estimates["subgroup"].isna()]
    regimes = list(dict.fromkeys(values["regime"]))
    figure, axes = plt.subplots(1, len(METRICS), figsize=(14, 3.4), layout="constrained")
    for axis, ((metric, finding), title) in zip(axes, METRICS.items(), strict=True):
        for number, regime in enumerate(regimes):
            of_regime = values[
                (values["metric"] == metric) & (values["finding"] == finding) & (values["regime"] == regime)
            ]
            rows = [of_regime[of_regime["condition"].str.contains(one, regex=False)].iloc[0] for one in CONDITIONS]
            middle = [row["estimate"] for row in rows]
            reach = [
                [row["estimate"] - row["ci_low"] for row in rows],
                [row["ci_high"] - row["estimate"] for row in rows],
            ]
            places = [place + 0.12 * (number - (len(regimes) - 1) / 2) for place in range(len(rows))]
            axis.errorbar(places, middle, yerr=reach, fmt="o", ms=4, color=COLOURS[number % len(COLOURS)], label=regime)
        axis.set_title(title, fontsize=10)
        axis.set_xticks(range(len(CONDITIONS)), list(CONDITIONS.values()), rotation=40, fontsize=8, ha="right")
        axis.tick_params(axis="y", labelsize=8)
        axis.spines[["top", "right"]].set_visible(False)
    figure.legend(*axes[0].get_legend_handles_labels(), loc="outside upper center", ncols=4, fontsize=8, frameon=False)
    figure.savefig(path, dpi=140)
    plt.close(figure)


if __name__ == "__main__":
    draw(pd.read_csv(HERE / "out" / "estimates.csv"), HERE / "figure.png")
