"""Image files and arrays: one picture in every mode, made DICOM, damaged files, and fitting to a side."""

import hashlib
import io
import os
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from cxrobust.errors import CxrobustError, DataError
from cxrobust.inference import dicom, images
from cxrobust.inference.headers import read_headers
from cxrobust.inference.images import ArrayImages, FileImages, decode, file_images, fit, missing_files
from cxrobust.texts import Texts

from .dicoms import compressed, lossless_jpeg, write_dicom


@pytest.fixture
def grey():
    """A smooth 8-bit picture, taller than wide, that holds both 0 and 255."""
    y, x = np.mgrid[0:48, 0:36]
    wave = np.sin(x / 7) + np.cos(y / 9) + x * y / 2000
    return np.rint((wave - wave.min()) / np.ptp(wave) * 255).astype(np.uint8)


def wide(grey):
    return Image.fromarray(grey.astype(np.uint16) * 257)


def palette(grey):
    """Colour table in reverse, so that an index is not its grey."""
    picture = Image.fromarray(255 - grey).convert("P")
    picture.putpalette([255 - level for level in range(256) for _ in range(3)])
    return picture


def with_alpha(grey):
    alpha = Image.fromarray((np.arange(grey.size).reshape(grey.shape) % 256).astype(np.uint8))
    return Image.merge("LA", [Image.fromarray(grey), alpha])


WRITERS = {
    "L.png": lambda grey, path: Image.fromarray(grey).save(path),
    "I;16.png": lambda grey, path: wide(grey).save(path),
    "RGB.png": lambda grey, path: Image.fromarray(grey).convert("RGB").save(path),
    "RGBA.png": lambda grey, path: with_alpha(grey).convert("RGBA").save(path),
    "LA.png": lambda grey, path: with_alpha(grey).save(path),
    "P.png": lambda grey, path: palette(grey).save(path),
    "P-transparent.png": lambda grey, path: palette(grey).save(path, transparency=bytes(range(256))),
    "RGB-transparent.png": lambda grey, path: Image.fromarray(grey).convert("RGB").save(path, transparency=(0, 0, 0)),
    "L.tif": lambda grey, path: Image.fromarray(grey).save(path),
    "I;16.tif": lambda grey, path: wide(grey).save(path),
    "I.tif": lambda grey, path: Image.fromarray(grey.astype(np.int32) * 257).save(path),
    "F.tif": lambda grey, path: Image.fromarray(grey.astype(np.float32) / np.float32(255)).save(path),
    "L.bmp": lambda grey, path: Image.fromarray(grey).save(path),
    "RGB.webp": lambda grey, path: Image.fromarray(grey).convert("RGB").save(path, lossless=True),
    "L.pgm": lambda grey, path: Image.fromarray(grey).save(path),
    "I.pgm": lambda grey, path: path.write_bytes(b"P5 36 48 65535\n" + (grey.astype(">u2") * 257).tobytes()),
}


@pytest.mark.parametrize("name", WRITERS)
def test_every_mode_decodes_to_the_same_picture(name, grey, tmp_path):
    WRITERS[name](grey, tmp_path / name)
    decoded = decode(tmp_path / name)
    assert decoded.dtype == np.float32
    np.testing.assert_array_equal(decoded, grey.astype(np.float32) / np.float32(255))


@pytest.mark.parametrize("mode", ["L", "RGB", "CMYK"])
def test_jpeg_decodes_to_the_same_picture_within_its_loss(mode, grey, tmp_path):
    Image.fromarray(grey).convert(mode).save(tmp_path / "a.jpg", quality=100, subsampling=0)
    np.testing.assert_allclose(decode(tmp_path / "a.jpg"), grey / 255, atol=2.5 / 255)


def test_one_bit_picture_is_black_and_white(grey, tmp_path):
    black_and_white = grey > 127
    Image.fromarray(black_and_white).save(tmp_path / "a.png")
    with Image.open(tmp_path / "a.png") as picture:
        assert picture.mode == "1"
    np.testing.assert_array_equal(decode(tmp_path / "a.png"), black_and_white.astype(np.float32))


@pytest.mark.parametrize("compression", [None, "tiff_deflate"])
@pytest.mark.parametrize("mode", ["L", "I;16", "F"])
def test_a_tiff_whose_white_is_zero_is_inverted(mode, compression, grey, tmp_path):
    # Pillow inverts 8 bits as it writes them, and nothing else
    values = {"L": 255 - grey, "I;16": grey.astype(np.uint16) * 257, "F": grey.astype(np.float32) / np.float32(255)}[
        mode
    ]
    Image.fromarray(values).save(tmp_path / "a.tif", compression=compression, tiffinfo={262: 0})
    inverse = 1 - grey / 255
    with Image.open(tmp_path / "a.tif") as written:
        assert (written.tag_v2[262], written.mode) == (0, mode)
    np.testing.assert_allclose(decode(tmp_path / "a.tif"), inverse, atol=1e-6)


