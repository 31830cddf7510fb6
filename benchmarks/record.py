"""What every benchmark writes: its numbers, and the machine and versions that they were made with."""

import json
import platform
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from cxrobust.analysis.parallel import CORES
from cxrobust.environment import installed_versions, processor


def write(path: Path | None, content: Mapping[str, Any], *, packages: tuple[str, ...]) -> None:
    """Write a benchmark's JSON file, where one was asked for."""
    if path is not None:
        path.parent.mkdir(parents=True, exist_ok=True)
        everything = {**content, "made_with": made_with(packages)}
        path.write_text(json.dumps(everything, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


def made_with(packages: tuple[str, ...]) -> dict[str, Any]:
    return {
        "versions": installed_versions(("cxrobust", "numpy", "numba", *packages)),
        "python": platform.python_version(),
        "system": f"{platform.system()} {platform.machine()}",
        "processor": processor(),
        "cores": CORES,
    }
