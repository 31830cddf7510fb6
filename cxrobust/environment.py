"""The machine and the software that compute results, and the latter as a file of pinned requirements."""

import json
import platform
import subprocess
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import cache
from importlib.metadata import Distribution, PackageNotFoundError, distribution, entry_points, version
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

NAME = "cxrobust"
HEAD = """\
# Every distribution that cxrobust needs and that was installed when these results were computed, dependencies of
# dependencies too. All are pinned, so that nothing is left to choose:
#     pip install --no-deps --requirement environment.txt
# (with --no-deps because some demand versions of others that do not fit together, for nothing that is used here).
"""
HEAD_OF_SOME = """\
# The packages whose versions were recorded when these results were computed, pinned for pip; what they depend on was
# not recorded.
"""
WHEELS = "https://download.pytorch.org/whl/"
"""Where wheels are whose version ends in `+cpu` or `+cu128`."""
OF_TORCH = ("torch", "torchvision", "torchaudio", "triton")
FOLDER = "a folder"
ANALYSIS_PACKAGES = ("cxrobust", "numpy", "scipy", "numba", "statsmodels", "pandas", "pyarrow")


def this_machine(packages: Sequence[str] = ANALYSIS_PACKAGES) -> dict[str, Any]:
    """Return what decides here how numbers are rounded: versions, platform and processor."""
    return {
        "python": platform.python_version(),
        "platform": platform.platform(),
        "hardware": processor(),
        "versions": installed_versions(packages),
    }


