"""Family `zero-shot`: prompts, log-odds of a pair, kept text features, open_clip, and what is refused."""

import json
from pathlib import Path

import pytest
import torch
from PIL import Image
from safetensors.torch import save_file
from tokenizers import Tokenizer, models, pre_tokenizers, processors
from transformers import (
    AutoTokenizer,
    BertConfig,
    CLIPConfig,
    CLIPImageProcessor,
    CLIPModel,
    PreTrainedTokenizerFast,
    SiglipConfig,
    SiglipImageProcessor,
    SiglipModel,
    ViTConfig,
    ViTModel,
)

from cxrobust.errors import DataError, StudyError
from cxrobust.inference.models import Workplace
from cxrobust.inference.models.zero_shot import ZeroShot
from cxrobust.inference.pretrained import quiet
from cxrobust.study import parse_study

from .pictures import as_images, picture
from .tiny import remove_tokenizer

FINDINGS = ("Mass", "Pleural_Effusion")
WORDS = ("no", "a", "mass", "pleural", "effusion", "chest", "x-ray", "with", "without", "fluid")
SMALL = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 16}
VISION = {**SMALL, "image_size": 32, "patch_size": 8}


def save_tokenizer(folder: Path) -> None:
    """A tokenizer of whole words that ends each text, as CLIP's does."""
    vocabulary = {word: index for index, word in enumerate(("<pad>", "<unk>", *WORDS, "<eos>"))}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    end = ("<eos>", vocabulary["<eos>"])
    tokenizer.post_processor = processors.TemplateProcessing(single="$A <eos>", special_tokens=[end])
    fast = PreTrainedTokenizerFast(tokenizer_object=tokenizer, pad_token="<pad>", unk_token="<unk>", eos_token="<eos>")
    fast.save_pretrained(folder)


def text_settings() -> dict:
    n_words = len(WORDS) + 3
    ids = {"vocab_size": n_words, "eos_token_id": n_words - 1, "bos_token_id": 0, "pad_token_id": 0}
    return {**SMALL, "max_position_embeddings": 8, **ids}


def save_clip(folder: Path, *, seed: int = 0, **processor) -> CLIPModel:
    torch.manual_seed(seed)
    network = CLIPModel(CLIPConfig(text_config=text_settings(), vision_config=VISION, projection_dim=12)).eval()
    for parameter in network.parameters():
        torch.nn.init.normal_(parameter, std=0.3) if parameter.ndim > 1 else None
    network.save_pretrained(folder)
    CLIPImageProcessor(size={"shortest_edge": 32}, crop_size={"height": 32, "width": 32}, **processor).save_pretrained(
        folder
    )
    save_tokenizer(folder)
    return network


def save_siglip(folder: Path) -> SiglipModel:
    torch.manual_seed(0)
    network = SiglipModel(SiglipConfig(text_config=text_settings(), vision_config=VISION)).eval()
    for parameter in network.parameters():
        torch.nn.init.normal_(parameter, std=0.3) if parameter.ndim > 1 else None
    network.logit_bias.data.fill_(-3.0)
    network.save_pretrained(folder)
    SiglipImageProcessor(size={"height": 32, "width": 32}).save_pretrained(folder)
    save_tokenizer(folder)
    return network


def regime_in(folder: Path, **settings) -> ZeroShot:
    table = {"name": "r", "family": "zero-shot", "model": "clip", **settings}
    return ZeroShot.model_validate_json(json.dumps(table, default=str), context={"study_folder": folder})


@pytest.mark.parametrize("side", [32, 48])
def test_clip_against_processor_and_forward_pass_of_transformers(side, tmp_path):
    network = save_clip(tmp_path / "clip")
    loaded = regime_in(tmp_path).load(FINDINGS)
    pixels = CLIPImageProcessor.from_pretrained(tmp_path / "clip")(
        images=Image.fromarray(picture(side)).convert("RGB"), return_tensors="pt"
    )
    texts = ["mass", "no mass", "pleural effusion", "no pleural effusion"]
    tokens = AutoTokenizer.from_pretrained(tmp_path / "clip")(texts, padding=True, return_tensors="pt")
    logits = network(**pixels, input_ids=tokens["input_ids"], attention_mask=tokens["attention_mask"]).logits_per_image
    expected = torch.stack([logits[:, 0] - logits[:, 1], logits[:, 2] - logits[:, 3]], dim=1)
    assert expected.abs().min() > 0.05
    tolerance = 1e-4 if side == 32 else 0.05  # the processor rounds resized pixels to 8 bits
    torch.testing.assert_close(loaded(as_images(picture(side))), expected, atol=tolerance, rtol=1e-4)
    p = torch.stack([logits[0, :2].softmax(dim=0)[0], logits[0, 2:].softmax(dim=0)[0]])
    torch.testing.assert_close(loaded(as_images(picture(side)))[0].sigmoid(), p, atol=tolerance, rtol=1e-4)
    assert not any("text" in name for name, _ in loaded.named_parameters())


