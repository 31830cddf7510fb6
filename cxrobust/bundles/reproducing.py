"""Analysis and documents of a bundle again, and whether they come out the same."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from cxrobust import pipeline
from cxrobust.bundles import POWER, STUDY, TEMPLATES
from cxrobust.bundles.beside import Beside, beside, templates_of
from cxrobust.bundles.crate import METADATA
from cxrobust.bundles.unpacking import check_manifest
from cxrobust.differences import Difference, nested
from cxrobust.documents import report as write_documents
from cxrobust.errors import DataError, counted
from cxrobust.files import sha256_bytes, sha256_file
from cxrobust.predictions import INDEX
from cxrobust.progress import Reporter, silent
from cxrobust.results import ESTIMATES, PREDICTIONS, RESULTS, Results, estimates_text, read_results
from cxrobust.study import Study, parse_study
from cxrobust.verification.examples import differing_examples
from cxrobust.verification.ran import differing_settings
from cxrobust.verification.reading import MALFORMED, of_another_form
from cxrobust.verification.recomputed import check_folder, computed_differences, for_this_machine, stated_differences
from cxrobust.verification.verdict import visible

ROUNDING = 1e-9
"""A difference that is no more than this may be rounding; it is said beside the machines, and is still a difference."""
MOST_TOLD = 20
MOST_NAMED = 5
"""Documents of one folder that are named one by one."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Verdict:
    """What came out of doing a bundle's analysis and documents again."""

    n_estimates: int
    differences: tuple[Difference, ...]
    beside: Beside
    """What came of documents and of all else that it holds."""
    n_examples: int = 0
    examples: tuple[str, ...] = ()
    """Where example images say otherwise than the predictions."""
    machines: tuple[Difference, ...]
    """Versions, platform and hardware of the analysis that are others here."""

    @property
    def is_identical(self) -> bool:
        """Whether everything came out the same."""
        return self.beside.is_identical and not (self.differences or self.examples)

    @property
    def largest(self) -> float | None:
        """The largest difference of two numbers; None where a difference is not one of numbers, or there is none."""
        sizes = [one.size for one in self.differences]
        return max((size for size in sizes if size is not None), default=None) if None not in sizes else None

    def lines(self) -> list[str]:
        """Say it in words; what the bundle says in them does nothing to a terminal."""
        told = (*self._of_estimates(), *self._of_examples(), *self._of_documents())
        return [*map(visible, told), "identical" if self.is_identical else "not identical"]

    def _of_estimates(self) -> Iterable[str]:
        if not self.differences:
            yield f"estimates: {self.n_estimates:,} and all diagrams computed again from the predictions: identical"
            return
        yield f"estimates: {len(self.differences):,} fields differ from results.json:"
        yield from _first(self.differences)
        if self.largest is not None and self.largest <= ROUNDING:
            yield f"  the largest difference is {self.largest:.2g}, as rounding may make it{self._on_machines()}"
        elif self.largest is not None:
            yield f"  the largest difference is {self.largest:.2g}{self._on_machines()}"
        else:
            yield f"  some of what differs is no number{self._on_machines()}"

    def _of_examples(self) -> Iterable[str]:
        if not self.n_examples:
            return
        if not self.examples:
            yield f"example images: probabilities and labels of {self.n_examples:,} are those of the predictions"
            return
        yield "example images say otherwise than the predictions:"
        yield from _first(self.examples)

    def _on_machines(self) -> str:
        if not self.machines:
            return "; the analysis was made on a machine described as this one is"
        return f"; the analysis was made elsewhere ({'; '.join(_machine(one) for one in self.machines)})"

    def _of_documents(self) -> Iterable[str]:
        found = self.beside
        same = [name for name in found.documents if name not in found.changed]
        if same:
            yield f"documents: written again from results.json, identical: {_gathered(same)}"
        if found.changed:
            yield f"documents: written again from results.json, with other bytes: {_gathered(found.changed)}"
        if found.not_written:
            yield f"documents: not written here: {_gathered(found.not_written)}"
        if found.strays:
            yield f"other files, which nothing in the bundle accounts for: {_gathered(found.strays)}"
        if found.templates:
            n = counted(found.templates, "file")
            yield f"templates: {n} of its own came before cxrobust's: read {TEMPLATES}/, for it may say anything"
        if found.power:
            yield f"not compared: {POWER}, which answers questions that nothing in the bundle repeats"
        yield f"not compared: in {METADATA} the date of the bundle and what it was made with, which nothing else says"


