"""RaTEScore (Zhao et al. 2024, arXiv 2406.16845): medical entities of both texts, matched by meaning and kind.

The package `RaTEScore` finds entities with one network, compares them by the embeddings of another, and weights each
pair of kinds of entities. It splits sentences with medspacy, whose version 1.3.1 on Python 3.11 asks for a spaCy that
is built for NumPy 1; with a newer one it runs beside this program.
"""

import importlib
from collections.abc import Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np

from cxrobust.errors import DataError, MissingGroupError, require
from cxrobust.radiology_reports.scores import Answers, Measure, OnDevice, Pairs, mean_of, scorer
from cxrobust.study.sections import StudyPath

NO_ENTITY = 0.5
"""What the package gives where a text has no entity; scores of two texts with entities do not meet it."""
LEAST = 3
"""Characters of a sentence that the package reads."""


@scorer("ratescore")
class RateScore(OnDevice):
    """Medical entities that report and reference have in common, by the package RaTEScore."""

    measures: ClassVar[Mapping[str, Measure]] = {
        "ratescore": mean_of(
            "ratescore", "Mean RaTEScore, entities matched by meaning and kind; 1 for the same text.",
            bounds=(-np.inf, np.inf),
        )
    }  # fmt: skip
    distributions = ("RaTEScore", "medspacy", "spacy", "transformers", "torch")
    extra = "ratescore"

    entities: StudyPath
    """Folder with the network that finds entities (`RaTE-NER-Deberta`) and its tokenizer."""
    embeddings: StudyPath
    """Folder with the network that embeds them (`BioLORD-2023-C`) and its tokenizer."""
    weights: Literal["long", "short"] = "long"
    """The package's weights of pairs of kinds, for whole reports or for sentences."""

    def check(self) -> None:
        """Raise where a package is missing or cannot be loaded beside this program."""
        _package()

    def compare(self, pairs: Pairs) -> Answers:
        """Return each pair's score; 0 where a text is empty, and none where the package finds no sentence."""
        candidates, references = pairs.texts
        found = np.zeros(len(candidates))
        rows = [i for i, both in enumerate(pairs.texts_in_pairs) if all(text.strip() for text in both)]
        if rows:
            judge = _load(self.entities, self.embeddings, self.weights, self.batch, self.torch_device)
            found[rows] = _scores(judge, [candidates[i] for i in rows], [references[i] for i in rows])
        return Answers(
            columns={"ratescore": found},
            reasons={int(i): "no sentence that RaTEScore reads" for i in np.flatnonzero(np.isnan(found))},
            remarks={int(i): "no entity found, 0.5 by RaTEScore" for i in np.flatnonzero(found == NO_ENTITY)},
        )


def _scores(judge: Any, candidates: list[str], references: list[str]) -> Sequence[float]:
    """Return the package's scores, NaN for a text without a sentence, at which its lists would be shifted."""
    is_read = [min(len(text.strip()) for text in both) >= LEAST for both in zip(candidates, references, strict=True)]
    if all(is_read):
        found = list(judge.compute_score(candidates, references))
        if len(found) == len(candidates):
            return found
    return [
        _alone(judge, candidate, reference) if fits else float("nan")
        for candidate, reference, fits in zip(candidates, references, is_read, strict=True)
    ]


def _alone(judge: Any, candidate: str, reference: str) -> float:
    try:
        found = judge.compute_score([candidate], [reference])
    except (IndexError, ValueError):  # of no sentence
        return float("nan")
    return float(found[0]) if len(found) == 1 else float("nan")


def _package() -> Any:
    """Return the package, without medspacy's chatter.

    Raises
    ------
    MissingGroupError
        When it, or medspacy, is not installed.
    DataError
        When one of them is built for another NumPy.
    """
    try:
        package = require("RaTEScore", group=RateScore.extra)
    except MissingGroupError:
        raise
    except Exception as error:  # compiled modules raise errors of many types
        raise DataError(
            f"[scores.ratescore]: RaTEScore cannot be loaded ({' '.join(str(error).split())[:120]}): medspacy asks for "
            f"a spaCy of NumPy 1, so run pip install --upgrade 'spacy>=3.8.7' 'thinc>=8.3.4' after it"
        ) from error
    try:
        logger = importlib.import_module("loguru").logger
    except ImportError:
        return package
    for name in ("PyRuSH", "medspacy"):
        logger.disable(name)
    return package


@lru_cache(maxsize=1)
def _load(entities: Path, embeddings: Path, weights: str, batch: int, device: str) -> Any:
    package = _package()
    for folder in (entities, embeddings):
        if not (folder / "config.json").is_file():  # the package would ask the hub
            raise DataError(f"{folder}: no network of transformers is there: name a folder with one and its tokenizer")
    try:
        return package.RaTEScore(
            bert_model=str(entities),
            eval_model=str(embeddings),
            batch_size=batch,
            use_gpu=device == "cuda",
            affinity_matrix=weights,
        )
    except (OSError, ValueError) as error:
        raise DataError(
            f"[scores.ratescore]: RaTEScore cannot use {entities} and {embeddings} "
            f"({' '.join(str(error).split())[:200]}): name folders with its two networks and their tokenizers"
        ) from error
