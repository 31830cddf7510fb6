"""Figures as PDF in the documents' PDF: they look as they do alone, and their text stays text."""

import io
import logging

import numpy as np
import pikepdf
import pypdfium2
import pytest
from matplotlib.figure import Figure as Canvas
from numpy.typing import NDArray

from cxrobust.errors import StudyError
from cxrobust.reports.figures.style import canvas, drawn
from cxrobust.reports.pdf import lay_out, to_pdf
from cxrobust.reports.pictures import Picture, address_of, source

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


def test_pages_laid_out_before_a_figure_is_drawn_are_those_laid_out_with_it(alone: bytes) -> None:
    html = '<html lang="en"><title>t</title><p>Before.</p><img src="{}" alt="a figure"><p>After.</p>'
    address, wanted = address_of("σ: a/b"), list[int]()

    def content() -> bytes:
        wanted.append(len(wanted))
        return alone

    laid_out = lay_out(html.format(address), {address: Picture(content, box=(0, 0, *everything().size(120.0)))})
    assert not wanted
    assert laid_out.pdf() == to_pdf(html.format(source(alone)))
    assert wanted


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


def many_pages() -> bytes:
    pdf, out = pikepdf.new(), io.BytesIO()
    for _ in range(2):
        pdf.add_blank_page()
    pdf.save(out)
    return out.getvalue()


@pytest.mark.parametrize(
    "content", [b"", b"abc", b"%PDF-1.7\n", many_pages()], ids=["none", "text", "a head", "two pages"]
)
def test_what_is_no_pdf_of_one_page_is_refused_in_one_sentence(content: bytes) -> None:
    with pytest.raises(
        StudyError, match=r"^a picture of the template is no PDF of one page: give it as PNG, JPEG or SVG$"
    ):
        document("", content)


def test_a_page_may_be_in_parts_and_one_that_goes_in_circles_is_refused(alone: bytes) -> None:
    with pikepdf.open(io.BytesIO(alone)) as pdf:
        page, out = pdf.pages[0], io.BytesIO()
        page.contents_add(b"q", prepend=True)
        page.contents_add(b"Q")
        assert isinstance(page.Contents, pikepdf.Array)
        pdf.save(out)
    assert abs(seen(document("", out.getvalue())) - seen(document("", alone))).max() == 0
    with pikepdf.open(io.BytesIO(alone)) as pdf:
        circle, out = pdf.make_indirect(pikepdf.Dictionary()), io.BytesIO()
        circle.Again = pdf.make_indirect(pikepdf.Dictionary(Back=circle))
        pdf.pages[0].Resources.Properties = pikepdf.Dictionary(A=circle)
        pdf.save(out)
    with pytest.raises(StudyError, match=r"^a picture of the template is a PDF that cannot be shown: give it as PNG"):
        document("", out.getvalue())


@pytest.mark.parametrize(
    "asked",
    [
        '<img src="file:///etc/hostname" alt="a">',
        '<img src="https://example.org/a.png" alt="a">',
        "<img src='data:image/png;base64,AAAA' alt='a'>",
        '<link rel="stylesheet" href="file:///etc/hostname">',
    ],
)
def test_what_cannot_be_loaded_is_named_once_and_not_left_out(asked: str, caplog: pytest.LogCaptureFixture) -> None:
    with pytest.raises(
        StudyError, match=r"the template asks for what a document does not load \(Failed to load .*data: address"
    ):
        to_pdf(f'<html lang="en"><title>t</title>{asked}<p>text')
    assert caplog.records == []
    logging.getLogger("weasyprint").error("Failed to do something else")
    assert len(caplog.records) == 1
