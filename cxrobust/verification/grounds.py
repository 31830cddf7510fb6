"""What is painted where letters stand: what lies under them, and what else is painted at them or stands beside them."""

from collections.abc import Iterable, Sequence
from dataclasses import replace

import numpy as np

from cxrobust.verification.page_boxes import Box
from cxrobust.verification.pages import Ground, Look, Step

TRACE = 0.05
"""Millimetres, across and down, of a letter that are painted over."""
RIM = 0.1
"""Millimetres of a letter beside a rectangle that it stands on."""
BESIDE = 1.2
"""How far from a letter, in its heights, a mark stands that is read with it, and how high it is at most."""
OPAQUE = 1.0
AT_ONCE = 500
"""Letters that are held against all paints of a page together."""


def on_grounds(page: Sequence[Step]) -> tuple[Step, ...]:
    """Return the steps of a page with the ground of each letter outside figures."""
    shown = [(k, n) for k, step in enumerate(page) for n in range(len(step.boxes))]
    painted = [k for k, step in enumerate(page) if not step.codes]
    if not shown or not painted:
        return tuple(page)
    paints = sides(page[k].box.within(page[k].reach) for k in painted)
    seen = sides(page[k].box.within(page[k].clip) for k in painted)
    fills = [page[k].fill for k in painted]
    is_filled = np.array([fill is not None for fill in fills])
    grounds: list[Ground] = []
    for start in range(0, len(shown), AT_ONCE):
        these = shown[start : start + AT_ONCE]
        letters = sides(page[k].boxes[n] for k, n in these)
        before = np.array(painted)[None] < np.array([k for k, _ in these])[:, None]
        under = before & is_filled[None] & _within(letters, seen)
        marks = ~under & (overlap(letters, paints) | _beside(letters, paints))
        grounds += [
            Ground(_layers(fills[m] for m in np.flatnonzero(row)), int(n_marks))
            for row, n_marks in zip(under, marks.sum(axis=1), strict=True)
        ]
    return _with_grounds(page, shown, grounds)


def are_alike(looks: Sequence[Look | None], others: Sequence[Look | None], *, most: float) -> bool:
    """Whether a word stands on the ground on which it is expected, its inks `most` apart, and with no more at it."""
    pairs = [(one.ground, two.ground) for one, two in zip(looks, others, strict=True) if one and two]
    return all(_same_layers(one, two, most) for one, two in pairs) and max(
        (one.n_marks for one, _ in pairs), default=0
    ) <= max((two.n_marks for _, two in pairs), default=0)


def sides(boxes: Iterable[Box]) -> np.ndarray:
    """Return boxes as rows."""
    return np.array([(box.left, box.top, box.right, box.bottom) for box in boxes])


def overlap(some: np.ndarray, others: np.ndarray) -> np.ndarray:
    """Return for each of some boxes, and each of others, whether they overlap by more than a trace."""
    low = np.maximum(some[:, None, :2], others[None, :, :2])
    high = np.minimum(some[:, None, 2:], others[None, :, 2:])
    found: np.ndarray = (high - low > TRACE).all(axis=2)
    return found


def _within(some: np.ndarray, others: np.ndarray) -> np.ndarray:
    low = (some[:, None, :2] >= others[None, :, :2] - RIM).all(axis=2)
    high = (some[:, None, 2:] <= others[None, :, 2:] + RIM).all(axis=2)
    found: np.ndarray = np.logical_and(low, high)
    return found


def _beside(letters: np.ndarray, paints: np.ndarray) -> np.ndarray:
    """Return whether a paint is as low as a letter, in the middle of its line, and near it or at it."""
    height = (letters[:, 3] - letters[:, 1])[:, None]
    middle, tall = (paints[:, 1] + paints[:, 3])[None] / 2, (paints[:, 3] - paints[:, 1])[None]
    on_line = (middle > letters[:, 1, None]) & (middle < letters[:, 3, None]) & (tall <= BESIDE * height)
    reach = BESIDE * height
    is_near = (paints[None, :, 0] < letters[:, 2, None] + reach) & (paints[None, :, 2] > letters[:, 0, None] - reach)
    found: np.ndarray = np.logical_and(on_line, is_near)
    return found


def _layers(fills: Iterable[tuple[float, ...] | None]) -> tuple[tuple[float, ...], ...]:
    layers: list[tuple[float, ...]] = []
    for fill in fills:
        if fill is not None:
            layers = [*([] if fill[-1] == OPAQUE else layers), fill]
    return tuple(layers)


def _same_layers(one: Ground, other: Ground, most: float) -> bool:
    return len(one.layers) == len(other.layers) and all(
        len(a) == len(b) and all(abs(x - y) <= most for x, y in zip(a, b, strict=True))
        for a, b in zip(one.layers, other.layers, strict=True)
    )


def _with_grounds(
    page: Sequence[Step], shown: Sequence[tuple[int, int]], grounds: Sequence[Ground]
) -> tuple[Step, ...]:
    looks = {k: list(step.looks) for k, step in enumerate(page) if step.boxes}
    for (k, n), ground in zip(shown, grounds, strict=True):
        look = looks[k][n]
        if look is not None:
            looks[k][n] = replace(look, ground=ground)
    return tuple(replace(step, looks=tuple(looks[k])) if k in looks else step for k, step in enumerate(page))
