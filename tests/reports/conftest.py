"""Fixtures of the tests of reports."""

import os

import pytest

from .documents import Documents


@pytest.fixture(scope="session")
def documents(tmp_path_factory: pytest.TempPathFactory) -> Documents:
    """Documents that all workers share, written when first asked for."""
    base = tmp_path_factory.getbasetemp()
    shared = (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / "documents"
    shared.mkdir(exist_ok=True)
    return Documents(folder=shared, own=tmp_path_factory.mktemp("images"))
