"""What a cheat might do to a report: each function changes a PDF or a folder of predictions in one way."""

import json
import re
import zipfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from io import BytesIO
from itertools import pairwise
from pathlib import Path
from typing import Any

import pikepdf
from fontTools.ttLib import TTFont

from cxrobust.files import sha256_bytes, sha256_file
from cxrobust.predictions import read_unit, write_unit
from cxrobust.verification.pages import steps


def copy(path: Path, target: Path, change: Callable[[pikepdf.Pdf], None]) -> Path:
    """Save a changed copy."""
    with pikepdf.open(path) as pdf:
        change(pdf)
        pdf.save(target)
    return target


def attached(path: Path) -> dict[str, bytes]:
    with pikepdf.open(path) as pdf:
        return {name: one.get_file().read_bytes() for name, one in pdf.attachments.items()}


def with_files(path: Path, target: Path, changed: Mapping[str, bytes], *, listed: bool = False) -> Path:
    """Replace attachments; with `listed`, the manifest names the new ones' hashes as if nothing had happened."""
    files = {**attached(path), **changed}
    if listed:
        manifest = json.loads(files["manifest.json"])
        for one in manifest["files"]:
            one["sha256"], one["bytes"] = sha256_bytes(files[one["name"]]), len(files[one["name"]])
        files["manifest.json"] = json.dumps(manifest).encode()

    def change(pdf: pikepdf.Pdf) -> None:
        for name, content in files.items():
            stream = pdf.attachments[name].obj.EF.F
            if stream.read_bytes() != content:
                stream.write(content)
                pdf.attachments[name].obj.EF.UF = stream

    return copy(path, target, change)


def give_some_readers_another_file(pdf: pikepdf.Pdf) -> None:
    """Let readers that look for a name in Unicode find another file under the name of the results."""
    pdf.attachments["results.json"].obj.EF.UF = _embedded(pdf)


def give_related_files(pdf: pikepdf.Pdf) -> None:
    """Let the results have a file beside them that is said to be related."""
    pdf.attachments["results.json"].obj.RF = pikepdf.Dictionary(F=["results.json", _embedded(pdf)])


def associate_another_file(pdf: pikepdf.Pdf) -> None:
    """Name in the list of associated files another file of the name of the results."""
    other = pikepdf.Dictionary(dict(pdf.attachments["results.json"].obj.items()))
    other.EF = pikepdf.Dictionary(F=_embedded(pdf), UF=_embedded(pdf))
    pdf.Root.AF = [*pdf.Root.AF, other]


def associate_a_file_with_a_page(pdf: pikepdf.Pdf) -> None:
    """Let a page name a file that is no attachment of the document."""
    file = pikepdf.Dictionary(Type=pikepdf.Name.Filespec, F="more.csv", UF="more.csv")
    file.EF = pikepdf.Dictionary(F=_embedded(pdf))
    pdf.pages[0].AF = [file]


def rename_for_some_readers(pdf: pikepdf.Pdf) -> None:
    """Give the results another name to readers that look for one in Unicode."""
    pdf.attachments["results.json"].obj.UF = "checked.json"


def _embedded(pdf: pikepdf.Pdf) -> pikepdf.Object:
    return pdf.make_indirect(pikepdf.Stream(pdf, b"forged", Type=pikepdf.Name.EmbeddedFile))


def tell_of_itself(pdf: pikepdf.Pdf) -> None:
    """Give the document an author, another title and a date that is none."""
    pdf.docinfo["/Author"] = "0.999"
    pdf.docinfo["/Title"] = "All is well"
    pdf.docinfo["/ModDate"] = "D:0.999"


def tell_in_metadata(pdf: pikepdf.Pdf) -> None:
    """Describe the document in its metadata alone."""
    with pdf.open_metadata(set_pikepdf_as_editor=False, update_docinfo=False) as metadata:
        metadata["dc:description"] = "0.999"


def edit_page(pdf: pikepdf.Pdf, number: int, change: Callable[[list[Any]], None]) -> None:
    """Let `change` edit the instructions of a page, from 1."""
    page = pdf.pages[number - 1]
    instructions = list(pikepdf.parse_content_stream(page))
    change(instructions)
    page.Contents = pdf.make_stream(pikepdf.unparse_content_stream(instructions))


