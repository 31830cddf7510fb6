"""A page of a PDF as it is read: its words in the order of drawing, and where on the page each step is."""

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import pikepdf

from cxrobust.verification.reading import MOST_STREAM, unpacked

MM = 25.4 / 72
HYPHEN = "\N{HYPHEN}"
"""Where a word was broken at the end of a line; in some faces a hyphen that was written is read as this one too."""

SHOWS_TEXT = frozenset({"TJ", "Tj", "'", '"'})
NEAR = 2.6
"""Letters of a figure's text that are no further apart, in mm, belong together."""
MOST_DEEP = 8
"""Groups within groups that are followed."""

LAST_CODE = 0xFFFF
_BLOCK_OF_CHARACTERS = re.compile(rb"beginbfchar(.*?)endbfchar", re.DOTALL)
_BLOCK_OF_RANGES = re.compile(rb"beginbfrange(.*?)endbfrange", re.DOTALL)
_STRING = re.compile(rb"<([0-9A-Fa-f\s]*)>")
_CHARACTER = re.compile(rb"<([0-9A-Fa-f\s]+)>\s*<([0-9A-Fa-f\s]*)>")
_RANGE = re.compile(rb"<([0-9A-Fa-f\s]+)>\s*<([0-9A-Fa-f\s]+)>\s*(?:<([0-9A-Fa-f\s]+)>|(\[[^\]]*\]))")

Matrix = tuple[float, float, float, float, float, float]
IDENTITY: Matrix = (1, 0, 0, 1, 0, 0)


@dataclass(frozen=True, kw_only=True, slots=True)
class Step:
    """One step of drawing a page: an operator with its operands."""

    said: str
    """As it would stand in the file, operands first."""
    text: str
    """The text that it shows."""
    right: float
    """Where, in mm from the page's left edge."""
    down: float
    """Where, in mm from its top edge."""
    mark: int | None
    """The number of its marked content, by which the structure tree knows it; None outside."""
    in_margin: bool
    """Whether it is an artefact: a rule, a running head, a page number."""
    goes_on: bool
    """Whether its text goes on with that of the step before in another face."""


def content_of(page: pikepdf.Page) -> bytes:
    """Return all that a page's content says, of one stream or several."""
    contents = page.obj.get("/Contents")
    parts = list(contents) if isinstance(contents, pikepdf.Array) else [] if contents is None else [contents]
    return b"\n".join(unpacked(part, MOST_STREAM, where="a page's content") for part in parts)


def steps(page: pikepdf.Page) -> Iterator[Step]:
    """Return what draws a page, step by step; what is drawn as a group in its place."""
    yield from _steps(page.obj, float(page.mediabox[3]), IDENTITY, _Marks(), fonts={}, depth=0)


@dataclass(slots=True)
class _Marks:
    """The marked content that is open."""

    open: list[tuple[int | None, bool]] = field(default_factory=list)

    @property
    def number(self) -> int | None:
        return next((number for number, _ in reversed(self.open) if number is not None), None)

    @property
    def in_margin(self) -> bool:
        return any(artefact for _, artefact in self.open)


def _steps(
    drawn: Any, height: float, start: Matrix, marks: _Marks, *, fonts: dict[Any, dict[int, str]], depth: int
) -> Iterator[Step]:
    resources = drawn.get("/Resources") or pikepdf.Dictionary()
    matrix, font, stack, text_matrix, has_text = start, "", [], IDENTITY, False
    for instruction in pikepdf.parse_content_stream(drawn):
        operator, operands = str(instruction.operator), list(instruction.operands)
        if operator == "q":
            stack.append((matrix, font))
        elif operator == "Q":
            matrix, font = stack.pop() if stack else (matrix, font)
        elif operator == "cm":
            matrix = _times(_matrix(operands), matrix)
        elif operator == "Tf":
            font = str(operands[0])
        elif operator in {"BT", "Tm"}:
            text_matrix = _matrix(operands) if operator == "Tm" else IDENTITY
            has_text = False
        elif operator in {"Td", "TD"}:
            text_matrix = _times(_matrix([1, 0, 0, 1, *operands]), text_matrix)
        elif operator in {"BDC", "BMC"}:
            marks.open.append(_mark(operands))
        elif operator == "EMC" and marks.open:
            marks.open.pop()
        is_text = operator in SHOWS_TEXT
        at = _times(text_matrix, matrix) if is_text or operator == "Tm" else _at(operands, matrix)
        yield Step(
            said=" ".join([*(_shown(one) for one in operands), operator]),
            text=_text(operands, _characters_of(resources, font, fonts)) if is_text else "",
            right=at[4] * MM,
            down=(height - at[5]) * MM,
            mark=marks.number,
            in_margin=marks.in_margin,
            goes_on=is_text and has_text,
        )
        has_text = has_text or is_text
        group = _group(operands, resources) if operator == "Do" and depth < MOST_DEEP else None
        if group is not None:
            inner = _times(_matrix(list(group.get("/Matrix") or IDENTITY)), matrix)
            yield from _steps(group, height, inner, marks, fonts=fonts, depth=depth + 1)


def _group(operands: list[Any], resources: Any) -> Any:
    found = (resources.get("/XObject") or {}).get(str(operands[0]))
    return found if found is not None and found.get("/Subtype") == "/Form" else None


@dataclass(frozen=True, kw_only=True, slots=True)
class Word:
    """A word on a page."""

    text: str
    page: int
    """From 1."""
    mark: int | None


