"""Figures as they are wanted: in the documents' own width as SVG, in a manuscript's as files."""

from collections.abc import Sequence
from dataclasses import dataclass

from cxrobust.reports.beside import Beside
from cxrobust.reports.document import Document
from cxrobust.reports.figures.style import WIDTH, Drawing
from cxrobust.reports.kept import TEXT, Form, Kept, Wanted
from cxrobust.reports.parts import Figure


@dataclass(frozen=True, kw_only=True, slots=True)
class Files:
    """A figure for one width, as the files of a manuscript hold it."""

    svg: str
    pdf: bytes


def share_drawn(document: Document, other: Document) -> None:
    """Give another document the figures that it has in common with one that is drawn."""
    known = {item.key: item.drawing for item in document.items if isinstance(item, Figure)}
    for item in other.items:
        if isinstance(item, Figure) and item.key in document.drawn and known.get(item.key) == item.drawing:
            other.drawn[item.key] = document.drawn[item.key]


def _written(files: Files) -> bytes:
    svg = files.svg.encode()
    return len(svg).to_bytes(8, "big") + svg + files.pdf


def _read(content: bytes) -> Files:
    end = 8 + int.from_bytes(content[:8], "big")
    return Files(svg=content[8:end].decode(), pdf=content[end:])


FILES: Form[Files] = Form(write=_written, read=_read)


def draw_files(drawing: Drawing, width: float) -> Files:
    """Draw a figure for a width in mm."""
    svg, pdf = drawing.svg_and_pdf(width)
    return Files(svg=svg, pdf=pdf)


def draw_telling(drawing: Drawing, width: float) -> str:
    """Draw a figure for the documents, for a width in mm."""
    return drawing.telling_svg(width)


def begin_drawing(document: Document, beside: Beside, kept: Kept) -> dict[str, Wanted[str]]:
    """Begin to draw those of a document's figures that are not kept, by their keys."""
    figures = [item for item in document.items if isinstance(item, Figure)]
    return {
        one.key: kept.begin_drawing(beside, draw_telling, one.drawing, WIDTH, name=one.key, form=TEXT)
        for one in figures
    }


def begin_files(document: Document, beside: Beside, kept: Kept, *, widths: Sequence[float]) -> list[Wanted[Files]]:
    """Begin to draw those of a document's figures that are not kept for a manuscript, each for all widths in mm."""
    figures = [item for item in document.items if isinstance(item, Figure)]
    return [
        kept.begin_drawing(beside, draw_files, one.drawing, width, name=f"{one.key}-{width:g}mm", form=FILES)
        for one in figures
        for width in widths
    ]


def end_drawing(document: Document, begun: dict[str, Wanted[str]]) -> None:
    """Give a document its figures, after drawing those that no worker has begun: the last first."""
    for key, task in reversed(begun.items()):
        document.drawn[key] = task.result()