def processor() -> str:
    """Return the processor's model and number of logical cores."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
        names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
        return f"{names[0]}, {len(names)} logical cores"
    except (OSError, IndexError):
        return platform.processor() or platform.machine()


def installed_versions(packages: Iterable[str]) -> dict[str, str]:
    """Return the version of each package that is installed."""
    found = {}
    for package in packages:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found


@cache
def commit() -> str | None:
    """Return the commit of git that this program runs from; None where it runs from no checkout."""
    return commit_of(Path(__file__).resolve().parent.parent)


def commit_of(root: Path) -> str | None:
    """Return the commit of a checkout of ours, with `, with local changes` after it where its package has some.

    None where the folder is no checkout, or git cannot be asked.
    """
    if not (root / ".git").exists():
        return None
    found = _git(root, "rev-parse", "HEAD")
    changes = ", with local changes" if found and _git(root, "status", "--porcelain", "--", NAME) else ""
    return f"{found}{changes}" if found else None


def _git(root: Path, *arguments: str) -> str:
    """Return what git says; nothing where there is no git or no commit."""
    command = ["git", "-C", str(root), *arguments]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=20)  # noqa: S603  fixed words
    except (OSError, ValueError, subprocess.SubprocessError):
        return ""
    return done.stdout.strip()


@cache
def installed() -> dict[str, dict[str, str]]:
    """Return the version of each distribution that this program runs with, and the place of those that no index has.

    These are cxrobust with all its optional groups, what registers with it, and what all those need, as far as it is
    installed: `{"distributions": {"numpy": "2.3.0", ...}, "urls": {"cxrobust": "a folder"}}`.
    """
    known = entry_points()
    ours = (one for group in known.groups if group.startswith(f"{NAME}.") for one in known.select(group=group))
    plugins = [one.dist.name for one in ours if one.dist is not None]
    found: dict[str, Distribution] = {}
    seen: set[tuple[str, frozenset[str]]] = set()
    rest = [(NAME, _groups(NAME)), *((name, frozenset[str]()) for name in plugins)]
    while rest:
        name, groups = rest.pop()
        if (canonicalize_name(name), groups) in seen:
            continue
        seen.add((canonicalize_name(name), groups))
        try:
            one = distribution(name)
        except PackageNotFoundError:
            continue
        found[canonicalize_name(name)] = one
        rest += [(needed.name, frozenset(needed.extras)) for needed in _needs(one, groups)]
    urls = {name: url for name, one in sorted(found.items()) if (url := _url(one))}
    return {"distributions": {name: one.version for name, one in sorted(found.items())}, "urls": urls}


def _groups(name: str) -> frozenset[str]:
    try:
        return frozenset(distribution(name).metadata.get_all("Provides-Extra") or ())
    except PackageNotFoundError:
        return frozenset()


def _needs(one: Distribution, groups: frozenset[str]) -> Iterator[Requirement]:
    """Yield what a distribution needs on this machine, with these optional groups of it."""
    for line in one.requires or ():
        needed = Requirement(line)
        if needed.marker is None or any(needed.marker.evaluate({"extra": group}) for group in ("", *groups)):
            yield needed


def _url(one: Distribution) -> str:
    """Return where a distribution comes from when that is no index: an address for pip, or that it is a folder."""
    try:
        told = json.loads(one.read_text("direct_url.json") or "{}")
    except ValueError:
        return ""
    address = str(told.get("url", ""))
    if not address:
        return ""
    parts = urlsplit(address)
    if parts.scheme != "https" or "@" in parts.netloc:  # a path of this machine, or a name and password
        return FOLDER
    revision = told.get("vcs_info")
    return f"{revision['vcs']}+{address}@{revision['commit_id']}" if revision else address


def environment_lock(provenance: Mapping[str, Any]) -> str:
    """Return `environment.txt`: the distributions that analysis and inference ran with, from the provenance of results.

    A requirements file holds one version of a package, so where machines differ the first one named is pinned, and the
    others' version is a comment. Of results that name only the main packages, those are pinned.

    Examples
    --------
    >>> analysis = {"python": "3.11.7", "platform": "Linux", "versions": {"numpy": "2.3.0"}}
    >>> machine = {"python": "3.12.1", "platform": "Linux", "versions": {"numpy": "2.2.0", "torch": "2.9.0"}}
    >>> print(environment_lock({"analysis": analysis, "inference": {"machines": [machine]}}).replace(HEAD_OF_SOME, ""))
    # analysis: Python 3.11.7, Linux
    numpy==2.3.0
    # inference: Python 3.12.1, Linux
    # numpy==2.2.0 there
    torch==2.9.0
    <BLANKLINE>
    """
    pinned: dict[str, str] = {}
    lines: list[str] = []
    indices: dict[str, None] = {}
    are_all = True
    for stage, machine in _machines(provenance):
        lines.append(f"# {stage}: {_described(machine)}")
        are_all &= "distributions" in machine
        urls = machine.get("urls") or {}
        for package, found in dict(machine.get("distributions") or machine.get("versions") or {}).items():
            name = canonicalize_name(_line(package))
            pin = _pin(name, _line(found), _line(urls.get(package, "")))
            if pinned.setdefault(name, pin) != pin:
                lines.append(f"# {pin.removeprefix('# ')} there")
            elif pin not in lines:
                lines.append(pin)
                label = _line(found).partition("+")[2]
                if label and name in OF_TORCH:
                    indices[f"--extra-index-url {WHEELS}{label}"] = None
    return "".join(f"{line}\n" for line in [(HEAD if are_all else HEAD_OF_SOME).rstrip("\n"), *indices, *lines])


def _pin(name: str, found: str, url: str) -> str:
    """Return a line that pins a distribution; one that came from a folder is named in a comment.

    >>> _pin("numpy", "2.3.0", ""), _pin("a", "1.0", "git+https://b.org/a@0f3c"), _pin("cxrobust", "0.1.0", FOLDER)
    ('numpy==2.3.0', 'a @ git+https://b.org/a@0f3c', '# cxrobust==0.1.0, from a folder: install it from its source')
    """
    if url == FOLDER:
        return f"# {name}=={found}, from a folder: install it from its source"
    return f"{name} @ {url}" if url else f"{name}=={found}"


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
