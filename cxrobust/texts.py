"""Many short texts, such as the ids of images, kept in little more than their letters."""

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from typing import overload

import numpy as np
import pandas as pd
import pyarrow as pa

from cxrobust.files import in_blocks


class Texts(Sequence[str]):
    """A sequence of texts without a Python object for each: one array of Arrow, 8 bytes a text and its UTF-8.

    It equals any other sequence of the same texts, but no single text.

    Examples
    --------
    >>> texts = Texts(f"i{i}" for i in range(3))
    >>> texts[1], texts == ("i0", "i1", "i2"), texts.index("i2")
    ('i1', True, 2)
    """

    __slots__ = ("array",)

    def __init__(self, texts: "Iterable[str] | pd.Series[str] | pa.ChunkedArray") -> None:
        self.array = _array(texts)

    def __len__(self) -> int:
        return len(self.array)

    @overload
    def __getitem__(self, index: int) -> str: ...
    @overload
    def __getitem__(self, index: slice) -> "Texts": ...
    def __getitem__(self, index: int | slice) -> "str | Texts":
        if isinstance(index, slice):
            return Texts(self[place] for place in range(*index.indices(len(self))))
        return _decode(self.array[index].as_py())

    def __iter__(self) -> Iterator[str]:
        for places in in_blocks(range(len(self))):
            block = self.array[places[0] : places[-1] + 1]
            yield from map(_decode, block.to_pylist())

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Sequence) or isinstance(other, str | bytes):
            return NotImplemented
        return len(self) == len(other) and all(own == one for own, one in zip(self, other, strict=True))

    @property
    def repeated(self) -> "tuple[str, ...]":
        """The texts that stand more than once, in order; hashes tell first which may."""
        hashes = np.fromiter(map(hash, self), dtype=np.int64, count=len(self))
        distinct, n_times = np.unique(hashes, return_counts=True)
        again = Counter(self[int(row)] for row in np.flatnonzero(np.isin(hashes, distinct[n_times > 1])))
        return tuple(text for text, n in again.items() if n > 1)

    def series(self) -> "pd.Series[str]":
        """Return the texts as a column of pandas."""
        column: pd.Series[str] = self.array.cast(pa.large_string()).to_pandas()
        return column

    def __hash__(self) -> int:
        return hash(tuple(self))

    def __repr__(self) -> str:
        return f"Texts({list(self)})"


def _array(texts: "Iterable[str] | pd.Series[str] | pa.ChunkedArray") -> pa.LargeBinaryArray:
    """Return texts as one array; a column is one already, and its cells need not become Python's."""
    if isinstance(texts, Texts):
        return texts.array
    if isinstance(texts, pd.Series):
        texts = pa.array(texts, pa.large_string())
    if isinstance(texts, pa.ChunkedArray):
        texts = texts.combine_chunks()
    if isinstance(texts, pa.Array):
        return texts.cast(pa.large_binary())
    encoded = ([_encode(text) for text in block] for block in in_blocks(texts))
    blocks = [pa.array(block, pa.large_binary()) for block in encoded]
    return pa.chunked_array(blocks, pa.large_binary()).combine_chunks()


def _encode(text: str) -> bytes:
    return text.encode("utf-8", "surrogatepass")  # a file's name may be no UTF-8


def _decode(text: bytes) -> str:
    return text.decode("utf-8", "surrogatepass")
