"""The images of a study, decoded once: a memory-mapped array at the study's size, and a checksum of each."""

import json
import os
import platform
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

from cxrobust.errors import CxrobustError, DataError
from cxrobust.files import (
    atomic_write_text,
    begin_file,
    finish_file,
    sha256_file,
    sha256_json,
    sha256_json_list,
)
from cxrobust.inference import dicom, images
from cxrobust.inference.datasets import ImageSource, ImageTable, without_folder
from cxrobust.inference.decoding import Decoders, Decoding
from cxrobust.inference.image_hashes import DIGESTS, UNREADABLE, forget, hash_images, loaded_images
from cxrobust.inference.images import fit
from cxrobust.progress import Reporter
from cxrobust.texts import Texts

WHITE = 65535
"""Pixels are kept as 16-bit integers: an 8-bit image that needs no scaling comes back exactly."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Pixels:
    """Decoded images and what identifies them."""

    values: NDArray[np.uint16]
    """(n_images, size, size), 0 to 65535; while `decoding` is at work, those of the first images alone. What is on a
    disk may have been damaged there: `stored` checks it."""
    digests: Sequence[str]
    """One hash an image, of the file's bytes or of what else determines it."""
    sums: NDArray[np.uint32] | None = None
    """The checksum of each image's `values` as they were decoded; None where they came checked."""
    unreadable: Mapping[int, str] = field(default_factory=dict)
    """Why an image could not be read, by row; its pixels are 0."""
    path: Path | None = None
    """The file that `values` are mapped from."""
    partial: Path | None = None
    """Where that file is until all images are decoded."""
    decoding: Decoding | None = None

    def part(self, first: int, end: int, *, copied: bool, here: bool) -> "Pixels | PixelsAt":
        """Return the images from row `first` to before `end`, to be sent elsewhere: as values, or by their file.

        Waits until they are decoded. A file that other machines read is waited for whole, since what a disk that
        machines share shows of a file that is being written is not told.
        """
        if copied or here:
            self._wait(np.arange(first, end))
        else:
            self.wait_for_all()
        unreadable = {row - first: why for row, why in dict(self.unreadable).items() if first <= row < end}
        if copied or self.path is None:
            values = self.stored(np.arange(first, end))
            return Pixels(values=values, digests=self.digests[first:end], unreadable=unreadable)
        sums = None if self.sums is None else self.sums[first:end].copy()
        return PixelsAt(path=self.path, partial=self.partial, first=first, end=end, sums=sums, unreadable=unreadable)

    def batch(self, rows: NDArray[np.intp]) -> NDArray[np.float32]:
        """Return images as (n, 1, size, size) float32 in [0, 1], as soon as they are decoded."""
        return self.stored(rows)[:, None].astype(np.float32) / np.float32(WHITE)

    def stored(self, rows: NDArray[np.intp]) -> NDArray[np.uint16]:
        """Return the values of some images, (n, size, size), as soon as they are decoded.

        Raises
        ------
        DataError
            When they are not what was decoded: their file was damaged since.
        """
        self._wait(rows)
        values = self.values[rows]
        if self.sums is not None:
            for row, image in zip(rows, values, strict=True):
                if zlib.crc32(image) != self.sums[row]:
                    raise _damaged(self.path, "its pixels are not those that were decoded")
        return values

    def wait_for_all(self, report: Reporter | None = None) -> None:
        """Return when all images are decoded and their file is whole.

        Raises
        ------
        DataError
            Naming an image that cannot be decoded, or the folder when the disk is full.
        """
        if self.decoding is not None:
            self.decoding.wait_for_all(report)

    def refuse_damaged(self, rows: NDArray[np.intp]) -> None:
        """Wait for nothing, and raise where one of these images is known to be damaged.

        Raises
        ------
        DataError
            Naming it.
        """
        if self.decoding is not None:
            self.decoding.refuse_damaged(rows)

    def _wait(self, rows: NDArray[np.intp]) -> None:
        if self.decoding is not None:
            self.decoding.wait(rows)


@dataclass(frozen=True, kw_only=True, slots=True)
class PixelsAt:
    """Decoded images in a file that other processes reach too; opened anew for each batch, which takes no time."""

    path: Path
    partial: Path | None
    first: int
    end: int
    sums: NDArray[np.uint32] | None = None
    unreadable: Mapping[int, str] = field(default_factory=dict)

    def batch(self, rows: NDArray[np.intp]) -> NDArray[np.float32]:
        """Return images as (n, 1, size, size) float32 in [0, 1]; row 0 is the first of this part."""
        try:
            values = self._mapped()[self.first : self.end]
        except (OSError, ValueError) as error:
            raise DataError(
                f"{self.path}: the decoded images cannot be read on {platform.node()} ({images.reason(error)}): put "
                f"--out on a disk that all machines share, or give [compute] store"
            ) from error
        return Pixels(values=values, digests=(), sums=self.sums, path=self.path).batch(rows)

    def _mapped(self) -> NDArray[np.uint16]:
        places = (self.path,) if self.partial is None else (self.path, self.partial)
        for place in places:
            with suppress(FileNotFoundError):
                return _mapped(place)
        return _mapped(self.path)  # where it was renamed meanwhile, or nowhere


