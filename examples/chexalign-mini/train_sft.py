"""Train a report generator from nothing: its vision tower on anatomy and findings, then all of it on reports.

python examples/chexalign-mini/train_sft.py
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from generator import (
    END,
    FULL,
    IMAGE,
    MEAN,
    PATCH,
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
from grammar import report as reference
from torch import Tensor, nn
from torch.nn import functional as F

from cxrobust.inference import finetuning
from cxrobust.inference.finetuning import Training, write_training
from cxrobust.inference.phantoms import ATTRIBUTES, FINDINGS, Visit, attributes
from cxrobust.progress import Reporter, reporting

HERE = Path(__file__).parent
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
    training = Training(epochs=scale.report_epochs, learning_rate=2e-3, batch=64, seed=SEED)
    learn_reports(network, images, [reference(visit) for visit in data.visits()], putting, training, report)
    write_training(
        folder,
        tuned="all weights",
        training=training,
        start="random decoder and projector, vision tower trained on anatomy and findings",
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
        Training(epochs=scale.tower_epochs, learning_rate=2e-3, batch=64, seed=SEED),
        n_images=len(images),
        parameters=[*tower.parameters(), *head.parameters()],
        stage="vision tower on anatomy and findings",
        report=report,
    )


def learn_reports(
    network: Any, images: Tensor, reports: Sequence[str], putting: Any, training: Training, report: Reporter
) -> None:
    """Let the whole generator learn to write the reports of images, in place."""
    asked = asking(putting)
    tokens = [
        torch.tensor([*asked, *putting.tokenizer.encode(text + END, add_special_tokens=False)]) for text in reports
    ]

    def loss(rows: Tensor, _: torch.Generator) -> Tensor:
        chosen = [tokens[row] for row in rows.tolist()]
        batch = nn.utils.rnn.pad_sequence(chosen, batch_first=True, padding_value=putting.tokenizer.pad_token_id)
        places = torch.arange(batch.shape[1])[None]
        known = places < torch.tensor([len(one) for one in chosen])[:, None]
        value: Tensor = network(
            input_ids=batch,
            attention_mask=known.long(),
            pixel_values=images[rows],
            labels=torch.where(known & (places >= len(asked)), batch, NOT_LEARNED),
        ).loss
        return value

    finetuning.fit(
        network.train(),
        loss,
        training,
        n_images=len(images),
        parameters=network.parameters(),
        stage="all of it on reports",
        report=report,
    )


def asking(putting: Any) -> list[int]:
    """Return the tokens of what is asked, with one for each patch of the image."""
    text = putting.apply_chat_template(conversation(), tokenize=False)
    places = text.replace(IMAGE, IMAGE * (SIDE // PATCH) ** 2)
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
