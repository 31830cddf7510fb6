"""A language model behind an OpenAI-compatible endpoint, such as vLLM's, as a judge of two reports."""

import http.client
import io
import json
import os
import re
import socket
import ssl
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from itertools import islice
from typing import Any, Literal
from urllib.parse import urlsplit

from pydantic import Field, field_validator

from cxrobust.errors import DataError
from cxrobust.radiology_reports.judges import Desk, judge
from cxrobust.radiology_reports.judges.asking import Answer, Talk, writable

PASSING = {408, 409, 425, 429, 500, 502, 503, 504}
"""HTTP statuses after which asking again may help."""
REFUSING = {400, 413, 422}
"""HTTP statuses that may be of one question alone, such as one that is longer than the model reads."""
MOST_IN_A_ROW = 20
"""Questions in a row without an answer after which the endpoint counts as gone."""
OTHER_FORM = "an answer of another form than chat completions have"
NO_TEXT = "an answer without a text, as when max_tokens end a model's thoughts"


@judge("endpoint")
class Endpoint(Talk):
    """A model that is asked over HTTP at `URL/chat/completions`; reports leave this machine for that address.

    The key of the service is read from an environment variable, and is written nowhere.
    """

    kind: Literal["endpoint"]
    url: str
    """For example `http://localhost:8000/v1`."""
    model: str = Field(min_length=1)
    """The model's name at the endpoint."""
    key_variable: str | None = Field(default=None, pattern=r"^[A-Za-z_][A-Za-z0-9_]*$")
    """Name of the environment variable that holds the key; none is sent when absent."""
    timeout: float = Field(default=60.0, gt=0)
    """Seconds to wait for a whole answer."""
    retries: int = Field(default=2, ge=0, le=20)
    """How often a question is asked again after a timeout or a busy server."""
    at_once: int = Field(default=8, ge=1, le=256)
    """How many questions are under way at a time."""
    seed: int | None = 0
    """Sent along, for services that take one."""

    @field_validator("url")
    @classmethod
    def _is_url(cls, value: str) -> str:
        parts = urlsplit(value)
        if parts.scheme not in {"http", "https"} or not parts.hostname or parts.username or parts.query:
            raise ValueError(f"{value!r} is no address of an endpoint: write http://host:port/v1, keys not in it")
        return value.rstrip("/")

    def identity(self) -> dict[str, Any]:
        """Return address, model and question; not how long and how often it is waited for."""
        waiting = {"timeout", "retries", "at_once", "key_variable"}
        return {key: value for key, value in super().identity().items() if key not in waiting}

    def check(self) -> None:
        """See that the key is there.

        Raises
        ------
        DataError
            When its environment variable is not set.
        """
        if self.key_variable is not None and not os.environ.get(self.key_variable):
            raise DataError(
                f"judge {self.name!r}: the environment variable {self.key_variable} is not set: put the key there"
            )

    def ask(self, questions: Mapping[str, str], keep: Callable[[str, Answer], None], desk: Desk) -> None:
        """Ask several questions at a time; one that times out or is refused is counted, many without a word end it."""
        self.check()
        silent = 0
        left = iter(questions.items())
        with ThreadPoolExecutor(self.at_once) as pool:
            while some := list(islice(left, self.at_once)):
                for (key, _), answer in zip(some, pool.map(lambda one: self._answer(one[1]), some), strict=True):
                    keep(key, answer)
                    silent = silent + 1 if answer.text is None and not answer.is_refused else 0
                    if silent >= MOST_IN_A_ROW:
                        raise DataError(
                            f"judge {self.name!r}: {silent} questions in a row had no answer ({answer.why}): see that "
                            f"{self.url} works, or raise timeout; answers so far are kept"
                        )

    def _answer(self, question: str) -> Answer:
        for attempt in range(self.retries + 1):
            if attempt:
                time.sleep(min(2.0**attempt / 4, 8.0))
            try:
                status, body = self._post(question)
            except TimeoutError:
                why = f"no answer within {self.timeout:g} s"
                continue
            except (OSError, http.client.HTTPException) as error:
                if attempt < self.retries:
                    why = f"a broken connection ({type(error).__name__})"
                    continue
                raise DataError(
                    f"judge {self.name!r}: {self.url} cannot be reached ({error}): start it or correct url"
                ) from error
            if status in PASSING:
                why = f"HTTP status {status}"
                continue
            if status != http.client.OK:
                said = " ".join(body.split())
                if status in REFUSING:
                    return Answer(text=None, why=f"HTTP status {status} ({_alike(said)[:200]})", is_refused=True)
                raise DataError(
                    f"judge {self.name!r}: {self.url} answers with HTTP status {status} ({said[:200]}): correct it"
                )
            return _content(body)
        return Answer(text=None, why=why)

    def _post(self, question: str) -> tuple[int, str]:
        deadline = time.monotonic() + self.timeout
        parts = urlsplit(self.url)
        connection = (
            http.client.HTTPSConnection(
                parts.hostname or "", parts.port, timeout=self.timeout, context=ssl.create_default_context()
            )
            if parts.scheme == "https"
            else http.client.HTTPConnection(parts.hostname or "", parts.port, timeout=self.timeout)
        )
        request = {
            "model": self.model,
            "messages": self.messages(question),
            "temperature": 0,
            "max_tokens": self.max_tokens,
            **({} if self.seed is None else {"seed": self.seed}),
        }
        headers = {"Content-Type": "application/json"}
        if self.key_variable is not None:
            headers["Authorization"] = f"Bearer {os.environ[self.key_variable]}"
        with closing(connection):
            connection.request("POST", f"{parts.path}/chat/completions", body=json.dumps(request), headers=headers)
            with closing(http.client.HTTPResponse(connection.sock, method="POST")) as response:
                response.fp = io.BufferedReader(_Until(response.fp, connection.sock, deadline))
                response.begin()
                return response.status, response.read().decode("utf-8", errors="replace")


class _Until(io.RawIOBase):
    """What comes from a socket until a deadline of the monotonic clock, in however many pieces."""

    def __init__(self, stream: io.BufferedReader, sock: socket.socket, deadline: float) -> None:
        self._stream, self._sock, self._deadline = stream, sock, deadline

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        left = self._deadline - time.monotonic()
        if left <= 0:
            raise TimeoutError
        self._sock.settimeout(left)
        return self._stream.readinto1(buffer)

    def close(self) -> None:
        self._stream.close()
        super().close()


def _alike(said: str) -> str:
    """Return what a server says with no number in it, so that what it says of several questions is counted as one."""
    return re.sub(r"\w*\d\w*", "…", said)


def _content(body: str) -> Answer:
    """Return the text of an answer; one of another form than the documented one has none."""
    try:
        text = json.loads(body)["choices"][0]["message"]["content"]
    except (ValueError, KeyError, IndexError, TypeError, RecursionError):
        return Answer(text=None, why=OTHER_FORM)
    if text is None:
        return Answer(text=None, why=NO_TEXT, is_refused=True, mend="raise max_tokens")
    return Answer(text=writable(text)) if isinstance(text, str) else Answer(text=None, why=OTHER_FORM)
