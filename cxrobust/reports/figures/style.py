"""One look for every figure: face, sizes, and one colour and one mark for a regime on every page."""

import io
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import wraps
from typing import Any, ParamSpec, cast
from xml.etree import ElementTree

import matplotlib as mpl
from matplotlib import font_manager
from matplotlib.axes import Axes
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure as Canvas

from cxrobust.reports.fonts import SANS, font_folders

WIDTH = 174.0
"""Width of every figure in mm: that of the text."""
MM = 1 / 25.4
SVG = "http://www.w3.org/2000/svg"
FALLBACK = f"'{SANS}', 'DejaVu Sans', sans-serif"
"""What an SVG's text asks for, so that a name in another script is drawn too."""
INK, QUIET, PALE = "#111111", "#666666", "#BBBBBB"

RC: dict[str, Any] = {
    "font.family": [SANS],
    "font.size": 7.0,
    "text.color": INK,
    "text.parse_math": False,
    "axes.labelcolor": INK,
    "axes.edgecolor": INK,
    "axes.formatter.use_mathtext": False,
    "axes.unicode_minus": True,
    "axes.titlesize": 7.5,
    "axes.titleweight": "semibold",
    "axes.titlelocation": "left",
    "axes.titlepad": 4.0,
    "axes.labelsize": 7.0,
    "axes.labelpad": 2.0,
    "axes.linewidth": 0.5,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "xtick.labelsize": 6.5,
    "ytick.labelsize": 6.5,
    "xtick.color": INK,
    "ytick.color": INK,
    "xtick.major.width": 0.5,
    "ytick.major.width": 0.5,
    "xtick.major.size": 2.5,
    "ytick.major.size": 2.5,
    "xtick.major.pad": 2.0,
    "ytick.major.pad": 2.0,
    "lines.linewidth": 1.0,
    "lines.markersize": 3.0,
    "lines.markeredgewidth": 0.6,
    "figure.dpi": 72.0,
    "savefig.dpi": 72.0,
    "figure.constrained_layout.h_pad": 0.03,
    "figure.constrained_layout.w_pad": 0.02,
    "svg.fonttype": "none",
    "svg.hashsalt": "cxrobust",
    "svg.image_inline": True,
}


@dataclass(frozen=True, kw_only=True, slots=True)
class Mark:
    """How a regime is drawn, everywhere."""

    colour: str
    ink: str
    """The colour darkened until text in it is easy to read on white."""
    marker: str
    dashes: str | tuple[float, tuple[float, ...]]


# Wong 2011, doi:10.1038/nmeth.1618, without its yellow, then darker tones of Tol's muted scheme. Neighbours differ in
# lightness; marks and dashes tell all apart without any colour.
_COLOURS = (
    ("#000000", "#000000"),
    ("#0072B2", "#0072B2"),
    ("#D55E00", "#B34F00"),
    ("#009E73", "#007A59"),
    ("#CC79A7", "#A3517E"),
    ("#56B4E9", "#1F78AB"),
    ("#E69F00", "#956700"),
    ("#332288", "#332288"),
    ("#882255", "#882255"),
    ("#777777", "#6B6B6B"),
    ("#999933", "#717126"),
    ("#661100", "#661100"),
)
_MARKERS = ("o", "s", "^", "D", "v", "P", "X", "<", "p", ">", "h", "d")
_DASHES: tuple[str | tuple[float, tuple[float, ...]], ...] = ("solid", (0, (5, 1.5)), (0, (3, 1, 1, 1)))


def marks(regimes: Sequence[str], *, reference: str) -> dict[str, Mark]:
    """Return each regime's mark: the reference is a black circle, the others follow in the study's order.

    Up to 12 regimes differ in colour and mark; further ones repeat these with other dashes.
    """
    ordered = [reference, *(regime for regime in regimes if regime != reference)]
    found = {}
    for place, regime in enumerate(ordered):
        colour, ink = _COLOURS[place % len(_COLOURS)]
        dashes = _DASHES[(place // len(_COLOURS)) % len(_DASHES)]
        found[regime] = Mark(colour=colour, ink=ink, marker=_MARKERS[place % len(_MARKERS)], dashes=dashes)
    return found


P = ParamSpec("P")
_added: set[str] = set()


@dataclass(frozen=True, kw_only=True, slots=True)
class Drawing:
    """A figure that is not drawn yet: the function that draws it, of this package or of another, and what it is given."""

    function: Callable[..., "Drawing"]
    """As `drawn` decorates it, so that it can be named to another process."""
    arguments: tuple[Any, ...]
    options: Mapping[str, Any]

    def svg(self) -> str:
        """Return it as the text of an SVG element."""
        out = io.StringIO()
        with _look():
            cast(Any, FigureCanvasSVG(self._canvas())).print_svg(out, metadata={"Date": None, "Creator": None})
        return _simplified(out.getvalue())

    def _canvas(self) -> Canvas:
        draw: Callable[..., Canvas] = self.function.__wrapped__  # type: ignore[attr-defined]
        return draw(*self.arguments, **self.options)


def drawn(draw: Callable[P, Canvas]) -> Callable[P, Drawing]:
    """Let a function that draws a figure return it as a `Drawing`, in the look of this module."""

    @wraps(draw)
    def as_drawing(*args: P.args, **kwargs: P.kwargs) -> Drawing:
        return Drawing(function=as_drawing, arguments=args, options=kwargs)

    return as_drawing


@contextmanager
def _look() -> Iterator[None]:
    _add_fonts()
    with mpl.rc_context(cast(Any, RC)), warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph .* missing from font")  # FALLBACK draws it
        yield


def canvas(height: float, *, width: float = WIDTH) -> Canvas:
    """Return an empty figure of this size in mm."""
    return Canvas(figsize=(width * MM, height * MM), layout="constrained")


def bare(axes: Axes) -> None:
    """Take an axes' frame and ticks away."""
    axes.set_axis_off()


def _add_fonts() -> None:
    for folder in font_folders():
        for path in sorted(folder.glob("SourceSansPro-*.ttf")):
            if str(path) not in _added and path.stem.split("-")[1] in {"Regular", "It", "Semibold"}:
                font_manager.fontManager.addfont(path)
                _added.add(str(path))


def _simplified(svg: str) -> str:
    """Return the svg element alone, with fallback fonts, and without the nameless groups that matplotlib nests.

    A third of the elements are such groups, and WeasyPrint's time goes with the number of elements.
    """
    for prefix, uri in (("", SVG), ("xlink", "http://www.w3.org/1999/xlink")):
        ElementTree.register_namespace(prefix, uri)
    root = ElementTree.fromstring(svg[svg.index("<svg") :])  # noqa: S314  matplotlib's own output
    for metadata in root.findall(f"{{{SVG}}}metadata"):
        root.remove(metadata)
    _unwrap(root)
    return ElementTree.tostring(root, encoding="unicode").replace(f"'{SANS}'", FALLBACK)


def _unwrap(element: ElementTree.Element) -> None:
    """Put the children of groups that carry nothing but a name in their place."""
    for child in list(element):
        _unwrap(child)
        if child.tag == f"{{{SVG}}}g":
            child.attrib.pop("id", None)
            if not child.attrib:
                place = list(element).index(child)
                element[place : place + 1] = list(child)