def test_adapter_on_both_encoders_against_peft(tmp_path):
    from peft import LoraConfig, get_peft_model

    network = save_clip(tmp_path / "clip")
    plain = regime_in(tmp_path).load(FINDINGS)(as_images(picture()))
    with quiet():
        adapted = get_peft_model(network, LoraConfig(r=2, target_modules=["q_proj"]))
    for name, parameter in adapted.named_parameters():
        if "lora_" in name:
            torch.nn.init.normal_(parameter, std=0.5)
    adapted.save_pretrained(tmp_path / "lora")
    pixels = CLIPImageProcessor.from_pretrained(tmp_path / "clip")(
        images=Image.fromarray(picture()).convert("RGB"), return_tensors="pt"
    )
    tokens = AutoTokenizer.from_pretrained(tmp_path / "clip")(["mass", "no mass"], padding=True, return_tensors="pt")
    tokens = {key: tokens[key] for key in ("input_ids", "attention_mask")}
    logits = adapted.eval()(**pixels, **tokens).logits_per_image
    loaded = regime_in(tmp_path, adapter=str(tmp_path / "lora")).load(FINDINGS)(as_images(picture()))
    torch.testing.assert_close(loaded[:, 0], logits[:, 0] - logits[:, 1], atol=1e-4, rtol=1e-4)
    assert (plain - loaded).abs().max() > 0.01


def test_siglip_against_forward_pass_of_transformers(tmp_path):
    network = save_siglip(tmp_path / "clip")
    loaded = regime_in(tmp_path).load(FINDINGS)
    pixels = SiglipImageProcessor.from_pretrained(tmp_path / "clip")(
        images=Image.fromarray(picture()).convert("RGB"), return_tensors="pt"
    )
    texts = ["mass", "no mass", "pleural effusion", "no pleural effusion"]
    tokenizer = AutoTokenizer.from_pretrained(tmp_path / "clip")
    tokens = tokenizer(texts, padding="max_length", max_length=8, return_tensors="pt")
    logits = network(**pixels, input_ids=tokens["input_ids"]).logits_per_image
    expected = torch.stack([logits[:, 0] - logits[:, 1], logits[:, 2] - logits[:, 3]], dim=1)
    torch.testing.assert_close(loaded(as_images(picture())), expected, atol=1e-4, rtol=1e-4)


def test_several_prompts_are_averaged_as_unit_vectors(tmp_path):
    network = save_clip(tmp_path / "clip")
    tokenizer = AutoTokenizer.from_pretrained(tmp_path / "clip")
    regime = regime_in(
        tmp_path,
        present=["{finding}", "a chest x-ray with {finding}"],
        absent=["no {finding}", "a chest x-ray without {finding}"],
        prompts={"Mass": {"present": ["a mass"], "absent": ["a chest x-ray"]}},
        words={"Pleural_Effusion": "pleural fluid"},
    )

    def unit(text: str) -> torch.Tensor:
        features = network.get_text_features(**tokenizer(text, return_tensors="pt")).pooler_output[0]
        return features / features.norm()

    def mean(*texts: str) -> torch.Tensor:
        average = sum(unit(text) for text in texts) / len(texts)
        return average / average.norm()

    pixels = CLIPImageProcessor.from_pretrained(tmp_path / "clip")(
        images=Image.fromarray(picture()).convert("RGB"), return_tensors="pt"
    )
    image = network.get_image_features(**pixels).pooler_output[0]
    image = network.logit_scale.exp() * image / image.norm()
    expected = torch.stack(
        [
            image @ mean("a mass") - image @ mean("a chest x-ray"),
            image @ mean("pleural fluid", "a chest x-ray with pleural fluid")
            - image @ mean("no pleural fluid", "a chest x-ray without pleural fluid"),
        ]
    )
    torch.testing.assert_close(regime.load(FINDINGS)(as_images(picture()))[0], expected, atol=1e-4, rtol=1e-4)


def test_gradient_reaches_the_pixels_against_finite_differences(tmp_path):
    save_clip(tmp_path / "clip")
    model = regime_in(tmp_path).load(FINDINGS).double()
    images = as_images(picture(40)).double().requires_grad_(True)
    assert torch.autograd.gradcheck(lambda x: model(x).sum(), images, fast_mode=True)
    (gradient,) = torch.autograd.grad(model(images).sum(), images)
    assert gradient.isfinite().all()
    assert (gradient != 0).float().mean() > 0.9


