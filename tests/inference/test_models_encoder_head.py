"""Family `encoder-head`: features, heads from files, heads fitted here, and what is refused."""

import copy
import json
import pickle
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file
from sklearn.linear_model import LogisticRegression
from transformers import (
    AutoImageProcessor,
    BitImageProcessor,
    CLIPVisionConfig,
    CLIPVisionModel,
    ConvNextConfig,
    ConvNextModel,
    Dinov2Config,
    Dinov2Model,
    Dinov2WithRegistersConfig,
    Dinov2WithRegistersModel,
    SiglipConfig,
    SiglipImageProcessor,
    SiglipModel,
    SiglipVisionConfig,
    SiglipVisionModel,
    ViTConfig,
    ViTMAEConfig,
    ViTMAEForPreTraining,
    ViTMAEModel,
    ViTModel,
)

from cxrobust.errors import DataError, StudyError
from cxrobust.inference.datasets import read_section
from cxrobust.inference.datasets.mimic import FINDINGS as MIMIC_FINDINGS
from cxrobust.inference.encoders import encode, without_masking
from cxrobust.inference.graph import PixelClassifier
from cxrobust.inference.models import Workplace
from cxrobust.inference.models.encoder_head import EncoderHead, fit_head
from cxrobust.inference.pretrained import quiet
from cxrobust.inference.randomness import no_global_randomness
from cxrobust.inference.training_images import check_apart
from cxrobust.pipeline import predict
from cxrobust.predictions import load_predictions
from cxrobust.study import parse_study, read_study

from .pictures import as_images, picture

FINDINGS = ("Mass", "Effusion")
SMALL = {"hidden_size": 8, "num_hidden_layers": 1, "num_attention_heads": 2}
SIGLIP = {**SMALL, "intermediate_size": 8, "image_size": 32, "patch_size": 8}


def save_encoder(folder: Path, network, *, seed: int = 0, **processor):
    torch.manual_seed(seed)
    network.save_pretrained(folder)
    kind = SiglipImageProcessor if "iglip" in type(network).__name__ else BitImageProcessor
    sizes = {"size": {"height": 28, "width": 28}, "do_center_crop": False}
    kind(**{**sizes, "image_mean": [0.4, 0.5, 0.6], "image_std": [0.2, 0.3, 0.4], **processor}).save_pretrained(folder)
    return network.eval()


def dinov2(**changes):
    torch.manual_seed(0)
    return Dinov2Model(Dinov2Config(**{**SMALL, "image_size": 42, "patch_size": 14, **changes}))


def save_head(file: Path, *, n_features: int = 8, findings=FINDINGS, **extra):
    generator = torch.Generator().manual_seed(3)
    weight, bias = torch.randn(len(findings), n_features, generator=generator), torch.tensor([0.5, -1.0])
    metadata = {"findings": json.dumps(findings)}
    save_file({"weight": weight, "bias": bias[: len(findings)], **extra}, file, metadata=metadata)
    return weight, bias


def regime_in(folder: Path, **settings) -> EncoderHead:
    table = {"name": "r", "family": "encoder-head", "model": "encoder", **settings}
    if not {"head", "train"} & set(settings):
        table["head"] = str(folder / "head.safetensors")
    context = {"study_folder": folder, "data_root": folder, "data": DATA}
    return EncoderHead.model_validate_json(json.dumps(table, default=str), context=context)


DATA = {"kind": "folder", "root": "images", "labels": "labels.csv", "size": 32, "findings": list(FINDINGS)}


def processed(folder: Path, picture: np.ndarray) -> torch.Tensor:
    processor = AutoImageProcessor.from_pretrained(folder)
    return processor(images=Image.fromarray(picture).convert("RGB"), return_tensors="pt")["pixel_values"]


@pytest.mark.parametrize("side", [28, 40])
def test_logits_against_the_processor_and_model_of_transformers(side, tmp_path):
    network = save_encoder(tmp_path / "encoder", dinov2())
    weight, bias = save_head(tmp_path / "head.safetensors")
    loaded = regime_in(tmp_path).load(FINDINGS)
    assert loaded.image_size == (28, 28)
    values = processed(tmp_path / "encoder", picture(side))
    expected = network(pixel_values=values).pooler_output @ weight.T + bias
    tolerance = 1e-5 if side == 28 else 0.02  # the processor rounds resized pixels to 8 bits
    torch.testing.assert_close(loaded(as_images(picture(side))), expected, atol=tolerance, rtol=0)
    assert not loaded.training


