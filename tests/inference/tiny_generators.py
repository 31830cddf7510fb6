"""Generators of reports that run in a second: built from config with random weights, saved and loaded by name."""

from pathlib import Path

import torch
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import (
    BertConfig,
    CLIPImageProcessor,
    CLIPVisionConfig,
    LlamaConfig,
    LlavaConfig,
    LlavaForConditionalGeneration,
    LlavaProcessor,
    PreTrainedTokenizerFast,
    VisionEncoderDecoderConfig,
    VisionEncoderDecoderModel,
    ViTConfig,
    ViTImageProcessor,
)

from tests.inference.tiny import write_study

WORDS = (
    "There is no small large left right effusion pneumothorax mass nodule edema . The lungs are clear heart normal "
    "Describe the image Is there ? Yes No USER: ASSISTANT: and possible"
)
SPECIAL = ("<pad>", "<unk>", "<eos>", "<bos>", "<image>")
VOCABULARY = {word: index for index, word in enumerate(dict.fromkeys((*SPECIAL, *WORDS.split())))}
SMALL = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 16}


def tokenizer() -> PreTrainedTokenizerFast:
    made = Tokenizer(models.WordLevel(VOCABULARY, unk_token="<unk>"))
    made.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    return PreTrainedTokenizerFast(
        tokenizer_object=made,
        pad_token="<pad>",
        unk_token="<unk>",
        eos_token="<eos>",
        bos_token="<bos>",
        extra_special_tokens={"image_token": "<image>"},
    )


def randomised(network: torch.nn.Module, *, seed: int, std: float = 0.4) -> torch.nn.Module:
    generator = torch.Generator().manual_seed(seed)
    for parameter in network.parameters():
        if parameter.ndim > 1:
            torch.nn.init.normal_(parameter, std=std, generator=generator)
    return network.eval()


def save_llava(folder: Path, *, seed: int = 0, side: int = 16) -> torch.nn.Module:
    config = LlavaConfig(
        vision_config=CLIPVisionConfig(**SMALL, image_size=side, patch_size=8, projection_dim=8),
        text_config=LlamaConfig(
            **SMALL,
            vocab_size=len(VOCABULARY),
            num_key_value_heads=2,
            pad_token_id=0,
            bos_token_id=3,
            eos_token_id=2,
        ),
        image_token_index=VOCABULARY["<image>"],
        vision_feature_layer=-1,
    )
    torch.manual_seed(0)
    network = randomised(LlavaForConditionalGeneration(config), seed=seed)
    network.save_pretrained(folder)
    LlavaProcessor(
        image_processor=CLIPImageProcessor(size={"shortest_edge": side}, crop_size={"height": side, "width": side}),
        tokenizer=tokenizer(),
        patch_size=8,
        vision_feature_select_strategy="default",
        num_additional_image_tokens=1,
    ).save_pretrained(folder)
    return network


def save_encoder_decoder(folder: Path, *, seed: int = 0, side: int = 16) -> torch.nn.Module:
    encoder = ViTConfig(**SMALL, image_size=side, patch_size=8, num_channels=1)
    decoder = BertConfig(
        **SMALL, vocab_size=len(VOCABULARY), is_decoder=True, add_cross_attention=True, max_position_embeddings=64
    )
    config = VisionEncoderDecoderConfig.from_encoder_decoder_configs(encoder, decoder)
    config.decoder_start_token_id, config.eos_token_id, config.pad_token_id = 3, 2, 0
    torch.manual_seed(0)
    network = randomised(VisionEncoderDecoderModel(config=config), seed=seed)
    network.save_pretrained(folder)
    tokenizer().save_pretrained(folder)
    ViTImageProcessor(size={"height": side, "width": side}, image_mean=[0.5], image_std=[0.5]).save_pretrained(folder)
    return network


REGIME = """
[[regimes]]
name = "NAME"
family = "generator"
model = "NAME"
prompt = "Describe the image"
form = "{image} USER: {question} ASSISTANT:"
question = "Is there {finding} ?"
max_new_tokens = 8
observations = { Effusion = "Pleural Effusion", Mass = "Lung Lesion" }
"""


def write_generator_study(folder: Path, *, n_images: int = 12, attack: str = "", regime: str = "") -> Path:
    """Write a study of two generators, `sft` and `dpo`, on random images; return its file."""
    study = write_study(folder, n_images=n_images)
    text = study.read_text()
    head, _, rest = text.partition("[[regimes]]")
    tail = rest[rest.index("[analysis]") :]
    for seed, name in enumerate(("sft", "dpo")):
        save_llava(folder / name, seed=seed)
        head += REGIME.replace("NAME", name) + regime
    perturbed = attack or '[[perturbations]]\nattack = "pgd"\neps = "8/255"\nsteps = 3\ntarget = "report"\n'
    study.write_text((head + perturbed + tail).replace('reference = "a"', 'reference = "sft"'))
    return study
