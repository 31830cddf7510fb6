"""Figures at every width: no wider than asked for, nothing cut, text of 5 to 7 points that stays text."""

import io
import itertools
from dataclasses import replace
from functools import cache
from pathlib import Path

import numpy as np
import pypdf
import pypdfium2
import pytest
from matplotlib.collections import PolyCollection
from matplotlib.figure import Figure as Canvas
from matplotlib.text import Text
from matplotlib.transforms import Bbox

from cxrobust.reports.document import Document, compose
from cxrobust.reports.figures.curves import HAIR, interval_marks, panel
from cxrobust.reports.figures.flow import Box, Left, flow_figure
from cxrobust.reports.figures.forest import forest_figure
from cxrobust.reports.figures.images import places, show
from cxrobust.reports.figures.layout import H_PAD, W_PAD
from cxrobust.reports.figures.style import MM, ONE_COLUMN, TWO_COLUMNS, canvas, drawn, look
from cxrobust.reports.parts import Figure
from cxrobust.reports.pdf import to_pdf
from cxrobust.reports.pictures import source
from cxrobust.reports.view import View
from cxrobust.results import Estimate

from .made import Made, results

MANY = Made(n_regimes=8, n_findings=7, n_severities=1)
MOST_SHARED = 1.5
"""Points by which the boxes of two texts may overlap: boxes hold descenders that their texts may not have."""


@cache
def document(folder: Path) -> Document:
    return compose(View.of(results(MANY, images=folder), images=folder))


@pytest.fixture(scope="module")
def figures(tmp_path_factory: pytest.TempPathFactory) -> list[Figure]:
    values = [value for one in document(tmp_path_factory.mktemp("images")).filled for value in one.values.values()]
    flat = [item for value in values for item in (value if isinstance(value, tuple | list) else (value,))]
    return [item for item in flat if isinstance(item, Figure)]


def texts_of(made: Canvas) -> list[Text]:
    """Texts that are seen: of ticks, those within their axis."""
    hidden = set()
    for axes in made.axes:
        for axis in (axes.xaxis, axes.yaxis):
            low, high = sorted(axis.get_view_interval())
            for tick in axis.get_major_ticks():
                if not axes.axison or not low - 1e-9 <= tick.get_loc() <= high + 1e-9:
                    hidden |= {tick.label1, tick.label2}
        if not axes.axison:
            hidden |= {axes.xaxis.label, axes.yaxis.label}
    return [t for t in made.findobj(Text) if t.get_visible() and t.get_text().strip() and t not in hidden]


@pytest.mark.parametrize("width", [ONE_COLUMN, TWO_COLUMNS])
def test_every_figure_fits_its_width_without_overlap_in_text_that_a_journal_prints(
    width: float, figures: list[Figure]
) -> None:
    assert len(figures) > 5
    for figure in figures:
        with look():
            made = figure.drawing.canvas(width)
            made.draw_without_rendering()
            wide = made.get_size_inches()[0] / MM
            texts = [(one.get_text(), one.get_fontsize(), one.get_window_extent()) for one in texts_of(made)]
        assert 0.5 * width < wide <= width + 0.01, figure.key
        assert min(size for _, size, _ in texts) >= 5, figure.key
        assert max(size for _, size, _ in texts) <= 7, figure.key
        for text, _, place in texts:
            assert place.x0 >= -1, (figure.key, text)
            assert place.x1 <= made.bbox.x1 + 1, (figure.key, text)
            assert place.y0 >= -1, (figure.key, text)
            assert place.y1 <= made.bbox.y1 + 1, (figure.key, text)
        for (text, _, one), (other_text, _, other) in itertools.combinations(texts, 2):
            shared = Bbox.intersection(one, other)
            assert shared is None or min(shared.width, shared.height) < MOST_SHARED, (figure.key, text, other_text)


