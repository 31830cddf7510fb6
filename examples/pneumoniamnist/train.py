"""Fine-tune a small network in four regimes on the training split of PneumoniaMNIST.

python examples/pneumoniamnist/train.py --data-root DATA
"""

import argparse
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from network import Small
from safetensors.torch import save_file
from torch import nn

from cxrobust.inference import finetuning
from cxrobust.inference.datasets.medmnist import MedMnist
from cxrobust.inference.finetuning import Adversary, LabelledImages, Preference, Training, write_training
from cxrobust.progress import Reporter, reporting

HERE = Path(__file__).parent
SIZE = 28
TURNS = 4
PENALTY = 1e-3
NETWORK = "three convolutions and a linear head"


def turned(images: torch.Tensor) -> LabelledImages:
    """Return each image turned by 0, 90, 180 and 270 degrees, labelled by how it was turned (Gidaris et al. 2018)."""
    copies = [torch.rot90(images, k, dims=(2, 3)) for k in range(TURNS)]
    labels = torch.eye(TURNS, dtype=torch.int8).repeat_interleave(len(images), dim=0)
    return LabelledImages(images=torch.cat(copies), labels=labels)


def train(data_root: Path, folder: Path, *, epochs: int, report: Reporter, every: int = 1) -> None:
    """Write one checkpoint a regime, learned from one image in `every`."""
    data = MedMnist.model_validate(
        {
            "kind": "medmnist",
            "file": data_root / "pneumoniamnist" / "pneumoniamnist.npz",
            "split": "train",
            "names": ("Pneumonia",),
            "size": SIZE,
        }
    )
    examples = finetuning.read_examples(data.table(), size=SIZE, report=report)
    examples = examples.take(torch.arange(0, len(examples), every))
    with torch.random.fork_rng():
        torch.manual_seed(2026)
        start = Small(TURNS)

    def save(name: str, model: nn.Module, **said: Any) -> nn.Module:
        write_training(folder / name, network=NETWORK, images=f"{len(examples):,} of the training split", **said)
        save_file(model.state_dict(), folder / name / "weights.safetensors")
        return model

    base = finetuning.supervised(
        start, turned(examples.images), Training(epochs=epochs, learning_rate=2e-3, batch=256, seed=1), report=report,
        stage="pre-training on turned images",
    )  # fmt: skip
    base = finetuning.fresh_head(base, head="head", n_outputs=1)
    probe = save(
        "linear-probe",
        finetuning.linear_probe(base, examples, head="head", penalty=PENALTY, report=report),
        tuned="the head alone",
        start="pre-trained on turned images",
        penalty=PENALTY,
        optimizer="L-BFGS",
    )
    training = Training(epochs=epochs, learning_rate=1e-3, batch=64, seed=2)
    full = save(
        "supervised",
        finetuning.supervised(probe, examples, training, report=report),
        tuned="all weights",
        training=training,
        start="linear-probe",
    )
    gentle = Training(epochs=epochs, learning_rate=1e-4, batch=64, seed=3)
    settings = Preference()
    save(
        "preference",
        finetuning.preference(full, examples, gentle, judge=finetuning.agreement, settings=settings, report=report),
        tuned="all weights",
        training=gentle,
        start="supervised",
        judge="agreement with the labels",
        **asdict(settings),
    )
    adversary = Adversary(eps=4 / 255, steps=3)
    save(
        "adversarial",
        finetuning.adversarial(probe, examples, training, adversary=adversary, report=report),
        tuned="all weights",
        training=training,
        start="linear-probe",
        adversary=adversary,
    )


def main() -> None:
    """Read the command line and train."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data-root", type=Path, required=True)
    with reporting() as report:
        train(parser.parse_args().data_root, HERE / "checkpoints", epochs=8, report=report)


if __name__ == "__main__":
    main()
