"""What a judge said, kept as it comes, so that a run which was killed asks for the rest alone."""

import json
import threading
from pathlib import Path

from cxrobust.files import sha256_json


class Kept:
    """Answers that came already, a line each in a file; a line that is cut off or damaged counts as not there."""

    def __init__(self, path: Path | None) -> None:
        self._path = path
        self._lock = threading.Lock()
        self._known: dict[str, str] = {}
        self._is_torn = False
        if path is None or not path.exists():
            return
        text = path.read_text(encoding="utf-8", errors="replace")
        self._is_torn = not text.endswith("\n")
        for line in text.splitlines():
            try:
                row = json.loads(line)
                if row["sha256"] == sha256_json([row["key"], row["answer"]]):
                    self._known[row["key"]] = row["answer"]
            except (ValueError, KeyError, TypeError):
                continue

    def get(self, key: str) -> str | None:
        """Return the answer that is kept under a key."""
        return self._known.get(key)

    def keep(self, key: str, answer: str) -> None:
        """Add an answer; the file holds it before this returns."""
        with self._lock:
            self._known[key] = answer
            if self._path is None:
                return
            self._path.parent.mkdir(parents=True, exist_ok=True)
            row = {"key": key, "answer": answer, "sha256": sha256_json([key, answer])}
            with self._path.open("a", encoding="utf-8") as file:
                file.write(("\n" if self._is_torn else "") + json.dumps(row) + "\n")
            self._is_torn = False
