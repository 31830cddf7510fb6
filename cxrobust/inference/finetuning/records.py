"""What is written beside a checkpoint of how it was trained, for the report's models section."""

import json
from dataclasses import asdict
from pathlib import Path

from cxrobust.files import atomic_write_text
from cxrobust.inference.checkpoints import TRAINING
from cxrobust.inference.finetuning.adversary import Adversary
from cxrobust.inference.finetuning.training import Training

OPTIMIZER = "AdamW, warm-up, cosine"
"""What `fit` minimises with."""


def write_training(
    folder: Path,
    *,
    tuned: str,
    training: Training | None = None,
    adversary: Adversary | None = None,
    **further: str | float,
) -> None:
    """Write `training.json` into a checkpoint's folder: what was tuned, from where, how long and how fast.

    Parameters
    ----------
    tuned
        Which parameters were tuned, in words.
    training
        Settings of `fit`; None where something else fitted the parameters.
    adversary
        What attacked the images that the model learned from.
    further
        What else a reader needs, for example `start`, `images`, `network`.
    """
    said = {"tuned": tuned}
    if training is not None:
        said |= {**asdict(training), "optimizer": OPTIMIZER}
    if adversary is not None:
        said["adversary"] = f"PGD, eps {adversary.eps * 255:g}/255, {adversary.steps} steps"
    folder.mkdir(parents=True, exist_ok=True)
    atomic_write_text(folder / TRAINING, json.dumps({**said, **further}, indent=1) + "\n")
