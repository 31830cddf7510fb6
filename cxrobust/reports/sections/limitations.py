"""What the study cannot show."""

from collections.abc import Mapping
from typing import Any

from cxrobust.reports.limits import limits
from cxrobust.reports.sections import section
from cxrobust.reports.view import View


@section("limitations", order=86, title="Limitations")
def limitations(view: View) -> Mapping[str, Any]:
    """Return the limitations that hold."""
    return {"limits": limits(view)}
