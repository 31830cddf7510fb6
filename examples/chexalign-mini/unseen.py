"""Count the broken reports that checkpoints write of validation images whose patients no preference is of.

python examples/chexalign-mini/unseen.py [dpo-labeler dpo-overlap ...]

Without names, of all that were tuned by preferences; beside each the rewards at the end of its training.
"""

import json
import sys
from collections.abc import Sequence
from pathlib import Path

from generator import SIDE, phantoms
from wording import broken

from cxrobust.inference import finetuning
from cxrobust.progress import Reporter, reporting
from cxrobust.study import Study, read_study

HERE = Path(__file__).parent
FURTHER = 100
"""Validation patients beyond those whose images have preferences."""
AT_ONCE = 64


def count(
    study: Study, names: Sequence[str], *, report: Reporter, further: int = FURTHER
) -> tuple[int, dict[str, int]]:
    """Return how many images there are, and how many reports of them each checkpoint breaks, written greedily."""
    preferred = study.preferences.data
    known = set(preferred.table(with_images=False).patients)
    table = phantoms("validation", preferred.patients + further).table()
    rows = [row for row, patient in enumerate(table.patients) if patient not in known]
    images = finetuning.read_examples(table, size=SIDE, report=report, stage="drawing images").images[rows]
    ids = [table.ids[row] for row in rows]
    found = {}
    for name in names:
        regime = study.regimes[0].model_copy(update={"name": name, "model": f"checkpoints/{name}"})
        model = regime.load(study.data.findings)
        batches = range(0, len(ids), AT_ONCE)
        read = [model.read(images[i : i + AT_ONCE], ids=ids[i : i + AT_ONCE], seed=0) for i in batches]
        found[name] = sum(broken(text) for one in read for text in one.written.reports)
    return len(ids), found


def rewards(name: str) -> str:
    """Say what rewards were at the end of a training, as far as its trainer told: the margin, how often above 0."""
    told = json.loads((HERE / "checkpoints" / name / "training.json").read_text(encoding="utf-8"))
    words = {"reward_margin": "reward margin", "reward_accuracy": "accuracy"}
    said = [f"{word} {told[key]:.2f}" for key, word in words.items() if key in told]
    return "".join(f"; {one}" for one in said)


def main() -> None:
    """Read the command line and count."""
    tuned = sorted(one.parent.name for one in HERE.glob("checkpoints/*/training.json") if one.parent.name != "sft")
    with reporting() as told:
        n_images, counts = count(read_study(HERE / "study.toml"), sys.argv[1:] or tuned, report=told)
    for one, n in counts.items():
        print(f"{one}: {n} of {n_images} reports broken{rewards(one)}")


if __name__ == "__main__":
    main()
