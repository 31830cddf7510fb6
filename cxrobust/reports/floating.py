"""Figures that float: one that a page has no room for goes to the top of the next, and what follows it fills the page.

WeasyPrint carries what is left of a broken float over to the next page, but lets the float fill the page that it broke
on, lays the text of the next page out as if the float were not there, and forgets it where it lays out a page again and
not the one before, or where nothing else is left. Here a float that breaks is as high as what it holds, the edge before
its figure, pages begin below what was carried over to them, and that is kept for each page. Its tags are collected, so
that it is read where the document has it (`tags.py`).
"""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

FLOATING = "floating"
"""Class of an element that floats in all its width and holds an edge without height before each of its figures."""
EDGE = 1.0
"""Height in pixels that has room for an edge, and for no figure."""
END = '<div style="clear: both; height: .01mm"></div>'
"""Ends a document's HTML, so that a figure which its last page has no room for still finds a page."""


@contextmanager
def let_figures_float() -> Iterator[None]:
    """Lay out elements of the class `floating` so, in one document, until the context ends."""
    from weasyprint.layout import block, page

    float_layout, block_level_layout, remake_page = block.float_layout, page.block_level_layout, page.remake_page
    carried: dict[int, dict[Any, Any]] = {}

    def float_to_next_page(
        context: Any, box: Any, holder: Any, absolute: Any, fixed: Any, bottom_space: float, skip_stack: Any
    ) -> tuple[Any, Any]:
        if not _is_floating(box):
            found: tuple[Any, Any] = float_layout(context, box, holder, absolute, fixed, bottom_space, skip_stack)
            return found
        begins, box.position_y = box.position_y, _below(context.excluded_shapes, box.position_y)
        waits = any(
            _is_floating(one) and one.style["float"] == box.style["float"] for one in context.broken_out_of_flow
        )
        if waits:  # behind one that goes to the next page, so that they keep their order
            bottom_space = context.page_bottom - box.position_y - EDGE
        if skip_stack is not None and (waits or box.position_y > begins):
            skip_stack = {min(skip_stack) - 1: None}  # the edge before it, since the first on a page never waits
        placed, resume_at = float_layout(context, box, holder, absolute, fixed, bottom_space, skip_stack)
        if resume_at is not None:
            placed.height = sum(child.margin_height() for child in placed.children)
        return placed, resume_at

    def below_floats(context: Any, box: Any, *given: Any, **named: Any) -> Any:
        if box.element_tag == "html":
            here = [one for some in context._excluded_shapes.values() for one in some]
            box.position_y = _below(here, box.position_y)
        made = block_level_layout(context, box, *given, **named)
        if made[0] is None and box.element_tag == "html":  # they fill the page, where WeasyPrint goes astray in lines
            bottom_space, resume_at, containing_block, _, *boxes = given
            empty = box.copy_with_children([])
            alone, *_ = block_level_layout(context, empty, bottom_space, None, containing_block, True, *boxes, **named)
            return alone, resume_at, *made[2:]
        return made

    def remake_with_floats(index: int, context: Any, root_box: Any, html: Any) -> tuple[Any, Any]:
        context.broken_out_of_flow = dict(carried.get(index, {}))
        made, resume_at = remake_page(index, context, root_box, html)
        before, carried[index + 1] = carried.get(index + 1, {}), dict(context.broken_out_of_flow)
        if _rests(before) != _rests(carried[index + 1]) and resume_at is not None:
            context.page_maker[index + 1][-1]["content_changed"] = True
        return made, resume_at

    block.float_layout = page.float_layout = float_to_next_page
    page.block_level_layout, page.remake_page = below_floats, remake_with_floats
    try:
        yield
    finally:
        block.float_layout = page.float_layout = float_layout
        page.block_level_layout, page.remake_page = block_level_layout, remake_page


@contextmanager
def tags_of_floats() -> Iterator[dict[Any, list[Any]]]:
    """Collect the tags of each such element, one for each page that has a part of it, until the context ends."""
    from weasyprint.pdf import tags

    build = tags._build_box_tree
    found: dict[Any, list[Any]] = {}

    def building(box: Any, *given: Any) -> Iterator[Any]:
        for tag in build(box, *given):
            if _is_floating(box) and box.style["float"] != "none":
                found.setdefault(box.element, []).append(tag)
            yield tag

    tags._build_box_tree = building
    try:
        yield found
    finally:
        tags._build_box_tree = build


def _below(placed: Iterable[Any], place: float) -> float:
    """Return a place on the page, or where what floats there ends if that is further down."""
    ends: list[float] = [one.position_y + one.margin_height() for one in placed if _is_floating(one)]
    return max([place, *ends])


def _is_floating(box: Any) -> bool:
    return box.element is not None and FLOATING in box.element.get("class", "").split()


def _rests(carried: dict[Any, Any]) -> list[tuple[int, Any]]:
    """Return which elements a page carries over, and from where on."""
    return [(id(box.element), resume_at) for box, _, _, resume_at in carried.values()]
