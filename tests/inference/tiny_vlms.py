"""Tiny vision-language models of several architectures, built from config with random weights."""

from collections.abc import Sequence
from pathlib import Path

import torch
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import (
    CLIPImageProcessor,
    CLIPVisionConfig,
    Gemma3Config,
    Gemma3ForConditionalGeneration,
    Gemma3ImageProcessor,
    Gemma3Processor,
    GotOcr2ImageProcessor,
    Idefics3Config,
    Idefics3ForConditionalGeneration,
    Idefics3ImageProcessor,
    Idefics3Processor,
    InternVLProcessor,
    InternVLVideoProcessor,
    LlamaConfig,
    LlavaConfig,
    LlavaForConditionalGeneration,
    LlavaNextConfig,
    LlavaNextForConditionalGeneration,
    LlavaNextImageProcessor,
    LlavaNextProcessor,
    LlavaProcessor,
    PaliGemmaConfig,
    PaliGemmaForConditionalGeneration,
    PaliGemmaProcessor,
    PreTrainedTokenizerFast,
    Qwen2VLConfig,
    Qwen2VLForConditionalGeneration,
    Qwen2VLImageProcessor,
    Qwen2VLProcessor,
    SiglipImageProcessor,
)
from transformers.models.qwen2_vl.video_processing_qwen2_vl import Qwen2VLVideoProcessor

IMAGE, START, END, VIDEO = "<image>", "<vision>", "</vision>", "<video>"
WORDS = ("Is", "there", "mass", "pleural", "effusion", "?", "Yes", "yes", "No", "no", "USER:", "ASSISTANT:")
VOCABULARY = {
    word: index for index, word in enumerate(("<pad>", "<unk>", "<eos>", "<bos>", IMAGE, START, END, VIDEO, *WORDS))
}
SMALL = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 16}
TEMPLATE = (
    "{% for m in messages %}USER: {% for c in m['content'] %}{% if c['type'] == 'image' %}PLACE "
    "{% else %}{{ c['text'] }} {% endif %}{% endfor %}{% endfor %}ASSISTANT:"
)


