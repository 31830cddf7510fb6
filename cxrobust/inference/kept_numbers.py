"""Numbers that take a model to compute, kept in a file of their own that tells whether it was changed."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from cxrobust.files import atomic_write_text, canonical_json, read_json_table, sha256_json

NUMBERS, HASH = "numbers", "sha256"


def keep(path: Path, numbers: Mapping[str, Any], *, of: str = "") -> None:
    """Keep JSON values, without NaN, with a hash of them and of what they are `of`: the hash of a file, or nothing."""
    atomic_write_text(path, canonical_json({NUMBERS: numbers, HASH: sha256_json([of, numbers])}))


def read_numbers(path: Path, *, of: str = "") -> dict[str, Any] | None:
    """Return the numbers that an earlier run kept; None where there are none, they were damaged, or are of others.

    Examples
    --------
    >>> import tempfile
    >>> path = Path(tempfile.mkdtemp()) / "loss.json"
    >>> keep(path, {"loss": 0.25}, of="images")
    >>> read_numbers(path, of="images"), read_numbers(path, of="others")
    ({'loss': 0.25}, None)
    >>> _ = path.write_text(path.read_text().replace("0.25", "7.5"))
    >>> read_numbers(path, of="images")
    """
    found = read_json_table(path)
    numbers = found.get(NUMBERS)
    try:
        is_whole = isinstance(numbers, dict) and found.get(HASH) == sha256_json([of, numbers])
    except (ValueError, RecursionError):  # a damaged number may read as NaN, which is not kept
        return None
    return numbers if is_whole else None
