"""Hashes of a study's images, by which units are named; those of files that have not changed are remembered."""

import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import TypeVar

import pyarrow as pa
import pyarrow.compute as pc

from cxrobust.errors import DataError
from cxrobust.files import in_blocks, sha256_bytes
from cxrobust.inference.datasets import ImageSource, ImageTable
from cxrobust.inference.tables import giving_memory_back
from cxrobust.predictions.parquet import read_table, write_table
from cxrobust.progress import Reporter
from cxrobust.texts import Texts

T = TypeVar("T")

DIGESTS = "digests.parquet"
REMEMBERED = pa.schema([pa.field(name, pa.large_binary(), nullable=False) for name in ("image", "stamp", "digest")])
"""Columns of the file of digests: the id of each image, a hash of its stamp, and its digest."""
UNREADABLE = "unreadable"
"""What stands for the hash of an image whose file cannot be opened."""


def hash_images(table: ImageTable, *, folder: Path, report: Reporter, skip_unreadable: bool = False) -> Texts:
    """Return a hash of each image; `folder` remembers those of files that have not changed.

    Raises
    ------
    DataError
        When the table has no images, or one cannot be read; with `skip_unreadable`, the hash of one is `UNREADABLE`.
    """
    with giving_memory_back():
        return _hashed(table, folder / DIGESTS, report, skip_unreadable)


def _hashed(table: ImageTable, memory: Path, report: Reporter, skip_unreadable: bool) -> Texts:
    source, images = loaded_images(table), Texts(table.ids).array
    known = _remembered(memory)
    places = pc.index_in(images, value_set=known["image"]).fill_null(-1).to_numpy()
    stamps, digests = known["stamp"], known["digest"]

    def one(row: int) -> tuple[str, str]:
        try:
            stamp, place = sha256_bytes(source.stamp(row).encode("utf-8", "surrogatepass"))[:32], int(places[row])
            if place >= 0 and stamps[place].as_py() == stamp.encode():
                return stamp, digests[place].as_py().decode()
            return stamp, source.digest(row)
        except DataError:
            if not skip_unreadable:
                raise
            return "", UNREADABLE

    pairs = in_blocks(_each(one, len(images), "hashing images", report))
    blocks = [[Texts(column).array for column in zip(*block, strict=True)] for block in pairs]
    stamped, hashed = (pa.chunked_array(column) for column in zip(*blocks, strict=True))
    found = pa.table([images, stamped, hashed], schema=REMEMBERED)
    if not found.equals(known):
        write_table(found, memory)
    return Texts(hashed)


def forget(path: Path, ids: Sequence[str]) -> None:
    """Take away what is kept of some images, so that they are hashed again though their stamps are the same."""
    known = _remembered(path)
    of_them = pc.is_in(known["image"], value_set=Texts(ids).array)
    with suppress(OSError):  # a full disk
        write_table(known.filter(pc.invert(of_them)), path)


def loaded_images(table: ImageTable) -> ImageSource:
    """Return what gives the images of a table.

    Raises
    ------
    DataError
        When they were not loaded.
    """
    if table.images is None:
        raise DataError(f"{table.name}: its images were not loaded, and a model needs them: correct [data]")
    return table.images


def _remembered(path: Path) -> pa.Table:
    """Return what an earlier run kept of images and their hashes; nothing where the file is missing or damaged."""
    with suppress(DataError):
        table = read_table(path)
        if table.schema == REMEMBERED:
            return table
    return REMEMBERED.empty_table()


def _each(work: Callable[[int], T], n: int, task: str, report: Reporter) -> Iterator[T]:
    with ThreadPoolExecutor(min(8, os.cpu_count() or 1)) as pool:
        for rows in in_blocks(range(n), 256):
            yield from pool.map(work, rows)
            report(task, rows[-1] + 1, n)
