"""Family `vlm`: yes against no of the next token, by the processor and forward pass of transformers as oracle."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from transformers import (
    AutoProcessor,
)

from cxrobust.errors import DataError, StudyError
from cxrobust.inference.models.vlm import VisionLanguageModel
from cxrobust.inference.pretrained import quiet
from cxrobust.inference.vision_language import ask
from cxrobust.study import parse_study
from tests.inference.tiny_vlms import (
    IMAGE,
    VOCABULARY,
    internvl_processor,
    make_llava_next,
    save_gemma,
    save_idefics,
    save_llava,
    save_qwen,
)

from .pictures import as_images, picture
from .tiny import remove_tokenizer

FINDINGS = ("Mass", "Pleural_Effusion")
QUESTION = "Is there {finding} ?"


def regime_in(folder: Path, **settings) -> VisionLanguageModel:
    table = {"name": "r", "family": "vlm", "model": "vlm", "question": QUESTION, **settings}
    return VisionLanguageModel.model_validate_json(json.dumps(table), context={"study_folder": folder})


def expected_log_odds(network, folder: Path, *pictures: np.ndarray, processor=None) -> torch.Tensor:
    """Log-odds by generating from a conversation, as the library documents it."""
    processor = processor or AutoProcessor.from_pretrained(folder)
    rows = []
    for one in pictures:
        row = []
        for finding in ("mass", "pleural effusion"):
            content = [{"type": "image"}, {"type": "text", "text": QUESTION.replace("{finding}", finding)}]
            text = processor.apply_chat_template([{"role": "user", "content": content}], add_generation_prompt=True)
            inputs = processor(images=Image.fromarray(one).convert("RGB"), text=text, return_tensors="pt")
            with torch.no_grad():
                p = network(**inputs).logits[0, -1].softmax(dim=0)
            yes, no = (sum(p[VOCABULARY[word]] for word in words) for words in (("Yes", "yes"), ("No", "no")))
            row.append((yes / no).log())
        rows.append(torch.stack(row))
    return torch.stack(rows)


@pytest.mark.parametrize("side", [32, 48])
@pytest.mark.parametrize("save", [save_llava, save_gemma])
def test_logits_against_processor_and_forward_pass_of_transformers(save, side, tmp_path):
    network = save(tmp_path / "vlm")
    loaded = regime_in(tmp_path).load(FINDINGS)
    pictures = picture(side), picture(side, seed=1)
    expected = expected_log_odds(network, tmp_path / "vlm", *pictures)
    assert (expected[0] - expected[1]).abs().max() > 0.01
    tolerance = 1e-4 if side == 32 else 0.05  # the processor rounds resized pixels to 8 bits
    torch.testing.assert_close(loaded(as_images(*pictures)), expected, atol=tolerance, rtol=1e-4)


def test_qwen_whose_processor_cuts_patches_against_transformers(tmp_path):
    network = save_qwen(tmp_path / "vlm")
    loaded = regime_in(tmp_path, image_size=32).load(FINDINGS)
    pictures = picture(32), picture(32, seed=1)
    expected = expected_log_odds(network, tmp_path / "vlm", *pictures)
    assert (expected[0] - expected[1]).abs().max() > 0.01
    torch.testing.assert_close(loaded(as_images(*pictures)), expected, atol=1e-4, rtol=1e-4)
    with pytest.raises(DataError, match="it takes images of many sizes: give image_size"):
        regime_in(tmp_path).load(FINDINGS)


def test_a_processor_that_cuts_tiles_takes_an_image_of_one_tile_whole(tmp_path):
    network = save_idefics(tmp_path / "vlm")
    with pytest.raises(DataError, match=r"an image of 64 × 64 pixels .* into tiles.*: give image_size = 32, at which"):
        regime_in(tmp_path, image_size=64).load(FINDINGS)
    loaded = regime_in(tmp_path, image_size=32).load(FINDINGS)
    pictures = picture(32), picture(32, seed=1)
    processor = AutoProcessor.from_pretrained(tmp_path / "vlm", do_image_splitting=False, size={"longest_edge": 32})
    expected = expected_log_odds(network, tmp_path / "vlm", *pictures, processor=processor)
    assert (expected[0] - expected[1]).abs().max() > 0.01
    torch.testing.assert_close(loaded(as_images(*pictures)), expected, atol=1e-4, rtol=1e-4)


def test_tiles_of_internvl_are_refused_with_the_size_of_one():
    [asked], order = ask(internvl_processor(), [f"{IMAGE} Is there mass ?"], size=(32, 32), where="here")
    torch.testing.assert_close(order, torch.arange(3 * 32 * 32).reshape(1, 3, 32, 32))
    assert asked["input_ids"].tolist()[0].count(VOCABULARY[IMAGE]) == 4
    with pytest.raises(DataError, match="give image_size = 32, at which it takes an image whole"):
        ask(internvl_processor(), [f"{IMAGE} Is there mass ?"], size=(96, 64), where="here")


@pytest.mark.parametrize("side", [32, 64])
def test_a_processor_that_cuts_or_pads_every_image_is_refused(side, tmp_path):
    save_llava(tmp_path / "vlm")
    make_llava_next(tmp_path / "vlm")
    mend = r"cuts it into tiles, or pads it.*: set image_grid_pinpoints to \[\[32, 32\]\] .*, and give image_size = 32"
    with pytest.raises(DataError, match=mend):
        regime_in(tmp_path, image_size=side, prompt="{image} {question}").load(FINDINGS)


@pytest.mark.parametrize("save", [save_llava, save_qwen, save_gemma, save_idefics])
def test_gradient_reaches_the_pixels_against_finite_differences(save, tmp_path):
    save(tmp_path / "vlm")
    model = regime_in(tmp_path, image_size=32).load(FINDINGS)
    images = as_images(picture(40)).requires_grad_(True)
    (gradient,) = torch.autograd.grad(model(images).sum(), images)
    assert gradient.isfinite().all()
    assert (gradient != 0).float().mean() > 0.9
    step = 2e-3 * gradient / gradient.norm()  # parts of such models are in single precision always
    with torch.no_grad():
        change = (model(images + step) - model(images - step)).sum()
    torch.testing.assert_close(change, 2 * (gradient * step).sum(), rtol=0.02, atol=0)


def test_images_pass_the_encoder_once_for_all_questions(tmp_path):
    save_llava(tmp_path / "vlm")
    loaded = regime_in(tmp_path).load(FINDINGS)
    answers = loaded.network
    if not answers.takes_encoded:
        pytest.skip("this version of transformers encodes images for each question")
    seen = []
    tower = next(module for name, module in loaded.named_modules() if name.endswith("vision_tower"))
    tower.register_forward_hook(lambda *_: seen.append(1))
    shared = loaded(as_images(picture()))
    assert len(seen) == 1
    answers.takes_encoded = False
    torch.testing.assert_close(loaded(as_images(picture())), shared, atol=1e-5, rtol=1e-5)
    assert len(seen) == 3


def test_adapter_against_peft(tmp_path):
    from peft import LoraConfig, get_peft_model

    network = save_llava(tmp_path / "vlm")
    plain = regime_in(tmp_path).load(FINDINGS)(as_images(picture()))
    with quiet():
        adapted = get_peft_model(network, LoraConfig(r=2, target_modules=["q_proj", "fc1"]))
    for name, parameter in adapted.named_parameters():
        if "lora_" in name:
            torch.nn.init.normal_(parameter, std=0.3)
    adapted.save_pretrained(tmp_path / "lora")
    loaded = regime_in(tmp_path, adapter=str(tmp_path / "lora")).load(FINDINGS)
    expected = expected_log_odds(adapted.eval(), tmp_path / "vlm", picture())
    torch.testing.assert_close(loaded(as_images(picture())), expected, atol=1e-4, rtol=1e-4)
    assert (plain - expected).abs().max() > 0.01


def test_prompt_of_the_study_file_instead_of_a_conversation(tmp_path):
    network = save_llava(tmp_path / "vlm", template=None)
    loaded = regime_in(tmp_path, prompt="{image} USER: {question}").load(("Mass",))
    processor = AutoProcessor.from_pretrained(tmp_path / "vlm")
    image = Image.fromarray(picture()).convert("RGB")
    inputs = processor(images=image, text=f"{IMAGE} USER: Is there mass ?", return_tensors="pt")
    logits = network(**inputs).logits[0, -1]
    yes, no = (logits[[VOCABULARY[word] for word in words]].logsumexp(0) for words in (("Yes", "yes"), ("No", "no")))
    torch.testing.assert_close(loaded(as_images(picture()))[0, 0], yes - no, atol=1e-4, rtol=1e-4)


def test_fingerprint_and_facts(tmp_path):
    network = save_llava(tmp_path / "vlm")
    regime = regime_in(tmp_path)
    names = {"vlm/config.json", "vlm/model.safetensors", "vlm/processor_config.json", "vlm/tokenizer.json"}
    assert names <= set(regime.fingerprint())
    assert any("chat_template" in name for name in regime.fingerprint())
    facts = regime.facts()
    assert (facts["architecture"], facts["resolution"]) == ("LlavaForConditionalGeneration", [32, 32])
    assert facts["n_parameters"] == sum(p.numel() for p in network.parameters())
    assert regime_in(tmp_path, image_size=64).facts()["resolution"] == [64, 64]


def test_facts_tell_which_spellings_are_one_token_each(tmp_path):
    save_llava(tmp_path / "vlm")
    tokenizer = AutoProcessor.from_pretrained(tmp_path / "vlm").tokenizer
    yes, no = ("Yes", "certainly so", "yes"), ("no", "No", "not at all")
    answers = regime_in(tmp_path, yes=yes, no=no).facts()["answers"]
    known = {text for text in (*yes, *no) if tokenizer.convert_ids_to_tokens(tokenizer(text).input_ids) == [text]}
    assert answers == {"yes": ["Yes", "yes"], "no": ["no", "No"]}
    assert {*answers["yes"], *answers["no"]} == known
    same = regime_in(tmp_path, yes=("Yes", " Yes"), no=no).facts()["answers"]
    assert same["yes"] == ["Yes"]  # this tokenizer takes no space for a part of a word


def test_facts_tell_the_text_that_the_processor_is_given(tmp_path):
    """Against the library's own conversation and the texts that the processor gets when the model is loaded."""
    save_llava(tmp_path / "vlm")
    content = [{"type": "image"}, {"type": "text", "text": QUESTION}]
    conversation = AutoProcessor.from_pretrained(tmp_path / "vlm").apply_chat_template(
        [{"role": "user", "content": content}], add_generation_prompt=True, tokenize=False
    )
    assert regime_in(tmp_path).facts()["asked"] == {"texts": [conversation], "form": "template"}
    assert conversation == f"USER: {IMAGE} {QUESTION} ASSISTANT:"
    assert "{finding}" in conversation
    own = regime_in(tmp_path, prompt="{image} USER: {question}").facts()["asked"]
    assert own == {"texts": [f"{IMAGE} USER: {QUESTION}"], "form": "study"}
    save_llava(tmp_path / "bare", template=None)
    bare = regime_in(tmp_path, model="bare").facts()["asked"]
    assert bare == {"texts": [f"{IMAGE}{QUESTION}"], "form": "none"}


