"""Write the reference reports of the phantoms that the study tests on, and of those that preferences are made of.

python examples/chexalign-mini/write_references.py
"""

import json
from pathlib import Path

from generator import phantoms
from grammar import report

from cxrobust.files import atomic_write_text

HERE = Path(__file__).parent
PATIENTS = {"test": 150, "validation": 400}
"""As many of each split as study.toml names."""


def write(folder: Path, patients: dict[str, int]) -> None:
    """Write one table a split: a line an image, with its id and report."""
    for split, n_patients in patients.items():
        data = phantoms(split, n_patients)
        lines = [
            json.dumps({"id": name, "report": report(visit)}) + "\n"
            for name, visit in zip(data.table(with_images=False).ids, data.visits(), strict=True)
        ]
        folder.mkdir(parents=True, exist_ok=True)
        atomic_write_text(folder / f"{split}.jsonl", "".join(lines))


if __name__ == "__main__":
    write(HERE / "references", PATIENTS)
