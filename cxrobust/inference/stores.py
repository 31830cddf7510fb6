"""A second home of a run's files that every machine reaches: a folder, or an object store by its fsspec URL."""

import secrets
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from cxrobust.errors import DataError, require
from cxrobust.files import LEFTOVER, atomic_write
from cxrobust.inference.images import reason

RENAMING = frozenset({"file", "local", "sftp", "ssh", "smb", "hdfs", "arrow_hdfs", "webhdfs"})
"""Protocols of file systems, which have folders and show a file while it is written; an object store does neither."""


class StoreError(DataError):
    """What kept a store from being used; its cause is the library's own error."""


class Store:
    """Files under a URL such as `s3://bucket/run`, `gs://…` or `file:///shared/run`, by their names."""

    def __init__(self, url: str) -> None:
        fsspec = require("fsspec", group="inference")
        self.url = url.rstrip("/")
        try:
            self._files, self._root = fsspec.core.url_to_fs(self.url)
        except (ImportError, ValueError) as error:
            raise DataError(
                f'[compute] store = "{url}": it cannot be opened ({reason(error)}): install what it needs'
            ) from error

    def names(self) -> frozenset[str]:
        """Return the names of all files that are there, whole."""
        with _naming(self.url):
            self._files.invalidate_cache()  # other machines write there too
            try:
                found = self._files.ls(self._root, detail=False)
            except FileNotFoundError:  # nothing was written yet
                found = []
        names = (str(path).rstrip("/").rpartition("/")[2] for path in found)
        return frozenset(name for name in names if not name.startswith(LEFTOVER))

    def put(self, path: Path, name: str | None = None) -> None:
        """Copy a file there, whole or not at all; an object store's own writes are so, a file system's are renamed."""
        target = f"{self._root}/{name or path.name}"
        with _naming(self.url):
            if not _renames(self._files):  # nor is a folder made, which at S3 would mean a bucket where there is none
                self._files.put_file(str(path), target)
                return
            self._files.makedirs(target.rpartition("/")[0], exist_ok=True)
            partial = f"{target.rpartition('/')[0]}/{LEFTOVER}{secrets.token_hex(8)}"
            self._files.put_file(str(path), partial)
            self._files.mv(partial, target)

    def fetch(self, name: str, folder: Path) -> None:
        """Copy a file from there into a folder, whole or not at all."""

        def get(temporary: Path) -> None:
            with _naming(self.url):
                self._files.get_file(f"{self._root}/{name}", str(temporary))

        atomic_write(folder / name, get)

    def put_all(self, folder: Path, names: Iterable[str]) -> None:
        """Copy several files of a folder, in order."""
        for name in names:
            self.put(folder / name, name)


@contextmanager
def _naming(url: str) -> Iterator[None]:
    """Say which store an error of another library is of."""
    try:
        yield
    except Exception as error:  # each kind of store raises its own
        raise StoreError(f"{url}: the store cannot be used ({reason(error)}): correct that and run again") from error


def _renames(files: Any) -> bool:
    protocols = (files.protocol,) if isinstance(files.protocol, str) else tuple(files.protocol)
    return bool(RENAMING & set(protocols))
