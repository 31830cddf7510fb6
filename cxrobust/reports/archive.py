"""A PDF made to last: attachments with what each is for, an archive's colours and metadata, margins as artefacts.

WeasyPrint writes PDF/UA-1 or PDF/A-3a, and a document of ours is both. What is written here declares both.
The tests put a report and an appendix before two validators. That of pikepdf 10.18 finds nothing against PDF/A-3b but
what it does not know: metadata that describe PDF/UA's own field, and level A, which takes in level B. pdfua 0.1.3
checks a part of PDF/UA-1's rules and finds nothing. Neither looks at all that level A and PDF/UA-1 ask for.
"""

import hashlib
import io
import os
import re
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.resources import files
from typing import Any, Literal
from xml.sax.saxutils import escape

import pikepdf
from pikepdf import Array, Dictionary, Name, Pdf, Stream, String

from cxrobust.files import sha256_bytes

Relationship = Literal["Source", "Data", "Supplement"]
"""What an attachment is to the document: made from it, data shown in it, or beside it (ISO 19005-3, Annex E)."""

UNDATED = datetime(2000, 1, 1, tzinfo=UTC)
"""The date of attachments, for which PDF/A wants one, where SOURCE_DATE_EPOCH gives none: the same for everybody."""
STORED = ("application/zip",)
"""Kinds of files that are not compressed again."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Attachment:
    """A file that a PDF carries."""

    name: str
    content: bytes
    mime: str
    description: str
    relationship: Relationship


@dataclass(frozen=True, kw_only=True, slots=True)
class Packed:
    """An attachment as it is stored."""

    name: str
    mime: str
    description: str
    relationship: Relationship
    size: int
    sha256: str
    md5: bytes
    stored: bytes
    """Deflated, but for kinds of files that are compressed themselves."""


def pack(attachment: Attachment) -> Packed:
    """Hash and deflate an attachment; this can go on in a thread beside other work."""
    content = attachment.content
    return Packed(
        name=attachment.name,
        mime=attachment.mime,
        description=attachment.description,
        relationship=attachment.relationship,
        size=len(content),
        sha256=sha256_bytes(content),
        md5=hashlib.md5(content, usedforsecurity=False).digest(),
        stored=content if attachment.mime in STORED else zlib.compress(content, 6),
    )


def archived(content: bytes, packed: Sequence[Packed]) -> bytes:
    """Return WeasyPrint's PDF/UA-1 with attachments, and declaring PDF/A-3a too; equal input, equal bytes."""
    with pikepdf.open(io.BytesIO(content)) as pdf:
        _mark_margins(pdf)
        _print_annotations(pdf)
        _name_colours(pdf)
        _drop_empty_resources(pdf)
        _date(pdf)
        _attach(pdf, packed)
        _declare(pdf)
        out = io.BytesIO()
        pdf.save(
            out,
            compress_streams=False,
            recompress_flate=False,
            stream_decode_level=pikepdf.StreamDecodeLevel.none,
            object_stream_mode=pikepdf.ObjectStreamMode.generate,
            deterministic_id=True,
        )
    return out.getvalue()


def source_date() -> datetime | None:
    """Return the date that SOURCE_DATE_EPOCH names, or None; today's date would make every copy another one."""
    given = os.environ.get("SOURCE_DATE_EPOCH", "")
    try:
        return datetime.fromtimestamp(int(given), UTC)
    except (ValueError, OverflowError, OSError):
        return None


def _pdf_date(date: datetime) -> str:
    return date.strftime("D:%Y%m%d%H%M%SZ")


def _date(pdf: Pdf) -> None:
    date = source_date()
    if date is not None:
        pdf.docinfo["/CreationDate"] = pdf.docinfo["/ModDate"] = String(_pdf_date(date))


