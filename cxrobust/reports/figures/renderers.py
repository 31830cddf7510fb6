"""A figure drawn once as SVG and as PDF: what matplotlib finds out about each artist is found out once for both."""

import io
from typing import Any, cast

import numpy as np
from matplotlib import rcParams
from matplotlib.backends._backend_pdf_ps import _FONT_MAX_GLYPH, CharacterTracker
from matplotlib.backends.backend_pdf import FigureCanvasPdf, PdfFile, RendererPdf
from matplotlib.backends.backend_svg import FigureCanvasSVG, RendererSVG
from matplotlib.figure import Figure as Canvas
from matplotlib.font_manager import FontPath

NAMELESS = {"CreationDate": None, "Creator": None, "Producer": None}
DATELESS = {"Date": None, "Creator": None}
DPI = 72
"""Points to an inch, in which both formats measure."""


class Tracker(CharacterTracker):
    """Gives no glyph the code 0, which PDF/A takes for a glyph that is missing."""

    def track_glyph(self, font: Any, chars: str | int, glyph: Any) -> tuple[int, int]:
        """Record that a glyph is drawn; return the number of its font, of those of one face, and its code there."""
        number, code = cast("tuple[int, int]", super().track_glyph(font, chars, glyph))
        if code > 0:
            return number, code
        path = FontPath(font.fname, font.face_index)
        self.used[path][number][1] = glyph
        self.glyph_maps[path].add(chars if isinstance(chars, str) else chr(chars), glyph, number, 1)
        return number, 1


class Both:
    """A renderer that draws by two others; it answers questions as that of SVG does, whose drawing is as it is alone."""

    def __init__(self, svg: RendererSVG, pdf: RendererPdf) -> None:
        self._svg, self._pdf = cast(Any, svg), cast(Any, pdf)

    def __getattr__(self, name: str) -> Any:
        """Return what is not drawn from the renderer of SVG."""
        return getattr(self._svg, name)

    def new_gc(self) -> Any:
        """Return the settings of a stroke that the PDF needs, which are more."""
        return self._pdf.new_gc()

    def draw_path(self, *given: Any, **options: Any) -> None:
        """Draw a path in both."""
        self._svg.draw_path(*given, **options)
        self._pdf.draw_path(*given, **options)

    def draw_markers(self, *given: Any, **options: Any) -> None:
        """Draw a marker at each point in both."""
        self._svg.draw_markers(*given, **options)
        self._pdf.draw_markers(*given, **options)

    def draw_path_collection(self, *given: Any, **options: Any) -> None:
        """Draw paths in both."""
        self._svg.draw_path_collection(*given, **options)
        self._pdf.draw_path_collection(*given, **options)

    def draw_quad_mesh(self, *given: Any, **options: Any) -> None:
        """Draw a mesh in both."""
        self._svg.draw_quad_mesh(*given, **options)
        self._pdf.draw_quad_mesh(*given, **options)

    def draw_gouraud_triangles(self, *given: Any, **options: Any) -> None:
        """Draw shaded triangles in both."""
        self._svg.draw_gouraud_triangles(*given, **options)
        self._pdf.draw_gouraud_triangles(*given, **options)

    def draw_image(self, gc: Any, x: float, y: float, im: Any, transform: Any = None) -> None:
        """Draw an image in both."""
        self._svg.draw_image(gc, x, y, im, transform)
        self._pdf.draw_image(gc, x, y, im, transform)

    def draw_text(self, gc: Any, x: float, y: float, *given: Any, **options: Any) -> None:
        """Write a text in both, whose vertical axes have opposite directions."""
        self._svg.draw_text(gc, x, y, *given, **options)
        self._pdf.draw_text(gc, x, self._svg.height - y, *given, **options)

    def open_group(self, *given: Any, **options: Any) -> None:
        """Begin a group, which the SVG alone has."""
        self._svg.open_group(*given, **options)

    def close_group(self, *given: Any, **options: Any) -> None:
        """End a group, which the SVG alone has."""
        self._svg.close_group(*given, **options)


def svg_of(figure: Canvas) -> str:
    """Return a figure as an SVG file."""
    out = io.StringIO()
    cast(Any, FigureCanvasSVG(figure)).print_svg(out, metadata=DATELESS)
    return out.getvalue()


def pdf_of(figure: Canvas) -> bytes:
    """Return a figure as a PDF of one page."""
    out = io.BytesIO()
    cast(Any, FigureCanvasPdf(figure)).print_pdf(out, metadata=NAMELESS)
    return out.getvalue()


def svg_and_pdf_of(figure: Canvas) -> tuple[str, bytes]:
    """Return a figure as both, drawn once; its measures are those of `DPI`."""
    FigureCanvasSVG(figure)
    width, height = (float(side) for side in np.asarray(figure.get_size_inches()))
    drawn, out = io.StringIO(), io.BytesIO()
    file = cast(Any, PdfFile)(out, metadata=NAMELESS)
    file._character_tracker = cast(Any, Tracker)(_FONT_MAX_GLYPH[rcParams["pdf.fonttype"]])
    try:
        file.newPage(width, height)
        svg = cast(Any, RendererSVG)(width * DPI, height * DPI, drawn, image_dpi=DPI, metadata=DATELESS)
        pdf = cast(Any, RendererPdf)(file, DPI, height, width)
        figure.draw(cast(Any, Both(svg, pdf)))
        svg.finalize()
        pdf.finalize()
        file.finalize()
    finally:
        file.close()
    return drawn.getvalue(), out.getvalue()
