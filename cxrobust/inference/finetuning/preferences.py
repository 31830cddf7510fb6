"""Preference fine-tuning of a multi-label classifier by direct preference optimisation (DPO).

Rafailov et al. 2023, arXiv:2305.18290. A classifier with sigmoid outputs is a policy over sets of labels: a product of
Bernoullis, so log pi(y|x) is minus the sum of its binary cross-entropies. Pairs of label sets are sampled from the
frozen reference, a judge prefers one of each pair, and the policy is taught to give it more weight than the reference
does.
"""

import copy
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from cxrobust.inference.finetuning.examples import LabelledImages
from cxrobust.inference.finetuning.supervision import outputs
from cxrobust.inference.finetuning.training import Training, device_of, finished, fit
from cxrobust.progress import Reporter, silent


@dataclass(frozen=True, kw_only=True, slots=True)
class Preference:
    """How preferences are gathered and weighed."""

    beta: float = 0.1
    """How dearly leaving the reference is paid; small lets the policy go far."""
    pairs: int = 8
    """Pairs of label sets judged for each image."""


class Judge(Protocol):
    """Says which of two sets of labels describes an image better."""

    def __call__(self, pairs: Tensor, labels: Tensor, *, generator: torch.Generator) -> Tensor:
        """Judge pairs (n, n_pairs, 2, n_findings) of 0 and 1 by the labels (n, n_findings) of their images.

        Returns
        -------
        Tensor
            (n, n_pairs): 1 where the first is better, -1 where the second is, 0 where neither.
        """


def agreement(pairs: Tensor, labels: Tensor, *, generator: torch.Generator) -> Tensor:
    """Prefer the set that agrees with the reference labels on more findings; no human is asked.

    Examples
    --------
    >>> pairs = torch.tensor([[[[1, 0], [1, 1]]]])
    >>> agreement(pairs, torch.tensor([[1, 1]]), generator=torch.Generator()).tolist()
    [[-1]]
    """
    known = (labels >= 0)[:, None, None]
    scores = ((pairs == labels[:, None, None]) & known).sum(dim=-1)
    return (scores[..., 0] - scores[..., 1]).sign()


@dataclass(frozen=True, kw_only=True, slots=True)
class SimulatedReader:
    """A reader who looks anew for each pair, misreads each finding with a fixed probability, and prefers by agreement.

    A stand-in for human feedback: its errors are independent, as those of people are not.
    """

    error_rate: float
    """Probability that a finding is misread, in [0, 0.5)."""

    def __call__(self, pairs: Tensor, labels: Tensor, *, generator: torch.Generator) -> Tensor:
        """Judge as `Judge` says."""
        n_images, n_pairs = pairs.shape[:2]
        misread = torch.rand(n_images, n_pairs, labels.shape[1], generator=generator) < self.error_rate
        read = torch.where(misread, 1 - labels[:, None], labels[:, None])
        read = torch.where(labels[:, None] < 0, labels[:, None], read)
        scores = ((pairs == read[:, :, None]) & (labels >= 0)[:, None, None]).sum(dim=-1)
        return (scores[..., 0] - scores[..., 1]).sign()


def preference(
    model: nn.Module,
    examples: LabelledImages,
    training: Training,
    *,
    judge: Judge,
    settings: Preference = Preference(),
    report: Reporter = silent,
    stage: str = "preference",
) -> nn.Module:
    """Return a copy tuned by DPO against the model itself, which is the frozen reference.

    The policy keeps eval mode (no dropout, fixed batch statistics): it begins as the reference exactly. Findings
    without a label are neither judged nor learned from; pairs that the judge finds equal teach nothing.
    """
    reference = finished(copy.deepcopy(model))
    tuned = copy.deepcopy(reference)
    device = device_of(tuned)
    reference_logits = outputs(reference, examples.images).cpu()
    generator = torch.Generator().manual_seed(training.seed)
    pairs = sample_pairs(reference_logits, settings.pairs, generator=generator)
    verdicts = judge(pairs, examples.labels, generator=generator)
    known = examples.labels >= 0

    def loss(rows: Tensor, _: torch.Generator) -> Tensor:
        logits = tuned(examples.images[rows].to(device))
        chosen, rejected = _ordered(pairs[rows], verdicts[rows])
        judged = verdicts[rows] != 0
        mask = known[rows][:, None].to(device)
        policy = [log_probability(logits[:, None], y.to(device), mask) for y in (chosen, rejected)]
        fixed = [
            log_probability(reference_logits[rows][:, None].to(device), y.to(device), mask) for y in (chosen, rejected)
        ]
        losses = dpo_loss(policy[0], policy[1], fixed[0], fixed[1], beta=settings.beta)
        return (losses * judged.to(device)).sum() / judged.sum().clamp(min=1).to(device)

    fit(
        tuned,
        loss,
        training,
        n_images=len(examples),
        parameters=list(tuned.parameters()),
        stage=stage,
        report=report,
    )
    return finished(tuned)


def sample_pairs(logits: Tensor, n_pairs: int, *, generator: torch.Generator) -> Tensor:
    """Draw pairs of label sets from a classifier as a product of Bernoullis: (n, n_pairs, 2, n_findings) of 0 and 1."""
    p = torch.sigmoid(logits)[:, None, None]
    drawn = torch.rand(len(logits), n_pairs, 2, logits.shape[1], generator=generator)
    return (drawn < p).to(torch.int8)


def log_probability(logits: Tensor, labels: Tensor, known: Tensor) -> Tensor:
    """Log probability of a set of labels, summed over the known findings; at most 0.

    Parameters
    ----------
    logits, labels, known
        (..., n_findings), of shapes that go together.

    Examples
    --------
    >>> known = torch.tensor([True, False])
    >>> round(float(log_probability(torch.zeros(2), torch.ones(2), known)), 4)
    -0.6931
    """
    signs = 2 * labels.to(logits.dtype) - 1
    return (F.logsigmoid(signs * logits) * known).sum(dim=-1)


def dpo_loss(
    policy_chosen: Tensor, policy_rejected: Tensor, reference_chosen: Tensor, reference_rejected: Tensor, *, beta: float
) -> Tensor:
    """Loss of each pair, above 0: -log sigmoid of beta times how much more the policy prefers than the reference.

    All are log probabilities of one shape. Rafailov et al. 2023, eq. 7.

    Examples
    --------
    >>> same = torch.tensor([-1.0])
    >>> round(float(dpo_loss(same, same, same, same, beta=0.1)), 4)
    0.6931
    """
    margin = (policy_chosen - reference_chosen) - (policy_rejected - reference_rejected)
    return -F.logsigmoid(beta * margin)


def _ordered(pairs: Tensor, verdicts: Tensor) -> tuple[Tensor, Tensor]:
    """Return the chosen and the rejected sets, (n, n_pairs, n_findings) each; undecided pairs as they come."""
    first_is_better = (verdicts >= 0)[..., None]
    first, second = pairs[:, :, 0], pairs[:, :, 1]
    return torch.where(first_is_better, first, second), torch.where(first_is_better, second, first)