def _attach(pdf: Pdf, packed: Sequence[Packed]) -> None:
    if not packed:
        return
    date = String(_pdf_date(source_date() or UNDATED))
    names: list[Any] = []
    for one in sorted(packed, key=lambda one: one.name):
        stored = Stream(pdf, one.stored)
        stored.Type, stored.Subtype = Name.EmbeddedFile, Name("/" + one.mime)
        if one.mime not in STORED:
            stored.Filter = Name.FlateDecode
        stored.Params = Dictionary(Size=one.size, CheckSum=String(one.md5), ModDate=date)
        file = pdf.make_indirect(stored)
        specification = Dictionary(
            Type=Name.Filespec,
            F=String(one.name),
            UF=String(one.name),
            Desc=String(one.description),
            AFRelationship=Name("/" + one.relationship),
            EF=Dictionary(F=file, UF=file),
        )
        names += [String(one.name), pdf.make_indirect(specification)]
    if "/Names" not in pdf.Root:
        pdf.Root.Names = Dictionary()
    pdf.Root.Names.EmbeddedFiles = pdf.make_indirect(Dictionary(Names=Array(names)))
    pdf.Root.AF = Array(names[1::2])


def _print_annotations(pdf: Pdf) -> None:
    """Let links be printed, as PDF/A wants of all annotations; there is nothing to see of them."""
    for page in pdf.pages:
        for annotation in page.obj.get("/Annots", []):
            annotation.F = 4


def _name_colours(pdf: Pdf) -> None:
    """Say by its profile that colours are sRGB."""
    profile = Stream(pdf, zlib.compress(files("weasyprint").joinpath("pdf/sRGB2014.icc").read_bytes(), 6))
    profile.N, profile.Filter = 3, Name.FlateDecode
    intent = Dictionary(
        Type=Name.OutputIntent,
        S=Name.GTS_PDFA1,
        OutputConditionIdentifier=String("sRGB"),
        Info=String("sRGB IEC61966-2.1"),
        DestOutputProfile=pdf.make_indirect(profile),
    )
    pdf.Root.OutputIntents = Array([pdf.make_indirect(intent)])


def _drop_empty_resources(pdf: Pdf) -> None:
    """Leave out lists of patterns and shadings where there are none."""
    for one in pdf.objects:
        if not isinstance(one, Dictionary | Stream):
            continue
        for resources in (one, one.get("/Resources", Dictionary())):
            for key in ("/Pattern", "/Shading"):
                if isinstance(resources.get(key), Dictionary) and not resources[key].keys():
                    del resources[key]


def _mark_margins(pdf: Pdf) -> None:
    """Turn marked content that no structure element holds, into artefacts: margins and repeated heads."""
    held = _held(pdf)
    rows = dict(_pairs(pdf.Root.StructTreeRoot.ParentTree.Nums)) if "/StructTreeRoot" in pdf.Root else {}
    for page in pdf.pages:
        known = held.get(page.obj.objgen, set())
        content = page.Contents.read_bytes()
        loose = {int(found) for found in _MARKED.findall(content)} - known
        if not loose:
            continue

        def replace(match: "re.Match[bytes]", loose: set[int] = loose) -> bytes:
            return b"/Artifact <</Type /Pagination>> BDC" if int(match[1]) in loose else match[0]

        changed = Stream(pdf, zlib.compress(_MARKED.sub(replace, content), 6))
        changed.Filter = Name.FlateDecode
        page.Contents = pdf.make_indirect(changed)
        row = rows.get(int(page.obj.get("/StructParents", -1)))
        for place in sorted(loose):
            if row is not None and place < len(row):
                row[place] = None


_MARKED = re.compile(rb"/\w+\s*<<\s*/MCID\s+(\d+)\s*>>\s*BDC")


def _pairs(nums: Any) -> list[tuple[int, Any]]:
    return [(int(nums[k]), nums[k + 1]) for k in range(0, len(nums), 2)]