@pytest.mark.parametrize(("where", "shared"), [("outside upper left", False), ("outside lower left", True)])
def test_a_legend_that_would_lie_over_other_words_is_refused(where, shared):
    def draw(width: float) -> Canvas:
        figure = canvas(width, 40)
        figure.subplots(1, 2)[0].plot([0, 1], [0, 1], label="a")
        figure.legend(loc=where)
        if shared:
            figure.supxlabel("shared by all panels")
        return figure

    with pytest.raises(RuntimeError, match="a legend stands below all panels"):
        drawn(draw)().svg(TWO_COLUMNS)


@drawn
def _named(width: float) -> object:
    figure = canvas(width, 20)
    figure.subplots().set_title("ε and Γ, سلامة")
    return figure


def test_text_stays_text_in_any_script() -> None:
    page = pypdf.PdfReader(io.BytesIO(_named().pdf(ONE_COLUMN))).pages[0]
    assert "ε and Γ" in page.extract_text()
    assert float(page.mediabox.width) == pytest.approx(ONE_COLUMN * MM * 72, abs=0.1)
    assert "ε and Γ, سلامة" in _named().svg(ONE_COLUMN)


def test_letters_join_in_print() -> None:
    """As they do where a text is set alone by another library, and not where something stands between them."""
    page = pypdfium2.PdfDocument(to_pdf(f'<html lang="en"><title>t</title><img src="{source(_named().pdf())}">'))[0]
    assert set("سلامة") <= set(page.get_textpage().get_text_bounded())

    def wide(letters: str) -> float:
        with look():
            made = canvas(ONE_COLUMN, 20)
            text = made.text(0, 0, letters)
            return float(text.get_window_extent().width)

    assert wide("سلامة") < 0.9 * wide("\N{ZERO WIDTH NON-JOINER}".join("سلامة"))


def test_a_long_name_of_the_data_is_wrapped_in_the_flow_and_not_cut() -> None:
    boxes = (Box(lines=("MedMNIST pneumoniamnist (each image taken as a patient of its own)", "624 images")),)
    for width in (ONE_COLUMN, TWO_COLUMNS):
        with look():
            made = flow_figure(boxes).canvas(width)
            shown = [one.get_text() for one in texts_of(made)]
        assert " ".join(shown) == " ".join(boxes[0].lines)
        assert len(shown) == (3 if width == ONE_COLUMN else 2)


def test_no_text_of_the_flow_is_cut() -> None:
    said = (
        "Images studied",
        "22,433 images of 6,187 patients",
        "labelled for 14 findings: 22,433 images each or fewer",
    )
    left = Left(title="Left out: 89,687 images", reasons=("89,687 without a prediction by any of the three models",))
    boxes = (Box(lines=said, left=left, beside=("Validation images: 11,219 of 2,797 patients, for thresholds",)),)
    for width in (ONE_COLUMN, TWO_COLUMNS):
        with look():
            made = flow_figure(boxes).canvas(width)
            made.draw_without_rendering()
            shown = " ".join(" ".join(one.get_text().split()) for one in texts_of(made))
            edges = [one.get_window_extent().x1 for one in texts_of(made)]
        for text in (*said, left.title, *left.reasons, *boxes[0].beside):
            assert text in shown
        assert max(edges) <= made.bbox.x1


@pytest.mark.parametrize("sign", [-1, 1])
@pytest.mark.parametrize("width", [ONE_COLUMN, TWO_COLUMNS])
def test_words_beside_0_stand_within_the_forest_where_all_lies_to_one_side(width: float, sign: int) -> None:
    made = results(Made(n_regimes=3, n_findings=7, n_severities=1))

    def moved(one: Estimate) -> Estimate:
        if one.estimand != "difference-in-differences" or one.estimate is None:
            return one
        half = ((one.ci_high or 0) - (one.ci_low or 0)) / 2
        middle = sign * (0.1 + half)
        return replace(one, estimate=middle, ci_low=middle - half, ci_high=middle + half)

    view = View.of(replace(made, estimates=tuple(map(moved, made.estimates))), images=None)
    drawing = forest_figure(view, "auroc", regimes=view.compared, label="Difference", sides=("lost more", "lost less"))
    with look():
        canvas_made = drawing.canvas(width)
        canvas_made.draw_without_rendering()
        places = {one.get_text(): one.get_window_extent() for one in texts_of(canvas_made) if "lost" in one.get_text()}
    assert len(places) == 2
    for text, place in places.items():
        assert place.x0 >= 0, text
        assert place.x1 <= canvas_made.bbox.x1, text


