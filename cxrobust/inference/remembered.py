"""Arrays that take long to compute, kept under the hash of all that determines them; deleting them costs time alone."""

import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cxrobust.errors import DataError
from cxrobust.files import atomic_write, sha256_json

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
    try:
        with np.load(path, allow_pickle=False) as found:
            return {name: found[name] for name in found.files}
    except (OSError, EOFError, ValueError, KeyError, zipfile.BadZipFile):
        made = make()
    arrays: Any = made
    try:
        atomic_write(path, lambda temporary: np.savez(temporary, allow_pickle=False, **arrays))
    except OSError as error:
        raise DataError(f"{path}: {error.strerror or error}: make room or choose another --out") from error
    return made
