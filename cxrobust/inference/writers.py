"""Networks that write: decoding a report of an image, and the probability of any text, differentiably."""

import inspect
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from cxrobust.errors import DataError, require
from cxrobust.inference.pretrained import quiet
from cxrobust.inference.vision_language import PIXELS, arrange

Tokens = list[int]
OF_TEXT = {"token_type_ids": 0, "mm_token_type_ids": 0}
"""What a token of text has in inputs that tell tokens apart."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Decoding:
    """How a report is chosen among all that a network could write."""

    samples: bool
    """Whether tokens are drawn, instead of the likeliest taken."""
    beams: int
    most_tokens: int
    temperature: float
    top_p: float


class Writer(nn.Module, ABC):
    """A network that writes: prepared images and tokens to the logits of each next token."""

    def __init__(self, network: nn.Module, tokenizer: Any, *, where: str, never: Sequence[int] = ()) -> None:
        super().__init__()
        self.network: Any = network
        self.tokenizer = tokenizer
        self.where = where
        self.ends = end_tokens(network, tokenizer, where=where)
        self.padding = next((one for one in (tokenizer.pad_token_id, *self.ends) if one is not None), 0)
        self.never = sorted(set(never) - set(self.ends))

    @abstractmethod
    def forced(self, images: Tensor, tokens: Tensor, known: Tensor) -> Tensor:
        """Return logits (n, length, vocabulary) of each token, given those before it.

        Parameters
        ----------
        images
            (n, channels, height, width), prepared.
        tokens
            (n, length) of the texts, filled up on the right.
        known
            (n, length) bool: which are of the texts.
        """

    @abstractmethod
    def generated(self, images: Tensor, settings: Any, processors: list[Any]) -> Tensor:
        """Return the new tokens (n, length) alone."""

    def write(self, images: Tensor, decoding: Decoding, seeds: Sequence[int]) -> list[Tokens]:
        """Return the tokens of each image's report, its end included unless it was cut off.

        Tokens are drawn by adding noise of Gumbel's law to the logits of each image, from that image's own generator:
        the largest sum is a draw of the softmax.
        """
        settings = self.settings(beams=1 if decoding.samples else decoding.beams, most_tokens=decoding.most_tokens)
        processors = [_Drawn(seeds, decoding)] if decoding.samples else []
        with quiet(), torch.no_grad():
            found = self.generated(images, settings, processors).tolist()
        return [self._cut(row, decoding.most_tokens) for row in found]

    def settings(self, *, beams: int, most_tokens: int) -> Any:
        """Return the settings of generation, which are all: those of the checkpoint on sampling are not used."""
        transformers = require("transformers", group="inference")
        settings = transformers.GenerationConfig(
            do_sample=False,
            num_beams=beams,
            max_new_tokens=most_tokens,
            eos_token_id=self.ends,
            pad_token_id=self.padding,
            suppress_tokens=self.never or None,
            **self.starts(),
        )
        self.network.generation_config = settings  # else it fills in what these leave open
        return settings

    def starts(self) -> dict[str, int]:
        """Return which tokens a text begins with, for the settings of generation."""
        return {}

    def _cut(self, row: Tokens, most: int) -> Tokens:
        ends = [place for place, token in enumerate(row) if token in self.ends]
        return row[: ends[0] + 1] if ends else row[:most]

    def log_probability(self, images: Tensor, texts: Sequence[Tokens]) -> Tensor:
        """Return the mean log-probability (n,) float64 of each text's tokens given its image, differentiably."""
        lengths = torch.tensor([len(text) for text in texts], device=images.device)
        return self.log_probability_in_all(images, texts) / lengths

    def log_probability_in_all(self, images: Tensor, texts: Sequence[Tokens]) -> Tensor:
        """Return the log-probability (n,) float64 that what is written of each image begins with its text.

        Where several tokens end a text, an end in it stands for any of them.
        """
        longest = max(map(len, texts))
        rows = [[*text, *[self.padding] * (longest - len(text))] for text in texts]
        tokens = torch.tensor(rows, device=images.device)
        lengths = torch.tensor([len(text) for text in texts], device=images.device)
        known = torch.arange(longest, device=images.device)[None] < lengths[:, None]
        logits = self.forced(images, tokens, known)
        logits = logits if logits.dtype == torch.float64 else logits.float()
        own = logits.gather(2, tokens[..., None])[..., 0]
        if len(self.ends) > 1:  # a text ends with any of them
            ends = torch.tensor(self.ends, device=tokens.device)
            own = torch.where(torch.isin(tokens, ends), logits[..., ends].logsumexp(dim=2), own)
        own = own - logits.logsumexp(dim=2)
        total: Tensor = (own.double() * known).sum(dim=1)
        return total

    def tokens_of(self, text: str, *, most: int) -> Tokens:
        """Return a text's tokens with its end.

        Raises
        ------
        DataError
            When there are more than `most`, or the tokenizer lacks a word.
        """
        tokens = [*self._encoded(text), self.ends[0]]
        if self.tokenizer.unk_token_id in tokens[:-1]:
            raise DataError(
                f"{self.where}: a text that is attacked has words that its tokenizer lacks (“{text[:60]}…”): write it "
                f"in others"
            )
        if len(tokens) > most:
            raise DataError(
                f"{self.where}: a text that is attacked has {len(tokens):,} tokens, and max_new_tokens is {most:,} "
                f"(“{text[:60]}…”): raise max_new_tokens, or give a shorter text"
            )
        return tokens

    def statements_of(self, present: str, absent: str) -> tuple[Tokens, Tokens]:
        """Return the tokens of what states a finding and of what denies it, as a report begins with them.

        Raises
        ------
        DataError
            When the model does not know a word of them, or reads both alike.
        """
        for text in (present, absent):
            if self.tokenizer.unk_token_id in (tokens := self._encoded(text)) or not tokens:
                raise DataError(
                    f"{self.where}: {text!r} has a word that its tokenizer lacks: change present, absent or words"
                )
        found = self._encoded(present), self._encoded(absent)
        if found[0] == found[1]:
            raise DataError(f"{self.where}: it reads {present!r} and {absent!r} alike: change present, absent or words")
        return found

    def _encoded(self, text: str) -> Tokens:
        return [int(token) for token in self.tokenizer.encode(text, add_special_tokens=False)]

    def text_of(self, tokens: Tokens) -> str:
        """Return what tokens say, in words."""
        return str(self.tokenizer.decode(tokens, skip_special_tokens=True)).strip()


