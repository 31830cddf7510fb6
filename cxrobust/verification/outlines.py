"""What the fonts in a PDF draw: whether each letter's outline is one that its face has for that character.

A letter is read by what its font says that it stands for; what is seen is the outline.
"""

import io
import re
import struct
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import pikepdf
from fontTools.pens.recordingPen import DecomposingRecordingPen
from fontTools.subset import Options, Subsetter
from fontTools.ttLib import TTFont, TTLibError

from cxrobust.reports.fonts import font_folders
from cxrobust.verification.drawn import Drawn
from cxrobust.verification.page_fonts import Font
from cxrobust.verification.reading import MALFORMED, MOST_STREAM, unpacked

UNREADABLE = (*MALFORMED, TTLibError, struct.error, EOFError)
MOST_PARTS = 2_000
"""Lines, curves and parts of one letter."""
ENCODING = "/Identity-H"
"""Codes of two bytes, of which each is the number of a letter in its font."""
FONT_FILE = "/FontFile2"
OTHER_KIND = "it is of a kind that cxrobust never writes"
OTHER_FILES = ("/FontFile", "/FontFile3")
OTHER_DRAWINGS = ("CFF ", "CFF2", "COLR", "SVG ", "sbix", "CBDT", "EBDT", "fvar")
"""Tables of a font that draw letters beside its outlines, which cxrobust's have none of."""
PROGRAMS = ("fpgm", "prep", "cvt ")
"""What the programs of letters call and read."""
SCALE = 10_000
"""What outlines are compared in: shares of the size."""

Outline = tuple[Any, ...]
"""Lines and curves, and the program that moves them where there is one."""
NO_LETTER: Outline = ()


def differing_outlines(given: Drawn, expected: Drawn) -> list[str]:
    """Tell each letter that a document's fonts draw otherwise than those of the document expected.

    Where another place of page breaks brings a letter that the latter does not show in that face, the face is asked
    that is installed here.
    """
    known: dict[tuple[str, str], set[Outline]] = {}
    for _, font, codes in _shown(expected):
        file = _FontFile.of(font)
        for code in codes:
            known.setdefault((_face(font.name), font.characters.get(code, "")), set()).add(file.outline(code))
    found = []
    for page, font, codes in _shown(given):
        face = _face(font.name)
        try:
            file = _FontFile.of(font)
            wrong = [
                text
                for code in sorted(codes)
                for text in (font.characters.get(code, ""),)
                for outline in (file.outline(code),)
                if outline not in (known.get((face, text)) or _installed(face, text))
            ]
        except UNREADABLE as error:
            found.append(f"page {page}: the font {font.name} cannot be read ({error})")
            continue
        if wrong:
            found.append(
                f"page {page}: the font {font.name} does not draw {', '.join(map(repr, wrong[:8]))}"
                f"{f' and {len(wrong) - 8:,} more' if len(wrong) > 8 else ''} as that face does"
            )
    return found


def _shown(drawn: Drawn) -> Iterator[tuple[int, Font, set[int]]]:
    """Return each font with the first page that it is on, and all codes that are shown in it."""
    found: dict[int, tuple[int, Font, set[int]]] = {}
    for number, page in enumerate(drawn.pages, start=1):
        for step in page:
            if step.codes:
                found.setdefault(id(step.font), (number, step.font, set()))[2].update(step.codes)
    yield from found.values()


def _face(name: str) -> str:
    """Return a face's name in one form, which programs write in several.

    Examples
    --------
    >>> _face("Source-Sans-Pro-Semi-Bold"), _face("SourceSansPro-Semibold"), _face("SourceSansPro-Regular")
    ('sourcesansprosemibold', 'sourcesansprosemibold', 'sourcesanspro')
    """
    return re.sub(r"[\W_]", "", name).lower().removesuffix("regular")


