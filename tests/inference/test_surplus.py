"""Checkpoints with more weights than their network: mix-ups are refused, and what real ones bring along is not."""

import json
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import (
    CLIPConfig,
    CLIPModel,
    Dinov2Config,
    Dinov2ForImageClassification,
    GPT2Config,
    PreTrainedModel,
    ResNetConfig,
    ResNetForImageClassification,
    SiglipConfig,
    SiglipModel,
    SwinConfig,
    SwinForImageClassification,
    VisionEncoderDecoderConfig,
    VisionEncoderDecoderModel,
    ViTConfig,
    ViTMAEConfig,
    ViTMAEForPreTraining,
)
from transformers import ViTForImageClassification as ViT

from cxrobust.errors import DataError
from cxrobust.inference.pretrained import CLASSIFIER, ENCODER, load_network, quiet, read_config

SMALL = {"hidden_size": 8, "num_attention_heads": 2, "num_hidden_layers": 2}
VISION = {**SMALL, "intermediate_size": 8, "image_size": 16, "patch_size": 8}
TEXT = {**SMALL, "intermediate_size": 8, "vocab_size": 9, "bos_token_id": 0, "eos_token_id": 1}
IMAGES = torch.linspace(-1, 1, 2 * 3 * 16 * 16).reshape(2, 3, 16, 16)


def vit(**changes):
    return ViT(ViTConfig(**{**VISION, **changes}))


def dinov2(**changes):
    settings = {"image_size": 16, "patch_size": 8, **SMALL, **changes}
    return Dinov2ForImageClassification(Dinov2Config(**settings))


def swin():
    settings = {"image_size": 16, "patch_size": 4, "embed_dim": 8, "depths": [1], "num_heads": [1], "window_size": 4}
    return SwinForImageClassification(SwinConfig(**settings))


def resnet(depths=(1, 2)):
    settings = {"embedding_size": 8, "hidden_sizes": [8, 16], "depths": list(depths), "layer_type": "basic"}
    return ResNetForImageClassification(ResNetConfig(**settings))


def mae():
    decoder = {"decoder_hidden_size": 8, "decoder_num_hidden_layers": 1, "decoder_num_attention_heads": 2}
    return ViTMAEForPreTraining(ViTMAEConfig(**VISION, **decoder, decoder_intermediate_size=8))


def clip():
    return CLIPModel(CLIPConfig(vision_config=VISION, text_config=TEXT))


def siglip():
    return SiglipModel(SiglipConfig(vision_config=VISION, text_config=TEXT))


def writer():
    words = GPT2Config(n_embd=8, n_layer=2, n_head=2, vocab_size=9, n_positions=8, bos_token_id=0, eos_token_id=1)
    return VisionEncoderDecoderModel(
        VisionEncoderDecoderConfig.from_encoder_decoder_configs(ViTConfig(**VISION), words)
    )


def saved(folder: Path, network: PreTrainedModel, *, more: dict[str, torch.Tensor] | None = None, **config) -> Path:
    """Save a network, with `more` weights in its file and changes of its configuration."""
    with quiet():
        network.save_pretrained(folder)
    if more:
        file = folder / "model.safetensors"
        save_file({**load_file(file), **more}, file, metadata={"format": "pt"})
    settings = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**settings, **config}))
    return folder


def of_vision(folder: Path, kind: str) -> Path:
    """Let the configuration of a whole CLIP or SigLIP be that of its vision tower alone."""
    settings = json.loads((folder / "config.json").read_text())["vision_config"]
    (folder / "config.json").write_text(json.dumps({**settings, "model_type": kind}))
    return folder


def load(folder: Path, auto: str, adapter: Path | None = None):
    return load_network(folder, config=read_config(folder), auto=auto, adapter=adapter, unused=("pooler",))


REFUSED = {
    "layers of a classifier": (
        lambda f: saved(f, vit(), num_hidden_layers=1),
        CLASSIFIER,
        r"16 weights .*layer.*\.1\.",
    ),
    "layers of a stage": (
        lambda f: saved(f, resnet(), depths=[1, 1]),
        CLASSIFIER,
        r"10 weights without a place in ResNetFor.* as config\.json describes it .*layers\.1\.",
    ),
    "layers of an encoder": (
        lambda f: saved(f, vit(), num_hidden_layers=1),
        ENCODER,
        r"16 weights without a place in ViTModel",
    ),
    "layers of a tower": (
        lambda f: of_vision(saved(f, clip(), vision_config={**VISION, "num_hidden_layers": 1}), "clip_vision_model"),
        ENCODER,
        r"16 weights .*layers\.1\.",
    ),
    "layers of a decoder": (
        lambda f: saved(f, writer(), decoder={**writer().config.decoder.to_dict(), "n_layer": 1}),
        "AutoModelForImageTextToText",
        r"16 weights .*decoder\.transformer\.h\.1\.",
    ),
    "biases": (lambda f: saved(f, vit(), qkv_bias=False), ENCODER, r"6 weights without a place in ViTModel"),
    "registers": (
        lambda f: saved(f, dinov2(), more={"dinov2.embeddings.register_tokens": torch.ones(1, 4, 8)}),
        ENCODER,
        r"1 weight without a place in Dinov2Model .*register_tokens\): correct config\.json, or",
    ),
    "second head": (
        lambda f: saved(f, vit(), more={"other_head.weight": torch.ones(2, 8)}),
        CLASSIFIER,
        r"1 weight .*\(other_head\.weight\)",
    ),
    "within DataParallel": (
        lambda f: wrapped(saved(f, vit())),
        CLASSIFIER,
        r"40 weights missing or of another shape .*: save the network that DataParallel wraps, its \.module$",
    ),
}


