"""From a study and one of its regimes to preference data: sample, judge, pair, compare judges, write."""

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import asdict
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from cxrobust.analysis.agreement import MISSING, agreement_of_all, agreement_of_two
from cxrobust.errors import DataError, StudyError, counted, nearest, some
from cxrobust.files import alone, atomic_write
from cxrobust.inference import ledger
from cxrobust.inference.datasets import ImageTable
from cxrobust.inference.models import Regime
from cxrobust.inference.pixels import WHITE, Pixels, open_pixels
from cxrobust.inference.units import UNREADABLE_FILE
from cxrobust.preferences import FOLDER, Preferences, files, slug
from cxrobust.preferences.pairs import (
    UNDECIDED,
    Pair,
    Sampled,
    choose,
    counts_of,
    flaws_in,
    margins_of,
    position_bias,
    ratings_of,
)
from cxrobust.preferences.sampling import UNITS, GeneratorSampler, Sampling, sampled_reports
from cxrobust.progress import Reporter, silent
from cxrobust.radiology_reports.findings import told_of_flaws
from cxrobust.radiology_reports.judges import CHOICES, Desk, Judge, Judgement
from cxrobust.study import Study

STRAY = "lines of the judge's file on no sampled reports"
IMAGES, ANSWERS, CACHE = "images", "answers", "cache"


def make_preferences(
    study: Study,
    out: Path,
    *,
    regime: str,
    judges: Sequence[str] = (),
    report: Reporter = silent,
    say: Callable[[str], None] = lambda message: None,
) -> tuple[Path, ...]:
    """Write `OUT/preferences/REGIME/`: samples, a folder for each judge, how far judges agree, and a sheet for people.

    Returns
    -------
    tuple of Path
        What was written for people and for trl to read.

    Raises
    ------
    StudyError, DataError
        When the study says nothing of preferences, names no such regime or judge, or images, models or judges cannot be
        used; what was sampled and answered is kept.
    """
    asked = study.preferences
    if not isinstance(asked, Preferences):
        raise StudyError(
            f"{study.path}: [preferences] is missing: say there which images to learn from, and who judges"
        )
    chosen = _regime(study, regime)
    judging = _judges(study, asked, judges)
    for one in judging:
        one.check()
    folder = out / FOLDER / slug(regime)
    with alone(folder, CACHE, IMAGES, UNITS, f"{UNITS}/{ledger.FAILED}", *(slug(one.name) for one in judging)):
        sampling = _sampling(study, asked, chosen, folder / CACHE, report)
        sampled, took = sampled_reports(sampling, folder / UNITS, load=GeneratorSampler, report=report)
        if flaws := flaws_in(sampled):
            say(told_of_flaws(flaws, sum(len(one.samples) for one in sampled)))
        files.write_reports(sampled, folder / files.REPORTS)
        if filled := files.write_for_people(sampled, folder / files.PEOPLE, seed=study.study.seed):
            say(f"{folder / files.PEOPLE} is left as it is, since {counted(filled, 'line')} of it are filled in")
        desk = Desk(answers=folder / ANSWERS, device=study.compute.device, report=report)
        judgements = {one.name: one.judge([each.case for each in sampled], desk) for one in judging}
        written = [folder / files.REPORTS, folder / files.PEOPLE]
        written += [
            _write_judged(one, judgements[one.name], sampled, sampling, took, folder, say=say) for one in judging
        ]
        if len(judging) > 1:
            content = _agreement(sampled, judgements, study)
            files.write_summary(content, folder / files.AGREEMENT)
            written.append(folder / files.AGREEMENT)
    return tuple(written)


def _sampling(study: Study, asked: Preferences, regime: Regime, cache: Path, report: Reporter) -> Sampling:
    """Return what is to be sampled, with its images decoded."""
    table = _images(study, asked)
    pixels = open_pixels(
        table,
        size=study.data.size,
        folder=cache,
        report=report,
        skip_unreadable=study.compute.on_error == "skip",
    )
    return Sampling(
        study=study, regime=regime, keys=asked.keys, table=table, pixels=pixels, prompt=_prompt(asked, regime)
    )


def check_learned_images(study: Study) -> None:
    """See, where a study asks for preference data, that its images to learn from are there and of other patients.

    Raises
    ------
    CxrobustError
        For the first thing that is wrong with them.
    """
    if isinstance(study.preferences, Preferences):
        _images(study, study.preferences)


def _regime(study: Study, name: str) -> Regime:
    found = [one for one in study.regimes if one.name == name]
    if not found:
        names = dict.fromkeys(one.name for one in study.regimes)
        raise StudyError(f"--regime {name}: no such regime{nearest(name, names)}: there are {', '.join(names)}")
    one = found[0]
    if not isinstance(one, Regime) or not one.writes_reports:
        raise StudyError(f"--regime {name}: it writes no reports: name one of family generator")
    if one.cross_fit is not None:
        raise StudyError(f"--regime {name}: it is cross-fitted, a model a fold: sample from one model")
    return one


def _judges(study: Study, asked: Preferences, names: Sequence[str]) -> tuple[Judge, ...]:
    known = {one.name: one for one in asked.judges}
    for name in names:
        if name not in known:
            raise StudyError(
                f"--judge {name}: no such judge{nearest(name, known)}: {study.path} has {', '.join(known)}"
            )
    return tuple(known[name] for name in names) if names else asked.judges


