"""What tuning by DPO and by KTO share: preference data with its images, the trainer's settings, what is written."""

import contextlib
import json
import logging
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from datasets import Dataset
from generator import Scale
from PIL import Image
from transformers import AutoModelForImageTextToText, AutoProcessor, PrinterCallback, TrainerCallback

from cxrobust.errors import CxrobustError, DataError
from cxrobust.inference.finetuning import Training, write_training
from cxrobust.inference.pretrained import quiet
from cxrobust.preferences.files import SUMMARY
from cxrobust.progress import Reporter

ON_A_PROCESSOR = {"use_cpu": True, "bf16": False, "gradient_checkpointing": False, "dataloader_pin_memory": False}
SILENT = {"report_to": "none", "save_strategy": "no", "disable_tqdm": True}
EVERY_BATCH = {"logging_strategy": "steps", "logging_steps": 1}
LAST = 10
"""Batches at the end of training whose rewards are told."""


def tune(
    start: Path,
    preferences: Path,
    folder: Path,
    *,
    make: Callable[..., Any],
    file: str,
    scale: Scale,
    learning_rate: float,
    seed: int,
    told: dict[str, str | float],
    report: Reporter,
) -> None:
    """Tune a generator by one of trl's trainers, and write its checkpoint.

    Parameters
    ----------
    start
        Checkpoint of the supervised generator, which is the reference too.
    preferences
        A judge's folder, as `cxrobust preferences` writes it.
    make
        Makes the trainer of settings, model, data and processor; model and reference model are loaded by
        `from_pretrained`, without which trl 1.16 looks for the reference on the hub.
    file
        Pairs or unpaired reports within `preferences`.
    told
        What else is said of the training.
    """
    training = Training(
        epochs=scale.preference_epochs,
        learning_rate=learning_rate,
        batch=scale.preference_batch,
        weight_decay=0.0,
        seed=seed,
    )
    examples, n_images = read_examples(preferences / file)
    with quiet(), _without_warnings(), tempfile.TemporaryDirectory() as scratch, torch.random.fork_rng(devices=[]):
        processor = AutoProcessor.from_pretrained(start)
        model, reference = (AutoModelForImageTextToText.from_pretrained(start) for _ in range(2))
        trainer = make(
            model=model,
            ref_model=reference,
            settings=_settings(training) | {"output_dir": scratch},
            data=Dataset.from_list(examples),
            processor=processor,
        )
        trainer.remove_callback(PrinterCallback)
        trainer.add_callback(_Told(report, stage=folder.name))
        trainer.train()
        rewards = last_rewards(trainer.state.log_history)
        model.eval().save_pretrained(folder)
        processor.save_pretrained(folder)
    judge = json.loads((preferences / SUMMARY).read_text(encoding="utf-8"))["judge"]
    write_training(
        folder,
        tuned="all weights",
        training=training,
        start=start.name,
        judge=json.dumps(judge),
        images=f"{n_images:,} with preferences",
        **rewards,
        **told,
    )


@contextlib.contextmanager
def in_a_sentence() -> Iterator[None]:
    """Say what a person can mend in one sentence, and exit with 1; without it Python shows where it was raised."""
    try:
        yield
    except CxrobustError as error:
        raise SystemExit(str(error)) from None


def _settings(training: Training) -> dict[str, Any]:
    """Return what trl's trainers are told of a training."""
    return {
        **ON_A_PROCESSOR,
        **SILENT,
        **EVERY_BATCH,
        "seed": training.seed,
        "num_train_epochs": training.epochs,
        "per_device_train_batch_size": training.batch,
        "learning_rate": training.learning_rate,
        "weight_decay": training.weight_decay,
        "lr_scheduler_type": "cosine",
        "warmup_steps": 0.1,
        "max_length": None,
    }


def last_rewards(history: Sequence[Mapping[str, float]]) -> dict[str, float]:
    """Return the mean margin of rewards, and how often it is above 0, in the last batches that trl tells them of.

    Examples
    --------
    >>> last_rewards([{"rewards/margins": 9.0}] + [{"rewards/margins": 0.25}] * 10)
    {'reward_margin': 0.25}
    """
    found = {}
    for name, key in (("reward_margin", "rewards/margins"), ("reward_accuracy", "rewards/accuracies")):
        values = [one[key] for one in history if key in one][-LAST:]
        if values:
            found[name] = round(sum(values) / len(values), 4)
    return found


def read_examples(path: Path) -> tuple[list[dict[str, Any]], int]:
    """Return the lines of preference data with their images, and how many images these are.

    Raises
    ------
    DataError
        When there are none: `cxrobust preferences` comes first.
    """
    if not path.is_file():
        raise DataError(f"{path} is missing: run cxrobust preferences on the study first")
    lines = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    if not lines:
        raise DataError(f"{path} has no preferences: its judge found no report of an image better than another")
    images = {name: Image.open(path.parent / name).convert("RGB") for name in {line["image"] for line in lines}}
    return [{**line, "image": images[line["image"]]} for line in lines], len(images)


class _Told(TrainerCallback):
    """Says how far the training is."""

    def __init__(self, report: Reporter, *, stage: str) -> None:
        self.report, self.stage = report, stage

    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Tell of each step."""
        self.report(self.stage, state.global_step, state.max_steps)


@contextlib.contextmanager
def _without_warnings() -> Iterator[None]:
    """Keep the trainer's remarks on hubs, tokens and devices from the terminal."""
    logging.disable(logging.WARNING)
    try:
        yield
    finally:
        logging.disable(logging.NOTSET)
