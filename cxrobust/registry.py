"""Named, open choices: data sets, model families, perturbations, metrics and report sections.

A built-in is a module in the room's folder; importing the room imports every module in it, so a new one is one new
file. Other packages register through the entry-point group `cxrobust.<kind>`, for example `cxrobust.metrics`.
"""

import importlib
import pkgutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from importlib.metadata import EntryPoint, entry_points
from typing import Generic, TypeVar

from cxrobust.errors import DataError, StudyError, nearest

T = TypeVar("T")


class Registry(Generic[T]):
    """The known names of one kind of thing, for example `attack`, and what each stands for."""

    def __init__(self, kind: str, *, package: str) -> None:
        self.kind = kind
        self._package = package
        self._items: dict[str, T] = {}
        self._made: dict[str, T] = {}
        self._makers: dict[str, Callable[[str], T]] = {}
        self._rests: dict[str, str] = {}
        self._refused: dict[str, str] = {}
        self._loaded = False

    def __call__(self, name: str) -> Callable[[T], T]:
        """Register the decorated object under `name`."""

        def register(item: T) -> T:
            if name in self._items:
                raise ValueError(f"{self.kind} {name!r} is registered twice")
            self._items[name] = item
            return item

        return register

    def beginning(self, start: str, *, rest: str) -> Callable[[Callable[[str], T]], Callable[[str], T]]:
        """Register the decorated maker for names that begin with `start`; it is called with the rest of the name.

        It raises `ValueError` where the rest says nothing, with what it must be. One name at least is registered as
        such too, to be listed, with the word that says what the rest may be. An empty `start` makes any name that is
        not registered; what its `rest` says stands after the known names.
        """

        def register(maker: Callable[[str], T]) -> Callable[[str], T]:
            self._makers[start] = maker
            self._rests[start] = rest
            return maker

        return register

    def refuse(self, names: Mapping[str, str]) -> None:
        """Say of names that somebody might expect why they are none, and what to write instead."""
        self._refused |= names

    def __getitem__(self, name: str) -> T:
        """Return what `name` stands for.

        Raises
        ------
        StudyError
            When no such name is registered; the message lists those that are.
        DataError
            When an entry point of another package cannot be used.
        """
        if name not in self:
            raise StudyError(self.unknown(name))
        return self._items[name] if name in self._items else self._made[name]

    def unknown(self, name: str) -> str:
        """Say that no such name is registered, and which are, or why its end is none of those that may stand there.

        >>> from cxrobust.analysis.metrics import metric
        >>> metric.unknown("no-metric").partition("confidence-wrong, ")[2].partition(", ece")[0]
        'coverage-at-risk-5 (or any other percentage)'
        """
        if name in self._refused:
            return f"{self.kind} {name!r}: {self._refused[name]}"
        for start, maker in self._makers.items():
            if start and name.startswith(start):
                try:
                    maker(name.removeprefix(start))
                except ValueError as why:
                    return f"unknown {self.kind} {name!r}: {why}"
        known = [
            f"{one} (or any other {rest})"
            if (rest := next((rest for start, rest in self._rests.items() if start and one.startswith(start)), None))
            else one
            for one in self
        ]
        more = f", and any {self._rests['']}" if "" in self._rests else ""
        return f"unknown {self.kind} {name!r}{nearest(name, self)}: known are {', '.join(known)}{more}"

    def __iter__(self) -> Iterator[str]:
        self._load()
        return iter(sorted(self._items))

    def __contains__(self, name: object) -> bool:
        self._load()
        if name in self._items or name in self._made:
            return True
        for start, maker in self._makers.items():
            if isinstance(name, str) and name.startswith(start):
                with suppress(ValueError):
                    self._made[name] = maker(name.removeprefix(start))
        return name in self._made

    def _load(self) -> None:
        if self._loaded:
            return
        self._loaded = True
        try:
            package = importlib.import_module(self._package)
            for module in pkgutil.iter_modules(package.__path__):
                importlib.import_module(f"{self._package}.{module.name}")
            for entry in entry_points(group=f"cxrobust.{self._package.rsplit('.', 1)[-1]}"):
                self._add(entry)
        except BaseException:
            self._loaded = False  # the next look-up says the same again, and does not miss half of the names
            raise

    def _add(self, entry: EntryPoint) -> None:
        try:
            item = entry.load()
        except Exception as error:  # another package may raise anything
            raise DataError(
                f"{self.kind} {entry.name!r}: importing {entry.value} failed with {type(error).__name__} "
                f"({' '.join(str(error).split())}): correct or remove the package that brings it"
            ) from error
        if self._items.setdefault(entry.name, item) is not item:
            raise DataError(
                f"{self.kind} {entry.name!r}: {entry.value} bears the name of another one: "
                f"rename it or remove the package that brings it"
            )