def tokenizer_of_words() -> PreTrainedTokenizerFast:
    tokenizer = Tokenizer(models.WordLevel(VOCABULARY, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        pad_token="<pad>",
        unk_token="<unk>",
        eos_token="<eos>",
        bos_token="<bos>",
        extra_special_tokens={
            "image_token": IMAGE,
            "vision_bos_token": START,
            "vision_eos_token": END,
            "video_token": VIDEO,
            "boi_token": START,
            "eoi_token": END,
        },
    )


def randomised(network: torch.nn.Module) -> torch.nn.Module:
    generator = torch.Generator().manual_seed(0)
    for parameter in network.parameters():
        if parameter.ndim > 1:
            torch.nn.init.normal_(parameter, std=0.3, generator=generator)
    return network.eval()


def save_llava(folder: Path, *, template: str | None = TEMPLATE.replace("PLACE", IMAGE)):
    config = LlavaConfig(
        vision_config=CLIPVisionConfig(**SMALL, image_size=32, patch_size=8, projection_dim=8),
        text_config=LlamaConfig(
            **SMALL, vocab_size=len(VOCABULARY), num_key_value_heads=2, pad_token_id=0, bos_token_id=2, eos_token_id=2
        ),
        image_token_index=VOCABULARY[IMAGE],
        vision_feature_layer=-1,
    )
    torch.manual_seed(0)
    network = randomised(LlavaForConditionalGeneration(config))
    network.save_pretrained(folder)
    images = CLIPImageProcessor(size={"shortest_edge": 32}, crop_size={"height": 32, "width": 32})
    LlavaProcessor(
        image_processor=images,
        tokenizer=tokenizer_of_words(),
        patch_size=8,
        vision_feature_select_strategy="default",
        num_additional_image_tokens=1,
        chat_template=template,
    ).save_pretrained(folder)
    return network


def save_qwen(folder: Path):
    text = {**SMALL, "vocab_size": len(VOCABULARY), "num_key_value_heads": 2, "pad_token_id": 0}
    config = Qwen2VLConfig(
        text_config={
            **text,
            "bos_token_id": 2,
            "eos_token_id": 2,
            "rope_parameters": {"rope_type": "default", "mrope_section": [1, 1, 2], "rope_theta": 1e4},
        },
        vision_config={
            "depth": 1,
            "embed_dim": 16,
            "hidden_size": 16,
            "num_heads": 2,
            "mlp_ratio": 2,
            "patch_size": 4,
            "spatial_merge_size": 2,
            "temporal_patch_size": 2,
        },
        image_token_id=VOCABULARY[IMAGE],
        video_token_id=VOCABULARY[VIDEO],
        vision_start_token_id=VOCABULARY[START],
        vision_end_token_id=VOCABULARY[END],
    )
    torch.manual_seed(0)
    network = randomised(Qwen2VLForConditionalGeneration(config))
    network.save_pretrained(folder)
    sizes = {"patch_size": 4, "merge_size": 2, "temporal_patch_size": 2}
    range_of_sizes = {"shortest_edge": 64, "longest_edge": 4096}
    Qwen2VLProcessor(
        image_processor=Qwen2VLImageProcessor(**sizes, size=range_of_sizes),
        tokenizer=tokenizer_of_words(),
        video_processor=Qwen2VLVideoProcessor(**sizes, size=range_of_sizes),
        chat_template=TEMPLATE.replace("PLACE", f"{START} {IMAGE} {END}"),
    ).save_pretrained(folder)
    return network


def save_gemma(folder: Path):
    """Gemma 3, which MedGemma is: a conversation that begins with a token of its own, and types of tokens."""
    config = Gemma3Config(
        text_config={
            **SMALL,
            "vocab_size": len(VOCABULARY),
            "num_key_value_heads": 2,
            "head_dim": 8,
            "pad_token_id": 0,
            "bos_token_id": VOCABULARY["<bos>"],
            "eos_token_id": 2,
        },
        vision_config={**SMALL, "image_size": 32, "patch_size": 8, "vision_use_head": False},
        mm_tokens_per_image=4,
        image_token_index=VOCABULARY[IMAGE],
        boi_token_index=VOCABULARY[START],
        eoi_token_index=VOCABULARY[END],
    )
    torch.manual_seed(0)
    network = randomised(Gemma3ForConditionalGeneration(config))
    network.save_pretrained(folder)
    Gemma3Processor(
        image_processor=Gemma3ImageProcessor(size={"height": 32, "width": 32}),
        tokenizer=tokenizer_of_words(),
        image_seq_length=4,
        chat_template="<bos>" + TEMPLATE.replace("PLACE", START),
    ).save_pretrained(folder)
    return network


def save_paligemma(folder: Path):
    """PaliGemma, whose image and prompt see each other, and whose processor gives labels to learn from too."""
    config = PaliGemmaConfig(
        text_config={
            **SMALL,
            "model_type": "gemma",
            "vocab_size": len(VOCABULARY),
            "num_key_value_heads": 2,
            "head_dim": 8,
            "pad_token_id": 0,
            "bos_token_id": VOCABULARY["<bos>"],
            "eos_token_id": 2,
        },
        vision_config={
            **SMALL,
            "model_type": "siglip_vision_model",
            "image_size": 32,
            "patch_size": 8,
            "vision_use_head": False,
        },
        image_token_index=VOCABULARY[IMAGE],
        projection_dim=16,
        hidden_size=16,
    )
    torch.manual_seed(0)
    network = randomised(PaliGemmaForConditionalGeneration(config))
    network.save_pretrained(folder)
    images = SiglipImageProcessor(size={"height": 32, "width": 32})
    images.image_seq_length = 16
    PaliGemmaProcessor(image_processor=images, tokenizer=tokenizer_of_words()).save_pretrained(folder)
    return network


def save_idefics(folder: Path):
    """Idefics3, which SmolVLM follows: its processor cuts an image into tiles, but for one of the size of a tile."""
    text = {
        **SMALL,
        "vocab_size": 80,
        "num_key_value_heads": 2,
        "pad_token_id": 0,
        "bos_token_id": 3,
        "eos_token_id": 2,
    }
    config = Idefics3Config(
        text_config={"model_type": "llama", **text},
        vision_config={**SMALL, "image_size": 32, "patch_size": 8},
        image_token_id=VOCABULARY[IMAGE],
        scale_factor=2,
        pad_token_id=0,
        tie_word_embeddings=False,
    )
    torch.manual_seed(0)
    network = randomised(Idefics3ForConditionalGeneration(config))
    network.save_pretrained(folder)
    tokenizer = tokenizer_of_words()
    places = [f"<row_{row}_col_{column}>" for row in range(1, 4) for column in range(1, 4)]
    tokenizer.add_tokens(
        ["<fake_token_around_image>", "<end_of_utterance>", "<global-img>", *places], special_tokens=True
    )
    Idefics3Processor(
        image_processor=Idefics3ImageProcessor(size={"longest_edge": 64}, max_image_size={"longest_edge": 32}),
        tokenizer=tokenizer,
        image_seq_len=4,
        chat_template=TEMPLATE.replace("PLACE", IMAGE),
    ).save_pretrained(folder)
    return network


def make_llava_next(
    folder: Path, *, grid: Sequence[Sequence[int]] = ((32, 64), (64, 32), (64, 64)), chat_template: str | None = None
) -> None:
    """Give a LLaVA the processor of LLaVA-NeXT, which cuts or pads an image of any size where its grid has tiles."""
    LlavaNextProcessor(
        image_processor=LlavaNextImageProcessor(
            size={"shortest_edge": 32},
            crop_size={"height": 32, "width": 32},
            image_grid_pinpoints=[list(shape) for shape in grid],
        ),
        tokenizer=tokenizer_of_words(),
        patch_size=8,
        vision_feature_select_strategy="default",
        num_additional_image_tokens=1,
        chat_template=chat_template,
    ).save_pretrained(folder)


def save_llava_next(folder: Path):
    """LLaVA-NeXT with a grid of one tile, which it shows beside the whole image: the same pixels twice."""
    config = LlavaNextConfig(
        vision_config=CLIPVisionConfig(**SMALL, image_size=32, patch_size=8, projection_dim=8),
        text_config=LlamaConfig(
            **SMALL, vocab_size=len(VOCABULARY), num_key_value_heads=2, pad_token_id=0, bos_token_id=2, eos_token_id=2
        ),
        image_token_index=VOCABULARY[IMAGE],
        vision_feature_layer=-1,
        image_grid_pinpoints=[[32, 32]],
    )
    torch.manual_seed(0)
    network = randomised(LlavaNextForConditionalGeneration(config))
    network.save_pretrained(folder)
    make_llava_next(folder, grid=[[32, 32]], chat_template=TEMPLATE.replace("PLACE", IMAGE))
    return network


def internvl_processor() -> InternVLProcessor:
    """The processor of InternVL, which cuts an image into tiles by default."""
    tokenizer = tokenizer_of_words()
    for name, token in {"start": START, "end": END, "context": IMAGE}.items():
        setattr(tokenizer, f"{name}_image_token", token)
        setattr(tokenizer, f"{name}_image_token_id", VOCABULARY[token])
    return InternVLProcessor(
        image_processor=GotOcr2ImageProcessor(size={"height": 32, "width": 32}),
        tokenizer=tokenizer,
        video_processor=InternVLVideoProcessor(),
        image_seq_length=4,
    )
