"""Errors that a person can mend: one sentence with the place, what was found, and what to do."""

import difflib
import importlib
from collections.abc import Iterable
from types import ModuleType


class CxrobustError(Exception):
    """Base of every error whose message is meant for the user; `exit_code` is what the command line returns."""

    exit_code = 1


class DataError(CxrobustError):
    """Images, labels, predictions, checkpoints or a run that cannot be used as they are."""


class OutOfMemoryError(DataError):
    """A batch that does not fit the memory of its device; a smaller one may."""


class MissingGroupError(CxrobustError):
    """A group of dependencies that this step needs is not installed."""


class StudyError(CxrobustError):
    """The study file, or the way the program was called, is wrong."""

    exit_code = 2


class MisfitError(StudyError):
    """The study file asks for what its data do not have; `keys` say where in the file that stands."""

    def __init__(self, message: str, keys: tuple[str | int, ...]) -> None:
        super().__init__(message)
        self.keys = keys


def require(module: str, *, group: str) -> ModuleType:
    """Import `module`, or say in one sentence which group of dependencies brings it.

    Raises
    ------
    MissingGroupError
        When the module, or one that it imports, is not installed.
    """
    try:
        return importlib.import_module(module)
    except ImportError as error:
        missing = getattr(error, "name", None) or module
        raise MissingGroupError(
            f"this step needs {missing}, which is not installed: run pip install 'cxrobust[{group}]', "
            f"or '.[{group}]' in a clone"
        ) from error


def nearest(word: str, known: Iterable[str]) -> str:
    """Return ` (did you mean 'x'?)` for the known word nearest to `word`, or an empty string.

    >>> nearest("sex=f", ["sex=F", "sex=M"])
    " (did you mean 'sex=F'?)"
    """
    words = list(known)
    match = [one for one in words if one.casefold() == word.casefold()]
    match = match or difflib.get_close_matches(word, words, n=1, cutoff=0.6)
    return f" (did you mean '{match[0]}'?)" if match else ""


def counted(n: int, noun: str) -> str:
    """Return a number with its noun.

    >>> counted(1, "image"), counted(2000, "image")
    ('1 image', '2,000 images')
    """
    return f"{n:,} {noun}" if n == 1 else f"{n:,} {noun}s"


def one_name(name: str) -> str:
    """Return a name as one of several that stand with commas between them: in quotes where it holds a comma itself.

    >>> one_name("Mass, big"), one_name("Mass")
    ("'Mass, big'", 'Mass')
    """
    return repr(name) if "," in name else name


def some(items: Iterable[object], *, most: int = 3) -> str:
    """Name the first few of `items`: `a, b, c and 12 more`."""
    names = [str(item) for item in items]
    rest = len(names) - most
    return ", ".join(names[:most]) + (f" and {rest:,} more" if rest > 0 else "")