def _mapped(path: Path) -> NDArray[np.uint16]:
    values: NDArray[np.uint16] = np.load(path, mmap_mode="r", allow_pickle=False)
    return values


Unreadable: TypeAlias = Literal["told", "skipped", "needed"]
"""What becomes of an image that cannot be read: it ends the run, with the advice that it can be skipped, is skipped,
or ends the run."""


def open_pixels(
    table: ImageTable,
    *,
    size: int,
    folder: Path,
    report: Reporter,
    unreadable: Unreadable = "told",
    decoders: Decoders | None = None,
) -> Pixels:
    """Decode the images of `table` into `folder`, or open what an earlier run decoded of the very same images.

    Images are hashed first, later only those whose files changed, and decoded when no array is of the very same ones.
    With `decoders` that goes on while the first images are used: what is not decoded yet is waited for, and an image
    that cannot be read is told to who waits for it, and for all.

    Raises
    ------
    DataError
        Naming the image that cannot be read, unless such are skipped, or the folder when the disk is full.
    """
    digests = hash_images(table, folder=folder, report=report, skip_unreadable=unreadable == "skipped")
    path = folder / _name(size, digests)
    if not path.exists() or (
        unreadable != "skipped" and _noted(path, len(table.ids))[1]
    ):  # else it may be readable now
        if decoders is not None:
            return _begun(table, digests, size, path, unreadable, decoders)
        with Decoders() as own:
            _begun(table, digests, size, path, unreadable, own).wait_for_all(report)
    try:
        values = _mapped(path)
    except (OSError, EOFError, ValueError) as error:
        raise _damaged(path, error) from error
    if values.shape != (len(table.ids), size, size) or values.dtype != np.uint16:
        raise _damaged(path, f"shape {values.shape}")
    sums, reasons = _noted(path, len(table.ids))
    return Pixels(values=values, digests=digests, sums=sums, unreadable=reasons, path=path.absolute())


def _damaged(path: Path | None, why: object) -> DataError:
    return DataError(f"{path}: the image cache is damaged ({why}): delete it and run again")


def _name(size: int, digests: Sequence[str]) -> str:
    """Return the name of the array of these images, as the program decodes them today."""
    return f"pixels-{size}-{sha256_json([_decoder(), sha256_json_list(digests)])[:32]}.npy"


