"""Report generators: a network that writes, and how findings are read from what it wrote."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from cxrobust.errors import DataError
from cxrobust.inference.checkpoints import one_line
from cxrobust.inference.graph import PixelClassifier
from cxrobust.inference.pretrained import quiet
from cxrobust.inference.randomness import image_seed
from cxrobust.inference.writers import Decoding, Tokens, Writer
from cxrobust.inference.written import Reading, Written, log_odds_by_agreement, log_odds_by_tokens
from cxrobust.radiology_reports.findings import CUT, Doubted, faults_of, in_samples

Confidence = Literal["token-probability", "questions", "statements", "agreement"]
ASKED = ("questions", "statements")
"""Confidences for which no report is read: the network itself is the classifier."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Reader:
    """How findings are read from reports."""

    confidence: Confidence
    observations: tuple[str, ...]
    """The labeler's observation for each finding; none where no report is read."""
    doubted: Doubted
    n_samples: int
    """Sampled reports of each image, for agreement."""


class Statements(nn.Module):
    """A network that writes, as a network of log-odds: those of one sentence against another as a report's beginning.

    Parameters
    ----------
    sentences
        For each finding the tokens that state it, and those that deny it.
    """

    def __init__(self, writer: Writer, sentences: Sequence[tuple[Tokens, Tokens]]) -> None:
        super().__init__()
        self.writer = writer
        self.sentences = sentences

    def forward(self, images: Tensor) -> Tensor:
        """Return the log-odds (n, n_findings) of prepared images.

        For gradients, each finding's pass is computed again, so that memory does not grow with their number.
        """
        again = torch.is_grad_enabled() and len(self.sentences) > 1
        odds = [
            checkpoint(self._odds, images, pair, use_reentrant=False, preserve_rng_state=False)
            if again
            else self._odds(images, pair)
            for pair in self.sentences
        ]
        found = torch.stack(odds, dim=1)
        return found if images.dtype == torch.float64 else found.float()

    def _odds(self, images: Tensor, pair: tuple[Tokens, Tokens]) -> Tensor:
        n = len(images)
        both = self.writer.log_probability_in_all(torch.cat((images, images)), [pair[0]] * n + [pair[1]] * n)
        return both[:n] - both[n:]


