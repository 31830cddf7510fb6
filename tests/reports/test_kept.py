"""What is drawn and printed again, and what is not: by what changed, by width, and where an entry is damaged."""

from dataclasses import replace
from importlib import import_module
from pathlib import Path

import numpy as np
import pytest

from cxrobust.reports import kept as kept_module
from cxrobust.reports.beside import Beside
from cxrobust.reports.document import compose
from cxrobust.reports.figures.style import Drawing
from cxrobust.reports.kept import TEXT, Kept, data_of
from cxrobust.reports.parts import Figure
from cxrobust.reports.render import render
from cxrobust.reports.view import View
from cxrobust.results import results_text

from .made import CLEAN_ONLY, SMALL, results

rendering = import_module("cxrobust.reports.render")  # the package has a function of this name
FORMATS = ("pdf", "html", "paper")


@pytest.fixture(autouse=True)
def _no_workers(monkeypatch):
    monkeypatch.setattr("cxrobust.reports.beside._cores", lambda: 1)


def made(found, out, *, keep, formats=FORMATS):
    render(found, formats=formats, out=out, images=None, text=results_text(found), keep=keep)
    return {path.relative_to(out).as_posix(): path.read_bytes() for path in sorted(out.rglob("*")) if path.is_file()}


def refuse(*_, **__):
    raise AssertionError("it was drawn or printed again")


def test_a_second_report_draws_and_prints_nothing_and_has_the_same_bytes(tmp_path, monkeypatch):
    found = results(SMALL)
    first = made(found, tmp_path / "first", keep=tmp_path / "kept")
    monkeypatch.setattr(Drawing, "canvas", refuse)
    monkeypatch.setattr(rendering, "lay_out", refuse)
    monkeypatch.setattr(rendering, "to_pdf", refuse)
    monkeypatch.setattr(rendering, "font_face_css", refuse)
    assert made(found, tmp_path / "second", keep=tmp_path / "kept") == first


def test_nothing_is_kept_unless_it_is_asked_for(tmp_path):
    made(results(SMALL), tmp_path, keep=None, formats=("html",))
    assert not [path for path in tmp_path.rglob("*") if path.name.startswith(".")]


@pytest.mark.parametrize("damage", [lambda content: content[:-1], lambda content: b"0" * len(content), lambda _: b""])
def test_a_damaged_entry_is_made_again(damage, tmp_path):
    found = results(SMALL)
    first = made(found, tmp_path / "out", keep=tmp_path / "kept", formats=("html", "paper"))
    entries = sorted((tmp_path / "kept").iterdir())
    assert len(entries) == 4 * 3 + 2  # figures at three widths, and the faces of two documents
    before = [entry.read_bytes() for entry in entries]
    for entry in entries:
        entry.write_bytes(damage(entry.read_bytes()))
    assert made(found, tmp_path / "out", keep=tmp_path / "kept", formats=("html", "paper")) == first
    assert [entry.read_bytes() for entry in sorted((tmp_path / "kept").iterdir())] == before


def keys(found, *, width=174.0, kind="telling", text=None):
    view = View.of(found, images=None)
    kept = Kept.of(Path("anywhere"), view=view, text=text or results_text(found))
    drawings = {one.key: one.drawing for one in compose(view).items if isinstance(one, Figure)}
    return {key: kept.key_of(drawing, width=width, kind=kind) for key, drawing in drawings.items()}


def changed(found, **fields):
    return replace(found, estimates=(replace(found.estimates[0], **fields), *found.estimates[1:]))


def test_keys_follow_data_width_kind_and_versions_and_nothing_else(monkeypatch):
    found = results(CLEAN_ONLY)
    before = keys(found)
    assert len(before) > 2
    assert "" not in before.values()
    assert len(set(before.values())) == len(before)
    provenance = {**found.provenance, "command": "cxrobust run elsewhere.toml"}
    report = {**found.study, "report": {**found.study["report"], "paper": "Letter"}}
    assert keys(replace(found, provenance=provenance, study=report, study_text="another")) == before
    title = {**found.study, "study": {**found.study["study"], "reference": "lora"}}
    others = [
        keys(changed(found, estimate=0.123)),
        keys(changed(found, n_positive=1)),
        keys(replace(found, study=title)),
        keys(found, width=89.0),
        keys(found, kind="files"),
    ]
    monkeypatch.setattr(kept_module, "drawn_with", lambda: "another matplotlib")
    others.append(keys(found))
    for other in others:
        assert not set(other.values()) & set(before.values())


def test_text_laid_out_by_another_program_is_no_other_data_by_accident():
    found = results(SMALL)
    text = results_text(found)
    assert data_of(found, text) != data_of(
        found, text.replace('"perturbed', '"perturbeD').replace('"auroc"', '"auroC"')
    )
    assert data_of(found, text) == data_of(found, text.replace('"command"', '"Command"'))


def test_what_has_no_lasting_name_is_drawn_each_time():
    drawing = next(
        one.drawing for one in compose(View.of(results(SMALL), images=None)).items if isinstance(one, Figure)
    )
    view = View.of(results(SMALL), images=None)
    kept = Kept.of(Path("anywhere"), view=view, text="")
    assert kept.key_of(replace(drawing, arguments=(object(),)), width=89.0, kind="telling") == ""
    assert kept.key_of(replace(drawing, arguments=(replace(view, level=0.9),)), width=89.0, kind="telling") == ""
    pixels = [np.zeros((2, 2)), np.ones((2, 2)), np.zeros((4, 1)), np.zeros((2, 2), dtype=np.float32)]
    assert len({kept.key_of(replace(drawing, arguments=(one,)), width=89.0, kind="telling") for one in pixels}) == 4


def test_a_newer_entry_takes_the_place_of_the_older(tmp_path):
    kept = Kept(tmp_path / "kept", data="d")
    with Beside(0) as beside:
        for key in ("a" * 64, "b" * 64):
            assert kept.begin(beside, str.upper, "x", name="n/../n", key=key, form=TEXT).result() == "X"
    (entry,) = (tmp_path / "kept").iterdir()
    assert entry.name.endswith("b" * 32)
    assert kept.get("n/../n", "b" * 64) == b"X"


def test_where_nothing_can_be_written_documents_are_made_all_the_same(tmp_path):
    (tmp_path / "kept").write_text("a file where the folder would be")
    assert made(results(SMALL), tmp_path / "out", keep=tmp_path / "kept", formats=("html",))
