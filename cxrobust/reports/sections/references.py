"""The works cited, and the data set's own citation."""

from collections.abc import Mapping
from typing import Any

from cxrobust.reports.sections import section
from cxrobust.reports.view import View
from cxrobust.reports.words import readable


@section("references", order=200, title="References", documents=("report", "appendix"))
def references(view: View) -> Mapping[str, Any]:
    """Return the data set's citation; the template lists what was cited before it."""
    return {"data": readable(view.results.data.get("citation") or "")}
