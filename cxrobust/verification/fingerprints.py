"""Objects of a PDF as hashes that are equal when they show the same, however a file numbers and packs them."""

import hashlib
import re
from collections.abc import Mapping
from typing import Any

import pikepdf

from cxrobust.errors import DataError
from cxrobust.verification.pages import content_of
from cxrobust.verification.reading import MOST_STREAM, unpacked

BACKWARD = frozenset({"/Parent", "/P", "/Prev", "/StructParents", "/StructParent", "/ParentTree", "/Last"})
"""Keys that lead back to where one came from, or only number what is there."""
PACKING = frozenset({"/Length", "/Filter", "/DecodeParms"})
UNSEEN = frozenset({"/Metadata", "/AF", "/Pages", "/Extensions", "/Type", "/Version"})
"""Of the document as a whole: what is checked elsewhere, or shows nothing."""
_NAME = re.compile(rb"/[^\s/<>\[\](){}%]+")


class Fingerprints:
    """The hashes of one document's parts; each object is hashed once."""

    def __init__(self, pdf: pikepdf.Pdf) -> None:
        self._pdf = pdf
        self._known: dict[Any, bytes] = {}
        self._open: set[Any] = set()
        self._pages = {page.obj.objgen: number for number, page in enumerate(pdf.pages, start=1)}

    def page(self, number: int) -> Mapping[str, bytes]:
        """Return the hash of each part of a page, from 1: its content, each resource it uses, every other key."""
        page = self._pdf.pages[number - 1]
        content = content_of(page)
        hidden = BACKWARD | {"/Contents", "/Resources"}
        own = {str(key): value for key, value in page.obj.items() if str(key) not in hidden}
        return {
            "content": hashlib.sha256(content).digest(),
            **self._used(content, page.resources),
            **{key: self._of(value) for key, value in own.items()},
        }

    def document(self) -> Mapping[str, bytes]:
        """Return the hash of each part of the document that stands on no page: structure, outline, actions."""
        parts = {
            str(key): self._of(value) for key, value in self._pdf.Root.items() if str(key) not in UNSEEN | {"/Names"}
        }
        names: Any = self._pdf.Root.get("/Names") or {}
        return parts | {f"/Names{key}": self._of(names[key]) for key in names.keys() if str(key) != "/EmbeddedFiles"}  # noqa: SIM118  a PDF's dictionary

    def notes(self, number: int) -> list[bytes]:
        """Return the hash of each link or note on a page, from 1, but for where it stands."""
        notes: Any = self._pdf.pages[number - 1].obj.get("/Annots", [])
        return [_hash("note", *self._entries(note, BACKWARD | {"/Rect"})) for note in notes]

    def _used(self, content: bytes, resources: Any) -> dict[str, bytes]:
        """Return the hashes of the resources that a content names."""
        named = {name.decode("latin-1") for name in _NAME.findall(content)}
        return {
            f"{category} {name}": self._of(members[name])
            for category, members in (resources or {}).items()
            if isinstance(members, pikepdf.Dictionary)
            for name in sorted(named & {str(key) for key in members.keys()})  # noqa: SIM118
        }

    def _of(self, value: Any) -> bytes:
        if not isinstance(value, pikepdf.Object):
            return _hash(type(value).__name__, str(value).encode())
        key = value.objgen
        if key == (0, 0):
            return self._hashed(value)
        if key in self._pages:
            return _hash("page", str(self._pages[key]).encode())
        if key in self._open:
            return b"open"
        if key not in self._known:
            self._open.add(key)
            self._known[key] = self._hashed(value)
            self._open.remove(key)
        return self._known[key]

    def _hashed(self, value: Any) -> bytes:
        if isinstance(value, pikepdf.Stream):
            return self._stream(value)
        if isinstance(value, pikepdf.Dictionary):
            return _hash("table", *self._entries(value, BACKWARD))
        if isinstance(value, pikepdf.Array):
            return _hash("list", *(self._of(one) for one in value))
        return _hash("value", value.unparse())

    def _entries(self, value: Any, without: frozenset[str]) -> list[bytes]:
        keys = sorted(str(key) for key in value.keys() if str(key) not in without)  # noqa: SIM118
        return [part for key in keys for part in (key.encode(), self._of(value[key]))]

    def _stream(self, value: Any) -> bytes:
        try:
            content = unpacked(value, MOST_STREAM, where="a stream")
        except DataError:  # packed in another way, as images are: packing and bytes are compared as they are
            packing = self._entries(value, BACKWARD | {"/Length"})
            return _hash("packed", bytes(value.read_raw_bytes()), *packing)
        if value.get("/Subtype") == "/Form":
            used = self._used(content, value.get("/Resources"))
            parts = [part for name in sorted(used) for part in (name.encode(), used[name])]
            return _hash("form", content, *parts, *self._entries(value, BACKWARD | PACKING | {"/Resources"}))
        return _hash("stream", content, *self._entries(value, BACKWARD | PACKING))


def _hash(kind: str, *parts: bytes) -> bytes:
    digest = hashlib.sha256(kind.encode())
    for part in parts:
        digest.update(len(part).to_bytes(8, "big"))
        digest.update(part)
    return digest.digest()
