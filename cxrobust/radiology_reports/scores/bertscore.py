"""BERTScore (Zhang et al. 2020, arXiv 1904.09675): how near the words of report and reference are to one another."""

from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from pydantic import Field

from cxrobust.errors import DataError, require
from cxrobust.radiology_reports.scores import Answers, Measure, OnDevice, Pairs, mean_of, scorer
from cxrobust.study.sections import StudyPath


@scorer("bertscore")
class BertScore(OnDevice):
    """F1 of the cosine similarities of words in their context, by bert-score."""

    measures: ClassVar[Mapping[str, Measure]] = {
        "bertscore": mean_of("bertscore", "Mean BERTScore F1; in [−1, 1] as it is, 0 near chance with a baseline.",
                             bounds=(-np.inf, 1.0))
    }  # fmt: skip
    distributions = ("bert-score", "transformers", "torch")
    packages = ("bert_score",)
    extra = "report-models"

    model: StudyPath
    """Folder with the network and its tokenizer."""
    layers: int = Field(ge=1)
    """Of which layer the representation of words is taken; bert-score recommends one for each network."""
    baseline: StudyPath | None = None
    """bert-score's table of what unrelated texts have, by which scores are rescaled."""

    def compare(self, pairs: Pairs) -> Answers:
        """Return each pair's F1; 0 where a text is empty."""
        candidates, references = pairs.texts
        found = np.zeros(len(candidates))
        rows = [i for i, both in enumerate(pairs.texts_in_pairs) if all(text.strip() for text in both)]
        if not rows:
            return Answers(columns={"bertscore": found})
        judge = _load(self.model, self.layers, self.baseline, self.torch_device)
        longest = _limit(judge)
        _, _, f = judge.score([candidates[i] for i in rows], [references[i] for i in rows], batch_size=self.batch)
        found[rows] = f.numpy()
        cut = [
            i
            for i in rows
            if any(
                len(judge._tokenizer(text, verbose=False)["input_ids"]) > longest for text in pairs.texts_in_pairs[i]
            )
        ]
        return Answers(
            columns={"bertscore": found}, remarks=dict.fromkeys(cut, f"text beyond {longest} tokens not read")
        )


@lru_cache(maxsize=1)
def _load(model: Path, layers: int, baseline: Path | None, device: str) -> Any:
    bert_score: Any = require("bert_score", group="report-models")
    try:
        return bert_score.BERTScorer(
            model_type=str(model),
            num_layers=layers,
            device=device,
            lang="en",
            rescale_with_baseline=baseline is not None,
            baseline_path=None if baseline is None else str(baseline),
            use_fast_tokenizer=True,
        )
    except (OSError, ValueError, AssertionError) as error:
        raise DataError(
            f"{model}: bert-score cannot use it ({' '.join(str(error).split())[:200]}): "
            f"name a folder with a network and its tokenizer, and a layer that it has"
        ) from error


def _limit(judge: Any) -> int:
    """Have bert-score cut texts where its network ends, and return where: some tokenizers do not know."""
    config, tokenizer = judge._model.config, judge._tokenizer
    before = (config.pad_token_id or 0) + 1 if "roberta" in config.model_type else 0  # places that it leaves free
    longest = min(int(tokenizer.model_max_length), int(config.max_position_embeddings) - before)
    tokenizer.model_max_length = longest
    return longest