def glyphs(pdf: pikepdf.Pdf, font: str) -> dict[str, bytes]:
    """Return the glyph of each character of a font, from its table."""
    table = pdf.pages[0].Resources.Font[font].ToUnicode.read_bytes()
    pairs = re.findall(rb"<([0-9a-f]{4})> <([0-9a-f]{4})>", table)
    return {
        bytes.fromhex(character.decode()).decode("utf-16-be"): bytes.fromhex(code.decode()) for code, character in pairs
    }


def change_a_digit(pdf: pikepdf.Pdf, number: int, *, last: str = "7") -> tuple[str, str]:
    """Change the last digit of the first number with three decimals on a page to another; return both numbers."""
    said: list[str] = []

    def change(instructions: list[Any]) -> None:
        font = ""
        for place, instruction in enumerate(instructions):
            if str(instruction.operator) == "Tf":
                font = str(instruction.operands[0])
            if str(instruction.operator) != "TJ":
                continue
            known = glyphs(pdf, font)
            read = {code: character for character, code in known.items()}
            parts = list(instruction.operands[0])
            text = "".join(
                read.get(bytes(part)[k : k + 2], "?")
                for part in parts
                if isinstance(part, pikepdf.String)
                for k in range(0, len(bytes(part)), 2)
            )
            if re.fullmatch(r"[+−]?0\.\d{3}", text) and last in known and not text.endswith(last):
                strings = [k for k, part in enumerate(parts) if isinstance(part, pikepdf.String)]
                parts[strings[-1]] = pikepdf.String(bytes(parts[strings[-1]])[:-2] + known[last])
                instructions[place] = pikepdf.ContentStreamInstruction([pikepdf.Array(parts)], instruction.operator)
                said.extend((text, text[:-1] + last))
                return

    edit_page(pdf, number, change)
    return (said[0], said[1]) if said else ("", "")


def change_the_first_digit(pdf: pikepdf.Pdf) -> tuple[str, str]:
    """Change a digit of the first page that has one in its text; return the number as it was and as it is."""
    each = (change_a_digit(pdf, place) for place in range(1, len(pdf.pages) + 1))
    return next(pair for pair in each if pair[0])


def change_a_digit_in_a_figure(pdf: pikepdf.Pdf) -> tuple[int, str, str]:
    """Change the first digit of the first number within a figure; return the page, and the number before and after.

    The figures' faces have a character's own number as its code, and hold only characters that the figure shows.
    """
    for number, page in enumerate(pdf.pages, start=1):
        for figure in _figures(page):
            instructions = list(pikepdf.parse_content_stream(figure))
            font, shown = "", []
            for place, instruction in enumerate(instructions):
                if str(instruction.operator) == "Tf":
                    font = str(instruction.operands[0])
                if str(instruction.operator) == "TJ":
                    shown.append((place, font, [p for p in instruction.operands[0] if isinstance(p, pikepdf.String)]))
            for place, font, strings in shown:
                text = b"".join(map(bytes, strings)).decode("utf-16-be")
                drawn = {bytes(one) for _, face, others in shown if face == font for one in others}
                digits = set(re.findall(r"\d", "".join(one.decode("utf-16-be") for one in drawn)))
                match = re.match(r"\d+", text)
                if match is None or not digits - {text[0]}:
                    continue
                other = min(digits - {text[0]})
                new = [pikepdf.String((other + text[1:]).encode("utf-16-be"))]
                instructions[place] = pikepdf.ContentStreamInstruction([pikepdf.Array(new)], pikepdf.Operator("TJ"))
                figure.write(pikepdf.unparse_content_stream(instructions))
                return number, match[0], other + match[0][1:]
    raise AssertionError("no figure shows a number")