@pytest.mark.parametrize("name", ["a.png", "a.tif", "a.jpg", "a.webp"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_picture_is_turned_as_its_orientation_says(orientation, name, grey, tmp_path):
    laid = {  # by the figure of the EXIF standard: which side of the picture the first row and the first column are
        1: grey,
        2: grey[:, ::-1],
        3: grey[::-1, ::-1],
        4: grey[::-1],
        5: grey.T,
        6: grey.T[::-1],
        7: grey.T[::-1, ::-1],
        8: grey.T[:, ::-1],
    }[orientation]
    exif = Image.Exif()
    exif[0x0112] = orientation
    options = {"a.jpg": {"quality": 100}, "a.webp": {"lossless": True}}.get(name, {})
    mode = "RGB" if name == "a.webp" else "L"
    Image.fromarray(np.ascontiguousarray(laid)).convert(mode).save(tmp_path / name, exif=exif, **options)
    np.testing.assert_allclose(decode(tmp_path / name), grey / 255, atol=0.02 if name == "a.jpg" else 1e-6)


@pytest.mark.parametrize("name", ["a.tif", "a.png", "a.webp"])
def test_a_file_of_several_pictures_is_refused(name, grey, tmp_path):
    pictures = [Image.fromarray(grey).convert("RGB"), Image.fromarray(255 - grey).convert("RGB")]
    pictures[0].save(tmp_path / name, save_all=True, append_images=pictures[1:])
    with pytest.raises(DataError, match=rf"{name}: the image cannot be used \(it holds 2 pictures, expected one\)"):
        decode(tmp_path / name)


def test_sixteen_bits_are_not_clipped(tmp_path):
    values = np.linspace(0, 65_535, 600).astype(np.uint16).reshape(20, 30)
    Image.fromarray(values).save(tmp_path / "a.png")
    np.testing.assert_allclose(decode(tmp_path / "a.png"), values / 65_535, rtol=1e-7)


def test_colour_becomes_luminance(tmp_path):
    Image.new("RGB", (16, 16), (200, 100, 50)).save(tmp_path / "a.png")
    expected = (0.299 * 200 + 0.587 * 100 + 0.114 * 50) / 255
    np.testing.assert_allclose(decode(tmp_path / "a.png"), expected, atol=0.5 / 255)


def lookup(entries, *, first=0, bits=16, kind="US", packed=False):
    """A DICOM lookup table as a sequence of one item: its entries as numbers, or as bytes, one or two each."""
    pydicom = pytest.importorskip("pydicom")
    item = pydicom.Dataset()
    item.add_new("LUTDescriptor", "SS" if first < 0 else "US", [len(entries) % 65_536, first, bits])
    numbers = [int(entry) for entry in entries]
    item.add_new("LUTData", kind, numbers if kind == "US" else np.array(numbers, "u1" if packed else "<u2").tobytes())
    return pydicom.Sequence([item])


@pytest.fixture
def stored():
    return np.linspace(0, 4095, 24 * 20).astype(np.uint16).reshape(24, 20)


def test_dicom_is_scaled_by_its_stored_range(stored, tmp_path):
    np.testing.assert_allclose(decode(write_dicom(tmp_path / "a.dcm", stored)), stored / 4095, atol=1e-7)


def test_dicom_monochrome1_is_inverted(stored, tmp_path):
    path = write_dicom(tmp_path / "a.dicom", stored, photometric="MONOCHROME1")
    np.testing.assert_allclose(decode(path), 1 - stored / 4095, atol=1e-7)


@pytest.mark.parametrize("photometric", ["MONOCHROME1", "MONOCHROME2"])
def test_dicom_window_against_the_standards_formula(photometric, stored, tmp_path):
    """PS3.3 C.11.2.1.2.1 with centre 2000 and width 1001, after a rescale by 2x − 100."""
    tags = {"WindowCenter": 2000, "WindowWidth": 1001, "RescaleSlope": 2, "RescaleIntercept": -100}
    path = write_dicom(tmp_path / "a.dcm", stored, photometric=photometric, **tags)
    windowed = np.clip(((stored * 2.0 - 100) - 1999.5) / 1000 + 0.5, 0, 1)
    expected = 1 - windowed if photometric == "MONOCHROME1" else windowed
    np.testing.assert_allclose(decode(path), expected, atol=1e-6)


def test_dicom_signed_values_start_at_zero(stored, tmp_path):
    signed = (stored.astype(np.int32) - 2048).astype(np.int16)
    np.testing.assert_allclose(decode(write_dicom(tmp_path / "a.dcm", signed)), stored / 4095, atol=1e-6)


@pytest.mark.parametrize("bits", [8, 16])
@pytest.mark.parametrize("photometric", ["MONOCHROME1", "MONOCHROME2"])
def test_dicom_signed_values_of_all_bits_are_scaled_by_their_range(photometric, bits, tmp_path):
    """Values from one end of their type to the other, whose differences the type cannot hold."""
    unsigned = np.rint(np.linspace(0, 2**bits - 1, 24 * 20)).astype(int).reshape(24, 20)
    signed = (unsigned - 2 ** (bits - 1)).astype(f"i{bits // 8}")
    path = write_dicom(tmp_path / "a.dcm", signed, bits=bits, photometric=photometric)
    scaled = unsigned / (2**bits - 1)
    np.testing.assert_allclose(decode(path), 1 - scaled if photometric == "MONOCHROME1" else scaled, atol=1e-6)


TABLES = ["VOILUTSequence", "ModalityLUTSequence"]


@pytest.mark.parametrize("tag", TABLES)
@pytest.mark.parametrize("bits", [8, 12, 16])
@pytest.mark.parametrize("kind", ["US", "OW"])
def test_dicom_lookup_table_against_indexing(kind, bits, tag, stored, tmp_path):
    table = np.rint(np.sqrt(np.arange(4096) / 4095) * (2**bits - 1)).astype(int)
    path = write_dicom(tmp_path / "a.dcm", stored, **{tag: lookup(table, bits=bits, kind=kind)}, ModalityLUTType="US")
    np.testing.assert_allclose(decode(path), table[stored] / (2**bits - 1), atol=1e-6)


@pytest.mark.parametrize("tag", TABLES)
def test_dicom_lookup_table_with_fewer_bits_than_it_declares_is_dark(tag, stored, tmp_path):
    path = write_dicom(tmp_path / "a.dcm", stored, **{tag: lookup(np.arange(4096), bits=16)}, ModalityLUTType="US")
    decoded = decode(path)
    np.testing.assert_allclose(decoded, stored / 65_535, atol=1e-7)
    assert decoded.max() <= 1 / 16


@pytest.mark.parametrize("tag", TABLES)
@pytest.mark.parametrize("n_entries", [256, 4096])
@pytest.mark.parametrize("syntax", ["ExplicitVRLittleEndian", "ImplicitVRLittleEndian"])
def test_dicom_lookup_table_of_a_byte_an_entry_against_indexing(syntax, n_entries, tag, stored, tmp_path):
    pydicom = pytest.importorskip("pydicom")
    table = np.random.default_rng(n_entries).integers(0, 256, n_entries)
    sequence = lookup(table, first=700, bits=8, kind="OW", packed=True)
    content = pydicom.dcmread(write_dicom(tmp_path / "a.dcm", stored, **{tag: sequence}, ModalityLUTType="US"))
    content.file_meta.TransferSyntaxUID = getattr(pydicom.uid, syntax)
    content.save_as(tmp_path / "a.dcm", implicit_vr=syntax.startswith("Implicit"), little_endian=True)
    expected = table[np.clip(stored.astype(int) - 700, 0, n_entries - 1)] / 255
    np.testing.assert_allclose(decode(tmp_path / "a.dcm"), expected, atol=1e-6)


@pytest.mark.parametrize("tag", TABLES)
@pytest.mark.parametrize("first", [-32_768, -1000, 0, 1000])
def test_dicom_lookup_table_of_signed_values_against_indexing(first, tag, tmp_path):
    signed = np.linspace(-32_768, 32_767, 40 * 30).astype(np.int16).reshape(40, 30)
    table = np.random.default_rng(1).integers(0, 65_536, 65_536)
    tags = {tag: lookup(table, first=first, kind="UN"), "ModalityLUTType": "US"}
    path = write_dicom(tmp_path / "a.dcm", signed, bits=16, **tags)
    expected = table[np.clip(signed.astype(int) - first, 0, 65_535)] / 65_535
    np.testing.assert_allclose(decode(path), expected, atol=1e-6)


def test_dicom_lookup_table_of_a_big_endian_file_against_indexing(stored, tmp_path):
    pydicom = pytest.importorskip("pydicom")
    table = np.random.default_rng(4).integers(0, 4096, 4096)
    content = pydicom.dcmread(write_dicom(tmp_path / "a.dcm", stored, VOILUTSequence=lookup(table, bits=12, kind="OW")))
    content.file_meta.TransferSyntaxUID = pydicom.uid.ExplicitVRBigEndian
    content.PixelData = stored.astype(">u2").tobytes()
    content.VOILUTSequence[0].LUTData = table.astype(">u2").tobytes()
    pydicom.dcmwrite(tmp_path / "a.dcm", content, implicit_vr=False, little_endian=False)
    np.testing.assert_allclose(decode(tmp_path / "a.dcm"), table[stored] / 4095, atol=1e-6)


def test_dicom_lookup_table_after_a_slope_takes_the_nearest_entry(stored, tmp_path):
    table = np.random.default_rng(2).integers(0, 4096, 410)
    tags = {"RescaleSlope": 0.1, "RescaleIntercept": 0, "VOILUTSequence": lookup(table, bits=12)}
    tens = stored // 10 * 10
    path = write_dicom(tmp_path / "a.dcm", tens, **tags)
    np.testing.assert_allclose(decode(path), table[tens // 10] / 4095, atol=1e-6)


def test_dicom_lookup_table_that_begins_below_zero_where_no_sign_is_told(stored, tmp_path):
    """Stored values have no sign, so implicit value representations tell none of a table that begins at -1024."""
    pydicom = pytest.importorskip("pydicom")
    table = np.random.default_rng(3).integers(0, 4096, 4096)
    tags = {"RescaleSlope": 1, "RescaleIntercept": -1024, "VOILUTSequence": lookup(table, first=-1024, bits=12)}
    content = pydicom.dcmread(write_dicom(tmp_path / "a.dcm", stored, **tags))
    content.file_meta.TransferSyntaxUID = pydicom.uid.ImplicitVRLittleEndian
    content.save_as(tmp_path / "a.dcm", implicit_vr=True, little_endian=True)
    np.testing.assert_allclose(decode(tmp_path / "a.dcm"), table[stored] / 4095, atol=1e-6)


def test_dicom_modality_table_then_voi_table_or_window(stored, tmp_path):
    modality, voi = np.arange(4096) // 16, 255 - np.arange(256) // 2
    tags = {"ModalityLUTSequence": lookup(modality, bits=8), "ModalityLUTType": "US"}
    path = write_dicom(tmp_path / "a.dcm", stored, **tags, VOILUTSequence=lookup(voi, bits=8))
    np.testing.assert_allclose(decode(path), voi[modality[stored]] / 255, atol=1e-6)
    for slope in ({}, {"RescaleSlope": 3, "RescaleIntercept": 7}):  # which the standard forbids beside a table
        path = write_dicom(tmp_path / "b.dcm", stored, **tags, **slope, WindowCenter=100, WindowWidth=101)
        np.testing.assert_allclose(decode(path), np.clip((modality[stored] - 99.5) / 100 + 0.5, 0, 1), atol=1e-6)


@pytest.mark.parametrize("tag", TABLES)
def test_dicom_lookup_table_that_makes_no_sense_says_so(tag, stored, tmp_path):
    without = lookup(range(4096), bits=12)
    del without[0].LUTData
    short = lookup(range(100), bits=12)
    short[0].LUTDescriptor = [4096, 0, 12]
    wrong = {
        "has no LUTData": without,
        "has 200 bytes, expected 8,192 for 4,096 entries": short,
        "has 7 bits an entry, expected 8 to 16": lookup(range(100), bits=7),
        "has the entry 299, expected no more than 255 of 8 bits": lookup(range(300), bits=8),
    }
    for words, sequence in wrong.items():
        path = write_dicom(tmp_path / "a.dcm", stored, **{tag: sequence}, ModalityLUTType="US")
        with pytest.raises(DataError, match=rf"a\.dcm: the image cannot be used \(its {tag} {words}\): put another"):
            decode(path)


@pytest.mark.parametrize("blank", ["", " "])
def test_a_blank_function_of_a_window_is_none(blank, stored, tmp_path):
    window = {"WindowCenter": 2000, "WindowWidth": 1001}
    path = write_dicom(tmp_path / "a.dcm", stored, **window, VOILUTFunction=blank)
    np.testing.assert_allclose(decode(path), np.clip((stored - 1999.5) / 1000 + 0.5, 0, 1), atol=1e-6)


@pytest.mark.parametrize("name", ["1.2.840.113619.2.5", "a.ima", "IM0001", "a.png"])
def test_dicom_is_told_by_its_mark_whatever_its_name(name, stored, tmp_path):
    path = write_dicom(tmp_path / name, stored, PatientSex="F")
    np.testing.assert_allclose(decode(path), stored / 4095, atol=1e-7)
    assert list(read_headers([path])["sex"]) == ["F"]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"photometric": "RGB"}, "it is RGB with 1 frames"),
        ({"NumberOfFrames": 2}, "it is MONOCHROME2 with 2 frames"),
        ({"HighBit": 15}, "its HighBit is 15 where BitsStored is 12, expected one less than that"),
        ({"RescaleSlope": -1, "RescaleIntercept": 0}, "its RescaleSlope is -1"),
        ({"Rows": 60_000, "Columns": 60_000}, "more than 80,000,000 pixels"),
    ],
)
def test_dicom_that_is_not_one_grey_picture_is_refused(change, words, stored, tmp_path):
    values = np.repeat(stored[..., None], 3, axis=2) if "photometric" in change else stored
    path = write_dicom(tmp_path / "a.dcm", values, **change)
    with pytest.raises(DataError, match=words):
        decode(path)