@pytest.mark.parametrize("pooling", ["pooler", "cls", "mean", "cls-mean"])
def test_pooling_of_tokens_against_slices(pooling, tmp_path):
    network = save_encoder(tmp_path / "encoder", dinov2())
    weight, bias = save_head(tmp_path / "head.safetensors", n_features=16 if pooling == "cls-mean" else 8)
    output = network(pixel_values=processed(tmp_path / "encoder", picture(28)))
    tokens = output.last_hidden_state
    assert tokens.shape[1] == 5
    features = {
        "pooler": output.pooler_output,
        "cls": tokens[:, 0],
        "mean": tokens[:, 1:].mean(dim=1),
        "cls-mean": torch.cat([tokens[:, 0], tokens[:, 1:].mean(dim=1)], dim=1),
    }[pooling]
    loaded = regime_in(tmp_path, pooling=pooling).load(FINDINGS)
    torch.testing.assert_close(loaded(as_images(picture(28))), features @ weight.T + bias, atol=1e-5, rtol=1e-5)


def siglip_tower():
    return SiglipVisionModel(SiglipVisionConfig(**SIGLIP))


def siglip_pair():
    text = {**SMALL, "intermediate_size": 8, "vocab_size": 20, "max_position_embeddings": 8}
    return SiglipModel(SiglipConfig(text_config=text, vision_config=SIGLIP))


def clip_tower():
    return CLIPVisionModel(CLIPVisionConfig(**SIGLIP, projection_dim=8))


def convnext():
    return ConvNextModel(ConvNextConfig(num_stages=2, hidden_sizes=[4, 8], depths=[1, 1]))


def vit():
    return ViTModel(ViTConfig(**SIGLIP))


@pytest.mark.parametrize("make", [siglip_tower, siglip_pair, clip_tower, convnext, vit])
def test_other_encoders_against_their_own_pooled_output(make, tmp_path):
    network = save_encoder(tmp_path / "encoder", make(), size={"height": 32, "width": 32})
    weight, bias = save_head(tmp_path / "head.safetensors")
    tower = getattr(network, "vision_model", network)
    features = tower(pixel_values=processed(tmp_path / "encoder", picture(32))).pooler_output
    loaded = regime_in(tmp_path).load(FINDINGS)
    torch.testing.assert_close(loaded(as_images(picture(32))), features @ weight.T + bias, atol=1e-5, rtol=1e-5)
    assert not any("text_model" in name for name, _ in loaded.named_parameters())


def with_registers():
    torch.manual_seed(0)
    config = Dinov2WithRegistersConfig(**SMALL, image_size=42, patch_size=14, num_register_tokens=4)
    network = Dinov2WithRegistersModel(config)
    torch.nn.init.normal_(network.embeddings.register_tokens)  # they begin as zeros, all alike
    return network


