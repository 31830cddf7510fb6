"""Ways of fine-tuning a classifier, as plain functions: each takes a model and returns a tuned copy.

They serve any `torch.nn.Module` that maps images (n, 1, size, size) in [0, 1] to logits (n, n_findings), and draw every
random number from the seed of their `Training`: the same seed gives the same weights on the same platform.
"""

from cxrobust.inference.finetuning.adversary import Adversary, adversarial, attack
from cxrobust.inference.finetuning.examples import LabelledImages, read_examples
from cxrobust.inference.finetuning.preferences import (
    Judge,
    Preference,
    SimulatedReader,
    agreement,
    dpo_loss,
    log_probability,
    preference,
    sample_pairs,
)
from cxrobust.inference.finetuning.records import write_training
from cxrobust.inference.finetuning.supervision import LowRank, fresh_head, linear_probe, lora, supervised
from cxrobust.inference.finetuning.training import Training, fit, masked_bce

__all__ = [
    "Adversary",
    "Judge",
    "LabelledImages",
    "LowRank",
    "Preference",
    "SimulatedReader",
    "Training",
    "adversarial",
    "agreement",
    "attack",
    "dpo_loss",
    "fit",
    "fresh_head",
    "linear_probe",
    "log_probability",
    "lora",
    "masked_bce",
    "preference",
    "read_examples",
    "sample_pairs",
    "supervised",
    "write_training",
]