def words(drawn: Iterable[Step], *, page: int, margins: bool) -> list[Word]:
    """Return the words of a page in the order in which they are drawn; those of margins only where asked for.

    In figures a text is a step for each of its faces, or for each letter; letters that stand close are one word.
    """
    found: list[Word] = []
    last: Step | None = None
    for step in drawn:
        if not step.text or (step.in_margin and not margins):
            continue
        pieces = [Word(text=word, page=page, mark=step.mark) for word in step.text.split()]
        if last is not None and found and pieces and _continues(last, step):
            pieces[0] = Word(text=found.pop().text + pieces[0].text, page=page, mark=step.mark)
        found += pieces
        last = step
    return found


def _continues(last: Step, step: Step) -> bool:
    is_near = abs(step.right - last.right) + abs(step.down - last.down) < NEAR
    is_one_text = step.goes_on or (len(last.text) == len(step.text) == 1 and is_near)
    return is_one_text and last.mark == step.mark and not last.text[-1].isspace() and not step.text[0].isspace()


def joined(found: list[Word]) -> list[Word]:
    """Return words with those that a line's end broke put together again."""
    whole: list[Word] = []
    for word in found:
        if whole and whole[-1].text.endswith(HYPHEN) and len(whole[-1].text) > 1:
            first = whole.pop()
            whole.append(Word(text=first.text[:-1] + word.text, page=first.page, mark=first.mark))
        else:
            whole.append(word)
    return whole


def _matrix(operands: list[Any]) -> Matrix:
    a, b, c, d, e, f = (float(one) for one in operands)
    return (a, b, c, d, e, f)


def _times(first: Matrix, then: Matrix) -> Matrix:
    a, b, c, d, e, f = first
    g, h, i, j, k, m = then
    return (a * g + b * i, a * h + b * j, c * g + d * i, c * h + d * j, e * g + f * i + k, e * h + f * j + m)


def _at(operands: list[Any], matrix: Matrix) -> Matrix:
    """Return a matrix that moves to where a step ends that names points, else to the origin."""
    numbers = [one for one in operands if not isinstance(one, pikepdf.Object) or _is_number(one)]
    if len(numbers) != len(operands) or len(numbers) not in {2, 4, 6}:
        return matrix
    x, y = (float(one) for one in (numbers[:2] if len(numbers) == 4 else numbers[-2:]))  # a rectangle begins with them
    return _times((1, 0, 0, 1, x, y), matrix)


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) or type(value).__name__ == "Decimal"


def _mark(operands: list[Any]) -> tuple[int | None, bool]:
    properties = operands[1] if len(operands) > 1 else None
    number = properties.get("/MCID") if isinstance(properties, pikepdf.Dictionary) else None
    return (None if number is None else int(number)), str(operands[0]) == "/Artifact"


def _shown(value: Any) -> str:
    return value.unparse().decode("latin-1") if isinstance(value, pikepdf.Object) else str(value)


def _text(operands: list[Any], characters: Mapping[int, str]) -> str:
    parts = operands[-1] if isinstance(operands[-1], pikepdf.Array) else [operands[-1]]
    glyphs = b"".join(bytes(part) for part in parts if isinstance(part, pikepdf.String))
    codes = (int.from_bytes(glyphs[k : k + 2], "big") for k in range(0, len(glyphs) - 1, 2))
    return "".join(characters.get(code, "\N{REPLACEMENT CHARACTER}") for code in codes)


def _characters_of(resources: Any, font: str, known: dict[Any, dict[int, str]]) -> Mapping[int, str]:
    """Return the characters that a font's glyphs stand for."""
    found = (resources.get("/Font") or {}).get(font) if font else None
    if found is None or "/ToUnicode" not in found:
        return {}
    key = found.objgen
    if key not in known or key == (0, 0):
        known[key] = _characters(unpacked(found.ToUnicode, MOST_STREAM, where="a font's characters"))
    return known[key]


def _characters(table: bytes) -> dict[int, str]:
    """Read a ToUnicode table of two-byte codes, in which a range counts on from one character or lists them.

    Examples
    --------
    >>> _characters(b"1 beginbfchar <0012> <0051> endbfchar 1 beginbfrange <0020> <0021> <0061> endbfrange")
    {18: 'Q', 32: 'a', 33: 'b'}
    >>> _characters(b"1 beginbfrange <0028> <0029> [<0031> <00660074>] endbfrange")
    {40: '1', 41: 'ft'}
    """
    found = {}
    for block in _BLOCK_OF_CHARACTERS.findall(table):
        found.update({_number(code): _utf16(character) for code, character in _CHARACTER.findall(block)})
    for block in _BLOCK_OF_RANGES.findall(table):
        for low, high, start, listed in _RANGE.findall(block):
            codes = range(_number(low), min(_number(high), LAST_CODE) + 1)
            each = _STRING.findall(listed) if listed else _counted(b"".join(start.split()), len(codes))
            found.update({code: _utf16(character) for code, character in zip(codes, each, strict=False)})
    return found


def _counted(start: bytes, n: int) -> Iterator[bytes]:
    """Return hexadecimal strings that count on from one, in its length."""
    return (b"%0*X" % (len(start), _number(start) + k) for k in range(n))


def _number(digits: bytes) -> int:
    return int(b"".join(digits.split()), 16)


def _utf16(digits: bytes) -> str:
    even = b"".join(digits.split()).decode()
    return bytes.fromhex(even + "0" * (len(even) % 2)).decode("utf-16-be", errors="replace")