@pytest.mark.parametrize("pooling", ["mean", "cls-mean"])
@pytest.mark.parametrize(
    ("make", "side", "before"), [(with_registers, 28, 5), (siglip_tower, 32, 0)], ids=["registers", "no class token"]
)
def test_the_mean_is_of_patches_alone_whatever_stands_before_them(make, side, before, pooling, tmp_path):
    network = save_encoder(tmp_path / "encoder", make(), size={"height": side, "width": side})
    weight, bias = save_head(tmp_path / "head.safetensors", n_features=16 if pooling == "cls-mean" else 8)
    tokens = network(pixel_values=processed(tmp_path / "encoder", picture(side))).last_hidden_state[0]
    assert len(tokens) == before + (side // network.config.patch_size) ** 2
    mean = sum(tokens[before:]) / (len(tokens) - before)
    features = torch.cat([tokens[0], mean]) if pooling == "cls-mean" else mean
    loaded = regime_in(tmp_path, pooling=pooling).load(FINDINGS)
    torch.testing.assert_close(loaded(as_images(picture(side)))[0], weight @ features + bias, atol=1e-5, rtol=1e-5)


def save_mae(folder: Path) -> ViTMAEModel:
    decoder = {f"decoder_{key}": value for key, value in {**SMALL, "intermediate_size": 8}.items()}
    with torch.random.fork_rng():
        torch.manual_seed(0)
        whole = ViTMAEForPreTraining(ViTMAEConfig(**SIGLIP, **decoder))
    save_encoder(folder, whole, size={"height": 32, "width": 32})
    return ViTMAEModel.from_pretrained(folder, mask_ratio=0.0).eval()


@pytest.mark.parametrize("pooling", ["cls", "mean", "cls-mean"])
def test_a_masked_autoencoder_sees_all_patches_against_transformers(pooling, tmp_path):
    network = save_mae(tmp_path / "encoder")
    weight, bias = save_head(tmp_path / "head.safetensors", n_features=16 if pooling == "cls-mean" else 8)
    with torch.random.fork_rng():
        output = network(pixel_values=processed(tmp_path / "encoder", picture(32)))
    tokens = output.last_hidden_state
    assert tokens.shape == (1, 17, 8)
    first, mean = tokens[:, 0], tokens[:, 1:].mean(dim=1)
    features = {"cls": first, "mean": mean, "cls-mean": torch.cat([first, mean], dim=1)}[pooling]
    loaded = regime_in(tmp_path, pooling=pooling).load(FINDINGS)
    with no_global_randomness():
        found = loaded(as_images(picture(32)))
    torch.testing.assert_close(found, features @ weight.T + bias, atol=1e-5, rtol=1e-5)


def test_patches_of_a_masked_autoencoder_stand_in_order_against_a_vision_transformer(tmp_path):
    network = save_mae(tmp_path / "encoder")
    plain = ViTModel(ViTConfig(**SIGLIP), add_pooling_layer=False).eval()
    plain.load_state_dict(network.state_dict())
    images = torch.rand(3, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    found = without_masking(network)(images).last_hidden_state
    torch.testing.assert_close(found, plain(images).last_hidden_state)


def test_a_head_called_as_the_encoders_weights_hides_neither(tmp_path):
    folder, head = tmp_path / "encoders" / "rad", tmp_path / "heads" / "rad" / "model.safetensors"
    save_encoder(folder, dinov2())
    head.parent.mkdir(parents=True)
    save_head(head)
    regime = regime_in(tmp_path, model="encoders/rad", head=str(head))
    first = regime.fingerprint()
    assert len(set(first.values())) == 4
    save_encoder(folder, dinov2(hidden_act="relu"), seed=1)
    second = regime.fingerprint()
    save_head(head, n_features=9)
    assert len({tuple(sorted(one.items())) for one in (first, second, regime.fingerprint())}) == 3


def test_gradient_reaches_the_pixels_against_finite_differences(tmp_path):
    save_encoder(tmp_path / "encoder", dinov2(), size={"height": 14, "width": 14})
    save_head(tmp_path / "head.safetensors")
    model = regime_in(tmp_path).load(FINDINGS).double()
    images = as_images(picture(20)).double().requires_grad_(True)
    assert torch.autograd.gradcheck(lambda x: model(x).sum(), images, fast_mode=True)
    (gradient,) = torch.autograd.grad(model(images).sum(), images)
    assert gradient.isfinite().all()
    assert (gradient != 0).float().mean() > 0.9


def test_image_size_of_the_study_file_goes_first_and_facts_tell_it(tmp_path):
    save_encoder(tmp_path / "encoder", dinov2())
    save_head(tmp_path / "head.safetensors")
    assert regime_in(tmp_path).facts()["resolution"] == [28, 28]
    larger = regime_in(tmp_path, image_size=42)
    assert larger.load(FINDINGS).image_size == (42, 42)
    facts = larger.facts()
    assert facts["resolution"] == [42, 42]
    assert facts["architecture"] == "Dinov2Model"
    assert facts["n_parameters"] == sum(p.numel() for p in larger.load(FINDINGS).parameters())


def test_outputs_of_a_head_come_in_the_order_of_the_study(tmp_path):
    save_encoder(tmp_path / "encoder", dinov2())
    save_head(tmp_path / "head.safetensors")
    images = as_images(picture(28))
    both = regime_in(tmp_path).load(FINDINGS)(images)
    torch.testing.assert_close(regime_in(tmp_path).load(("Effusion",))(images), both[:, 1:])
    renamed = regime_in(tmp_path, outputs=("a", "b"), labels={"Effusion": "a"}).load(("Effusion",))
    torch.testing.assert_close(renamed(images), both[:, :1])


def write_images(folder: Path, *, n: int = 60, name: str = "labels.csv", prefix: str = "i") -> None:
    """Images whose brightness tells Effusion, with noise; Mass is noise alone, and some of its labels are missing."""
    rng = np.random.default_rng(len(prefix) + n)
    (folder / "images").mkdir(exist_ok=True)
    rows = ["image_id,patient_id,Effusion,Mass"]
    for i in range(n):
        effusion = int(rng.integers(0, 2))
        level = 90 + 40 * effusion + rng.normal(0, 20)
        pixels = np.clip(rng.normal(level, 20, (32, 32)), 0, 255).astype(np.uint8)
        Image.fromarray(pixels).save(folder / "images" / f"{prefix}{i}.png")
        rows.append(f"{prefix}{i},{prefix}p{i // 2},{effusion},{'' if i % 7 == 3 else int(rng.integers(0, 2))}")
    (folder / name).write_text("\n".join(rows) + "\n")


def test_fitted_head_against_scikit_learn():
    rng = np.random.default_rng(0)
    features = (rng.normal(size=(200, 5)) * [1, 10, 0.1, 3, 1] + [0, 5, 0, -7, 0]).astype(np.float32)
    features[:, 4] = 2.5  # a constant feature tells nothing and must not break the fit
    truth = features[:, 0] + features[:, 1] / 10 > rng.normal(size=200)
    labels = np.stack([truth, rng.integers(0, 2, 200)], axis=1).astype(np.int8)
    labels[::5, 1] = -1
    head = fit_head(features, labels, penalty=0.01)
    exact = features.astype(np.float64)
    scaled = (exact - exact.mean(axis=0)) / np.where(exact.std(axis=0) > 0, exact.std(axis=0), 1)
    for column in (0, 1):
        known = labels[:, column] >= 0
        theirs = LogisticRegression(C=1 / (0.01 * known.sum()), tol=1e-10, max_iter=10_000)
        theirs.fit(scaled[known], labels[known, column])
        ours = exact @ head["weight"][column] + head["bias"][column]
        np.testing.assert_allclose(ours, theirs.decision_function(scaled), atol=1e-4)


def test_head_is_fitted_to_features_of_the_training_images_and_kept(tmp_path, monkeypatch):
    network = save_encoder(tmp_path / "encoder", dinov2(), size={"height": 28, "width": 28})
    write_images(tmp_path)
    regime = regime_in(tmp_path, train={}, penalty=0.01)
    regime.work_in(Workplace(cache=tmp_path / "cache", device="cpu", batch=7))
    fitted = regime.load(FINDINGS)
    paths = [tmp_path / "images" / f"i{i}.png" for i in range(60)]
    values = torch.cat([processed(tmp_path / "encoder", np.asarray(Image.open(path))) for path in paths])
    features = network(pixel_values=values).pooler_output.detach().numpy()
    rows = [line.split(",") for line in (tmp_path / "labels.csv").read_text().splitlines()[1:]]
    labels = np.array([[int(mass or -1), int(effusion)] for _, _, effusion, mass in rows], dtype=np.int8)
    head = fit_head(features, labels, penalty=0.01)
    images = as_images(*(np.asarray(Image.open(path)) for path in paths[:5]))
    expected = torch.from_numpy(features[:5] @ head["weight"].T + head["bias"]).float()
    torch.testing.assert_close(fitted(images), expected, atol=0.1, rtol=0.02)
    kept = sorted(path.name.partition("-")[0] for path in (tmp_path / "cache").glob("*.np[yz]"))
    assert kept == ["features", "head", "pixels"]

    def never(*_, **__):
        raise AssertionError("features are computed once")

    monkeypatch.setattr("cxrobust.inference.encoders.encode", never)
    torch.testing.assert_close(regime.load(FINDINGS)(images), fitted(images), atol=0, rtol=0)
    one = regime.load(("Effusion",))(images)  # another choice of findings needs no new features
    torch.testing.assert_close(one, fitted(images)[:, 1:], atol=1e-4, rtol=1e-4)
    facts = regime.facts()["training"]
    assert (facts["images"], facts["patients"], facts["penalty"]) == (60, 30, 0.01)


def test_memory_that_is_short_for_a_batch_of_training_images_halves_it():
    class Small(torch.nn.Module):
        def forward(self, images):
            if len(images) > 3:
                raise torch.OutOfMemoryError("CUDA out of memory")
            return images.flatten(1)

    images, told = torch.rand((11, 1, 4, 4), generator=torch.Generator().manual_seed(1)), []
    classifier = PixelClassifier(Small(), columns=range(16), mean=(0.0,), std=(1.0,))
    found = encode(
        classifier, Small(), lambda first, last: images[first:last], n_images=11, batch=8, device="cpu",
        report=told.append,
    )  # fmt: skip
    assert torch.equal(found, images.flatten(1))
    assert told == [2, 4, 6, 8, 10, 11]


def test_damaged_cache_is_made_again(tmp_path):
    save_encoder(tmp_path / "encoder", dinov2())
    write_images(tmp_path, n=12)
    regime = regime_in(tmp_path, train={})
    regime.work_in(Workplace(cache=tmp_path / "cache", device="cpu"))
    images = as_images(picture(32))
    before = regime.load(FINDINGS)(images)
    for path in (tmp_path / "cache").glob("*.npz"):
        content = bytearray(path.read_bytes())
        content[-200] ^= 0xFF
        content[len(content) // 3] ^= 0xFF
        path.write_bytes(bytes(content))
    torch.testing.assert_close(regime.load(FINDINGS)(images), before, atol=0, rtol=0)


def test_fingerprint_follows_encoder_head_and_training_images(tmp_path):
    save_encoder(tmp_path / "encoder", dinov2())
    save_head(tmp_path / "head.safetensors")
    assert any(name.endswith("/head.safetensors") for name in regime_in(tmp_path).fingerprint())
    write_images(tmp_path, n=12)
    first = regime_in(tmp_path, train={}).fingerprint()
    Image.fromarray(picture(32)).save(tmp_path / "images" / "i3.png")
    second = regime_in(tmp_path, train={}).fingerprint()
    assert {key for key in first if first[key] != second[key]} == {"train/images"}


STUDY = """
[study]
title = "t"
seed = 1
reference = "probe"
[data]
kind = "folder"
root = "images"
labels = "test.csv"
size = 32
[[regimes]]
name = "probe"
family = "encoder-head"
model = "encoder"
train = { labels = "train.csv" }
[[perturbations]]
attack = "fgsm"
eps = ["4/255"]
[report]
example_images = 0
[compute]
device = "cpu"
"""


def test_a_probe_within_a_study_learns_and_is_attacked(tmp_path):
    save_encoder(tmp_path / "encoder", dinov2())
    write_images(tmp_path, n=200, name="train.csv", prefix="train")
    write_images(tmp_path, n=60, name="test.csv", prefix="test")
    (tmp_path / "study.toml").write_text(STUDY)
    study = read_study(tmp_path / "study.toml")
    found = load_predictions(predict(study, tmp_path / "out"))
    column = found.findings.index("Effusion")
    right = (found.probabilities[0, ..., column] > 0.5) == found.labels[:, column]
    clean, attacked = right[found.conditions.index("clean")], right[1]
    assert clean.mean() > 0.8
    assert attacked.mean() < clean.mean()
    assert found.index["regimes"][0]["settings"]["train"]["labels"] == "train.csv"
    assert str(tmp_path) not in json.dumps(found.index["regimes"])


ACROSS = """
[data]
kind = "pooled"
size = 32
[data.members.nih]
kind = "nih-chestxray14"
root = "nih"
[data.match]
"Pleural Effusion" = { nih = "Effusion" }
Cardiomegaly = { nih = "Cardiomegaly" }
[[regimes]]
name = "probe"
family = "encoder-head"
model = "encoder"
train = { kind = "mimic-cxr-jpg", root = "mimic", split = "train" }
"""
DIRECT = """
[data]
kind = "nih-chestxray14"
root = "nih"
size = 32
findings = ["Effusion", "Cardiomegaly"]
[[regimes]]
name = "probe"
family = "encoder-head"
model = "encoder"
train = { kind = "mimic-cxr-jpg", root = "mimic", split = "train" }
labels = { Effusion = "Pleural Effusion" }
"""


def write_mimic_and_nih(folder: Path) -> None:
    """Images of either data set whose brightness tells an effusion, in trees as they are distributed."""
    rng = np.random.default_rng(0)

    def write_image(path: Path, effusion: int) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.clip(rng.normal(60 + 100 * effusion, 20, (32, 32)), 0, 255).astype(np.uint8)).save(path)

    columns = sorted([*MIMIC_FINDINGS, "No Finding"])
    tables = {
        "split": ["dicom_id,study_id,subject_id,split"],
        "metadata": ["dicom_id,subject_id,study_id,ViewPosition"],
        "chexpert": [",".join(["subject_id", "study_id", *columns])],
    }
    for i in range(50):
        patient, study, image = f"{10_000_000 + i}", f"{50_000_000 + i}", f"im{i}"
        said = {"Pleural Effusion": f"{i % 2}.0", "Cardiomegaly": f"{i // 2 % 2}.0"}
        tables["split"].append(f"{image},{study},{patient},{'train' if i < 40 else 'test'}")
        tables["metadata"].append(f"{image},{patient},{study},AP")
        tables["chexpert"].append(",".join([patient, study, *(said.get(column, "") for column in columns)]))
        write_image(
            folder / "mimic" / "files" / f"p{patient[:2]}" / f"p{patient}" / f"s{study}" / f"{image}.jpg", i % 2
        )
    for name, lines in tables.items():
        (folder / "mimic" / f"mimic-cxr-2.0.0-{name}.csv").write_text("\n".join(lines) + "\n")
    size = "OriginalImage[Width,Height],OriginalImagePixelSpacing[x,y]"
    rows = [f"Image Index,Finding Labels,Follow-up #,Patient ID,Patient Age,Patient Gender,View Position,{size}"]
    for i in range(20):
        found = ("No Finding", "Effusion", "Cardiomegaly", "Effusion|Cardiomegaly")[i % 4]
        rows.append(f"{i:08}_000.png,{found},0,{i},57,M,PA,2682,2749,0.143,0.143")
        write_image(folder / "nih" / "images" / f"{i:08}_000.png", i % 2)
    (folder / "nih" / "Data_Entry_2017_v2020.csv").write_text("\n".join(rows) + "\n")


def test_a_head_learnt_on_mimic_is_tested_on_nih_by_one_study_file(tmp_path):
    save_encoder(tmp_path / "encoder", dinov2())
    write_mimic_and_nih(tmp_path)
    begin, end = STUDY.partition("[data]")[0], STUDY[STUDY.index("[[perturbations]]") :]
    found = {}
    for name, between in (("across", ACROSS), ("direct", DIRECT)):
        path = tmp_path / f"{name}.toml"
        path.write_text(begin + between + end)
        found[name] = load_predictions(predict(read_study(path), tmp_path / name))
    across, direct = found["across"], found["direct"]
    assert across.findings == ("Pleural Effusion", "Cardiomegaly")
    assert across.conditions[:2] == ("clean", "fgsm(eps=4/255)")
    assert len(across.image_ids) == 20
    effusion = across.findings.index("Pleural Effusion")
    assert (across.labels[:, effusion] == 1).sum() == 10
    assert ((across.probabilities[0, 0, :, effusion] > 0.5) == across.labels[:, effusion]).mean() > 0.9
    facts = across.index["regimes"][0]["facts"]["training"]
    assert (facts["images"], facts["patients"]) == (40, 40)
    assert across.index["regimes"][0]["settings"]["train"]["kind"] == "mimic-cxr-jpg"
    np.testing.assert_array_equal(across.labels, direct.labels)
    np.testing.assert_allclose(across.probabilities[0, 0], direct.probabilities[0, 0], atol=1e-6)


def test_a_finding_that_the_training_images_lack_is_told_before_any_prediction(tmp_path, monkeypatch):
    monkeypatch.setattr(EncoderHead, "load", None)
    save_encoder(tmp_path / "encoder", dinov2())
    write_images(tmp_path, n=20, name="train.csv", prefix="train")
    write_images(tmp_path, n=8, name="test.csv", prefix="test")
    rows = (tmp_path / "train.csv").read_text().replace("Mass", "Hernia", 1)
    (tmp_path / "train.csv").write_text(rows)
    (tmp_path / "study.toml").write_text(STUDY)
    with pytest.raises(DataError, match=r"no labelled finding 'Mass'.* leave it out of findings in \[data\]"):
        predict(read_study(tmp_path / "study.toml"), tmp_path / "out")


def test_a_finding_whose_training_labels_are_blank_is_told_with_a_mend_that_a_fitted_head_takes(tmp_path, monkeypatch):
    monkeypatch.setattr(EncoderHead, "load", None)
    save_encoder(tmp_path / "encoder", dinov2())
    write_images(tmp_path, n=20, name="train.csv", prefix="train")
    write_images(tmp_path, n=8, name="test.csv", prefix="test")
    head, *rows = (tmp_path / "train.csv").read_text().splitlines()
    blank = [f"{row.rpartition(',')[0]}," for row in rows]
    (tmp_path / "train.csv").write_text("\n".join([head, *blank]) + "\n")
    (tmp_path / "study.toml").write_text(STUDY)
    with pytest.raises(DataError, match="no labelled finding 'Mass'") as caught:
        predict(read_study(tmp_path / "study.toml"), tmp_path / "out")
    assert "choose training images with labels of it (a column that is blank everywhere has none)" in str(caught.value)
    assert "outputs" not in str(caught.value)


@pytest.mark.parametrize("on_error", ["stop", "skip"])
def test_a_training_image_that_cannot_be_read_is_not_skipped_and_the_error_does_not_say_it_could_be(on_error, tmp_path):
    save_encoder(tmp_path / "encoder", dinov2())
    write_images(tmp_path, n=20, name="train.csv", prefix="train")
    write_images(tmp_path, n=8, name="test.csv", prefix="test")
    damaged = tmp_path / "images" / "train3.png"
    damaged.write_bytes(damaged.read_bytes()[:120])
    (tmp_path / "study.toml").write_text(STUDY.replace("[compute]", f'[compute]\non_error = "{on_error}"'))
    with pytest.raises(DataError, match=r"train3\.png: the image cannot be decoded .*: get the file again") as caught:
        predict(read_study(tmp_path / "study.toml"), tmp_path / "out")
    assert "on_error" not in str(caught.value)


def test_a_patient_who_is_learned_from_is_not_tested_on(tmp_path):
    save_encoder(tmp_path / "encoder", dinov2())
    write_images(tmp_path, n=20, name="train.csv")
    write_images(tmp_path, n=8, name="test.csv")
    (tmp_path / "study.toml").write_text(STUDY)
    with pytest.raises(DataError, match=r"regime 'probe': 4 patients of its training images are also .*\(ip0, ip1"):
        predict(read_study(tmp_path / "study.toml"), tmp_path / "out")


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("", "give either head, a safetensors file, or train"),
        ('head = "h"\ntrain = { split = "train" }', "give either head"),
        ('train = { spilt = "train" }', r"unknown key 'spilt' \(did you mean 'split'\?\)"),
        ('train = { kind = "none" }', "unknown data set kind 'none'"),
        ('train = { size = "large" }', "size"),
        ("train = 3", "write a table"),
        ('head = "h-{fold}"', "cross_fit is missing"),
    ],
)
def test_a_table_that_says_nothing_usable_is_one_sentence(line, message, tmp_path):
    text = STUDY.replace('train = { labels = "train.csv" }', line)
    with pytest.raises(StudyError, match=message) as caught:
        parse_study(text, path=tmp_path / "study.toml")
    assert "\n" not in str(caught.value)


