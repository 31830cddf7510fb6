"""What is drawn and printed again, and what is not: by what changed, by width, and where an entry is damaged."""

from dataclasses import replace
from importlib import import_module
from pathlib import Path

import numpy as np
import pytest
from matplotlib.collections import Collection
from matplotlib.lines import Line2D
from matplotlib.patches import Rectangle
from matplotlib.text import Text

from cxrobust.reports import kept as kept_module
from cxrobust.reports.beside import Beside
from cxrobust.reports.document import compose
from cxrobust.reports.drawing import draw_telling
from cxrobust.reports.figures.style import Drawing, look
from cxrobust.reports.kept import TEXT, Kept
from cxrobust.reports.parts import Figure
from cxrobust.reports.reads import digest_at, watched
from cxrobust.reports.render import render
from cxrobust.reports.view import View

from .made import CLEAN_ONLY, SMALL, Made, results

rendering = import_module("cxrobust.reports.render")  # the package has a function of this name
FORMATS = ("pdf", "html", "paper")


@pytest.fixture(autouse=True)
def _no_workers(monkeypatch):
    monkeypatch.setattr("cxrobust.reports.beside._cores", lambda: 1)


def made(found, out, *, keep, formats=FORMATS):
    render(found, formats=formats, out=out, images=None, keep=keep)
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


DAMAGE = (lambda content: content[:-1], lambda content: b"0" * len(content), lambda _: b"")


def test_a_damaged_entry_is_made_again(tmp_path):
    found = results(SMALL)
    first = made(found, tmp_path / "out", keep=tmp_path / "kept", formats=("html", "paper"))
    entries = sorted((tmp_path / "kept").iterdir())
    assert len(entries) == 4 * 2 + 1  # figures at two widths, and the faces
    before = [entry.read_bytes() for entry in entries]
    for number, entry in enumerate(entries):
        entry.write_bytes(DAMAGE[number % 3](entry.read_bytes()))
    assert made(found, tmp_path / "out", keep=tmp_path / "kept", formats=("html", "paper")) == first
    assert [entry.read_bytes() for entry in sorted((tmp_path / "kept").iterdir())] == before


class Recorder(Beside):
    """Works here, and says which figures it is asked to draw."""

    def __init__(self):
        super().__init__(0)
        self.asked = []

    def begin(self, function, *given):
        self.asked += [one for one in given if isinstance(one, Drawing)]
        return super().begin(function, *given)


def drawn(found, folder, *, draw, width=89.0):
    """Return a study's figures by name, and the names of those that had to be drawn."""
    view = View.of(found, images=None)
    kept, beside = Kept(folder, view=view), Recorder()
    figures = {one.key: one.drawing for one in compose(view).items if isinstance(one, Figure)}
    begun = {
        key: kept.begin_drawing(beside, draw, drawing, width, name=key, form=TEXT) for key, drawing in figures.items()
    }
    asked = {key for key, drawing in figures.items() if any(drawing is one for one in beside.asked)}
    return {key: wanted.result() for key, wanted in begun.items()}, asked


def draw_quietly(drawing, width):
    return drawing.svg(width)


def sketch(drawing, width):
    """Tell what a figure consists of, which takes less long than drawing it."""
    with look():
        figure = drawing.canvas(width)
    texts = [text.get_text() for text in figure.findobj(Text)]
    lines = [line.get_xydata().tolist() for line in figure.findobj(Line2D)]
    paths = [path.vertices.tolist() for one in figure.findobj(Collection) for path in one.get_paths()]
    shapes = [shape.get_window_extent().bounds for shape in figure.findobj(Rectangle)]
    return repr([texts, lines, paths, [one.get_offsets().tolist() for one in figure.findobj(Collection)], shapes])


def one_estimate(found, **fields):
    """Change the first estimate whose fields have these values, as a new analysis might."""
    place = found.estimates.index(found.find(**fields)[0])
    old = found.estimates[place]
    new = replace(old, estimate=old.estimate - 0.01, ci_low=old.ci_low - 0.02)
    return replace(found, estimates=(*found.estimates[:place], new, *found.estimates[place + 1 :]))


def a_bin(found):
    first = found.reliability[0]
    bins = (replace(first.bins[0], ci_high=0.987), *first.bins[1:])
    return replace(found, reliability=(replace(first, bins=bins), *found.reliability[1:]))


def study(found, **tables):
    return replace(found, study={**found.study, **tables})


FOREST = {"metric": "auroc", "condition": "pgd(eps=1/255, steps=20)", "finding": "Effusion", "reference": "supervised"}
CHANGES = {
    "what no figure shows": (
        lambda one: study(
            replace(
                one_estimate(one, metric="auroc", condition="noise(eps=0.5/255)", finding="Effusion"),
                provenance={**one.provenance, "command": "x"},
                study_text="x",
            ),
            report={**one.study["report"], "paper": "Letter"},
        ),
        set(),
    ),
    "a finding's difference": (
        lambda one: one_estimate(one, estimand="difference-in-differences", **FOREST),
        {"forest"},
    ),
    "a value on a curve": (
        lambda one: one_estimate(one, estimand="value", metric="auroc", condition="blur(severity=2)", finding="macro"),
        {"corruptions-1"},
    ),
    "a bin of a diagram": (a_bin, {"reliability"}),
    "a share of flips": (
        lambda one: replace(one, flips=(replace(one.flips[0], cells=one.flips[1].cells), *one.flips[1:])),
        {"flip-rates"},
    ),
}