def say_of_pixels(folder: Path, **settings: object) -> None:
    """Change what the image processor's file says."""
    file = folder / "processor_config.json"
    told = json.loads(file.read_text())
    told["image_processor"].update(settings)
    file.write_text(json.dumps(told))


def test_pixels_of_another_scale_are_those_of_the_processor(tmp_path):
    save_llava(tmp_path / "vlm")
    say_of_pixels(tmp_path / "vlm", rescale_factor=1 / 127.5)
    model = regime_in(tmp_path).load(FINDINGS)  # held against the processor's pixels as it is loaded
    assert model(torch.rand(2, 1, 32, 32)).shape == (2, len(FINDINGS))


@pytest.mark.parametrize(
    ("damage", "settings", "message"),
    [
        (lambda f: None, {"words": {"Edema": "oedema"}}, "words names 'Edema', which is no finding"),
        (lambda f: None, {"yes": ["certainly so"]}, r"none of the answers \['certainly so'\] is one token"),
        (lambda f: None, {"yes": ["no"]}, "is an answer of both yes and no"),
        (
            lambda f: say_of_pixels(f, include_top=True),  # which this processor does not heed
            {},
            "its processor does more to an image of 32 × 32 pixels than to resize",
        ),
        (remove_tokenizer, {}, "the tokenizer's files are missing"),
        (lambda f: (f / "tokenizer.json").write_text("{"), {}, "the processor cannot be loaded"),
        (lambda f: (f / "model.safetensors").write_bytes(b""), {}, "the weights are damaged"),
    ],
)
def test_what_cannot_be_used_is_one_sentence(damage, settings, message, tmp_path):
    save_llava(tmp_path / "vlm")
    damage(tmp_path / "vlm")
    with pytest.raises(DataError, match=message) as caught:
        regime_in(tmp_path, **settings).load(FINDINGS)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("line", "message"),
    [('question = "Is it?"', "question has no {finding}"), ('prompt = "{question}"', "prompt needs {image}")],
)
def test_texts_without_their_places_are_refused(line, message, tmp_path):
    text = (
        '[study]\ntitle = "t"\nseed = 1\nreference = "r"\n[data]\nkind = "phantoms"\n[[regimes]]\nname = "r"\n'
        f'family = "vlm"\nmodel = "vlm"\n{line}\n'
    )
    with pytest.raises(StudyError) as caught:
        parse_study(text, path=tmp_path / "study.toml")
    assert message in str(caught.value)