def test_text_features_are_computed_once_by_model_and_prompt(tmp_path, monkeypatch):
    save_clip(tmp_path / "clip")
    asked = []
    plain = CLIPModel.get_text_features

    def counted(self, *args, **kwargs):
        asked.append(kwargs["input_ids"].shape)
        return plain(self, *args, **kwargs)

    monkeypatch.setattr(CLIPModel, "get_text_features", counted)
    images = as_images(picture())
    values = []
    for findings in (FINDINGS, FINDINGS, (*FINDINGS, "Fluid")):
        regime = regime_in(tmp_path)
        regime.work_in(Workplace(cache=tmp_path / "cache"))
        values.append(regime.load(findings)(images)[:, :2])
    assert len(asked) == 6
    torch.testing.assert_close(values[0], values[1], atol=0, rtol=0)
    torch.testing.assert_close(values[0], values[2], atol=1e-5, rtol=1e-5)
    save_clip(tmp_path / "clip", seed=1)
    other = regime_in(tmp_path)
    other.work_in(Workplace(cache=tmp_path / "cache"))
    other.load(FINDINGS)
    assert len(asked) == 10


def test_fingerprint_and_facts(tmp_path):
    network = save_clip(tmp_path / "clip")
    regime = regime_in(tmp_path)
    assert {"clip/tokenizer.json", "clip/model.safetensors", "clip/config.json"} <= set(regime.fingerprint())
    facts = regime.facts()
    assert (facts["architecture"], facts["resolution"]) == ("CLIPModel", [32, 32])
    assert facts["n_parameters"] == sum(p.numel() for p in network.parameters())


def save_open_clip(folder: Path):
    open_clip = pytest.importorskip("open_clip")
    settings = {
        "embed_dim": 12,
        "vision_cfg": {"image_size": 32, "layers": 1, "width": 16, "head_width": 8, "patch_size": 8},
        "text_cfg": {"context_length": 12, "vocab_size": 49408, "width": 16, "heads": 2, "layers": 1},
    }
    preprocessing = {"mean": [0.4, 0.5, 0.6], "std": [0.2, 0.3, 0.4]}
    folder.mkdir()
    torch.manual_seed(0)
    network = open_clip.CLIP(**settings).eval()
    config = {"model_cfg": settings, "preprocess_cfg": preprocessing}
    (folder / "open_clip_config.json").write_text(json.dumps(config))
    save_file(network.state_dict(), folder / "open_clip_model.safetensors")
    return open_clip


@pytest.mark.parametrize("side", [32, 48])
def test_open_clip_against_its_own_preprocessing_and_forward_pass(side, tmp_path):
    open_clip = save_open_clip(tmp_path / "clip")
    network, preprocess = open_clip.create_model_from_pretrained(f"local-dir:{tmp_path / 'clip'}")
    tokenizer = open_clip.get_tokenizer(f"local-dir:{tmp_path / 'clip'}")
    image = preprocess(Image.fromarray(picture(side)))[None]
    texts = tokenizer(["mass", "no mass", "pleural effusion", "no pleural effusion"])
    logits, _ = network.eval().get_logits(image, texts)
    expected = torch.stack([logits[:, 0] - logits[:, 1], logits[:, 2] - logits[:, 3]], dim=1)
    loaded = regime_in(tmp_path).load(FINDINGS)
    tolerance = 1e-4 if side == 32 else 0.05
    torch.testing.assert_close(loaded(as_images(picture(side))), expected, atol=tolerance, rtol=1e-4)
    facts = regime_in(tmp_path).facts()
    assert (facts["resolution"], facts["source"]) == ([32, 32], "folder")
    assert set(regime_in(tmp_path).fingerprint()) == {"clip/open_clip_config.json", "clip/open_clip_model.safetensors"}
    images = as_images(picture(side)).requires_grad_(True)
    (gradient,) = torch.autograd.grad(loaded(images).sum(), images)
    assert gradient.isfinite().all()
    assert (gradient != 0).float().mean() > 0.9


