"""Fixtures of the tests of inference."""

import sys
from pathlib import Path

import pytest

from .tiny import with_executor, write_study


@pytest.fixture(scope="session")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of a study whose predictions were made without disturbance; no test changes it."""
    folder = tmp_path_factory.mktemp("finished")
    return _predicted(write_study(folder))


@pytest.fixture(scope="session")
def in_one_process(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same of a study with validation images, in one process and without a store."""
    folder = tmp_path_factory.mktemp("finished")
    return _predicted(with_executor(folder, "local"))


@pytest.fixture(scope="session")
def with_skipped(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of a study of which one process left out an image that cannot be read, and one without a number."""
    from .executing import poisoned

    return _predicted(poisoned(tmp_path_factory.mktemp("skipped"), "local"))


def _predicted(study: Path) -> Path:
    from cxrobust import pipeline
    from cxrobust.study import read_study

    pipeline.predict(read_study(study), study.parent / "out")
    return study.parent


@pytest.fixture
def code_of_models(tmp_path, monkeypatch):
    """A folder of the test's own, to which transformers copies Python code of models, and nothing left of it after."""
    monkeypatch.setattr("transformers.dynamic_module_utils.HF_MODULES_CACHE", str(tmp_path / "modules"))
    monkeypatch.setattr(sys, "path", list(sys.path))
    yield
    for name in [name for name in sys.modules if name.split(".")[0] == "transformers_modules"]:
        del sys.modules[name]