def damage_head(folder: Path) -> None:
    (folder / "head.safetensors").write_bytes(b"no tensors")


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (damage_head, "head.safetensors: the head is damaged"),
        (lambda f: (f / "head.safetensors").unlink(), "the head of regime 'r' is missing"),
        (
            lambda f: save_head(f / "head.safetensors", n_features=5),
            "the head wants 5 features and the encoder gives 8",
        ),
        (lambda f: save_head(f / "head.safetensors", extra=torch.zeros(2, 2)), "a linear head is one weight"),
        (lambda f: save_file({"w": torch.zeros(2, 8)}, f / "head.safetensors"), "name them in order with outputs"),
        (lambda f: save_head(f / "head.safetensors", findings=("Mass", "Edema")), "there is no output 'Effusion'"),
        (lambda f: (f / "encoder" / "model.safetensors").write_bytes(b""), "the weights are damaged"),
        (lambda f: (f / "encoder" / "config.json").unlink(), "config.json is missing"),
    ],
)
def test_damaged_files_are_one_sentence(damage, message, tmp_path):
    save_encoder(tmp_path / "encoder", dinov2())
    save_head(tmp_path / "head.safetensors")
    damage(tmp_path)
    with pytest.raises(DataError, match=message) as caught:
        regime_in(tmp_path).load(FINDINGS)
    assert "\n" not in str(caught.value)


