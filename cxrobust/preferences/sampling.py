"""Several reports of each image, sampled from one regime: units of work that a killed run goes on from."""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from cxrobust.errors import CxrobustError, DataError
from cxrobust.files import sha256_json
from cxrobust.inference import ledger
from cxrobust.inference.datasets import ImageTable
from cxrobust.inference.pixels import Pixels
from cxrobust.inference.units import code_hash, code_of
from cxrobust.preferences import FOLDER, UNITS, PreferencesKeys
from cxrobust.preferences.files import read_samples, write_samples
from cxrobust.preferences.pairs import Sample, Sampled
from cxrobust.progress import Reporter
from cxrobust.study import Study

FORMAT = 2
CONDITION = "samples"
"""What units are called in the ledger, where predictions have a condition."""


class Sampler(Protocol):
    """A generator that is loaded, and samples one report of each of several images."""

    def sample(
        self, rows: NDArray[np.intp], *, seeds: Sequence[int], temperature: float, top_p: float
    ) -> Sequence[Sample]:
        """Return a report of each image, drawn with the image's own seed, so that its batch does not matter."""
        ...


class GeneratorSampler:
    """A regime of family `generator`, loaded on its device."""

    def __init__(self, sampling: "Sampling") -> None:
        from cxrobust.inference.runtime import choose_device, naming_a_mismatch, use_threads

        compute, self._name = sampling.study.compute, sampling.regime.name
        self._pixels, self._device, self._precision = sampling.pixels, choose_device(compute.device), compute.precision
        use_threads(compute.threads)
        with naming_a_mismatch():
            self._model: Any = sampling.regime.load(sampling.table.findings).to(self._device)

    def sample(self, rows: NDArray[np.intp], *, seeds: Sequence[int], temperature: float, top_p: float) -> list[Sample]:
        """Return a report of each image, with the probability that the model gives it without any temperature."""
        import torch

        from cxrobust.inference.batches import explaining
        from cxrobust.inference.precision import in_precision
        from cxrobust.inference.writers import Decoding

        most = self._model.decoding.most_tokens
        decoding = Decoding(samples=True, beams=1, most_tokens=most, temperature=temperature, top_p=top_p)
        writer = self._model.writer
        precision = in_precision(self._device, self._precision)
        with explaining(f"regime {self._name!r}: sampling"), torch.no_grad(), precision:
            images = self._model.prepared(torch.from_numpy(self._pixels.batch(rows)).to(self._device))
            tokens = writer.write(images, decoding, seeds)
            found = writer.log_probability(images, tokens).cpu().tolist()
        return [
            Sample(text=writer.text_of(own), log_probability=float(one), is_cut=own[-1] not in writer.ends)
            for own, one in zip(tokens, found, strict=True)
        ]


@dataclass(frozen=True, kw_only=True, slots=True)
class Sampling:
    """What is to be sampled."""

    study: Study
    regime: Any
    """A regime that writes reports."""
    keys: PreferencesKeys
    table: ImageTable
    pixels: Pixels
    prompt: str
    """What it is asked; a part of what determines its reports."""

    def units(self) -> list["SamplingUnit"]:
        """List the units: so many images each as `shard` in [compute] says."""
        rows = np.array([row for row in range(len(self.table.ids)) if row not in self.pixels.unreadable], dtype=np.intp)
        settings = {key: value for key, value in self.regime.settings().items() if key not in {"description", "name"}}
        shared = {
            "format": FORMAT,
            "files": sorted([Path(name).name, digest] for name, digest in self.regime.fingerprint().items()),
            "settings": settings,
            "sampling": [self.keys.samples, self.keys.temperature, self.keys.top_p],
            "seed": self.study.study.seed,
            "size": self.study.data.size,
            "precision": self.study.compute.precision,
            "code": code_hash(*code_of(self.regime), __name__),
        }
        shard = self.study.compute.shard
        parts = (rows[first : first + shard] for first in range(0, len(rows), shard))
        return [
            SamplingUnit(
                rows=some,
                key=sha256_json(
                    {**shared, "images": [[self.table.ids[row], self.pixels.digests[row]] for row in some]}
                ),
            )
            for some in parts
        ]


@dataclass(frozen=True, kw_only=True, slots=True)
class SamplingUnit:
    """One piece of work whose result is one file."""

    rows: NDArray[np.intp]
    key: str

    @property
    def file(self) -> str:
        """Name of its file."""
        return f"{self.key}.parquet"


