"""What is wrong with a study file, in one sentence with its line."""

import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from cxrobust.errors import StudyError, nearest

_TYPE_TAG = re.compile(r"(literal|tuple|list|dict|nullable|function-\w+)\[.*\]|(constrained-)?(float|int|str|bool)")
TOO_DEEP = "is nested too deeply to read: a study file needs at most three levels"


class Place:
    """A study file's text, in which messages find the line of a key."""

    def __init__(self, path: Path, text: str) -> None:
        self.path = path
        self.text = text

    def error(self, keys: Sequence[str | int], message: str) -> StudyError:
        """Return an error of one line that names the file and the line on which a key stands."""
        line = find_line(self.text, keys)
        message = " ".join(message.split())
        return StudyError(f"{self.path}:{line}: {message}" if line else f"{self.path}: {message}")

    def explain(self, error: ValidationError, known: Sequence[str], keys: tuple[str | int, ...]) -> StudyError:
        """Return one sentence for what pydantic found wrong in the table at `keys`, whose known keys are given."""
        errors = error.errors(include_url=False)
        first = next((one for one in errors if one["type"] == "extra_forbidden"), errors[0])  # a typo explains the rest
        if first["type"] == "extra_forbidden":
            name = str(first["loc"][-1])
            if len(first["loc"]) > 1:
                table = (*keys, *_without_tags(first["loc"][:-1]))
                return self.error(table, f"unknown key {name!r} in {dotted(table)}: correct or remove it")
            return self.error(
                (*keys, name),
                f"unknown key {name!r} in {dotted(keys)}{nearest(name, known)}: known are {', '.join(known)}",
            )
        if isinstance(
            first["input"], dict
        ):  # what is wrong within a table says more than what could stand in its place
            inside = [one for one in errors if one["loc"][:1] == first["loc"][:1]]
            first = max(inside, key=lambda one: len(_without_tags(one["loc"])))
        where = (*keys, *_without_tags(first["loc"]))
        if first["type"] == "missing":
            return self.error(keys, f"{dotted(where)} is missing: add it")
        if first["type"] == "json_invalid":
            return self.error(keys, f"{dotted(keys)} {TOO_DEEP}")
        same_place = [one for one in errors if (*keys, *_without_tags(one["loc"])) == where]
        if not first["loc"]:  # of the table as a whole, whose text would say nothing
            return self.error(keys, f"{dotted(keys)}: {_expected(same_place)}")
        return self.error(where, f"{dotted(where)} = {_shown(first['input'])}: {_expected(same_place)}")


def _without_tags(location: Sequence[str | int]) -> tuple[str | int, ...]:
    """Leave out the branches of unions, which pydantic names behind a key: `operating_point`, `literal['youden']`."""
    inside = (part for part in location[1:] if not (isinstance(part, str) and _TYPE_TAG.fullmatch(part)))
    return (*location[:1], *inside)


_MENDS = {
    "int_type": "Input should be a whole number, without quotes",
    "float_type": "Input should be a number, without quotes",
    "string_type": "Input should be text, in quotes",
    "bool_type": "Input should be true or false, without quotes",
    "model_type": "Input should be a table",
    "too_short": "Input should hold at least one value",
    "string_too_short": "Input should not be empty",
}
"""What is expected instead of a value of another type or an empty one, by pydantic's name of the error."""


def _expected(errors: Sequence[Any]) -> str:
    """Say what a value should be: what each branch of a union wants, or the one bound that it breaks."""
    bounds = [one for one in errors if not re.search(r"literal_error|_type$", one["type"])]
    messages = [_MENDS.get(one["type"]) or one["msg"].removeprefix("Value error, ") for one in bounds or errors]
    foreign = {"String should": "Input should", "valid array": "list", "an object": "a table"}
    for theirs, ours in foreign.items():
        messages = [message.replace(theirs, ours) for message in messages]
    first, *rest = dict.fromkeys(messages)
    return " or ".join((first[0].lower() + first[1:], *(one.removeprefix("Input should be ") for one in rest)))


def dotted(keys: Sequence[str | int]) -> str:
    """Write keys as TOML does, tables of an array counted from 1: `regimes[1].model`."""
    parts = [f"[{key + 1}]" if isinstance(key, int) else f".{_bare(key)}" for key in keys]
    return "".join(parts).lstrip(".")


def _bare(key: str) -> str:
    return key if re.fullmatch(r"[\w-]+", key) else json.dumps(key, ensure_ascii=False)


def _shown(value: object) -> str:
    text = json.dumps(value, default=str, ensure_ascii=False)
    return text if len(text) <= 60 else text[:57] + "..."


def find_line(text: str, keys: Sequence[str | int]) -> int | None:
    r"""Return the 1-based line on which a key of a TOML text stands, or its nearest parent; None when neither does.

    Examples
    --------
    >>> find_line('[study]\nseed = 1\n[[regimes]]\nname = "a"\n[[regimes]]\nname = "b"', ("regimes", 1, "name"))
    6
    """
    best, depth = None, 0
    prefix: tuple[str | int, ...] = ()
    counts: dict[tuple[str, ...], int] = {}
    for number, line in enumerate(text.split("\n"), start=1):
        if header := re.match(r"\s*(\[\[?)\s*([^\]\[]+?)\s*\]\]?\s*(?:#.*)?$", line):
            names = tuple(part.strip().strip("\"'") for part in header[2].split("."))
            if header[1] == "[[":
                counts[names] = counts.get(names, -1) + 1
            prefix = _numbered(names, counts)
            here: tuple[str | int, ...] = prefix
        elif key := re.match(r"""\s*(?:"([^"]*)"|'([^']*)'|([\w.-]+))\s*=""", line):
            here = (*prefix, *(key[3].split(".") if key[3] else (key[1] or key[2] or "",)))
        else:
            continue
        shared = min(len(here), len(keys))
        if tuple(keys[:shared]) != here[:shared]:
            continue
        if shared > depth:
            best, depth = number, shared
    return best


def _numbered(names: tuple[str, ...], counts: Mapping[tuple[str, ...], int]) -> tuple[str | int, ...]:
    """Return the names of a header with the number of each array of tables that one is in."""
    found: list[str | int] = []
    for depth, name in enumerate(names, start=1):
        found.append(name)
        if names[:depth] in counts:
            found.append(counts[names[:depth]])
    return tuple(found)
