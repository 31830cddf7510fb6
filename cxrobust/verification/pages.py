"""A page of a PDF as it is read: each step of drawing it, where it is, and what it shows."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from itertools import count
from typing import Any

import pikepdf

from cxrobust.verification.page_boxes import (
    EVERYWHERE,
    IDENTITY,
    MM,
    NOWHERE,
    Box,
    Matrix,
    Point,
    box_of,
    matrix_of,
    through,
    times,
)
from cxrobust.verification.page_fonts import NO_FONT, Font, Fonts, font_of, is_number
from cxrobust.verification.reading import MOST_STREAM, unpacked

SHOWS_TEXT = frozenset({"TJ", "Tj", "'", '"'})
STROKES = frozenset({"S", "s", "B", "B*", "b", "b*"})
FILLS = frozenset({"f", "F", "f*"})
PAINTS = STROKES | FILLS
ENDS_PATH = PAINTS | {"n"}
POINTS = {"m": 1, "l": 1, "c": 3, "v": 2, "y": 2}
"""Points that an operator adds to a path."""
SETS_TEXT = frozenset({"Tr", "Tz", "Ts", "Tc", "Tw", "T*"})
"""Operators that stretch, raise, move or hide letters, which cxrobust's documents have none of."""
SETS_INK = {"g": 1, "rg": 3, "k": 4}
OTHER_INK = frozenset({"cs", "sc", "scn"})
UNKNOWN = -1.0
"""Stands for an ink or an opacity that is not told in one number for each colour."""
MOST_BACK = 400
"""Thousandths of the size by which letters are drawn closer together at most."""
HAIR = 0.04
"""Millimetres on each side that the thinnest line fills, such as a rectangle of no height."""
LETTERS_HIGH = 0.66
"""How high digits and capital letters stand, in sizes."""
MOST_DEEP = 8
"""Groups within groups that are followed."""


@dataclass(frozen=True, slots=True)
class Ground:
    """What else is painted where a letter stands."""

    layers: tuple[tuple[float, ...], ...] = ()
    """Ink and opacity of each rectangle that lies under it, up from the last that nothing shows through."""
    n_marks: int = 0
    """How much else is painted at it, or stands beside it on its line."""


PAPER = Ground()


@dataclass(frozen=True, kw_only=True, slots=True)
class Look:
    """How letters look."""

    face: str
    size: float
    """In points."""
    ink: tuple[float, ...]
    opacity: float
    set: tuple[str, ...]
    """What stretches, raises or hides them, as it would stand in the file."""
    ground: Ground = PAPER


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
    artefact: int | None
    """The number on the page of the artefact that it belongs to: a rule, a running head, a page number."""
    goes_on: bool
    """Whether its text goes on with that of the step before in another face."""
    in_figure: bool
    """Whether it belongs to a picture that a figure shows; what a page draws itself does not, whatever it is called."""
    font: Font
    codes: tuple[int, ...]
    """Of the text's letters in their font."""
    looks: tuple[Look | None, ...]
    """Of each letter of its text; None in figures."""
    boxes: tuple[Box, ...]
    """What each letter of its text fills, from the line that it stands on up to its height; none in figures."""
    box: Box
    """What its letters fill from the line they stand on up to half their size, or what else it paints; what a figure
    is made of is counted as the figure's. Empty where it paints nothing."""
    fill: tuple[float, ...] | None
    """Ink and opacity of an upright rectangle that it fills; None of anything else."""
    clip: Box
    """Where all that is painted shows."""
    reach: Box
    """Beyond which nothing that is painted shows."""
    goes_back: bool
    """Whether letters of its text are drawn left of letters before them."""

    @property
    def in_margin(self) -> bool:
        """Whether it is an artefact."""
        return self.artefact is not None