def test_a_figure_drawn_once_in_every_form_is_what_each_form_is_alone(figures: list[Figure]) -> None:
    for figure in (one for one in figures if one.key in {"curves", "reliability", "example-images"}):
        files = figure.drawing.files(ONE_COLUMN)
        assert (files.telling, files.svg) == (figure.drawing.telling_svg(ONE_COLUMN), figure.drawing.svg(ONE_COLUMN))
        alone, here = (pypdf.PdfReader(io.BytesIO(one)).pages[0] for one in (figure.drawing.pdf(ONE_COLUMN), files.pdf))
        assert here.mediabox == alone.mediabox
        assert sorted(here.extract_text().split()) == sorted(alone.extract_text().split())
        assert [one.data for one in here.images] == [one.data for one in alone.images]
    files = _named().files(ONE_COLUMN)
    assert (files.telling, files.svg) == (_named().telling_svg(ONE_COLUMN), _named().svg(ONE_COLUMN))


def test_panels_stand_where_constrained_layout_puts_them(figures: list[Figure]) -> None:
    for figure in figures:
        with look():
            ours, theirs = (figure.drawing.canvas(TWO_COLUMNS) for _ in range(2))
            if theirs.get_layout_engine() is None or not any(axes.get_subplotspec() for axes in theirs.axes):
                continue  # laid out already, or pictures in one axes
            theirs.set_layout_engine("constrained", h_pad=H_PAD / 72, w_pad=W_PAD / 72)
            for made in (ours, theirs):
                made.draw_without_rendering()
            places = [[one.get_position(original=True).bounds for one in made.axes] for made in (ours, theirs)]
        assert np.abs(np.subtract(*places)).max() * ours.bbox.width < 4, figure.key


@pytest.mark.parametrize("shape", [(8, 8), (12, 8), (8, 12)])
def test_pictures_stand_where_constrained_layout_puts_an_axes_for_each(shape: tuple[int, int]) -> None:
    pixels, rows, columns = np.zeros(shape), 2, 3
    with look():
        ours, theirs = canvas(ONE_COLUMN, 60), canvas(ONE_COLUMN, 60)
        found = [show(place, pixels) for place in places(ours, rows, columns).flat]
        theirs.set_layout_engine("constrained", h_pad=H_PAD / 72, w_pad=W_PAD / 72)
        grid = theirs.subplots(rows, columns)
        for axes in grid.flat:
            axes.imshow(pixels, cmap="gray")
            axes.set_axis_off()
        theirs.draw_without_rendering()
    expected = [axes.get_window_extent().bounds for axes in grid.flat]
    np.testing.assert_allclose([(one.left, one.bottom, one.width, one.height) for one in found], expected, atol=0.5)
    np.testing.assert_allclose(
        [image.get_window_extent().bounds for image in ours.axes[0].images],
        [(one.left, one.bottom, one.width, one.height) for one in found],
    )


@drawn
def _in_its_own_size(width: float) -> Canvas:
    return Canvas(figsize=(2, width * MM))


