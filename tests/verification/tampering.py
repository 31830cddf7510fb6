"""What a cheat might do to a report: each function changes a PDF or a folder of predictions in one way."""

import json
import re
import zipfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from io import BytesIO
from pathlib import Path
from typing import Any

import pikepdf

from cxrobust.files import sha256_bytes, sha256_file
from cxrobust.predictions import read_unit, write_unit


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