def content_of(page: pikepdf.Page) -> bytes:
    """Return all that a page's content says, of one stream or several."""
    contents = page.obj.get("/Contents")
    parts = list(contents) if isinstance(contents, pikepdf.Array) else [] if contents is None else [contents]
    return b"\n".join(unpacked(part, MOST_STREAM, where="a page's content") for part in parts)


def steps(page: pikepdf.Page, fonts: Fonts | None = None) -> Iterator[Step]:
    """Return what draws a page, step by step; what is drawn as a group in its place.

    `fonts` keeps what was read of the document's fonts from one page to the next.
    """
    height = float(page.mediabox[3])
    yield from _steps(page.obj, height, _State(), _Marks(), fonts={} if fonts is None else fonts, depth=0)


@dataclass(slots=True)
class _Marks:
    """The marked content that is open."""

    open: list[tuple[int | None, str, int | None]] = field(default_factory=list)
    """Number, tag, and of an artefact how many came before it."""
    artefacts: Iterator[int] = field(default_factory=count)

    def begin(self, operands: list[Any]) -> None:
        number, tag = _mark(operands)
        self.open.append((number, tag, next(self.artefacts) if tag == "/Artifact" else None))

    @property
    def number(self) -> int | None:
        return next((number for number, _, _ in reversed(self.open) if number is not None), None)

    @property
    def artefact(self) -> int | None:
        return next((artefact for _, _, artefact in self.open if artefact is not None), None)

    @property
    def is_figure(self) -> bool:
        return any(tag == "/Figure" for _, tag, _ in self.open)


@dataclass(slots=True)
class _State:
    """What a page sets before it draws."""

    matrix: Matrix = IDENTITY
    font: Font = NO_FONT
    size: float = 0
    ink: tuple[float, ...] = (0, 0, 0)
    opacity: float = 1
    set: tuple[str, ...] = ()
    line: float = 1
    clip: Box = EVERYWHERE
    reach: Box = EVERYWHERE

    def change(self, operator: str, operands: list[Any], resources: Any) -> None:
        """Set what an operator sets of letters and lines."""
        if operator == "cm":
            self.matrix = times(matrix_of(operands), self.matrix)
        elif operator == "w":
            self.line = float(operands[0])
        elif operator in SETS_INK:
            ink = tuple(float(one) for one in operands)
            self.ink = ink * 3 if operator == "g" else ink
        elif operator in OTHER_INK:
            self.ink = (UNKNOWN,)
        elif operator in SETS_TEXT:
            kept = [one for one in self.set if one.split()[-1] != operator]
            self.set = tuple(sorted([*kept, _said(operands, operator)]))
        elif operator == "gs":
            self.opacity = _opacity((resources.get("/ExtGState") or {}).get(str(operands[0])), self.opacity)


def _opacity(state: Any, before: float) -> float:
    if state is None or set(state.keys()) - {"/Type", "/CA", "/ca"}:
        return UNKNOWN
    return float(state.get("/ca", before))


@dataclass(slots=True)
class _Path:
    """A path that is not painted yet."""

    points: list[Point] = field(default_factory=list)
    parts: list[str] = field(default_factory=list)
    clips: bool = False

    def add(self, operator: str, operands: list[Any], matrix: Matrix) -> None:
        """Add what an operator adds, and nothing for another."""
        if operator == "re":
            x, y, width, height = (float(one) for one in operands)
            corners = ((x, y), (x + width, y), (x, y + height), (x + width, y + height))
            self.points += [through(corner, matrix) for corner in corners]
        elif operator in POINTS:
            numbers = [float(one) for one in operands]
            pairs = zip(numbers[::2], numbers[1::2], strict=True)
            self.points += [through(pair, matrix) for pair in pairs]
        elif operator in {"W", "W*"}:
            self.clips = True
        else:
            return
        self.parts.append(operator)

    def is_upright(self, matrix: Matrix) -> bool:
        """Whether it is one rectangle whose sides are those of the page's."""
        a, b, c, d, _, _ = matrix
        return self.parts == ["re"] and (a == d == 0 or b == c == 0)

    def limits(self, height: float) -> Box:
        """Return where painting shows after it clips: where it is more than one rectangle, nowhere that is known."""
        return box_of(self.points, height) if self.parts[:-1] == ["re"] else NOWHERE


