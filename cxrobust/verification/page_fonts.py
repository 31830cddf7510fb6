"""Fonts as a page of a PDF names them: what their codes stand for, and how wide each is."""

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import pikepdf

from cxrobust.verification.reading import MOST_STREAM, unpacked

LAST_CODE = 0xFFFF
_BLOCK_OF_CHARACTERS = re.compile(rb"beginbfchar(.*?)endbfchar", re.DOTALL)
_BLOCK_OF_RANGES = re.compile(rb"beginbfrange(.*?)endbfrange", re.DOTALL)
_STRING = re.compile(rb"<([0-9A-Fa-f\s]*)>")
_CHARACTER = re.compile(rb"<([0-9A-Fa-f\s]+)>\s*<([0-9A-Fa-f\s]*)>")
_RANGE = re.compile(rb"<([0-9A-Fa-f\s]+)>\s*<([0-9A-Fa-f\s]+)>\s*(?:<([0-9A-Fa-f\s]+)>|(\[[^\]]*\]))")


@dataclass(frozen=True, kw_only=True, slots=True)
class Font:
    """A font as a page names it."""

    name: str
    """Without what tells which of its characters are there."""
    characters: Mapping[int, str]
    """What each code stands for."""
    widths: Mapping[int, float]
    """In thousandths of the size."""
    usual: float
    """Of codes that are not among them."""
    source: Any
    """Its object in the file."""

    def advance(self, parts: Iterable[Any]) -> float:
        """Return how far the text of an operand leads on, in sizes."""
        return sum(moved for _, moved in self.moves(parts))

    def moves(self, parts: Iterable[Any]) -> Iterator[tuple[int | None, float]]:
        r"""Return each code of an operand with its width in sizes, and without one how far a number between them leads.

        Examples
        --------
        >>> font = Font(name="", characters={}, widths={65: 600.0}, usual=500, source=None)
        >>> list(font.moves([pikepdf.String(b"\x00A\x00B"), 100]))
        [(65, 0.6), (66, 0.5), (None, -0.1)]
        """
        for part in parts:
            if isinstance(part, pikepdf.String):
                yield from ((code, self.widths.get(code, self.usual) / 1000) for code in codes_of(bytes(part)))
            elif not isinstance(part, pikepdf.Object) or is_number(part):
                yield None, -float(part) / 1000


NO_FONT = Font(name="", characters={}, widths={}, usual=0, source=None)
Fonts = dict[Any, Font]
"""Fonts that were read, by their numbers in the file."""


def font_of(resources: Any, name: str, known: Fonts) -> Font:
    """Return the font that a page or group names so; `known` keeps those that were read."""
    found = (resources.get("/Font") or {}).get(name)
    if found is None:
        return NO_FONT
    key = found.objgen
    if key not in known or key == (0, 0):
        known[key] = _read_font(found)
    return known[key]


def _read_font(source: Any) -> Font:
    table = source.get("/ToUnicode")
    [inner, *_] = source.get("/DescendantFonts") or [pikepdf.Dictionary()]
    return Font(
        name=str(source.get("/BaseFont", "")).rpartition("+")[2].strip("/"),
        characters={} if table is None else _characters(unpacked(table, MOST_STREAM, where="a font's characters")),
        widths=_widths(list(inner.get("/W") or [])),
        usual=float(inner.get("/DW", 1000)),
        source=source,
    )


def _widths(listed: list[Any]) -> dict[int, float]:
    """Read a table of widths, in which a code begins a list of them, or two codes a range of one width."""
    found: dict[int, float] = {}
    rest = iter(listed)
    for first in rest:
        second = next(rest, first)
        if isinstance(second, pikepdf.Array):
            found.update({int(first) + k: float(one) for k, one in enumerate(second)})
        else:
            width = float(next(rest, 0))
            found.update(dict.fromkeys(range(int(first), min(int(second), LAST_CODE) + 1), width))
    return found


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


def codes_of(glyphs: bytes) -> Iterator[int]:
    """Return the codes, of two bytes each, of a text that is shown."""
    return (int.from_bytes(glyphs[k : k + 2], "big") for k in range(0, len(glyphs) - 1, 2))


def is_number(value: Any) -> bool:
    """Whether an operand is a number, of which qpdf gives some as decimals."""
    return isinstance(value, int | float) or type(value).__name__ == "Decimal"