@pytest.mark.filterwarnings("ignore:The number of bytes of pixel data:UserWarning")
@pytest.mark.parametrize("shape", [(2, 24, 20), (24, 20, 3)])
def test_dicom_of_more_pixels_than_one_grey_frame_is_refused(shape, tmp_path):
    values = np.zeros(shape, np.uint16)
    path = write_dicom(tmp_path / "a.dcm", values if shape[-1] == 3 else values.reshape(48, 20), Rows=24)
    with pytest.raises(DataError, match=r"a\.dcm: the image cannot be used \(its pixels have the shape .*one grey fr"):
        decode(path)


@pytest.mark.parametrize("name", dicom.NEEDED)
def test_dicom_that_lacks_what_is_needed_says_what(name, stored, tmp_path):
    pydicom = pytest.importorskip("pydicom")
    content = pydicom.dcmread(write_dicom(tmp_path / "a.dcm", stored))
    del content[name]
    content.save_as(tmp_path / "a.dcm")
    with pytest.raises(
        DataError, match=rf"a\.dcm: the image cannot be decoded \(it has no {name}\): get the file again"
    ):
        decode(tmp_path / "a.dcm")


@pytest.mark.parametrize(
    "blank",
    [
        {"RescaleSlope": None, "RescaleIntercept": 0},
        {"RescaleSlope": 1, "RescaleIntercept": None},
        {"RescaleSlope": "", "RescaleIntercept": ""},
    ],
)
@pytest.mark.parametrize("window", [{}, {"WindowCenter": 2000, "WindowWidth": 1001}])
def test_a_blank_scale_of_dicom_is_none(blank, window, stored, tmp_path):
    expected = np.clip((stored - 1999.5) / 1000 + 0.5, 0, 1) if window else stored / 4095
    path = write_dicom(tmp_path / "a.dcm", stored, **blank, **window)
    np.testing.assert_allclose(decode(path), expected, atol=1e-6)


