"""Parquet files that are written whole and read with their checksums verified."""

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from cxrobust.errors import DataError
from cxrobust.files import atomic_write, sha256_file

ROWS = 65_536
"""Rows that are encoded at once."""
AGAIN = "delete it and run cxrobust predict again"


def write_table(table: pa.Table, path: Path) -> None:
    """Write a table with page checksums, whole or not at all."""
    atomic_write(
        path,
        lambda temporary: pq.write_table(
            table, temporary, row_group_size=ROWS, write_page_checksum=True, compression="zstd", store_schema=True
        ),
    )


def read_table(path: Path) -> pa.Table:
    """Read a table and verify it; page checksums do not cover headers and names.

    Raises
    ------
    DataError
        When the file is missing or damaged.
    """
    try:
        table = pq.read_table(path, page_checksum_verification=True, partitioning=None)
        table.validate(full=True)  # text that is not UTF-8 would end in an error later
    except FileNotFoundError:
        raise DataError(f"{path}: the file is missing: run cxrobust predict again") from None
    except (pa.ArrowException, OSError, ValueError) as error:
        reason = str(error).splitlines()[0]
        raise DataError(f"{path}: the file is damaged ({reason}): {AGAIN}") from error
    return table


def verified(path: Path, sha256: str) -> Path:
    """Return the path of a file, if there is one, whose bytes are those of the hash.

    Raises
    ------
    DataError
        When they are others.
    """
    if path.exists() and sha256_file(path) != sha256:
        raise DataError(f"{path}: its bytes have changed since it was written: {AGAIN}")
    return path
