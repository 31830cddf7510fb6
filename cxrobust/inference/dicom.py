"""DICOM files decoded to grey in [0, 1]: stored values through lookup tables and windows (PS3.3, C.11.1 and C.11.2)."""

import io
from collections.abc import MutableSequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cxrobust.errors import require

ENDINGS = (".dcm", ".dicom")
MARK_AT, MARK = 128, b"DICM"
"""Where every DICOM file says what it is; its name need not."""
JPEG_SYNTAXES = ("1.2.840.10008.1.2.4.5", "1.2.840.10008.1.2.4.7", "1.2.840.10008.1.2.4.8")
"""How the identifiers of JPEG and JPEG-LS begin; their decoder fills what is missing of a picture in silence."""
END_OF_JPEG = b"\xff\xd9"
NEEDED = ("PhotometricInterpretation", "Rows", "Columns", "BitsStored", "PixelData")
USUAL = {"SamplesPerPixel": 1, "PixelRepresentation": 0}
"""What is taken where a file does not tell: one grey sample a pixel, and values without a sign."""
MODALITY, VOI = "ModalityLUTSequence", "VOILUTSequence"


class UnfitError(ValueError):
    """What a file asks for and is not done here; getting it again mends nothing where it was distributed so."""


def is_dicom(path: Path, head: bytes) -> bool:
    """Whether a file is DICOM, by its ending or by its first bytes."""
    return path.suffix.lower() in ENDINGS or head[MARK_AT : MARK_AT + len(MARK)] == MARK


def decode_dicom(file: io.BytesIO, *, most_pixels: int) -> NDArray[np.float32]:
    """Return a DICOM image as grey in [0, 1], 0 and 1 being the ends of the range that its tables or window give.

    Values go through the modality table or slope, then through the VOI table or else the first window. A table of 8
    bits an entry may hold a byte or two for each. A slope or intercept that is blank is none, and a window whose centre
    or width is blank or whose width is 0 is none.

    Returns
    -------
    NDArray[np.float32]
        (height, width) in [0, 1].

    Raises
    ------
    UnfitError
        When it is not one grey frame, has more than `most_pixels`, or has a window, table, slope or highest bit that
        the standard does not allow.
    MissingGroupError
        When pydicom is not installed, or the file is compressed and the plug-ins are not.
    """
    pydicom = require("pydicom", group="inference")
    content = pydicom.dcmread(file)
    _check(content, most_pixels)
    _complete(content)
    values, low, high = _of_interest(*_of_modality(_stored(content), content), content)
    grey = ((values - float(low)) / (high - low)).clip(0, 1)  # signed values of all bits wrap in their own numbers
    return (1 - grey if content.PhotometricInterpretation == "MONOCHROME1" else grey).astype(np.float32)


def _check(content: Any, most_pixels: int) -> None:
    for name in NEEDED:
        if name not in content:
            raise ValueError(f"it has no {name}")
    photometric, n_frames = content.PhotometricInterpretation, content.get("NumberOfFrames") or 1
    if photometric not in {"MONOCHROME1", "MONOCHROME2"} or int(n_frames) != 1:
        raise UnfitError(f"it is {photometric} with {n_frames} frames, expected one grey frame")
    if content.Rows * content.Columns > most_pixels:
        raise UnfitError(f"it has more than {most_pixels:,} pixels")
    if content.get("HighBit") not in {None, content.BitsStored - 1}:
        raise UnfitError(
            f"its HighBit is {content.HighBit} where BitsStored is {content.BitsStored}, expected one less than that"
        )


def _complete(content: Any) -> None:
    """Say in a file's content what is usual where it does not tell, and take a blank slope or intercept away."""
    for name, value in USUAL.items():
        if content.get(name) is None:
            setattr(content, name, value)
    for name in ("RescaleSlope", "RescaleIntercept"):
        if content.get(name) is None:
            content.pop(name, None)


def _stored(content: Any) -> NDArray[Any]:
    """Return the stored values; where those of a compressed file cannot be decoded, first ask for the plug-ins."""
    syntax = content.file_meta.TransferSyntaxUID
    if syntax.startswith(JPEG_SYNTAXES):
        frames = require("pydicom.encaps", group="inference").generate_frames
        frame = next(frames(content.PixelData, number_of_frames=1))
        if END_OF_JPEG not in frame.rstrip(b"\0")[-1024:]:  # some writers pad by thousands of bytes
            raise ValueError("its compressed picture is truncated")
    try:
        values: NDArray[Any] = content.pixel_array
    except Exception:
        if syntax.is_compressed:
            for module in ("pylibjpeg", "libjpeg", "openjpeg"):
                require(module, group="dicom")
        raise
    if values.ndim != 2:
        raise UnfitError(f"its pixels have the shape {values.shape}, expected one grey frame")
    return values