def save_with_text_tower(folder: Path, tower: Path):
    """A model of open_clip whose texts go through a BERT, as BiomedCLIP's do."""
    open_clip = pytest.importorskip("open_clip")
    BertConfig(
        vocab_size=64, hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=32
    ).save_pretrained(tower)
    settings = {
        "embed_dim": 12,
        "vision_cfg": {"image_size": 32, "layers": 1, "width": 16, "head_width": 8, "patch_size": 8},
        "text_cfg": {
            "hf_model_name": str(tower),
            "hf_tokenizer_name": str(tower),
            "hf_model_pretrained": False,
            "hf_proj_type": "mlp",
            "hf_pooler_type": "cls_last_hidden_state_pooler",
            "context_length": 12,
        },
    }
    folder.mkdir()
    torch.manual_seed(0)
    network = open_clip.CustomTextCLIP(**settings).eval()
    config = {"model_cfg": settings, "preprocess_cfg": {"mean": [0.4, 0.5, 0.6], "std": [0.2, 0.3, 0.4]}}
    (folder / "open_clip_config.json").write_text(json.dumps(config))
    save_file(
        {name: one.contiguous() for name, one in network.state_dict().items()}, folder / "open_clip_model.safetensors"
    )
    save_tokenizer(folder)
    return open_clip


def test_open_clip_with_a_text_tower_of_transformers(tmp_path):
    open_clip = save_with_text_tower(tmp_path / "clip", tmp_path / "tower")
    network, preprocess = open_clip.create_model_from_pretrained(f"local-dir:{tmp_path / 'clip'}")
    tokenizer = open_clip.get_tokenizer(f"local-dir:{tmp_path / 'clip'}")
    image = preprocess(Image.fromarray(picture(32)))[None]
    texts = tokenizer(["mass", "no mass", "pleural effusion", "no pleural effusion"])
    logits, _ = network.eval().get_logits(image, texts)
    expected = torch.stack([logits[:, 0] - logits[:, 1], logits[:, 2] - logits[:, 3]], dim=1)
    assert expected.abs().min() > 1e-6
    torch.testing.assert_close(
        regime_in(tmp_path).load(FINDINGS)(as_images(picture(32))), expected, atol=1e-4, rtol=1e-4
    )
    before = regime_in(tmp_path).fingerprint()
    config = tmp_path / "tower" / "config.json"
    config.write_text(json.dumps({**json.loads(config.read_text()), "hidden_act": "relu"}))
    after = regime_in(tmp_path).fingerprint()
    assert {key for key in before if before[key] != after[key]} == {"text tower"}
    config.unlink()
    for does in (regime_in(tmp_path).fingerprint, lambda: regime_in(tmp_path).load(FINDINGS)):
        with pytest.raises(
            DataError, match=r"the text tower is of hf_model_name = .*tower', whose config\.json is neither"
        ):
            does()


def test_open_clip_prompt_that_would_be_cut_is_refused(tmp_path):
    save_open_clip(tmp_path / "clip")
    with pytest.raises(DataError, match="has more than 12 tokens: shorten it"):
        regime_in(tmp_path, words={"Mass": "very " * 20}).load(FINDINGS)


def test_open_clip_pickle_with_code_is_refused(tmp_path):
    save_open_clip(tmp_path / "clip")
    (tmp_path / "clip" / "open_clip_model.safetensors").unlink()
    torch.save({"weight": Path("x")}, tmp_path / "clip" / "open_clip_pytorch_model.bin")
    with pytest.raises(DataError, match="open_clip cannot load the model"):
        regime_in(tmp_path).load(FINDINGS)


@pytest.mark.parametrize(
    ("damage", "settings", "message"),
    [
        (lambda f: None, {"words": {"Edema": "oedema"}}, "words names 'Edema', which is no finding of this study"),
        (lambda f: None, {"words": {"Mass": "a " * 9}}, "has 10 tokens, of at most 8: shorten it"),
        (remove_tokenizer, {}, "the tokenizer's files are missing"),
        (lambda f: (f / "tokenizer.json").write_text("{"), {}, "the tokenizer cannot be loaded"),
        (lambda f: (f / "model.safetensors").write_bytes(b""), {}, "the weights are damaged"),
        (lambda f: ViTModel(ViTConfig(**VISION)).save_pretrained(f), {}, "ViTModel is no model of images and texts"),
        (lambda f: None, {"library": "open_clip"}, "open_clip cannot load the model"),
    ],
)
def test_what_cannot_be_used_is_one_sentence(damage, settings, message, tmp_path):
    save_clip(tmp_path / "clip")
    damage(tmp_path / "clip")
    with pytest.raises(DataError, match=message) as caught:
        regime_in(tmp_path, **settings).load(FINDINGS)
    assert "\n" not in str(caught.value)


def test_prompt_without_the_finding_is_refused_with_its_line(tmp_path):
    text = (
        '[study]\ntitle = "t"\nseed = 1\nreference = "r"\n[data]\nkind = "phantoms"\n[[regimes]]\nname = "r"\n'
        'family = "zero-shot"\nmodel = "clip"\npresent = ["a mass"]\n'
    )
    with pytest.raises(StudyError, match=r"present has the prompt 'a mass' without \{finding\}"):
        parse_study(text, path=tmp_path / "study.toml")
