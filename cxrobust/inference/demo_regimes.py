"""Training of the demo's six regimes and of an earlier checkpoint; see `cxrobust.demo` for what they are."""

import copy
import json
from collections.abc import Callable
from dataclasses import asdict
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import torch
import transformers
from torch import Tensor, nn
from torch.nn import functional as F

from cxrobust.demo import EARLY_EPOCHS, LABEL_NOISE, READER_ERROR, SIZE, TRAIN_EPS, Scale
from cxrobust.inference import finetuning
from cxrobust.inference.datasets.phantoms import Phantoms
from cxrobust.inference.finetuning import LabelledImages, LowRank, Training
from cxrobust.inference.graph import PixelClassifier
from cxrobust.inference.models.hf import HfClassifier
from cxrobust.inference.phantoms import ATTRIBUTES, FINDINGS, attributes
from cxrobust.inference.preprocessing import Preprocessing
from cxrobust.inference.pretrained import save_network
from cxrobust.progress import Reporter

HEAD = "network.classifier"
PREFERENCE = finetuning.Preference(beta=0.2, pairs=8)
PREPROCESSING = Preprocessing(image_size=(SIZE, SIZE), mean=(0.5,), std=(0.25,), interpolation="bilinear")


def train(folder: Path, scale: Scale, report: Reporter) -> None:
    """Train and save every regime whose folder is not there; each folder appears whole."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # small steps are slower on more where the machine is busy
    try:
        _train(_Demo(folder, scale, report))
    finally:
        torch.set_num_threads(threads)


def _train(demo: "_Demo") -> None:
    base = demo.get(
        "pretrained",
        demo.pretrain,
        said={
            "tuned": "all weights",
            "training": demo.pretraining,
            "start": "random weights",
            "images": f"phantoms of hospital A, {demo.scale.pretrain_patients} patients",
        },
    )
    probe = demo.get(
        "linear-probe",
        lambda: finetuning.linear_probe(base, demo.examples, head=HEAD, penalty=1e-3, report=demo.report),
        said={"tuned": "the head alone", "start": "pretrained", "penalty": 1e-3, "optimizer": "L-BFGS"},
    )
    supervised = demo.get(
        "supervised",
        lambda: finetuning.supervised(probe, demo.examples, demo.training(5e-4), report=demo.report),
        said={"tuned": "all weights", "training": demo.training(5e-4), "start": "linear-probe"},
    )
    low_rank = LowRank(targets=("q_proj", "v_proj", "query", "value"), rank=8)
    demo.get(
        "lora",
        lambda: finetuning.lora(base, demo.examples, demo.training(5e-3), low_rank=low_rank, report=demo.report),
        base="pretrained",
        said={"tuned": "the adapter and the head", "training": demo.training(5e-3), "start": "pretrained"},
    )
    adversary = finetuning.Adversary(eps=TRAIN_EPS / 255, steps=2)
    hardening = demo.training(1e-3, epochs=demo.scale.adversarial_epochs)
    demo.get(
        "adversarial",
        lambda: finetuning.adversarial(probe, demo.examples, hardening, adversary=adversary, report=demo.report),
        said={"tuned": "all weights", "training": hardening, "adversary": adversary, "start": "linear-probe"},
    )
    reader = finetuning.SimulatedReader(error_rate=READER_ERROR)
    misread = f"a simulated reader who misreads {READER_ERROR:.0%} of findings"
    for name, epochs, judge, told in (
        ("preference", demo.scale.preference_epochs, finetuning.agreement, "agreement with the labels"),
        ("preference-human", demo.scale.preference_epochs, reader, misread),
        ("preference-early", EARLY_EPOCHS, finetuning.agreement, "agreement with the labels"),
    ):
        training = demo.training(1e-4, epochs=epochs)
        demo.get(
            name,
            partial(demo.prefer, supervised, training, judge, name),
            said={
                "tuned": "all weights",
                "training": training,
                "start": "supervised",
                **asdict(PREFERENCE),
                "judge": told,
            },
        )


class _Demo:
    """What the regimes share: where they are saved, and the images that they learn from, drawn when first needed."""

    def __init__(self, folder: Path, scale: Scale, report: Reporter) -> None:
        self.folder = folder
        self.scale = scale
        self.report = report

    @cached_property
    def examples(self) -> LabelledImages:
        """Training images of hospital B."""
        return self._draw("train", "b", self.scale.train_patients)

    def training(self, learning_rate: float, *, epochs: int | None = None) -> Training:
        return Training(epochs=epochs or self.scale.tune_epochs, learning_rate=learning_rate, batch=64, seed=2026)

    def get(
        self, name: str, make: Callable[[], nn.Module], *, base: str | None = None, said: dict[str, Any]
    ) -> nn.Module:
        """Load a regime's checkpoint, or make and save it; beside it stands what is `said` of its training."""
        path = self.folder / name
        if not path.is_dir():
            made: Any = make()
            save_network(made.network, path, preprocessing=PREPROCESSING)
        images = f"phantoms of hospital B, {self.scale.train_patients} patients"
        finetuning.write_training(path, **{"images": images, **said})
        family = {"name": name, "family": "hf-classifier", "model": str((self.folder / (base or name)).absolute())}
        if base is not None:
            family["adapter"] = str(path.absolute())
        return HfClassifier.model_validate_json(json.dumps(family)).load(FINDINGS)

    def pretrain(self) -> nn.Module:
        """Learn anatomy, exposure and noisily labelled findings of hospital A; return it with a head of zeros."""
        table = _phantoms("pretrain", "a", self.scale.pretrain_patients)
        images = finetuning.read_examples(table.table(), size=SIZE, report=self.report, stage="drawing hospital A")
        targets = torch.from_numpy(attributes(table.visits()))
        labels = _flipped(images.labels)
        model = PixelClassifier(
            _transformer(self.scale, len(ATTRIBUTES) + len(FINDINGS)),
            columns=range(len(ATTRIBUTES) + len(FINDINGS)),
            mean=PREPROCESSING.mean,
            std=PREPROCESSING.std,
        ).train()

        def loss(rows: Tensor, _: torch.Generator) -> Tensor:
            out = model(images.images[rows])
            regression = F.mse_loss(out[:, : len(ATTRIBUTES)], targets[rows])
            return finetuning.masked_bce(out[:, len(ATTRIBUTES) :], labels[rows]) + 0.1 * regression

        finetuning.fit(
            model,
            loss,
            self.pretraining,
            n_images=len(images),
            parameters=model.parameters(),
            stage="pre-training at hospital A",
            report=self.report,
        )
        return _for_findings(finetuning.fresh_head(model, head=HEAD, n_outputs=len(FINDINGS)))

    def prefer(self, supervised: nn.Module, training: Training, judge: finetuning.Judge, name: str) -> nn.Module:
        """Tune the supervised checkpoint by DPO."""
        return finetuning.preference(
            supervised,
            self.examples,
            training,
            judge=judge,
            settings=PREFERENCE,
            report=self.report,
            stage=name,
        )

    @property
    def pretraining(self) -> Training:
        """How long and how fast the network learns at hospital A."""
        return self.training(3e-3, epochs=self.scale.pretrain_epochs)

    def _draw(self, split: str, domain: str, patients: int) -> LabelledImages:
        table = _phantoms(split, domain, patients).table()
        return finetuning.read_examples(
            table, size=SIZE, report=self.report, stage=f"drawing hospital {domain.upper()}"
        )


