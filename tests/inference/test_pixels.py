"""Images decoded once: exact, remembered, and refused where their cache is damaged."""

import errno
import os
import shutil
import threading
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
from numpy.typing import NDArray
from PIL import Image

from cxrobust.errors import DataError
from cxrobust.files import LEFTOVER
from cxrobust.inference import dicom, images
from cxrobust.inference.datasets import ImageSource, ImageTable
from cxrobust.inference.decoding import Decoders, NoImageError
from cxrobust.inference.image_hashes import hash_images
from cxrobust.inference.images import FileImages
from cxrobust.inference.pixels import Pixels, open_pixels
from cxrobust.progress import silent
from cxrobust.texts import Texts

N, SIDE = 5, 16


class Grey:
    """Images of 8-bit levels, which counts what is asked of it."""

    def __init__(self) -> None:
        self.levels = np.random.default_rng(1).integers(0, 256, (N, SIDE, SIDE))
        self.stamps = [f"stamp {i}" for i in range(N)]
        self.n_decoded = 0

    def digest(self, index: int) -> str:
        return f"digest {index} of {self.stamps[index]}"

    def stamp(self, index: int) -> str:
        return self.stamps[index]

    def file(self, index: int) -> None:
        return None

    def opened(self, index: int) -> tuple[str, Callable[[], NDArray[np.float32]]]:
        return self.digest(index), lambda: self.pixels(index)

    def pixels(self, index: int) -> NDArray[np.float32]:
        self.n_decoded += 1
        return (self.levels[index] / 255).astype(np.float32)


def table_of(source: ImageSource) -> ImageTable:
    return ImageTable(
        name="n",
        citation="",
        ids=tuple(f"i{i}" for i in range(N)),
        patients=("p",) * N,
        findings=("Mass",),
        labels=np.zeros((N, 1), dtype=np.int8),
        metadata=pd.DataFrame(index=range(N)),
        images=source,
    )


def open_again(source: ImageSource, folder: Path) -> Pixels:
    return open_pixels(table_of(source), size=SIDE, folder=folder, report=silent)


def test_eight_bit_levels_come_back_exactly(tmp_path: Path) -> None:
    source = Grey()
    batch = open_again(source, tmp_path).batch(np.array([3, 1]))
    assert (batch.shape, batch.dtype) == ((2, 1, SIDE, SIDE), np.float32)
    np.testing.assert_array_equal(np.rint(batch[:, 0] * 255), source.levels[[3, 1]])