def move_a_point(pdf: pikepdf.Pdf) -> int:
    """Move one end of a line within a figure by 2 units; return the page."""
    for number, page in enumerate(pdf.pages, start=1):
        for figure in _figures(page):
            instructions = list(pikepdf.parse_content_stream(figure))
            for place, instruction in enumerate(instructions):
                if str(instruction.operator) == "l":
                    x, y = instruction.operands
                    instructions[place] = pikepdf.ContentStreamInstruction([x, float(y) + 2], instruction.operator)
                    figure.write(pikepdf.unparse_content_stream(instructions))
                    return number
    raise AssertionError("no figure has a line")


def _figures(page: pikepdf.Page) -> Iterator[pikepdf.Object]:
    """Yield what a page shows in its figures."""
    in_figure = False
    for instruction in pikepdf.parse_content_stream(page):
        if str(instruction.operator) == "BDC":
            in_figure = str(instruction.operands[0]) == "/Figure"
        if str(instruction.operator) == "Do" and in_figure:
            yield page.Resources.XObject[str(instruction.operands[0])]


def write(pdf: pikepdf.Pdf, number: int, text: str, *, down: float, before: bytes = b"") -> None:
    """Write a text on a page as an artefact, some mm from its top; `before` is drawn before it."""
    page = pdf.pages[number - 1]
    up = float(page.mediabox[3]) - down / 25.4 * 72
    for font in map(str, page.Resources.Font.keys()):
        known = glyphs(pdf, font)
        if set(text) <= set(known):
            codes = b"".join(known[one] for one in text).hex().encode()
            shown = b"BT %s 9 Tf 1 0 0 1 60 %.1f Tm <%s> Tj ET" % (font.encode(), up, codes)
            page.contents_add(pdf.make_stream(b"/Artifact BMC q %s 0 g %s Q EMC" % (before, shown)))
            return
    raise AssertionError(f"no font has all of {text!r}")


def lay_over(pdf: pikepdf.Pdf) -> None:
    """Paint page 2 white, and write another number over it."""
    write(pdf, 2, "0.999", down=50, before=b"1 1 1 rg 40 40 m 380 40 l 380 560 l 40 560 l h f")


def annotate(pdf: pikepdf.Pdf) -> None:
    """Lay a note over page 2."""
    note = pikepdf.Dictionary(
        Type=pikepdf.Name.Annot, Subtype=pikepdf.Name.FreeText, Rect=[50, 50, 200, 90], Contents="0.999"
    )
    page = pdf.pages[1].obj
    page.Annots = pikepdf.Array([*page.get("/Annots", []), pdf.make_indirect(note)])


def give_a_link_a_face(pdf: pikepdf.Pdf) -> None:
    """Let a link of page 2 draw something of its own."""
    form = pdf.make_stream(b"1 g 0 0 100 20 re f", Type=pikepdf.Name.XObject, Subtype=pikepdf.Name.Form)
    form.BBox = pikepdf.Array([0, 0, 100, 20])
    pdf.pages[1].Annots[0].AP = pikepdf.Dictionary(N=form)


def lead_a_link_elsewhere(pdf: pikepdf.Pdf) -> None:
    """Let a link of page 2 lead out of the document."""
    link = pdf.pages[1].Annots[0]
    del link.Dest
    link.A = pikepdf.Dictionary(S=pikepdf.Name.URI, URI=pikepdf.String("https://example.org"))


def _white(pdf: pikepdf.Pdf) -> pikepdf.Object:
    """Return a colour space of three inks in which every colour is white."""
    white = pdf.make_stream(b"{ pop pop pop 1 1 1 }", FunctionType=4, Domain=[0, 1] * 3, Range=[0, 1] * 3)
    names, shown = [pikepdf.Name.A, pikepdf.Name.B, pikepdf.Name.C], [pikepdf.Name.CalRGB, {"/WhitePoint": [1, 1, 1]}]
    return pdf.make_indirect(pikepdf.Array([pikepdf.Name.DeviceN, names, shown, white]))


def let_colours_be_white(pdf: pikepdf.Pdf) -> None:
    """Give page 2 a default colour space, which no content names."""
    pdf.pages[1].Resources = pikepdf.Dictionary(dict(pdf.pages[1].Resources.items()))
    pdf.pages[1].Resources.ColorSpace = pikepdf.Dictionary(DefaultRGB=_white(pdf))


