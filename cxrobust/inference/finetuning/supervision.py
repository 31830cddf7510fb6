"""Fine-tuning on labels: the head alone, every weight, or low-rank updates."""

import copy
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from cxrobust.errors import DataError, require
from cxrobust.inference.finetuning.examples import LabelledImages
from cxrobust.inference.finetuning.training import Training, device_of, finished, fit, masked_bce, seeded
from cxrobust.inference.pretrained import quiet
from cxrobust.progress import Reporter, silent

FORWARD_BATCH = 128


@dataclass(frozen=True, kw_only=True, slots=True)
class LowRank:
    """Which weights LoRA updates, and by how much freedom (Hu et al. 2022, arXiv:2106.09685)."""

    targets: tuple[str, ...]
    """Last parts of the names of the linear layers that get an update."""
    rank: int = 8
    alpha: float = 16.0
    """The update counts alpha / rank times."""


def fresh_head(model: nn.Module, *, head: str, n_outputs: int) -> nn.Module:
    """Return a copy whose linear layer `head` is new, of zeros: it says 0.5 of every finding.

    Parameters
    ----------
    head
        Name of the layer within the model, for example `network.classifier`.
    """
    changed = copy.deepcopy(model)
    parent, _, name = head.rpartition(".")
    old: Any = changed.get_submodule(head)
    new = nn.Linear(old.in_features, n_outputs)
    nn.init.zeros_(new.weight)
    nn.init.zeros_(new.bias)
    setattr(changed.get_submodule(parent), name, new.to(device_of(changed)))
    return changed


def linear_probe(
    model: nn.Module,
    examples: LabelledImages,
    *,
    head: str,
    penalty: float = 1e-3,
    iterations: int = 200,
    report: Reporter = silent,
) -> nn.Module:
    """Return a copy whose head alone is fitted, to the optimum of a penalised logistic regression.

    All else stays as it is, so each image passes the network once, and the fit is on what arrives at the head.

    Parameters
    ----------
    head
        Name of the last layer, whose output is the model's output.
    penalty
        Weight of half the squared norm of the head's weights (not of its biases) beside the mean cross-entropy.
    iterations
        Most iterations of L-BFGS; it stops when the gradient vanishes.

    Raises
    ------
    DataError
        When the head's output is not the model's output.
    """
    tuned = finished(copy.deepcopy(model))
    module = tuned.get_submodule(head)
    arriving = _arriving(tuned, module, examples.images, head=head, report=report)
    labels = examples.labels.to(arriving.device)
    fit_layer(module, arriving, labels, penalty=penalty, iterations=iterations)
    return finished(tuned)


def fit_layer(
    layer: nn.Module, arriving: Tensor, labels: Tensor, *, penalty: float = 1e-3, iterations: int = 200
) -> None:
    """Fit a linear layer, in place, to the optimum of a penalised logistic regression; see `linear_probe`."""
    learned = [parameter.requires_grad_(True) for parameter in layer.parameters()]
    optimizer = torch.optim.LBFGS(
        learned, max_iter=iterations, tolerance_grad=1e-7, tolerance_change=1e-12, line_search_fn="strong_wolfe"
    )

    def closure() -> Tensor:
        optimizer.zero_grad()
        norm = sum(((p**2).sum() for p in learned if p.ndim > 1), torch.zeros((), device=arriving.device))
        value = masked_bce(layer(arriving), labels) + 0.5 * penalty * norm
        value.backward()  # type: ignore[no-untyped-call]
        return value

    with torch.enable_grad():
        optimizer.step(closure)  # type: ignore[no-untyped-call]


def supervised(
    model: nn.Module,
    examples: LabelledImages,
    training: Training,
    *,
    report: Reporter = silent,
    stage: str = "supervised",
) -> nn.Module:
    """Return a copy whose every weight is fitted to the labels by binary cross-entropy."""
    tuned = copy.deepcopy(model).train()
    _fit_labels(tuned, examples, training, list(tuned.parameters()), report=report, stage=stage)
    return finished(tuned)


def lora(
    model: nn.Module,
    examples: LabelledImages,
    training: Training,
    *,
    low_rank: LowRank,
    part: str = "network",
    head: str = "classifier",
    report: Reporter = silent,
) -> nn.Module:
    """Return a copy with low-rank updates beside frozen weights, and a head of its own, by the PEFT library.

    Parameters
    ----------
    part
        Name of the submodule that becomes a `PeftModel`, whose `save_pretrained` writes the adapter.
    head
        Name of the head within that part; it is trained whole and saved with the adapter.
    """
    peft = require("peft", group="inference")
    tuned = finished(copy.deepcopy(model))
    config = peft.LoraConfig(
        r=low_rank.rank, lora_alpha=low_rank.alpha, target_modules=list(low_rank.targets), modules_to_save=[head]
    )
    with quiet(), seeded(training.seed, tuned):
        adapted = peft.get_peft_model(tuned.get_submodule(part), config)
    parent, _, name = part.rpartition(".")
    setattr(tuned.get_submodule(parent), name, adapted)
    learned = [parameter for parameter in tuned.parameters() if parameter.requires_grad]
    _fit_labels(tuned.train(), examples, training, learned, report=report, stage="lora")
    return finished(tuned)


def outputs(model: nn.Module, images: Tensor) -> Tensor:
    """Return a model's output for many images, batch by batch, without gradients."""
    device = device_of(model)
    with torch.no_grad():
        return torch.cat([model(batch.to(device)) for batch in torch.split(images, FORWARD_BATCH)])


def _fit_labels(
    model: nn.Module,
    examples: LabelledImages,
    training: Training,
    learned: list[nn.Parameter],
    *,
    report: Reporter,
    stage: str,
) -> None:
    device = device_of(model)

    def loss(rows: Tensor, _: torch.Generator) -> Tensor:
        batch = examples.take(rows)
        return masked_bce(model(batch.images.to(device)), batch.labels.to(device))

    fit(model, loss, training, n_images=len(examples), parameters=learned, stage=stage, report=report)


def _arriving(model: nn.Module, module: nn.Module, images: Tensor, *, head: str, report: Reporter) -> Tensor:
    """Return what arrives at a model's last layer for each image."""
    seen: list[Tensor] = []
    leaving: list[Tensor] = []

    def keep(_: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        seen.append(inputs[0])
        leaving.append(output)

    hook = module.register_forward_hook(keep)
    device = device_of(model)
    done = 0
    try:
        with torch.no_grad():
            for batch in torch.split(images, FORWARD_BATCH):
                logits = model(batch.to(device))
                done += len(batch)
                report("linear-probe", done, len(images))
                if len(leaving) != len(seen) or not leaving or not _same(leaving[-1], logits):
                    raise DataError(f"{head!r} is not the layer whose output is the model's: name its last layer")
    finally:
        hook.remove()
    return torch.cat(seen)


def _same(left: Any, right: Tensor) -> bool:
    return isinstance(left, Tensor) and left.shape == right.shape and torch.equal(left, right)