def _phantoms(split: str, domain: str, patients: int) -> Phantoms:
    settings = {"kind": "phantoms", "patients": patients, "seed": 2026, "split": split, "domain": domain, "size": SIZE}
    return Phantoms.model_validate(settings)


def _transformer(scale: Scale, n_outputs: int) -> nn.Module:
    settings: dict[str, Any] = {
        "image_size": SIZE,
        "patch_size": 16,
        "num_channels": 1,
        "hidden_size": scale.width,
        "num_hidden_layers": scale.depth,
        "num_attention_heads": 4,
        "intermediate_size": 4 * scale.width,
        "hidden_dropout_prob": 0.0,
        "attention_probs_dropout_prob": 0.0,
        "num_labels": n_outputs,
        "problem_type": "multi_label_classification",
    }
    config = transformers.ViTConfig(**settings)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(2026)
        network: nn.Module = transformers.ViTForImageClassification(config)
    return network


def _for_findings(model: nn.Module) -> nn.Module:
    """Return the model with a configuration that names the findings as its outputs."""
    named = copy.deepcopy(model)
    network: Any = named.get_submodule("network")
    network.config.id2label = dict(enumerate(FINDINGS))
    network.config.label2id = {finding: k for k, finding in enumerate(FINDINGS)}
    network.num_labels = len(FINDINGS)
    return PixelClassifier(network, columns=range(len(FINDINGS)), mean=PREPROCESSING.mean, std=PREPROCESSING.std).eval()


def _flipped(labels: Tensor) -> Tensor:
    generator = torch.Generator().manual_seed(2026)
    wrong = torch.rand(labels.shape, generator=generator) < LABEL_NOISE
    return torch.where(wrong & (labels >= 0), 1 - labels, labels)