@dataclass(slots=True)
class _Text:
    """Where text is shown next."""

    matrix: Matrix = IDENTITY
    advance: float = 0
    """How far the text that was shown there leads on."""
    has_begun: bool = False

    def move(self, operator: str, operands: list[Any]) -> None:
        """Go where an operator leads."""
        if operator in {"BT", "Tm"}:
            self.matrix, self.advance = (matrix_of(operands) if operator == "Tm" else IDENTITY), 0
            self.has_begun = False
        elif operator in {"Td", "TD"}:
            self.matrix, self.advance = times(matrix_of([1, 0, 0, 1, *operands]), self.matrix), 0

    def show(self, parts: Iterable[Any], state: _State, height: float) -> tuple[Box, list[tuple[int, Box]]]:
        """Go on behind a text; return what it fills up to half its size, and each code with what that fills."""
        at, begun = times(self.matrix, state.matrix), self.advance
        found = []
        for code, moved in state.font.moves(parts):
            start = self.advance
            self.advance += moved * state.size
            if code is not None:
                found.append((code, _letters_box(at, start, self.advance, LETTERS_HIGH * state.size, height)))
        return _letters_box(at, begun, self.advance, state.size / 2, height), found


def _steps(drawn: Any, height: float, state: _State, marks: _Marks, *, fonts: Fonts, depth: int) -> Iterator[Step]:
    resources = drawn.get("/Resources") or pikepdf.Dictionary()
    stack: list[_State] = []
    path = _Path()
    text = _Text()
    for instruction in pikepdf.parse_content_stream(drawn):
        operator, operands = str(instruction.operator), list(instruction.operands)
        state.change(operator, operands, resources)
        path.add(operator, operands, state.matrix)
        text.move(operator, operands)
        if operator == "q":
            stack.append(replace(state))
        elif operator == "Q":
            state = stack.pop() if stack else state
        elif operator == "Tf":
            state.font, state.size = font_of(resources, str(operands[0]), fonts), float(operands[1])
        elif operator in {"BDC", "BMC"}:
            marks.begin(operands)
        elif operator == "EMC" and marks.open:
            marks.open.pop()
        is_text = operator in SHOWS_TEXT
        at = times(text.matrix, state.matrix) if is_text or operator == "Tm" else _at(operands, state.matrix)
        parts = _parts(operands) if is_text else ()
        group = _drawn(operands, resources) if operator == "Do" else None
        in_figure = depth > 0 and marks.is_figure
        if is_text:
            box, shown = text.show(parts, state, height)
        else:
            box, shown = NOWHERE if in_figure else _painted(operator, path, group, state, height), []
        letters = [
            (letter, code_box)
            for code, code_box in shown
            for letter in state.font.characters.get(code, "\N{REPLACEMENT CHARACTER}")
        ]
        yield Step(
            said=_said(operands, operator),
            text="".join(letter for letter, _ in letters),
            right=at[4] * MM,
            down=(height - at[5]) * MM,
            mark=marks.number,
            artefact=marks.artefact,
            goes_on=is_text and text.has_begun,
            in_figure=in_figure,
            font=state.font,
            codes=tuple(code for code, _ in shown),
            looks=(_look(state, operator, at) if is_text and not in_figure else None,) * len(letters),
            boxes=() if in_figure else tuple(letter_box for _, letter_box in letters),
            box=box,
            fill=(*state.ink, state.opacity) if operator in FILLS and path.is_upright(state.matrix) else None,
            clip=state.clip,
            reach=state.reach,
            goes_back=_goes_back(parts),
        )
        text.has_begun = text.has_begun or is_text
        if operator in ENDS_PATH:
            if path.clips:
                state.clip = state.clip.within(path.limits(height))
                state.reach = state.reach.within(box_of(path.points, height).wider(HAIR))
            path = _Path()
        if group is not None and group.get("/Subtype") == "/Form" and depth < MOST_DEEP:
            inner = replace(state, matrix=times(matrix_of(group.get("/Matrix") or IDENTITY), state.matrix))
            yield from _steps(group, height, inner, marks, fonts=fonts, depth=depth + 1)


