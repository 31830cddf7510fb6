"""The program's own phantoms: `[data] kind = "phantoms"`."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar, Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from pydantic import Field

from cxrobust.files import sha256_json
from cxrobust.inference.datasets import EFFUSION, Dataset, Example, ImageTable, dataset
from cxrobust.inference.phantoms import FINDINGS, VERSION, Domain, Split, Visit, draw, labels, population


@dataset("phantoms")
class Phantoms(Dataset):
    """Procedural chest radiographs: nothing to download, deterministic, with known findings.

    Examples
    --------
    >>> table = Phantoms(kind="phantoms", patients=3, seed=7).table()
    >>> table.images.pixels(0).shape
    (128, 128)
    """

    public: ClassVar[bool] = True
    example: ClassVar[Example] = EFFUSION._replace(finding="Effusion")
    kind: Literal["phantoms"]
    patients: int = Field(default=500, ge=1, le=1_000_000)
    """Patients drawn; each has 1 to 6 images."""
    seed: int = Field(default=2026, ge=0, lt=2**63)
    split: Split = "test"
    """Different splits of one seed have no patient in common."""
    domain: Domain = "a"
    """Hospital: the same patients, imaged with other habits of exposure, view, collimation and sharpness."""
    size: int = Field(default=128, ge=32, le=1024)
    """Side in pixels at which images are drawn."""

    def visits(self) -> tuple[Visit, ...]:
        """Return what each image shows, in the order of the table: findings with severity, anatomy, pose, exposure."""
        return population(self.seed, self.patients, split=self.split, domain=self.domain)

    def load(self, *, with_images: bool = True) -> ImageTable:
        """Draw the patients; their images are drawn one by one when asked for."""
        visits = self.visits()
        return ImageTable(
            name="Phantoms (procedural radiographs)",
            citation="",
            ids=tuple(f"{visit.patient.name}_{visit.number:03d}" for visit in visits),
            patients=tuple(visit.patient.name for visit in visits),
            findings=FINDINGS,
            labels=labels(visits),
            metadata=pd.DataFrame(
                {
                    "age": [visit.patient.age for visit in visits],
                    "sex": [visit.patient.sex for visit in visits],
                    "view": [visit.view for visit in visits],
                }
            ),
            images=DrawnImages(visits=visits, size=self.size) if with_images else None,
        )


@dataclass(frozen=True, kw_only=True, slots=True)
class DrawnImages:
    """Images that are drawn when asked for."""

    visits: tuple[Visit, ...]
    size: int

    def digest(self, index: int) -> str:
        """Return a hash of the generator's version, the image's place in its population, and its size."""
        visit = self.visits[index]
        patient = visit.patient
        place = [patient.seed, patient.split, patient.domain, patient.index, visit.number]
        return sha256_json({"generator": VERSION, "visit": place, "size": self.size})

    def stamp(self, index: int) -> str:
        """Return the digest: what determines a drawing is known without drawing it."""
        return self.digest(index)

    def file(self, index: int) -> None:
        """Return None: it is drawn."""

    def opened(self, index: int) -> tuple[str, Callable[[], NDArray[np.float32]]]:
        """Return digest and pixels."""
        return self.digest(index), lambda: self.pixels(index)

    def pixels(self, index: int) -> NDArray[np.float32]:
        """Return image `index` as grey, shape (size, size), in [0, 1]."""
        return draw(self.visits[index], self.size)