def let_greys_of_a_group_be_white(pdf: pikepdf.Pdf) -> None:
    """Give the first group that a page draws a default colour space."""
    group = next(one for one in pdf.objects if isinstance(one, pikepdf.Stream) and one.get("/Subtype") == "/Form")
    group.Resources = pikepdf.Dictionary(ColorSpace={"/DefaultGray": _white(pdf)})


def exchange_the_profile(pdf: pikepdf.Pdf) -> None:
    """Let the document's colours be meant for another device."""
    pdf.Root.OutputIntents[0].DestOutputProfile = pdf.make_stream(b"another profile", N=3)


def hide_a_group_from_some_readers(pdf: pikepdf.Pdf) -> None:
    """Put a group on a layer that is off."""
    layer = pdf.make_indirect(pikepdf.Dictionary(Type=pikepdf.Name.OCG, Name="off"))
    pdf.Root.OCProperties = pikepdf.Dictionary(OCGs=[layer], D={"/OFF": [layer]})
    group = next(one for one in pdf.objects if isinstance(one, pikepdf.Stream) and one.get("/Subtype") == "/Form")
    group.OC = layer


def fetch_a_group(pdf: pikepdf.Pdf) -> None:
    """Let a group be fetched from another file."""
    group = next(one for one in pdf.objects if isinstance(one, pikepdf.Stream) and one.get("/Subtype") == "/Form")
    group.Ref = pikepdf.Dictionary(F="other.pdf", Page=0)


def fetch_a_content(pdf: pikepdf.Pdf) -> None:
    """Let the content of page 2 lie in another file."""
    pdf.pages[1].Contents.F = pikepdf.String("other")


def set_of_page(key: str, value: object) -> Callable[[pikepdf.Pdf], None]:
    """Return a change that sets a key of page 2."""

    def change(pdf: pikepdf.Pdf) -> None:
        pdf.pages[1].obj[key] = value

    return change


def swap_parents(pdf: pikepdf.Pdf) -> None:
    """Exchange two pages in the list of parents, by which some readers find the tag of a content."""
    numbers = pdf.Root.StructTreeRoot.ParentTree.Nums
    numbers[1], numbers[3] = numbers[3], numbers[1]


def swap_parents_of_a_page(pdf: pikepdf.Pdf) -> None:
    """Exchange two contents of a page in the list of parents."""
    row = pdf.Root.StructTreeRoot.ParentTree.Nums[1]
    one, other = [k for k, element in enumerate(row) if element is not None][:2]
    row[one], row[other] = row[other], row[one]


def swap_parents_of_links(pdf: pikepdf.Pdf) -> None:
    """Let two links be found under the tag of each other."""
    one, other = pdf.pages[1].Annots[0], pdf.pages[1].Annots[1]
    one.StructParent, other.StructParent = other.StructParent, one.StructParent


def swap_fonts(pdf: pikepdf.Pdf) -> None:
    """Swap what two fonts draw."""
    fonts = pdf.pages[0].Resources.Font
    one, other = (fonts[name].DescendantFonts[0].FontDescriptor for name in sorted(fonts.keys())[:2])
    one.FontFile2, other.FontFile2 = other.FontFile2, one.FontFile2


def swap_digits_of_a_font(pdf: pikepdf.Pdf) -> None:
    """Let each font that has them draw 7 as 8, and 8 as 7."""
    for name, font in pdf.pages[0].Resources.Font.items():
        known = glyphs(pdf, name)
        if not set("78") <= set(known):
            continue
        file = font.DescendantFonts[0].FontDescriptor.FontFile2
        with TTFont(BytesIO(file.read_bytes())) as opened:
            seven, eight = (opened.getGlyphName(int.from_bytes(known[one], "big")) for one in "78")
            outlines = opened["glyf"].glyphs
            outlines[seven], outlines[eight] = outlines[eight], outlines[seven]
            out = BytesIO()
            opened.save(out)
        file.write(out.getvalue())