@pytest.mark.parametrize("center", [2000, [2000, 500], ["", 500], None])
@pytest.mark.parametrize("width", [0, None, [0, 100], ["", 100]])
def test_a_window_of_dicom_without_a_width_is_none(width, center, stored, tmp_path):
    path = write_dicom(tmp_path / "a.dcm", stored, WindowCenter=center, WindowWidth=width)
    np.testing.assert_allclose(decode(path), stored / 4095, atol=1e-7)


@pytest.mark.parametrize("blank", [False, True])
@pytest.mark.parametrize("syntax", ["ExplicitVRLittleEndian", "ImplicitVRLittleEndian", "RLELossless"])
@pytest.mark.parametrize("name", dicom.USUAL)
def test_dicom_that_does_not_tell_what_is_usual_is_read(name, syntax, blank, stored, tmp_path):
    pydicom = pytest.importorskip("pydicom")
    table = lookup(4095 - np.arange(4096), bits=12)
    content = pydicom.dcmread(write_dicom(tmp_path / "a.dcm", stored, VOILUTSequence=table))
    if syntax == "RLELossless":
        content.compress(getattr(pydicom.uid, syntax))
    content.file_meta.TransferSyntaxUID = getattr(pydicom.uid, syntax)
    content[name].value = None
    if not blank:
        del content[name]
    content.save_as(tmp_path / "a.dcm", implicit_vr=syntax.startswith("Implicit"), little_endian=True)
    np.testing.assert_allclose(decode(tmp_path / "a.dcm"), 1 - stored / 4095, atol=1e-6)


