"""One work that a document cites, as it is printed and as BibTeX has it."""

import re
from dataclasses import dataclass
from typing import Literal

NAME = re.compile(r"(?P<surname>.+) (?P<initials>[A-Z]{1,4})")
"""An author as printed."""
YEAR = re.compile(r"\b(?:19|20)\d\d\b")
ADDRESS = re.compile(r"(?:doi:|arxiv:|https?://)\S+", re.IGNORECASE)


@dataclass(frozen=True, kw_only=True, slots=True)
class Work:
    """One work."""

    kind: Literal["article", "inproceedings", "book", "misc"]
    authors: str
    """Surname and initials, as printed: `Altman DG, Bland JM`."""
    title: str
    year: int
    venue: str = ""
    """Of an article the journal, of a paper the conference, of a book the publisher."""
    volume: str = ""
    number: str = ""
    pages: str = ""
    doi: str = ""
    arxiv: str = ""
    url: str = ""

    @property
    def printed(self) -> str:
        """The reference as a document prints it."""
        dated = {
            "article": f"{self.venue} {self.year};{self.volume}",
            "inproceedings": f"{self.venue} {self.year}",
            "book": f"{self.venue}, {self.year}",
            "misc": f"{self.year}",
        }[self.kind]
        issue, pages = f"({self.number})" if self.number else "", f":{self.pages}" if self.pages else ""
        found = f"doi:{self.doi}" if self.doi else f"arXiv:{self.arxiv}" if self.arxiv else self.url
        return f"{self.authors}. {self.title}. {dated}{issue}{pages}. {found}".rstrip()

    @property
    def fields(self) -> dict[str, str]:
        """BibTeX's fields as plain text, empty ones left out."""
        venue = {"article": "journal", "inproceedings": "booktitle", "book": "publisher", "misc": "howpublished"}
        found = {
            "author": " and ".join(map(_surname_first, self.authors.split(", "))),
            "title": self.title,
            venue[self.kind]: self.venue,
            "year": str(self.year),
            "volume": self.volume,
            "number": self.number,
            "pages": self.pages,
            "doi": self.doi,
            "eprint": self.arxiv,
            "archiveprefix": "arXiv" if self.arxiv else "",
            "url": self.url or (f"https://arxiv.org/abs/{self.arxiv}" if self.arxiv else ""),
        }
        return {name: text for name, text in found.items() if text}


@dataclass(frozen=True, kw_only=True, slots=True)
class Quoted:
    """A work that is known only as its reference is printed, such as the data set's own citation."""

    printed: str
    title: str
    kind: Literal["misc"] = "misc"

    @property
    def fields(self) -> dict[str, str]:
        """BibTeX's fields as plain text: authors and year as far as they can be read, the rest as a note."""
        authors, _, rest = self.printed.partition(". ")
        named = rest and all(one == "et al" or NAME.fullmatch(one) for one in authors.split(", "))
        year = YEAR.search(ADDRESS.sub("", self.printed))
        found = {
            "author": " and ".join(map(_surname_first, authors.split(", "))) if named else "",
            "key": "" if named else self.title,
            "title": self.title,
            "year": year[0] if year else "",
            "note": rest if named else self.printed,
        }
        return {name: text for name, text in found.items() if text}


def _surname_first(author: str) -> str:
    """Write `Clarke-Pearson DL` as BibTeX reads it: `Clarke-Pearson, D. L.`; a group keeps its name."""
    if author == "et al":
        return "others"
    found = NAME.fullmatch(author)
    return author if found is None else f"{found['surname']}, {' '.join(f'{one}.' for one in found['initials'])}"