class ImageTextWriter(Writer):
    """A model of `AutoModelForImageTextToText`, which is asked for a report by a prompt.

    Parameters
    ----------
    prompt
        What the processor gives for one image and the prompt, without pixels.
    order
        How the processor arranges pixels, as `vision_language.ask` finds it.
    """

    def __init__(
        self, network: nn.Module, tokenizer: Any, *, prompt: Mapping[str, Tensor], order: Tensor, where: str
    ) -> None:
        config: Any = network.config
        names = ("image_token_id", "image_token_index", "video_token_id", "vision_start_token_id", "boi_token_id")
        never = [int(token) for name in names if (token := getattr(config, name, None)) is not None]
        super().__init__(network, tokenizer, where=where, never=never)
        self.keys = tuple(prompt)
        for key, value in prompt.items():
            self.register_buffer(f"prompt_{key}", value, persistent=False)
        self.register_buffer("order", order, persistent=False)
        self.order: Tensor
        self.types = {**OF_TEXT, "token_type_ids": 1} if config.model_type == "paligemma" else OF_TEXT
        self.keeps_logits = "logits_to_keep" in inspect.signature(network.forward).parameters

    def _inputs(self, images: Tensor) -> dict[str, Tensor]:
        found = {}
        for key in self.keys:
            value: Tensor = getattr(self, f"prompt_{key}")
            found[key] = value.repeat(len(images), *(1 for _ in value.shape[1:]))
        return {**found, PIXELS: self.arranged(images)}

    def arranged(self, images: Tensor) -> Tensor:
        """Return prepared images as the processor arranges them, for example as patches."""
        return arrange(images, self.order)

    def forced(self, images: Tensor, tokens: Tensor, known: Tensor) -> Tensor:
        """Return logits of each token, given the prompt, the image and those before it."""
        inputs = self._inputs(images)
        added = {"input_ids": tokens, "attention_mask": known.long()}
        added |= {key: torch.full_like(tokens, one) for key, one in self.types.items() if key in inputs}
        inputs |= {key: torch.cat((inputs[key], more), dim=1) for key, more in added.items()}
        length = tokens.shape[1]
        last_alone = {"logits_to_keep": length + 1} if self.keeps_logits else {}
        logits: Tensor = self.network(**inputs, **last_alone, use_cache=False).logits
        return logits[:, -length - 1 : -1]

    def generated(self, images: Tensor, settings: Any, processors: list[Any]) -> Tensor:
        """Return what follows the prompt, which networks that write from embeddings do not repeat."""
        inputs = self._inputs(images)
        prompt = inputs["input_ids"]
        found: Tensor = self.network.generate(**inputs, generation_config=settings, logits_processor=processors)
        length = prompt.shape[1]
        return found[:, length:] if torch.equal(found[:, :length], prompt) else found