def _before_a_text(pdf: pikepdf.Pdf, number: int, operators: str) -> None:
    """Put operators before the first text of a page's body, or of a cell of it."""

    def change(instructions: list[Any]) -> None:
        place = next(
            k
            for k, one in enumerate(instructions)
            if str(one.operator) == "BDC" and "/MCID" in one.operands[1] and str(one.operands[0]) != "/Artifact"
        )
        text = next(k for k in range(place, len(instructions)) if str(instructions[k].operator) == "TJ")
        instructions[text:text] = pikepdf.parse_content_stream(pdf.make_stream(operators.encode()))

    edit_page(pdf, number, change)


def whiten(pdf: pikepdf.Pdf) -> None:
    """Print a text of page 2 in white."""
    _before_a_text(pdf, 2, "1 1 1 rg")


def hide(pdf: pikepdf.Pdf) -> None:
    """Print a text of page 2 in the manner that shows nothing."""
    _before_a_text(pdf, 2, "3 Tr")


def shrink(pdf: pikepdf.Pdf) -> None:
    """Print a text of page 2 in letters of no breadth."""
    _before_a_text(pdf, 2, "0.01 Tz")


def lead_a_line_on(pdf: pikepdf.Pdf) -> None:
    """Let a text of page 2 stand one line of 40 points below the place that it is given."""
    _before_a_text(pdf, 2, "40 TL T*")


def clip_away(pdf: pikepdf.Pdf) -> None:
    """Show nothing of page 2 but a corner."""
    pdf.pages[1].contents_add(pdf.make_stream(b"0 0 1 1 re W n"), prepend=True)


def _swap_texts(pdf: pikepdf.Pdf, number: int, *, artefacts: bool) -> None:
    """Let two texts of a line of a page stand in each other's place, in the order in which they are read."""

    def change(instructions: list[Any]) -> None:
        placed, is_artefact = [], False
        for k, one in enumerate(instructions):
            if str(one.operator) in {"BDC", "BMC"}:
                is_artefact = str(one.operands[0]) == "/Artifact"
            if str(one.operator) == "Tm" and is_artefact == artefacts:
                placed.append(k)
        one, other = next(
            (a, b) for a, b in pairwise(placed) if instructions[a].operands[5] == instructions[b].operands[5]
        )
        instructions[one], instructions[other] = instructions[other], instructions[one]

    edit_page(pdf, number, change)


def swap_two_cells(pdf: pikepdf.Pdf) -> None:
    """Let two cells of page 2 stand in each other's place."""
    _swap_texts(pdf, 2, artefacts=False)


def swap_two_heads(pdf: pikepdf.Pdf) -> None:
    """Let two heads of columns, repeated on page 2, stand in each other's place."""
    _swap_texts(pdf, 2, artefacts=True)


def call_cells_a_figure(pdf: pikepdf.Pdf) -> None:
    """Swap two cells of page 2, and call each a figure."""
    swap_two_cells(pdf)
    _call_texts_figures(pdf, 2)


def move_a_cell_away(pdf: pikepdf.Pdf) -> None:
    """Let a text of page 2, called a figure, stand beside the page."""

    def change(instructions: list[Any]) -> None:
        last = [k for k, one in enumerate(instructions) if str(one.operator) == "Tm"][-1]
        operands = list(instructions[last].operands)
        instructions[last] = pikepdf.ContentStreamInstruction(
            [*operands[:4], -900, operands[5]], pikepdf.Operator("Tm")
        )

    edit_page(pdf, 2, change)
    _call_texts_figures(pdf, 2)


def _call_texts_figures(pdf: pikepdf.Pdf, number: int) -> None:
    """Call all marked content of a page a figure."""

    def change(instructions: list[Any]) -> None:
        for k, one in enumerate(instructions):
            if str(one.operator) == "BDC" and str(one.operands[0]) != "/Artifact":
                operands = [pikepdf.Name.Figure, *one.operands[1:]]
                instructions[k] = pikepdf.ContentStreamInstruction(operands, one.operator)

    edit_page(pdf, number, change)


