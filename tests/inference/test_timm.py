"""Models of timm in families `hf-classifier` and `encoder-head`: size, normalisation and tokens by their own config."""

import json
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file
from transformers import AutoImageProcessor

from cxrobust.errors import DataError, MissingGroupError
from cxrobust.inference.models import Regime
from cxrobust.inference.models.encoder_head import EncoderHead
from cxrobust.inference.models.hf import HfClassifier
from cxrobust.inference.preprocessing import PILLOW, known_size, read_preprocessing

from .pictures import as_images, picture

timm = pytest.importorskip("timm")
FINDINGS = ("Mass", "Edema", "Effusion")
MEAN, STD = [0.485, 0.456, 0.406], [0.229, 0.224, 0.225]


def save_timm(folder: Path, name: str = "test_resnet", *, in_chans: int = 3, **data_config) -> torch.nn.Module:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        network = timm.create_model(name, num_classes=len(FINDINGS), in_chans=in_chans).eval()
    config = {"label_names": list(FINDINGS), "problem_type": "multi_label_classification"}
    timm.models.save_for_hf(network, folder, model_config=config, safe_serialization=True, data_config=data_config)
    return network


def regime_in(folder: Path, family: type[Regime] = HfClassifier, **settings) -> Regime:
    kind = {HfClassifier: "hf-classifier", EncoderHead: "encoder-head"}[family]
    table = {"name": "r", "family": kind, "model": "timm", **settings}
    return family.model_validate_json(json.dumps(table), context={"study_folder": folder})


def as_timm_prepares(folder: Path, pixels: np.ndarray, *, mode: str = "RGB") -> torch.Tensor:
    image = Image.fromarray(pixels).convert(mode)
    return AutoImageProcessor.from_pretrained(folder).val_transforms(image)[None]


def change(file: Path, **settings) -> None:
    config = json.loads(file.read_text())
    config["pretrained_cfg"] = {
        key: value for key, value in (config["pretrained_cfg"] | settings).items() if value is not None
    }
    file.write_text(json.dumps(config))


def test_logits_against_timms_own_transform_and_network(tmp_path):
    network = save_timm(tmp_path / "timm", mean=MEAN, std=STD, crop_pct=1.0)
    loaded = regime_in(tmp_path).load(FINDINGS)
    values = as_timm_prepares(tmp_path / "timm", picture(160))
    torch.testing.assert_close(loaded.prepared(as_images(picture(160))), values, atol=1e-5, rtol=0)
    torch.testing.assert_close(loaded(as_images(picture(160))), network(values), atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("interpolation", ["bilinear", "bicubic"])
def test_images_of_another_size_are_resized_whole_against_pillow(interpolation, tmp_path):
    save_timm(tmp_path / "timm", mean=MEAN, std=STD, interpolation=interpolation, crop_pct=0.9)
    grey = np.random.default_rng(0).uniform(size=(190, 200)).astype(np.float32)
    small = Image.fromarray(grey).resize((160, 160), Image.Resampling[interpolation.upper()])
    expected = (np.asarray(small) - np.reshape(MEAN, (3, 1, 1))) / np.reshape(STD, (3, 1, 1))
    seen = regime_in(tmp_path).load(FINDINGS).prepared(torch.from_numpy(grey)[None, None])[0]
    np.testing.assert_allclose(seen, expected, atol=1e-4)


def test_a_network_of_one_channel_against_timms_own_transform(tmp_path):
    network = save_timm(tmp_path / "timm", in_chans=1, mean=[0.4], std=[0.2])
    values = as_timm_prepares(tmp_path / "timm", picture(160), mode="L")
    assert values.shape[1] == 1
    found = regime_in(tmp_path).load(FINDINGS)(as_images(picture(160)))
    torch.testing.assert_close(found, network((as_images(picture(160)) - 0.4) / 0.2), atol=1e-5, rtol=1e-5)


def test_size_and_architecture_stand_among_the_facts(tmp_path):
    network = save_timm(tmp_path / "timm", input_size=(3, 96, 128))
    facts = regime_in(tmp_path).facts()
    assert facts["resolution"] == [96, 128]
    assert facts["architecture"] == "test_resnet"
    assert facts["n_parameters"] == sum(one.numel() for one in network.state_dict().values())


@pytest.mark.parametrize("interpolation", [None, *PILLOW])
def test_what_is_silent_is_as_timm_takes_it(interpolation, tmp_path):
    save_timm(tmp_path / "timm")
    file = tmp_path / "timm" / "config.json"
    change(file, mean=None, std=None, input_size=None, crop_pct=None, interpolation=interpolation)
    taken = AutoImageProcessor.from_pretrained(tmp_path / "timm").data_config
    found = read_preprocessing(tmp_path / "timm", json.loads(file.read_text()))
    assert (found.mean, found.std, found.image_size) == (taken["mean"], taken["std"], taken["input_size"][1:])
    stands_for = {"nearest": "nearest-exact", "box": "area", "lanczos": "bicubic", "hamming": "bilinear"}
    assert found.interpolation == stands_for.get(taken["interpolation"], taken["interpolation"])


def test_a_preprocessor_config_beside_it_goes_first(tmp_path):
    save_timm(tmp_path / "timm", mean=MEAN, std=STD)
    (tmp_path / "timm" / "preprocessor_config.json").write_text('{"image_mean": 0.1}')
    found = read_preprocessing(tmp_path / "timm", json.loads((tmp_path / "timm" / "config.json").read_text()))
    assert (found.mean, found.std, found.image_size) == ((0.1,) * 3, tuple(STD), (160, 160))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"interpolation": "random"}, "interpolation is 'random', expected one of nearest, lanczos"),
        ({"input_size": [224, 224]}, r"input_size is \[224, 224\], expected channels, height and width"),
        ({"mean": [0.5, 0.5]}, r"\[0.5, 0.5\] is not one number for each of 3 channels"),
    ],
)
def test_settings_without_sense_are_refused_in_a_sentence(settings, message, tmp_path):
    save_timm(tmp_path / "timm")
    file = tmp_path / "timm" / "config.json"
    change(file, **settings)
    with pytest.raises(DataError, match=rf"config\.json: {message}"):
        regime_in(tmp_path).load(FINDINGS)
    assert known_size(tmp_path / "timm", json.loads(file.read_text())) is None


