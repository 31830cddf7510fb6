"""Pictures of real pages for the README: python tools/pages.py demo docs/_static (make pages)."""

import io
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

import pypdf
import pypdfium2
from PIL import Image

SHOWN = (
    ("answer", ""),
    ("strengths", "Performance against the strength of the perturbation."),
    ("findings", "Where the difference in AUROC comes from."),
)
"""Name of a picture, and what stands on its page; the first page, where nothing is said."""
WIDTH = 900


def main() -> None:
    """Write the pictures of a report into a folder."""
    report, out = map(Path, sys.argv[1:])
    for name, image in (*pages(report / "report.pdf"), *browsers(report / "report.html")):
        path = out / f"report-{name}.png"
        in_few_colours(image).save(path, optimize=True)
        print(path)  # noqa: T201


def in_few_colours(image: Image.Image) -> Image.Image:
    """Return a picture with a palette of 256 colours in which greys stay grey, as they do not with `MAXCOVERAGE`."""
    return image.convert("RGB").quantize(256, Image.Quantize.MEDIANCUT, kmeans=3)


def pages(path: Path) -> Iterator[tuple[str, Image.Image]]:
    """Draw the pages that `SHOWN` names, each once."""
    texts = [" ".join(page.extract_text().split()) for page in pypdf.PdfReader(path).pages]
    document = pypdfium2.PdfDocument(path)
    for name, words in SHOWN:
        number = next(k for k, text in enumerate(texts) if words in text)
        page = document[number]
        yield name, page.render(scale=WIDTH / page.get_width()).to_pil()


def browsers(path: Path) -> Iterator[tuple[str, Image.Image]]:
    """Draw the HTML report at a desk by day and on a telephone by night, where there is a Chromium."""
    from playwright.sync_api import sync_playwright

    chromium = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if chromium is None:
        return
    with sync_playwright() as running:
        browser = running.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        for name, width, height, scheme, anchor in (
            ("desk", 1280, 900, "light", "primary"),
            ("telephone", 390, 844, "dark", "curves"),
        ):
            page = browser.new_page(viewport={"width": width, "height": height}, color_scheme=scheme)
            page.goto(path.resolve().as_uri())
            page.evaluate(f"document.getElementById('{anchor}').scrollIntoView()")
            page.wait_for_timeout(500)
            yield name, Image.open(io.BytesIO(page.screenshot()))
        browser.close()


if __name__ == "__main__":
    main()
