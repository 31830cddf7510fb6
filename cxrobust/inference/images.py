"""Pixels: image files and arrays decoded to grey in [0, 1], and fitted to the side at which they are perturbed."""

import io
import os
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFile, ImageOps, UnidentifiedImageError
from PIL.TiffImagePlugin import PHOTOMETRIC_INTERPRETATION, TiffImageFile

from cxrobust.errors import CxrobustError, DataError, some
from cxrobust.files import sha256_bytes, sha256_file
from cxrobust.inference import dicom
from cxrobust.inference.dicom import UnfitError, decode_dicom, is_dicom
from cxrobust.texts import Texts

EXTENSIONS = (".png", ".jpg", ".jpeg", *dicom.ENDINGS, ".tif", ".tiff", ".bmp", ".webp", ".pgm")
"""Endings under which an image without one is looked for, in this order, and after these in capitals."""
LOOKED_FOR = f"each id is looked for as it is and with {', '.join(EXTENSIONS)}, or these in capitals"
"""What `with_endings` tries, for the sentence on files that it does not find."""
FORMATS = ("PNG", "JPEG", "TIFF", "BMP", "WEBP", "PPM")
ONE_PICTURE = ("PNG", "TIFF", "WEBP")
"""Of these a second picture is a page or a frame; a second one of a JPEG is a smaller copy."""
FOLDERS = 1024
"""Whose names are kept at once."""
MOST_WORDS = 200
"""Characters of what another library says that our own sentence takes; pydicom's may hold a whole table."""
MOST_PIXELS = 80_000_000
"""A larger image is refused before it is decoded; a full-field radiograph has 20 million pixels at most."""


def decode(path: Path, content: bytes | None = None) -> NDArray[np.float32]:
    """Return an image file as grey in [0, 1], 1 being the brightest value that its type can store.

    Colour becomes luminance (ITU-R 601), transparency is ignored, and a palette is looked up. 16-bit values are divided
    by 65,535, so a file that keeps 12 bits in 16 comes out dark. A TIFF whose white is 0 is inverted, and a picture is
    turned as its EXIF orientation says. A file is DICOM when its name says so or it bears the mark of one; it goes
    through its modality and VOI lookup tables, MONOCHROME1 is inverted, and 0 and 1 are the ends of the windowed range,
    or of the stored one without a window. Of several windows the first is taken. Compressed files need the plug-ins of
    the group `dicom`. Where the file's `content` was read already, it is not read again.

    Returns
    -------
    NDArray[np.float32]
        (height, width) in [0, 1].

    Raises
    ------
    DataError
        When the file is missing, empty, truncated, too large or of no known kind, or a DICOM file is not one grey frame
        or has a window, lookup table or highest bit that the standard does not allow.
    MissingGroupError
        When it is DICOM and pydicom is not installed, or it is compressed and the plug-ins are not.
    """
    try:
        content = path.read_bytes() if content is None else content
        if not content:
            raise DataError(f"{path}: the image file is empty: get the file again")
        file = io.BytesIO(content)  # Pillow maps a path, a turned TIFF wrongly
        return decode_dicom(file, most_pixels=MOST_PIXELS) if is_dicom(path, content) else _decode_picture(path, file)
    except CxrobustError:
        raise
    except FileNotFoundError as error:
        raise _unreadable(path, error) from None
    except UnidentifiedImageError:
        raise DataError(f"{path}: the file is no {', '.join(FORMATS)} or DICOM image: put an image there") from None
    except (Image.DecompressionBombError, Image.DecompressionBombWarning):
        raise _too_large(path) from None
    except UnfitError as error:
        raise DataError(f"{path}: the image cannot be used ({reason(error)}): put another file in its place") from error
    except Exception as error:  # a damaged file makes decoders raise errors of any type
        raise DataError(f"{path}: the image cannot be decoded ({reason(error)}): get the file again") from error


