"""What a document says of itself beside its pages: title, author, keywords, and the same again as metadata."""

import re
from collections.abc import Iterator
from typing import Any

import pikepdf

from cxrobust.verification.reading import MOST_STREAM, unpacked
from cxrobust.verification.told import cut

DATES = ("/CreationDate", "/ModDate")
DATE = re.compile(r"D:[0-9+\-Z']*")
PRODUCER = "/Producer"
_DATE = re.compile(rb"<xmp:(Create|Modify)Date>[0-9TZ:+-]*</xmp:\1Date>\n?")
_PRODUCER = re.compile(rb"<pdf:Producer>[^<]*</pdf:Producer>\n?")


def differing_information(given: pikepdf.Pdf, expected: pikepdf.Pdf, *, same_printer: bool) -> Iterator[str]:
    """Tell what a document says of itself otherwise than the one expected: all but its dates, which may be others.

    With `same_printer` False, what produced it may be another too.
    """
    may_differ = {*DATES, *(() if same_printer else (PRODUCER,))}
    for key in sorted({*map(str, given.docinfo.keys()), *map(str, expected.docinfo.keys())}):
        said, wanted = given.docinfo.get(key), expected.docinfo.get(key)
        if key in DATES and said is not None and DATE.fullmatch(str(said)) is None:
            yield f"the document's {key.strip('/')}: {_text(said)}, which is no date"
        elif key not in may_differ and said != wanted:
            yield f"the document's {key.strip('/')}: {_text(said)}, expected {_text(wanted)}"
    metadata = [_metadata(pdf, same_printer=same_printer) for pdf in (given, expected)]
    if metadata[0] != metadata[1]:
        yield "the document's metadata (XMP) are not what the results give"


def _text(value: Any) -> str:
    return "none" if value is None else cut(str(value), 80)


def _metadata(pdf: pikepdf.Pdf, *, same_printer: bool) -> bytes:
    stream = pdf.Root.get("/Metadata")
    content = b"" if stream is None else _DATE.sub(b"", unpacked(stream, MOST_STREAM, where="its metadata"))
    return content if same_printer else _PRODUCER.sub(b"", content)
