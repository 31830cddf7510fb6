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
    """Images cannot be had, now and later."""


class DamagedImageError(DataError):
    """An image cannot be decoded; others can."""


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
        self._tried = np.zeros(n_images, dtype=bool)
        self._n_tried = 0
        self._damaged: dict[int, DataError] = {}
        self._changed = threading.Condition()
        self._whole = self._ended = self._stopped = False
        self._error: BaseException | None = None

    def work(self) -> None:
        """Decode images until none is left or `stop` was called; whoever waits for a damaged one is told."""
        while (row := self._next()) is not None:
            damage = None
            try:
                self._decode(row)
            except DataError as error:
                damage = error
            except BaseException as error:
                self._fail(error)
                return
            with self._changed:
                if damage is not None:
                    self._damaged[row] = damage
                self._tried[row] = True
                self._n_tried += 1
                last = self._n_tried == len(self._tried)
                self._changed.notify_all()
            if last:
                self._end()

    def _next(self) -> int | None:
        with self._changed:
            return None if self._stopped or self._error is not None else next(self._left, None)

    def _end(self) -> None:
        if not self._damaged:
            try:
                self._finish()
            except BaseException as error:
                self._fail(error)
                return
        with self._changed:
            self._whole, self._ended = not self._damaged, True
            self._changed.notify_all()

    def _fail(self, error: BaseException) -> None:
        with self._changed:
            self._error = self._error or error
            self._changed.notify_all()

    def wait(self, rows: NDArray[np.intp]) -> None:
        """Return when these images are decoded.

        Raises
        ------
        DamagedImageError
            Naming one of them that cannot be decoded.
        NoImageError
            Naming the file that cannot be written.
        """
        with self._changed:
            self._changed.wait_for(lambda: self._is_over or bool(self._tried[rows].all()))
            self._raise()
            self._refuse(rows)

    def refuse_damaged(self, rows: NDArray[np.intp]) -> None:
        """Wait for nothing, and raise where one of these images is known to be damaged.

        Raises
        ------
        DamagedImageError
            Naming it.
        """
        with self._changed:
            self._refuse(rows)

    def wait_for_all(self, report: Reporter | None = None) -> None:
        """Return when all images are decoded and `finish` was called.

        Raises
        ------
        NoImageError
            Naming an image that cannot be decoded, when all others are, or the file that cannot be written.
        """
        with self._changed:
            while not self._changed.wait_for(lambda: self._is_over, timeout=0.2):
                if report is not None:
                    report(TASK, self._n_tried, len(self._tried))
            self._raise()
            if self._damaged:
                raise NoImageError(str(self._damaged[min(self._damaged)]))
        if report is not None:
            report(TASK, len(self._tried), len(self._tried))

    @property
    def _is_over(self) -> bool:
        return self._ended or self._stopped or self._error is not None

    def _refuse(self, rows: NDArray[np.intp]) -> None:
        if self._damaged and (damaged := self._damaged.keys() & set(rows.tolist())):
            raise DamagedImageError(str(self._damaged[min(damaged)]))

    def _raise(self) -> None:
        if isinstance(self._error, DataError):
            raise NoImageError(str(self._error)) from self._error
        if self._error is not None:
            raise self._error
        if self._stopped and not self._ended:
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
