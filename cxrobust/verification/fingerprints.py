"""Objects of a PDF as hashes that are equal when they show the same, however a file numbers and packs them."""

import hashlib
import re
from collections.abc import Mapping
from typing import Any

import pikepdf

from cxrobust.errors import DataError
from cxrobust.verification.pages import content_of
from cxrobust.verification.reading import MOST_STREAM, unpacked

_OF_AN_ELEMENT = frozenset({"/P"})
_OF_A_NOTE = frozenset({"/P", "/Parent", "/StructParent"})
_OF_A_BOOKMARK = frozenset({"/Parent", "/Prev", "/Last"})
BACKWARD: Mapping[str, frozenset[str]] = {
    "/StructTreeRoot": frozenset({"/ParentTree", "/ParentTreeNextKey"}),
    "/K": _OF_AN_ELEMENT,
    "/Names": _OF_AN_ELEMENT,
    "/Annots": _OF_A_NOTE,
    "/Obj": _OF_A_NOTE,
    "/Outlines": _OF_A_BOOKMARK,
    "/First": _OF_A_BOOKMARK,
    "/Next": _OF_A_BOOKMARK,
}
"""Keys that lead back to where one came from, or only number what is there, in what stands under a key; under any
other key, such as the fonts of a page, these are names like others. What the numbers say, `parents.py` looks at."""
NUMBERING = frozenset({"/Parent", "/StructParents"})
"""Such keys of a page."""
PACKING = frozenset({"/Length", "/Filter", "/DecodeParms"})
UNSEEN = frozenset({"/Metadata", "/AF", "/Pages", "/Extensions", "/Type", "/Version"})
"""Of the document as a whole: what is checked elsewhere, or shows nothing."""
DEFAULTS = frozenset({"/DefaultGray", "/DefaultRGB", "/DefaultCMYK"})
"""Colour spaces that change every colour of a page or group, though its content names none."""
_NAME = re.compile(rb"/[^\s/<>\[\](){}%]+")


class Fingerprints:
    """The hashes of one document's parts; each object is hashed once."""

    def __init__(self, pdf: pikepdf.Pdf) -> None:
        self._pdf = pdf
        self._known: dict[tuple[Any, str], bytes] = {}
        self._open: set[Any] = set()
        self._pages = {page.obj.objgen: number for number, page in enumerate(pdf.pages, start=1)}

    def page(self, number: int) -> Mapping[str, bytes]:
        """Return the hash of each part of a page, from 1: its content, each resource it uses, every other key."""
        page = self._pdf.pages[number - 1]
        content = content_of(page)
        return {
            "content": hashlib.sha256(content).digest(),
            **self._used(content, page.resources),
            **self.keys(number),
        }

    def keys(self, number: int) -> Mapping[str, bytes]:
        """Return the hash of what stands under each key of a page, from 1, but its content and resources."""
        hidden = NUMBERING | {"/Contents", "/Resources"}
        page = self._pdf.pages[number - 1].obj
        return {str(key): self._of(value, str(key)) for key, value in page.items() if str(key) not in hidden}

    def document(self) -> Mapping[str, bytes]:
        """Return the hash of each part of the document that stands on no page: structure, outline, actions."""
        parts = {
            str(key): self._of(value, str(key))
            for key, value in self._pdf.Root.items()
            if str(key) not in UNSEEN | {"/Names"}
        }
        names: Any = self._pdf.Root.get("/Names") or {}
        return parts | {
            f"/Names{key}": self._of(names[key], str(key))
            for key in names.keys()  # noqa: SIM118  a PDF's dictionary
            if str(key) != "/EmbeddedFiles"
        }

    def notes(self, number: int) -> list[bytes]:
        """Return the hash of each link or note on a page, from 1, but for where it stands."""
        notes: Any = self._pdf.pages[number - 1].obj.get("/Annots", [])
        return [_hash("note", *self._entries(note, _OF_A_NOTE | {"/Rect"})) for note in notes]

    def _used(self, content: bytes, resources: Any) -> dict[str, bytes]:
        """Return the hashes of the resources that a content names, and of those that it uses without naming them."""
        named = {name.decode("latin-1") for name in _NAME.findall(content)} | DEFAULTS
        return {
            f"{category} {name}": self._of(members[name], category)
            for category, members in (resources or {}).items()
            if isinstance(members, pikepdf.Dictionary)
            for name in sorted(named & {str(key) for key in members.keys()})  # noqa: SIM118
        }

    def _of(self, value: Any, under: str) -> bytes:
        """Return the hash of what stands under a key, itself or in a list."""
        if not isinstance(value, pikepdf.Object):
            return _hash(type(value).__name__, str(value).encode())
        key = value.objgen
        if key == (0, 0):
            return self._hashed(value, under)
        if key in self._pages:
            return _hash("page", str(self._pages[key]).encode())
        if key in self._open:
            return b"open"
        if (key, under) not in self._known:
            self._open.add(key)
            self._known[key, under] = self._hashed(value, under)
            self._open.remove(key)
        return self._known[key, under]

    def _hashed(self, value: Any, under: str) -> bytes:
        if isinstance(value, pikepdf.Stream):
            return self._stream(value)
        if isinstance(value, pikepdf.Dictionary):
            return _hash("table", *self._entries(value, BACKWARD.get(under, frozenset())))
        if isinstance(value, pikepdf.Array):
            return _hash("list", *(self._of(one, under) for one in value))
        return _hash("value", value.unparse())

    def _entries(self, value: Any, without: frozenset[str]) -> list[bytes]:
        keys = sorted(str(key) for key in value.keys() if str(key) not in without)  # noqa: SIM118
        return [part for key in keys for part in (key.encode(), self._of(value[key], key))]

    def _stream(self, value: Any) -> bytes:
        try:
            content = unpacked(value, MOST_STREAM, where="a stream")
        except DataError:  # packed in another way, as images are: packing and bytes are compared as they are
            packing = self._entries(value, frozenset({"/Length"}))
            return _hash("packed", bytes(value.read_raw_bytes()), *packing)
        if value.get("/Subtype") == "/Form":
            used = self._used(content, value.get("/Resources"))
            parts = [part for name in sorted(used) for part in (name.encode(), used[name])]
            return _hash("form", content, *parts, *self._entries(value, PACKING | {"/Resources"}))
        return _hash("stream", content, *self._entries(value, PACKING))


def _hash(kind: str, *parts: bytes) -> bytes:
    digest = hashlib.sha256(kind.encode())
    for part in parts:
        digest.update(len(part).to_bytes(8, "big"))
        digest.update(part)
    return digest.digest()
