"""Tune the supervised generator by DPO on preferences, with trl.

python examples/chexalign-mini/train_dpo.py --judge labeler [--loss sigmoid | ipo | length-normalised] [--seed 1] \
    [--learning-rate 5e-5]
"""

import argparse
from pathlib import Path
from typing import Any

import torch
from generator import FULL, Scale
from trl import DPOConfig, DPOTrainer
from tuning import in_a_sentence, tune

from cxrobust.preferences.files import PAIRS
from cxrobust.progress import Reporter, reporting

HERE = Path(__file__).parent
LOSSES = {"sigmoid": "sigmoid", "ipo": "ipo", "length-normalised": "sigmoid_norm"}
"""Forms of the loss, as trl names them: Rafailov et al. 2023, Azar et al. 2024, Meng et al. 2024 (with a reference)."""
BETA = {"sigmoid": 0.1, "ipo": 1.0, "length-normalised": 2.0}
"""The last two count mean log-probabilities of a token, which are some twenty times smaller than those of a report."""
LEARNING_RATE = 5e-5
"""The highest of 3e-4, 1e-4 and 5e-5 at which fewer than 1 in 100 validation reports are broken (`unseen.py`)."""


def train(
    start: Path,
    preferences: Path,
    folder: Path,
    *,
    loss: str,
    scale: Scale,
    seed: int,
    report: Reporter,
    learning_rate: float = LEARNING_RATE,
) -> None:
    """Write the checkpoint tuned by one form of the loss."""

    def make(*, model: Any, ref_model: Any, settings: dict[str, Any], data: Any, processor: Any) -> DPOTrainer:
        config = DPOConfig(**settings, loss_type=[LOSSES[loss]], beta=BETA[loss])
        return DPOTrainer(model, ref_model, args=config, train_dataset=data, processing_class=processor)

    told: dict[str, str | float] = {"method": f"DPO, {loss} loss", "beta": BETA[loss]}
    tune(
        start,
        preferences,
        folder,
        make=make,
        file=PAIRS,
        scale=scale,
        learning_rate=learning_rate,
        seed=seed,
        told=told,
        report=report,
    )


def main() -> None:
    """Read the command line and tune."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--judge", required=True, help="a judge of the study file")
    parser.add_argument("--loss", choices=list(LOSSES), default="sigmoid")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--learning-rate", type=float, default=LEARNING_RATE)
    asked = parser.parse_args()
    torch.set_num_threads(1)
    name = f"dpo-{asked.judge}" if asked.loss == "sigmoid" else f"dpo-{asked.judge}-{asked.loss}"
    name += "" if asked.learning_rate == LEARNING_RATE else f"-{asked.learning_rate:g}"
    with in_a_sentence(), reporting() as report:
        train(
            HERE / "checkpoints" / "sft",
            HERE / "out" / "preferences" / "sft" / asked.judge,
            HERE / "checkpoints" / name,
            loss=asked.loss,
            scale=FULL,
            seed=asked.seed,
            report=report,
            learning_rate=asked.learning_rate,
        )


if __name__ == "__main__":
    main()
