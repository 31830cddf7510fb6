"""The registration contract: a study's plan with a date and a hash, frozen in a file before the study is run."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from cxrobust.errors import DataError, StudyError
from cxrobust.files import atomic_write_text, sha256_json
from cxrobust.study import Study

FORMAT = 1
SUFFIX = ".registration.json"


@dataclass(frozen=True, kw_only=True, slots=True)
class Registration:
    """What was frozen, and when."""

    date: str
    """When it was registered, UTC: `2026-11-28T06:46:16Z`."""
    cxrobust: str
    """The version that registered it."""
    study: str
    """Name of the study file."""
    study_sha256: str
    plan: Mapping[str, Any]
    """What determines predictions and estimates: see `cxrobust.registration.planned.plan_of`."""
    inputs: Mapping[str, Any]
    """`data` {file: sha256} and `regimes` {name: {file: sha256}} as far as the files were there; `unknown`, the names
    of those whose files were not."""
    sha256: str
    """Of all the rest."""


def frozen_hash(content: Mapping[str, Any]) -> str:
    """Return the SHA-256 of all that a registration says but the hash itself."""
    return sha256_json({name: value for name, value in content.items() if name != "sha256"})


def place_of(study: Study) -> Path:
    """Return where a study's registration stands: as `[study] registration` says, else beside the study file."""
    named = study.study.registration
    return study.path.with_suffix(SUFFIX) if named is None else study.path.parent / named


def write_registration(registration: Registration, path: Path) -> None:
    """Write a registration as JSON, whole or not at all."""
    content = {"format": FORMAT, **asdict(registration)}
    atomic_write_text(path, json.dumps(content, indent=1, ensure_ascii=False, allow_nan=False) + "\n")


def find_registration(study: Study) -> Registration | None:
    """Return a study's registration, or None where there is none.

    Raises
    ------
    StudyError
        When `[study] registration` names a file that is not there.
    DataError
        As `read_registration`.
    """
    path = place_of(study)
    if path.exists():
        return read_registration(path)
    if study.study.registration is not None:
        keys = ("study", "registration")
        raise study.error(keys, f"{path}: the registration is missing: put it there, or run cxrobust register")
    return None


def read_registration(path: Path) -> Registration:
    """Read a registration and hold it against its hash.

    Raises
    ------
    DataError
        When the file cannot be read, is no registration, or was changed since it was written.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise DataError(f"{path}: {error.strerror}: correct its path") from error
    except (ValueError, RecursionError) as error:
        raise DataError(f"{path}: not JSON ({error}): restore the file that cxrobust register wrote") from error
    if not isinstance(content, dict) or content.pop("format", None) != FORMAT:
        raise DataError(f"{path}: not a registration of format {FORMAT}: restore the file that cxrobust register wrote")
    if content.get("sha256") != frozen_hash(content):
        raise DataError(
            f"{path}: it was changed after it was registered (its hash does not match its content): "
            f"restore the file that cxrobust register wrote"
        )
    try:
        return Registration(**content)
    except TypeError as error:
        raise DataError(f"{path}: not a whole registration ({error}): restore the file of cxrobust register") from error


def refuse_to_replace(path: Path) -> None:
    """Raise where a registration stands already.

    Raises
    ------
    StudyError
        Naming it.
    """
    if path.exists():
        raise StudyError(f"{path}: there is a registration already, and none is replaced: name another file by --out")