@pytest.mark.parametrize("tag", ["VOILUTSequence", "ModalityLUTSequence"])
def test_dicom_lookup_table_of_more_than_64_kilobytes(tag, tmp_path):
    pydicom = pytest.importorskip("pydicom")
    values = np.linspace(0, 65_535, 40 * 30).astype(np.uint16).reshape(40, 30)
    item = pydicom.Dataset()
    item.add_new("LUTDescriptor", "US", [0, 0, 16])
    item.add_new("LUTData", "UN", np.arange(65_535, -1, -1, dtype="<u2").tobytes())
    path = write_dicom(tmp_path / "a.dcm", values, bits=16, **{tag: pydicom.Sequence([item])})
    np.testing.assert_allclose(decode(path), 1 - values / 65_535, atol=1e-6)


def test_what_a_library_says_at_length_is_cut():
    assert images.reason(ValueError("x" * 1_000_000)) == "x" * 200 + " …"


def test_dicom_without_pydicom_names_the_group(stored, tmp_path, monkeypatch):
    path = write_dicom(tmp_path / "a.dcm", stored)
    monkeypatch.setitem(__import__("sys").modules, "pydicom", None)
    with pytest.raises(CxrobustError, match=r"pip install 'cxrobust\[inference\]'"):
        decode(path)


@pytest.fixture
def wide_picture():
    """48 by 64 values of 16 bits: a gradient with noise, both ends included."""
    noise = np.random.default_rng(5).integers(-900, 900, (48, 64))
    values = np.linspace(0, 65_535, 48 * 64).reshape(48, 64) + noise
    values[0, 0], values[-1, -1] = 0, 65_535
    return values.clip(0, 65_535).astype(np.uint16)


@pytest.mark.parametrize("bits", [8, 10, 12, 14, 15, 16])
@pytest.mark.parametrize("syntax", ["ExplicitVRLittleEndian", "RLELossless", "JPEG2000Lossless", "JPEGLosslessSV1"])
def test_compressed_dicom_of_every_depth_is_the_picture(syntax, bits, wide_picture, tmp_path):
    pydicom = pytest.importorskip("pydicom")
    pytest.importorskip("libjpeg")
    values = (wide_picture >> (16 - bits)).astype(np.uint8 if bits == 8 else np.uint16)
    path = tmp_path / "a.dcm"
    uid = getattr(pydicom.uid, syntax)
    if syntax == "JPEGLosslessSV1":
        compressed(path, values, uid, lossless_jpeg(values, bits), bits=bits)
    else:
        write_dicom(path, values, bits=bits)
        if uid.is_compressed:
            content = pydicom.dcmread(path)
            content.compress(uid)
            content.save_as(path)
    assert pydicom.dcmread(path).file_meta.TransferSyntaxUID == uid
    np.testing.assert_allclose(decode(path), values / (2**bits - 1), atol=1e-7)


