"""The software that computed results, as a file of pinned requirements."""

from collections.abc import Iterable, Iterator, Mapping
from importlib.metadata import PackageNotFoundError, version
from typing import Any

HEAD = """\
# The packages whose versions were recorded when these results were computed, pinned for pip; what they depend on was
# not recorded.
"""


def installed_versions(packages: Iterable[str]) -> dict[str, str]:
    """Return the version of each package that is installed."""
    found = {}
    for package in packages:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found


def environment_lock(provenance: Mapping[str, Any]) -> str:
    """Return `environment.txt`: the versions that analysis and inference ran with, from the provenance of results.

    A requirements file holds one version of a package, so where machines differ the first one named is pinned, and the
    others' version is a comment.

    Examples
    --------
    >>> analysis = {"python": "3.11.7", "platform": "Linux", "versions": {"numpy": "2.3.0"}}
    >>> machine = {"python": "3.12.1", "platform": "Linux", "versions": {"numpy": "2.2.0", "torch": "2.9.0"}}
    >>> print(environment_lock({"analysis": analysis, "inference": {"machines": [machine]}}).replace(HEAD, ""))
    # analysis: Python 3.11.7, Linux
    numpy==2.3.0
    # inference: Python 3.12.1, Linux
    # numpy==2.2.0 there
    torch==2.9.0
    <BLANKLINE>
    """
    pinned: dict[str, str] = {}
    lines = []
    for stage, machine in _machines(provenance):
        lines.append(f"# {stage}: {_described(machine)}")
        for package, found in dict(machine.get("versions") or {}).items():
            if pinned.setdefault(_line(package), _line(found)) != _line(found):
                lines.append(f"# {_line(package)}=={_line(found)} there")
            elif (pin := f"{_line(package)}=={_line(found)}") not in lines:
                lines.append(pin)
    return HEAD + "".join(f"{line}\n" for line in lines)


def _machines(provenance: Mapping[str, Any]) -> Iterator[tuple[str, Mapping[str, Any]]]:
    yield "analysis", provenance.get("analysis") or {}
    for machine in (provenance.get("inference") or {}).get("machines") or []:
        yield "inference", machine


def _described(machine: Mapping[str, Any]) -> str:
    python = [f"Python {machine['python']}"] if machine.get("python") else []
    rest = [str(machine[name]) for name in ("platform", "device", "hardware") if machine.get(name)]
    return _line(", ".join([*python, *rest]) or "not recorded")


def _line(text: object) -> str:
    """Return text without line breaks, which would end a comment or a pin."""
    return " ".join(str(text).split())
