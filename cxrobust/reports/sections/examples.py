"""Images before and after the primary perturbation."""

from collections.abc import Mapping
from typing import Any

from cxrobust.reports.figures.images import Pair, magnification, pairs_figure, read_example
from cxrobust.reports.parts import Figure
from cxrobust.reports.sections import section
from cxrobust.reports.view import CLEAN, View
from cxrobust.reports.words import condition_words, counted, listed, regime

MOST_REGIMES = 2
MOST_IMAGES = 4


def _rows(view: View) -> list[list[Pair]]:
    """Return one row for each image that the chosen regimes all have, clean and perturbed."""
    if view.images is None or view.primary is None:
        return []
    kept = {(e["image"], e["regime"], e["condition"]): e for e in view.results.examples if e["kind"] == "attack"}
    images = list(dict.fromkeys(image for image, _, _ in kept))[:MOST_IMAGES]
    chosen = [view.reference, *view.others][:MOST_REGIMES]
    rows = []
    for image in images:
        row = []
        for name in chosen:
            examples = [kept.get((image, name, condition)) for condition in (CLEAN, view.primary)]
            shown = [read_example(one, view.images) for one in examples if one is not None]
            if len(shown) == 2 and shown[0] is not None and shown[1] is not None and _alike(shown[0], shown[1]):
                row.append(Pair(regime=name, clean=shown[0], perturbed=shown[1]))
        rows.append(row)
    most = max((len(row) for row in rows), default=0)
    return [row for row in rows if row and len(row) == most]


def _alike(one: Any, other: Any) -> bool:
    return bool(one.pixels.shape == other.pixels.shape)


@section("examples", order=80, title="What the perturbation looks like", needs=lambda view: bool(_rows(view)))
def examples(view: View) -> Mapping[str, Any]:
    """Return the images, clean and perturbed."""
    rows = _rows(view)
    names = [pair.regime for pair in rows[0]]
    alt = f"Of {counted(len(rows), 'image')}: clean, perturbed for {listed(names)}, and the magnified difference between the two."
    return {
        "pairs": Figure(key="example-images", drawing=pairs_figure(rows), alt=alt),
        "regimes": listed([regime(name) for name in names]),
        "factor": magnification([pair for row in rows for pair in row]),
        "condition": condition_words(view.primary or CLEAN),
    }