@pytest.mark.parametrize("n_zeros", [1, 2048, 100_000])
def test_a_compressed_picture_that_is_padded_is_read_and_half_of_one_is_not(n_zeros, wide_picture, tmp_path):
    pytest.importorskip("libjpeg")
    frame = lossless_jpeg(wide_picture, 16)
    padded = [part + bytes(n_zeros + n_zeros % 2) for part in (frame, frame[: len(frame) // 2])]
    whole, half = (
        compressed(tmp_path / f"{i}.dcm", wide_picture, "1.2.840.10008.1.2.4.70", one, bits=16)
        for i, one in enumerate(padded)
    )
    np.testing.assert_allclose(decode(whole), wide_picture / 65_535, atol=1e-7)
    with pytest.raises(DataError, match="its compressed picture is truncated"):
        decode(half)


def test_lossy_dicom_is_the_picture_within_its_loss(grey, tmp_path):
    path = compressed(
        tmp_path / "a.dcm",
        grey,
        "1.2.840.10008.1.2.4.50",
        encoded(Image.fromarray(grey), format="JPEG", quality=98),
        bits=8,
    )
    np.testing.assert_allclose(decode(path), grey / 255, atol=3 / 255)


@pytest.mark.parametrize(
    "name",
    ["MR_small_RLE", "MR_small_jp2klossless", "MR_small_jpeg_ls_lossless", "MR_small_bigendian", "MR_small_implicit"],
)
def test_one_picture_in_the_transfer_syntaxes_of_other_writers(name):
    """Signed 16 bits with a window, from pydicom's own files."""
    data = pytest.importorskip("pydicom.data")
    pytest.importorskip("libjpeg")
    plain, other = (data.get_testdata_file(f"{one}.dcm", download=False) for one in ("MR_small", name))
    np.testing.assert_array_equal(decode(Path(other)), decode(Path(plain)))


def test_extended_jpeg_of_12_bits_is_read():
    data = pytest.importorskip("pydicom.data")
    pytest.importorskip("libjpeg")
    picture = decode(Path(data.get_testdata_file("JPGExtended.dcm", download=False)))
    assert picture.shape == (1024, 256)
    assert 0 <= picture.min() < picture.max() <= 1


def test_of_several_windows_the_first_is_taken(stored, tmp_path):
    several = {"WindowCenter": [2000, 500], "WindowWidth": [1001, 100]}
    first = write_dicom(tmp_path / "a.dcm", stored, WindowCenter=2000, WindowWidth=1001)
    np.testing.assert_array_equal(decode(write_dicom(tmp_path / "b.dcm", stored, **several)), decode(first))


def test_a_sigmoid_window_against_the_standards_formula(stored, tmp_path):
    """PS3.3 C.11.2.1.3.1, over the range of the stored values."""
    tags = {"WindowCenter": 2000, "WindowWidth": 1000, "VOILUTFunction": "SIGMOID"}
    expected = 1 / (1 + np.exp(-4 * (stored - 2000.0) / 1000))
    np.testing.assert_allclose(decode(write_dicom(tmp_path / "a.dcm", stored, **tags)), expected, atol=1e-5)


UNFIT = {
    "no window": ({"WindowCenter": 2000, "WindowWidth": 0.5}, r"Window Width must be greater than or equal to 1"),
    "unknown function": (
        {"WindowCenter": 2000, "WindowWidth": 9, "VOILUTFunction": "CUBIC"},
        r"Unsupported .* value 'CUBIC'",
    ),
    "falling slope": ({"RescaleSlope": -1, "RescaleIntercept": 4095}, r"its RescaleSlope is -1, expected a positive"),
    "frames": ({"NumberOfFrames": 2}, r"it is MONOCHROME2 with 2 frames, expected one grey frame"),
}


@pytest.mark.parametrize("case", UNFIT)
def test_a_whole_file_that_is_of_no_use_is_not_to_be_got_again(case, stored, tmp_path):
    tags, words = UNFIT[case]
    with pytest.raises(
        DataError, match=rf"a\.dcm: the image cannot be used \(.*{words}.*\): put another file in"
    ) as told:
        decode(write_dicom(tmp_path / "a.dcm", stored, **tags))
    assert "get the file again" not in str(told.value)


def test_dicom_in_colour_is_refused_and_not_made_grey(grey, tmp_path):
    path = write_dicom(tmp_path / "a.dcm", np.stack([grey] * 3, axis=-1), bits=8, photometric="RGB")
    with pytest.raises(DataError, match=r"the image cannot be used \(it is RGB with 1 frames, expected one grey frame"):
        decode(path)


def test_bits_above_the_stored_ones_are_no_part_of_the_picture(stored, tmp_path):
    np.testing.assert_allclose(decode(write_dicom(tmp_path / "a.dcm", stored | 0xF000)), stored / 4095, atol=1e-7)


@pytest.mark.parametrize("length", [400, 2000, -3, -2])
def test_half_a_compressed_picture_does_not_pass_for_a_whole_one(length, wide_picture, tmp_path):
    frame = lossless_jpeg(wide_picture, 16)[:length]
    path = compressed(tmp_path / "a.dcm", wide_picture, "1.2.840.10008.1.2.4.70", frame, bits=16)
    with pytest.raises(DataError, match="its compressed picture is truncated"):
        decode(path)


def test_compressed_dicom_without_plug_ins_names_the_group(wide_picture, tmp_path, monkeypatch):
    pytest.importorskip("libjpeg")
    path = compressed(tmp_path / "a.dcm", wide_picture, "1.2.840.10008.1.2.4.70", b"\xff\xd8\xff\xd9", bits=16)
    with pytest.raises(DataError, match="cannot be decoded"):
        decode(path)
    monkeypatch.setitem(__import__("sys").modules, "libjpeg", None)
    with pytest.raises(CxrobustError, match=r"pip install 'cxrobust\[dicom\]'"):
        decode(path)


def test_headers_tell_sex_age_and_view_where_they_do(stored, grey, tmp_path):
    paths = [
        write_dicom(tmp_path / "a.dcm", stored, PatientSex="F", PatientAge="043Y", ViewPosition="PA"),
        write_dicom(tmp_path / "b.dicom", stored, PatientSex="", PatientAge="148Y"),
        tmp_path / "c.png",
    ]
    Image.fromarray(grey).save(paths[2])
    paths[1].write_bytes(paths[1].read_bytes().replace(b"148Y", b"148 "))  # as in the RSNA's files
    headers = read_headers(paths)
    assert list(headers["sex"]) == ["F", "", ""]
    np.testing.assert_array_equal(headers["age"], [43, np.nan, np.nan])
    assert list(headers["view"]) == ["PA", "", ""]
    paths[1].write_bytes(b"This is no image.\n" * 20)
    with pytest.raises(DataError, match=r"b\.dicom: its header cannot be read"):
        read_headers(paths)


def png_of_size(width, height):
    """Bytes of a PNG whose header promises a picture of this size and whose data are next to nothing."""

    def chunk(kind, content):
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"\0")) + chunk(b"IEND", b"")


def encoded(picture, **options):
    out = io.BytesIO()
    picture.save(out, **options)
    return out.getvalue()


def noise():
    return Image.fromarray(np.random.default_rng(0).integers(0, 256, (40, 40), dtype=np.uint8))


def flipped():
    content = bytearray(encoded(noise(), format="PNG"))
    content[len(content) // 2] ^= 0x10
    return bytes(content)


DAMAGED = {
    "empty.png": (lambda: b"", "is empty"),
    "text.png": (lambda: b"This is no image.\n" * 20, "is no PNG"),
    "postscript.png": (lambda: b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n%%EndComments\n", "is no PNG"),
    "truncated.png": (lambda: encoded(noise(), format="PNG")[:900], "truncated"),
    "truncated.jpg": (lambda: encoded(noise(), format="JPEG")[:700], "truncated"),
    "flipped.png": (flipped, "cannot be decoded"),
    "bomb.png": (lambda: png_of_size(60_000, 60_000), "more than 80,000,000 pixels"),
    "warned.png": (lambda: png_of_size(10_000, 9_500), "more than 80,000,000 pixels"),
    "large.png": (lambda: png_of_size(9_000, 9_000), "more than 80,000,000 pixels"),
    "negative.tif": (lambda: encoded(Image.fromarray(np.full((20, 20), -3, np.int32)), format="TIFF"), "from -3 to -3"),
    "nan.tif": (lambda: encoded(Image.fromarray(np.full((20, 20), np.nan, np.float32)), format="TIFF"), "expected 0"),
    "text.dcm": (lambda: b"This is no image.\n" * 20, "cannot be decoded"),
}


@pytest.mark.parametrize("name", DAMAGED)
def test_damaged_file_is_one_sentence_that_names_it(name, tmp_path):
    make, words = DAMAGED[name]
    path = tmp_path / name
    path.write_bytes(make())
    with pytest.raises(DataError, match=words) as caught:
        decode(path)
    message = str(caught.value)
    assert message.startswith(f"{path}: ")
    assert "\n" not in message
    assert ". " not in message.removeprefix(str(path))


@pytest.mark.parametrize("make", [lambda folder: folder / "absent.png", lambda folder: folder])
def test_missing_file_and_folder_are_errors(make, tmp_path):
    with pytest.raises(DataError, match=r"the image (file is missing|cannot be decoded \(Is a directory\))"):
        decode(make(tmp_path))


@pytest.mark.parametrize("name", ["L.png", "I;16.png", "P.png", "L.tif", "L.bmp"])
def test_a_cut_file_is_an_error_or_the_whole_picture(name, grey, tmp_path):
    """A file cut anywhere must never come out as another picture."""
    WRITERS[name](grey, tmp_path / name)
    content = (tmp_path / name).read_bytes()
    cut = tmp_path / f"cut{Path(name).suffix}"
    whole = decode(tmp_path / name)
    n_refused = 0
    for length in range(0, len(content), 41):
        cut.write_bytes(content[:length])
        try:
            np.testing.assert_array_equal(decode(cut), whole)
        except DataError:
            n_refused += 1
    assert n_refused >= len(range(0, len(content), 41)) - 5


def test_a_cut_dicom_file_is_an_error(stored, tmp_path):
    content = write_dicom(tmp_path / "a.dcm", stored).read_bytes()
    for length in [*range(0, len(content), 97), len(content) - 2]:
        (tmp_path / "cut.dcm").write_bytes(content[:length])
        with pytest.raises(DataError):
            decode(tmp_path / "cut.dcm")


def test_fit_leaves_a_fitting_image_alone(grey):
    image = (grey[:36, :36] / 255).astype(np.float32)
    assert fit(image, 36) is image


def test_fit_crops_around_the_centre_without_resampling(grey):
    image = (grey / 255).astype(np.float32)
    np.testing.assert_allclose(fit(image, 36), image[6:42], atol=1e-6)
    np.testing.assert_allclose(fit(image.T, 36), image.T[:, 6:42], atol=1e-6)


@pytest.mark.parametrize(("shape", "size"), [((64, 96), 24), ((96, 64), 24), ((100, 100), 33), ((20, 30), 50)])
def test_fit_against_torch(shape, size):
    torch = pytest.importorskip("torch")
    image = np.random.default_rng(3).random(shape, dtype=np.float32)
    side = min(shape)
    top, left = ((length - side) // 2 for length in shape)
    square = torch.from_numpy(image)[None, None, top : top + side, left : left + side]
    expected = torch.nn.functional.interpolate(square, size=(size, size), mode="bicubic", antialias=True).clamp(0, 1)
    border = 0 if shape[0] == shape[1] else 4  # at a crop's edge the filter sees the pixels that were cut away
    inside = slice(border, size - border)
    np.testing.assert_allclose(fit(image, size)[inside, inside], expected[0, 0, inside, inside], atol=2e-4)


def test_fit_averages_fine_stripes():
    stripes = np.tile(np.array([0, 1], np.float32), (64, 32))
    np.testing.assert_allclose(fit(stripes, 16)[2:-2, 2:-2], 0.5, atol=0.02)


def test_fit_stays_in_range_at_edges():
    edge = np.zeros((50, 50), np.float32)
    edge[:, 25:] = 1
    fitted = fit(edge, 80)
    assert fitted.min() == 0
    assert fitted.max() == 1
    assert fitted.dtype == np.float32


def test_fit_commutes_with_flips_and_transposition():
    image = np.random.default_rng(4).random((60, 90), dtype=np.float32)
    for turn in (np.fliplr, np.flipud, np.transpose):
        np.testing.assert_allclose(fit(turn(image), 25), turn(fit(image, 25)), atol=1e-6)


def test_array_images_of_any_channels_are_the_same(grey):
    plain = ArrayImages(grey[None])
    for channels in (1, 3, 4):
        other = ArrayImages(np.repeat(grey[None, ..., None], channels, axis=3))
        np.testing.assert_array_equal(other.pixels(0), plain.pixels(0))
    np.testing.assert_array_equal(plain.pixels(0), grey.astype(np.float32) / np.float32(255))


def test_array_digest_tells_images_apart(grey):
    array = np.stack([grey, grey, grey])
    array[2, 0, 0] ^= 1
    source = ArrayImages(array)
    assert source.digest(0) == source.digest(1) == source.stamp(0)
    assert source.digest(0) != source.digest(2)
    assert source.digest(0) != ArrayImages(array.reshape(3, 36, 48)).digest(0)


def test_file_digest_and_stamp(grey, tmp_path):
    path = tmp_path / "a.png"
    Image.fromarray(grey).save(path)
    source = FileImages(Texts([str(path)]))
    before = source.stamp(0)
    assert source.digest(0) == hashlib.sha256(path.read_bytes()).hexdigest()
    np.testing.assert_array_equal(source.pixels(0), decode(path))
    Image.fromarray(255 - grey).save(path, comment="longer")
    os.utime(path, ns=(1, 1))
    assert source.stamp(0) != before
    path.unlink()
    for read in (source.digest, source.stamp, source.pixels):
        with pytest.raises(DataError, match=r"a\.png"):
            read(0)


def test_missing_files_lists_each_folder_once(tmp_path, monkeypatch):
    here = [tmp_path / folder / f"{index}.png" for folder in ("a", "b") for index in range(20)]
    for path in here:
        path.parent.mkdir(exist_ok=True)
        path.touch()
    absent = [tmp_path / "a" / "x.png", tmp_path / "c" / "y.png", tmp_path / "c" / "z.png"]
    listed = []
    scandir = os.scandir
    monkeypatch.setattr(images.os, "scandir", lambda folder: listed.append(folder) or scandir(folder))
    assert missing_files([*here, *absent]) == tuple(absent)
    assert sorted(listed) == [tmp_path / "a", tmp_path / "b", tmp_path / "c"]


def test_file_images_counts_and_names_what_is_missing(tmp_path):
    paths = [tmp_path / f"{index}.png" for index in range(5)]
    paths[4].touch()
    with pytest.raises(
        DataError, match=r"4 of 5 image files are missing \(.*0\.png, .*1\.png, .*2\.png and 1 more\): x"
    ):
        file_images(paths, mend="x")


def test_real_radiographs_against_pillow(shared_data):
    """43 images as distributed, one of them RGBA with equal channels."""
    paths = sorted((shared_data / "nih-images").glob("*.png"))
    assert len(paths) == 43
    modes = set()
    for path in paths:
        with Image.open(path) as picture:
            modes.add(picture.mode)
            raw = np.asarray(picture)
        expected = raw if raw.ndim == 2 else raw[..., 0]
        np.testing.assert_array_equal(decode(path), expected.astype(np.float32) / np.float32(255))
    assert modes == {"L", "RGBA"}


def test_reduced_radiograph_against_the_published_one(shared_data):
    """The 256 × 256 images were made from the 1024 × 1024 ones with another filter (Lanczos) and rounded to 8 bits."""
    paths = sorted((shared_data / "nih-images").glob("*.png"))[:10]
    for path in paths:
        ours, published = fit(decode(path), 256), decode(shared_data / "nih-621" / "images" / path.name)
        assert np.abs(ours - published).mean() < 1 / 255
