"""Which output of a model belongs to which finding of a study."""

import re
from collections.abc import Iterable, Mapping, Sequence

from cxrobust.errors import DataError, nearest, some

NAME_ALL = "name all of them with outputs"


def match_labels(
    findings: Sequence[str],
    names: Sequence[str],
    *,
    chosen: Mapping[str, str],
    where: str,
    named: str = "output",
    mend: str = NAME_ALL,
) -> tuple[int, ...]:
    """Return the output of a model for each finding: by the name chosen, else by a name that reads the same.

    `named` is what the error calls that which the names are of, and `mend` what it advises beside `labels`.

    Raises
    ------
    DataError
        When the model has no such output, or two.

    Examples
    --------
    >>> match_labels(["Pleural_Thickening"], ["Mass", "pleural thickening"], chosen={}, where="model")
    (1,)
    """
    check_named(findings, chosen, key="labels", where=where)
    return tuple(
        _column(finding, names, wanted=chosen.get(finding), where=where, named=named, mend=mend) for finding in findings
    )


def words_of(findings: Sequence[str], chosen: Mapping[str, str], *, where: str) -> tuple[str, ...]:
    """Return what each finding is called in a sentence: as chosen, else its name in small letters with spaces.

    Raises
    ------
    DataError
        When words are chosen for what is no finding.

    Examples
    --------
    >>> words_of(["Pleural_Thickening", "Mass"], {"Mass": "a mass"}, where="model")
    ('pleural thickening', 'a mass')
    """
    check_named(findings, chosen, key="words", where=where)
    return tuple(chosen.get(finding, finding.replace("_", " ").lower()) for finding in findings)


def check_named(findings: Sequence[str], named: Iterable[str], *, key: str, where: str) -> None:
    """Raise where a key of a regime names what is no finding of the study.

    Raises
    ------
    DataError
        With the nearest finding.
    """
    for finding in named:
        if finding not in findings:
            raise DataError(
                f"{where}: {key} names {finding!r}, which is no finding of this study{nearest(finding, findings)}: "
                f"its findings are {', '.join(findings)}"
            )


def plain(name: str) -> str:
    """Return a name in small letters without spaces and underscores: names that read the same are then equal.

    Examples
    --------
    >>> plain("Pleural_Thickening")
    'pleuralthickening'
    """
    return re.sub(r"[\s_]+", "", name).casefold()


def _column(finding: str, names: Sequence[str], *, wanted: str | None, where: str, named: str, mend: str) -> int:
    searched = wanted or finding
    exact = [index for index, name in enumerate(names) if name == searched]
    alike = exact or [index for index, name in enumerate(names) if plain(name) == plain(searched)]
    if len(alike) == 1:
        return alike[0]
    what = f"two {named}s {names[alike[0]]!r}" if alike else f"no {named} {searched!r}{nearest(searched, names)}"
    raise DataError(
        f"{where}: there {'are' if alike else 'is'} {what}: its {named}s are {some(names, most=20)}; "
        f'write labels = {{ "{finding}" = "<{named}>" }} in the regime, or {mend}; where there is none for this '
        "finding, leave it out of findings in [data]"
    )
