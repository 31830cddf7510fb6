"""The markup that our templates give, read strictly, and its words as LaTeX."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from html import escape as escape_html
from html.parser import HTMLParser

from cxrobust.errors import DataError
from cxrobust.reports.manuscript.latex import Latex, escape, label

VOID = frozenset({"br", "img", "hr", "wbr", "meta", "input", "col"})


@dataclass(frozen=True, slots=True)
class Element:
    """An element with its attributes and what stands in it."""

    tag: str
    attributes: Mapping[str, str]
    children: "list[Element | str]" = field(default_factory=list)

    @property
    def classes(self) -> frozenset[str]:
        """Names of its classes."""
        return frozenset(self.attributes.get("class", "").split())

    @property
    def text(self) -> str:
        """All text in it."""
        return "".join(child if isinstance(child, str) else child.text for child in self.children)

    @property
    def elements(self) -> "list[Element]":
        """The elements directly in it."""
        return [child for child in self.children if isinstance(child, Element)]

    def walk(self) -> "Iterator[Element]":
        """Every element in it, in order."""
        for child in self.elements:
            yield child
            yield from child.walk()

    def html(self) -> str:
        """Return it as HTML; links within a document become their text."""
        inner = "".join(
            escape_html(child, quote=False) if isinstance(child, str) else child.html() for child in self.children
        )
        if self.tag == "a" and self.attributes.get("href", "").startswith("#"):
            return inner
        attributes = "".join(
            f' {name}="{escape_html(value)}"' for name, value in self.attributes.items() if name != "id"
        )
        return f"<{self.tag}{attributes}>" + ("" if self.tag in VOID else f"{inner}</{self.tag}>")


class _Reader(HTMLParser):
    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.root = Element("body", {})
        self._open = [self.root]

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        element = Element(tag, {name: value or "" for name, value in attrs})
        self._open[-1].children.append(element)
        if tag not in VOID:
            self._open.append(element)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self._open[-1].children.append(Element(tag, {name: value or "" for name, value in attrs}))

    def handle_endtag(self, tag: str) -> None:
        if tag in VOID:
            return
        if self._open[-1].tag != tag or len(self._open) == 1:
            raise DataError(f"a template closes <{tag}> where <{self._open[-1].tag}> is open: correct it")
        self._open.pop()

    def handle_data(self, data: str) -> None:
        self._open[-1].children.append(data)

    def whole(self) -> Element:
        if len(self._open) > 1:
            raise DataError(f"a template leaves <{self._open[-1].tag}> open: close it")
        return self.root


def read(html: str) -> Element:
    """Return the tree of a piece of HTML.

    Raises
    ------
    DataError
        When an element is closed that is not open, or left open.
    """
    reader = _Reader()
    reader.feed(html)
    reader.close()
    return reader.whole()


def to_latex(children: Sequence[Element | str]) -> Latex:
    """Return words and what marks them as LaTeX.

    Raises
    ------
    DataError
        When an element has no counterpart here.
    """
    return Latex("".join(escape(child) if isinstance(child, str) else _element(child) for child in children))


def _element(element: Element) -> str:
    if "math" in element.classes:
        return _formula(element)
    if element.tag not in _WRITERS:
        raise DataError(f"a template holds <{element.tag}>, which cannot be written as LaTeX: use another element")
    return _WRITERS[element.tag](element)


def _formula(element: Element) -> str:
    latex = element.attributes["data-latex"]
    return rf"\[{latex}\]" if "display" in element.classes else rf"\({latex}\)"


def _inside(element: Element) -> str:
    return to_latex(element.children)


def _command(command: str) -> Callable[[Element], str]:
    return lambda element: rf"\{command}{{{_inside(element)}}}"


def _bold(element: Element) -> str:
    return rf"\{'cxregime' if 'regime' in element.classes else 'textbf'}{{{_inside(element)}}}"


def _raised(element: Element) -> str:
    if "cite" not in element.classes:
        return rf"\textsuperscript{{{_inside(element)}}}"
    cited = [one.attributes["href"].removeprefix("#ref-") for one in element.elements]
    return rf"\cite{{{','.join(cited)}}}"


def _link(element: Element) -> str:
    if "ref" not in element.classes:
        return _inside(element)
    what = element.text.replace("\N{NO-BREAK SPACE}", " ").split(" ")[0]
    prefix = {"Figure": "fig", "Table": "tab"}[what]
    return rf"{what}~\ref{{{prefix}:{label(element.attributes['href'].removeprefix('#'))}}}"


def _paragraph(element: Element) -> str:
    words = " ".join(_inside(element).split())
    if "formula" in element.classes:
        return f"\n\\begin{{quote}}\n{words}\n\\end{{quote}}\n"
    return f"\n{words}\n"


def _items(environment: str) -> Callable[[Element], str]:
    def write(element: Element) -> str:
        inner = "".join(_element(one) for one in element.elements)
        return f"\n\\begin{{{environment}}}\n{inner}\\end{{{environment}}}\n"

    return write


def _definitions(element: Element) -> str:
    """Write pairs of terms and texts: formulas at the full width, others as a list."""
    if "formulas" not in element.classes:
        return _items("description")(element)
    found = [one for one in element.walk() if one.tag in {"dt", "dd"}]
    written = (" ".join(_inside(one).split()) for one in found)
    return "".join(
        rf"\par\noindent\textbf{{{text}}} " if one.tag == "dt" else f"{text}\n"
        for one, text in zip(found, written, strict=True)
    )


def _blocks(element: Element) -> str:
    return "".join(_element(one) for one in element.elements)


_WRITERS: dict[str, Callable[[Element], str]] = {
    "b": _bold,
    "strong": _bold,
    "i": _command("textit"),
    "em": _command("emph"),
    "var": _command("textit"),
    "code": _command("texttt"),
    "sub": _command("textsubscript"),
    "sup": _raised,
    "a": _link,
    "span": lambda element: (
        rf"{{\normalfont\small {_inside(element)}}}" if "aside" in element.classes else _inside(element)
    ),
    "br": lambda element: r"\newline ",
    "p": _paragraph,
    "h3": lambda element: f"\n\\paragraph{{{_inside(element)}.}}",
    "ul": _items("itemize"),
    "ol": _items("enumerate"),
    "li": lambda element: f"\\item {' '.join(_inside(element).split())}\n",
    "dl": _definitions,
    "div": _blocks,
    "dt": lambda element: f"\\item[{{{' '.join(_inside(element).split())}}}] ",
    "dd": lambda element: f"{' '.join(_inside(element).split())}\n",
}