def test_encoder_without_a_pooler_is_refused_for_pooler_alone(tmp_path):
    torch.manual_seed(0)
    save_encoder(
        tmp_path / "encoder", ViTModel(ViTConfig(**SIGLIP), add_pooling_layer=False), size={"height": 32, "width": 32}
    )
    save_head(tmp_path / "head.safetensors")
    with pytest.raises(DataError, match=r"2 weights .*pooler.* get a whole checkpoint"):
        regime_in(tmp_path).load(FINDINGS)
    assert regime_in(tmp_path, pooling="cls").load(FINDINGS)(as_images(picture(32))).shape == (1, 2)


def test_a_size_that_the_network_does_not_take_is_one_sentence(tmp_path):
    save_encoder(tmp_path / "encoder", vit(), size={"height": 24, "width": 24})
    save_head(tmp_path / "head.safetensors")
    with pytest.raises(DataError, match=r"the network failed on an image of 24 × 24 pixels .*give image_size"):
        regime_in(tmp_path).load(FINDINGS)


def test_training_images_need_both_classes(tmp_path):
    save_encoder(tmp_path / "encoder", dinov2())
    write_images(tmp_path, n=4)
    text = (tmp_path / "labels.csv").read_text().splitlines()
    rows = [text[0], *(",".join([*line.split(",")[:2], "0", "1"]) for line in text[1:])]
    (tmp_path / "labels.csv").write_text("\n".join(rows) + "\n")
    with pytest.raises(DataError, match="4 have 'Mass' and 0 do not: a head needs both"):
        regime_in(tmp_path, train={}).load(FINDINGS)


