"""Figures as they are wanted: in the documents' own width and in a manuscript's."""

from collections.abc import Callable, Mapping

from cxrobust.reports.beside import Beside
from cxrobust.reports.document import Document
from cxrobust.reports.figures.style import WIDTH, Drawing, Files
from cxrobust.reports.kept import Form, Kept, Wanted
from cxrobust.reports.parts import Figure
from cxrobust.reports.pictures import Picture, address_of, source


def share_drawn(document: Document, other: Document) -> None:
    """Give another document the figures that it has in common with one that is drawn."""
    known = {item.key: item.drawing for item in document.items if isinstance(item, Figure)}
    for item in other.items:
        if isinstance(item, Figure) and item.key in document.drawn and known.get(item.key) == item.drawing:
            other.drawn[item.key] = document.drawn[item.key]


def _written(files: Files) -> bytes:
    parts = (files.telling.encode(), files.svg.encode(), files.pdf)
    return b"".join(len(one).to_bytes(8, "big") + one for one in parts)


def _read(content: bytes) -> Files:
    parts = []
    while content:
        end = 8 + int.from_bytes(content[:8], "big")
        parts.append(content[8:end])
        content = content[end:]
    telling, svg, pdf = parts
    return Files(telling=telling.decode(), svg=svg.decode(), pdf=pdf)


FILES: Form[Files] = Form(write=_written, read=_read)


def draw_files(drawing: Drawing, width: float) -> Files:
    """Draw a figure for a width in mm, for the documents and as files."""
    return drawing.files(width)


def draw_telling(drawing: Drawing, width: float) -> Files:
    """Draw a figure for a width in mm, for HTML alone."""
    return Files(telling=drawing.telling_svg(width))


def begin_drawing(
    document: Document, beside: Beside, kept: Kept, *, draw: Callable[[Drawing, float], Files], width: float = WIDTH
) -> dict[str, Wanted[Files]]:
    """Begin to draw those of a document's figures that are not kept, for a width in mm, by their keys."""
    figures = [item for item in document.items if isinstance(item, Figure)]
    return {
        one.key: kept.begin_drawing(beside, draw, one.drawing, width, name=f"{one.key}-{width:g}mm", form=FILES)
        for one in figures
    }


def end_drawing(document: Document, begun: dict[str, Wanted[Files]]) -> None:
    """Give a document its figures, after drawing those that no worker has begun: the last first."""
    for key, task in reversed(begun.items()):
        document.drawn[key] = task.result()


def pictures_of(document: Document, begun: Mapping[str, Wanted[Files]]) -> dict[str, Picture]:
    """Return the figures that are still being drawn, by the addresses that a document's pages name them by.

    Their sizes are known before, and what they show is wanted when the pages are written.
    """

    def picture(drawing: Drawing, task: Wanted[Files]) -> Picture:
        return Picture(lambda: task.result().pdf, box=(0, 0, *drawing.size()))

    figures = [one for one in document.items if isinstance(one, Figure) and one.key in begun]
    return {address_of(one.key): picture(one.drawing, begun[one.key]) for one in figures}


def with_drawn(html: str, document: Document) -> str:
    """Return a document's pages with the figures that it has been given since."""
    for key, files in document.drawn.items():
        html = html.replace(f'src="{address_of(key)}"', f'src="{source(files.pdf)}"')
    return html