def _first(found: Sequence[object]) -> Iterable[str]:
    """Yield a line for each of the first that were found, and how many more there are."""
    yield from (f"  {one}" for one in found[:MOST_TOLD])
    if len(found) > MOST_TOLD:
        yield f"  and {len(found) - MOST_TOLD:,} more"


def _gathered(names: Iterable[str]) -> str:
    """Name files in order; those of one folder by their number where they are many."""
    folders: dict[str, list[str]] = {}
    for name in names:
        folders.setdefault(name.rpartition("/")[0], []).append(name)
    said = []
    for folder, files in folders.items():
        said += files if not folder or len(files) <= MOST_NAMED else [f"{len(files):,} files of {folder}/"]
    return ", ".join(said)


def _machine(one: Difference) -> str:
    return f"{one.field.removeprefix('versions.')} {one.old}, here {one.new}"


def reproduce(
    folder: Path,
    out: Path,
    *,
    predictions: Path | None = None,
    tolerance: float = 0.0,
    report: Reporter = silent,
    say: Callable[[str], None] = lambda message: None,
) -> Verdict:
    """Analyse an unpacked bundle's predictions again, write its documents again to `out`, and compare.

    Raises
    ------
    DataError
        When the bundle is not whole, was changed, holds no predictions and none are given, or cannot be analysed.
    """
    try:
        return _reproduced(folder, out, predictions, tolerance, report, say)
    except MALFORMED as error:
        raise DataError(f"{folder}: it cannot be reproduced {of_another_form(error)}: get the bundle again") from error


def _reproduced(
    folder: Path,
    out: Path,
    predictions: Path | None,
    tolerance: float,
    report: Reporter,
    say: Callable[[str], None],
) -> Verdict:
    if out.resolve() == folder.resolve():
        raise DataError(f"{out}: the bundle is there, and nothing in it is overwritten: choose another --out")
    listed = check_manifest(folder)
    old = read_results(folder / RESULTS)
    study = _study(folder, old)
    source = predictions or folder / PREDICTIONS
    if not (source / INDEX).is_file():
        raise DataError(f"{source}: there are no predictions: give their folder by --predictions")
    if sha256_file(source / INDEX) != old.provenance.get("predictions_sha256"):
        raise DataError(
            f"{source}: not the predictions that the results were computed from: give those by --predictions"
        )
    check_folder(source)
    bare = replace(study, study=study.study.model_copy(update={"registration": None}))  # where a bundle has it
    new = pipeline.analyze(for_this_machine(bare), out, predictions=source, report=report)
    found = [
        *computed_differences(old, new, tolerance=tolerance),
        *stated_differences(old, new),
        *differing_settings(study, old),
        *_of_registration(old, new),
    ]
    if estimates_text(old.estimates).encode() != (folder / ESTIMATES).read_bytes():
        found.append(Difference(part=ESTIMATES, what="", field="content", old="that of results.json", new="another"))
    report("writing the documents", 0, 1)
    write_documents(folder / RESULTS, out, template=templates_of(folder, old), say=say, keep=False)
    report("writing the documents", 1, 1)
    return Verdict(
        n_estimates=len(old.estimates),
        differences=tuple(found),
        beside=beside(folder, out, listed, old),
        n_examples=len(old.examples),
        examples=_examples(old, source),
        machines=tuple(
            nested(old.provenance.get("analysis") or {}, new.provenance.get("analysis") or {}, part="provenance")
        ),
    )


def _study(folder: Path, results: Results) -> Study:
    """Return the bundle's study, after a check that it is the one that the results hold."""
    path = folder / STUDY
    text = path.read_bytes().decode("utf-8", errors="replace")
    if text != results.study_text or sha256_bytes(text.encode()) != results.provenance.get("study_sha256"):
        raise DataError(f"{path}: not the study file that the results were made with: get the bundle again")
    return parse_study(text, path=path)


def _examples(results: Results, predictions: Path) -> tuple[str, ...]:
    """Return where example images say otherwise than the predictions."""
    if not results.examples:
        return ()
    try:
        return differing_examples(results.examples, predictions)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        return (f"they cannot be read ({error})",)


def _of_registration(old: Results, new: Results) -> list[Difference]:
    """Return where what the two say of a registered plan differs; its file may have another name in a bundle."""
    plans = [results.provenance.get("registration") for results in (old, new)]
    bare = [None if plan is None else {key: plan[key] for key in plan if key != "file"} for plan in plans]
    return nested(*bare, part="provenance", field="registration")