@pytest.mark.parametrize("name", ["test_vit", "test_vit4", "test_mambaout", "test_resnet"])
@pytest.mark.parametrize("pooling", ["pooler", "mean"])
def test_features_of_an_encoder_against_timm(name, pooling, tmp_path):
    network = save_timm(tmp_path / "timm", name, mean=MEAN, std=STD, crop_pct=1.0)
    features = network.forward_features(as_timm_prepares(tmp_path / "timm", picture(160)))
    if pooling == "pooler":
        expected = network.forward_head(features, pre_logits=True)
    elif features.ndim == 3:
        expected = features[:, network.num_prefix_tokens :].mean(dim=1)
    else:
        is_last = features.shape[-1] == network.num_features
        expected = features.mean(dim=(1, 2) if is_last else (2, 3))
    save_file({"weight": torch.eye(3, expected.shape[1]), "bias": torch.zeros(3)}, tmp_path / "head.safetensors")
    settings = {"head": str(tmp_path / "head.safetensors"), "outputs": FINDINGS, "pooling": pooling}
    found = regime_in(tmp_path, EncoderHead, **settings).load(FINDINGS)(as_images(picture(160)))
    torch.testing.assert_close(found, expected[:, :3], atol=1e-5, rtol=1e-5)


def test_weights_of_another_network_are_told(tmp_path):
    save_timm(tmp_path / "timm")
    file = tmp_path / "timm" / "model.safetensors"
    save_file(load_file(file) | {"layer9.weight": torch.zeros(2)}, file)
    with pytest.raises(DataError, match=r"1 weight without a place in TimmWrapperForImageClassification"):
        regime_in(tmp_path).load(FINDINGS)


@pytest.mark.parametrize("family", [HfClassifier, EncoderHead])
def test_a_model_of_timm_without_timm_is_told_what_to_install(family, tmp_path, monkeypatch):
    save_timm(tmp_path / "timm")
    monkeypatch.setitem(sys.modules, "timm", None)
    settings = {} if family is HfClassifier else {"head": "head.safetensors"}
    with pytest.raises(
        MissingGroupError, match=r"needs timm, which is not installed: run pip install 'cxrobust\[timm\]'"
    ):
        regime_in(tmp_path, family, **settings).load(FINDINGS)
