"""Fixtures of the tests of reports."""

from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def drawn(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where figures are kept for tests of what is said around them: one that reads the same is drawn once."""
    return tmp_path_factory.mktemp("drawn")
