"""Figures as they are wanted: in the documents' own width as SVG, in a manuscript's as files."""

from dataclasses import dataclass

from cxrobust.reports.beside import Beside, Task
from cxrobust.reports.document import Document
from cxrobust.reports.figures.style import Drawing
from cxrobust.reports.parts import Figure


@dataclass(frozen=True, kw_only=True, slots=True)
class Files:
    """A figure for one width, as the files of a manuscript hold it."""

    svg: str
    pdf: bytes


def draw_files(drawing: Drawing, width: float) -> Files:
    """Draw a figure for a width in mm."""
    svg, pdf = drawing.svg_and_pdf(width)
    return Files(svg=svg, pdf=pdf)


def draw_telling(drawing: Drawing) -> str:
    """Draw a figure for the documents."""
    return drawing.telling_svg()


def begin_drawing(document: Document, beside: Beside) -> dict[str, Task[str]]:
    """Begin to draw a document's figures, by their keys."""
    figures = [item for item in document.items if isinstance(item, Figure)]
    return {figure.key: beside.begin(draw_telling, figure.drawing) for figure in figures}


def end_drawing(document: Document, begun: dict[str, Task[str]]) -> None:
    """Give a document its figures, after drawing those that no worker has begun: the last first."""
    for key, task in reversed(begun.items()):
        document.drawn[key] = task.result()