class EncoderDecoderWriter(Writer):
    """A `VisionEncoderDecoderModel`, which takes no prompt."""

    def __init__(self, network: nn.Module, tokenizer: Any, *, where: str) -> None:
        super().__init__(network, tokenizer, where=where)
        config: Any = network.config
        told = (getattr(self.network.generation_config, "decoder_start_token_id", None), config.decoder_start_token_id)
        own = (config.decoder.bos_token_id, tokenizer.bos_token_id, tokenizer.cls_token_id)
        start = next((one for one in (*told, *own) if one is not None), None)
        if start is None:
            raise DataError(f"{where}: nothing tells which token a text begins with: set decoder_start_token_id")
        self.start = int(start)

    def starts(self) -> dict[str, int]:
        """Return the token that a text begins with."""
        return {"decoder_start_token_id": self.start, "bos_token_id": self.start}

    def forced(self, images: Tensor, tokens: Tensor, known: Tensor) -> Tensor:
        """Return logits of each token, given the image and those before it."""
        before = torch.cat((torch.full_like(tokens[:, :1], self.start), tokens[:, :-1]), dim=1)
        mask = torch.cat((torch.ones_like(known[:, :1]), known[:, :-1]), dim=1).long()
        found = self.network(pixel_values=images, decoder_input_ids=before, decoder_attention_mask=mask)
        logits: Tensor = found.logits
        return logits

    def generated(self, images: Tensor, settings: Any, processors: list[Any]) -> Tensor:
        """Return what follows the token that a text begins with."""
        found: Tensor = self.network.generate(
            pixel_values=images, generation_config=settings, logits_processor=processors
        )
        return found[:, 1:]


class _Drawn:
    """Adds each image's own Gumbel noise to the logits of the next token, so that the largest is a draw."""

    def __init__(self, seeds: Sequence[int], decoding: Decoding) -> None:
        self.generators = [np.random.default_rng(seed) for seed in seeds]
        self.temperature, self.top_p = decoding.temperature, decoding.top_p

    def __call__(self, input_ids: Tensor, scores: Tensor) -> Tensor:
        logits = (scores.float() / self.temperature).log_softmax(dim=1)
        if self.top_p < 1:
            ordered, places = logits.sort(dim=1, descending=True, stable=True)
            before = ordered.exp().cumsum(dim=1) - ordered.exp()
            logits = logits.masked_fill((before >= self.top_p).scatter(1, places, before >= self.top_p), -torch.inf)
        noise = np.stack([rng.gumbel(size=logits.shape[1]) for rng in self.generators])
        return logits + torch.from_numpy(noise).to(logits)


def end_tokens(network: Any, tokenizer: Any, *, where: str) -> list[int]:
    """Return the tokens that end a text: what generation is told, else the configuration or the tokenizer.

    Raises
    ------
    DataError
        When nothing tells.
    """
    config = network.config
    told = (
        getattr(network.generation_config, "eos_token_id", None),
        getattr(config, "eos_token_id", None),
        getattr(getattr(config, "text_config", None), "eos_token_id", None),
        getattr(getattr(config, "decoder", None), "eos_token_id", None),
        tokenizer.eos_token_id,
        tokenizer.sep_token_id,
    )
    found = next((one for one in told if one is not None), None)
    if found is None:
        raise DataError(f"{where}: nothing tells which token ends a report: set eos_token_id of its tokenizer")
    return [int(one) for one in (found if isinstance(found, list) else [found])]