class _Pen(DecomposingRecordingPen):  # type: ignore[misc]
    """Records an outline, but of a stranger's font no more than a letter needs."""

    def __init__(self, glyphs: Any) -> None:
        super().__init__(glyphs)
        self._n_parts = 0

    def addComponent(self, *args: Any, **others: Any) -> None:  # noqa: N802  fontTools' name
        self._count()
        super().addComponent(*args, **others)

    def lineTo(self, *args: Any) -> None:  # noqa: N802
        self._count()
        super().lineTo(*args)

    def qCurveTo(self, *args: Any) -> None:  # noqa: N802
        self._count()
        super().qCurveTo(*args)

    def _count(self) -> None:
        self._n_parts += 1
        if self._n_parts > MOST_PARTS:
            raise ValueError("a letter has too many lines")


@dataclass(frozen=True, kw_only=True, slots=True)
class _FontFile:
    """A font that a PDF embeds, or one that is installed."""

    font: Any
    glyphs: bytes | None
    """Which letter each code draws, two bytes a code; None where the code is the letter's number."""
    drawn: dict[str, Outline] = field(default_factory=dict)

    @classmethod
    def of(cls, font: Font) -> "_FontFile":
        if font.source is None or font.source.get("/Encoding") != ENCODING:
            raise ValueError(OTHER_KIND)
        [inner] = font.source.DescendantFonts
        file = unpacked(inner.FontDescriptor[FONT_FILE], MOST_STREAM, where="a font")
        table = inner.get("/CIDToGIDMap")
        glyphs = unpacked(table, MOST_STREAM, where="a font") if isinstance(table, pikepdf.Stream) else None
        opened = TTFont(io.BytesIO(file), lazy=True)
        if any(key in inner.FontDescriptor for key in OTHER_FILES) or any(tag in opened for tag in OTHER_DRAWINGS):
            raise ValueError(OTHER_KIND)
        return cls(font=opened, glyphs=glyphs)

    def outline(self, code: int) -> Outline:
        number = code if self.glyphs is None else int.from_bytes(self.glyphs[2 * code : 2 * code + 2], "big")
        return self.named(self.font.getGlyphName(number)) if number < self.font["maxp"].numGlyphs else NO_LETTER

    def named(self, name: str) -> Outline:
        if name not in self.drawn:
            self.drawn[name] = self._named(name)
        return self.drawn[name]

    def _named(self, name: str) -> Outline:
        glyphs = self.font.getGlyphSet()
        pen = _Pen(glyphs)
        glyphs[name].draw(pen)
        unit = SCALE / self.font["head"].unitsPerEm
        lines = tuple(
            (kind, *(None if point is None else (round(point[0] * unit), round(point[1] * unit)) for point in points))
            for kind, points in pen.value
        )
        return (lines, self._program(name))

    def _program(self, name: str) -> bytes:
        """Return the program that moves a letter's outline, with what it calls and reads; most have none."""
        glyph = self.font["glyf"][name]
        program = bytes(glyph.program.getBytecode()) if hasattr(glyph, "program") else b""
        called = [self.font.getTableData(tag) for tag in PROGRAMS if tag in self.font] if program else []
        return b"".join([program, *called])


@cache
def _installed(face: str, text: str) -> frozenset[Outline]:
    """Return every outline that an installed face has for a text: its letters', their variants' and ligatures'."""
    path = _faces().get(face)
    if path is None or not text:
        return frozenset()
    options = Options(layout_features=["*"], notdef_outline=False, notdef_glyph=False, drop_tables=["GPOS", "name"])
    with TTFont(path) as font:
        subsetter = Subsetter(options)
        subsetter.populate(text=text)
        subsetter.subset(font)
        file = _FontFile(font=font, glyphs=None)
        outlines = {file.named(name) for name in font.getGlyphOrder()}
    return frozenset(outlines | {(lines, b"") for lines, _ in outlines})


@cache
def _faces() -> Mapping[str, Path]:
    """Return the file of each face of the report's own fonts."""
    found = {}
    for folder in font_folders():
        for path in sorted(folder.glob("*.ttf")):
            with TTFont(path, lazy=True) as font:
                found[_face(font["name"].getDebugName(4) or path.stem)] = path
    return found
