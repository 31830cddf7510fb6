"""Scores that RadEval computes (Xu et al. 2025, arXiv 2509.18030), for each report, by its own code.

RadEval 2.2.1 asks for medspacy, and this on Python 3.11 for a spaCy of NumPy 1 (see `ratescore`); what it gives when it
is run apart can be read (`elsewhere`). Each of its networks it takes from a hub, or from a folder of the hub's name in
the working directory.
"""

import warnings
from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np
from pydantic import Field

from cxrobust.errors import DataError, require
from cxrobust.radiology_reports.scores import Answers, Measure, Pairs, Scorer, scorer


@scorer("radeval")
class RadEval(Scorer):
    """Scores of each report by RadEval."""

    measures: ClassVar[Mapping[str, Measure]] = {}
    prefix = "radeval-"
    distributions = ("radeval",)
    packages = ("radeval",)
    extra = "radeval"

    metrics: tuple[str, ...] = Field(min_length=1)
    """Names of RadEval's metrics, such as `radgraph`; the scores are named as its per-sample result names them."""

    def compare(self, pairs: Pairs) -> Answers:
        """Return what RadEval gives for each sample."""
        radeval = _package()
        candidates, references = pairs.texts
        try:
            with warnings.catch_warnings():  # it silences those of the whole program
                judge = radeval.RadEval(metrics=list(self.metrics), per_sample=True, show_progress=False)
                given = judge(refs=references, hyps=candidates)
        except Exception as error:  # it runs networks, hubs and services
            raise DataError(
                f"[scores.radeval]: RadEval failed ({type(error).__name__}: {' '.join(str(error).split())[:200]}): "
                f"run it apart and read its scores by [scores.elsewhere]"
            ) from error
        columns = {f"radeval_{name}": np.array(values, dtype=np.float64) for name, values in given.items()}
        short = next((name for name, values in columns.items() if values.shape != (len(candidates),)), None)
        if short is not None:
            raise DataError(f"[scores.radeval]: {short} has no score for each report: leave its metric out")
        unknown = np.isnan(np.column_stack(list(columns.values()))).all(axis=1) if columns else np.array([])
        return Answers(columns=columns, reasons={int(i): "no score of RadEval" for i in np.flatnonzero(unknown)})


def _package() -> Any:
    """Return the package; what it would fetch as it is imported, sentences of NLTK, its metrics fetch where needed."""
    nltk: Any = require("nltk", group=RadEval.extra)
    fetch, nltk.download = nltk.download, lambda *_, **__: False
    try:
        return require("radeval", group=RadEval.extra)
    finally:
        nltk.download = fetch
