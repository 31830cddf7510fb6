"""Tune the supervised generator by KTO (Ethayarajh et al. 2024) on reports that are good or bad, not paired, with trl.

python examples/chexalign-mini/train_kto.py --judge labeler [--seed 1] [--learning-rate 5e-5]
"""

import argparse
from pathlib import Path
from typing import Any

import torch
from generator import FULL, Scale
from trl import KTOConfig, KTOTrainer
from tuning import in_a_sentence, tune

from cxrobust.preferences.files import UNPAIRED
from cxrobust.progress import Reporter, reporting

HERE = Path(__file__).parent
BETA = 0.1
LEARNING_RATE = 5e-5
"""The highest of 3e-4, 1e-4 and 5e-5 at which fewer than 1 in 100 validation reports are broken (`unseen.py`)."""


def train(
    start: Path,
    preferences: Path,
    folder: Path,
    *,
    scale: Scale,
    seed: int,
    report: Reporter,
    learning_rate: float = LEARNING_RATE,
) -> None:
    """Write the checkpoint tuned by KTO."""

    def make(*, model: Any, ref_model: Any, settings: dict[str, Any], data: Any, processor: Any) -> KTOTrainer:
        config = KTOConfig(**settings, beta=BETA)
        return KTOTrainer(model, ref_model, args=config, train_dataset=data, processing_class=processor)

    told: dict[str, str | float] = {"method": "KTO", "beta": BETA}
    tune(
        start,
        preferences,
        folder,
        make=make,
        file=UNPAIRED,
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
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--learning-rate", type=float, default=LEARNING_RATE)
    asked = parser.parse_args()
    torch.set_num_threads(1)
    name = f"kto-{asked.judge}" + ("" if asked.learning_rate == LEARNING_RATE else f"-{asked.learning_rate:g}")
    with in_a_sentence(), reporting() as report:
        train(
            HERE / "checkpoints" / "sft",
            HERE / "out" / "preferences" / "sft" / asked.judge,
            HERE / "checkpoints" / name,
            scale=FULL,
            seed=asked.seed,
            report=report,
            learning_rate=asked.learning_rate,
        )


if __name__ == "__main__":
    main()