def test_patients_of_a_pooled_data_set_are_told_apart_by_the_kind_of_their_member(tmp_path):
    save_encoder(tmp_path / "encoder", dinov2())
    write_images(tmp_path, n=20, name="train.csv")
    write_images(tmp_path, n=8, name="test.csv")
    members = """[data]
kind = "pooled"
size = 32
[data.members.ours]
kind = "folder"
root = "images"
labels = "test.csv"
[data.members.drawn]
kind = "phantoms"
patients = 3
seed = 1
[data.match]
Effusion = { ours = "Effusion", drawn = "Effusion" }
"""
    begin, end = STUDY.index("[data]"), STUDY.index("[[regimes]]")
    text = STUDY[:begin] + members + STUDY[end:]
    train = 'train = { kind = "folder", root = "images", labels = "train.csv" }'
    (tmp_path / "study.toml").write_text(text.replace('train = { labels = "train.csv" }', train))
    with pytest.raises(DataError, match=r"4 patients of its training images .*\(ip0, ip1, ip2 and 1 more\)"):
        predict(read_study(tmp_path / "study.toml"), tmp_path / "out")


def test_patients_that_members_share_are_those_of_either(tmp_path):
    learned = read_section({"kind": "phantoms", "patients": 4, "seed": 1}, {})
    members = {
        "ours": {"kind": "folder", "root": ".", "labels": "own.csv"},
        "drawn": {"kind": "phantoms", "patients": 2, "seed": 1, "split": "train"},
    }
    patient = learned.table(with_images=False).patients[0]
    (tmp_path / "own.csv").write_text(f"image_id,patient_id,Effusion\na,{patient},1\nb,nobody,0\n")
    match = {"Effusion": {"ours": "Effusion", "drawn": "Effusion"}}

    def tested(**shared):
        values = {"kind": "pooled", "members": members, "match": match, **shared}
        section = read_section(values, {"study_folder": tmp_path, "data_root": tmp_path})
        return section, section.table(with_images=False)

    alone = (learned, learned.table(with_images=False))
    check_apart(alone, [tested()], where="r")  # a folder's patients are others, whatever they are called
    with pytest.raises(DataError, match=rf"r: 1 patients of its training images .*\({patient}\)"):
        check_apart(alone, [tested(shared_patients=[["ours", "drawn"]])], where="r")