def test_a_figure_is_drawn_again_only_when_what_it_reads_changes_and_is_then_as_if_never_kept(tmp_path):
    found = results(Made(n_regimes=2, n_findings=2, n_severities=2, one_class=False, few=False))
    before, asked = drawn(found, tmp_path / "kept", draw=sketch)
    assert asked == set(before) > {"flow", "curves", "forest", "forest-accuracy", "reliability", "corruptions-1"}
    assert drawn(found, tmp_path / "kept", draw=sketch) == (before, set())
    for what, (change, expected) in CHANGES.items():
        changed = change(found)
        again, asked = drawn(changed, tmp_path / "kept", draw=sketch)
        fresh, _ = drawn(changed, None, draw=sketch)
        assert again == fresh, what
        assert asked == {key for key in fresh if fresh[key] != before[key]} == expected, what
        assert drawn(found, tmp_path / "kept", draw=sketch) == (before, asked)  # the newer one took its place


def test_a_figure_is_drawn_again_for_another_width_function_or_version(tmp_path, monkeypatch):
    found = results(SMALL)
    usual = {"draw": sketch, "width": 89.0}
    before, every = drawn(found, tmp_path, **usual)
    for other in ({**usual, "width": 100.0}, {**usual, "draw": draw_quietly}, usual):
        assert drawn(found, tmp_path, **other)[1] == every
        assert drawn(found, tmp_path, **other)[1] == set()
    monkeypatch.setattr(kept_module, "drawn_with", lambda: "another matplotlib")
    assert drawn(found, tmp_path, **usual) == (before, every)


@pytest.mark.parametrize(
    "change",
    [
        lambda one: study(one, study={**one.study["study"], "reference": "lora"}),
        lambda one: study(one, analysis={**one.study["analysis"], "level": 0.9}),
    ],
)
def test_what_all_figures_say_draws_those_that_say_it(change, tmp_path):
    found = results(CLEAN_ONLY)
    drawn(found, tmp_path, draw=sketch)
    changed = change(found)
    again, asked = drawn(changed, tmp_path, draw=sketch)
    assert again == drawn(changed, None, draw=sketch)[0]
    assert "flow" not in asked
    assert asked >= {"forest", "reliability"}


def test_what_has_no_lasting_name_is_drawn_each_time():
    view = View.of(results(SMALL), images=None)
    drawing = next(one.drawing for one in compose(view).items if isinstance(one, Figure))
    kept = Kept(Path("anywhere"), view=view)

    def key_of(argument):
        return kept.key_of(draw_telling, replace(drawing, arguments=(argument,)), 89.0)

    assert [key_of(one) for one in (object(), replace(view, level=0.9), [view], lambda: drawing)] == [""] * 4
    pixels = [np.zeros((2, 2)), np.ones((2, 2)), np.zeros((4, 1)), np.zeros((2, 2), dtype=np.float32)]
    assert len({key_of(one) for one in (view, *pixels)} - {""}) == 5


def test_every_way_to_read_a_study_is_told(tmp_path):
    view = View.of(results(CLEAN_ONLY), images=tmp_path)
    estimate = view.results.find(estimand="value", regime="lora", metric="ece", finding="macro")[0]
    ways = {
        lambda one: one.value("ece", "lora", "clean"): {("estimates", "value", "ece", "lora", "clean", "macro")},
        lambda one: one.value("ece", "none", "clean"): {("estimates", "value", "ece", "none", "clean", "macro")},
        lambda one: estimate in one.estimates.values(): {("estimates",)},
        lambda one: len(one.estimates): {("estimates",)},
        lambda one: one.results.find(metric="ece"): {("results", "estimates")},
        lambda one: one.others: {("regimes",), ("reference",)},
        lambda one: one.adjustment: {("results", "study", "analysis")},
        lambda one: dict(one.results.study): {("results", "study")},
        lambda one: one.images: {("images",)},
        lambda one: replace(one.results, flips=()).reliability: {("results", "reliability"), ("results", "study_text")},
        lambda one: replace(one, level=0.5).primary: {("primary",), ("series",)},
    }
    for read, expected in ways.items():
        told, places = watched(lambda drawing, read=read: read(*drawing.arguments), reads(view))
        assert told == read(view)
        assert expected <= set(places)
        assert all(digest_at(view, place) for place in places)
        assert set(places) == expected or len(places) > 7  # dataclasses.replace reads all fields
    changed = one_estimate(view.results, estimand="value", metric="ece", regime="lora", finding="macro")
    other = View.of(changed, images=None)
    differs = {
        place for expected in ways.values() for place in expected if digest_at(view, place) != digest_at(other, place)
    }
    assert differs == {
        ("estimates", "value", "ece", "lora", "clean", "macro"),
        ("estimates",),
        ("results", "estimates"),
        ("images",),
    }


def reads(view):
    return Drawing(function=draw_quietly, arguments=(view,), options={})


def test_a_newer_entry_takes_the_place_of_the_older(tmp_path):
    kept = Kept(tmp_path / "kept")
    with Beside(0) as beside:
        for key in ("a" * 64, "b" * 64):
            assert kept.begin(beside, str.upper, "x", name="n/../n", key=key, form=TEXT).result() == "X"
    (entry,) = (tmp_path / "kept").iterdir()
    assert entry.name.endswith("b" * 32)
    assert kept.get("n/../n", "b" * 64) == b"X"


def test_where_nothing_can_be_written_documents_are_made_all_the_same(tmp_path):
    (tmp_path / "kept").write_text("a file where the folder would be")
    assert made(results(SMALL), tmp_path / "out", keep=tmp_path / "kept", formats=("html",))
