"""Which output of a model belongs to which finding of a study."""

import re
from collections.abc import Mapping, Sequence

from cxrobust.errors import DataError, nearest, some


def match_labels(
    findings: Sequence[str], names: Sequence[str], *, chosen: Mapping[str, str], where: str
) -> tuple[int, ...]:
    """Return the output of a model for each finding: by the name chosen, else by a name that reads the same.

    Raises
    ------
    DataError
        When the model has no such output, or two.

    Examples
    --------
    >>> match_labels(["Pleural_Thickening"], ["Mass", "pleural thickening"], chosen={}, where="model")
    (1,)
    """
    for finding in chosen:
        if finding not in findings:
            raise DataError(
                f"{where}: labels names {finding!r}, which is no finding of this study{nearest(finding, findings)}: "
                f"its findings are {', '.join(findings)}"
            )
    return tuple(_column(finding, names, wanted=chosen.get(finding), where=where) for finding in findings)


def _column(finding: str, names: Sequence[str], *, wanted: str | None, where: str) -> int:
    searched = wanted or finding
    exact = [index for index, name in enumerate(names) if name == searched]
    alike = exact or [index for index, name in enumerate(names) if _plain(name) == _plain(searched)]
    if len(alike) == 1:
        return alike[0]
    what = f"two outputs {names[alike[0]]!r}" if alike else f"no output {searched!r}{nearest(searched, names)}"
    raise DataError(
        f"{where}: there {'are' if alike else 'is'} {what}: its outputs are {some(names, most=20)}; "
        f'write labels = {{ "{finding}" = "<output>" }} in the regime, or name all of them with outputs'
    )


def _plain(name: str) -> str:
    return re.sub(r"[\s_]+", "", name).casefold()