def _paint(pdf: pikepdf.Pdf, *, right: float, up: float, size: tuple[float, float], before: bool) -> None:
    """Paint a black rectangle from the first number of page 2 on; places and sizes are in sizes of its letters."""
    page = pdf.pages[1]
    step = next(one for one in steps(page) if re.fullmatch(r"0\.\d{3}", one.text))
    look = step.looks[0]
    assert look is not None
    x, y = step.right / 25.4 * 72 + right * look.size, float(page.mediabox[3]) - step.down / 25.4 * 72 + up * look.size
    drawn = b"%.2f %.2f %.2f %.2f re f" % (x, y, size[0] * look.size, size[1] * look.size)
    page.contents_add(pdf.make_stream(b"q"), prepend=True)
    page.contents_add(pdf.make_stream(b"Q"))
    page.contents_add(pdf.make_stream(b"/Artifact BMC q 0 g %s Q EMC" % drawn), prepend=before)


def lay_black_under(pdf: pikepdf.Pdf) -> None:
    """Let a number of page 2 stand on black."""
    _paint(pdf, right=-0.2, up=-0.3, size=(3.5, 1.3), before=True)


def lay_black_under_a_part(pdf: pikepdf.Pdf) -> None:
    """Let the end of a number of page 2 stand on black."""
    _paint(pdf, right=1.3, up=-0.3, size=(2.0, 1.3), before=True)


def stroke_under_a_digit(pdf: pikepdf.Pdf) -> None:
    """Draw a line through a digit of page 2 before it, which makes a 0 an 8."""
    _paint(pdf, right=1.8, up=0.3, size=(0.4, 0.08), before=True)


def stroke_over_a_digit(pdf: pikepdf.Pdf) -> None:
    """Draw a line over the upper half of a digit of page 2."""
    _paint(pdf, right=1.8, up=0.56, size=(0.4, 0.08), before=False)


def draw_a_minus(pdf: pikepdf.Pdf) -> None:
    """Draw a minus sign before a number of page 2."""
    _paint(pdf, right=-0.55, up=0.3, size=(0.45, 0.06), before=False)


def draw_a_minus_of_no_height(pdf: pikepdf.Pdf) -> None:
    """Draw a minus sign before a number of page 2 as the thinnest line that there is, before all else."""
    _paint(pdf, right=-0.55, up=0.3, size=(0.45, 0), before=True)


def swap_alternatives(pdf: pikepdf.Pdf) -> None:
    """Give two figures the text of each other."""
    one, other = [element for element in pdf.objects if isinstance(element, pikepdf.Dictionary) and "/Alt" in element]
    one.Alt, other.Alt = str(other.Alt), str(one.Alt)


def swap_bookmarks(pdf: pikepdf.Pdf) -> None:
    """Give two bookmarks the title of each other."""
    with pdf.open_outline() as outline:
        one, other = outline.root[:2]
        one.title, other.title = other.title, one.title


def crop(pdf: pikepdf.Pdf) -> None:
    """Show of each page a part alone."""
    pdf.Root.Pages.CropBox = pikepdf.Array([0, 100, 595, 842])


def rename_a_bookmark(pdf: pikepdf.Pdf) -> None:
    """Give the first bookmark another title."""
    with pdf.open_outline() as outline:
        outline.root[0].title = "All is well"


def zip_of(files: Mapping[str, bytes], kind: int = zipfile.ZIP_STORED) -> bytes:
    out = BytesIO()
    with zipfile.ZipFile(out, "w", kind) as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return out.getvalue()


def unzipped(content: bytes) -> dict[str, bytes]:
    with zipfile.ZipFile(BytesIO(content)) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def change_a_probability(folder: Path, *, indexed: bool = False) -> str:
    """Change one probability in one file of predictions, whole again as a file; `indexed` gives the index its hash."""
    index = json.loads((folder / "index.json").read_text())
    entry = index["units"][0]
    unit = read_unit(folder / entry["file"])
    probabilities = unit.probabilities.copy()
    probabilities[0, 0] = 1 - probabilities[0, 0]
    write_unit(replace(unit, probabilities=probabilities), folder / entry["file"])
    if indexed:
        entry["sha256"] = sha256_file(folder / entry["file"])
        (folder / "index.json").write_text(json.dumps(index))
    return str(entry["file"])
