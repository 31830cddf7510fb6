"""From the folders of two runs to the files that say what changed."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from cxrobust.comparison.document import write_comparison
from cxrobust.comparison.runs import Paired, Run, names_of, paired, read_run
from cxrobust.documents import named_template
from cxrobust.progress import Reporter, silent
from cxrobust.results import RESULTS


@dataclass(frozen=True, kw_only=True, slots=True)
class Compared:
    """Two runs, their paired comparison, and the files that were written of it."""

    old: Run
    new: Run
    paired: Paired
    written: tuple[Path, ...]


def compare(
    old: Path,
    new: Path,
    *,
    out: Path | None = None,
    template: Path | None = None,
    report: Reporter = silent,
    say: Callable[[str], None] = lambda message: None,
) -> Compared:
    """Compare two runs, each a folder or its results file, and write what changed into `out`, or beside the new one.

    `template` is a folder of templates that come before ours, in place of the one that the new run's study names. `say`
    is told in one sentence when the PDF could not be made for want of a system library.

    Raises
    ------
    DataError
        When the results of a run cannot be read.
    StudyError
        When the templates that the new run's study names are not there.
    """
    names = names_of(old, new)
    before, now = (read_run(path, name=name) for path, name in zip((old, new), names, strict=True))
    folder = new if new.is_dir() else new.parent
    settings = now.results.study["report"]
    templates = template or named_template(settings.get("template"), folder / RESULTS)
    tested = paired(before, now, report=report)
    written = write_comparison(
        before, now, tested, out=out or folder, paper=settings["paper"], templates=templates, say=say
    )
    return Compared(old=before, new=now, paired=tested, written=written)
