"""Figures as PDF in the documents' PDF: they look as they do alone, and their text stays text."""

import io

import numpy as np
import pikepdf
import pypdfium2
import pytest
from matplotlib.figure import Figure as Canvas
from numpy.typing import NDArray

from cxrobust.reports.figures.style import canvas, drawn
from cxrobust.reports.pdf import to_pdf
from cxrobust.reports.pictures import source

SCALE = 3.0


@drawn
def everything(width: float) -> Canvas:
    """A figure with lines, text, half-transparent areas and an image."""
    figure = canvas(width, 40)
    left, right = figure.subplots(1, 2)
    left.plot([0, 1, 2], [3, 1, 2], marker="o")
    left.fill_between([0, 1, 2], [2, 0, 1], [4, 2, 3], alpha=0.3)
    left.set_title("Größe ε = 1/255, −0.25")
    right.imshow(np.arange(12).reshape(3, 4), cmap="gray")
    return figure


def seen(content: bytes, page: int = 0) -> NDArray[np.int16]:
    return np.asarray(pypdfium2.PdfDocument(content)[page].render(scale=SCALE).to_pil().convert("L"), dtype=np.int16)


def document(style: str, content: bytes, *, times: int = 1) -> bytes:
    page = "<style>@page { size: 700pt 400pt; margin: 0 } body { margin: 0 } img { display: block }</style>"
    shown = f'<img style="{style}" src="{source(content)}" alt="a figure">' * times
    return to_pdf(f'<html lang="en"><title>t</title>{page}{shown}')


@pytest.fixture(scope="module")
def alone() -> bytes:
    return everything().pdf(120.0)


def test_a_figure_looks_as_it_does_alone(alone: bytes) -> None:
    expected = seen(alone)
    height, width = expected.shape
    assert np.ptp(expected) > 200
    found = seen(document("margin: 20pt 0 0 30pt", alone))[60 : 60 + height, 90 : 90 + width]
    assert np.corrcoef(found[:-2, :-2].ravel(), expected[:-2, :-2].ravel())[0, 1] > 0.95  # but for parts of a pixel
    assert abs(found.mean() - expected.mean()) < 0.3


def test_a_figure_is_scaled_as_an_image_is(alone: bytes) -> None:
    with pikepdf.open(io.BytesIO(alone)) as pdf:
        wide, high = (float(side) for side in pdf.pages[0].mediabox[2:])
    found = seen(document("width: 200pt", alone)) < 250
    assert np.flatnonzero(found.any(axis=0)).max() < 200 * SCALE
    assert np.flatnonzero(found.any(axis=1)).max() < 200 * SCALE * high / wide
    assert np.flatnonzero(found.any(axis=0)).max() > 180 * SCALE


def test_its_text_is_text_and_its_faces_are_there_once(alone: bytes) -> None:
    content = document("width: 200pt", alone, times=2)
    text = pypdfium2.PdfDocument(content)[0].get_textpage().get_text_bounded()
    assert text.count("Größe ε = 1/255, −0.25") == 2
    (again,) = {len(document("width: 200pt", alone, times=2)) for _ in range(2)}
    assert again == len(content)
    with pikepdf.open(io.BytesIO(content)) as pdf:
        forms = [one for one in pdf.objects if isinstance(one, pikepdf.Stream) and "/Resources" in one]
        assert len(forms) == 2
        faces = {str(font.BaseFont): font.objgen for form in forms for font in form.Resources.Font.values()}
        assert len({font.objgen for form in forms for font in form.Resources.Font.values()}) == len(faces) > 1
        assert all("/ToUnicode" in font for form in forms for font in form.Resources.Font.values())


def test_a_template_may_still_have_footnotes() -> None:
    style = "<style>.note { float: footnote }</style>"
    html = f'<html lang="en"><title>t</title>{style}<p>Said<span class="note">below</span>.</p>'
    text = pypdfium2.PdfDocument(to_pdf(html))[0].get_textpage().get_text_bounded()
    assert "Said1" in text
    assert "1. below" in text
