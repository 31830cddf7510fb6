"""DICOM files written for tests, plain and compressed."""

import struct

import numpy as np
import pytest


def write_dicom(path, values, *, bits=12, photometric="MONOCHROME2", **tags):
    pydicom = pytest.importorskip("pydicom")
    content = pydicom.Dataset()
    content.file_meta = pydicom.dataset.FileMetaDataset()
    content.file_meta.TransferSyntaxUID = pydicom.uid.ExplicitVRLittleEndian
    content.file_meta.MediaStorageSOPClassUID = content.SOPClassUID = "1.2.840.10008.5.1.4.1.1.1.1"
    content.file_meta.MediaStorageSOPInstanceUID = content.SOPInstanceUID = "1.2.826.0.1.3680043.8.498.1"
    content.Rows, content.Columns = values.shape[:2]
    content.SamplesPerPixel = 1 if values.ndim == 2 else values.shape[2]
    if content.SamplesPerPixel > 1:
        content.PlanarConfiguration = 0
    content.BitsAllocated = values.dtype.itemsize * 8
    content.BitsStored, content.HighBit = bits, bits - 1
    content.PixelRepresentation = int(values.dtype.kind == "i")
    content.PhotometricInterpretation = photometric
    for name, value in tags.items():
        setattr(content, name, value)
    content.PixelData = values.tobytes()
    content.save_as(path, enforce_file_format=True)
    return path


def compressed(path, values, syntax, frame, **tags):
    """The file of `write_dicom` with its pixels compressed into `frame`."""
    pydicom = pytest.importorskip("pydicom")
    content = pydicom.dcmread(write_dicom(path, values, **tags))
    content.file_meta.TransferSyntaxUID = pydicom.uid.UID(syntax)
    content.PixelData = pydicom.encaps.encapsulate([frame])
    content["PixelData"].VR = "OB"
    content.save_as(path)
    return path


def lossless_jpeg(values, bits):
    """A JPEG by process 14, first-order prediction, after ITU-T T.81 H: categories of differences in five bits each."""
    height, width = values.shape
    image = values.astype(np.int64)
    predicted = np.roll(image, 1, axis=1)
    predicted[1:, 0] = image[:-1, 0]
    predicted[0, 0] = 1 << (bits - 1)
    code = []
    for difference in ((image - predicted + 32_768) % 65_536 - 32_768).ravel().tolist():
        category = abs(difference).bit_length()
        code.append(f"{category:05b}")
        if 0 < category < 16:
            code.append(f"{difference if difference > 0 else difference + (1 << category) - 1:0{category}b}")
    stream = "".join(code)
    stream += "1" * (-len(stream) % 8)
    scan = int(stream, 2).to_bytes(len(stream) // 8, "big").replace(b"\xff", b"\xff\x00")
    frame = struct.pack(">HBHHBBBB", 11, bits, height, width, 1, 1, 0x11, 0)
    table = struct.pack(">HB", 2 + 17 + 17, 0) + bytes([0, 0, 0, 0, 17] + [0] * 11) + bytes(range(17))
    start = struct.pack(">HBBBBBB", 8, 1, 1, 0, 1, 0, 0)
    return b"\xff\xd8\xff\xc3" + frame + b"\xff\xc4" + table + b"\xff\xda" + start + scan + b"\xff\xd9"
