"""People as a study file names them: a name, and after it an ORCID iD where there is one."""

import re
from dataclasses import dataclass

_ID = r"\d{4}-\d{4}-\d{4}-\d{3}[\dX]"


@dataclass(frozen=True, kw_only=True, slots=True)
class Person:
    """An author, with the ORCID iD or None."""

    name: str
    orcid: str | None

    @property
    def page(self) -> str | None:
        """Address of the person's ORCID record."""
        return None if self.orcid is None else f"https://orcid.org/{self.orcid}"


def person(stated: str) -> Person:
    """Read a person from `[study] authors`.

    >>> person("Ada Lovelace (0000-0002-1825-0097)")
    Person(name='Ada Lovelace', orcid='0000-0002-1825-0097')
    >>> person("Bo Li").page is None
    True
    """
    orcid = re.search(rf"\b({_ID})\b", stated)
    name = re.sub(rf"[\s,;(<\[]*(https?://orcid\.org/)?{_ID}[\s)>\]]*$", "", stated).strip()
    return Person(name=name or stated, orcid=orcid[1] if orcid else None)
