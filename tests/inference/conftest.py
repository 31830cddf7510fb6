"""Fixtures of the tests of inference."""

import sys

import pytest


@pytest.fixture
def code_of_models(tmp_path, monkeypatch):
    """A folder of the test's own, to which transformers copies Python code of models, and nothing left of it after."""
    monkeypatch.setattr("transformers.dynamic_module_utils.HF_MODULES_CACHE", str(tmp_path / "modules"))
    monkeypatch.setattr(sys, "path", list(sys.path))
    yield
    for name in [name for name in sys.modules if name.split(".")[0] == "transformers_modules"]:
        del sys.modules[name]