def _of_modality(stored: NDArray[Any], content: Any) -> tuple[NDArray[Any], float, float]:
    """Return values as the modality means them, and the ends of their range."""
    lowest = -(2 ** (content.BitsStored - 1)) if content.PixelRepresentation else 0
    highest = lowest + 2**content.BitsStored - 1
    if content.get(MODALITY):
        content.pop("RescaleSlope", None)  # which the table takes the place of, and pydicom's windows would use
        return _looked_up(stored, content, MODALITY, highest=highest)
    if "RescaleSlope" not in content or "RescaleIntercept" not in content:
        return stored, lowest, highest
    slope, intercept = float(content.RescaleSlope), float(content.RescaleIntercept)
    if slope <= 0:
        raise UnfitError(f"its RescaleSlope is {slope:g}, expected a positive number")
    return stored * slope + intercept, lowest * slope + intercept, highest * slope + intercept


def _of_interest(values: NDArray[Any], low: float, high: float, content: Any) -> tuple[NDArray[Any], float, float]:
    """Return values as they are to be shown, and the ends of their range."""
    if content.get(VOI):
        return _looked_up(values, content, VOI, highest=high)
    if _first(content.get("WindowCenter")) is None or not _first(content.get("WindowWidth")):
        return values, low, high
    if not content.get("VOILUTFunction"):
        content.VOILUTFunction = "LINEAR"  # which absent means; pydicom takes blank for a function of that name
    try:
        return require("pydicom.pixels", group="inference").apply_windowing(values, content), low, high
    except Exception as error:  # pydicom raises errors of several types for windows that make no sense
        raise UnfitError(str(error)) from error


def _first(value: Any) -> Any:
    """Return the first of several values, or the only one; None where it is blank."""
    first = value[0] if isinstance(value, MutableSequence) else value
    return None if first == "" else first


def _looked_up(values: NDArray[Any], content: Any, name: str, *, highest: float) -> tuple[NDArray[Any], float, float]:
    """Return values through the first table of a sequence, and the ends of its range; those beyond it take its ends.

    `highest` is the end of the range of `values`. pydicom's own look-up subtracts in the numbers of the table or of the
    picture, which wrap, and reads no table of a byte an entry.
    """
    item = content[name].value[0]
    for part in ("LUTDescriptor", "LUTData"):
        if item.get(part) is None:
            raise UnfitError(f"its {name} has no {part}")
    n_entries, first, bits = (int(one) for one in item.LUTDescriptor)
    if not 8 <= bits <= 16:
        raise UnfitError(f"its {name} has {bits} bits an entry, expected 8 to 16")
    if first > highest:
        first -= 2**16  # below 0, which implicit value representations do not tell
    little = content.file_meta.TransferSyntaxUID.is_little_endian
    entries = _entries(item.LUTData, n_entries or 2**16, bits=bits, little=little, name=name)
    places = np.rint(values - float(first)).clip(0, len(entries) - 1).astype(np.intp)
    return entries[places], 0.0, float(2**bits - 1)


def _entries(data: Any, n: int, *, bits: int, little: bool, name: str) -> NDArray[np.unsignedinteger[Any]]:
    """Return a table's entries: of two bytes each, or of one where 8 bits are declared and there are too few for two.

    `data` are bytes in the order of the file, as those of more than 64 kB are, whose kind is unknown (PS3.5, 6.2.2), or
    numbers of two bytes.
    """
    if not isinstance(data, bytes):
        data = np.atleast_1d(data).astype("<u2").tobytes()
    elif not little:
        data = np.frombuffer(data, ">u2").astype("<u2").tobytes()
    width = 1 if bits == 8 and len(data) < 2 * n else 2
    if len(data) < n * width:
        raise UnfitError(f"its {name} has {len(data):,} bytes, expected {n * width:,} for {n:,} entries")
    entries = np.frombuffer(data, f"<u{width}", count=n)
    if entries.max() >= 2**bits:
        raise UnfitError(
            f"its {name} has the entry {entries.max()}, expected no more than {2**bits - 1} of {bits} bits"
        )
    return entries
