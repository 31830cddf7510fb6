"""Fixtures of the tests of reports."""

from pathlib import Path

import pytest

from cxrobust.reports import render

from .made import TYPICAL, results


@pytest.fixture(scope="session")
def drawn(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where figures are kept for tests of what is said around them: one that reads the same is drawn once."""
    return tmp_path_factory.mktemp("drawn")


@pytest.fixture(scope="session")
def typical(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, ...]:
    """Report and appendix of a typical study with example images, each as PDF and HTML; no test changes them."""
    folder = tmp_path_factory.mktemp("typical")
    return render(results(TYPICAL, images=folder), formats=("pdf", "html"), out=folder, images=folder)
