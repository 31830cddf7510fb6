"""A report generator of some 350,000 weights in the form of LLaVA: vision tower, projector, decoder, own tokenizer."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grammar
import torch
import transformers
from tokenizers import Tokenizer, decoders, models, pre_tokenizers

from cxrobust.inference.datasets.phantoms import Phantoms
from cxrobust.inference.pretrained import quiet

SIDE, PATCH = 64, 16
SEED = 2026
MEAN, STD = 0.5, 0.25
PROMPT = "Report this radiograph:"
SPECIAL = PADDING, UNKNOWN, BEGIN, END, IMAGE = "<pad>", "<unk>", "<bos>", "<eos>", "<image>"
TEMPLATE = (
    "{% for message in messages %}{% if message['role'] == 'user' %}<bos>"
    "{% for part in message['content'] %}{% if part['type'] == 'image' %}<image>{% else %}{{ part['text'] }}{% endif %}"
    "{% endfor %}{% else %}{{ message['content'] if message['content'] is string else message['content'][0]['text'] }}"
    "<eos>{% endif %}{% endfor %}"
)
"""A conversation: the image and what is asked, then the report and its end."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Scale:
    """How large the example is."""

    patients: int = 2000
    """Patients whose images and reports the generator learns from."""
    tower_epochs: int = 20
    question_epochs: int = 5
    report_epochs: int = 9
    width: int = 64
    tower_depth: int = 3
    decoder_depth: int = 2
    preference_epochs: int = 2
    preference_batch: int = 32


FULL = Scale()
TINY = Scale(
    patients=12,
    tower_epochs=1,
    question_epochs=1,
    report_epochs=1,
    width=32,
    tower_depth=1,
    decoder_depth=1,
    preference_epochs=1,
    preference_batch=4,
)
"""For tests: everything happens, nothing is learned."""


def phantoms(split: str, patients: int) -> Phantoms:
    """Return phantoms of this example's size."""
    return Phantoms.model_validate(
        {"kind": "phantoms", "patients": patients, "seed": SEED, "split": split, "size": SIDE}
    )


def processor() -> Any:
    """Return what puts images and words together, its words being the grammar's."""
    words = [f"▁{word}" for word in [*PROMPT.rstrip(":").split(), *grammar.vocabulary()]]
    tokens = dict.fromkeys([*SPECIAL, ".", ",", ":", "?", *words])
    tokenizer = Tokenizer(models.WordLevel({token: i for i, token in enumerate(tokens)}, unk_token=UNKNOWN))
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Metaspace(prepend_scheme="always"), pre_tokenizers.Punctuation("isolated")]
    )
    tokenizer.decoder = decoders.Metaspace(prepend_scheme="always")
    return transformers.LlavaProcessor(
        image_processor=transformers.CLIPImageProcessor(
            size={"shortest_edge": SIDE},
            crop_size={"height": SIDE, "width": SIDE},
            image_mean=[MEAN] * 3,
            image_std=[STD] * 3,
        ),
        tokenizer=transformers.PreTrainedTokenizerFast(
            tokenizer_object=tokenizer,
            pad_token=PADDING,
            unk_token=UNKNOWN,
            bos_token=BEGIN,
            eos_token=END,
            extra_special_tokens={"image_token": IMAGE},
        ),
        patch_size=PATCH,
        vision_feature_select_strategy="default",
        num_additional_image_tokens=1,
        chat_template=TEMPLATE,
    )


def untrained(scale: Scale, tokenizer: Any) -> Any:
    """Return the network with weights drawn from the seed."""
    size: dict[str, Any] = {
        "hidden_size": scale.width,
        "intermediate_size": 4 * scale.width,
        "num_attention_heads": 4,
    }
    text: dict[str, Any] = {
        **size,
        "num_hidden_layers": scale.decoder_depth,
        "vocab_size": len(tokenizer),
        "num_key_value_heads": 4,
        "max_position_embeddings": 256,
        "pad_token_id": tokenizer.pad_token_id,
        "bos_token_id": tokenizer.bos_token_id,
        "eos_token_id": tokenizer.eos_token_id,
    }
    vision: dict[str, Any] = {**size, "num_hidden_layers": scale.tower_depth, "image_size": SIDE, "patch_size": PATCH}
    config = transformers.LlavaConfig(
        vision_config=transformers.CLIPVisionConfig(**vision),
        text_config=transformers.LlamaConfig(**text),
        image_token_index=tokenizer.convert_tokens_to_ids(IMAGE),
        vision_feature_layer=-1,
        vision_feature_select_strategy="default",
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(SEED)
        return transformers.LlavaForConditionalGeneration(config)


def conversation(asked: str = PROMPT) -> list[dict[str, Any]]:
    """Return what is asked of an image."""
    return [{"role": "user", "content": [{"type": "image"}, {"type": "text", "text": asked}]}]


def save(network: Any, folder: Path) -> None:
    """Write the network and its processor."""
    with quiet():
        network.save_pretrained(folder)
        processor().save_pretrained(folder)
