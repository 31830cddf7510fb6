"""Real radiographs of 1024 pixels, as NIH distributes them, through loader, model and attack."""

import json
from pathlib import Path

import numpy as np
import pytest

from cxrobust.inference.datasets.nih import FINDINGS
from cxrobust.pipeline import predict
from cxrobust.predictions import load_predictions
from cxrobust.study import read_study

torch = pytest.importorskip("torch")

STUDY = """
[study]
title = "43 radiographs"
seed = 3
reference = "vit"
[data]
kind = "nih-chestxray14"
root = "nih-images"
labels = "nih-metadata/Data_Entry_2017_v2020.csv.gz"
list = "present"
size = 96
[[regimes]]
name = "vit"
family = "hf-classifier"
model = "vit"
[[perturbations]]
attack = "pgd"
eps = ["4/255"]
steps = 5
[report]
example_images = 1
[compute]
device = "cpu"
"""


def save_transformer(folder: Path) -> None:
    """Write a random transformer of 64 pixels and 3 channels, so that images are resized and repeated."""
    from transformers import ViTConfig, ViTForImageClassification

    config = ViTConfig(
        image_size=64,
        patch_size=16,
        hidden_size=16,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=16,
        id2label=dict(enumerate(FINDINGS)),
        label2id={finding: k for k, finding in enumerate(FINDINGS)},
        problem_type="multi_label_classification",
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        network = ViTForImageClassification(config)
        torch.nn.init.normal_(network.classifier.weight)
    network.save_pretrained(folder)
    (folder / "preprocessor_config.json").write_text(json.dumps({"image_mean": [0.5] * 3, "image_std": [0.25] * 3}))


def test_pgd_raises_the_loss_of_a_transformer_and_noise_of_equal_size_hardly_does(shared_data, tmp_path):
    save_transformer(tmp_path / "vit")
    (tmp_path / "study.toml").write_text(STUDY)
    study = read_study(tmp_path / "study.toml", data_root=shared_data)
    found = load_predictions(predict(study, tmp_path / "out"))
    assert (len(found.image_ids), found.findings) == (43, FINDINGS)
    assert found.conditions == ("clean", "pgd(eps=4/255, steps=5)", "noise(eps=4/255)")
    p = np.where(found.labels == 1, found.probabilities[0], 1 - found.probabilities[0])
    clean, attacked, noisy = -np.log(p).mean(axis=(1, 2))
    assert attacked > clean
    assert abs(noisy - clean) < 0.1 * (attacked - clean)
