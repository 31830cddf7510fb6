"""A table of the report as LaTeX, as CSV and as HTML."""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from decimal import Decimal

from cxrobust.reports.manuscript.latex import PREAMBLE, Latex, escape, label
from cxrobust.reports.manuscript.markup import Element, to_latex
from cxrobust.reports.parts import FEWEST_ROWS, Cell, Column, Table
from cxrobust.reports.words import MINUS, REGIME_BEGINS, REGIME_ENDS, plain
from cxrobust.results import to_csv

NUMBER = re.compile(rf"(?P<comparator>[<>]?)(?P<sign>[{MINUS}+]?)(?P<whole>\d[\d,]*)(?:\.(?P<part>\d+))?(?P<unit>%?)")
BRACKETED = re.compile(r"(?P<own>\S+)\s\((?P<inside>[^()]+)\)")
UNDER = re.compile(r"(?P<own>[^()]*?)\s*\((?P<inside>[^()]+)\)")
"""The second line of a column's head whose cells hold numbers in brackets: `n (share; 95% CI)`."""
INTERVAL = re.compile(r"(?P<low>\S+)\sto\s(?P<high>\S+)")
MOST_FLOATING = 44
"""Lines of a table up to which it floats whole; a longer one runs over pages."""
MOST_LETTERS = 120
"""Letters that a line of a table has room for at 183 mm."""
LONG_TITLE = 13
"""Letters of a column's head before it is broken into two lines."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Words:
    """What the report says of a table or figure: its caption, a bold title first, and the notes below it."""

    caption: tuple[Element | str, ...]
    notes: tuple[Element | str, ...] = ()


Row = tuple[Cell, ...]
"""The cells of a line, the group's head first."""


def rows_of(table: Table) -> Iterator[tuple[Row, bool]]:
    """Yield each row with the group's head as its first cell, and whether it begins a group."""
    for group in table.groups:
        for place, row in enumerate(group.rows):
            yield (Cell(text=group.head), *row), place == 0


def to_number(text: str) -> Decimal | None:
    """Return what a cell's text says as a number: of `−0.042` or `22,433` or `12.3%` the number; None of other texts.

    Nor is one that begins with a needless 0, as the ids of images do.
    """
    found = NUMBER.fullmatch(text)
    if found is None or found["comparator"] or (found["whole"][0] == "0" and len(found["whole"]) > 1):
        return None
    return Decimal(text.rstrip("%").replace(",", "").replace(MINUS, "-").removeprefix("+"))


def csv_of(table: Table) -> str:
    """Return all that the table prints: one row for each line, the group's head in each row, one number in each cell.

    An interval takes two columns; what stands in brackets or in a cell's second line takes columns of its own, and so
    does the letter of a footnote. Numbers
    are those printed, at the printed precision, with `%` in the head where all of a column have it; what is no number
    stays text.
    """
    columns, rows = _unfolded(table)
    found = [one for place, column in enumerate(columns) for one in _parted(column, [row[place] for row in rows])]
    return to_csv([head for head, _ in found], zip(*(values for _, values in found), strict=True))


def _unfolded(table: Table) -> tuple[Sequence[Column], list[Row]]:
    """Return columns and rows; two halves that stand side by side follow each other."""
    rows = [row for row, _ in rows_of(table)]
    half = next((place for place, column in enumerate(table.columns) if column.apart), None)
    titles = [column.title for column in table.columns]
    if half is None or titles[:half] != titles[half:]:
        return table.columns, rows
    below = [row[half:] for row in rows if any(cell.text for cell in row[half:])]
    return table.columns[:half], [*(row[:half] for row in rows), *below]


Part = tuple[str, str]
"""What a part of a cell is called, empty for what the column is of, and which end of an interval it is."""
OWN: Part = ("", "")
LOW, HIGH = "low", "high"
IN_BRACKETS, NOTE, FOOTNOTE = "in brackets", "note", "footnote"