def test_a_regime_that_learned_goes_to_another_process(tmp_path):
    save_encoder(tmp_path / "encoder", dinov2())
    write_images(tmp_path, n=12)
    regime = regime_in(tmp_path, train={})
    regime.work_in(Workplace(cache=tmp_path / "cache", device="cpu", report=lambda *_: None))
    there = pickle.loads(pickle.dumps(regime))  # noqa: S301  made here
    images = as_images(picture(32))
    torch.testing.assert_close(there.load(FINDINGS)(images), regime.load(FINDINGS)(images), atol=0, rtol=0)


REMOTE = """
import torch
from transformers import PreTrainedConfig, PreTrainedModel
from transformers.modeling_outputs import BaseModelOutputWithPooling

class OwnConfig(PreTrainedConfig):
    model_type = "own-encoder"

class OwnModel(PreTrainedModel):
    config_class = OwnConfig
    def __init__(self, config):
        super().__init__(config)
        self.layer = torch.nn.Linear(3, 8)
        self.post_init()
    def forward(self, pixel_values):
        return BaseModelOutputWithPooling(pooler_output=self.layer(pixel_values.mean(dim=(2, 3))))
"""


@pytest.mark.usefixtures("code_of_models")
def test_code_of_a_checkpoint_runs_only_where_the_study_file_says_so(tmp_path):
    from safetensors.torch import save_file

    folder = tmp_path / "encoder"
    folder.mkdir()
    (folder / "own.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w').close()\n{REMOTE}")
    auto = {"AutoConfig": "own.OwnConfig", "AutoModel": "own.OwnModel"}
    (folder / "config.json").write_text(json.dumps({"model_type": "own-encoder", "auto_map": auto}))
    layer = torch.nn.Linear(3, 8)
    tensors = {f"layer.{name}": value for name, value in layer.state_dict().items()}
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    save_head(tmp_path / "head.safetensors")
    with pytest.raises(DataError, match="Python code of its own") as caught:
        regime_in(tmp_path).load(FINDINGS)
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "ran").exists()
    with pytest.raises(DataError, match="Python code of its own"):
        regime_in(tmp_path).fingerprint()
    trusted = regime_in(tmp_path, trust_remote_code=True, image_size=16)
    assert any(name.endswith("own.py") for name in trusted.fingerprint())
    assert trusted.load(FINDINGS)(as_images(picture(16))).shape == (1, 2)
    assert (tmp_path / "ran").exists()