def _drawn(operands: list[Any], resources: Any) -> Any:
    """Return the image or group that is drawn."""
    return (resources.get("/XObject") or {}).get(str(operands[0]))


def _look(state: _State, operator: str, at: Matrix) -> Look:
    a, b, c, d, _, _ = at
    other = () if operator in {"TJ", "Tj"} else (operator,)
    return Look(
        face=state.font.name,
        size=abs(a * d - b * c) ** 0.5 * state.size,
        ink=state.ink,
        opacity=state.opacity,
        set=(*state.set, *other),
    )


def _goes_back(parts: Iterable[Any]) -> bool:
    return any(not isinstance(part, pikepdf.String) and float(part) > MOST_BACK for part in parts)


def _letters_box(at: Matrix, start: float, end: float, top: float, height: float) -> Box:
    corners = ((start, 0.0), (end, 0.0), (start, top), (end, top))
    return box_of([through(corner, at) for corner in corners], height)


def _painted(operator: str, path: _Path, group: Any, state: _State, height: float) -> Box:
    """Return the extent of what a step that shows no text paints."""
    if operator in PAINTS:
        a, b, c, d, _, _ = state.matrix
        rim = state.line / 2 * abs(a * d - b * c) ** 0.5 * MM if operator in STROKES else 0
        box = box_of(path.points, height).wider(rim)
        return box.wider(HAIR) if path.points and box.is_empty else box
    if operator == "sh":
        return state.reach
    if operator not in {"Do", "INLINE IMAGE"}:
        return NOWHERE
    left, bottom, right, top = 0.0, 0.0, 1.0, 1.0
    matrix = state.matrix
    if group is not None and group.get("/Subtype") == "/Form":
        left, bottom, right, top = (float(side) for side in group.BBox)
        matrix = times(matrix_of(group.get("/Matrix") or IDENTITY), matrix)
    corners = ((left, bottom), (right, bottom), (left, top), (right, top))
    return box_of([through(corner, matrix) for corner in corners], height)


def _at(operands: list[Any], matrix: Matrix) -> Matrix:
    """Return a matrix that moves to where a step ends that names points, else to the origin."""
    numbers = [one for one in operands if not isinstance(one, pikepdf.Object) or is_number(one)]
    if len(numbers) != len(operands) or len(numbers) not in {2, 4, 6}:
        return matrix
    x, y = (float(one) for one in (numbers[:2] if len(numbers) == 4 else numbers[-2:]))  # a rectangle begins with them
    return times((1, 0, 0, 1, x, y), matrix)


def _mark(operands: list[Any]) -> tuple[int | None, str]:
    properties = operands[1] if len(operands) > 1 else None
    number = properties.get("/MCID") if isinstance(properties, pikepdf.Dictionary) else None
    return (None if number is None else int(number)), str(operands[0])


def _said(operands: list[Any], operator: str) -> str:
    return " ".join([*(_shown(one) for one in operands), operator])


def _shown(value: Any) -> str:
    return value.unparse().decode("latin-1") if isinstance(value, pikepdf.Object) else str(value)


def _parts(operands: list[Any]) -> tuple[Any, ...]:
    """Return what an operator that shows text is given: strings, and numbers between them."""
    last = operands[-1]
    return tuple(last) if isinstance(last, pikepdf.Array) else (last,)
