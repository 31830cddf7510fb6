"""Write the tables of four pages of docs/ from benchmarks/results/*.json, so that no number is typed by hand.

python benchmarks/tables.py            write the pages
python benchmarks/tables.py --check    end with an error where a page is not as the results are
"""

import argparse
import json
import re
import sys
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

from tables_of import analysis, attacks, documents, engine, radiology_reports
from tables_of.form import made_with

FOLDER = Path(__file__).parent
RESULTS = FOLDER / "results"
PAGES = tuple(
    FOLDER.parent / "docs" / name
    for name in ("performance.md", "radiology-reports.md", "report-scores.md", "scaling.md")
)
MARKED = re.compile(r"<!-- (?P<name>[\w-]+): from benchmarks/results -->\n.*?<!-- end -->", re.DOTALL)
ABSENT = "*Not measured yet.*"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true", help="write nothing; exit 1 where the page would change")
    only_check = parser.parse_args().check
    for page in PAGES:
        now = page.read_text(encoding="utf-8")
        wanted = fill(now, read_results(RESULTS))
        if only_check and now != wanted:
            sys.exit(f"{page}: not as benchmarks/results are: run python benchmarks/tables.py")
        if not only_check:
            page.write_text(wanted, encoding="utf-8")


def read_results(folder: Path) -> dict[str, Any]:
    return {path.stem: json.loads(path.read_text(encoding="utf-8")) for path in sorted(folder.glob("*.json"))}


def fill(page: str, results: Mapping[str, Any]) -> str:
    """Return the page with what stands between each pair of markers written anew.

    Raises
    ------
    ValueError
        When a marker names no result that there is a table of.
    """

    def written(match: re.Match[str]) -> str:
        name = match["name"]
        if name not in TABLES:
            raise ValueError(f"marker {name!r} names no table: known are {', '.join(TABLES)}")
        of = OF_OTHERS.get(name, name)
        text = "\n\n".join([*TABLES[name](results[of]), made_with(results[of])]) if of in results else ABSENT
        return f"<!-- {name}: from benchmarks/results -->\n\n{text}\n\n<!-- end -->"

    return MARKED.sub(written, page)


TABLES: dict[str, Callable[[Mapping[str, Any]], Iterable[str]]] = {
    "resampling": analysis.resampling,
    "peers": analysis.peers,
    "attacks": attacks.attacks,
    "scaling": analysis.scaling,
    "million": partial(analysis.made_study, most_gib=analysis.STUDY_AIM_GIB["million"]),
    "million-all": partial(analysis.made_study, most_gib=analysis.STUDY_AIM_GIB["million"]),
    "study-default": partial(analysis.made_study, most_gib=analysis.STUDY_AIM_GIB["study"]),
    "study-views": partial(analysis.made_study, most_gib=analysis.STUDY_AIM_GIB["study"]),
    "study-all": partial(analysis.made_study, most_gib=analysis.STUDY_AIM_GIB["study"]),
    "gpu": analysis.gpu,
    "inference": engine.inference,
    "memory": engine.memory,
    "report": documents.report,
    "labeler": radiology_reports.labeler,
    "scores": radiology_reports.scores,
    "swaps": radiology_reports.swaps,
    "whole-mimic": engine.whole_mimic,
    "kills": engine.kills,
}
OF_OTHERS = {"whole-mimic": "inference"}
"""Tables that are made from another one's results."""

if __name__ == "__main__":
    main()
