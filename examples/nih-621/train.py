"""Fine-tune an ImageNet network in four regimes on 621 NIH radiographs, in two folds.

python examples/nih-621/train.py --data-root DATA

Each fold's models learn from the other half of the patients, so every image is predicted by models that never saw it.
"""

import argparse
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch
from efficientnet import imagenet
from safetensors.torch import save_file
from torch import nn

from cxrobust.inference import finetuning
from cxrobust.inference.finetuning import Adversary, LabelledImages, Preference, Training, write_training
from cxrobust.progress import Reporter, reporting
from cxrobust.study import read_study

HERE = Path(__file__).parent
HEAD = "network._fc"
FOLDS = 2
PENALTY = 0.1
NETWORK = "EfficientNet-Lite0"


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


def train_regimes(examples: LabelledImages, folder: Path, *, fold: int, epochs: int, report: Reporter) -> None:
    """Fine-tune the four regimes on the images of the other fold, and write a checkpoint of each."""

    def save(name: str, model: nn.Module, **said: Any) -> nn.Module:
        checkpoint = folder / f"{name}-{fold}"
        write_training(
            checkpoint, network=NETWORK, images=f"{len(examples)}, of the other half of the patients", **said
        )
        save_file(model.state_dict(), checkpoint / "weights.safetensors")
        return model

    base = finetuning.fresh_head(imagenet().eval(), head=HEAD, n_outputs=examples.labels.shape[1])
    probe = save(
        "linear-probe",
        finetuning.linear_probe(base, examples, head=HEAD, penalty=PENALTY, report=report),
        tuned="the head alone",
        start="ImageNet",
        penalty=PENALTY,
        optimizer="L-BFGS",
    )
    training = Training(epochs=epochs, learning_rate=1e-4, batch=32, seed=1)
    full = save(
        "full",
        finetuning.supervised(probe, examples, training, report=report),
        tuned="all weights",
        training=training,
        start="linear-probe",
    )
    gentle = Training(epochs=max(1, epochs // 2), learning_rate=2e-5, batch=32, seed=2)
    near = Preference(beta=0.5)
    save(
        "preference",
        finetuning.preference(full, examples, gentle, judge=finetuning.agreement, settings=near, report=report),
        tuned="all weights",
        training=gentle,
        start="full",
        judge="agreement with the labels",
        **asdict(near),
    )
    adversary = Adversary(eps=1 / 255, steps=2)
    save(
        "adversarial",
        finetuning.adversarial(probe, examples, training, adversary=adversary, report=report),
        tuned="all weights",
        training=training,
        start="linear-probe",
        adversary=adversary,
    )


def train(data_root: Path, *, epochs: int, report: Reporter) -> None:
    """Write `folds.csv` and one checkpoint for each regime and fold."""
    write_folds(data_root)
    data = read_study(HERE / "study.toml", data_root=data_root).data
    table = data.table()
    examples = finetuning.read_examples(table, size=data.size, report=report)
    folds = table.metadata["fold"].astype(int).to_numpy()
    for fold in range(FOLDS):
        other = torch.from_numpy(np.flatnonzero(folds != fold))
        train_regimes(examples.take(other), HERE / "checkpoints", fold=fold, epochs=epochs, report=report)


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
