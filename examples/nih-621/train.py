"""Fine-tune an ImageNet network in four regimes on 621 NIH radiographs, in two folds.

python examples/nih-621/train.py --data-root DATA

Each fold's models learn from the other half of the patients, so every image is predicted by models that never saw it.
"""

import argparse
from pathlib import Path

import numpy as np
import torch
from efficientnet import imagenet
from safetensors.torch import save_file
from torch import nn

from cxrobust.inference import finetuning
from cxrobust.inference.finetuning import LabelledImages, Preference, Training
from cxrobust.progress import Reporter, reporting
from cxrobust.study import read_study

HERE = Path(__file__).parent
HEAD = "network._fc"
FOLDS = 2


def write_folds(data_root: Path) -> Path:
    """Write which fold each image belongs to: patients are dealt out at random, as the seed says."""
    path = HERE / "folds.csv"
    data = read_study(HERE / "study.toml", data_root=data_root).data
    table = data.model_copy(update={"metadata": None}).table()
    patients = sorted(set(table.patients))
    order = np.random.default_rng(2026).permutation(len(patients))
    fold = {patients[i]: place % FOLDS for place, i in enumerate(order)}
    rows = [f"{image},{fold[patient]}" for image, patient in zip(table.ids, table.patients, strict=True)]
    path.write_text("\n".join(["image_id,fold", *rows]) + "\n", encoding="utf-8")
    return path


def regimes(examples: LabelledImages, *, epochs: int, report: Reporter) -> dict[str, nn.Module]:
    """Fine-tune the four regimes on one half of the images."""
    base = finetuning.fresh_head(imagenet().eval(), head=HEAD, n_outputs=examples.labels.shape[1])
    probe = finetuning.linear_probe(base, examples, head=HEAD, penalty=0.1, report=report)
    training = Training(epochs=epochs, learning_rate=1e-4, batch=32, seed=1)
    full = finetuning.supervised(probe, examples, training, report=report)
    gentle = Training(epochs=max(1, epochs // 2), learning_rate=2e-5, batch=32, seed=2)
    near = Preference(beta=0.5)
    return {
        "linear-probe": probe,
        "full": full,
        "preference": finetuning.preference(
            full, examples, gentle, judge=finetuning.agreement, settings=near, report=report
        ),
        "adversarial": finetuning.adversarial(
            probe, examples, training, adversary=finetuning.Adversary(eps=1 / 255, steps=2), report=report
        ),
    }


def train(data_root: Path, *, epochs: int, report: Reporter) -> None:
    """Write `folds.csv` and one checkpoint for each regime and fold."""
    write_folds(data_root)
    data = read_study(HERE / "study.toml", data_root=data_root).data
    table = data.table()
    examples = finetuning.read_examples(table, size=data.size, report=report)
    folds = table.metadata["fold"].astype(int).to_numpy()
    folder = HERE / "checkpoints"
    folder.mkdir(exist_ok=True)
    for fold in range(FOLDS):
        other = torch.from_numpy(np.flatnonzero(folds != fold))
        for name, model in regimes(examples.take(other), epochs=epochs, report=report).items():
            save_file(model.state_dict(), folder / f"{name}-{fold}.safetensors")


def main() -> None:
    """Read the command line and train."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data-root", type=Path, required=True)
    parser.add_argument("--epochs", type=int, default=4)
    arguments = parser.parse_args()
    with reporting() as report:
        train(arguments.data_root, epochs=arguments.epochs, report=report)


if __name__ == "__main__":
    main()
