"""Test and validation images of one `[data]` table."""

from pathlib import Path

from cxrobust.inference.datasets import ImageTable
from cxrobust.study import parse_study

AROUND = """[study]
title = "t"
seed = 1
reference = "a"
{data}
[[regimes]]
name = "a"
family = "hf-classifier"
model = "a"
"""


def both_parts(folder: Path, data: str, *, with_images: bool = False) -> tuple[ImageTable, ImageTable]:
    """Read both as a study whose file lies in `folder` does."""
    study = parse_study(AROUND.format(data=data), path=folder / "study.toml")
    return study.data.table(with_images=with_images), study.validation.table(with_images=with_images)