@contextmanager
def _room_for(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise DataError(f"{path}: {error.strerror or error}: make room or choose another --out") from error


def _begun(
    table: ImageTable,
    digests: Texts,
    size: int,
    path: Path,
    unreadable: Unreadable,
    decoders: Decoders,
) -> Pixels:
    """Have images decoded into a temporary file beside `path`, which takes its place when it is whole."""
    made = _Unfinished.begin(table, digests, size=size, path=path, then=unreadable)
    decoding = Decoding(len(table.ids), made.decode, finish=made.finish, discard=made.discard)
    decoders.begin(decoding)
    return Pixels(
        values=made.values,
        digests=digests,
        sums=made.sums,
        unreadable=made.unreadable,
        path=path.absolute(),
        partial=made.temporary.absolute(),
        decoding=decoding,
    )


@dataclass(frozen=True, kw_only=True, slots=True)
class _Unfinished:
    """An image cache whose images are being decoded.

    It becomes none where an image is damaged, unless unreadable ones are skipped, nor where one is not any more what
    was hashed: the array is named by the hashes, and that of such an image is forgotten.
    """

    table: ImageTable
    source: ImageSource
    digests: Texts
    path: Path
    """The file that it becomes."""
    temporary: Path
    """The file that it is until it is whole."""
    values: np.memmap[tuple[int, ...], np.dtype[np.uint16]]
    """(n_images, size, size), mapped from `temporary`."""
    sums: NDArray[np.uint32]
    """(n_images,): the checksum of each image's values, of black ones at first."""
    then: Unreadable
    """What becomes of an image that cannot be read."""
    unreadable: dict[int, str] = field(default_factory=dict)
    """Why an image is skipped, by row."""
    lost: set[int] = field(default_factory=set)
    """Rows of images that are not any more what was hashed."""

    @classmethod
    def begin(cls, table: ImageTable, digests: Texts, *, size: int, path: Path, then: Unreadable) -> "_Unfinished":
        """Take the room of the array in a temporary file; all is black."""
        source = loaded_images(table)
        sums = np.full(len(table.ids), zlib.crc32(bytes(2 * size**2)), dtype=np.uint32)
        with _room_for(path):
            temporary = begin_file(path)
            try:
                values = np.lib.format.open_memmap(
                    temporary, mode="w+", dtype=np.uint16, shape=(len(table.ids), size, size)
                )
                _reserve(temporary)
            except BaseException:
                temporary.unlink()
                raise
        return cls(
            table=table,
            source=source,
            digests=digests,
            path=path,
            temporary=temporary,
            values=values,
            sums=sums,
            then=then,
        )

    def decode(self, row: int) -> None:
        """Decode an image, or note why it is skipped."""
        try:
            levels = self._levels(row)
            self.values[row], self.sums[row] = levels, zlib.crc32(levels.data)
        except DataError as error:
            if row in self.lost or self.then == "needed":
                raise
            if self.then == "told":
                raise DataError(f'{error}, or leave such images out by on_error = "skip" in [compute]') from error
            self.unreadable[row] = without_folder(str(error), self.source, row)

    def _levels(self, row: int) -> NDArray[np.uint16]:
        try:
            return np.rint(fit(self._opened(row)(), self.values.shape[-1]) * WHITE).astype(np.uint16, order="C")
        except CxrobustError:
            raise
        except Exception as error:  # a data set of anyone's own may raise anything
            raise DataError(
                f"{self._where(row)}: its pixels cannot be used ({type(error).__name__}: {images.reason(error)}): put "
                "another image in its place"
            ) from error

    def _where(self, row: int) -> str:
        return f"{self.source.file(row) or self.table.name}: image {self.table.ids[row]!r}"

    def _opened(self, row: int) -> Callable[[], NDArray[np.float32]]:
        """Return what gives the pixels of an image that is still what was hashed."""
        where = self._where(row)
        try:
            digest, pixels = self.source.opened(row)
        except DataError as error:
            if self.digests[row] == UNREADABLE:
                raise
            self.lost.add(row)
            raise DataError(
                f"{where} was there when the run began, and cannot be read any more: put its file back and run again"
            ) from error
        if digest != self.digests[row]:
            self.lost.add(row)
            raise DataError(f"{where} was changed during the run: run again")
        return pixels

    def finish(self) -> None:
        """Put the whole array, and notes of its images beside it, in their places."""
        if len(self.unreadable) == len(self.table.ids):
            raise DataError(f"{self.table.name}: no image can be read: {self.unreadable[0]}")
        with _room_for(self.path):
            self.values.flush()
            sums, unreadable = self.sums.astype("<u4").tobytes().hex(), dict(sorted(self.unreadable.items()))
            noted = {"sums": sums, "unreadable": unreadable}
            atomic_write_text(_notes(self.path), json.dumps(noted, ensure_ascii=False))
            finish_file(self.temporary, self.path)

    def discard(self) -> None:
        """Throw it away, and forget the hashes of images that are not what was hashed."""
        self.temporary.unlink(missing_ok=True)
        if self.lost:
            forget(self.path.parent / DIGESTS, [self.table.ids[row] for row in self.lost])


def _notes(path: Path) -> Path:
    """Return the file, beside an image cache, with the images' checksums and why some could not be read."""
    return path.with_suffix(".json")


def _noted(path: Path, n_images: int) -> tuple[NDArray[np.uint32], dict[int, str]]:
    notes = _notes(path)
    try:
        noted = json.loads(notes.read_text(encoding="utf-8"))
        sums = np.frombuffer(bytes.fromhex(noted["sums"]), dtype="<u4").astype(np.uint32)
        unreadable = {int(row): str(why) for row, why in noted["unreadable"].items()}
    except (OSError, ValueError, RecursionError, TypeError, KeyError, AttributeError, OverflowError) as error:
        raise _damaged(path, f"its checksums in {notes.name}: {images.reason(error)}") from error
    if sums.shape != (n_images,):
        raise _damaged(path, f"{notes.name} has {sums.size} checksums")
    return sums, unreadable


def _reserve(path: Path) -> None:
    """Take the room of a file on its disk; a full disk would else kill the program when a mapped page is written."""
    if hasattr(os, "posix_fallocate"):
        with path.open("r+b") as file:
            os.posix_fallocate(file.fileno(), 0, path.stat().st_size)


def _decoder() -> list[str]:
    """Hash the code that decodes, so that a changed program decodes again."""
    return [sha256_file(Path(file)) for file in (dicom.__file__, images.__file__, __file__)]
