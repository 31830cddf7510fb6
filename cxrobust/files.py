"""Files that are whole or absent, and the hashes that name them."""

import hashlib
import importlib.util
import json
import os
import platform
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from typing import Any, TypeVar

from cxrobust.errors import DataError

T = TypeVar("T")

LEFTOVER = ".cxrobust-partial-"
"""How the name of a file begins that is not whole yet; a killed run leaves such files, and `alone` removes them."""
ABANDONED = 3600.0
"""Seconds after which such a file of another machine, whose processes cannot be seen from here, counts as left."""
BLOCK = 4096
"""Values that are held at once of many."""


def atomic_write(path: Path, write: Callable[[Path], None]) -> None:
    """Let `write` fill a temporary file beside `path`, sync it to disk and rename it to `path`.

    A reader sees the old file or the new one, never a part; a failure leaves nothing behind.
    """
    temporary: Path | None = None
    try:
        temporary = begin_file(path)
        write(temporary)
        finish_file(temporary, path)
    except OSError as error:
        if error.filename is None or LEFTOVER in str(error.filename):
            error.filename = str(path)  # a full disk names no file, and the temporary name helps nobody
        raise
    finally:
        if temporary is not None:
            temporary.unlink(missing_ok=True)


def begin_file(path: Path) -> Path:
    """Return an empty file beside `path`, to be filled, and then renamed by `finish_file`, or removed."""
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=_prefix(), suffix=path.suffix)
    os.close(handle)
    return Path(name)


def finish_file(temporary: Path, path: Path) -> None:
    """Sync a file that `begin_file` gave to disk and rename it to `path`."""
    with temporary.open("rb") as file:
        os.fsync(file.fileno())
    temporary.chmod(0o644)
    temporary.replace(path)
    _sync_folder(path.parent)


def atomic_write_text(path: Path, text: str) -> None:
    r"""Write `text` as UTF-8 with `\n` line ends, whole or not at all."""
    atomic_write(path, lambda temporary: _write_bytes(temporary, text.encode()))


def atomic_write_bytes(path: Path, content: bytes) -> None:
    """Write `content`, whole or not at all."""
    atomic_write(path, lambda temporary: _write_bytes(temporary, content))


def read_json(text: str | bytes) -> Any:
    """Return what JSON text holds.

    Raises
    ------
    ValueError
        When it is no JSON, or a table in it has a key twice, of which one reader takes the first and another the last.
    """
    return json.loads(text, object_pairs_hook=_table)


def _table(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    table = dict(pairs)
    if len(table) < len(pairs):
        keys = [key for key, _ in pairs]
        raise ValueError(f"the key {next(key for key in keys if keys.count(key) > 1)!r} stands twice in one table")
    return table


@contextmanager
def alone(folder: Path, *inner: str) -> Iterator[None]:
    """Keep `folder`, made where missing, to this process, and first sweep away what a killed one left half-written.

    Folders named by `inner` are swept too. What a process that lives is writing stays: a worker of a run whose head was
    killed goes on until its unit is done. The lock goes with the process, however it ends. Where the system has no
    such lock, none is taken.

    Raises
    ------
    DataError
        When another process has it.
    """
    folder.mkdir(parents=True, exist_ok=True)
    handle = _lock(folder)
    try:
        for place in (folder, *(folder / name for name in inner)):
            for leftover in place.glob(f"{LEFTOVER}*"):
                if not _is_being_written(leftover):
                    leftover.unlink(missing_ok=True)
        yield
    finally:
        if handle is not None:
            os.close(handle)


def _lock(folder: Path) -> int | None:
    try:
        import fcntl
    except ImportError:
        return None
    handle = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        os.close(handle)
        raise DataError(f"{folder}: another cxrobust is writing there: wait for it, or choose another --out") from error
    except OSError:
        os.close(handle)
        return None
    return handle


def is_alive(process: int) -> bool:
    """Whether a process of this machine is there."""
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        pass
    return True


def _prefix() -> str:
    """Return how a temporary file's name begins, with who writes it."""
    return f"{LEFTOVER}{_machine()}-{os.getpid()}-"


def _machine() -> str:
    return sha256_bytes(platform.node().encode())[:8]


def _is_being_written(leftover: Path) -> bool:
    machine, _, rest = leftover.name.removeprefix(LEFTOVER).partition("-")
    process = rest.partition("-")[0]
    if not process.isdigit() or int(process) == os.getpid():
        return False
    if machine == _machine():
        return is_alive(int(process))
    try:
        return time.time() - leftover.stat().st_mtime < ABANDONED
    except OSError:
        return False


def read_json_table(path: Path) -> dict[str, Any]:
    """Return the table of a JSON file; an empty one where the file is missing or damaged, or holds none."""
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}


def sha256_bytes(content: bytes) -> str:
    """Return the SHA-256 of `content` in hexadecimal."""
    return hashlib.sha256(content).hexdigest()


def sha256_file(path: Path) -> str:
    """Return the SHA-256 of a file's bytes in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def sha256_modules(names: Iterable[str]) -> list[str]:
    """Return the SHA-256 of the source of each of Python's modules that has one."""
    specs = map(importlib.util.find_spec, names)
    return [sha256_file(Path(spec.origin)) for spec in specs if spec is not None and spec.origin is not None]


def merged_hashes(tables: Iterable[Mapping[str, str]]) -> dict[str, str]:
    """Return the hashes of several tables by name; a file that is called as another one before it gets a number.

    Examples
    --------
    >>> merged_hashes([{"a.csv": "1"}, {"a.csv": "2", "b.csv": "3"}, {"a.csv": "1"}])
    {'a.csv': '1', 'a.csv (2)': '2', 'b.csv': '3'}
    """
    found: dict[str, str] = {}
    for name, digest in (entry for table in tables for entry in table.items()):
        named, number = name, 1
        while found.setdefault(named, digest) != digest:
            number += 1
            named = f"{name} ({number})"
    return found


def sha256_json(value: Any) -> str:
    """Return the SHA-256 of a JSON value in its canonical form (sorted keys, no spaces)."""
    return sha256_bytes(canonical_json(value).encode())


def sha256_json_list(values: Iterable[Any]) -> str:
    """Return what `sha256_json` gives of the list of these values, of which only some are held at once.

    Examples
    --------
    >>> sha256_json_list(str(i) for i in range(5000)) == sha256_json([str(i) for i in range(5000)])
    True
    """
    digest, between = hashlib.sha256(b"["), b""
    for block in in_blocks(values):
        digest.update(between + canonical_json(block)[1:-1].encode())
        between = b","
    digest.update(b"]")
    return digest.hexdigest()


def in_blocks(values: Iterable[T], size: int = BLOCK) -> Iterator[list[T]]:
    """Yield the values in lists of `size`, the last of which may be shorter.

    Examples
    --------
    >>> list(in_blocks("abcde", 2))
    [['a', 'b'], ['c', 'd'], ['e']]
    """
    rest = iter(values)
    while block := list(islice(rest, size)):
        yield block


def canonical_json(value: Any) -> str:
    """Return JSON with sorted keys and no spaces; NaN is refused."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)


def _write_bytes(path: Path, content: bytes) -> None:
    path.write_bytes(content)


def _sync_folder(folder: Path) -> None:
    if os.name == "posix":
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)