def test_values_between_two_levels_go_to_the_nearest(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    exact = np.random.default_rng(3).uniform(0, 65_535, (N, SIDE, SIDE))
    grey = Grey()
    monkeypatch.setattr(grey, "pixels", lambda index: (exact[index] / 65_535).astype(np.float32))
    kept = open_again(grey, tmp_path).batch(np.arange(N))[:, 0] * 65_535
    assert np.abs(kept - exact).max() < 0.51  # half a level, and the rounding of float32
    assert kept.mean() == pytest.approx(exact.mean(), abs=0.1)


def test_files_whose_hash_is_known_are_decoded_alike_and_not_read_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    paths = [tmp_path / f"{i}.png" for i in range(N)]
    for path, levels in zip(paths, Grey().levels, strict=True):
        Image.fromarray(levels.astype(np.uint8)).save(path)
    source = FileImages(Texts(map(str, paths)))
    first = open_again(source, tmp_path / "first")
    (tmp_path / "second").mkdir()
    shutil.copy(tmp_path / "first" / "digests.parquet", tmp_path / "second")  # as after a run killed between the two
    second = open_again(source, tmp_path / "second")
    assert first.digests == second.digests
    assert [one.path.name for one in (first, second)] == [second.path.name] * 2
    np.testing.assert_array_equal(first.values, second.values)
    reads: list[str] = []
    opened = Path.open

    def counted(self: Path, *args: Any, **kwargs: Any) -> Any:
        reads.extend([self.name] * (self.suffix == ".png"))
        return opened(self, *args, **kwargs)

    monkeypatch.setattr(Path, "open", counted)
    again = open_again(source, tmp_path / "first")
    assert (again.digests, reads) == (first.digests, [])


def test_images_are_decoded_once_and_again_only_when_they_change(tmp_path: Path) -> None:
    source = Grey()
    first = open_again(source, tmp_path)
    open_again(source, tmp_path)
    assert source.n_decoded == N
    source.stamps[2] = "changed"
    changed = open_again(source, tmp_path)
    assert source.n_decoded == 2 * N
    assert [a != b for a, b in zip(first.digests, changed.digests, strict=True)] == [False, False, True, False, False]


def test_an_image_that_changes_while_it_is_read_is_named(tmp_path: Path) -> None:
    class Changing(Grey):
        def opened(self, index: int) -> tuple[str, Callable[[], NDArray[np.float32]]]:
            digest, pixels = super().opened(index)
            return digest + " and more" * (index == 3), pixels

    with pytest.raises(DataError, match="image 'i3' was changed during the run: run again"):
        open_again(Changing(), tmp_path)
    assert not list(tmp_path.glob(f"{LEFTOVER}*"))


def test_an_image_that_cannot_be_read_any_more_is_hashed_again_though_its_stamp_is_the_same(tmp_path: Path) -> None:
    class Withdrawn(Grey):
        def opened(self, index: int) -> tuple[str, Callable[[], NDArray[np.float32]]]:
            return self.digest(index), lambda: self.pixels(index)

        def digest(self, index: int) -> str:
            if index == 3:
                raise DataError("permission denied")
            return super().digest(index)

    hash_images(table_of(Grey()), folder=tmp_path, report=silent)
    source = Withdrawn()

    def skipping() -> Pixels:
        return open_pixels(table_of(source), size=SIDE, folder=tmp_path, report=silent, unreadable="skipped")

    with pytest.raises(DataError, match="image 'i3' was there when the run began, and cannot be read any more"):
        skipping()
    assert dict(skipping().unreadable) == {3: "permission denied"}
    assert not open_again(Grey(), tmp_path).unreadable
    assert not list(tmp_path.glob(f"{LEFTOVER}*"))


class Held(Grey):
    """Images of which those from row 2 are not decoded before they are let go."""

    def __init__(self) -> None:
        super().__init__()
        self.let_go = threading.Event()

    def pixels(self, index: int) -> NDArray[np.float32]:
        assert index < 2 or self.let_go.wait(30)
        return super().pixels(index)


def test_images_are_used_as_soon_as_they_are_decoded(tmp_path: Path) -> None:
    source, rows = Held(), np.array([1, 0])
    with Decoders() as decoders:
        pixels = open_pixels(table_of(source), size=SIDE, folder=tmp_path, report=silent, decoders=decoders)
        parts = [pixels.part(0, 2, copied=copied, here=True) for copied in (True, False)]
        for one in (pixels, *parts):
            np.testing.assert_array_equal(np.rint(one.batch(rows)[:, 0] * 255), source.levels[rows])
        assert not list(tmp_path.glob("pixels-*"))
        threading.Timer(0.2, source.let_go.set).start()
        parts.append(pixels.part(0, 2, copied=False, here=False))  # for other machines: the whole file
        assert source.n_decoded == N
        assert len(list(tmp_path.glob("pixels-*.npy"))) == 1
        for one in parts:
            np.testing.assert_array_equal(np.rint(one.batch(rows)[:, 0] * 255), source.levels[rows])
    np.testing.assert_array_equal(open_again(Grey(), tmp_path).values, pixels.values)
    assert not list(tmp_path.glob(f"{LEFTOVER}*"))


class Torn(Grey):
    """Images of which two are damaged."""

    def pixels(self, index: int) -> NDArray[np.float32]:
        if index in {1, 3}:
            raise DataError(f"image {index} is torn: get it again")
        return super().pixels(index)


def test_a_damaged_image_is_told_to_who_wants_it_and_all_others_can_be_had(tmp_path: Path) -> None:
    source, whole = Torn(), np.array([4, 0, 2])
    with Decoders() as decoders:
        pixels = open_pixels(table_of(source), size=SIDE, folder=tmp_path, report=silent, decoders=decoders)
        with pytest.raises(DataError, match="image 3 is torn: get it again, or leave such images out by on_error"):
            pixels.batch(np.array([4, 3]))
        np.testing.assert_array_equal(np.rint(pixels.batch(whole)[:, 0] * 255), source.levels[whole])
        np.testing.assert_array_equal(
            pixels.part(4, 5, copied=True, here=True).batch(np.array([0])), pixels.batch(whole[:1])
        )
        with pytest.raises(NoImageError, match="image 1 is torn"):
            pixels.wait_for_all()
        with pytest.raises(NoImageError, match="image 1 is torn"):
            pixels.part(4, 5, copied=False, here=False)  # for other machines: the whole file
        pixels.refuse_damaged(whole)
        with pytest.raises(DataError, match="image 1 is torn"):
            pixels.refuse_damaged(np.arange(N))
        assert source.n_decoded == N - 2
    assert [path.name for path in tmp_path.iterdir()] == ["digests.parquet"]


def test_a_run_that_stops_tries_again_what_one_that_skips_could_not_read(tmp_path: Path) -> None:
    skipped = open_pixels(table_of(Torn()), size=SIDE, folder=tmp_path, report=silent, unreadable="skipped")
    assert set(skipped.unreadable) == {1, 3}
    with pytest.raises(DataError, match="image 1 is torn"):
        open_pixels(table_of(Torn()), size=SIDE, folder=tmp_path, report=silent)
    readable = Grey()
    pixels = open_pixels(table_of(readable), size=SIDE, folder=tmp_path, report=silent)
    assert readable.n_decoded == N
    assert not pixels.unreadable
    np.testing.assert_array_equal(np.rint(pixels.batch(np.arange(N))[:, 0] * 255), readable.levels)


def test_what_is_not_decoded_when_a_run_ends_is_thrown_away(tmp_path: Path) -> None:
    source = Held()
    with Decoders() as decoders:
        pixels = open_pixels(table_of(source), size=SIDE, folder=tmp_path, report=silent, decoders=decoders)
        pixels.batch(np.array([0]))
        threading.Timer(0.2, source.let_go.set).start()
    with pytest.raises(DataError, match="interrupted"):
        pixels.batch(np.array([N - 1]))
    assert [path.name for path in tmp_path.iterdir()] == ["digests.parquet"]


@pytest.mark.parametrize("note", ["", "[1]", "5", '{"i0": 5, "i1": ["stamp 1"], "i2": [], "i3": null}', "{" * 100_000])
def test_a_damaged_note_of_digests_is_as_good_as_none(note: str, tmp_path: Path) -> None:
    source = Grey()
    expected = open_again(source, tmp_path).digests
    (tmp_path / "digests.parquet").write_text(note)
    assert open_again(source, tmp_path).digests == expected
    kept = pq.read_table(tmp_path / "digests.parquet")
    assert kept["image"].to_pylist() == [f"i{i}".encode() for i in range(N)]


@pytest.mark.parametrize("n_bytes", [0, 60, 1000])
def test_a_truncated_cache_is_named(n_bytes: int, tmp_path: Path) -> None:
    open_again(Grey(), tmp_path)
    (cache,) = tmp_path.glob("*.npy")
    cache.write_bytes(cache.read_bytes()[:n_bytes])
    with pytest.raises(DataError, match=rf"{cache.name}: the image cache is damaged .*: delete it and run again"):
        open_again(Grey(), tmp_path)


@pytest.mark.parametrize(
    "note",
    [None, "", "[1]", "{}", '{"sums": [1], "unreadable": {}}', '{"sums": [-1], "unreadable": {}}', "{" * 100_000],
)
def test_damaged_checksums_of_a_cache_are_named(note: str | None, tmp_path: Path) -> None:
    open_again(Grey(), tmp_path)
    (notes,) = tmp_path.glob("pixels-*.json")
    notes.unlink() if note is None else notes.write_text(note)
    with pytest.raises(DataError, match=rf"{notes.stem}\.npy: the image cache is damaged .*: delete it and run again"):
        open_again(Grey(), tmp_path)
    notes.with_suffix(".npy").unlink()
    open_again(Grey(), tmp_path).batch(np.arange(N))


def test_pixels_that_changed_on_the_disk_are_named_where_they_are_used(tmp_path: Path) -> None:
    open_again(Grey(), tmp_path)
    (cache,) = tmp_path.glob("pixels-*.npy")
    content = bytearray(cache.read_bytes())
    content[128 + 2 * SIDE**2 * 3] ^= 4  # the first pixel of image 3
    cache.write_bytes(content)
    pixels = open_again(Grey(), tmp_path)
    parts = [pixels.part(1, N, copied=False, here=here) for here in (True, False)]
    for one, first in ((pixels, 0), *((part, 1) for part in parts)):
        one.batch(np.array([4 - first, 2 - first]))
        with pytest.raises(DataError, match=r"the image cache is damaged .*: delete it and run again"):
            one.batch(np.array([2 - first, 3 - first]))
    with pytest.raises(DataError, match="the image cache is damaged"):
        pixels.part(1, N, copied=True, here=True)


def test_a_full_disk_is_named_and_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(np.lib.format, "open_memmap", full)
    with pytest.raises(DataError, match="No space left on device: make room or choose another --out"):
        open_again(Grey(), tmp_path)
    assert not list(tmp_path.glob(f"{LEFTOVER}*"))
    assert not list(tmp_path.glob("*.npy"))


def test_room_is_taken_before_pages_are_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A page of a mapped file that finds no room would end the program without a word."""

    def full(handle: int, offset: int, length: int) -> None:
        assert (offset, length) == (0, 128 + 2 * N * SIDE**2)
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "posix_fallocate", full, raising=False)
    source = Grey()
    with pytest.raises(DataError, match="No space left on device: make room or choose another --out"):
        open_again(source, tmp_path)
    assert source.n_decoded == 0
    assert not list(tmp_path.glob(f"{LEFTOVER}*"))


@pytest.mark.parametrize("module", [images, dicom])
def test_a_changed_decoder_decodes_again(module: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = Grey()
    open_again(source, tmp_path)
    changed = tmp_path / "changed.py"
    changed.write_text("# another program")
    monkeypatch.setattr(module, "__file__", str(changed))
    open_again(source, tmp_path)
    assert source.n_decoded == 2 * N


def test_pixels_of_which_nobody_foresaw_that_they_fail_are_named_or_skipped(tmp_path: Path) -> None:
    class OneInColour(Grey):
        """Of a data set of anyone's own, one of whose images has channels."""

        def pixels(self, index: int) -> NDArray[np.float32]:
            grey = super().pixels(index)
            return np.stack([grey] * 3, axis=-1) if index == 2 else grey

    words = r"n: image 'i2': its pixels cannot be used \(ValueError: .*\): put another image in its place"
    with pytest.raises(DataError, match=words):
        open_again(OneInColour(), tmp_path)
    table = table_of(OneInColour())
    kept = open_pixels(table, size=SIDE, folder=tmp_path, report=silent, unreadable="skipped")
    assert list(kept.unreadable) == [2]
    others = [0, 1, 3, 4]
    np.testing.assert_array_equal(
        np.rint(kept.batch(np.array(others))[:, 0] * 255),
        table.images.levels[others],  # type: ignore[union-attr]
    )