class Generator(PixelClassifier):
    """A network that writes a report of each image, as a `Classifier` too: by answers to questions, or by statements.

    Parameters
    ----------
    answers
        Prepared images to log-odds of each finding; None for a network that takes no question.
    """

    def __init__(
        self,
        writer: Writer,
        *,
        answers: nn.Module | None,
        n_findings: int,
        decoding: Decoding,
        reader: Reader,
        image_size: tuple[int, int],
        mean: Sequence[float],
        std: Sequence[float],
        interpolation: str,
    ) -> None:
        super().__init__(
            _Unasked(writer.where) if answers is None else answers,
            columns=range(n_findings),
            image_size=image_size,
            mean=mean,
            std=std,
            interpolation=interpolation,
        )
        self.writer = writer
        self.decoding = decoding
        self.reader = reader

    def read(self, images: Tensor, *, ids: Sequence[str], seed: int) -> Reading:
        """Return the reports of images, with the log-odds of findings by the confidence that was chosen.

        What is drawn belongs to the study's seed, the image and the number of the sample, and is the same for all
        regimes and conditions, so that reports differ by what was done to model or image alone.
        """
        with torch.no_grad():
            prepared = self.prepared(images)
            tokens = self.tokens(images, ids=ids, seed=seed)
            reports = tuple(map(self.writer.text_of, tokens))
            log_probabilities = self.writer.log_probability(prepared, tokens).cpu().numpy()
            samples = self._samples(prepared, ids, seed)
        faults = tuple(
            (*self._faults(own), *dict.fromkeys(in_samples(fault) for one in sampled for fault in self._faults(one)))
            for own, sampled in zip(tokens, samples, strict=True)
        )
        written = Written(reports=reports, log_probabilities=log_probabilities, faults=faults)
        return Reading(logits=self._log_odds(images, written, samples).astype(np.float32), written=written)

    def _faults(self, tokens: Tokens) -> Iterator[str]:
        """Yield what is to be told of a report that is generated."""
        yield from faults_of(self.writer.text_of(tokens))
        if tokens[-1] not in self.writer.ends:
            yield CUT

    def tokens(self, images: Tensor, *, ids: Sequence[str], seed: int) -> list[Tokens]:
        """Return the tokens of each image's report."""
        with torch.no_grad():
            return self.writer.write(self.prepared(images), self.decoding, _seeds(seed, ids, 0))

    def log_probability(self, images: Tensor, texts: Sequence[Tokens]) -> Tensor:
        """Return the mean log-probability (n,) float64 of a token of each image's text, differentiably."""
        return self.writer.log_probability(self.prepared(images), texts)

    def tokens_of(self, text: str) -> Tokens:
        """Return the tokens of a text that is given.

        Raises
        ------
        DataError
            When it is longer than a report of this model may be.
        """
        return self.writer.tokens_of(text, most=self.decoding.most_tokens)

    def _samples(self, prepared: Any, ids: Sequence[str], seed: int) -> list[list[Tokens]]:
        """Return the sampled reports of each image, by which `agreement` tells confidence; none for another."""
        if self.reader.confidence != "agreement":
            return [[] for _ in ids]
        drawn = Decoding(
            samples=True,
            beams=1,
            most_tokens=self.decoding.most_tokens,
            temperature=self.decoding.temperature,
            top_p=self.decoding.top_p,
        )
        samples: list[list[Tokens]] = [[] for _ in ids]
        for number in range(1, self.reader.n_samples + 1):
            for own, tokens in zip(samples, self.writer.write(prepared, drawn, _seeds(seed, ids, number)), strict=True):
                own.append(tokens)
        return samples

    def _log_odds(self, images: Tensor, written: Written, samples: Sequence[Sequence[Tokens]]) -> Any:
        reader = self.reader
        if reader.confidence in ASKED:
            with torch.no_grad():
                return self(images).float().cpu().numpy()
        if reader.confidence == "token-probability":
            return log_odds_by_tokens(
                written.reports, written.log_probabilities, reader.observations, doubted=reader.doubted
            )
        texts = [[self.writer.text_of(tokens) for tokens in own] for own in samples]
        return log_odds_by_agreement(texts, reader.observations, doubted=reader.doubted)


class _Unasked(nn.Module):
    """What stands for the answers of a network that takes no question."""

    def __init__(self, where: str) -> None:
        super().__init__()
        self.where = where

    def forward(self, images: Tensor) -> Tensor:
        raise DataError(
            f"{self.where}: it answers no questions (it takes no prompt, or yes and no are no tokens of it), so no "
            f'attack can aim at a finding: write target = "report", or confidence = "statements" for this regime'
        )


def _seeds(seed: int, ids: Sequence[str], sample: int) -> list[int]:
    return [image_seed(seed, f"report {sample}", image) for image in ids]


def check_forced(generator: Generator, *, where: str) -> None:
    """Raise where probabilities of given texts are not those that the network writes by.

    Raises
    ------
    DataError
        When writing fails, or a few tokens of a random image have other probabilities when they are given.
    """
    height, width = generator.image_size or (0, 0)
    image = torch.rand((1, 1, height, width), generator=torch.Generator().manual_seed(0))
    writer = generator.writer
    seen: list[Tensor] = []

    def look(input_ids: Tensor, scores: Tensor) -> Tensor:
        seen.append(scores[0].float().log_softmax(dim=0))
        return scores

    settings = writer.settings(beams=1, most_tokens=3)
    settings.min_new_tokens = 3
    try:
        with quiet(), torch.no_grad():
            prepared = generator.prepared(image)
            tokens = writer.generated(prepared, settings, [look])
            given = writer.forced(prepared, tokens, torch.ones_like(tokens, dtype=torch.bool))[0].float()
    except Exception as error:  # networks raise errors of many types
        raise DataError(
            f"{where}: it cannot write a report ({type(error).__name__}: {one_line(error, most=160)}): "
            f"check model, prompt and tokenizer"
        ) from error
    given[:, [*writer.never, *writer.ends]] = -torch.inf
    apart = (torch.stack(seen).exp() - given.softmax(dim=1)).abs().max()
    if apart > 1e-2:
        raise DataError(
            f"{where}: a token has another probability in a text that is given than when it is written (apart by "
            f"{float(apart):.3g}): this model needs a family of its own"
        )
