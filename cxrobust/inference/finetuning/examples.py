"""Images and labels to learn from, in memory."""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from cxrobust.errors import DataError
from cxrobust.inference.datasets import ImageTable
from cxrobust.inference.images import fit as fit_image
from cxrobust.progress import Reporter, silent


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class LabelledImages:
    """What a regime learns from."""

    images: Tensor
    """(n, 1, size, size) float32 in [0, 1]."""
    labels: Tensor
    """(n, n_findings) int8: 1, 0, or -1 where missing."""

    def __len__(self) -> int:
        return len(self.images)

    def take(self, rows: Tensor) -> "LabelledImages":
        """Return these rows alone."""
        return LabelledImages(images=self.images[rows], labels=self.labels[rows])


def read_examples(table: ImageTable, *, size: int, report: Reporter = silent, stage: str = "images") -> LabelledImages:
    """Decode the images of a data set at a size, with their labels.

    Raises
    ------
    DataError
        When the table has no images, or one cannot be read.
    """
    if table.images is None:
        raise DataError(f"{table.name}: its images were not loaded, and fine-tuning needs them")
    images = np.empty((len(table.ids), 1, size, size), dtype=np.float32)
    for row in range(len(images)):
        images[row, 0] = fit_image(table.images.pixels(row), size)
        if row % 64 == 63 or row == len(images) - 1:
            report(stage, row + 1, len(images))
    return LabelledImages(images=torch.from_numpy(images), labels=torch.from_numpy(table.labels.astype(np.int8)))