def wrapped(folder: Path) -> Path:
    """Call weights as `torch.nn.DataParallel` does."""
    file = folder / "model.safetensors"
    save_file({f"module.{key}": value for key, value in load_file(file).items()}, file, metadata={"format": "pt"})
    return folder


@pytest.mark.parametrize("case", REFUSED)
def test_weights_without_a_place_are_one_sentence(case, tmp_path):
    make, auto, words = REFUSED[case]
    with pytest.raises(DataError, match=words) as caught:
        load(make(tmp_path / "model"), auto)
    assert "\n" not in str(caught.value)
    assert str(caught.value).startswith(f"{tmp_path / 'model' / 'model.safetensors'}: ")


NEEDLESS = {
    "pooler of a classifier": (
        vit,
        {"vit.pooler.dense.weight": torch.ones(8, 8), "vit.pooler.dense.bias": torch.ones(8)},
        CLASSIFIER,
    ),
    "token of masked training": (
        lambda: dinov2(use_mask_token=False),
        {"dinov2.embeddings.mask_token": torch.ones(1, 8)},
        CLASSIFIER,
    ),
    "token of an encoder": (
        lambda: dinov2(use_mask_token=False).dinov2,
        {"embeddings.mask_token": torch.ones(1, 8)},
        ENCODER,
    ),
    "positions": (vit, {"vit.embeddings.position_ids": torch.arange(5)}, CLASSIFIER),
    "what the class ignores": (
        swin,
        {"swin.encoder.layers.0.blocks.0.attention.self.relative_position_index": torch.zeros(16, 16)},
        CLASSIFIER,
    ),
    "head of an encoder": (lambda: dinov2().dinov2, {"classifier.weight": torch.ones(2, 8)}, ENCODER),
}


@pytest.mark.parametrize("case", NEEDLESS)
def test_weights_that_no_prediction_needs_change_nothing(case, tmp_path):
    make, more, auto = NEEDLESS[case]
    torch.manual_seed(0)
    network = make().eval()
    loaded = load(saved(tmp_path / "model", network, more=more), auto)
    expected = network(pixel_values=IMAGES)[0]
    torch.testing.assert_close(loaded(pixel_values=IMAGES)[0], expected)


@pytest.mark.parametrize(("make", "kind"), [(clip, "clip_vision_model"), (siglip, "siglip_vision_model")])
def test_a_vision_tower_of_a_whole_checkpoint_against_it(make, kind, tmp_path):
    torch.manual_seed(0)
    network = make().eval()
    folder = saved(tmp_path / "model", network)
    torch.testing.assert_close(
        load(folder, ENCODER).get_image_features(pixel_values=IMAGES).pooler_output,
        network.get_image_features(pixel_values=IMAGES).pooler_output,
    )
    tower = load(of_vision(folder, kind), ENCODER)
    expected = network.vision_model(pixel_values=IMAGES).pooler_output
    torch.testing.assert_close(tower(pixel_values=IMAGES).pooler_output, expected)


def test_an_encoder_of_a_masked_autoencoder_loads(tmp_path):
    network = load(saved(tmp_path / "model", mae(), mask_ratio=0.0), ENCODER)
    assert network(pixel_values=IMAGES).last_hidden_state.shape == (2, 5, 8)


def adapter_on(network: PreTrainedModel, folder: Path) -> Path:
    from peft import LoraConfig, get_peft_model

    config = LoraConfig(r=2, target_modules=["q_proj"], modules_to_save=["classifier"], init_lora_weights=False)
    with quiet():
        get_peft_model(network, config).save_pretrained(folder)
    return folder


def test_an_adapter_of_a_deeper_network_is_refused(tmp_path):
    model = saved(tmp_path / "model", vit(num_hidden_layers=1))
    deeper = adapter_on(vit(num_hidden_layers=3), tmp_path / "deeper")
    words = r"adapter_model\.safetensors: 4 weights of the adapter without a place in the model \(.*\.1\..*: give the"
    with pytest.raises(DataError, match=words):
        load(model, CLASSIFIER, deeper)
    own = adapter_on(vit(num_hidden_layers=1), tmp_path / "own")
    assert load(model, CLASSIFIER, own)(pixel_values=IMAGES).logits.shape == (2, 2)


def test_a_base_whose_head_an_adapter_brings_is_an_encoder(tmp_path):
    torch.manual_seed(0)
    classifier = vit()
    own = adapter_on(vit(), tmp_path / "own")
    base = saved(
        tmp_path / "base", classifier.vit, more={"pooler.dense.bias": torch.ones(8), "decoder.bias": torch.ones(2)}
    )
    assert load(base, CLASSIFIER, own)(pixel_values=IMAGES).logits.shape == (2, 2)
    shutil.rmtree(base)
    base = saved(tmp_path / "base", classifier.vit, num_hidden_layers=1)
    shallow = adapter_on(vit(num_hidden_layers=1), tmp_path / "shallow")
    with pytest.raises(DataError, match=r"base/model\.safetensors: 16 weights without a place in ViTForImage"):
        load(base, CLASSIFIER, shallow)