def _parted(column: Column, cells: Sequence[Cell]) -> Iterator[tuple[str, list[Decimal | str]]]:
    """Yield the columns that one of a table becomes, each with its head."""
    under = plain(column.under)
    inside = [piece for cell in cells for piece in _pieces(cell.text)[1]]
    heads = UNDER.fullmatch(under) if inside else None
    names = heads["inside"].split("; ") if heads else []
    of_range = next((name for name in names if name.endswith(" CI")), IN_BRACKETS)
    own = heads["own"] if heads else "" if any(cell.under for cell in cells) and not column.within else under
    if of_range == IN_BRACKETS and any(map(_ends, inside)):  # rows of several kinds, which say what they hold
        own = ""
    second = column.within or (NOTE if heads or any(_ends(cell.under) for cell in cells) else under or NOTE)
    numbers = [name for name in names if name != of_range]

    def parts(cell: Cell) -> dict[Part, str]:
        text, pieces = _pieces(cell.text)
        left = iter(numbers)
        return {
            **_ended(text, "", ""),
            **{
                part: one
                for piece in pieces
                for part, one in _ended(piece, "" if _ends(piece) else next(left, IN_BRACKETS), of_range).items()
            },
            **_ended(cell.under, second, under),
            **_ended(cell.note, FOOTNOTE, ""),
        }

    found = [parts(cell) for cell in cells]
    order = dict.fromkeys([OWN, *(part for one in found for part in one)])
    for part in order:
        texts = [one.get(part, "") for one in found]
        if any(texts) or order.keys() == {OWN}:
            name, end = part
            yield _as_numbers(", ".join(filter(None, (plain(column.alone or column.title), name or own, end))), texts)


def _pieces(text: str) -> tuple[str, list[str]]:
    """Return a number and the numbers and intervals in brackets after it; other texts whole, with nothing after."""
    found = BRACKETED.fullmatch(text)
    inside = re.split(r";\s", found["inside"]) if found else []
    if found is None or not NUMBER.fullmatch(found["own"]) or not all(NUMBER.fullmatch(x) or _ends(x) for x in inside):
        return text, []
    return found["own"], inside


def _ended(text: str, name: str, of_range: str) -> dict[Part, str]:
    """Return a part of a cell by its name; the ends of an interval apart, and nothing of no text."""
    ends = _ends(text)
    if ends is None:
        return {(name, ""): text} if text else {}
    return {(of_range, LOW): ends["low"], (of_range, HIGH): ends["high"]}


def _ends(text: str) -> re.Match[str] | None:
    found = INTERVAL.fullmatch(text)
    return found if found is not None and NUMBER.fullmatch(found["low"]) and NUMBER.fullmatch(found["high"]) else None


def _as_numbers(head: str, texts: Sequence[str]) -> tuple[str, list[Decimal | str]]:
    """Return a head and values; `%` goes into the head where all numbers have it, else it stays with its number."""
    shares = {text.endswith("%") for text in texts if to_number(text) is not None}
    if shares == {True} and not head.endswith("%"):
        head += " (%)"
    found = [None if len(shares) > 1 and text.endswith("%") else to_number(text) for text in texts]
    return head, [plain(text) if one is None else one for text, one in zip(texts, found, strict=True)]


def html_of(words: Words, drawn: Element) -> str:
    """Return a page with the table as the report has it, for a word processor."""
    style = (
        "table{border-collapse:collapse;font:9pt sans-serif;font-variant-numeric:tabular-nums;border-top:1pt solid;border-bottom:1pt solid}"
        "caption{text-align:left;padding-bottom:4pt}thead th{border-bottom:.5pt solid}"
        "th,td{text-align:right;vertical-align:top;padding:2pt 6pt}tbody th,th.left,td.left{text-align:left}"
        ".under{display:block;font-size:88%}.key{font-weight:600}.notes{font:8pt sans-serif}"
    )
    caption = Element("caption", {}, list(words.caption)).html()
    body = "".join(child.html() for child in drawn.elements if child.tag != "caption")
    notes = Element("p", {"class": "notes"}, list(words.notes)).html() if words.notes else ""
    return (
        f'<!DOCTYPE html>\n<html lang="en">\n<head><meta charset="utf-8"><title>Table</title><style>{style}</style></head>\n'
        f"<body>\n<table>{caption}\n{body}</table>\n{notes}\n</body>\n</html>\n"
    )