def fit(image: NDArray[np.float32], size: int) -> NDArray[np.float32]:
    """Scale the shorter side to `size` and crop the longer one around its centre; the same image when it fits already.

    Bicubic with a support that grows with the reduction, so that fine structure is averaged, not aliased; clipped to
    [0, 1].

    Examples
    --------
    >>> fit(np.full((40, 60), 0.5, np.float32), 20).shape
    (20, 20)
    """
    height, width = image.shape
    if height == width == size:
        return image
    side = min(height, width)
    left, top = (width - side) // 2, (height - side) // 2
    scaled = Image.fromarray(np.ascontiguousarray(image)).resize(
        (size, size), Image.Resampling.BICUBIC, box=(left, top, left + side, top + side)
    )
    return np.asarray(scaled).clip(0, 1)


@dataclass(frozen=True, slots=True)
class FileImages:
    """Images that are files, one each."""

    names: Texts
    """Their paths, without an object for each."""

    @property
    def paths(self) -> Iterator[Path]:
        """The file of each image."""
        return map(Path, self.names)

    def digest(self, index: int) -> str:
        """Return the SHA-256 of the file."""
        path = self.file(index)
        try:
            return sha256_file(path)
        except OSError as error:
            raise _unreadable(path, error) from error

    def stamp(self, index: int) -> str:
        """Return path, size and time of the last change."""
        path = self.file(index)
        try:
            status = path.stat()
        except OSError as error:
            raise _unreadable(path, error) from error
        return f"{path}:{status.st_size}:{status.st_mtime_ns}"

    def file(self, index: int) -> Path:
        """Return the file."""
        return Path(self.names[index])

    def pixels(self, index: int) -> NDArray[np.float32]:
        """Return image `index` as grey, (height, width) in [0, 1]; see `decode`."""
        return decode(self.file(index))

    def opened(self, index: int) -> tuple[str, Callable[[], NDArray[np.float32]]]:
        """Return digest and pixels, which are decoded when they are called for, by reading the file once."""
        path = self.file(index)
        try:
            content = path.read_bytes()
        except OSError as error:
            raise _unreadable(path, error) from error
        return sha256_bytes(content), lambda: decode(path, content)


@dataclass(frozen=True, slots=True)
class ArrayImages:
    """Images that are kept in memory."""

    array: NDArray[np.uint8]
    """(n, height, width), or (n, height, width, channels) with 1, 3 or 4 channels."""

    def digest(self, index: int) -> str:
        """Return the SHA-256 of the image's shape and values."""
        image = np.ascontiguousarray(self.array[index])
        return sha256_bytes(repr(image.shape).encode() + image.tobytes())

    def stamp(self, index: int) -> str:
        """Return the digest, which is cheap for an image in memory."""
        return self.digest(index)

    def file(self, index: int) -> None:
        """Return None: all are in one file."""

    def pixels(self, index: int) -> NDArray[np.float32]:
        """Return image `index` as grey, (height, width) in [0, 1]."""
        image = self.array[index]
        return _grey(Image.fromarray(image[..., 0] if image.shape[2:] == (1,) else image))

    def opened(self, index: int) -> tuple[str, Callable[[], NDArray[np.float32]]]:
        """Return digest and pixels."""
        return self.digest(index), lambda: self.pixels(index)


def names_in(folder: Path) -> frozenset[str]:
    """Return the names that a folder lists; none when it does not exist.

    Raises
    ------
    DataError
        When the folder exists and cannot be listed.
    """
    try:
        with os.scandir(folder) as entries:
            return frozenset(entry.name for entry in entries)
    except (FileNotFoundError, NotADirectoryError):
        return frozenset()
    except OSError as error:
        raise DataError(f"{folder}: the folder cannot be listed ({reason(error)}): correct its permissions") from error


def _lister() -> Callable[[Path], frozenset[str]]:
    """Return `names_in`, which asks for each folder once, as long as no more than some are in turn."""
    return lru_cache(maxsize=FOLDERS)(names_in)


def missing_files(paths: Iterable[Path]) -> tuple[Path, ...]:
    """Return those of `paths` that do not exist, listing each folder once instead of asking for each file."""
    listed = _lister()
    return tuple(path for path in paths if path.name not in listed(path.parent))


