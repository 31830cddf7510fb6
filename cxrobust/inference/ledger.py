"""The ledger of a run: which units are done, running, failed or left, as the files of the predictions' folder say.

A unit's file is what makes it done. Beside these files stand `units.json`, what the last run had to do; `failed/`, the
error of each unit that failed, removed once it is done; and `running/`, a file for each unit at work, touched every few
seconds while its process lives. All three may be deleted: no run reads them, but people do.
"""

import json
import os
import platform
import threading
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from cxrobust.errors import DataError
from cxrobust.files import atomic_write_text, is_alive

UNITS = "units.json"
FAILED = "failed"
RUNNING = "running"
BEAT = 5.0
"""Seconds between two signs of life of a unit at work."""
SILENCE = 60.0
"""Seconds without a sign of life after which a unit on another machine no longer counts as running."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Entry:
    """One unit as a person knows it."""

    key: str
    regime: str
    replicate: int
    condition: str
    part: str
    """`test` or `validation` images."""
    n_images: int
    said: str = ""
    """The error of one that failed, or where one runs."""

    @property
    def name(self) -> str:
        """Regime, condition and which images, as errors say them."""
        replicate = f", replicate {self.replicate}" if self.replicate else ""
        validation = "validation images, " if self.part == "validation" else ""
        return f"{validation}regime {self.regime!r}{replicate}, condition {self.condition!r}, {self.n_images:,} images"


@dataclass(frozen=True, kw_only=True, slots=True)
class Ledger:
    """Units of the last run, each in one place; one that failed and runs again is running."""

    made_for: Mapping[str, Any]
    """What the run was for; see `cxrobust.inference.engine.made_for`."""
    done: tuple[Entry, ...]
    running: tuple[Entry, ...]
    failed: tuple[Entry, ...]
    left: tuple[Entry, ...]

    @property
    def n_units(self) -> int:
        """How many there are in all."""
        return len(self.done) + len(self.running) + len(self.failed) + len(self.left)


def write_units(entries: Iterable[Entry], made_for: Mapping[str, Any], folder: Path) -> None:
    """Say what a run has to do, and forget the errors of units that are none of it."""
    units = [
        {
            "key": one.key,
            "regime": one.regime,
            "replicate": one.replicate,
            "condition": one.condition,
            "part": one.part,
            "n_images": one.n_images,
        }
        for one in entries
    ]
    atomic_write_text(folder / UNITS, json.dumps({"made_for": made_for, "units": units}, ensure_ascii=False) + "\n")
    keys = {unit["key"] for unit in units}
    for path in (folder / FAILED).glob("*.json"):
        if path.stem not in keys:
            path.unlink(missing_ok=True)


def note_failure(folder: Path, key: str, *, error: str, attempts: int) -> None:
    """Keep the error of a unit beside the unit's file; a disk that is full keeps none."""
    with suppress(OSError):
        text = json.dumps({"error": error, "attempts": attempts}, ensure_ascii=False)
        atomic_write_text(folder / FAILED / f"{key}.json", text + "\n")


def forget_failure(folder: Path, key: str) -> None:
    """Remove the error of a unit that is done."""
    (folder / FAILED / f"{key}.json").unlink(missing_ok=True)