def latex_of(table: Table, words: Words) -> str:
    r"""Return the table for `\input`: booktabs' rules, numbers aligned at the decimal point, notes below it.

    A short one floats; a long one is a longtable, and `paper.tex` keeps those that float before it in their order.
    """
    rows = list(rows_of(table))
    kinds = [_column(column, [row[place] for row, _ in rows]) for place, column in enumerate(table.columns)]
    widths = _wrapped(kinds)
    specification = (
        "@{}" + "".join(kind.specification(width) for kind, width in zip(kinds, widths, strict=True)) + "@{}"
    )
    head = _head(table.columns, kinds)
    several = any(len(group.rows) > 1 for group in table.groups)
    lines = [_line(row, kinds, first=first, apart=several and k > 0) for k, (row, first) in enumerate(rows)]
    caption = rf"\caption{{{' '.join(to_latex(words.caption).split())}}}\label{{tab:{label(table.key)}}}"
    notes = " ".join(to_latex(words.notes).split())
    n_lines = sum(line.count(r"\\") for line in lines)
    write = _floating if n_lines <= MOST_FLOATING else _running
    return "\n".join([*PREAMBLE, *write(specification, caption, head, lines, notes)]) + "\n"


def is_running(text: str) -> bool:
    r"""Whether a table for `\input` runs over pages where it stands, and does not float."""
    return r"\begin{longtable}" in text


SIZE = r"\footnotesize\setlength{\tabcolsep}{3pt}"
NUMBERS = (
    r"\sisetup{group-separator={,}, group-digits=integer, group-minimum-digits=4, retain-explicit-plus, mode=text,"
    r" reset-text-series=false, table-align-text-before=false, table-align-text-after=false}"
)


def _floating(specification: str, caption: str, head: str, lines: Sequence[str], notes: str) -> list[str]:
    below = [r"\begin{tablenotes}\scriptsize", rf"\item {notes}", r"\end{tablenotes}"] if notes else []
    return [
        r"\begin{table*}[tbp]",
        r"\centering",
        r"\begin{threeparttable}",
        caption,
        SIZE,
        NUMBERS,
        rf"\begin{{tabular}}{{{specification}}}",
        rf"\toprule {head} \midrule",
        *lines,
        r"\bottomrule",
        r"\end{tabular}",
        *below,
        r"\end{threeparttable}",
        r"\end{table*}",
    ]


def _running(specification: str, caption: str, head: str, lines: Sequence[str], notes: str) -> list[str]:
    below = [rf"\nopagebreak\noindent{{\scriptsize {notes}\par}}"] if notes else []
    return [
        r"\begingroup",
        SIZE,
        NUMBERS,
        r"\setlength{\LTcapwidth}{\linewidth}",
        rf"\begin{{longtable}}{{{specification}}}",
        rf"{caption}\\",
        rf"\toprule {head} \midrule \endfirsthead",
        rf"\toprule {head} \midrule \endhead",
        r"\bottomrule \endfoot",
        r"\bottomrule \endlastfoot",
        *(f"{line}*" for line in lines[: FEWEST_ROWS - 1]),
        *lines[FEWEST_ROWS - 1 :],
        r"\end{longtable}",
        *below,
        r"\endgroup",
    ]


@dataclass(frozen=True, kw_only=True, slots=True)
class _Kind:
    """How a column is set."""

    is_text: bool
    letters: int
    """Of its widest cell."""
    longest_word: int = 0
    numbers: str = ""
    """siunitx's model of its numbers, where there are some."""
    after: str = ""
    """What room is left for after each number: its unit and the widest letter of a footnote."""

    def specification(self, width: float) -> str:
        if self.is_text and width:
            return rf">{{\raggedright\arraybackslash}}p{{{width:.3f}\linewidth}}"
        if not self.numbers:
            return "l" if self.is_text else "r"
        after = rf", table-space-text-post={{{self.after}}}" if self.after else ""
        return f"S[table-format={self.numbers}{after}]"


def _column(column: Column, cells: Sequence[Cell]) -> _Kind:
    texts = [_bare(text) for cell in cells for text in (cell.text, cell.under)]
    letters = max(len(text) for text in (*_split(_bare(column.title)), _bare(column.under), *texts))
    longest = max((len(word) for text in (column.title, *texts) for word in re.split(r"[\s-]", text)), default=0)
    if column.left:
        return _Kind(is_text=True, letters=letters, longest_word=longest)
    found = [match for cell in cells if (match := NUMBER.fullmatch(cell.text)) is not None]
    if not found:
        first = all(cell.text == "" for cell in cells)
        return _Kind(is_text=first, letters=letters, longest_word=longest)
    comparator = next((one["comparator"] for one in found if one["comparator"]), "")
    sign = "+" if any(one["sign"] for one in found) else ""
    whole = max(len(one["whole"].replace(",", "")) for one in found)
    part = max(len(one["part"] or "") for one in found)
    unit = r"\%" if any(one["unit"] for one in found) else ""
    after = unit + _raised(max((cell.note for cell in cells), key=len))
    return _Kind(is_text=False, letters=letters + 1, numbers=f"{comparator}{sign}{whole}.{part}", after=after)