@pytest.mark.parametrize("width", [ONE_COLUMN, TWO_COLUMNS])
def test_the_size_of_a_figure_is_known_before_it_is_drawn(width: float, figures: list[Figure]) -> None:
    for drawing in (*(one.drawing for one in figures), _in_its_own_size()):
        page = pypdf.PdfReader(io.BytesIO(drawing.pdf(width))).pages[0]
        assert drawing.size(width) == pytest.approx([float(side) for side in page.mediabox[2:]], abs=1e-9)
    assert _in_its_own_size().size(width) == pytest.approx((144, 72 * width * MM))


@pytest.mark.parametrize("width", [ONE_COLUMN, TWO_COLUMNS])
def test_a_long_label_below_a_forest_is_wrapped_and_not_cut(width: float) -> None:
    view = View.of(results(Made(n_regimes=3, n_findings=7, n_severities=1)), images=None)
    label = f"Difference-in-differences of mean confidence against {'supervised-' * 8}, PGD, ε = 1/255, 10 steps"
    drawing = forest_figure(view, "auroc", regimes=view.compared, label=label, sides=("lower", "higher"))
    with look():
        made = drawing.canvas(width)
        made.draw_without_rendering()
        (shown,) = (one for one in texts_of(made) if one.get_text().startswith("Difference"))
        place = shown.get_window_extent()
    assert "".join(shown.get_text().split()) == "".join(label.split())
    assert place.x0 >= 0
    assert place.x1 <= made.bbox.x1


def test_the_control_has_its_intervals_as_hairs() -> None:
    """At each strength that it shares, one for each regime; on clean images there is the regime's own band."""
    view = View.of(results(MANY), images=None)
    series, (control,) = view.of_kind("attack")[0], view.of_kind("noise")
    axes = canvas(TWO_COLUMNS, 60).subplots()
    panel(axes, view, series, "auroc", control=control)
    hairs = [line for line in axes.get_lines() if line.get_linewidth() == HAIR]
    values = [view.value("auroc", name, c) for name in view.regimes for c in control.conditions]
    assert [tuple(np.asarray(line.get_ydata())) for line in hairs] == [
        (one.ci_low, one.ci_high) for one in values if one is not None
    ]
    beside = [float(np.asarray(line.get_xdata())[0]) for line in hairs]
    assert len(set(beside)) == len(beside) == len(view.regimes) * len(control.conditions)


@pytest.mark.parametrize("kind", ["attack", "corruption"])
def test_nothing_is_drawn_between_clean_images_and_an_only_strength_as_if_measured(kind: str) -> None:
    """A band for each regime needs three points or more; of two, each has its own interval as a bar."""
    view = View.of(results(MANY), images=None)
    series = view.of_kind(kind)[0]
    assert series.is_one == (kind == "corruption")
    figure = canvas(TWO_COLUMNS, 60)
    axes = figure.subplots()
    panel(axes, view, series, "auroc", control=None)
    bands = [one for one in axes.collections if isinstance(one, PolyCollection)]
    assert len(bands) == (0 if series.is_one else len(view.regimes))
    lines = [(np.asarray(line.get_xdata()), np.asarray(line.get_ydata())) for line in axes.get_lines()]
    bars = [tuple(y) for x, y in lines if len(x) == 2 and x[0] == x[1]]
    values = [view.value("auroc", name, c) for name in view.regimes for c in ("clean", *series.conditions)]
    expected = [(one.ci_low, one.ci_high) for one in values if one is not None]
    assert bars == (expected if series.is_one else [])
    joining = [
        line
        for line in axes.get_lines()
        if series.is_one and line.get_linestyle() != "None" and np.ptp(line.get_xdata())
    ]
    assert len(joining) == (len(view.regimes) if series.is_one else 0)
    assert all(line.get_linewidth() < 0.5 for line in joining)


def test_captions_say_what_stands_for_intervals() -> None:
    view = View.of(results(MANY), images=None)
    several, one = view.of_kind("attack")[0], view.of_kind("corruption")[0]
    assert interval_marks([several]) == "bands"
    assert interval_marks([one, one]) == "bars"
    assert interval_marks([several, one]) == "bands (bars where there is one strength)"
