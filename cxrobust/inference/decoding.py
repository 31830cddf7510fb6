"""Images decoded in order, in threads, while those that are ready are used."""

import os
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from types import TracebackType

import numpy as np
from numpy.typing import NDArray

from cxrobust.errors import DataError
from cxrobust.progress import Reporter

TASK = "decoding images"


class NoImageError(DataError):
    """An image that is needed cannot be had, now and later."""


class Decoding:
    """Images of one table: each is decoded once, in the order of rows, by as many threads as call `work`."""

    def __init__(
        self, n_images: int, decode: Callable[[int], None], *, finish: Callable[[], None], discard: Callable[[], None]
    ) -> None:
        """Nothing is decoded yet.

        Parameters
        ----------
        n_images
            How many there are.
        decode
            Decodes one image, by its row.
        finish
            Is called once, when all are decoded.
        discard
            Is called instead where that is not to be.
        """
        self._decode, self._finish, self._discard = decode, finish, discard
        self._left = iter(range(n_images))
        self._ready = np.zeros(n_images, dtype=bool)
        self._n_ready = 0
        self._changed = threading.Condition()
        self._whole = self._stopped = False
        self._error: BaseException | None = None

    def work(self) -> None:
        """Decode images until none is left, one failed, or `stop` was called."""
        while (row := self._next()) is not None:
            try:
                self._decode(row)
            except BaseException as error:  # whoever waits for an image is told
                self._fail(error)
                return
            with self._changed:
                self._ready[row] = True
                self._n_ready += 1
                last = self._n_ready == len(self._ready)
                self._changed.notify_all()
            if last:
                self._end()

    def _next(self) -> int | None:
        with self._changed:
            return None if self._stopped or self._error is not None else next(self._left, None)

    def _end(self) -> None:
        try:
            self._finish()
        except BaseException as error:
            self._fail(error)
            return
        with self._changed:
            self._whole = True
            self._changed.notify_all()

    def _fail(self, error: BaseException) -> None:
        with self._changed:
            self._error = self._error or error
            self._changed.notify_all()

    def wait(self, rows: NDArray[np.intp]) -> None:
        """Return when these images are decoded.

        Raises
        ------
        NoImageError
            Naming the image, of these or others, that cannot be decoded, or the file that cannot be written.
        """
        with self._changed:
            self._changed.wait_for(lambda: self._is_over or bool(self._ready[rows].all()))
            self._raise()

    def wait_for_all(self, report: Reporter | None = None) -> None:
        """Return when all images are decoded and `finish` was called.

        Raises
        ------
        NoImageError
            As `wait` does.
        """
        with self._changed:
            while not self._changed.wait_for(lambda: self._is_over, timeout=0.2):
                if report is not None:
                    report(TASK, self._n_ready, len(self._ready))
            self._raise()
        if report is not None:
            report(TASK, len(self._ready), len(self._ready))

    @property
    def _is_over(self) -> bool:
        return self._whole or self._stopped or self._error is not None

    def _raise(self) -> None:
        if isinstance(self._error, DataError):
            raise NoImageError(str(self._error)) from self._error
        if self._error is not None:
            raise self._error
        if self._stopped and not self._whole:
            raise NoImageError("decoding images was interrupted: run again")

    def stop(self) -> None:
        """Begin no further image."""
        with self._changed:
            self._stopped = True
            self._changed.notify_all()

    def close(self) -> None:
        """Discard what is not whole; no thread may be at work any more."""
        if not self._whole:
            self._discard()


class Decoders:
    """Threads for one decoding after another, which end with the context."""

    def __init__(self) -> None:
        self._n_threads = min(8, os.cpu_count() or 1)
        self._pool = ThreadPoolExecutor(self._n_threads)
        self._begun: list[Decoding] = []

    def begin(self, decoding: Decoding) -> None:
        """Decode these images when those that were begun before are done."""
        self._begun.append(decoding)
        for _ in range(self._n_threads):
            self._pool.submit(decoding.work)

    def __enter__(self) -> "Decoders":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for one in self._begun:
            one.stop()
        self._pool.shutdown(cancel_futures=True)
        for one in self._begun:
            one.close()
