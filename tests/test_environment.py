"""What an environment's file must hold so that pip rebuilds it."""

import json
import shutil
import subprocess
import sys
from importlib.metadata import distribution, packages_distributions
from pathlib import Path
from pkgutil import iter_modules

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from cxrobust import environment
from cxrobust.environment import FOLDER, HEAD, HEAD_OF_SOME, commit_of, environment_lock, installed

ROOMS = "cxrobust.cli, cxrobust.pipeline, cxrobust.reports.render, cxrobust.verification, cxrobust.bundles.reproducing"
LOADED = f"""
import json, sys
import {ROOMS}, weasyprint, pikepdf
for name in ("torch", "torchvision", "torchattacks", "transformers", "peft", "onnxruntime"):
    try:
        __import__(name)
    except ImportError:
        pass
print(json.dumps(sorted({{name.partition(".")[0] for name in sys.modules}})))
"""


def lock_here(**more):
    return environment_lock({"analysis": {"python": "3.11.7", "platform": "Linux", **installed(), **more}})


def pins(lock):
    lines = [line for line in lock.splitlines() if line and not line.startswith(("#", "--"))]
    return {canonicalize_name(one.name): one for one in map(Requirement, lines)}


def test_the_lock_pins_every_distribution_that_this_program_loads():
    """The oracle is what Python itself loads, which asks no list of requirements."""
    done = subprocess.run([sys.executable, "-c", LOADED], capture_output=True, text=True, check=True)
    owners = packages_distributions()
    loaded = {canonicalize_name(name) for module in json.loads(done.stdout) for name in owners.get(module, ())}
    assert {"numpy", "scipy", "matplotlib", "weasyprint", "pydantic"} <= loaded
    # numba, torch and, of an S3 server's test, accelerate take them where they are, and go on without them
    looked_for = {"coverage", "dill", "boto3", "botocore", "jmespath", "s3transfer"}
    assert loaded - {"cxrobust"} - looked_for <= set(pins(lock_here()))


def test_what_a_pinned_distribution_needs_is_pinned_too_and_to_what_is_installed():
    found = pins(lock_here())
    for name, pin in found.items():
        assert str(pin.specifier) == f"=={distribution(name).version}"
        for line in distribution(name).requires or ():
            needed = Requirement(line)
            if needed.marker is None or needed.marker.evaluate({"extra": ""}):
                assert canonicalize_name(needed.name) in found


def test_an_installer_reads_the_lock_and_finds_all_of_it_installed(tmp_path):
    uv = shutil.which("uv") or shutil.which("uv", path=Path(__file__).parent.parent / ".uv" / "bin")
    if uv is not None:
        installer = [uv, "pip", "install", "--python", sys.executable, "--offline"]
    elif "pip" in {one.name for one in iter_modules()}:  # asking for its specification lets setuptools warn
        installer = [sys.executable, "-m", "pip", "install", "--no-index"]
    else:
        pytest.skip("neither uv nor pip is here")
    file = tmp_path / "environment.txt"
    file.write_text(lock_here(), encoding="utf-8")
    done = subprocess.run(
        [*installer, "--dry-run", "--no-deps", "--requirement", str(file)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert "Would install" not in done.stdout + done.stderr
    assert "Would download" not in done.stdout + done.stderr


def test_python_stands_in_it_and_only_results_without_distributions_say_that_they_are_some():
    assert "# analysis: Python 3.11.7, Linux" in lock_here()
    assert lock_here().startswith(HEAD)
    old = environment_lock({"analysis": {"versions": {"numpy": "2.3.0"}}})
    assert old.startswith(HEAD_OF_SOME)
    assert "numpy==2.3.0" in old


def test_builds_of_torch_for_one_device_name_where_their_wheels_are():
    machine = {"distributions": {"torch": "2.9.0+cpu", "numpy": "2.3.0"}, "urls": {}}
    lock = environment_lock({"analysis": machine, "inference": {"machines": [machine, machine]}})
    assert lock.count("--extra-index-url https://download.pytorch.org/whl/cpu\n") == 1
    assert lock.count("\ntorch==2.9.0+cpu\n") == 1


@pytest.mark.parametrize(
    ("told", "expected"),
    [
        (None, ""),
        ({"url": "file:///home/someone/cxrobust", "dir_info": {"editable": True}}, FOLDER),
        ({"url": "https://name:secret@a.org/b", "vcs_info": {"vcs": "git", "commit_id": "0f"}}, FOLDER),
        ({"url": "https://a.org/b", "vcs_info": {"vcs": "git", "commit_id": "0f"}}, "git+https://a.org/b@0f"),
        ({"url": "https://a.org/b-1.0-py3-none-any.whl", "archive_info": {}}, "https://a.org/b-1.0-py3-none-any.whl"),
    ],
)
def test_what_came_from_elsewhere_says_whence_and_names_no_folder_and_no_password(told, expected):
    class Made:
        def read_text(self, name):
            return None if told is None else json.dumps(told)

    assert environment._url(Made()) == expected


def test_distributions_that_differ_between_machines_are_pinned_once():
    here = {"distributions": {"numpy": "2.3.0"}, "urls": {}}
    there = {"distributions": {"numpy": "2.2.0", "cxrobust": "0.1.0"}, "urls": {"cxrobust": FOLDER}}
    lock = environment_lock({"analysis": here, "inference": {"machines": [there]}})
    assert list(pins(lock)) == ["numpy"]
    assert "# numpy==2.2.0 there" in lock
    assert "# cxrobust==0.1.0, from a folder: install it from its source" in lock


@pytest.mark.skipif(shutil.which("git") is None, reason="there is no git here")
def test_the_commit_of_a_checkout_is_that_of_git_and_says_whether_the_package_was_changed(tmp_path):
    def git(*arguments):
        who = ("-c", "user.name=a", "-c", "user.email=a@b.org")
        return subprocess.run(
            ["git", *who, *arguments], cwd=tmp_path, check=True, capture_output=True, text=True
        ).stdout

    assert commit_of(tmp_path) is None
    git("init")
    assert commit_of(tmp_path) is None  # nothing is committed
    (tmp_path / "cxrobust").mkdir()
    source = tmp_path / "cxrobust" / "a.py"
    source.write_text("1\n")
    git("add", ".")
    git("commit", "-m", "One")
    head = git("rev-parse", "HEAD").strip()
    (tmp_path / "notes.txt").write_text("beside the package\n")
    assert commit_of(tmp_path) == head
    source.write_text("2\n")
    assert commit_of(tmp_path) == f"{head}, with local changes"


@pytest.mark.parametrize("error", [FileNotFoundError("git"), subprocess.TimeoutExpired("git", 20)])
def test_where_git_cannot_be_asked_no_commit_is_told(tmp_path, monkeypatch, error):
    def fail(*arguments, **options):
        raise error

    (tmp_path / ".git").mkdir()
    monkeypatch.setattr(subprocess, "run", fail)
    assert commit_of(tmp_path) is None