def save_adapter(base: torch.nn.Module, folder: Path, target: str) -> torch.nn.Module:
    """A LoRA adapter with other than zero updates; returns the network with it on top."""
    from peft import LoraConfig, get_peft_model

    torch.manual_seed(5)
    with quiet():
        adapted = get_peft_model(copy.deepcopy(base), LoraConfig(r=2, target_modules=[target]))
    for name, parameter in adapted.named_parameters():
        if "lora_" in name:
            torch.nn.init.normal_(parameter, std=0.5)
    adapted.save_pretrained(folder)
    return adapted.eval()


@pytest.mark.parametrize(("make", "target"), [(dinov2, "fc1"), (siglip_pair, "out_proj")])
def test_adapter_on_the_encoder_against_peft(make, target, tmp_path):
    network = save_encoder(tmp_path / "encoder", make(), size={"height": 32, "width": 32})
    adapted = save_adapter(network, tmp_path / "lora", target)
    weight, bias = save_head(tmp_path / "head.safetensors")
    regime = regime_in(tmp_path, adapter=tmp_path / "lora", image_size=None if target == "out_proj" else 28)
    side = 32 if target == "out_proj" else 28
    tower = getattr(adapted.get_base_model(), "vision_model", adapted)
    values = (as_images(picture(side)) - torch.tensor([0.4, 0.5, 0.6]).reshape(1, 3, 1, 1)) / torch.tensor(
        [0.2, 0.3, 0.4]
    ).reshape(1, 3, 1, 1)
    expected = tower(pixel_values=values).pooler_output @ weight.T + bias
    loaded = regime.load(FINDINGS)(as_images(picture(side)))
    torch.testing.assert_close(loaded, expected, atol=1e-4, rtol=1e-4)
    plain = regime_in(tmp_path, image_size=side).load(FINDINGS)(as_images(picture(side)))
    assert (plain - expected).abs().max() > 0.01
    assert any(name.endswith("adapter_model.safetensors") for name in regime.fingerprint())
    assert regime.facts()["adapter"]["r"] == 2
