"""What was drawn and printed before, kept beside the documents, so that only what changed is drawn and printed again.

The folder may be deleted at any time. An entry is named by the hash of what it depends on: what it is made of, the
width, the look, the source of what draws it, and the versions of the libraries. That of a figure says besides what was
read of the results and the hash of each, and holds as long as all of these are the same. An entry begins with the hash
of its content, so that a damaged one is made again. `verify` and `reproduce` never look there: they draw and print
everything themselves.
"""

import hashlib
import inspect
import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields, is_dataclass
from functools import cache
from importlib.resources import files
from pathlib import Path, PurePath
from types import FunctionType
from typing import Any, Generic, TypeVar

import numpy as np

from cxrobust.environment import installed_versions
from cxrobust.files import atomic_write_bytes, canonical_json, sha256_bytes, sha256_json
from cxrobust.reports.beside import Beside
from cxrobust.reports.figures.style import RC, Drawing
from cxrobust.reports.reads import Place, digest_at, watched
from cxrobust.reports.view import View

FOLDER = ".kept"
T = TypeVar("T")
DRAWN_WITH = ("matplotlib", "numpy", "pillow", "fonttools", "contourpy", "kiwisolver", "font-source-sans-pro")


class UnnamedError(Exception):
    """Something that a figure is given has no lasting name, so that the figure is drawn each time."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Form(Generic[T]):
    """How something is written as bytes and read back."""

    write: Callable[[T], bytes]
    read: Callable[[bytes], T]


TEXT: Form[str] = Form(write=str.encode, read=bytes.decode)
BYTES: Form[bytes] = Form(write=bytes, read=bytes)


@dataclass(frozen=True, kw_only=True, slots=True)
class Wanted(Generic[T]):
    """Something that was kept, or that is being made and will be."""

    result: Callable[[], T]
    """Returns it, and keeps what had to be made, which it makes once."""
    is_kept: bool = False
    """Whether it was kept, so that nobody has to wait for it."""


class Kept:
    """A folder of what was made before, of the documents of one study; without a folder nothing is kept."""

    def __init__(self, folder: Path | None = None, *, view: View | None = None) -> None:
        self._folder, self._view = folder, view
        self._digests: dict[Place, str] = {}

    def get(self, name: str, key: str) -> bytes | None:
        """Return what was kept under a name and key; None when it is not there or damaged."""
        if self._folder is None or not key:
            return None
        try:
            digest, _, content = _path(self._folder, name, key).read_bytes().partition(b"\n")
        except OSError:
            return None
        return content if digest.decode("ascii", "replace") == sha256_bytes(content) else None

    def put(self, name: str, key: str, content: bytes) -> None:
        """Keep something in the place of what had the same name; where it cannot be written it is not kept."""
        if self._folder is None or not key:
            return
        path = _path(self._folder, name, key)
        try:
            atomic_write_bytes(path, sha256_bytes(content).encode() + b"\n" + content)
            for other in path.parent.glob(f"{path.stem}.*"):
                if other != path:
                    other.unlink(missing_ok=True)
        except OSError:
            return

    def begin(
        self, beside: Beside, function: Callable[..., T], *given: Any, name: str, key: str, form: Form[T]
    ) -> Wanted[T]:
        """Return what was kept, or begin to make it in a worker."""
        content = self.get(name, key)
        if content is not None:
            try:
                found = form.read(content)
                return Wanted(result=lambda: found, is_kept=True)
            except (ValueError, KeyError):
                pass
        task = beside.begin(function, *given)

        @cache
        def made() -> T:
            one = task.result()
            self.put(name, key, form.write(one))
            return one

        return Wanted(result=made)

    def begin_drawing(
        self, beside: Beside, draw: Callable[..., T], drawing: Drawing, *given: Any, name: str, form: Form[T]
    ) -> Wanted[T]:
        """Return what `draw` made of a figure before, if it read then what it would read now; else begin to draw it."""
        key = self.key_of(draw, drawing, *given)
        if not key:
            return Wanted(result=cache(beside.begin(draw, drawing, *given).result))
        content = self.get(name, key)
        if content is not None:
            read, _, made_before = content.partition(b"\n")
            try:
                if all(self._digest_at(tuple(place)) == digest for place, digest in json.loads(read)):
                    found = form.read(made_before)
                    return Wanted(result=lambda: found, is_kept=True)
            except (ValueError, KeyError, TypeError, AttributeError):
                pass
        task = beside.begin(watched, draw, drawing, *given)

        @cache
        def made() -> T:
            given_back: tuple[T, tuple[Place, ...]] = task.result()
            one, places = given_back
            read = json.dumps([[place, self._digest_at(place)] for place in places]).encode()
            self.put(name, key, read + b"\n" + form.write(one))
            return one

        return Wanted(result=made)

    def key_of(self, draw: Callable[..., Any], drawing: Drawing, *given: Any) -> str:
        """Return the key of what a function makes of a figure, whatever the results are; empty where it has none."""
        if self._folder is None:
            return ""
        try:
            told = [*map(_name_of, (draw, drawing.function)), self._named(given)]
            arguments = [self._named_argument(one) for one in drawing.arguments]
            options = [[name, self._named_argument(one)] for name, one in drawing.options.items()]
            return sha256_json([told, arguments, options, _source(drawing.function), drawn_with()])
        except (UnnamedError, UnicodeEncodeError):
            return ""

    def _digest_at(self, place: Place) -> str:
        if place not in self._digests and self._view is not None:
            self._digests[place] = digest_at(self._view, place)
        return self._digests[place]

    def _named_argument(self, value: Any) -> Any:
        return "view" if self._view is not None and value is self._view else self._named(value)

    def _named(self, value: Any) -> Any:
        """Return a value as JSON that is the same for equal values alone."""
        match value:
            case View():
                raise UnnamedError
            case None | bool() | int() | str():
                return [type(value).__name__, value]
            case float():
                return ["float", repr(value)]
            case bytes():
                return ["bytes", sha256_bytes(value)]
            case np.ndarray():
                return ["array", str(value.dtype), list(value.shape), hashlib.sha256(value.tobytes()).hexdigest()]
            case PurePath():
                return ["path", str(value)]
            case FunctionType() if value.__closure__ is None:
                return ["function", *_name_of(value)]
            case Mapping():
                return ["mapping", [[self._named(key), self._named(one)] for key, one in value.items()]]
            case Sequence():
                return ["sequence", [self._named(one) for one in value]]
        if is_dataclass(value) and not isinstance(value, type):
            return [type(value).__qualname__, [self._named(getattr(value, field.name)) for field in fields(value)]]
        raise UnnamedError


def _name_of(function: Callable[..., Any]) -> list[str]:
    return [function.__module__, function.__qualname__]


def _path(folder: Path, name: str, key: str) -> Path:
    return folder / f"{re.sub(r'[^A-Za-z0-9-]', '_', name)}.{key[:32]}"


@cache
def drawn_with() -> str:
    """Return the hash of what every figure depends on here: versions, the look, and our own source."""
    digest = hashlib.sha256(json.dumps([installed_versions(DRAWN_WITH), RC], sort_keys=True, default=str).encode())
    root = files("cxrobust")
    for room in ("", "reports", "reports/figures"):
        folder = root.joinpath(*room.split("/")) if room else root
        for one in sorted(folder.iterdir(), key=lambda one: one.name):
            if one.name.endswith(".py"):
                digest.update(canonical_json([room, one.name, sha256_bytes(one.read_bytes())]).encode())
    return digest.hexdigest()


@cache
def _source(function: Callable[..., Any]) -> str:
    """Return the hash of the module that a figure's function stands in, which may be another package's."""
    module = inspect.getmodule(function)
    try:
        return sha256_bytes(Path(str(inspect.getsourcefile(module or function))).read_bytes())
    except (OSError, TypeError) as error:
        raise UnnamedError from error
