"""CheXbert (Smit et al. 2020, doi:10.18653/v1/2020.emnlp-main.117): the 14 observations by a fine-tuned BERT.

The checkpoint is what its authors publish: one BERT, and for each observation a linear layer on its first token, of
four classes (not mentioned, affirmed, denied, doubted), for `No Finding` of two. It is loaded as tensors alone.
"""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from cxrobust.errors import DataError, require
from cxrobust.radiology_reports.labeler import Label
from cxrobust.radiology_reports.phrases import OBSERVATIONS

HEADS = (*OBSERVATIONS[1:], OBSERVATIONS[0])
"""Observations in the order of the checkpoint's linear layers."""
CLASSES = (None, Label.POSITIVE, Label.NEGATIVE, Label.UNCERTAIN)
LONGEST = 512
HEAD_WIDTH = 64
"""Width of one attention head, of every BERT that was published."""


class Chexbert:
    """The labeler with its weights on a device.

    Parameters
    ----------
    checkpoint
        `chexbert.pth` as it was published.
    tokenizer
        A folder with the vocabulary of the BERT that it began from (`bert-base-uncased`).

    Raises
    ------
    DataError
        When a file is missing, or is no such checkpoint.
    """

    def __init__(self, checkpoint: Path, tokenizer: Path, *, device: str = "cpu", batch: int = 16) -> None:
        transformers: Any = require("transformers", group="inference")
        weights = _weights(checkpoint)
        self._network = _network(weights, checkpoint).eval().to(device)
        try:
            self._tokenizer = transformers.BertTokenizerFast.from_pretrained(str(tokenizer), local_files_only=True)
        except (OSError, ValueError, TypeError) as error:
            raise DataError(
                f"{tokenizer}: no tokenizer of BERT ({' '.join(str(error).split())[:200]}): "
                f"name a folder with the vocab.txt of bert-base-uncased"
            ) from error
        vocabulary = weights["bert.embeddings.word_embeddings.weight"].shape[0]
        if len(self._tokenizer) > vocabulary:
            raise DataError(
                f"{tokenizer}: {len(self._tokenizer):,} words, and {checkpoint} knows {vocabulary:,}: "
                f"name the folder of the BERT that it began from"
            )
        self._device, self._batch = device, batch
        self.longest = min(LONGEST, weights["bert.embeddings.position_embeddings.weight"].shape[0])

    def label(self, texts: Sequence[str]) -> list[dict[str, Label]]:
        """Return the observations that each report speaks of, with what it says, in CheXpert's order.

        An empty report speaks of none.
        """
        import torch

        found: list[dict[str, Label]] = [{} for _ in texts]
        written = [place for place, text in enumerate(texts) if text.strip()]
        for first in range(0, len(written), self._batch):
            places = written[first : first + self._batch]
            some = [" ".join(texts[place].split()) for place in places]
            words = self._tokenizer(
                some,
                padding=True,
                truncation=True,
                max_length=self.longest,
                return_tensors="pt",
                return_token_type_ids=False,
            ).to(self._device)
            with torch.inference_mode():
                classes = [head.argmax(dim=1).tolist() for head in self._network(**words)]
            for place, *row in zip(places, *classes, strict=True):
                found[place] = _labels(dict(zip(HEADS, row, strict=True)))
        return found

    def is_cut(self, text: str) -> bool:
        """Whether a report is longer than what the network reads."""
        return bool(len(self._tokenizer(text, truncation=False, verbose=False)["input_ids"]) > self.longest)


def _labels(classes: Mapping[str, int]) -> dict[str, Label]:
    labels = {name: CLASSES[classes[name]] for name in OBSERVATIONS}
    return {name: label for name, label in labels.items() if label is not None}


def _weights(checkpoint: Path) -> dict[str, Any]:
    import torch

    try:
        content = torch.load(checkpoint, map_location="cpu", weights_only=True)
    except FileNotFoundError:
        raise DataError(f"{checkpoint}: the checkpoint of CheXbert is missing: correct its path") from None
    except Exception as error:  # torch raises anything for a file that is none
        raise DataError(
            f"{checkpoint}: cannot be read as tensors alone ({' '.join(str(error).split())[:160]}): "
            f"give chexbert.pth as its authors publish it"
        ) from error
    found = content.get("model_state_dict", content) if isinstance(content, dict) else {}
    return {re.sub(r"^module\.", "", name): value for name, value in found.items() if hasattr(value, "shape")}


def _network(weights: Mapping[str, Any], checkpoint: Path) -> Any:
    """Return BERT with its heads, of the size that the weights have."""
    import torch
    from torch import nn

    transformers: Any = require("transformers", group="inference")
    layers = {int(m[1]) for name in weights if (m := re.match(r"bert\.encoder\.layer\.(\d+)\.", name))}
    try:
        vocabulary, width = weights["bert.embeddings.word_embeddings.weight"].shape
        config = transformers.BertConfig(
            vocab_size=vocabulary,
            hidden_size=width,
            num_hidden_layers=max(layers) + 1,
            num_attention_heads=max(1, width // HEAD_WIDTH),
            intermediate_size=weights["bert.encoder.layer.0.intermediate.dense.weight"].shape[0],
            max_position_embeddings=weights["bert.embeddings.position_embeddings.weight"].shape[0],
        )
    except (KeyError, ValueError) as error:
        raise DataError(f"{checkpoint}: no checkpoint of CheXbert (no BERT in it): give chexbert.pth") from error

    class Network(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.bert = transformers.BertModel(config)
            self.linear_heads = nn.ModuleList(nn.Linear(width, 2 if name == HEADS[-1] else 4) for name in HEADS)

        def forward(self, input_ids: torch.Tensor, attention_mask: torch.Tensor) -> list[torch.Tensor]:
            first = self.bert(input_ids=input_ids, attention_mask=attention_mask).last_hidden_state[:, 0]
            return [head(first) for head in self.linear_heads]

    network = Network()
    stray = {"bert.embeddings.position_ids"}  # a buffer that older transformers stored
    try:
        network.load_state_dict({name: value for name, value in weights.items() if name not in stray})
    except RuntimeError as error:
        raise DataError(
            f"{checkpoint}: no checkpoint of CheXbert ({' '.join(str(error).split())[:200]}): give chexbert.pth"
        ) from error
    return network
