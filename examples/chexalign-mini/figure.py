"""Draw this example's figure from its estimates: what reports and answers are worth, clean and attacked, by regime.

python examples/chexalign-mini/figure.py
"""

from pathlib import Path

import matplotlib as mpl
import pandas as pd

mpl.use("agg")
from matplotlib import pyplot as plt
from matplotlib.axes import Axes

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
MARKS = (("#4d4d4d", "o"), ("#0072b2", "s"), ("#d55e00", "^"), ("#009e73", "D"))
GUESSING = {"auroc": 0.5}


def draw(estimates: pd.DataFrame, path: Path) -> None:
    """Write the figure of a table of estimates."""
    values = estimates[(estimates["estimand"] == "value") & estimates["subgroup"].isna()]
    regimes = list(dict.fromkeys(values["regime"]))
    with mpl.rc_context(
        {"font.size": 8, "axes.titlesize": 8.5, "axes.titleweight": "bold", "axes.titlelocation": "left"}
    ):
        figure, axes = plt.subplots(2, 3, figsize=(7.2, 5), layout="constrained")
        for axis, ((metric, finding), title) in zip(axes.flat, METRICS.items(), strict=False):
            of_metric = values[(values["metric"] == metric) & (values["finding"] == finding)]
            for number, regime in enumerate(regimes):
                _points(axis, of_metric[of_metric["regime"] == regime], regime, number, len(regimes))
            if metric in GUESSING:
                axis.axhline(GUESSING[metric], lw=0.7, ls=":", color="#4d4d4d")
                axis.annotate("guessing", (0, GUESSING[metric]), (0, 2), textcoords="offset points", fontsize=7)
            axis.set_title(title)
            axis.set_xticks(range(len(CONDITIONS)), list(CONDITIONS.values()), rotation=40, ha="right")
            axis.spines[["top", "right"]].set_visible(False)
        axes.flat[-1].axis("off")
        axes.flat[-1].legend(*axes.flat[0].get_legend_handles_labels(), loc="center", frameon=False, fontsize=8.5)
        figure.savefig(path, dpi=200)
        plt.close(figure)


def _points(axis: Axes, of_regime: pd.DataFrame, regime: str, number: int, n_regimes: int) -> None:
    """Draw a regime's estimates with their intervals, beside those of the others."""
    rows = [of_regime[of_regime["condition"].str.contains(one, regex=False)].iloc[0] for one in CONDITIONS]
    places = [place + 0.16 * (number - (n_regimes - 1) / 2) for place in range(len(rows))]
    low = [row["estimate"] - row["ci_low"] for row in rows]
    high = [row["ci_high"] - row["estimate"] for row in rows]
    colour, mark = MARKS[number % len(MARKS)]
    middle = [row["estimate"] for row in rows]
    axis.errorbar(places, middle, yerr=[low, high], fmt=mark, ms=3.2, elinewidth=0.9, color=colour, label=regime)


if __name__ == "__main__":
    draw(pd.read_csv(HERE / "out" / "estimates.csv"), HERE / "figure.png")
