"""What the test images look like."""

from collections.abc import Mapping
from typing import Any

from cxrobust.reports.figures.images import Shown, read_example, sheet_figure
from cxrobust.reports.parts import Figure
from cxrobust.reports.sections import section
from cxrobust.reports.view import View


def _images(view: View) -> list[Shown]:
    if view.images is None:
        return []
    kept = [one for one in view.results.examples if one["kind"] == "sheet"]
    return [shown for one in kept if (shown := read_example(one, view.images)) is not None]


@section("sheet", order=78, title="What the images look like", needs=lambda view: bool(_images(view)))
def sheet(view: View) -> Mapping[str, Any]:
    """Return the contact sheet."""
    images = _images(view)
    alt = f"Side by side, {len(images)} test images, each with the findings that it is labelled with."
    return {"sheet": Figure(key="radiographs", drawing=sheet_figure(images), alt=alt), "n_images": len(images)}