def _raised(note: str) -> str:
    """Return the letter of a footnote as LaTeX; nothing of none."""
    return rf"\textsuperscript{{{escape(note)}}}" if note else ""


def _bare(text: str) -> str:
    return text.replace(REGIME_BEGINS, "").replace(REGIME_ENDS, "")


def _wrapped(kinds: Sequence[_Kind]) -> list[float]:
    """Return the share of the line of each column of text that wraps; 0 for one as wide as its widest cell.

    The widest columns of text give way, down to one width for all of them, and none below its longest word.
    """
    room = MOST_LETTERS - 2 * len(kinds)
    text = [place for place, kind in enumerate(kinds) if kind.is_text]
    if sum(kind.letters for kind in kinds) <= room:
        return [0.0] * len(kinds)
    free = room - sum(kind.letters for kind in kinds if not kind.is_text)
    widths = [0.0] * len(kinds)
    for done, place in enumerate(sorted(text, key=lambda one: kinds[one].letters)):
        width = min(kinds[place].letters, max(free // (len(text) - done), kinds[place].longest_word + 1))
        widths[place] = width / MOST_LETTERS if width < kinds[place].letters else 0.0
        free -= width
    return widths


def _split(title: str) -> list[str]:
    """Break a long head into two lines at the space or hyphen nearest to its middle."""
    places = [found.end() for found in re.finditer(r"[ -]", title[:-1])]
    if len(title) <= LONG_TITLE or not places:
        return [title]
    middle = min(places, key=lambda place: abs(place - len(title) / 2))
    return [title[:middle].rstrip(), title[middle:]]


def _head(columns: Sequence[Column], kinds: Sequence[_Kind]) -> str:
    cells = []
    for column, kind in zip(columns, kinds, strict=True):
        lines = [escape(line) for line in _split(_bare(column.title))]
        lines[-1] = Latex(lines[-1] + _raised(column.note))
        if column.under:
            lines.append(escape(_bare(column.under)))
        side = "l" if kind.is_text else "c" if kind.numbers else "r"
        stacked = r"\\".join(lines)
        cells.append(rf"{{\shortstack[{side}]{{{stacked}}}}}" if len(lines) > 1 else f"{{{stacked}}}")
    return " & ".join(cells) + r" \\"


def _line(row: Row, kinds: Sequence[_Kind], *, first: bool, apart: bool) -> str:
    top = [
        _cell(cell, kind) if place or first else "" for place, (cell, kind) in enumerate(zip(row, kinds, strict=True))
    ]
    space = r"\addlinespace " if first and apart else ""
    guard = "{}" if top[0].startswith(("[", "*")) else ""  # else a rule or a line's end takes it for its own
    lines = space + guard + " & ".join(top) + r" \\"
    if any(cell.under for cell in row):
        below = [rf"{{\scriptsize {escape(_bare(cell.under))}}}" if cell.under else "" for cell in row]
        lines = lines + "*\n" + " & ".join(below) + r" \\"
    return lines


def _cell(cell: Cell, kind: _Kind) -> str:
    found = NUMBER.fullmatch(cell.text)
    if found is None or not kind.numbers:
        text = _marked(cell.text)
        bold = (rf"\textbf{{{text}}}" if cell.look == "key" and text else text) + _raised(cell.note)
        return f"{{{bold}}}" if kind.numbers and bold else bold
    digits = cell.text.replace(",", "").replace(MINUS, "-").replace("%", r"\%") + _raised(cell.note)
    return rf"\bfseries {digits}" if cell.look == "key" else digits


def _marked(text: str) -> str:
    """Return a text as LaTeX with the names of regimes in their own face."""
    parts = re.split(f"[{REGIME_BEGINS}{REGIME_ENDS}]", text)
    return "".join(rf"\cxregime{{{escape(part)}}}" if place % 2 else escape(part) for place, part in enumerate(parts))
