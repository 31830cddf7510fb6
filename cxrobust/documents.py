"""The third stage of a study, from a results file to documents; it needs nothing of what predicts and analyses."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from cxrobust.errors import StudyError
from cxrobust.files import alone
from cxrobust.results import PREDICTIONS, parse_results, read_text
from cxrobust.study import Format


def report(
    results_file: Path,
    out: Path,
    *,
    formats: tuple[Format, ...] | None = None,
    template: Path | None = None,
    say: Callable[[str], None] = lambda message: None,
    keep: bool = True,
) -> tuple[Path, ...]:
    """Write the documents that the study asks for from a results file; example images are taken from beside it.

    `template` is a folder of templates that come before ours, in place of the one that the study names. `say` is told
    in one sentence when the PDF could not be made for want of a system library. What is drawn and printed is kept in a
    hidden folder in `out`, which may be deleted, so that the next time only what changed is made; `keep` False makes
    all of it and keeps nothing.
    """
    from cxrobust.collecting import seldom_collected
    from cxrobust.reports import render
    from cxrobust.reports.evidence import pack_results
    from cxrobust.reports.kept import FOLDER

    with alone(out), seldom_collected():
        text = read_text(results_file)
        with ThreadPoolExecutor(max_workers=1) as beside:
            packed = beside.submit(pack_results, text) if "pdf" in (formats or ("pdf",)) else None
            results = parse_results(text, path=results_file)
        images = results_file.parent / PREDICTIONS
        settings = results.study["report"]
        return render(
            results,
            formats=formats or tuple(settings["formats"]),
            out=out,
            images=images if images.is_dir() else None,
            paper=settings["paper"],
            templates=template or named_template(settings.get("template"), results_file),
            say=say,
            packed=None if packed is None else packed.result(),
            keep=out / FOLDER if keep else None,
        )


def named_template(name: str | None, results_file: Path) -> Path | None:
    """Return the study's folder of templates, which is relative to the study file: beside the results or above them.

    Raises
    ------
    StudyError
        When it is at neither place.
    """
    if name is None:
        return None
    folders = [place / name for place in (results_file.parent, results_file.parent.parent)]
    found = next((folder for folder in folders if folder.is_dir()), None)
    if found is None:
        raise StudyError(
            f"{results_file}: its study names the templates {name!r}, which are neither at {folders[0]} nor at "
            f"{folders[1]}: give their folder by --template"
        )
    return found