def _images(study: Study, asked: Preferences) -> ImageTable:
    """Return the images to learn from; no patient of theirs is tested on, nor are thresholds fitted to one.

    Raises
    ------
    DataError
        Where one is.
    """
    table: ImageTable = asked.data.table(with_images=True, where="[preferences.data]")
    for section, part, where in ((study.data, "test", "[data]"), (study.validation, "validation", "[data.validation]")):
        if section is None:
            continue
        needs = section is study.data
        others = set(section.table(with_images=False, where=where, needs_references=needs).patients)
        shared = [one for one in dict.fromkeys(table.patients) if one in others]
        if shared:
            raise DataError(
                f"{study.path}: {len(shared):,} patients of [preferences.data] are {part} patients of the study "
                f"({some(shared)}): a model that learns from them must not be tested on them: name another split"
            )
    return table


def _prompt(asked: Preferences, regime: Any) -> str:
    from cxrobust.inference.models.generator import PROMPT

    return str(asked.keys.prompt or getattr(regime, "prompt", None) or PROMPT)


def _write_judged(
    judge: Judge,
    judgements: Sequence[Judgement],
    sampled: Sequence[Sampled],
    sampling: Sampling,
    took: dict[str, Any],
    folder: Path,
    *,
    say: Callable[[str], None],
) -> Path:
    """Write a judge's pairs with counts and its identity; the summary comes last, so that it stands by whole files."""
    keys = sampling.keys
    strays = judge.strays([one.case for one in sampled])
    found = [choose(one, judged, margin=keys.margin) for one, judged in zip(sampled, judgements, strict=True)]
    pairs = [one for one in found if isinstance(one, Pair)]
    place = folder / slug(judge.name)
    images = _keep_images(pairs, sampling, folder)
    files.write_judged(sampled, judgements, place / files.JUDGED)
    files.write_pairs(pairs, place, prompt=sampling.prompt, layout=keys.layout, images=images)
    counts = counts_of(sampled, judgements, found)
    unreadable = {UNREADABLE_FILE: len(sampling.pixels.unreadable)} if sampling.pixels.unreadable else {}
    left_out = {**sampling.table.exclusions, **unreadable}
    content = {
        "regime": sampling.regime.name,
        "model": sampling.regime.fingerprint(),
        "judge": {"name": judge.name, **judge.identity()},
        "sampling": {**keys.model_dump(mode="json"), "seed": sampling.study.study.seed, "units": took["units"]},
        "counts": {
            **counts,
            **({STRAY: len(strays)} if strays else {}),
            **{f"images left out, {why}": n for why, n in left_out.items()},
        },
        **({STRAY: strays} if strays else {}),
        "margins": margins_of(pairs),
        "position": position_bias(
            sampled, judgements, n_resamples=sampling.study.analysis.resamples, seed=sampling.study.study.seed
        ),
        "files": {name: hashlib.sha256((place / name).read_bytes()).hexdigest() for name in _FILES},
    }
    files.write_summary(content, place / files.SUMMARY)
    unjudged = (f"{n:,} {what}" for what, n in counts.items() if what.startswith(UNDECIDED))
    stray = [f"{len(strays):,} {STRAY} ({some(strays)})"] if strays else []
    told = "; ".join([f"{len(pairs):,} pairs of {len(sampled):,} images", *unjudged, *stray])
    say(f"judge {judge.name!r}: {told}; {place / files.SUMMARY} counts all")
    return place / files.PAIRS


_FILES = (files.PAIRS, files.UNPAIRED, files.MARGINS, files.JUDGED)


def _keep_images(pairs: Sequence[Pair], sampling: Sampling, folder: Path) -> dict[str, str]:
    """Keep the images of pairs as PNG (8 bits, three equal channels); return each one's path from a judge's folder."""
    rows = {image: row for row, image in enumerate(sampling.table.ids)}
    found = {}
    for pair in pairs:
        row = rows[pair.image]
        name = f"{sampling.pixels.digests[row][:32]}-{sampling.study.data.size}.png"
        path = folder / IMAGES / name
        if not path.exists():
            _write_image(sampling.pixels, row, path)
        found[pair.image] = f"../{IMAGES}/{name}"
    return found


def _write_image(pixels: Pixels, row: int, path: Path) -> None:
    levels = pixels.stored(np.array([row]))[0]
    grey = np.rint(levels.astype(np.float64) / WHITE * 255).astype(np.uint8)
    atomic_write(path, lambda temporary: Image.fromarray(grey).convert("RGB").save(temporary, format="PNG"))


def _agreement(sampled: Sequence[Sampled], judgements: dict[str, list[Judgement]], study: Study) -> dict[str, Any]:
    """Return how far judges agree, two by two and all together, on every comparison that they decided."""
    patients = {name: i for i, name in enumerate(dict.fromkeys(one.patient for one in sampled))}
    any_judgement = next(iter(judgements.values()))
    whose = np.array(
        [patients[o.patient] for o, judged in zip(sampled, any_judgement, strict=True) for _ in judged.decisions],
        dtype=np.intp,
    )
    rated = {name: np.array(ratings_of(judged), np.int8) for name, judged in judgements.items()}
    shared: dict[str, Any] = {
        "n_categories": len(CHOICES),
        "n_resamples": study.analysis.resamples,
        "seed": study.study.seed,
    }
    together = np.stack(list(rated.values()), axis=1).reshape(len(whose), len(rated))
    return {
        "categories": list(CHOICES),
        "comparisons": len(whose),
        "decided": {name: int((ratings != MISSING).sum()) for name, ratings in rated.items()},
        "two": [
            {
                "judges": [one, other],
                "coefficients": [asdict(each) for each in agreement_of_two(together[:, [i, j]], whose, **shared)],
            }
            for (i, one), (j, other) in combinations(enumerate(rated), 2)
        ],
        "all": [asdict(each) for each in agreement_of_all(together, whose, **shared)],
    }
