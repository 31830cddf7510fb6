"""What a figure reads of a study while it is drawn, so that it is drawn again only when something of that changes.

A figure that finds all that it once read as it was finds the same in all that it would read, and so is the same.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import fields, replace
from pathlib import PurePath
from typing import Any, TypeVar, cast

from cxrobust.files import sha256_bytes
from cxrobust.reports.figures.style import Drawing
from cxrobust.reports.view import View
from cxrobust.results import Results, as_json

T = TypeVar("T")
Place = tuple[str, ...]
"""Where something stands in a `View`: names of fields, then what it is found by."""
FIELDS = {kind: frozenset(field.name for field in fields(kind)) for kind in (View, Results)}
ABSENT = "absent"
EVERY_ESTIMATE: Place = ("estimates",)


def watched(draw: Callable[..., T], drawing: Drawing, *given: Any) -> tuple[T, tuple[Place, ...]]:
    """Return what `draw` makes of a drawing, and the places that were read of the views that it is given."""
    read: dict[Place, None] = {}
    seen = replace(
        drawing,
        arguments=tuple(_seen(one, read) for one in drawing.arguments),
        options={name: _seen(one, read) for name, one in drawing.options.items()},
    )
    return draw(seen, *given), tuple(read)


def digest_at(view: View, place: Place) -> str:
    """Return the hash of what stands at a place; ABSENT where nothing does."""
    value: Any = view
    for step, name in enumerate(place):
        if isinstance(value, View | Results):
            value = getattr(value, name)
        else:
            key = place[step:] if place[:step] == EVERY_ESTIMATE else name
            if key not in value:
                return ABSENT
            value = value[key]
            break
    content = as_json(tuple(value.values()) if place == EVERY_ESTIMATE else value) if _is_json(value) else str(value)
    return sha256_bytes(content.encode("utf-8", "surrogatepass"))


def _is_json(value: Any) -> bool:
    """Whether it is all JSON and records, as everything in a view is but the folder of images."""
    return not isinstance(value, PurePath)


def _seen(value: Any, read: dict[Place, None]) -> Any:
    if not isinstance(value, View):
        return value
    results = _copy(value.results, WatchedResults, read, values={"study": ("results", "study")})
    return _copy(replace(value, results=results), WatchedView, read, values={"estimates": EVERY_ESTIMATE})


def _copy(value: Any, kind: type, read: dict[Place, None], *, values: Mapping[str, Place]) -> Any:
    copied: Any = object.__new__(kind)
    for name in FIELDS[type(value)]:
        one = getattr(value, name)
        one = WatchedMapping(one, values[name], read) if name in values else one
        object.__setattr__(copied, name, one)
    object.__setattr__(copied, "_read", read)
    return copied


def _tell(watched: "WatchedResults | WatchedView", place: Place) -> None:
    try:
        read: dict[Place, None] = object.__getattribute__(watched, "_read")
    except AttributeError:  # made from one by dataclasses.replace, which read all fields of that
        return
    read[place] = None


class WatchedResults(Results):
    """Results that tell which of their fields are read."""

    __slots__ = ("_read",)
    _read: dict[Place, None]

    def __getattribute__(self, name: str) -> Any:
        """Return a field, after telling it."""
        if name in FIELDS[Results] and name != "study":
            _tell(self, ("results", name))
        return object.__getattribute__(self, name)


class WatchedView(View):
    """A view that tells which of its fields are read."""

    __slots__ = ("_read",)
    _read: dict[Place, None]

    def __getattribute__(self, name: str) -> Any:
        """Return a field, after telling it."""
        if name in FIELDS[View] and name not in {"results", "estimates"}:
            _tell(self, (name,))
        return object.__getattribute__(self, name)


class WatchedMapping(Mapping[Any, Any]):
    """A mapping that tells which of its keys are looked for, or that all are."""

    def __init__(self, values: Mapping[Any, Any], place: Place, read: dict[Place, None]) -> None:
        self._values, self._place, self._read = values, place, read

    def __getitem__(self, key: Any) -> Any:
        """Return a value, after telling its key."""
        if self._place not in self._read:
            self._read[self._place + (key if isinstance(key, tuple) else (cast(str, key),))] = None
        return self._values[key]

    def __iter__(self) -> Iterator[Any]:
        """Walk over keys, after telling that all are read."""
        self._read[self._place] = None
        return iter(self._values)

    def __len__(self) -> int:
        """Return how many there are, after telling that all are read."""
        self._read[self._place] = None
        return len(self._values)