def _held(pdf: Pdf) -> dict[tuple[int, int], set[int]]:
    """Return the marked content of each page that a structure element holds."""
    held: dict[tuple[int, int], set[int]] = {}
    if "/StructTreeRoot" not in pdf.Root:
        return held
    rest: list[Any] = [pdf.Root.StructTreeRoot]
    while rest:
        element = rest.pop()
        kids = element.get("/K")
        for kid in kids if isinstance(kids, Array) else [] if kids is None else [kids]:
            if isinstance(kid, Dictionary):
                rest.append(kid)
            elif isinstance(kid, int):
                held.setdefault(element.Pg.objgen, set()).add(kid)
    return held


def _declare(pdf: Pdf) -> None:
    metadata = Stream(pdf, _packet(pdf).encode())
    metadata.Type, metadata.Subtype = Name.Metadata, Name.XML
    pdf.Root.Metadata = pdf.make_indirect(metadata)


def _packet(pdf: Pdf) -> str:
    """Return XMP metadata that says what the document information says, and declares PDF/A-3a and PDF/UA-1."""
    info = {key: escape(str(value)) for key, value in pdf.docinfo.items()}
    date = source_date()
    written = "" if date is None else date.strftime("%Y-%m-%dT%H:%M:%SZ")
    optional = {
        "dc:title": f'<rdf:Alt><rdf:li xml:lang="x-default">{info["/Title"]}</rdf:li></rdf:Alt>'
        if "/Title" in info
        else "",
        "xmp:CreatorTool": info.get("/Creator", ""),
        "pdf:Producer": info.get("/Producer", ""),
        "xmp:CreateDate": written,
        "xmp:ModifyDate": written,
    }
    elements = "\n".join(f"<{name}>{value}</{name}>" for name, value in optional.items() if value)
    return _PACKET.replace("@elements@", elements)


_PACKET = """\
<?xpacket begin="\N{ZERO WIDTH NO-BREAK SPACE}" id="W5M0MpCehiHzreSzNTczkc9d"?>
<x:xmpmeta xmlns:x="adobe:ns:meta/">
<rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">
<rdf:Description rdf:about="" xmlns:dc="http://purl.org/dc/elements/1.1/" xmlns:pdf="http://ns.adobe.com/pdf/1.3/"
 xmlns:xmp="http://ns.adobe.com/xap/1.0/" xmlns:pdfaid="http://www.aiim.org/pdfa/ns/id/"
 xmlns:pdfuaid="http://www.aiim.org/pdfua/ns/id/" xmlns:pdfaExtension="http://www.aiim.org/pdfa/ns/extension/"
 xmlns:pdfaSchema="http://www.aiim.org/pdfa/ns/schema#" xmlns:pdfaProperty="http://www.aiim.org/pdfa/ns/property#">
<pdfaid:part>3</pdfaid:part>
<pdfaid:conformance>A</pdfaid:conformance>
<pdfuaid:part>1</pdfuaid:part>
@elements@
<pdfaExtension:schemas><rdf:Bag><rdf:li rdf:parseType="Resource">
<pdfaSchema:schema>PDF/UA identification schema</pdfaSchema:schema>
<pdfaSchema:namespaceURI>http://www.aiim.org/pdfua/ns/id/</pdfaSchema:namespaceURI>
<pdfaSchema:prefix>pdfuaid</pdfaSchema:prefix>
<pdfaSchema:property><rdf:Seq><rdf:li rdf:parseType="Resource">
<pdfaProperty:name>part</pdfaProperty:name>
<pdfaProperty:valueType>Integer</pdfaProperty:valueType>
<pdfaProperty:category>internal</pdfaProperty:category>
<pdfaProperty:description>Part of ISO 14289 that the document declares to follow</pdfaProperty:description>
</rdf:li></rdf:Seq></pdfaSchema:property>
</rdf:li></rdf:Bag></pdfaExtension:schemas>
</rdf:Description>
</rdf:RDF>
</x:xmpmeta>
<?xpacket end="r"?>
"""