def sampled_reports(
    sampling: Sampling, folder: Path, *, load: Callable[[Sampling], Sampler], report: Reporter
) -> tuple[list[Sampled], dict[str, Any]]:
    """Return the reports of all images, what is not in `folder` sampled first, and how long that took.

    Raises
    ------
    DataError
        When a unit failed; what was done is kept.
    """
    units = sampling.units()
    there = {unit.key: found for unit in units if (found := _read(unit, folder)) is not None}
    _list(sampling, units, folder)
    total, done = sum(len(unit.rows) for unit in units), sum(len(some) for some in there.values())
    report("sampling reports", done, total)
    begun = time.monotonic()
    sampler: Sampler | None = None
    for unit in units:
        if unit.key in there:
            continue
        try:
            with ledger.running(folder, unit.key):
                sampler = sampler or load(sampling)
                found = _sample(unit, sampling, sampler, advance=partial(_advance, report, done, total))
                write_samples(found, folder / unit.file, key=unit.key)
        except (CxrobustError, OSError) as error:
            ledger.note_failure(folder, unit.key, error=str(error), attempts=1)
            raise
        ledger.forget_failure(folder, unit.key)
        there[unit.key] = found
        done += len(unit.rows)
    table = sampling.table
    sampled = [
        Sampled(
            image=table.ids[row],
            patient=table.patients[row],
            reference=None if table.references is None else table.references[row],
            samples=there[unit.key][table.ids[row]],
        )
        for unit in units
        for row in map(int, unit.rows)
    ]
    took = {"units": [unit.key for unit in units], "seconds": round(time.monotonic() - begun, 1)}
    return sampled, took


def begun_in(out: Path) -> list[Path]:
    """Return the folders of samples in a folder of all output, in which a run has begun."""
    return sorted(path.parent for path in (out / FOLDER).glob(f"*/{UNITS}/{ledger.UNITS}"))


def changed_keys(study: Study, made_for: Mapping[str, Any]) -> tuple[str, ...]:
    """Return the keys of `[preferences]` that are others now than when reports were sampled for them."""
    now = {} if study.preferences is None else study.preferences.keys.model_dump(mode="json")
    then = made_for.get("preferences", {})
    return tuple(f"{key} of preferences" for key in then if now.get(key) != then[key])


def _advance(report: Reporter, before: int, total: int, n_images: int) -> None:
    report("sampling reports", before + n_images, total)


def _read(unit: SamplingUnit, folder: Path) -> dict[str, tuple[Sample, ...]] | None:
    """Return a unit's samples, None where its file is missing or damaged and has to be made again."""
    try:
        return read_samples(folder / unit.file, key=unit.key)
    except DataError:
        return None


def _sample(
    unit: SamplingUnit, sampling: Sampling, sampler: Sampler, *, advance: Callable[[int], None]
) -> dict[str, tuple[Sample, ...]]:
    """Return the samples of a unit's images; the numbers of each are drawn from seed, image and sample alone."""
    from cxrobust.inference.batches import Batches
    from cxrobust.inference.randomness import image_seed

    keys, table, seed = sampling.keys, sampling.table, sampling.study.study.seed

    def draw(some: slice) -> list[tuple[Sample, ...]]:
        rows = unit.rows[some]
        drawn = [
            sampler.sample(
                rows,
                seeds=[image_seed(seed, f"sample {k}", table.ids[row]) for row in rows],
                temperature=keys.temperature,
                top_p=keys.top_p,
            )
            for k in range(keys.samples)
        ]
        return list(zip(*drawn, strict=True))

    found: list[tuple[Sample, ...]] = []
    for part in Batches(sampling.study.compute.batch).over(len(unit.rows), draw):
        found += part
        advance(len(found))
    return {table.ids[row]: of_one for row, of_one in zip(unit.rows, found, strict=True)}


def _list(sampling: Sampling, units: Sequence[SamplingUnit], folder: Path) -> None:
    entries = [
        ledger.Entry(
            key=unit.key,
            regime=sampling.regime.name,
            replicate=sampling.regime.replicate,
            condition=CONDITION,
            part="test",
            n_images=len(unit.rows),
        )
        for unit in units
    ]
    ledger.write_units(entries, {"preferences": sampling.keys.model_dump(mode="json")}, folder)
    ledger.sweep_running(folder)
