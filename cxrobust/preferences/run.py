"""From a study and one of its regimes to preference data: sample, judge, pair, compare judges, write."""

from collections.abc import Callable, Sequence
from dataclasses import asdict
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from cxrobust.analysis.agreement import MISSING, agreement_of_all, agreement_of_two
from cxrobust.errors import DataError, StudyError, nearest, some
from cxrobust.files import alone, atomic_write, sha256_file
from cxrobust.inference import ledger
from cxrobust.inference.datasets import ImageTable
from cxrobust.inference.models import Regime
from cxrobust.inference.pixels import WHITE, Pixels, open_pixels
from cxrobust.inference.units import UNREADABLE_FILE
from cxrobust.preferences import (
    AGREEMENT,
    ANSWERS,
    CACHE,
    FOLDER,
    IMAGES,
    PEOPLE,
    REPORTS,
    UNITS,
    Preferences,
    files,
    slug,
)
from cxrobust.preferences.pairs import (
    UNDECIDED,
    Pair,
    Sampled,
    choose,
    counts_of,
    faults_in,
    margins_of,
    position_bias,
    ratings_of,
    told_of_position,
)
from cxrobust.preferences.sampling import GeneratorSampler, Sampling, sampled_reports
from cxrobust.progress import Reporter, silent
from cxrobust.radiology_reports.findings import told_of_faults
from cxrobust.radiology_reports.judges import CHOICES, Desk, Judge, Judgement
from cxrobust.study import Study

_SHEET = "for-people.sha256"
STRAY = "lines of the judge's file on no sampled reports"


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
        if faults := faults_in(sampled):
            say(told_of_faults(faults, sum(len(one.samples) for one in sampled)))
        written = [folder / REPORTS, folder / PEOPLE]
        files.write_reports(sampled, folder / REPORTS)
        if not files.write_for_people(sampled, folder / PEOPLE, seed=study.study.seed, known=folder / CACHE / _SHEET):
            say(f"{folder / PEOPLE} is left as it is, since it may be filled in: move it away to have it written anew")
        written += _judge(judging, sampled, sampling, took["units"], folder, report=report, say=say)
    return tuple(written)


def _judge(
    judging: Sequence[Judge],
    sampled: Sequence[Sampled],
    sampling: Sampling,
    units: Sequence[str],
    folder: Path,
    *,
    report: Reporter,
    say: Callable[[str], None],
) -> list[Path]:
    """Write what each judge makes of the reports, before the next is asked, and how far judges agree; return the files.

    What is there of other reports is removed first, so that all that lies in a folder is of the same ones.
    """
    study = sampling.study
    identities = [{"name": one.name, **one.identity()} for one in judging]
    reports = sha256_file(folder / REPORTS)
    if stale := files.remove_stale(folder, reports=reports, judges=identities):
        say(f"removed, since it was of other reports or judges: {some(stale, most=len(stale))}")
    drawn = {**sampling.keys.model_dump(mode="json"), "seed": study.study.seed, "units": units, "reports": reports}
    desk = Desk(answers=folder / ANSWERS, device=study.compute.device, report=report)
    judgements, written = {}, []
    for one, identity in zip(judging, identities, strict=True):
        judgements[one.name] = one.judge([each.case for each in sampled], desk)
        of = {"judge": identity, "sampling": drawn}
        written.append(_write_judged(one, judgements[one.name], sampled, sampling, of, folder, say=say))
        if len(judgements) > 1:  # also where a later judge fails
            told = identities[: len(judgements)]
            content = {"reports": reports, "judges": told, **_agreement(sampled, judgements, study)}
            files.write_summary(content, folder / AGREEMENT)
    return [*written, *([folder / AGREEMENT] if len(judgements) > 1 else [])]


def _sampling(study: Study, asked: Preferences, regime: Regime, cache: Path, report: Reporter) -> Sampling:
    """Return what is to be sampled, with its images decoded."""
    table = _images(study, asked)
    pixels = open_pixels(
        table,
        size=study.data.size,
        folder=cache,
        report=report,
        unreadable="skipped" if study.compute.on_error == "skip" else "told",
    )
    return Sampling(
        study=study, regime=regime, keys=asked.keys, table=table, pixels=pixels, prompt=_prompt(asked, regime)
    )


def check_learned_images(study: Study) -> tuple[str, ...]:
    """See, where a study asks for preference data, that its images to learn from are there and of other patients.

    Returns
    -------
    tuple of str
        Advice: which judges go by references where no image has one, so that no pair would come of them.

    Raises
    ------
    CxrobustError
        For the first thing that is wrong with them.
    """
    if not isinstance(study.preferences, Preferences):
        return ()
    if any(_images(study, study.preferences).references or ()):
        return ()
    return tuple(
        f"judge {one.name!r} goes by reference reports, and the images of [preferences.data] have none, so that it "
        "makes no pair: name a table of reports with references there, or write own_references = true where the data "
        "set has reports of its own"
        for one in study.preferences.judges
        if one.needs_references
    )


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
        listed = section.without_headers().table(with_images=False, where=where, needs_references=needs)
        others = set(listed.patients)
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
    of: dict[str, Any],
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
    position = position_bias(
        sampled, judgements, n_resamples=sampling.study.analysis.resamples, seed=sampling.study.study.seed
    )
    unreadable = {UNREADABLE_FILE: len(sampling.pixels.unreadable)} if sampling.pixels.unreadable else {}
    left_out = {**sampling.table.exclusions, **unreadable}
    content = {
        "regime": sampling.regime.name,
        "model": sampling.regime.fingerprint(),
        **of,
        "counts": {
            **counts,
            **({STRAY: len(strays)} if strays else {}),
            **{f"images left out, {why}": n for why, n in left_out.items()},
        },
        **({STRAY: strays} if strays else {}),
        "margins": margins_of(pairs),
        "position": position,
        "files": {name: sha256_file(place / name) for name in files.OF_JUDGE},
    }
    files.write_summary(content, place / files.SUMMARY)
    unjudged = (f"{n:,} {what}" for what, n in counts.items() if what.startswith(UNDECIDED))
    stray = [f"{len(strays):,} {STRAY} ({some(strays)})"] if strays else []
    swayed = [] if position is None else told_of_position(position)
    told = "; ".join([f"{len(pairs):,} pairs of {len(sampled):,} images", *unjudged, *swayed, *stray])
    say(f"judge {judge.name!r}: {told}; {place / files.SUMMARY} counts all")
    return place / files.PAIRS


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
