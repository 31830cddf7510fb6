"""RadGraph F1 (Delbrouck et al. 2022, doi:10.18653/v1/2022.findings-emnlp.319): findings and places as a graph.

The package `radgraph` turns each text into entities and relations; report and reference are compared by these: entities
alone (`simple`), with whether they have a relation (`partial`), and with the relations (`complete`).
"""

import contextlib
import io
import json
import re
import tempfile
import warnings
from collections.abc import Mapping
from functools import lru_cache
from itertools import islice
from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np
from pydantic import Field

from cxrobust.errors import DataError, require, some
from cxrobust.radiology_reports.scores import Answers, Measure, OnDevice, Pairs, mean_of, scorer
from cxrobust.study.sections import StudyPath

LEVELS = {
    "simple": "entities with their class",
    "partial": "entities with their class and whether they have a relation",
    "complete": "entities with their class and relations",
}


_WORDS = re.compile(r"\w+|[^\w\s]+")
"""What the package takes for the words of a text, punctuation marks too."""


@scorer("radgraph")
class RadGraph(OnDevice):
    """Overlap of the graphs that RadGraph reads from report and reference."""

    measures: ClassVar[Mapping[str, Measure]] = {
        f"radgraph-{level}": mean_of(f"radgraph_{level}", f"Mean RadGraph F1 of {said}; in [0, 1].")
        for level, said in LEVELS.items()
    }
    distributions = ("radgraph", "transformers", "torch")
    packages = ("radgraph",)
    extra = "report-models"

    folder: StudyPath
    """Folder that holds a folder named as `kind` with `config.json`, `vocabulary` and `weights.th`."""
    kind: Literal["radgraph", "radgraph-xl", "modern-radgraph-xl"] = "radgraph-xl"
    encoder: StudyPath | None = None
    """Folder of the network that `config.json` names as on a hub, its weights and tokenizer; not needed where that is
    a folder."""
    longest: int = Field(default=400, ge=1)
    """Words and punctuation marks of a text that are read: time grows with almost their third power."""

    def compare(self, pairs: Pairs) -> Answers:
        """Return each pair's F1; 0 where a text is empty. What is longer than is read counts as far as it is read."""
        place = self.folder / self.kind
        if not (place / "config.json").is_file():  # the package would ask the hub
            raise DataError(
                f"{place}: no RadGraph is there: unpack {self.kind}.tar.gz to it, as its authors publish it"
            )
        judge = _load(self.folder, self.kind, self.encoder, self.torch_device)
        candidates, references = ([cut(text.strip(), self.longest) for text in texts] for texts in pairs.texts)
        with contextlib.redirect_stdout(io.StringIO()):
            _, found, _, _ = judge(hyps=candidates, refs=references)
        read = zip(candidates, references, strict=True)
        is_cut = [
            i
            for i, (given, both) in enumerate(zip(pairs.texts_in_pairs, read, strict=True))
            if tuple(text.strip() for text in given) != both
        ]
        return Answers(
            columns={
                f"radgraph_{level}": np.array(one, dtype=np.float64) for level, one in zip(LEVELS, found, strict=True)
            },
            remarks=dict.fromkeys(is_cut, f"text beyond {self.longest} words not read"),
        )


def cut(text: str, most: int) -> str:
    """Return the first words of a text, punctuation marks counted as words; all of it where it has no more.

    >>> cut("No effusion. Small nodule.", 3), cut("No effusion.", 3)
    ('No effusion.', 'No effusion.')
    """
    beyond = next(islice(_WORDS.finditer(text), most, None), None)
    return text if beyond is None else text[: beyond.start()].rstrip()


@lru_cache(maxsize=1)
def _load(folder: Path, kind: str, encoder: Path | None, device: str) -> Any:
    radgraph: Any = require("radgraph", group="report-models")
    _give_older_methods()
    with tempfile.TemporaryDirectory(prefix="cxrobust-") as made:
        _with_encoder(folder / kind, encoder, Path(made) / kind)
        with contextlib.redirect_stdout(io.StringIO()), warnings.catch_warnings():  # it prints its device
            warnings.simplefilter("ignore", ResourceWarning)  # and leaves its configuration open
            try:
                return radgraph.F1RadGraph(
                    reward_level="all", model_type=kind, model_cache_dir=made, cuda=0 if device == "cuda" else -1
                )
            except Exception as error:  # files of many kinds are read
                raise DataError(
                    f"{folder / kind}: radgraph cannot use it ({type(error).__name__}: "
                    f"{' '.join(str(error).split())[:200]}): unpack "
                    f"{kind}.tar.gz to it anew, as its authors publish it"
                ) from error


def _with_encoder(place: Path, encoder: Path | None, out: Path) -> None:
    """Write the files of a RadGraph to `out` as links, its configuration with the folder of its encoder in it.

    Raises
    ------
    DataError
        When the configuration is none, or names an encoder that would be fetched.
    """
    path = place / "config.json"
    try:
        config = json.loads(path.read_text(encoding="utf-8"))
        named = [
            config["dataset_reader"]["token_indexers"]["bert"],
            config["model"]["embedder"]["token_embedders"]["bert"],
        ]
        names = {one["model_name"] for one in named}
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise DataError(f"{path}: this is no configuration of a RadGraph: unpack it anew") from error
    for one in named:
        if encoder is not None:
            one["model_name"] = str(encoder)
        elif not Path(one["model_name"]).is_dir():
            raise DataError(
                f"{path}: it names its encoder as on a hub, {some(sorted(names))}, and nothing is fetched: give the "
                f"encoder's folder as encoder in [scores.radgraph]"
            )
    out.mkdir()
    for file in place.iterdir():
        if file.name != path.name:
            (out / file.name).symlink_to(file.resolve())
    (out / path.name).write_text(json.dumps(config), encoding="utf-8")


def _give_older_methods() -> None:
    """Give tokenizers the two methods that radgraph 0.1.18 calls and transformers 5 has no more."""
    base = require("transformers", group="inference").PreTrainedTokenizerBase

    def encode_plus(self: Any, text: Any, text_pair: Any = None, **options: Any) -> Any:
        return self(text, text_pair, **options)

    def build_inputs_with_special_tokens(self: Any, ids: list[int]) -> list[int]:
        return [self.cls_token_id, *ids, self.sep_token_id]

    for method in (encode_plus, build_inputs_with_special_tokens):
        if not hasattr(base, method.__name__):
            setattr(base, method.__name__, method)
