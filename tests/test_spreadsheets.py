"""Ids that a spreadsheet would take for formulas: guarded where they are written, themselves where they are read."""

import csv
import io
import json
import re
from itertools import product
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from cxrobust.cli import _main
from cxrobust.inference.datasets.folder import ImageFolder
from cxrobust.inference.elsewhere import Elsewhere
from cxrobust.preferences.files import write_for_people
from cxrobust.preferences.pairs import Sample, Sampled
from cxrobust.radiology_reports.judges import Desk
from cxrobust.radiology_reports.judges.people import People
from cxrobust.radiology_reports.scores import Pairs, scorer
from cxrobust.results import to_csv
from cxrobust.spreadsheets import bare, bare_cells, guarded

DOCUMENTED = Path(__file__).parents[1] / "docs" / "radiology-reports.md"
READ = {
    "-5": "-5", "=A": "=A", "+b": "+b", "@c": "@c", "-5-3": "-5-3", "'=B": "=B", " lead": "lead", "plain": "plain",
}  # fmt: skip
"""What ids of a table are read as."""
IDS = tuple(READ)
TEXTS = ("- Edema.", "Lungs are clear.")


def _write(path, header, rows):
    with path.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([header, *rows])
    return path


def _folder(labels, *, id_column="image_id", patient="image_id"):
    settings = {"kind": "folder", "root": labels.parent, "labels": labels, "id": id_column, "patient": patient}
    return ImageFolder.model_validate_json(json.dumps({**settings, "findings": ["Edema"]}, default=str))


def _own(folder):
    """Return the ids that a study has of a table with `IDS`."""
    rows = [(one, place % 2) for place, one in enumerate(IDS)]
    return _folder(_write(folder / "own.csv", ("image_id", "Edema"), rows)).table(with_images=False).ids


def _reports(folder):
    rows = [(one, "Mild edema.", "Mild edema. No effusion.") for one in IDS]
    return str(_write(folder / "reports.csv", ("id", "report", "reference"), rows))


def test_every_short_text_comes_back_and_none_begins_as_a_formula():
    texts = ["".join(one) for n in range(5) for one in product("'=+-@\t\r5.e a", repeat=n)]
    assert [bare(guarded(one)) for one in texts] == texts
    for one in map(guarded, texts):
        if one[:1] and one[0] in "=+-@\t\r":
            assert np.isfinite(float(one))  # a number is no formula
    back = list(csv.reader(io.StringIO(to_csv(("a", "b"), [(one, "x") for one in texts]), newline="")))[1:]
    assert [bare(one) for one, _ in back] == texts
    frame = pd.read_csv(io.StringIO(to_csv(("a", "b"), [(one, "x") for one in IDS])), dtype=str)
    assert tuple(bare_cells(frame)["a"]) == IDS


def test_labels_that_were_written_are_a_study_s_with_the_same_ids(tmp_path):
    assert _main(["label", _reports(tmp_path), "--out", str(tmp_path / "labels.csv")]) == 0
    table = _folder(tmp_path / "labels.csv", id_column="id", patient="id").table(with_images=False)
    assert table.ids == table.patients == _own(tmp_path) == tuple(READ.values())
    assert table.labels.tolist() == [[1]] * len(IDS)


def test_scores_that_were_written_are_joined_by_id_by_us_and_as_documented_by_others(tmp_path):
    arguments = ["score", _reports(tmp_path), "--out", str(tmp_path / "scores.csv"), "--metrics", "words"]
    assert _main(arguments) == 0
    ids = _own(tmp_path)
    text = ("Edema.",) * len(ids)
    pairs = Pairs(ids=ids, candidates=text, references=text)
    found = scorer["elsewhere"](file=tmp_path / "scores.csv").score(pairs)
    assert found.columns["elsewhere_words"].tolist() == [2.0] * len(ids)
    assert set(found.reasons) == {None}
    arguments = ["score", str(tmp_path / "scores.csv"), "--out", str(tmp_path / "again.csv"), "--metrics", "words"]
    assert _main([*arguments, "--text", "remark", "--reference", "unscored"]) == 0
    again, first = ((tmp_path / name).read_text().splitlines() for name in ("again.csv", "scores.csv"))
    assert [line.split(",")[0] for line in again] == [line.split(",")[0] for line in first]
    (pattern,) = re.findall(r'str\.replace\(r"(.*?)"', DOCUMENTED.read_text(encoding="utf-8"))
    seen = pd.read_csv(tmp_path / "scores.csv", dtype={"id": str})["id"]
    assert tuple(seen.str.replace(pattern, "", regex=True)) == ids


def test_a_score_below_0_stays_a_number(tmp_path):
    _write(tmp_path / "mine.csv", ("id", "radcliq"), [(one, -1.5) for one in IDS])
    (tmp_path / "s.toml").write_text('[scores.elsewhere]\nfile = "mine.csv"\n')
    arguments = ["score", _reports(tmp_path), "--out", str(tmp_path / "scores.csv"), "--settings"]
    assert _main([*arguments, str(tmp_path / "s.toml"), "--metrics", "elsewhere-radcliq"]) == 0
    assert pd.read_csv(tmp_path / "scores.csv")["elsewhere-radcliq"].tolist() == [-1.5] * len(IDS)


def test_a_sheet_for_people_comes_back_with_its_images_and_reports(tmp_path):
    samples = tuple(Sample(text=one, log_probability=-1.0) for one in TEXTS)
    sampled = [Sampled(image=one, patient=one, reference="- Edema.", samples=samples) for one in _own(tmp_path)]
    path = tmp_path / "for-people.csv"
    assert write_for_people(sampled, path, seed=1, known=tmp_path / "known")
    with path.open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    for row in rows:
        row["preferred"] = "first" if row["first"] == guarded(TEXTS[0]) else "second"
    _write(path, rows[0], [row.values() for row in rows])
    people = People(name="people", kind="people", file=path)
    cases = [one.case for one in sampled]
    assert people.strays(cases) == []
    wanted = ["first" if one.texts[0] == TEXTS[0] else "second" for one in cases]
    assert [one.decisions[0].choice for one in people.judge(cases, Desk())] == wanted


@pytest.mark.parametrize("column", ["id", "image_id"])
def test_predictions_and_metadata_are_found_by_guarded_ids(column, tmp_path):
    ids = _own(tmp_path)
    path = tmp_path / "predictions.csv"
    rows = [(f" {one}" if one == "lead" else one, 0.25, one) for one in ids]
    path.write_text(to_csv((column, "Edema", "note"), rows), encoding="utf-8")
    regime = Elsewhere.model_validate({"name": "r", "predictions": {"clean": path}, "id": column})
    assert regime.image_ids("clean") == ids
    found = regime.read("clean", findings=("Edema",), image_ids=ids).probabilities
    assert found.tolist() == [[0.25]] * len(ids)
    own = _folder(tmp_path / "own.csv").model_copy(update={"metadata": path, "metadata_id": column})
    assert own.table(with_images=False).metadata["note"].tolist() == list(ids)
