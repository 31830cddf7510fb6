"""Arrays that take long to compute, kept under the hash of all that determines them; deleting them costs time alone."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cxrobust.errors import DataError
from cxrobust.files import atomic_write, atomic_write_text, sha256_file, sha256_json

Arrays = Mapping[str, NDArray[Any]]


def remembered(folder: Path | None, kind: str, determined_by: object, make: Callable[[], Arrays]) -> Arrays:
    """Return what `make` gives, from `folder` where an earlier run kept it; a damaged file is made again.

    Parameters
    ----------
    determined_by
        A JSON value: whatever changes the arrays must change it.

    Raises
    ------
    DataError
        When the arrays cannot be kept, for example on a full disk.
    """
    if folder is None:
        return make()
    path = folder / f"{kind}-{sha256_json(determined_by)[:32]}.npz"
    note = path.with_suffix(".sha256")
    if _is_whole(path, note):
        with np.load(path, allow_pickle=False) as found:
            return {name: found[name] for name in found.files}
    made: Any = make()
    try:
        atomic_write(path, lambda temporary: np.savez(temporary, allow_pickle=False, **made))
        atomic_write_text(note, sha256_file(path))
    except OSError as error:
        raise DataError(f"{path}: {error.strerror or error}: make room or choose another --out") from error
    arrays: Arrays = made
    return arrays


def _is_whole(path: Path, note: Path) -> bool:
    """Whether a file has the hash that was noted of it: an archive's own checksums leave out its names and headers."""
    try:
        return note.read_bytes() == sha256_file(path).encode()
    except OSError:
        return False