def with_endings(root: Path, names: Iterable[str]) -> Iterator[Path]:
    """Yield the file of each image id: the id itself, or the id with the first of `EXTENSIONS` that exists."""
    listed = _lister()
    tried = ("", *EXTENSIONS, *(ending.upper() for ending in EXTENSIONS))
    for path in (root / name for name in names):
        there = listed(path.parent)
        yield path.with_name(path.name + next((ending for ending in tried if path.name + ending in there), ""))


_tolerating: ContextVar[bool] = ContextVar("tolerating missing image files", default=False)


@contextmanager
def tolerating_missing_files() -> Iterator[None]:
    """Let `file_images` pass over files that do not exist, unless none does; reading their pixels says so later.

    Headers that cannot be read tell nothing meanwhile.
    """
    before = _tolerating.set(True)
    try:
        yield
    finally:
        _tolerating.reset(before)


def tolerates_missing_files() -> bool:
    """Whether this is within `tolerating_missing_files`."""
    return _tolerating.get()


def file_images(paths: Iterable[Path], *, mend: str) -> FileImages:
    """Return `paths` as a source of images.

    Raises
    ------
    DataError
        When some do not exist: how many, the first three, and `mend`.
    """
    files = FileImages(Texts(map(str, paths)))
    missing, n = missing_files(files.paths), len(files.names)
    if missing and not (tolerates_missing_files() and len(missing) < n):
        raise DataError(f"{len(missing):,} of {n:,} image files are missing ({some(missing)}): {mend}")
    return files


def _decode_picture(path: Path, file: io.BytesIO) -> NDArray[np.float32]:
    ImageFile.LOAD_TRUNCATED_IMAGES = False  # WeasyPrint turns it on, and half an image would pass for a whole
    with Image.open(file, formats=FORMATS) as image:
        if image.width * image.height > MOST_PIXELS:
            raise _too_large(path)
        n_pictures = getattr(image, "n_frames", 1)
        if n_pictures > 1 and image.format in ONE_PICTURE:
            raise UnfitError(f"it holds {n_pictures} pictures, expected one")
        white_is_zero = isinstance(image, TiffImageFile) and image.tag_v2.get(PHOTOMETRIC_INTERPRETATION) == 0
        image.load()  # which turns a TIFF: NumPy would ask for the shape before
        ImageOps.exif_transpose(image, in_place=True)
        grey = _grey(image)
        return 1 - grey if white_is_zero and image.mode.startswith(("I", "F")) else grey  # Pillow inverts 8 bits


def _grey(image: Image.Image) -> NDArray[np.float32]:
    """Return a picture of any mode as grey; `convert("L")` alone would clip every mode of more than 8 bits."""
    if image.mode.startswith("I"):
        return _scaled(np.asarray(image), highest=65_535)
    if image.mode == "F":
        return _scaled(np.asarray(image), highest=1)
    if image.mode in {"P", "PA"}:
        image = image.convert("RGBA")
    return _scaled(np.asarray(image.convert("L")), highest=255)


def _scaled(values: NDArray[Any], *, highest: int) -> NDArray[np.float32]:
    low, high = values.min(), values.max()
    if not 0 <= low <= high <= highest:  # also false for NaN
        raise UnfitError(f"its values run from {low} to {high}, expected 0 to {highest}")
    return values.astype(np.float32) / np.float32(highest)


def _unreadable(path: Path, error: OSError) -> DataError:
    tried = "" if path.suffix.lower() in EXTENSIONS else f" ({EXTENSIONS[0]} and the other usual endings were tried)"
    what = f"is missing{tried}" if isinstance(error, FileNotFoundError) else f"cannot be read ({reason(error)})"
    return DataError(f"{path}: the image file {what}: put it there or correct its path in [data]")


def _too_large(path: Path) -> DataError:
    return DataError(f"{path}: the image has more than {MOST_PIXELS:,} pixels: replace it by a smaller one")


def reason(error: Exception) -> str:
    """Return the first sentence of what an error of another library says, for our own sentence."""
    text = (error.strerror if isinstance(error, OSError) else None) or str(error) or type(error).__name__
    sentence = " ".join(text.split()).partition(". ")[0].rstrip(".")
    return sentence if len(sentence) <= MOST_WORDS else f"{sentence[:MOST_WORDS].rstrip()} …"
