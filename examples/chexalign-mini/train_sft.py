"""Train a report generator from nothing: first its vision tower, then what speaks, on questions and on reports.

python examples/chexalign-mini/train_sft.py
"""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from generator import (
    END,
    FULL,
    IMAGE,
    MEAN,
    PATCH,
    PROMPT,
    SEED,
    SIDE,
    STD,
    Scale,
    conversation,
    phantoms,
    processor,
    save,
    untrained,
)
from grammar import ANSWERS, question
from grammar import report as reference
from torch import Tensor, nn
from torch.nn import functional as F

from cxrobust.inference import finetuning
from cxrobust.inference.finetuning import Training, write_training
from cxrobust.inference.phantoms import ATTRIBUTES, FINDINGS, Visit, attributes
from cxrobust.progress import Reporter, reporting

HERE = Path(__file__).parent
SEEING_RATE, SPEAKING_RATE = 2e-3, 3e-3
"""Highest learning rates, of the vision tower and of what speaks."""
NOT_LEARNED = -100
"""The label of a token that no loss is taken of."""


def train(folder: Path, *, scale: Scale, report: Reporter) -> None:
    """Write the checkpoint of the supervised generator."""
    putting = processor()
    network = untrained(scale, putting.tokenizer)
    data = phantoms("train", scale.patients)
    examples = finetuning.read_examples(data.table(), size=SIDE, report=report, stage="drawing images")
    images = prepare(examples.images)
    learn_findings(network.model.vision_tower, images, examples.labels, data.visits(), scale, report)
    network.model.vision_tower.requires_grad_(False)
    learn_answers(network, images, examples.labels, putting, scale, report)
    texts = [reference(visit) for visit in data.visits()]
    training = learn_reports(network, images, texts, examples.labels, putting, scale, report)
    write_training(
        folder,
        tuned="decoder and projector",
        training=training,
        start="vision tower trained on anatomy and findings, decoder and projector on answers from random weights",
        images=f"phantoms, {scale.patients:,} patients",
    )
    save(network.eval(), folder)


def learn_findings(
    tower: Any, images: Tensor, labels: Tensor, visits: Sequence[Visit], scale: Scale, report: Reporter
) -> None:
    """Let the vision tower learn anatomy, exposure and findings from images, in place."""
    targets = torch.from_numpy(attributes(visits))
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(SEED)
        head = nn.Linear(scale.width, len(ATTRIBUTES) + len(FINDINGS))

    def loss(rows: Tensor, _: torch.Generator) -> Tensor:
        patches = tower(pixel_values=images[rows]).last_hidden_state[:, 1:]
        out = head(patches.mean(dim=1))
        findings = finetuning.masked_bce(out[:, len(ATTRIBUTES) :], labels[rows])
        return findings + 0.1 * F.mse_loss(out[:, : len(ATTRIBUTES)], targets[rows])

    finetuning.fit(
        tower.train(),
        loss,
        Training(epochs=scale.tower_epochs, learning_rate=SEEING_RATE, batch=64, seed=SEED),
        n_images=len(images),
        parameters=[*tower.parameters(), *head.parameters()],
        stage="vision tower on anatomy and findings",
        report=report,
    )


def learn_answers(network: Any, images: Tensor, labels: Tensor, putting: Any, scale: Scale, report: Reporter) -> None:
    """Let projector and decoder learn to answer whether a finding is there, in place, before they learn to write."""
    answers = answering(network, images, labels, putting)
    training = Training(epochs=scale.question_epochs, learning_rate=SPEAKING_RATE, batch=64, seed=SEED)
    fit_speaking(network, answers, training, len(images), stage="answers", report=report)


def learn_reports(
    network: Any,
    images: Tensor,
    reports: Sequence[str],
    labels: Tensor,
    putting: Any,
    scale: Scale,
    report: Reporter,
) -> Training:
    """Let projector and decoder learn to write reports, in place, and to answer still; return how they were trained."""
    prompt = asking(putting)
    written = [(prompt, putting.tokenizer.encode(text + END, add_special_tokens=False)) for text in reports]
    answers = answering(network, images, labels, putting)

    def loss(rows: Tensor, generator: torch.Generator) -> Tensor:
        texts = [written[row] for row in rows.tolist()]
        return mean_loss(network, images[rows], texts, putting) + answers(rows, generator)

    training = Training(epochs=scale.report_epochs, learning_rate=SPEAKING_RATE, batch=64, seed=SEED)
    fit_speaking(network, loss, training, len(images), stage="reports and answers", report=report)
    return training


def answering(
    network: Any, images: Tensor, labels: Tensor, putting: Any
) -> Callable[[Tensor, torch.Generator], Tensor]:
    """Return the loss of answers: of each image, about one finding that is drawn anew each time."""
    questions = [asking(putting, question(finding)) for finding in FINDINGS]
    answers = [putting.tokenizer.encode(answer, add_special_tokens=False) for answer in ANSWERS]

    def loss(rows: Tensor, generator: torch.Generator) -> Tensor:
        finding = torch.randint(len(FINDINGS), rows.shape, generator=generator)
        truth = labels[rows, finding].long()
        texts = [(questions[f], answers[t]) for f, t in zip(finding.tolist(), truth.tolist(), strict=True)]
        return mean_loss(network, images[rows], texts, putting)

    return loss


def fit_speaking(
    network: Any,
    loss: Callable[[Tensor, torch.Generator], Tensor],
    training: Training,
    n_images: int,
    *,
    stage: str,
    report: Reporter,
) -> None:
    """Train all but the vision tower, in place."""
    speaking = [weights for name, weights in network.named_parameters() if "vision_tower" not in name]
    finetuning.fit(network.train(), loss, training, n_images=n_images, parameters=speaking, stage=stage, report=report)


def mean_loss(network: Any, images: Tensor, texts: Sequence[tuple[list[int], list[int]]], putting: Any) -> Tensor:
    """Return the cross-entropy of a token of what is to be said, given an image and what is asked."""
    tokens = [torch.tensor([*asked, *said]) for asked, said in texts]
    batch = nn.utils.rnn.pad_sequence(tokens, batch_first=True, padding_value=putting.tokenizer.pad_token_id)
    places = torch.arange(batch.shape[1])[None]
    known = places < torch.tensor([len(one) for one in tokens])[:, None]
    said = known & (places >= torch.tensor([len(asked) for asked, _ in texts])[:, None])
    value: Tensor = network(
        input_ids=batch,
        attention_mask=known.long(),
        pixel_values=images,
        labels=torch.where(said, batch, NOT_LEARNED),
    ).loss
    return value


def asking(putting: Any, text: str = PROMPT) -> list[int]:
    """Return the tokens of what is asked, with one for each patch of the image."""
    asked = putting.apply_chat_template(conversation(text), tokenize=False)
    places = asked.replace(IMAGE, IMAGE * (SIDE // PATCH) ** 2)
    return list(putting.tokenizer.encode(places, add_special_tokens=False))


def prepare(images: Tensor) -> Tensor:
    """Return grey images as the network takes them: three equal channels, normalised."""
    return ((images - MEAN) / STD).expand(-1, 3, -1, -1)


def main() -> None:
    """Train at full size."""
    torch.set_num_threads(1)
    with reporting() as report:
        train(HERE / "checkpoints" / "sft", scale=FULL, report=report)


if __name__ == "__main__":
    main()
