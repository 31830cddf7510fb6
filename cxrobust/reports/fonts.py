"""The report's own fonts, so that its look depends on no machine: for Pango by fontconfig, for browsers as woff2."""

import atexit
import base64
import io
import os
import tempfile
from dataclasses import dataclass
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from xml.sax.saxutils import escape

import matplotlib

SANS, SERIF = "Source Sans Pro", "Source Serif Pro"


@dataclass(frozen=True, kw_only=True, slots=True)
class Face:
    """One font file of the HTML report."""

    family: str
    weight: int
    style: str
    package: str
    file: str


FACES = (
    Face(family=SERIF, weight=400, style="normal", package="font_source_serif_pro", file="SourceSerifPro-Regular.ttf"),
    Face(family=SERIF, weight=600, style="normal", package="font_source_serif_pro", file="SourceSerifPro-Semibold.ttf"),
    Face(family=SANS, weight=400, style="normal", package="font_source_sans_pro", file="SourceSansPro-Regular.ttf"),
    Face(family=SANS, weight=600, style="normal", package="font_source_sans_pro", file="SourceSansPro-Semibold.ttf"),
)


@cache
def package_folder(package: str) -> Path:
    """Return the folder of font files that a package brings."""
    spec = find_spec(package)
    if spec is None or spec.origin is None:
        raise ModuleNotFoundError(f"no module named {package!r}", name=package)
    return Path(spec.origin).parent / "files"


def font_folders() -> tuple[Path, ...]:
    """Return the folders of all fonts that the report may use: Source Sans, Source Serif, matplotlib's DejaVu."""
    return (
        package_folder("font_source_sans_pro"),
        package_folder("font_source_serif_pro"),
        Path(matplotlib.get_data_path()) / "fonts" / "ttf",
    )


@cache
def use_own_fonts() -> Path:
    """Make fontconfig, and so Pango in this process, see the report's fonts and no others; return its settings file.

    It must come before the first use of fontconfig in the process. Without any font Pango ends in a segmentation fault,
    and with a machine's own fonts the look would be the machine's.
    """
    folder = tempfile.TemporaryDirectory(prefix="cxrobust-fonts-")
    atexit.register(folder.cleanup)
    settings = Path(folder.name) / "fonts.conf"
    settings.write_text(fontconfig_settings(Path(folder.name) / "cache"), encoding="utf-8")
    os.environ["FONTCONFIG_FILE"] = str(settings)
    return settings


def fontconfig_settings(cache_folder: Path) -> str:
    """Return a fontconfig file that names the report's fonts, and DejaVu for whatever is asked for beside them."""
    folders = "".join(f"<dir>{escape(str(folder))}</dir>" for folder in font_folders())
    aliases = "".join(
        f"<alias><family>{generic}</family><prefer><family>{family}</family></prefer></alias>"
        for generic, family in (("sans-serif", SANS), ("serif", SERIF), ("monospace", "DejaVu Sans Mono"))
    )
    return (
        '<?xml version="1.0"?><!DOCTYPE fontconfig SYSTEM "urn:fontconfig:fonts.dtd">'
        # The otf twins of the same faces would be chosen by chance.
        "<fontconfig><selectfont><rejectfont><glob>*.otf</glob></rejectfont></selectfont>"
        f"{folders}<cachedir>{escape(str(cache_folder))}</cachedir>{aliases}</fontconfig>"
    )


def characters_of(text: str) -> str:
    """Return the characters that the faces of a text must hold, in order."""
    return "".join(sorted(frozenset(text) | frozenset(map(chr, range(32, 127)))))


def font_face_css(characters: str) -> str:
    """Return `@font-face` rules with these characters of each face, as woff2 in data URIs."""
    return "\n".join(_face_css(face, frozenset(characters)) for face in FACES)


def _face_css(face: Face, characters: frozenset[str]) -> str:
    data = base64.b64encode(_subset(package_folder(face.package) / face.file, characters)).decode()
    return (
        f'@font-face{{font-family:"{face.family}";font-weight:{face.weight};font-style:{face.style};'
        f"font-display:swap;src:url(data:font/woff2;base64,{data}) format('woff2')}}"
    )


NAMES_KEPT = frozenset({0, 1, 2, 3, 4, 5, 6, 13, 14})
"""Ids of a face's names that go with it: its own, its copyright and its licence."""


def _subset(path: Path, characters: frozenset[str]) -> bytes:
    from fontTools.subset import Options, Subsetter
    from fontTools.ttLib import TTFont

    options = Options(layout_features=["kern", "liga", "tnum"], hinting=False)
    options.drop_tables += ["BASE", "name"]  # to find which names the other tables use, all of them would be read
    with TTFont(path, recalcTimestamp=False, lazy=True) as font:
        names = font["name"]
        subsetter = Subsetter(options)
        subsetter.populate(text="".join(sorted(characters)))
        subsetter.subset(font)
        names.names = [one for one in names.names if one.nameID in NAMES_KEPT and one.isUnicode()]
        font["name"] = names
        font.flavor = "woff2"
        out = io.BytesIO()
        font.save(out)
    return out.getvalue()