@contextmanager
def running(folder: Path, key: str) -> Iterator[None]:
    """Show a unit as running while the block does, from any machine that reaches the folder."""
    path = folder / RUNNING / f"{key}.{platform.node()}.{os.getpid()}"
    ended = threading.Event()

    def beat() -> None:
        while not ended.wait(BEAT):
            with suppress(OSError):
                path.touch()

    with suppress(OSError):  # a ledger that cannot be written stops no work
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    thread = threading.Thread(target=beat, daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()
        with suppress(OSError):
            path.unlink(missing_ok=True)


def sweep_running(folder: Path) -> None:
    """Remove what killed processes left in `running/`."""
    for path in (folder / RUNNING).glob("*"):
        if _where(path) is None:
            path.unlink(missing_ok=True)


def read_ledger(folder: Path) -> Ledger:
    """Read the ledger of the last run in a folder of predictions.

    Raises
    ------
    DataError
        When there was none, or its list of units is damaged.
    """
    path = folder / UNITS
    try:
        listed = json.loads(path.read_text(encoding="utf-8"))
        entries = [Entry(**unit) for unit in listed["units"]]
        made_for = dict(listed["made_for"])
    except FileNotFoundError:
        raise DataError(f"{path}: no run has begun there: run cxrobust predict first") from None
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DataError(f"{path}: cannot be read ({error}): run cxrobust predict again") from error
    at_work: dict[str, str] = {}
    for sign in sorted((folder / RUNNING).glob("*")):
        where = _where(sign)
        if where is not None:
            at_work[sign.name.partition(".")[0]] = where
    places: dict[str, list[Entry]] = {"done": [], "running": [], "failed": [], "left": []}
    for entry in entries:
        noted = _error(folder, entry.key)
        if _is_done(folder, entry.key):
            places["done"].append(entry)
        elif entry.key in at_work:
            places["running"].append(replace(entry, said=at_work[entry.key]))
        elif noted is not None:
            places["failed"].append(replace(entry, said=noted))
        else:
            places["left"].append(entry)
    return Ledger(made_for=made_for, **{name: tuple(some) for name, some in places.items()})


def _is_done(folder: Path, key: str) -> bool:
    """Whether a unit's file is there, and no later run failed to make it again."""
    try:
        made = (folder / f"{key}.parquet").stat().st_mtime
    except OSError:
        return False
    try:
        return (folder / FAILED / f"{key}.json").stat().st_mtime < made
    except OSError:
        return True


def _error(folder: Path, key: str) -> str | None:
    try:
        noted = json.loads((folder / FAILED / f"{key}.json").read_text(encoding="utf-8"))
        return f"{noted['error']} (attempt {noted['attempts']})" if noted["attempts"] > 1 else str(noted["error"])
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError, TypeError):
        return "it failed, and what was noted of it cannot be read"


def _where(sign: Path) -> str | None:
    """Return where and since when a unit runs; None where its process is gone."""
    _, _, name = sign.name.partition(".")
    host, _, process = name.rpartition(".")
    try:
        silent = time.time() - sign.stat().st_mtime
    except OSError:
        return None
    alive = is_alive(int(process)) if host == platform.node() and process.isdigit() else silent < SILENCE
    return f"process {process} on {host}" if alive else None


def show(ledger: Ledger, *, changed: tuple[str, ...] = (), most: int = 20) -> None:
    """Print how many units are done, running, failed and left, in all and by regime, and name those that failed."""
    console = Console()
    table = Table(box=None, pad_edge=False)
    for title in ("regime", "done", "running", "failed", "left", "images done"):
        table.add_column(title, justify="left" if title == "regime" else "right")
    places = {"done": ledger.done, "running": ledger.running, "failed": ledger.failed, "left": ledger.left}
    everything = [entry for some in places.values() for entry in some]
    for regime in (*dict.fromkeys(entry.regime for entry in everything), None):
        mine = {place: [e for e in some if regime is None or e.regime == regime] for place, some in places.items()}
        images = sum(entry.n_images for entry in mine["done"])
        of = sum(entry.n_images for some in mine.values() for entry in some)
        counts = [f"{len(some):,}" for some in mine.values()]
        table.add_row("all" if regime is None else escape(regime), *counts, f"{images:,} of {of:,}")
    console.print(table)
    if changed:
        console.print(f"The study file has another {' and another '.join(changed)} since: a run has more to do.")
    for title, some in (("Running", ledger.running), ("Failed", ledger.failed)):
        for entry in some[:most]:
            console.print(f"{title}: {escape(entry.name)}: {escape(entry.said)}", soft_wrap=True, highlight=False)
        if len(some) > most:
            console.print(f"{title}: {len(some) - most:,} more")
    if ledger.failed:
        console.print("Run the same command again for those that failed and those that are left.")
