"""Verification of a PDF by what it carries: hashes, estimates computed again, pages printed again.

The PDF may be a stranger's. `reading.py` reads it within limits, `ran.py` checks what it carries of a run,
`recomputed.py` does the analysis again, `reprinted.py` prints the pages again, `comparisons.py` checks the comparison
of two runs, and here the checks are put in order.
"""

import tempfile
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import cast, get_args

import pikepdf

from cxrobust.errors import DataError
from cxrobust.files import sha256_bytes
from cxrobust.progress import Reporter, silent
from cxrobust.reports.document import Document, Paper
from cxrobust.reports.evidence import EXAMPLES, MANIFEST, NOT_CARRIED, PREDICTIONS, RESULTS, TEMPLATES
from cxrobust.reports.render import print_again
from cxrobust.reports.sections import Kind
from cxrobust.reports.templating import check_folder as check_templates
from cxrobust.results import Results
from cxrobust.verification.comparisons import comparison_checks
from cxrobust.verification.examples import differing_examples
from cxrobust.verification.ran import Ran, checks_of, own_word, plain, read_ran, unpack
from cxrobust.verification.reading import MALFORMED, SAID, Carried, carried, is_comparison, of_another_form, open_pdf
from cxrobust.verification.reprinted import OWN, not_printed, page_checks
from cxrobust.verification.told import cut
from cxrobust.verification.verdict import Check, Verdict, check, unchecked

RUN = "run"
"""Where predictions and images of a report are unpacked, apart from templates: no name in one leads to the other."""


def verify(
    path: Path, *, predictions: Sequence[Path] = (), templates: Path | None = None, report: Reporter = silent
) -> Verdict:
    """Check a document that `cxrobust report` or `compare` wrote, by what it carries and by given predictions.

    `predictions` are the reader's own folders: one for a report, one for each run for a comparison. `templates` is the
    reader's own copy of the folder that the document was given by `--template`; without it the pages are printed again
    with the templates that the document carries.

    Raises
    ------
    DataError
        When the file is no PDF, carries nothing to check it by, or cannot be read within the limits.
    """
    own = None if templates is None else check_templates(templates)
    try:
        with open_pdf(path) as pdf, tempfile.TemporaryDirectory(prefix="cxrobust-verify-") as name:
            held = carried(pdf, path)
            check_these = comparison_checks if is_comparison(held) else _report_checks
            found = check_these(pdf, held, Path(name), path=path, given=predictions, templates=own, report=report)
            return Verdict(document=path.name, checks=(_attachments(held), *found))
    except MALFORMED as error:
        raise DataError(f"{path}: what it carries cannot be checked {of_another_form(error)}") from error


def _report_checks(
    pdf: pikepdf.Pdf,
    held: Carried,
    folder: Path,
    *,
    path: Path,
    given: Sequence[Path],
    templates: Path | None,
    report: Reporter,
) -> tuple[Check, ...]:
    """Check the report of one run, or its appendix."""
    if len(given) > 1:
        raise DataError(f"{path}: it is a document of one run: give one folder of predictions")
    of_run = folder / RUN
    targets = {PREDICTIONS: of_run, EXAMPLES: of_run, TEMPLATES: folder / OWN}
    unpacking = unpack(held, targets, path)
    ran = read_ran(held, of_run, path=path, given=given[0] if given else None)
    kind = held.manifest.get("document")
    printed: tuple[Check, ...] = (not_printed(f"{MANIFEST} names a document {kind!r}, unknown here"),)
    images = _images(ran)
    if kind in get_args(Kind) and images is None and _is_without_images(ran):
        printed = (
            unchecked("pages", "the example images that the report shows are not attached: give --predictions DIR"),
        )
    elif kind in get_args(Kind):
        again = partial(_again, ran, cast(Kind, kind), images)
        printed = page_checks(
            pdf, held, print_again=again, made_from=RESULTS, folder=folder, templates=templates, report=report
        )
    return (
        *unpacking,
        *checks_of(ran, report),
        *_examples(ran),
        *_attack_checks(ran.results),
        *printed,
        own_word(ran.results),
    )


def _is_without_images(ran: Ran) -> bool:
    """Whether the document says that it shows images which it does not carry."""
    return bool(ran.results.examples) and ran.carried.manifest.get("example_images") == NOT_CARRIED


def _images(ran: Ran) -> Path | None:
    """Return the folder of the example images to print: those attached, or the reader's where they were too large."""
    if EXAMPLES in ran.carried.files:
        return ran.folder
    if ran.given is None or not _is_without_images(ran):
        return None
    return ran.given if all((ran.given / one["file"]).is_file() for one in ran.results.examples) else None


def _again(ran: Ran, kind: Kind, images: Path | None, paper: Paper, templates: Path | None) -> tuple[bytes, Document]:
    return print_again(ran.results, kind=kind, images=images, paper=paper, templates=templates)


def _attachments(held: Carried) -> Check:
    listed = {
        str(one.get("name")): str(one.get("sha256")) for one in held.manifest["files"] if isinstance(one, Mapping)
    }
    wrong = [*held.strays, *(f"{name} is missing" for name in listed if name not in held.files)]
    wrong += [
        f"{MANIFEST} says {cut(key, 40)}, which cxrobust writes into none" for key in sorted({*held.manifest} - SAID)
    ]
    wrong += [f"{name} is not listed in {MANIFEST}" for name in held.files if name not in {*listed, MANIFEST}]
    wrong += [
        f"{name} is not the file that {MANIFEST} lists: its SHA-256 begins {sha256_bytes(held.files[name])[:12]}, "
        f"listed {digest[:12]}"
        for name, digest in listed.items()
        if name in held.files and sha256_bytes(held.files[name]) != digest
    ]
    return check("attachments", f"{len(listed)} files held against the hashes in {MANIFEST}", wrong)


def _examples(ran: Ran) -> tuple[Check, ...]:
    """Hold what is said of example images, where there are some, against the predictions."""
    examples = ran.results.examples
    if not examples:
        return ()
    n = f"{len(examples):,} example images"
    if ran.predictions is None:
        return (unchecked("examples", f"the probabilities of {n} were not held against predictions: there are none"),)
    try:
        wrong = differing_examples(examples, ran.predictions)
    except DataError as error:
        return (check("examples", n, [plain(error, ran.predictions)]),)
    except MALFORMED as error:
        return (check("examples", n, [f"they or their predictions cannot be read ({error})"]),)
    return (check("examples", f"probabilities and labels of {n} held against the predictions", wrong),)


def _attack_checks(results: Results) -> tuple[Check, ...]:
    """Say of checks of the attack, where there are some, that no prediction gives them."""
    if not results.attack_checks:
        return ()
    return (
        unchecked(
            "attack checks and transfer",
            "they need the models and the images; here they were not made again",
        ),
    )
